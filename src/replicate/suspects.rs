//! Documents at which a server fails again and again while it does other work well.
//!
//! A 500 may be the server's trouble or one document's: CouchDB answers so where a validation function throws
//! something odd, where a content is not what its digest says, where a document's place on the disk is broken.
//! The first passes with waiting, the second never does, and would keep all that comes after it.
//!
//! So each attempt that fails at a document asks for something else then and there: the target for a small
//! write, the source for its state. If that goes well, the document is one failure closer to being denied; if
//! not, nothing is held against it. What has failed so often, and each time in the same way, is denied, which loses
//! nothing: it is remembered, told, and tried again. Where each answer is another one, it is rather what stands
//! between that is bad, and much more is waited for. An answer that says to come later (503, 429, anything with
//! `Retry-After`) and a line that breaks count for nothing, since they tell nothing of the document.
//!
//! Where a request for several documents fails as a whole, the next ones are for one each until it is found.

use crate::{
    error::{Error, Kind},
    model::Rev,
};

/// After so many failures in a row with one status a document is denied; by back-off that is about half a minute.
const MOST_STRIKES: u32 = 5;

/// Or after so many whatever they were; about a quarter of an hour.
const MOST_FAILURES: u32 = 20;

/// What is known of them.
#[derive(Default)]
pub struct Suspects {
    known: Vec<Suspect>,
    /// Requests for several that failed as a whole.
    whole: u32,
    /// What the attempt under way failed at; an empty list for a whole request.
    accused: Option<Accused>,
}

#[derive(Default)]
struct Accused {
    is_read: bool,
    docs: Vec<(String, Rev, u16)>,
}

struct Suspect {
    id: String,
    rev: Rev,
    /// What the last failure was, how many like it there were in a row, and how many in all.
    status: u16,
    strikes: u32,
    failures: u32,
}

impl Suspects {
    /// Whether an answer may be one document's fault, though it says that it is the server's.
    pub fn is_odd(error: &Error) -> bool {
        error.kind() == Kind::Remote
            && error.status() >= 500
            && error.status() != 503
            && error.retry_after_ms().is_none()
    }

    /// The server failed at this one, with this status. Whether that was so often that it is denied.
    pub fn accuse(&mut self, id: &str, rev: &Rev, status: u16, is_read: bool) -> bool {
        let is_enough = |known: &Suspect| {
            known.failures >= MOST_FAILURES || (known.strikes >= MOST_STRIKES && known.status == status)
        };
        if self.known.iter().any(|known| known.id == id && known.rev == *rev && is_enough(known)) {
            return true;
        }
        let accused = self.accused.get_or_insert_default();
        accused.is_read = is_read;
        accused.docs.push((id.to_owned(), rev.clone(), status));
        false
    }

    /// The target failed at several, and did not say at which.
    pub fn accuse_several(&mut self) {
        self.accused.get_or_insert_default();
    }

    /// Whether somebody is accused, and then whether it was in reading.
    pub fn accused(&self) -> Option<bool> {
        self.accused.as_ref().map(|accused| accused.is_read)
    }

    /// The same server did something else well right after, or not.
    pub fn judge(&mut self, is_well: bool) {
        let Some(Accused { docs, .. }) = self.accused.take().filter(|_| is_well) else { return };
        if docs.is_empty() {
            self.whole += 1;
        }
        for (id, rev, status) in docs {
            match self.known.iter_mut().find(|known| known.id == id && known.rev == rev) {
                Some(known) => {
                    known.strikes = if known.status == status { known.strikes + 1 } else { 1 };
                    known.failures += 1;
                    known.status = status;
                }
                None => self.known.push(Suspect { id, rev, status, strikes: 1, failures: 1 }),
            }
        }
    }

    /// Whether documents are to be sent one by one.
    pub fn are_sought(&self) -> bool {
        self.whole > 1
    }

    /// A batch with documents went through: whoever was in it is not sought any more.
    pub fn went_through(&mut self) {
        self.whole = 0;
    }
}
