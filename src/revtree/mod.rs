//! Revision trees: what a document remembers of its own past.
//!
//! # Why a tree
//!
//! An edit names the revision it is based on, and a database on its own takes only edits of the
//! newest one. There a history is a line: `1-a`, `2-b`, `3-c`. A phone without network keeps to the
//! same rule and still writes a `3-d` on top of the `2-b` it last saw. Neither side did anything
//! wrong, and neither edit may be lost, so when the two meet the history becomes a tree:
//!
//! ```text
//!   1-a ── 2-b ─┬─ 3-c                one leaf per edit that nobody has built upon
//!               └─ 3-d ── 4-e         4-e is the winner, 3-c its conflict
//! ```
//!
//! # Winner and conflicts
//!
//! The revisions that nothing is based on are the *leaves*; only they have contents that matter.
//! More than one leaf that is not deleted is a *conflict*. Every replica shows the same leaf without
//! having to ask the others: one that is not deleted goes before one that is, then the higher
//! generation, then the greater id. That choice is arbitrary and meant to be: it has to be the same
//! everywhere, not right. An application settles a conflict by deleting the leaves it does not want,
//! and a deletion is an edit too, one more leaf that is marked as deleted.
//!
//! # Merging
//!
//! Replication carries a leaf together with the revisions it descends from, newest first. Merging
//! that path keeps the union of both histories. It can hang below what is known, extend a branch,
//! fork one, or share nothing at all with the tree, which then has one root more. It can also reach
//! further back than the tree: then the path's older revisions go above the root, and two roots may
//! turn out to have been one branch.
//!
//! # Stemming
//!
//! Histories grow for ever, so only the newest revisions of every branch stay (CouchDB's limit is
//! 1000). What is cut off is the start, never a leaf:
//!
//! ```text
//!   1-a ── 2-b ─┬─ 3-c                limit 2          2-b ─┬─ 3-c
//!               └─ 3-d ── 4-e            ─►                 └─ 3-d ── 4-e
//! ```
//!
//! `2-b` stays because `3-c` needs it, although `4-e` no longer does. A generation tells how deep a
//! revision was, so a stemmed branch still lines up with a longer one. Two branches stemmed so far
//! that they share nothing do not: their leaves become conflicts. That is the price of a limit, in
//! CouchDB as here.
//!
//! # One revision, one place
//!
//! A revision's id is made from its contents *and its parent*, so it can have but one parent. Only
//! somebody who writes histories by hand (`new_edits: false`) can claim two. CouchDB then keeps the
//! revision twice and lists it as its own conflict. Here a revision stands in the tree once and
//! keeps the first parent it was given; of a path that says otherwise, the part above the
//! disagreement is ignored. The alternatives are worse: the revision would be stored twice under one
//! name, or an ancestor without contents would be left behind as a leaf, where it could win. What
//! this costs: for such histories the order of arrival decides which ancestors are known, and
//! whether one that was also written as a revision of its own counts as a leaf. For all others
//! revisions, branches, leaves and winner are the same whatever came first.
//!
//! Source: `couch_key_tree.erl`, `couch_doc.erl` (`to_doc_info_path`) and `couch_db.erl`
//! (`get_missing_revs`) of apache/couchdb, checked against commit a6778e5d4.

mod merge;
mod stem;
#[cfg(test)]
mod tests;

pub use self::merge::Merged;
use crate::{
    error::{Error, Result},
    model::{Rev, sort_by},
};

/// One revision in a [`RevTree`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub rev: Rev,
    /// Index of the revision it is based on, which stands before it. `None` for a root: either a
    /// first revision, or the oldest one still known of a stemmed branch.
    pub parent: Option<usize>,
    /// Whether this revision deleted the document. A path tells that of its newest revision only, so
    /// one that first came as an ancestor counts as not deleted and stays so. Of leaves this is exact.
    pub deleted: bool,
}

