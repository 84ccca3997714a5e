//! What a server is known to have, because its feed has just named it.
//!
//! A sync pulls a change, and a moment later its push finds that change in the database here. It came from
//! there, so there is nothing to ask. Kept for a while, for the databases here that use this one there, and
//! only as long as it is the same one: each replication that begins asks who is there ([`Known::begin`]), and
//! what an answer says that was asked for before another life of the database counts no more.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
};

use crate::{model::Rev, peer::Change};

/// How many revisions are remembered at least, and half of how many at most.
const REMEMBERED: usize = 1_000;

/// See the module's page.
#[derive(Default)]
pub struct Known {
    instance: RefCell<Option<String>>,
    life: Cell<u32>,
    /// The newer ones, and the older ones.
    revs: RefCell<[HashSet<(String, Rev)>; 2]>,
}

impl Known {
    /// Which life of the database this is, as far as is known; for [`Known::note`].
    pub fn life(&self) -> u32 {
        self.life.get()
    }

    /// The database was asked who it is: whoever asks starts to believe anew.
    pub fn begin(&self, instance: Option<&str>) {
        self.revs.take();
        let before = self.instance.replace(instance.map(str::to_owned));
        if instance.is_none() || before.as_deref() != instance {
            self.life.set(self.life.get().wrapping_add(1));
        }
    }

    /// The feed named these, asked in the life given.
    pub fn note(&self, life: u32, changes: &[Change]) {
        if life != self.life.get() {
            return;
        }
        let [newer, older] = &mut *self.revs.borrow_mut();
        for change in changes {
            if newer.len() >= REMEMBERED {
                *older = std::mem::take(newer);
            }
            newer.extend(change.leaves.iter().map(|rev| (change.id.clone(), rev.clone())));
        }
    }

    /// What has to be asked about.
    pub fn unknown(&self, mut leaves: Vec<(String, Vec<Rev>)>) -> Vec<(String, Vec<Rev>)> {
        let revs = self.revs.borrow();
        if revs[0].is_empty() && revs[1].is_empty() {
            return leaves;
        }
        leaves.retain_mut(|(id, asked)| {
            asked.retain(|rev| {
                let key = (id.clone(), rev.clone());
                !revs.iter().any(|revs| revs.contains(&key))
            });
            !asked.is_empty()
        });
        leaves
    }
}
