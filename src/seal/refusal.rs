//! Why something was not opened. Two kinds: a revision or log entry that the gate keeps out, and keys that
//! stay locked. Neither carries contents, ids or key material.

use std::fmt;

/// Why a revision, attachment or log entry is kept out. Nothing of it may touch the revision tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// Clear text, or a bare tombstone, where only sealed documents may be.
    NotSealed,
    /// An id of no class that a sealed channel has.
    ForeignId,
    /// Its shape is not that of the format: a member too many, too few, or written in another way.
    Malformed,
    /// A format or suite that this Settee does not know.
    UnknownVersion,
    /// Sealed under an epoch whose key has not arrived (yet).
    UnknownEpoch,
    /// Written by a device that the log does not know (yet).
    UnknownAuthor,
    /// It does not open: it was changed, cut, moved to another place, or sealed with another key.
    NotOpened,
    /// It opens, and its revision id does not follow from its contents.
    Revision,
    /// Its history is not the one that it was written on.
    History,
    /// It belongs to another document.
    Id,
    /// Its attachments are not those that it was written with.
    Attachments,
    /// Its author's signature does not fit.
    Signature,
    /// It is too large to be sealed.
    TooLarge,
    /// The log on the server lacks what this device has seen in it: an old state is being shown.
    Rollback,
    /// The log is that of another channel or another account.
    ForeignLog,
    /// The log was written by a newer Settee, in words this one does not know.
    NeedsUpdate,
    /// The content of the document is not one that can be stored.
    BadDocument,
}

impl Refusal {
    /// A word for programs: stable, snake case.
    pub fn name(self) -> &'static str {
        self.words().0
    }

    /// A sentence for people.
    pub fn reason(self) -> &'static str {
        self.words().1
    }

    /// Whether more of the channel's log may make it open: keep it aside and try again when the log grew.
    pub fn may_pass(self) -> bool {
        matches!(self, Self::UnknownEpoch | Self::UnknownAuthor)
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::NotSealed => {
                ("not_sealed", "It is in clear, and this channel takes sealed documents alone.")
            }
            Self::ForeignId => ("foreign_id", "Its id is of no kind that belongs in a sealed channel."),
            Self::Malformed => ("malformed", "It is not in the form of a sealed document."),
            Self::UnknownVersion => {
                ("unknown_version", "It was sealed by a newer version of Settee. Update to read it.")
            }
            Self::UnknownEpoch => {
                ("unknown_epoch", "The key for it has not arrived here. It may come with the next sync.")
            }
            Self::UnknownAuthor => {
                ("unknown_author", "It was written by a device that is not known here yet.")
            }
            Self::NotOpened => ("not_opened", "Somebody changed or moved it after it was written."),
            Self::Revision => ("wrong_revision", "Its revision is not the one that belongs to its contents."),
            Self::History => ("wrong_history", "Its history is not the one it was written on."),
            Self::Id => ("wrong_document", "It belongs to another document."),
            Self::Attachments => ("wrong_attachments", "Its attachments are not those it was written with."),
            Self::Signature => ("wrong_signature", "It was not written by the device that it names."),
            Self::TooLarge => ("too_large", "It is too large to be sealed."),
            Self::Rollback => (
                "rollback",
                "The server shows an older state than this device has seen. Nothing here was changed.",
            ),
            Self::ForeignLog => (
                "foreign_channel",
                "This is another channel than was here before, one of another account, or two in one.",
            ),
            Self::NeedsUpdate => (
                "needs_update",
                "A newer version of Settee changed the channel. Update to write; reading goes on.",
            ),
            Self::BadDocument => ("bad_document", "The document in it is not one that can be stored."),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name(), self.reason())
    }
}

impl std::error::Error for Refusal {}

/// Why keys stay locked.
///
/// What depends on a secret has one answer, [`Locked::Wrong`]: neither a wrong secret nor a damaged record
/// tells which of the two it was. The others can be seen without any secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Locked {
    /// The passphrase, code or device key is wrong, or the record was changed.
    Wrong,
    /// The recovery code was not typed as it was shown: its check letters do not fit.
    Mistyped,
    /// A recovery code has 28 letters and digits; this has more or fewer.
    WrongLength,
    /// The record is not in the form of a key record.
    Malformed,
    /// The record was written by a newer version.
    UnknownVersion,
    /// The record asks for less work to be guessed than is ever written here, or for more than is sane.
    CostOutOfBounds,
    /// There is no lock of this kind in the record.
    NoSuchLock,
    /// The passphrase is empty.
    EmptyPassphrase,
    /// The database holds nothing that this recovery code opens.
    NothingToRecover,
}

impl Locked {
    /// A word for programs: stable, snake case.
    pub fn name(self) -> &'static str {
        self.words().0
    }

    /// A sentence for people.
    pub fn reason(self) -> &'static str {
        self.words().1
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Wrong => ("wrong_secret", "That did not unlock it. Nothing was changed."),
            Self::Mistyped => (
                "mistyped_code",
                "There is a typing mistake in the recovery code. Compare it with what you wrote down.",
            ),
            Self::WrongLength => ("code_length", "A recovery code has 28 letters and digits."),
            Self::Malformed => (
                "malformed_keys",
                "The keys on this device are damaged. Nothing was overwritten; the recovery code makes them anew.",
            ),
            Self::UnknownVersion => {
                ("unknown_version", "A newer version of Settee stored the keys. Reload or update.")
            }
            Self::CostOutOfBounds => (
                "cost_out_of_bounds",
                "Somebody changed the keys on this device. They are not used; the recovery code makes them anew.",
            ),
            Self::NoSuchLock => (
                "no_such_lock",
                "No passphrase was set here, or this device does not stay unlocked. Unlock it in another way.",
            ),
            Self::EmptyPassphrase => ("empty_passphrase", "A passphrase must not be empty."),
            Self::NothingToRecover => (
                "nothing_to_recover",
                "Nothing here belongs to this recovery code. Replicate one of its channels first.",
            ),
        }
    }
}

impl fmt::Display for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name(), self.reason())
    }
}

impl std::error::Error for Locked {}