/// The history of one document.
///
/// A flat list in which a parent stands before its children, so that one pass in either direction
/// answers every question about the tree and its stored form needs no recursion. Revisions are
/// addressed by index. An index stays good while the tree is only read or given children with
/// [`add_child`](RevTree::add_child); [`merge`](RevTree::merge) and [`stem`](RevTree::stem) may move
/// revisions, so look up again what you need with [`find`](RevTree::find). Questions about an index
/// that does not exist are answered with "no" and "none".
///
/// ```
/// use settee::{model::Rev, revtree::{Merged, RevTree}};
///
/// let path = |text: &str| text.split(' ').map(|rev| rev.parse().unwrap()).collect::<Vec<Rev>>();
/// let mut tree = RevTree::new();
/// assert_eq!(tree.merge(&path("3-c 2-b 1-a"), false)?, Merged::NewLeaf);
/// assert_eq!(tree.merge(&path("3-d 2-b"), false)?, Merged::NewBranch);
/// assert_eq!(tree.merge(&path("2-b 1-a"), false)?, Merged::Known);
///
/// let names = |indices: Vec<usize>| indices.iter().map(|&i| tree.nodes()[i].rev.to_string()).collect::<Vec<_>>();
/// assert_eq!(names(tree.leaves()), ["3-d", "3-c"]);
/// assert_eq!(names(tree.conflicts()), ["3-c"]);
/// assert_eq!(names(tree.ancestry(tree.winner().unwrap())), ["3-d", "2-b", "1-a"]);
/// # Ok::<(), settee::error::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevTree {
    /// Each revision once; `parent < own index`; `generation(parent) + 1 == own generation`.
    nodes: Vec<Node>,
}

impl RevTree {
    /// Makes a tree without revisions: that of a document that does not exist yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes back what [`nodes`](RevTree::nodes) gave.
    ///
    /// Errors: 0 `corrupt` if a parent does not stand before its child and one generation below it,
    /// if a generation is 0, or if a revision is there twice.
    pub fn from_nodes(nodes: Vec<Node>) -> Result<Self> {
        let fits = |(index, node): (usize, &Node)| match node.parent {
            None => node.rev.generation >= 1,
            Some(parent) if parent < index => {
                nodes[parent].rev.generation.checked_add(1) == Some(node.rev.generation)
            }
            Some(_) => false,
        };
        // Along one line the generations alone keep the revisions apart.
        let is_line = nodes.iter().enumerate().all(|(index, node)| node.parent == index.checked_sub(1));
        let are_apart = is_line || {
            let mut names: Vec<&Rev> = nodes.iter().map(|node| &node.rev).collect();
            sort_by(&mut names, Ord::cmp);
            names.windows(2).all(|pair| pair[0] != pair[1])
        };
        if are_apart && nodes.iter().enumerate().all(fits) {
            Ok(Self { nodes })
        } else {
            Err(Error::corrupt("revision tree"))
        }
    }

    /// Every revision, parents before children.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Whether the document has never existed here.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Where a revision stands. Looks from the newest end, where nearly every question is aimed.
    pub fn find(&self, rev: &Rev) -> Option<usize> {
        self.nodes.iter().rposition(|node| node.rev == *rev)
    }

    /// Whether no revision is based on this one.
    pub fn is_leaf(&self, index: usize) -> bool {
        // Children stand behind their parent.
        self.nodes
            .get(index..)
            .is_some_and(|rest| !rest.is_empty() && rest.iter().all(|node| node.parent != Some(index)))
    }

    /// Every leaf, the winner first: not deleted before deleted, then the greatest revision first.
    pub fn leaves(&self) -> Vec<usize> {
        let mut leaves: Vec<usize> = self.unsorted_leaves().collect();
        sort_by(&mut leaves, |&a, &b| self.rank(b).cmp(&self.rank(a)));
        leaves
    }

    /// The leaf that stands for the document; `None` only for an empty tree.
    ///
    /// A deleted leaf wins when there is no other, and the document then counts as deleted.
    pub fn winner(&self) -> Option<usize> {
        self.unsorted_leaves().max_by_key(|&index| self.rank(index))
    }

