//! What holds for every revision tree, checked over generated histories.
//!
//! The list is CouchDB's (`couch_key_tree_prop_tests.erl`) plus what two replicas must be able to rely
//! on: that merging the same revision again changes nothing, and that the order of arrival does not
//! matter. A failing case is printed and kept beside this file; `PROPTEST_CASES` and
//! `PROPTEST_RNG_SEED` run more of them, or the same again.
#![cfg(not(target_arch = "wasm32"))]

use std::collections::{BTreeMap, BTreeSet};

use proptest::{prelude::*, sample::Index, test_runner::FileFailurePersistence};
use settee::{
    model::{Rev, RevId},
    revtree::{Merged, RevTree},
};

/// One history as it arrives: newest first, and whether the newest is deleted.
type Path = (Vec<Rev>, bool);

/// What must agree between replicas: each revision with its parent, and the leaves in order.
type Shape = (BTreeMap<Rev, Option<Rev>>, Vec<(Rev, bool)>);

fn shape(tree: &RevTree) -> Shape {
    let nodes = tree.nodes();
    let parents = nodes.iter().map(|node| (node.rev.clone(), node.parent.map(|at| nodes[at].rev.clone())));
    let leaves = tree.leaves().into_iter().map(|at| (nodes[at].rev.clone(), nodes[at].deleted));
    (parents.collect(), leaves.collect())
}

fn revs(tree: &RevTree) -> BTreeSet<Rev> {
    tree.nodes().iter().map(|node| node.rev.clone()).collect()
}

fn is_valid(tree: &RevTree) -> bool {
    RevTree::from_nodes(tree.nodes().to_vec()).as_ref() == Ok(tree)
}

fn merge_all<'a>(paths: impl IntoIterator<Item = &'a Path>) -> RevTree {
    let mut tree = RevTree::new();
    for (path, deleted) in paths {
        tree.merge(path, *deleted).unwrap();
        assert!(is_valid(&tree));
    }
    tree
}

/// Each leaf with its ancestors: what a replica sends to one that has nothing.
fn leaf_paths(tree: &RevTree) -> Vec<Path> {
    let nodes = tree.nodes();
    let path = |leaf| tree.ancestry(leaf).into_iter().map(|at| nodes[at].rev.clone()).collect();
    tree.leaves().into_iter().map(|leaf| (path(leaf), nodes[leaf].deleted)).collect()
}

/// Few ids, of both kinds, so that the same one turns up at many generations.
fn id() -> impl Strategy<Value = RevId> {
    (0..6_u8).prop_map(|n| match n {
        0..3 => RevId::Hash([n; 16]),
        _ => RevId::Text(n.to_string().into()),
    })
}

/// A whole history as it really happened: every revision has one parent, or is a root (of a first
/// generation or a stemmed one). Made with `add_child`, so that it does not depend on `merge`.
fn history(sizes: std::ops::Range<usize>) -> impl Strategy<Value = RevTree> {
    // Parents are mostly recent, which makes long branches.
    let parent = prop_oneof![1 => Just(None), 4 => any::<Index>().prop_map(Some)];
    let edit = (parent, 1..4_u64, id(), prop::bool::weighted(0.2), any::<bool>());
    prop::collection::vec(edit, sizes).prop_map(|edits| {
        let mut tree = RevTree::new();
        for (parent, root, id, deleted, on_newest) in edits {
            let size = tree.nodes().len();
            let parent = parent.filter(|_| size > 0);
            let parent = parent.map(|parent| if on_newest { size - 1 } else { parent.index(size) });
            let generation = parent.map_or(root, |at| tree.nodes()[at].rev.generation + 1);
            // An id that is taken at this generation is refused, and that edit did not happen.
            let _ = tree.add_child(parent, Rev { generation, id }, deleted);
        }
        tree
    })
}

