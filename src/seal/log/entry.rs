//! One entry: its bytes, its document, its signature.

use super::super::{
    Class, Hash, PublicKey, Refusal, Signer,
    crypt::{first, hash},
    id::log_id,
    json::Members,
    parts::{Parts, enc, enc_list},
    signer::verify,
    text::base64url,
};
use crate::{
    model::{Rev, RevId, sort_by},
    seal::sha256,
};

const VERSION: u64 = 1;
/// Longer entries are refused before they are looked into.
const MAX_BYTES: usize = 64 * 1024;

/// Whose log an entry belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Scope {
    /// An account's, by its name.
    Account(Hash),
    /// A channel's that begins with this entry.
    NewChannel,
    /// A channel's.
    Channel(Hash),
}

/// A secret, sealed for one way of opening it. Kinds that are not known here are for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Wrap {
    /// `rc1` for a recovery code, `uk1` for an account's user key.
    pub(in super::super) kind: String,
    /// For whom: an account.
    pub(in super::super) account: Hash,
    /// With which of its keys.
    pub(in super::super) key: [u8; 16],
    /// The sealed secret.
    pub(in super::super) sealed: Vec<u8>,
}

/// A generation of an account's user key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct UserKey {
    /// From 1.
    pub(in super::super) number: u64,
    /// Its public name.
    pub(in super::super) id: [u8; 16],
    /// The key itself, and the one before it under this one.
    pub(in super::super) wraps: Vec<Wrap>,
}

/// What an entry does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) enum Op {
    /// A device of the account: its key.
    Device(PublicKey),
    /// A user key of the account.
    UserKey(UserKey),
    /// A channel: its owner's account, 16 random bytes, and what its id key must be.
    Genesis { account: Hash, random: [u8; 16], id_commitment: Hash },
    /// An epoch of a channel.
    Epoch {
        number: u64,
        id: [u8; 16],
        commitment: Hash,
        members: Hash,
        /// The epochs before it, by name, each sealed under this one.
        back: Vec<([u8; 16], Vec<u8>)>,
        wraps: Vec<Wrap>,
    },
    /// Something that a newer version writes.
    Unknown,
}

/// What an entry says, before it is signed.
pub(in super::super) struct Draft<'a> {
    pub(in super::super) scope: Scope,
    /// The entries of the same log that nothing known comes after.
    pub(in super::super) prev: &'a [Hash],
    /// Of a channel's entry: those of the account's log.
    pub(in super::super) seen: &'a [Hash],
    pub(in super::super) op: Op,
}

/// A log entry whose form and signature are right. Whether its author may say what it says is another thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub(in super::super) hash: Hash,
    pub(in super::super) scope: Scope,
    pub(in super::super) prev: Vec<Hash>,
    pub(in super::super) by: PublicKey,
    pub(in super::super) op: Op,
    bytes: Vec<u8>,
    signature: [u8; 64],
}

/// An entry as a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDoc {
    /// `k-` and 52 letters: the entry's hash.
    pub id: String,
    /// Its one revision.
    pub rev: Rev,
    /// The members without an underscore.
    pub body: String,
}

impl Entry {
    /// Its hash, which is its name.
    pub fn hash(&self) -> &Hash {
        &self.hash
    }

    /// It as a document.
    pub fn to_doc(&self) -> LogDoc {
        let body = format!(
            r#"{{"x":{{"v":{VERSION},"t":"log","m":"{}","g":"{}"}}}}"#,
            base64url(&self.bytes),
            base64url(&self.signature)
        );
        LogDoc { id: log_id(&self.hash), rev: log_rev(&self.hash), body }
    }

    /// Its bytes and signature, for keeping it elsewhere than in a document.
    pub fn to_bytes(&self) -> Vec<u8> {
        enc(&[&self.bytes, &self.signature])
    }

    /// Reads back what [`Entry::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut parts = Parts(bytes);
        let (bytes, signature) = (parts.next()?, parts.array()?);
        parts.end()?;
        read(bytes.to_vec(), signature).ok()
    }
}