    /// The leaves that lost without being deleted, best first: CouchDB's `_conflicts`.
    pub fn conflicts(&self) -> Vec<usize> {
        self.losers(false)
    }

    /// The deleted leaves other than the winner, best first: CouchDB's `_deleted_conflicts`.
    pub fn deleted_conflicts(&self) -> Vec<usize> {
        self.losers(true)
    }

    /// A revision and everything it descends from, newest first, down to its root.
    pub fn ancestry(&self, index: usize) -> Vec<usize> {
        self.upwards(index).collect()
    }

    /// Whether `of` descends from `ancestor`. A revision is not its own ancestor.
    pub fn is_ancestor(&self, ancestor: usize, of: usize) -> bool {
        // Ancestors stand before their descendants, so the walk can stop at `ancestor`'s place.
        self.upwards(of).skip(1).take_while(|&index| index >= ancestor).any(|index| index == ancestor)
    }

    /// The leaves that descend from a revision, winner order; the revision itself if it is a leaf.
    ///
    /// CouchDB answers with these when asked for a revision with `latest=true`.
    pub fn leaves_under(&self, index: usize) -> Vec<usize> {
        let mut under = vec![false; self.nodes.len()];
        for (place, node) in self.nodes.iter().enumerate().skip(index) {
            under[place] = place == index || node.parent.is_some_and(|parent| under[parent]);
        }
        let mut leaves = self.leaves();
        leaves.retain(|&leaf| under[leaf]);
        leaves
    }

    /// Which of these revisions are not in the tree, lowest first and each once: the `missing` of
    /// `_revs_diff`. An ancestor counts as known although its contents may be gone.
    pub fn missing(&self, revs: &[Rev]) -> Vec<Rev> {
        let mut wanted: Vec<&Rev> = revs.iter().collect();
        sort_by(&mut wanted, Ord::cmp);
        wanted.dedup();
        let mut found = vec![false; wanted.len()];
        for node in &self.nodes {
            if let Ok(place) = wanted.binary_search(&&node.rev) {
                found[place] = true;
            }
        }
        wanted.into_iter().zip(found).filter(|(_, found)| !found).map(|(rev, _)| rev.clone()).collect()
    }

    /// The leaves that missing revisions may descend from: the `possible_ancestors` of `_revs_diff`.
    ///
    /// They are, in winner order and deleted or not, all leaves of a lower generation than the highest
    /// missing one. The sender may then leave out attachments that these already have.
    pub fn possible_ancestors(&self, missing: &[Rev]) -> Vec<Rev> {
        let Some(highest) = missing.iter().map(|rev| rev.generation).max() else {
            return Vec::new();
        };
        let leaves = self.leaves().into_iter().map(|index| &self.nodes[index].rev);
        leaves.filter(|rev| rev.generation < highest).cloned().collect()
    }

    /// What picks the winner: the leaf with the greatest rank.
    fn rank(&self, index: usize) -> (bool, &Rev) {
        let node = &self.nodes[index];
        (!node.deleted, &node.rev)
    }

    fn unsorted_leaves(&self) -> impl Iterator<Item = usize> {
        let mut has_child = vec![false; self.nodes.len()];
        for parent in self.nodes.iter().filter_map(|node| node.parent) {
            has_child[parent] = true;
        }
        has_child.into_iter().enumerate().filter(|(_, has_child)| !has_child).map(|(index, _)| index)
    }

    fn losers(&self, deleted: bool) -> Vec<usize> {
        let others = self.leaves().into_iter().skip(1);
        others.filter(|&index| self.nodes[index].deleted == deleted).collect()
    }

    fn upwards(&self, index: usize) -> impl Iterator<Item = usize> {
        let start = (index < self.nodes.len()).then_some(index);
        std::iter::successors(start, |&index| self.nodes[index].parent)
    }
}
