//! What the tests of sealed channels share: an account with a channel, from a chance that repeats itself.
#![allow(dead_code)]

use std::cell::Cell;

use settee::{
    model::{Digest, Rev},
    seal::*,
};

/// A chance that repeats itself: the nth byte drawn is a hash of n. `Chance::stuck` always gives one byte.
pub struct Chance {
    seed: u64,
    drawn: Cell<u64>,
    stuck: bool,
}

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self { seed, drawn: Cell::new(0), stuck: false }
    }

    pub fn stuck() -> Self {
        Self { seed: 0, drawn: Cell::new(0), stuck: true }
    }

    pub fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.stuck {
                *byte = 7;
                continue;
            }
            let n = self.drawn.get();
            self.drawn.set(n + 1);
            *byte = sha256(&[self.seed.to_be_bytes(), (n / 32).to_be_bytes()].concat())[n as usize % 32];
        }
    }
}

/// An account and its channel on one device.
pub struct Home {
    pub vault: Vault,
    pub code: RecoveryCode,
    pub entries: Vec<Entry>,
    pub replay: Replay,
}

pub fn home(chance: &Chance) -> Home {
    let entropy = |bytes: &mut [u8]| chance.fill(bytes);
    let (mut vault, code) = Vault::create(&entropy);
    let entries = vault.create_channel(&entropy).unwrap();
    let replay = vault.open_channel(None, &entries).unwrap();
    vault.remember(replay.pin.clone());
    Home { vault, code, entries, replay }
}

impl Home {
    pub fn channel(&self) -> &Channel {
        &self.replay.channel
    }

    /// Seals a first revision.
    pub fn seal(&self, id: &str, body: &str) -> Sealed {
        self.seal_on(id, None, false, body, &[])
    }

    pub fn seal_on(
        &self,
        id: &str,
        parent: Option<&Sealed>,
        deleted: bool,
        body: &str,
        files: &[FileEntry],
    ) -> Sealed {
        let parent = parent.map(|parent| (&parent.rev, &parent.line));
        let new = NewRevision { id, parent, deleted, body, files };
        seal_revision(self.channel(), &self.vault.author(), &new).unwrap()
    }

    /// Seals an attachment of a document: its manifest entry and its bytes.
    pub fn attach(&self, id: &str, name: &str, plain: &[u8], chance: &Chance) -> (FileEntry, Vec<u8>) {
        attach(self.channel(), id, name, plain, chance)
    }
}

pub fn attach(
    channel: &Channel,
    id: &str,
    name: &str,
    plain: &[u8],
    chance: &Chance,
) -> (FileEntry, Vec<u8>) {
    let remote = channel.remote_id(id);
    let sealer =
        FileSealer::new(channel.ch(), &remote, name, "image/jpeg", PlainFile::of(plain), 1, &|bytes| {
            chance.fill(bytes)
        });
    let mut out = Vec::new();
    let entry = sealer.seal_all(plain, &mut out).unwrap();
    assert_eq!(out.len() as u64, entry.stub().length);
    assert_eq!(Digest::of(&out), entry.sealed_digest);
    (entry, out)
}

/// A sealed revision as it comes over a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Wire {
    pub id: String,
    pub path: Vec<Rev>,
    pub deleted: bool,
    pub stubs: Vec<Stub>,
    pub body: String,
}

impl Wire {
    pub fn new(sealed: &Sealed, ancestors: &[&Sealed], deleted: bool) -> Self {
        let path = std::iter::once(sealed).chain(ancestors.iter().copied()).map(|s| s.rev.clone()).collect();
        Self {
            id: sealed.id.clone(),
            path,
            deleted,
            stubs: sealed.stubs.clone(),
            body: sealed.body.to_string(),
        }
    }

    pub fn received(&self) -> Received<'_> {
        Received {
            id: &self.id,
            path: &self.path,
            deleted: self.deleted,
            stubs: &self.stubs,
            body: &self.body,
        }
    }

    pub fn open(&self, channel: &Channel) -> Result<Opened, Refusal> {
        open_revision(channel, &self.received(), &|_| None)
    }

    /// Why it is kept out.
    pub fn refusal(&self, channel: &Channel) -> Refusal {
        match self.open(channel) {
            Ok(_) => panic!("opened: {self:?}"),
            Err(refusal) => refusal,
        }
    }
}

/// Some plain bytes.
pub fn plain(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + 7) as u8).collect()
}