fn log_rev(entry: &Hash) -> Rev {
    Rev { generation: 1, id: RevId::Hash(first(&hash(&[b"log-rev", entry]))) }
}

/// Signs an entry.
pub(in super::super) fn make_entry(signer: &Signer, by: &PublicKey, draft: Draft) -> Entry {
    let (kind, scope): (&str, &[u8]) = match &draft.scope {
        Scope::Account(account) => ("account", account),
        Scope::NewChannel => ("channel", b""),
        Scope::Channel(ch) => ("channel", ch),
    };
    let in_order = |hashes: &[Hash]| {
        let mut hashes = hashes.to_vec();
        sort_by(&mut hashes, Ord::cmp);
        hashes.dedup();
        hashes.concat()
    };
    let (op, payload) = encode_op(&draft.op);
    let prev = in_order(draft.prev);
    let seen = in_order(draft.seen);
    let bytes = enc(&[b"log1", kind.as_bytes(), scope, &prev, &seen, by, op.as_bytes(), &payload]);
    let signature = signer.sign(&signed(&bytes));
    let prev = prev.as_chunks().0.to_vec();
    Entry { hash: sha256(&bytes), scope: draft.scope, prev, by: *by, op: draft.op, bytes, signature }
}

fn signed(bytes: &[u8]) -> Vec<u8> {
    enc(&[b"log", bytes])
}

/// Reads a log entry from its document, and holds it against its name, its revision and its signature.
///
/// Errors: `foreign_id`, `wrong_revision`, `not_sealed`, `malformed`, `unknown_version`, `wrong_document`
/// (another entry than its name says), `wrong_signature`.
pub fn read_log_doc(id: &str, rev: &Rev, body: &str) -> Result<Entry, Refusal> {
    let Class::Log(name) = Class::of(id)? else { return Err(Refusal::ForeignId) };
    if *rev != log_rev(&name) {
        return Err(Refusal::Revision);
    }
    if body.len() > 2 * MAX_BYTES {
        return Err(Refusal::TooLarge);
    }
    let mut document = Members::parse(body)?;
    if !document.has("x") {
        return Err(Refusal::NotSealed);
    }
    let mut x = document.object("x")?;
    document.end()?;
    if x.number("v")? != VERSION {
        return Err(Refusal::UnknownVersion);
    }
    if x.text("t")? != "log" {
        return Err(Refusal::Malformed);
    }
    let (bytes, signature) = (x.bytes("m")?, x.array("g")?);
    x.end()?;
    if sha256(&bytes) != name {
        return Err(Refusal::Id);
    }
    read(bytes, signature)
}

fn read(bytes: Vec<u8>, signature: [u8; 64]) -> Result<Entry, Refusal> {
    if bytes.len() > MAX_BYTES {
        return Err(Refusal::TooLarge);
    }
    let (scope, prev, by, op) = decode(&bytes).ok_or(Refusal::Malformed)?;
    if !verify(&by, &signed(&bytes), &signature) {
        return Err(Refusal::Signature);
    }
    Ok(Entry { hash: sha256(&bytes), scope, prev, by, op, bytes, signature })
}

/// For the fuzz targets: these bytes with a signature, if they are an entry by that signer.
#[cfg(not(target_arch = "wasm32"))]
pub(in super::super) fn signed_entry(bytes: &[u8], signer: &Signer) -> Option<Entry> {
    decode(bytes)?;
    read(bytes.to_vec(), signer.sign(&signed(bytes))).ok()
}

/// For the fuzz targets: an entry's operation as it would be written, if it is known.
#[cfg(not(target_arch = "wasm32"))]
pub(in super::super) fn reencoded(entry: &Entry) -> Option<(&'static str, Vec<u8>)> {
    (entry.op != Op::Unknown).then(|| encode_op(&entry.op))
}

