//! What a sealed channel seals before the commit that needs it: many documents at a time, since one signature does for
//! them, and not in the commit's builder, which would hold up the page. What waits for the next commit is sealed while
//! this one is being stored, so that neither the page nor the browser's storage waits for the other.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
};

use super::{
    Inner, Job, Reply, State, Written,
    edit::{Edit, Ready},
    sealing::Keys,
    write::Current,
};
use crate::{error::Result, model::Bytes, store::BlockNo};

/// Documents sealed between two turns of the event loop, and signed together. A commit takes no more than this and
/// what came with the last of them.
pub(super) const SEAL_AT_ONCE: usize = 256;

/// The edits of one call, and who waits for what becomes of them.
pub(super) struct Write {
    pub(super) edits: Vec<Edit>,
    /// Leaves that were sealed while it waited, by the place of their edit.
    pub(super) ahead: Vec<(usize, SealedLeaf)>,
    pub(super) reply: Reply<Vec<Result<Written>>>,
}

impl Write {
    pub(super) fn new(edits: Vec<Edit>, reply: Reply<Vec<Result<Written>>>) -> Self {
        Self { edits, ahead: Vec::new(), reply }
    }

    /// How many of its edits may have to be sealed.
    pub(super) fn to_seal(&self) -> usize {
        self.edits.iter().filter(|edit| !edit.view.is_stored()).count()
    }
}

/// Takes off what is too much for one commit: while that is stored, the next one is sealed.
pub(super) fn for_later(writes: &mut Vec<Write>) -> Vec<Write> {
    let mut to_seal = 0;
    let is_full = |write: &Write| {
        let is_full = to_seal >= SEAL_AT_ONCE;
        to_seal += write.to_seal();
        is_full
    };
    let first = writes.iter().position(is_full);
    first.map_or_else(Vec::new, |first| writes.split_off(first))
}

/// A leaf that was sealed before the commit, and with which keys: if they are not the newest ones it is made again.
pub(super) struct SealedLeaf {
    keys: Rc<Keys>,
    pub(super) ready: Ready,
}

impl SealedLeaf {
    /// Whether it was sealed with the keys that this edit is to be sealed with now.
    pub(super) fn counts(&self, edit: &Edit) -> bool {
        edit.view.keys().is_some_and(|keys| Rc::ptr_eq(&keys, &self.keys))
    }
}

/// Which write, which edit of it.
type Place = (usize, usize);

/// Such leaves by the place of their edit.
pub(super) type SealedAhead = HashMap<Place, SealedLeaf>;

/// The first edit of each document. What a second one is made on is not known yet.
fn firsts<'a>(writes: impl Iterator<Item = &'a Write>) -> Vec<(Place, &'a Edit)> {
    let mut seen: HashSet<&str> = HashSet::new();
    let mut edits = Vec::new();
    for (number, write) in writes.enumerate() {
        let firsts = write.edits.iter().enumerate().filter(|(_, edit)| seen.insert(&edit.id));
        edits.extend(firsts.map(|(place, edit)| ((number, place), edit)));
    }
    edits
}

impl Inner {
    /// A sealed channel's view is another one once it was locked and unlocked: what waits is sealed with its keys. What
    /// waits in one that is locked is refused in the builder.
    pub(super) fn look_anew(&self, writes: &mut [Write]) {
        let Some(now) = &*self.view.borrow() else { return };
        let edits = writes.iter_mut().flat_map(|write| &mut write.edits);
        edits.filter(|edit| edit.view.is_outdated(now)).for_each(|edit| edit.view = now.clone());
    }

    /// Whether that happened since.
    pub(super) fn is_another(&self, writes: &[Write]) -> bool {
        let Some(now) = &*self.view.borrow() else { return false };
        writes.iter().flat_map(|write| &write.edits).any(|edit| edit.view.is_outdated(now))
    }

    pub(super) fn is_locked(&self) -> bool {
        self.view.borrow().is_none()
    }

    /// In a sealed channel, makes the leaves of the caller's edits as far as they are clear and not made yet. What
    /// turns out to be made on another revision is sealed in the commit's builder, by itself; so is a second edit
    /// of one document.
    pub(super) async fn seal_ahead(
        &self,
        have: &HashMap<BlockNo, Bytes>,
        writes: &[Write],
        ahead: &mut SealedAhead,
    ) -> Result<()> {
        if !self.is_sealed {
            return Ok(());
        }
        let mut edits = firsts(writes.iter());
        edits.retain(|(place, edit)| !ahead.get(place).is_some_and(|leaf| leaf.counts(edit)));
        for (turn, edits) in edits.chunks(SEAL_AT_ONCE).enumerate() {
            if turn > 0 {
                self.platform.sleep(0).await;
            }
            ahead.extend(self.state.borrow_mut().seal(have, edits)?);
        }
        Ok(())
    }

    /// The same for what waits for the next commit, as much as is sealed at once. What cannot be sealed now is then.
    pub(super) fn seal_waiting(&self) {
        if !self.is_sealed {
            return;
        }
        let mut jobs = self.jobs.borrow_mut();
        let writes = jobs.iter_mut().filter_map(|job| match job {
            Job::Write(write) => Some(write),
            _ => None,
        });
        let mut left = SEAL_AT_ONCE;
        let fits = |write: &&mut Write| {
            let fits = write.edits.len() <= left;
            left = left.saturating_sub(write.edits.len());
            fits
        };
        let mut waiting: Vec<&mut Write> =
            writes.take_while(fits).filter(|write| write.ahead.is_empty()).collect();
        let edits = firsts(waiting.iter().map(|write| &**write));
        let sealed = self.state.borrow_mut().seal(&HashMap::new(), &edits);
        for ((number, place), leaf) in sealed.unwrap_or_default() {
            waiting[number].ahead.push((place, leaf));
        }
    }
}

impl State {
    /// The leaves of these edits, sealed and signed together, as far as they are clear.
    fn seal(
        &mut self,
        have: &HashMap<BlockNo, Bytes>,
        edits: &[(Place, &Edit)],
    ) -> Result<Vec<(Place, SealedLeaf)>> {
        let mut group: Option<Rc<Keys>> = None;
        let (mut places, mut prepared) = (Vec::new(), Vec::new());
        for (place, edit) in edits {
            let Some(keys) = edit.view.keys() else { continue };
            let current = match self.current(have, &edit.id)? {
                Current::Absent => None,
                Current::At(doc, _) => Some(doc),
                Current::Elsewhere => continue,
            };
            let current = current.as_deref();
            let leaf = edit.parent(current).and_then(|parent| {
                let new = edit.new_leaf(current, parent.as_ref())?;
                Ok((keys.prepare((&edit.id, edit.name()), current, parent.as_ref(), new)?, parent))
            });
            // Why not, the builder finds out and says.
            let Ok((leaf, parent)) = leaf else { continue };
            if Rc::ptr_eq(group.get_or_insert_with(|| keys.clone()), &keys) {
                places.push((*place, parent));
                prepared.push(leaf);
            }
        }
        let Some(keys) = group else { return Ok(Vec::new()) };
        let leaves = keys.seal(prepared)?;
        let sealed =
            |((place, parent), leaf)| (place, SealedLeaf { keys: keys.clone(), ready: (parent, leaf) });
        Ok(places.into_iter().zip(leaves).map(sealed).collect())
    }
}
