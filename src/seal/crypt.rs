//! The few primitives everything here is made of, under the names that the format gives them. They are
//! RustCrypto's; what is ours is how their inputs are put together, so that no two mean the same bytes.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

use super::parts::write_part;

/// Fills the bytes it is given from a source fit for keys: `Platform::random_bytes`.
pub type Entropy<'a> = &'a dyn Fn(&mut [u8]);

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// 32 secret bytes. Wiped when dropped, never printed, compared in constant time.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// A new key.
    pub fn random(entropy: Entropy) -> Self {
        let mut key = Self([0; 32]);
        entropy(&mut key.0);
        key
    }

    /// A key from its bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A key from as many bytes as a key has.
    pub(super) fn from_slice(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }

    /// The bytes themselves, for whoever wraps or stores them. Not for anything that prints.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for Key {}

/// Whether two strings of bytes are the same, in a time that does not tell where they differ.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// SHA-256 over `enc(parts)`.
pub(super) fn hash(parts: &[&[u8]]) -> Hash {
    let mut sha = Sha256::new();
    write_part(parts, &mut |bytes| sha.update(bytes));
    sha.finalize().into()
}

/// A key for `H`, with the half of the work done that is the same for every message.
pub(super) struct MacKey(Hmac<Sha256>);

impl MacKey {
    pub(super) fn new(key: &Key) -> Self {
        // HMAC fills a short key up with zeros to its block itself; doing it here leaves nothing that can fail.
        let mut block = Zeroizing::new([0; 64]);
        for (to, from) in block.iter_mut().zip(&key.0) {
            *to = *from;
        }
        Self(Hmac::new((&*block).into()))
    }

    /// `H(key; parts)`: HMAC-SHA-256 over `enc(parts)`.
    pub(super) fn mac(&self, parts: &[&[u8]]) -> Hash {
        let mut hmac = self.0.clone();
        write_part(parts, &mut |bytes| hmac.update(bytes));
        hmac.finalize().into_bytes().into()
    }
}

/// The same with a key that is used once.
pub(super) fn mac(key: &Key, parts: &[&[u8]]) -> Hash {
    MacKey::new(key).mac(parts)
}

/// The first N bytes of a digest.
pub(super) fn first<const N: usize>(hash: &Hash) -> [u8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(hash) {
        *to = *from;
    }
    out
}

/// HKDF-SHA-256 with the info as it is.
pub(super) fn hkdf(secret: &[u8], salt: &[u8], info: &[u8]) -> Key {
    let mut key = Key([0; 32]);
    match Hkdf::<Sha256>::new(Some(salt), secret).expand(info, &mut key.0) {
        Ok(()) => key,
        Err(_) => unreachable!("HKDF gives 32 bytes, whatever it is given"),
    }
}

/// `kdf(secret, label)` of the format: a key for one purpose.
pub(super) fn kdf(secret: &[u8], salt: &[u8], label: &str) -> Key {
    hkdf(secret, salt, format!("vault1/{label}").as_bytes())
}

/// What sealing adds to a text.
pub(super) const TAG_BYTES: usize = 16;

/// XChaCha20-Poly1305 in place; the tag is appended. `None` beyond 256 GB.
pub(super) fn encrypt(key: &Key, nonce: &[u8; 24], aad: &[u8], text: &mut Vec<u8>) -> Option<()> {
    let tag = settee_aead::seal_x(&key.0, nonce, aad, text)?;
    text.extend_from_slice(&tag);
    Some(())
}

/// XChaCha20-Poly1305 in place; the tag is taken off. `None` if anything is not as it was sealed.
pub(super) fn decrypt(key: &Key, nonce: &[u8; 24], aad: &[u8], text: &mut Vec<u8>) -> Option<()> {
    let (body, tag) = text.split_last_chunk_mut::<TAG_BYTES>()?;
    let tag = *tag;
    settee_aead::open_x(&key.0, nonce, aad, body, &tag)?;
    text.truncate(text.len().saturating_sub(tag.len()));
    Some(())
}

/// Seals a short secret under a key: nonce, ciphertext, tag. The nonce is a MAC of what is sealed, so that
/// a bad random source repeats nothing, and it is checked on opening, so that a blob opens under one key
/// only. `label` says what it is for; no key ever opens two kinds of blob.
pub(super) fn wrap(key: &Key, label: &str, aad: &[u8], secret: &[u8]) -> Vec<u8> {
    let nonce: [u8; 24] = wrap_nonce(key, label, aad, secret);
    let mut text = secret.to_vec();
    // `secret` is a few hundred bytes: far from where a ChaCha stream ends.
    if encrypt(&kdf(&key.0, label.as_bytes(), "wrap-key"), &nonce, aad, &mut text).is_none() {
        unreachable!("a secret is shorter than a ChaCha stream");
    }
    [&nonce[..], &text].concat()
}

/// Opens what [`wrap`] made with the same key, label and `aad`; `None` for anything else.
pub(super) fn unwrap(key: &Key, label: &str, aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, text) = sealed.split_first_chunk::<24>()?;
    let mut text = Zeroizing::new(text.to_vec());
    decrypt(&kdf(&key.0, label.as_bytes(), "wrap-key"), nonce, aad, &mut text)?;
    same(nonce, &wrap_nonce(key, label, aad, &text)).then_some(text)
}

fn wrap_nonce(key: &Key, label: &str, aad: &[u8], secret: &[u8]) -> [u8; 24] {
    first(&mac(&kdf(&key.0, label.as_bytes(), "wrap-nonce"), &[b"wrap", aad, secret]))
}
