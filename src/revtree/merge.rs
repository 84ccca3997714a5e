//! How a tree grows: by one local edit, or by a path from elsewhere.

use super::{Node, RevTree};
use crate::{
    error::{Error, Kind, Result},
    model::{Rev, sort_by},
};

/// What a merge did with the newest revision of its path, in CouchDB's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// It extends a leaf, or is the first revision of all (`new_leaf`).
    NewLeaf,
    /// It is one leaf more than before: a fork, or a root of its own (`new_branch`).
    NewBranch,
    /// It was there already, as a leaf or as an ancestor (`internal_node`). The path may still have
    /// added older ancestors, so the tree can have changed; its leaves can then only be fewer.
    Known,
}

impl RevTree {
    /// Adds one edit and gives its index; no other index changes.
    ///
    /// `parent` is `None` for the first revision of a new root. It need not be a leaf: whether an edit
    /// of an older revision is allowed is the database's question.
    ///
    /// Errors: 409 `conflict` if the revision is there already; 500 `unknown_error` if `parent` does
    /// not exist or is not exactly one generation below.
    pub fn add_child(&mut self, parent: Option<usize>, rev: Rev, deleted: bool) -> Result<usize> {
        let fits = match parent {
            None => rev.generation >= 1,
            Some(index) => {
                self.nodes.get(index).and_then(|node| node.rev.generation.checked_add(1))
                    == Some(rev.generation)
            }
        };
        if !fits {
            return Err(Error::new(Kind::Unknown, format!("The revision {rev} does not fit on its parent.")));
        }
        if self.find(&rev).is_some() {
            return Err(Error::conflict());
        }
        self.nodes.push(Node { rev, parent, deleted });
        Ok(self.nodes.len() - 1)
    }

    /// Merges one revision and what it descends from: `path[0]` is the revision, then its parent, and
    /// so on for as far as the sender knows. `deleted` says what `path[0]` is; nothing that is in the
    /// tree already changes its own mark.
    ///
    /// Linear in the tree and the path; only a path that reaches above a root costs a sort on top.
    /// Indices may change.
    ///
    /// Errors: 400 `doc_validation` if the path is empty, if its generations do not go down one by one,
    /// or if they go below 1. The tree is then as before.
    ///
    /// Source: `merge/2` in `couch_key_tree.erl`. One difference: where CouchDB finds the revision in
    /// another root than the first that the path fits on, it says `new_leaf`; here that is `Known`.
    pub fn merge(&mut self, path: &[Rev], deleted: bool) -> Result<Merged> {
        check(path)?;
        let known = self.places(path);
        let join = next_known(&known, 0);
        let parent = known.get(join).copied().flatten();
        let merged = match parent {
            Some(_) if join == 0 => Merged::Known,
            Some(parent) if self.is_leaf(parent) => Merged::NewLeaf,
            None if self.is_empty() => Merged::NewLeaf,
            _ => Merged::NewBranch,
        };
        self.push_path(&path[..join], parent);
        if merged != Merged::Known
            && let Some(newest) = self.nodes.last_mut()
        {
            newest.deleted = deleted;
        }
        self.raise(path, &known, join);
        Ok(merged)
    }

    /// Where each revision of a path stands, if it does. Generations go down one by one, so a node's
    /// own generation tells which place on the path to compare it with.
    fn places(&self, path: &[Rev]) -> Vec<Option<usize>> {
        let mut known = vec![None; path.len()];
        let Some(newest) = path.first() else { return known };
        for (index, node) in self.nodes.iter().enumerate() {
            let below = newest.generation.checked_sub(node.rev.generation);
            if let Some(place) = below.and_then(|below| usize::try_from(below).ok())
                && path.get(place) == Some(&node.rev)
            {
                known[place] = Some(index);
            }
        }
        known
    }

    /// Appends revisions that are not in the tree, given newest first; gives the newest one's index.
    fn push_path(&mut self, newest_first: &[Rev], mut parent: Option<usize>) -> Option<usize> {
        for rev in newest_first.iter().rev() {
            self.nodes.push(Node { rev: rev.clone(), parent, deleted: false });
            parent = Some(self.nodes.len() - 1);
        }
        parent
    }

    /// Puts the older part of a path above the root it leads to, and again above the root which that
    /// joins, as long as the root itself is on the path. A revision with a parent keeps it: there the
    /// path ends.
    fn raise(&mut self, path: &[Rev], known: &[Option<usize>], mut join: usize) {
        let mut out_of_order = false;
        while let Some(index) = known.get(join).copied().flatten() {
            let (steps, root) = self.upwards(index).enumerate().last().unwrap_or((0, index));
            join += steps;
            if known.get(join) != Some(&Some(root)) || join + 1 >= path.len() {
                break;
            }
            let next = next_known(known, join + 1);
            let parent = self.push_path(&path[join + 1..next], known.get(next).copied().flatten());
            self.nodes[root].parent = parent;
            out_of_order = true;
            join = next;
        }
        if out_of_order {
            self.restore_order();
        }
    }

    /// Sorts by generation, which puts parents before children whatever the shape.
    fn restore_order(&mut self) {
        let mut order: Vec<usize> = (0..self.nodes.len()).collect();
        sort_by(&mut order, |&a, &b| self.nodes[a].rev.generation.cmp(&self.nodes[b].rev.generation));
        let mut place = vec![0; order.len()];
        for (new, old) in order.into_iter().enumerate() {
            place[old] = new;
        }
        for parent in self.nodes.iter_mut().filter_map(|node| node.parent.as_mut()) {
            *parent = place[*parent];
        }
        // Stable like the sort above, so every node lands where `place` says.
        sort_by(&mut self.nodes, |a, b| a.rev.generation.cmp(&b.rev.generation));
    }
}

/// The first place from `start` that is known, or the end of the path.
fn next_known(known: &[Option<usize>], start: usize) -> usize {
    known.iter().skip(start).position(Option::is_some).map_or(known.len(), |found| start + found)
}

fn check(path: &[Rev]) -> Result<()> {
    let Some(oldest) = path.last() else {
        return Err(Error::doc_validation("A revision history must name at least one revision."));
    };
    if oldest.generation < 1 {
        return Err(Error::doc_validation("A revision history must not go below generation 1."));
    }
    if path.windows(2).any(|pair| pair[1].generation.checked_add(1) != Some(pair[0].generation)) {
        return Err(Error::doc_validation("A revision history must go down one generation at a time."));
    }
    Ok(())
}
