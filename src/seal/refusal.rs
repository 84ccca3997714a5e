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
            Self::NotSealed => ("not_sealed", "It is not sealed, and this channel takes nothing else."),
            Self::ForeignId => ("foreign_id", "Its id is of no kind that belongs in a sealed channel."),
            Self::Malformed => ("malformed", "It is not in the form of a sealed document."),
            Self::UnknownVersion => ("unknown_version", "It was sealed by a version that is not known here."),
            Self::UnknownEpoch => ("unknown_epoch", "The key it was sealed with has not arrived."),
            Self::UnknownAuthor => ("unknown_author", "It was written by a device that is not known here."),
            Self::NotOpened => ("not_opened", "It was changed or moved after it was sealed."),
            Self::Revision => ("wrong_revision", "Its revision does not follow from its contents."),
            Self::History => ("wrong_history", "Its history is not the one it was written on."),
            Self::Id => ("wrong_document", "It belongs to another document."),
            Self::Attachments => ("wrong_attachments", "Its attachments are not those it was written with."),
            Self::Signature => ("wrong_signature", "Its author's signature does not fit."),
            Self::TooLarge => ("too_large", "It is too large to be sealed."),
            Self::Rollback => {
                ("rollback", "The server shows an older state of the channel than was seen here.")
            }
            Self::ForeignLog => ("foreign_channel", "This is another channel, or that of another account."),
            Self::NeedsUpdate => ("needs_update", "The channel was changed by a newer version of Settee."),
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
            Self::Wrong => ("wrong_secret", "That did not unlock it."),
            Self::Mistyped => ("mistyped_code", "There is a typing mistake in the recovery code."),
            Self::WrongLength => ("code_length", "A recovery code has 28 letters and digits."),
            Self::Malformed => ("malformed_keys", "What is stored here is not a key record."),
            Self::UnknownVersion => ("unknown_version", "The keys were stored by a newer version of Settee."),
            Self::CostOutOfBounds => ("cost_out_of_bounds", "The key record was changed; it is not used."),
            Self::NoSuchLock => ("no_such_lock", "The keys cannot be unlocked in this way."),
            Self::EmptyPassphrase => ("empty_passphrase", "A passphrase must not be empty."),
            Self::NothingToRecover => ("nothing_to_recover", "Nothing here belongs to this recovery code."),
        }
    }
}

impl fmt::Display for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name(), self.reason())
    }
}

impl std::error::Error for Locked {}
