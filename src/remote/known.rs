//! What a server is known to have, because its feed has just named it.
//!
//! A sync pulls a change, and a moment later its push finds that change in the database here. It came from
//! there, so there is nothing to ask. Kept for a while, for the databases here that use this one there, and
//! only as long as it is the same one: each replication that begins asks who is there ([`Known::begin`]), and
//! what an answer says that was asked for before another life of the database counts no more.

use std::cell::{Cell, RefCell};

use crate::{model::Rev, peer::Change};

/// How many revisions are remembered: what a pull may be ahead of a push.
const REMEMBERED: usize = 1_500;

/// See the module's page.
#[derive(Default)]
pub struct Known {
    instance: RefCell<Option<String>>,
    life: Cell<u32>,
    /// Somebody pushes: what is pulled is worth remembering.
    is_asked: Cell<bool>,
    /// Where the next one goes, over the oldest.
    next: Cell<usize>,
    revs: RefCell<Vec<(String, Rev)>>,
}

impl Known {
    /// Which life of the database this is, as far as is known; for [`Known::note`].
    pub fn life(&self) -> u32 {
        self.life.get()
    }

    /// The database was asked who it is: whoever asks starts to believe anew.
    pub fn begin(&self, instance: Option<&str>) {
        self.revs.take();
        self.next.set(0);
        let before = self.instance.replace(instance.map(str::to_owned));
        if instance.is_none() || before.as_deref() != instance {
            self.life.set(self.life.get().wrapping_add(1));
        }
    }

    /// The feed named these, asked in the life given.
    #[inline(never)]
    pub fn note(&self, life: u32, changes: &[Change]) {
        if life != self.life.get() || !self.is_asked.get() {
            return;
        }
        let mut revs = self.revs.borrow_mut();
        for change in changes {
            for rev in &change.leaves {
                let (known, next) = ((change.id.clone(), rev.clone()), self.next.get());
                match revs.get_mut(next) {
                    Some(oldest) => *oldest = known,
                    None => revs.push(known),
                }
                self.next.set((next + 1) % REMEMBERED);
            }
        }
    }

    /// What has to be asked about.
    pub fn unknown(&self, mut leaves: Vec<(String, Vec<Rev>)>) -> Vec<(String, Vec<Rev>)> {
        self.is_asked.set(true);
        let revs = self.revs.borrow();
        leaves.retain_mut(|(id, asked)| {
            asked.retain(|rev| !revs.iter().any(|(known, of_it)| of_it == rev && known == id));
            !asked.is_empty()
        });
        leaves
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Seq;

    fn rev(text: &str) -> Rev {
        text.parse().unwrap()
    }

    fn change(id: &str, revs: &[&str]) -> Change {
        let leaves = revs.iter().map(|text| rev(text)).collect();
        Change { seq: Seq::zero(), id: id.to_owned(), leaves, deleted: false }
    }

    fn asks(known: &Known, id: &str, revs: &[&str]) -> Vec<String> {
        let asked = vec![(id.to_owned(), revs.iter().map(|text| rev(text)).collect())];
        let unknown = known.unknown(asked);
        unknown.iter().flat_map(|(_, revs)| revs.iter().map(Rev::to_string)).collect()
    }

    #[test]
    fn what_the_feed_named_is_not_asked_about() {
        let known = Known::default();
        known.begin(Some("1790000000"));
        // Nobody pushes yet.
        known.note(known.life(), &[change("a", &["1-a"])]);
        assert_eq!(asks(&known, "a", &["1-a"]), ["1-a"]);
        known.note(known.life(), &[change("a", &["2-a", "1-b"]), change("b", &["1-c"])]);
        assert_eq!(asks(&known, "a", &["1-b", "1-c", "2-a"]), ["1-c"]);
        assert!(asks(&known, "b", &["1-c"]).is_empty());
        assert_eq!(asks(&known, "c", &["1-c"]), ["1-c"]);
    }

    #[test]
    fn another_life_knows_nothing_and_learns_nothing_of_the_one_before() {
        for (before, now, is_same) in [
            (Some("1"), Some("1"), true),
            (Some("1"), Some("2"), false),
            (None, None, false),
            (None, Some("1"), false),
        ] {
            let known = Known::default();
            known.begin(before);
            asks(&known, "a", &["1-a"]);
            let asked_in = known.life();
            known.note(asked_in, &[change("a", &["1-a"])]);
            known.begin(now);
            assert_eq!(asks(&known, "a", &["1-a"]), ["1-a"]);
            // An answer that was on its way.
            known.note(asked_in, &[change("a", &["1-a"])]);
            assert_eq!(asks(&known, "a", &["1-a"]).is_empty(), is_same, "{before:?} {now:?}");
        }
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let known = Known::default();
        asks(&known, "a", &["1-a"]);
        for n in 0..=REMEMBERED {
            known.note(0, &[change(&format!("d{n}"), &["1-a"])]);
        }
        assert_eq!(asks(&known, "d0", &["1-a"]), ["1-a"]);
        assert!(asks(&known, "d1", &["1-a"]).is_empty());
        assert!(asks(&known, &format!("d{REMEMBERED}"), &["1-a"]).is_empty());
        assert_eq!(known.revs.borrow().len(), REMEMBERED);
    }
}
