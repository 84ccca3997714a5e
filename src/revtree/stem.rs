//! How a tree shrinks.

use super::RevTree;
use crate::model::Rev;

impl RevTree {
    /// Forgets all but the newest revisions of every branch, and gives the forgotten ones.
    ///
    /// A revision stays if, counted from any one leaf that descends from it, it is among the newest
    /// `limit`, the leaf included. So every leaf stays, and a limit of 0 means 1. A branch can stay
    /// longer than `limit` where a shorter one needs its older part, and break where none does; the
    /// newer piece then starts at a root of its own. Indices change if anything was forgotten.
    ///
    /// Source: `stem/2` in `couch_key_tree.erl`.
    ///
    /// ```
    /// use settee::{model::Rev, revtree::RevTree};
    /// let path: Vec<Rev> = ["3-c", "2-b", "1-a"].map(|rev| rev.parse().unwrap()).into();
    /// let mut tree = RevTree::new();
    /// tree.merge(&path, false)?;
    /// assert_eq!(tree.stem(2), path[2..]);
    /// assert_eq!(tree.nodes().len(), 2);
    /// # Ok::<(), settee::error::Error>(())
    /// ```
    pub fn stem(&mut self, limit: usize) -> Vec<Rev> {
        let limit = limit.max(1);
        if self.nodes.len() <= limit {
            return Vec::new();
        }
        // Steps to the nearest leaf. Children stand behind their parent, so backwards each is settled
        // before its parent is looked at, and one that nobody has reached by then is a leaf.
        let mut steps = vec![None::<usize>; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate().rev() {
            let own = *steps[index].get_or_insert(0);
            if let Some(parent) = node.parent {
                steps[parent] = Some(steps[parent].map_or(own + 1, |steps| steps.min(own + 1)));
            }
        }
        let stays = |index: usize| steps[index].is_some_and(|steps| steps < limit);
        if (0..self.nodes.len()).all(stays) {
            return Vec::new();
        }
        let mut forgotten = Vec::new();
        let mut place = vec![None; self.nodes.len()];
        let mut kept = Vec::new();
        for (index, mut node) in std::mem::take(&mut self.nodes).into_iter().enumerate() {
            if stays(index) {
                node.parent = node.parent.and_then(|parent| place[parent]);
                place[index] = Some(kept.len());
                kept.push(node);
            } else {
                forgotten.push(node.rev);
            }
        }
        self.nodes = kept;
        forgotten
    }
}