fn decode(bytes: &[u8]) -> Option<(Scope, Vec<Hash>, PublicKey, Op)> {
    let mut parts = Parts(bytes);
    if parts.next()? != b"log1" {
        return None;
    }
    let scope = match (parts.text()?, parts.next()?) {
        ("account", account) => Scope::Account(account.try_into().ok()?),
        ("channel", b"") => Scope::NewChannel,
        ("channel", ch) => Scope::Channel(ch.try_into().ok()?),
        _ => return None,
    };
    let prev = hashes(parts.next()?)?;
    hashes(parts.next()?)?;
    let by = parts.array()?;
    let op = decode_op(parts.text()?, parts.next()?)?;
    parts.end()?;
    let fits = match (&op, scope) {
        (Op::Unknown, _) => true,
        (Op::Device(_) | Op::UserKey(_), Scope::Account(_)) => true,
        (Op::Genesis { .. }, Scope::NewChannel) => prev.is_empty(),
        (Op::Epoch { .. }, Scope::Channel(_)) => !prev.is_empty(),
        _ => false,
    };
    fits.then_some((scope, prev, by, op))
}

/// Hashes one after another, ascending, each once.
fn hashes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    let in_order = hashes.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
    (in_order && rest.is_empty()).then(|| hashes.to_vec())
}

fn encode_wraps(wraps: &[Wrap]) -> Vec<u8> {
    let one = |wrap: &Wrap| enc(&[wrap.kind.as_bytes(), &wrap.account, &wrap.key, &wrap.sealed]);
    enc_list(&wraps.iter().map(one).collect::<Vec<_>>())
}

fn decode_wraps(bytes: &[u8]) -> Option<Vec<Wrap>> {
    let one = |bytes: &[u8]| {
        let mut parts = Parts(bytes);
        let wrap = Wrap {
            kind: parts.text()?.to_owned(),
            account: parts.array()?,
            key: parts.array()?,
            sealed: parts.next()?.to_vec(),
        };
        parts.end()?;
        Some(wrap)
    };
    Parts(bytes).rest()?.into_iter().map(one).collect()
}

fn encode_op(op: &Op) -> (&'static str, Vec<u8>) {
    match op {
        Op::Device(public) => ("device", enc(&[public])),
        Op::UserKey(key) => {
            ("user-key", enc(&[&key.number.to_be_bytes(), &key.id, &encode_wraps(&key.wraps)]))
        }
        Op::Genesis { account, random, id_commitment } => ("genesis", enc(&[account, random, id_commitment])),
        Op::Epoch { number, id, commitment, members, back, wraps } => {
            let back: Vec<_> = back.iter().map(|(id, sealed)| enc(&[id, sealed])).collect();
            let number = number.to_be_bytes();
            ("epoch", enc(&[&number, id, commitment, members, &enc_list(&back), &encode_wraps(wraps)]))
        }
        Op::Unknown => ("unknown", Vec::new()),
    }
}

fn decode_op(name: &str, payload: &[u8]) -> Option<Op> {
    let mut parts = Parts(payload);
    let op = match name {
        "device" => Op::Device(parts.array()?),
        "user-key" => {
            let (number, id) = (parts.number()?, parts.array()?);
            Op::UserKey(UserKey { number, id, wraps: decode_wraps(parts.next()?)? })
        }
        "genesis" => {
            Op::Genesis { account: parts.array()?, random: parts.array()?, id_commitment: parts.array()? }
        }
        "epoch" => {
            let (number, id, commitment) = (parts.number()?, parts.array()?, parts.array()?);
            let (members, back, wraps) = (parts.array()?, parts.next()?, parts.next()?);
            let one = |bytes: &[u8]| {
                let mut parts = Parts(bytes);
                let back = (parts.array()?, parts.next()?.to_vec());
                parts.end()?;
                Some(back)
            };
            let back: Option<Vec<_>> = Parts(back).rest()?.into_iter().map(one).collect();
            Op::Epoch { number, id, commitment, members, back: back?, wraps: decode_wraps(wraps)? }
        }
        _ => return Some(Op::Unknown),
    };
    parts.end()?;
    Some(op)
}