/// Pieces of one history: any revisions, each with as many ancestors as its sender still knew.
fn pieces() -> impl Strategy<Value = Vec<Path>> {
    let cuts = prop::collection::vec((any::<Index>(), 1..12_usize), 1..24);
    (history(1..40), cuts).prop_map(|(tree, cuts)| {
        let nodes = tree.nodes();
        let piece = |(at, length): (Index, usize)| {
            let at = at.index(nodes.len());
            let path = tree.ancestry(at).into_iter().take(length).map(|at| nodes[at].rev.clone());
            (path.collect(), nodes[at].deleted)
        };
        cuts.into_iter().map(piece).collect()
    })
}

/// Pieces of one history in two orders.
fn pieces_in_two_orders() -> impl Strategy<Value = (Vec<Path>, Vec<Path>)> {
    pieces().prop_flat_map(|paths| (Just(paths.clone()), Just(paths).prop_shuffle()))
}

/// Paths that somebody made up: the same revision under different parents, again and again.
fn made_up() -> impl Strategy<Value = Vec<Path>> {
    let path =
        (1..5_u64, prop::collection::vec(id(), 1..6), any::<bool>()).prop_map(|(oldest, ids, deleted)| {
            let revs = ids.into_iter().zip(oldest..).map(|(id, generation)| Rev { generation, id });
            (revs.collect::<Vec<_>>().into_iter().rev().collect(), deleted)
        });
    prop::collection::vec(path, 1..16)
}

fn config() -> ProptestConfig {
    let kept = FileFailurePersistence::WithSource("regressions");
    ProptestConfig { failure_persistence: Some(Box::new(kept)), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn merging_known_paths_loses_no_revision(tree in history(1..40), at: Index, length in 1..12_usize) {
        let nodes = tree.nodes();
        let path: Vec<Rev> = tree.ancestry(at.index(nodes.len())).into_iter().take(length)
            .map(|at| nodes[at].rev.clone()).collect();
        let mut merged = tree.clone();
        prop_assert_eq!(merged.merge(&path, true).unwrap(), Merged::Known);
        prop_assert_eq!(merged, tree);
    }

    #[test]
    fn merging_made_up_paths_leaves_a_valid_tree(tree in history(0..40), paths in made_up()) {
        let mut tree = tree;
        for (path, deleted) in paths {
            let before = tree.clone();
            let merged = tree.merge(&path, deleted).unwrap();
            prop_assert!(is_valid(&tree));
            prop_assert!(revs(&before).is_subset(&revs(&tree)));
            prop_assert_eq!(merged == Merged::Known, before.find(&path[0]).is_some());
            let (was, is) = (before.leaves().len(), tree.leaves().len());
            let newest = tree.find(&path[0]).unwrap();
            match merged {
                // Raising a root can join it to a leaf, which is one leaf less.
                Merged::Known => prop_assert!(is <= was),
                Merged::NewLeaf => prop_assert!(tree.is_leaf(newest) && is <= was.max(1)),
                Merged::NewBranch => prop_assert!(tree.is_leaf(newest) && is <= was + 1),
            }
            if merged != Merged::Known {
                prop_assert_eq!(tree.nodes()[newest].deleted, deleted);
            }
            for node in before.nodes() {
                let after = &tree.nodes()[tree.find(&node.rev).unwrap()];
                prop_assert_eq!(after.deleted, node.deleted);
                let parent = node.parent.map(|at| &before.nodes()[at].rev);
                prop_assert!(parent.is_none() || parent == after.parent.map(|at| &tree.nodes()[at].rev));
            }
        }
    }

    #[test]
    fn merge_is_idempotent(paths in prop_oneof![pieces(), made_up()]) {
        let mut tree = RevTree::new();
        for (path, deleted) in paths {
            tree.merge(&path, deleted).unwrap();
            let once = tree.clone();
            prop_assert_eq!(tree.merge(&path, deleted).unwrap(), Merged::Known);
            prop_assert_eq!(&tree, &once);
        }
    }

    #[test]
    fn merge_is_independent_of_order((these, those) in pieces_in_two_orders()) {
        prop_assert_eq!(shape(&merge_all(&these)), shape(&merge_all(&those)));
        // Nor does it help to say everything twice.
        prop_assert_eq!(shape(&merge_all(these.iter().chain(&those))), shape(&merge_all(&those)));
    }

    #[test]
    fn merge_keeps_the_union_of_the_histories(paths in pieces()) {
        let tree = merge_all(&paths);
        let mut union = BTreeMap::new();
        for (path, _) in &paths {
            for (at, rev) in path.iter().enumerate() {
                let parent: &mut Option<Rev> = union.entry(rev.clone()).or_default();
                *parent = parent.take().or(path.get(at + 1).cloned());
            }
        }
        prop_assert_eq!(shape(&tree).0, union);
    }

    #[test]
    fn the_winner_is_independent_of_order((these, those) in pieces_in_two_orders()) {
        let winner = |tree: &RevTree| tree.winner().map(|at| tree.nodes()[at].clone().rev);
        prop_assert_eq!(winner(&merge_all(&these)), winner(&merge_all(&those)));
    }

    #[test]
    fn a_tree_comes_back_from_its_leaf_paths(tree in history(1..40)) {
        prop_assert_eq!(shape(&merge_all(&leaf_paths(&tree))), shape(&tree));
    }

    #[test]
    fn two_replicas_that_exchange_their_leaves_agree(
        (paths, split) in pieces().prop_flat_map(|paths| { let size = paths.len(); (Just(paths), 0..=size) }),
    ) {
        let (mut here, mut there) = (merge_all(&paths[..split]), merge_all(&paths[split..]));
        for (path, deleted) in leaf_paths(&here) {
            // As a replicator does: only what `_revs_diff` misses goes over.
            if !there.missing(&path[..1]).is_empty() {
                there.merge(&path, deleted).unwrap();
            }
        }
        for (path, deleted) in leaf_paths(&there) {
            here.merge(&path, deleted).unwrap();
        }
        for (path, deleted) in leaf_paths(&here) {
            there.merge(&path, deleted).unwrap();
        }
        prop_assert_eq!(shape(&here), shape(&there));
    }

    /// The decision on a revision repeated under two roots: every revision that arrived as a newest one
    /// is there once, nothing else becomes a leaf, what no path calls an ancestor is a leaf, and no
    /// revision has a parent that no path gave it, in whatever order they come.
    #[test]
    fn made_up_histories_keep_their_newest_revisions(paths in made_up().prop_shuffle()) {
        let tree = merge_all(&paths);
        let newest: BTreeSet<Rev> = paths.iter().map(|(path, _)| path[0].clone()).collect();
        let ancestors: BTreeSet<Rev> = paths.iter().flat_map(|(path, _)| path[1..].iter().cloned()).collect();
        let leaves: BTreeSet<Rev> = tree.leaves().into_iter().map(|at| tree.nodes()[at].rev.clone()).collect();
        prop_assert!(newest.is_subset(&revs(&tree)));
        prop_assert!(leaves.is_subset(&newest));
        prop_assert!(newest.difference(&ancestors).all(|rev| leaves.contains(rev)));
        let claimed: BTreeSet<(&Rev, &Rev)> = paths.iter()
            .flat_map(|(path, _)| path.iter().zip(&path[1..])).collect();
        let mut edges = tree.nodes().iter().filter_map(|node| Some((&node.rev, &tree.nodes()[node.parent?].rev)));
        prop_assert!(edges.all(|edge| claimed.contains(&edge)));
        prop_assert!(revs(&tree).iter().all(|rev| newest.contains(rev) || ancestors.contains(rev)));
    }

    #[test]
    fn stemming_deeper_than_the_tree_changes_nothing(tree in history(0..40)) {
        let longest = leaf_paths(&tree).iter().map(|(path, _)| path.len()).max().unwrap_or(0);
        let mut stemmed = tree.clone();
        prop_assert!(stemmed.stem(longest).is_empty());
        prop_assert_eq!(stemmed, tree);
    }

    #[test]
    fn stemming_keeps_leaves_invents_nothing_and_lengthens_no_path(tree in history(0..40), limit in 0..12_usize) {
        let mut stemmed = tree.clone();
        let forgotten = stemmed.stem(limit);
        prop_assert!(is_valid(&stemmed));
        prop_assert_eq!(shape(&stemmed).1, shape(&tree).1);
        for ((new, _), (old, _)) in leaf_paths(&stemmed).iter().zip(leaf_paths(&tree)) {
            prop_assert!(old.starts_with(new));
            prop_assert!(new.len() >= old.len().min(limit.max(1)));
        }
        // What stays is what some leaf still needs; the rest is what was reported.
        let needed: BTreeSet<Rev> = leaf_paths(&tree).into_iter()
            .flat_map(|(path, _)| path.into_iter().take(limit.max(1))).collect();
        prop_assert_eq!(revs(&stemmed), needed);
        let mut all = revs(&stemmed);
        prop_assert!(forgotten.iter().all(|rev| all.insert(rev.clone())));
        prop_assert_eq!(all, revs(&tree));
        prop_assert!(stemmed.stem(limit).is_empty());
    }

    #[test]
    fn stemming_cuts_a_line_to_the_limit(length in 1..60_u64, limit in 1..20_usize) {
        let path: Vec<Rev> = (1..=length).rev().map(|n| format!("{n}-x").parse().unwrap()).collect();
        let mut tree = merge_all(&[(path.clone(), false)]);
        tree.stem(limit);
        prop_assert_eq!(leaf_paths(&tree), [(path[..path.len().min(limit)].to_vec(), false)]);
    }

    #[test]
    fn what_a_stemmed_replica_lost_comes_back(tree in history(1..40), limit in 1..6_usize) {
        let mut stemmed = tree.clone();
        stemmed.stem(limit);
        for (path, deleted) in leaf_paths(&tree) {
            prop_assert_eq!(stemmed.merge(&path, deleted).unwrap(), Merged::Known);
        }
        prop_assert_eq!(shape(&stemmed), shape(&tree));
    }

    #[test]
    fn leaf_counts_agree(tree in history(0..40)) {
        let parents: BTreeSet<usize> = tree.nodes().iter().filter_map(|node| node.parent).collect();
        let leaves = tree.leaves();
        prop_assert_eq!(leaves.len(), tree.nodes().len() - parents.len());
        prop_assert_eq!((0..tree.nodes().len()).filter(|&at| tree.is_leaf(at)).count(), leaves.len());
        prop_assert_eq!(tree.winner(), leaves.first().copied());
        let ranks: Vec<_> = shape(&tree).1.into_iter().map(|(rev, deleted)| (!deleted, rev)).collect();
        prop_assert!(ranks.windows(2).all(|pair| pair[0] > pair[1]));
        let mut sorted = [leaves.get(..1).unwrap_or(&[]), &tree.conflicts(), &tree.deleted_conflicts()].concat();
        sorted.sort_unstable();
        sorted.dedup();
        prop_assert_eq!(sorted.len(), leaves.len());
    }

    #[test]
    fn readers_agree_with_each_other(tree in history(1..40), one: Index, other: Index) {
        let (one, other) = (one.index(tree.nodes().len()), other.index(tree.nodes().len()));
        prop_assert_eq!(tree.is_ancestor(one, other), one != other && tree.ancestry(other).contains(&one));
        let under = tree.leaves().into_iter().filter(|&leaf| tree.ancestry(leaf).contains(&one));
        prop_assert_eq!(tree.leaves_under(one), under.collect::<Vec<_>>());
        prop_assert_eq!(tree.find(&tree.nodes()[one].rev), Some(one));
    }

    #[test]
    fn missing_agrees_with_find(tree in history(0..40), paths in made_up()) {
        let asked: Vec<Rev> = paths.into_iter().flat_map(|(path, _)| path).collect();
        let missing: BTreeSet<Rev> = asked.iter().filter(|rev| tree.find(rev).is_none()).cloned().collect();
        let highest = missing.iter().map(|rev| rev.generation).max().unwrap_or(0);
        let answer = tree.missing(&asked);
        prop_assert_eq!(&answer, &missing.into_iter().collect::<Vec<_>>());
        let mut leaves = shape(&tree).1.into_iter().map(|(rev, _)| rev).collect::<Vec<_>>();
        leaves.retain(|rev| rev.generation < highest);
        prop_assert_eq!(tree.possible_ancestors(&answer), leaves);
    }
}
