//! Examples. The properties are in `tests/revtree_properties.rs`.

use super::*;
use crate::error::Kind;

/// `3-c 2-b 1-a`: a path, newest first.
fn path(text: &str) -> Vec<Rev> {
    text.split_whitespace().map(|rev| rev.parse().unwrap()).collect()
}

/// Merges a path, whose newest revision is deleted if a `!` stands before it.
fn merge(tree: &mut RevTree, text: &str) -> Merged {
    let merged = tree.merge(&path(text.trim_start_matches('!')), text.starts_with('!')).unwrap();
    assert_eq!(RevTree::from_nodes(tree.nodes().to_vec()).as_ref(), Ok(&*tree));
    merged
}

fn tree(paths: &[&str]) -> RevTree {
    let mut tree = RevTree::new();
    for path in paths {
        merge(&mut tree, path);
    }
    tree
}

fn at(tree: &RevTree, rev: &str) -> usize {
    tree.find(&rev.parse().unwrap()).unwrap()
}

/// The names at these indices: `4-e 3-c`.
fn names(tree: &RevTree, indices: &[usize]) -> String {
    indices.iter().map(|&index| tree.nodes()[index].rev.to_string()).collect::<Vec<_>>().join(" ")
}

/// The whole tree, as the paths it could be merged from: winner first.
fn paths(tree: &RevTree) -> Vec<String> {
    let mark = |leaf: usize| if tree.nodes()[leaf].deleted { "!" } else { "" };
    let leaves = tree.leaves();
    leaves.iter().map(|&leaf| format!("{}{}", mark(leaf), names(tree, &tree.ancestry(leaf)))).collect()
}

/// Merging `add` into the tree of `before` gives `after` and this outcome.
#[track_caller]
fn check_merge(before: &[&str], add: &str, after: &[&str], outcome: Merged) {
    let mut tree = tree(before);
    assert_eq!(merge(&mut tree, add), outcome);
    assert_eq!(paths(&tree), after);
    let once = tree.clone();
    assert_eq!(merge(&mut tree, add), Merged::Known);
    assert_eq!(tree, once);
}

#[test]
fn merges_like_couchdbs_own_examples() {
    use Merged::{Known, NewBranch, NewLeaf};
    // couch_key_tree_tests.erl: ids are the same, the names of the tests too.
    let (two_sibs, stemmed_sibs) = (["2-1b 1-1", "2-1a 1-1"], ["3-1bb 2-1b", "2-1a"]);
    check_merge(&[], "1-1", &["1-1"], NewLeaf); // empty tree
    check_merge(&["1-1"], "1-1", &["1-1"], Known); // reflexive
    check_merge(&["1-2", "1-1"], "1-1", &["1-2", "1-1"], Known); // prefix of a tree
    check_merge(&["1-1", "1-2"], "1-3", &["1-3", "1-2", "1-1"], NewBranch); // unrelated branch
    check_merge(&["3-1aa 2-1a 1-1"], "3-1aa 2-1a 1-1", &["3-1aa 2-1a 1-1"], Known); // child nodes
    check_merge(&two_sibs, "2-1a 1-1", &two_sibs, Known); // tree to itself
    check_merge(&two_sibs, "3-1aa 2-1a 1-1", &["3-1aa 2-1a 1-1", "2-1b 1-1"], NewLeaf); // odd length
    check_merge(&two_sibs, "2-1a", &two_sibs, Known); // with stem
    check_merge(&["3-1bb 2-1b 1-1", two_sibs[1]], "3-1bb", &["3-1bb 2-1b 1-1", two_sibs[1]], Known);
    check_merge(&stemmed_sibs, "3-1bb", &stemmed_sibs, Known); // deeper level, deeper paths
    check_merge(&["3-1aa 2-1a 1-1"], "3-1aa 2-1a", &["3-1aa 2-1a 1-1"], Known); // large stem
    check_merge(&["3-1aa 2-1a"], "3-1aa", &["3-1aa 2-1a"], Known); // stems
    check_merge(&["2-1a 1-1"], "3-1aa", &["3-1aa", "2-1a 1-1"], NewBranch); // create conflicts
    // No conflicts on merge: CouchDB says new_leaf, see `RevTree::merge`.
    check_merge(&["2-1a 1-1", "3-1aa"], "3-1aa 2-1a 1-1", &["3-1aa 2-1a 1-1"], Known);
    // COUCHDB-902: the branch that does not match stays out of it.
    check_merge(
        &["2-foo2 1-foo", "2-foo3 1-foo"],
        "3-foo4 2-foo3 1-foo",
        &["3-foo4 2-foo3 1-foo", "2-foo2 1-foo"],
        NewLeaf,
    );
}

#[test]
fn merge_lines_up_stemmed_histories() {
    use Merged::{Known, NewBranch, NewLeaf};
    check_merge(&["3-c 2-b"], "4-d 3-c 2-b 1-a", &["4-d 3-c 2-b 1-a"], NewLeaf);
    check_merge(&["3-c 2-b"], "3-d 2-b 1-a", &["3-d 2-b 1-a", "3-c 2-b 1-a"], NewBranch);
    check_merge(&["3-c"], "3-c 2-b 1-a", &["3-c 2-b 1-a"], Known);
    check_merge(&["4-d 3-c 2-b 1-a"], "5-e 4-d 3-c", &["5-e 4-d 3-c 2-b 1-a"], NewLeaf);
    check_merge(&["3-c 2-b 1-a"], "5-e 4-d", &["5-e 4-d", "3-c 2-b 1-a"], NewBranch);
    check_merge(&["5-e 4-d", "1-a"], "6-f 5-e 4-d 3-c 2-b 1-a", &["6-f 5-e 4-d 3-c 2-b 1-a"], NewLeaf);
    // A leaf turns out to be an ancestor, twice over.
    check_merge(&["5-e", "3-c", "1-a"], "5-e 4-d 3-c 2-b 1-a", &["5-e 4-d 3-c 2-b 1-a"], Known);
    // The same id at another generation is another revision.
    check_merge(&["2-a 1-a"], "3-a 2-a", &["3-a 2-a 1-a"], NewLeaf);
    check_merge(&["2-a 1-a"], "1-b", &["2-a 1-a", "1-b"], NewBranch);
}

#[test]
fn merge_leaves_deletion_marks_alone() {
    check_merge(&["!2-b 1-a"], "3-c 2-b 1-a", &["3-c 2-b 1-a"], Merged::NewLeaf);
    check_merge(&["!2-b 1-a"], "2-b 1-a", &["!2-b 1-a"], Merged::Known);
    check_merge(&["2-b 1-a"], "!2-b 1-a", &["2-b 1-a"], Merged::Known);
    let tree = tree(&["!2-b 1-a", "3-c 2-b 1-a"]);
    assert!(tree.nodes()[at(&tree, "2-b")].deleted);
}

#[test]
fn a_revision_claimed_by_two_parents_keeps_the_first() {
    use Merged::{Known, NewLeaf};
    check_merge(&["2-x 1-a"], "2-x 1-b", &["2-x 1-a"], Known);
    check_merge(&["2-x 1-b"], "2-x 1-a", &["2-x 1-b"], Known);
    check_merge(&["2-x 1-a"], "3-y 2-x 1-b", &["3-y 2-x 1-a"], NewLeaf);
    check_merge(&["2-x 1-a", "1-b"], "2-x 1-b", &["2-x 1-a", "1-b"], Known);
    check_merge(&["1-b", "2-x 1-b"], "2-x 1-a", &["2-x 1-b"], Known);
    // What the path knows above the disagreement is no ancestor of this branch's root.
    check_merge(&["3-x 2-a"], "3-x 2-b 1-c", &["3-x 2-a"], Known);
    check_merge(&["3-x 2-a"], "4-y 3-x 2-b 1-c", &["4-y 3-x 2-a"], NewLeaf);
}

#[test]
fn merge_refuses_what_is_no_history() {
    let text = |generation, id: &str| Rev { generation, id: crate::model::RevId::parse(id).unwrap() };
    let mut tree = tree(&["2-b 1-a"]);
    let before = tree.clone();
    for bad in [vec![], path("3-c 1-a"), path("2-b 3-c"), path("2-b 2-b"), vec![text(1, "a"), text(0, "b")]] {
        let error = tree.merge(&bad, false).unwrap_err();
        assert_eq!((error.kind(), error.status()), (Kind::DocValidation, 400), "{bad:?}");
    }
    assert!(tree.merge(&[text(0, "a"), text(u64::MAX, "b")], false).is_err());
    assert_eq!(tree, before);
}

#[test]
fn the_winner_is_not_deleted_then_highest_then_greatest() {
    let tree = tree(&["3-c 2-b 1-a", "!4-e 3-d 2-b", "3-b 2-b", "!2-z 1-a"]);
    assert_eq!(names(&tree, &tree.leaves()), "3-c 3-b 4-e 2-z");
    assert_eq!(tree.winner(), Some(at(&tree, "3-c")));
    assert_eq!(names(&tree, &tree.conflicts()), "3-b");
    assert_eq!(names(&tree, &tree.deleted_conflicts()), "4-e 2-z");
    // Generations compare as numbers.
    assert_eq!(paths(&self::tree(&["9-b", "10-a"])), ["10-a", "9-b"]);
}

#[test]
fn a_document_with_only_deleted_leaves_has_a_deleted_winner() {
    let tree = tree(&["!2-b 1-a", "!2-c 1-a"]);
    assert_eq!(tree.winner(), Some(at(&tree, "2-c")));
    assert_eq!(names(&tree, &tree.deleted_conflicts()), "2-b");
    assert!(tree.conflicts().is_empty());
}

#[test]
fn reads_along_the_branches() {
    let tree = tree(&["4-e 3-d 2-b 1-a", "3-c 2-b", "2-f 1-a", "1-g"]);
    let under = |rev: &str| names(&tree, &tree.leaves_under(at(&tree, rev)));
    assert_eq!(under("1-a"), "4-e 3-c 2-f");
    assert_eq!(under("2-b"), "4-e 3-c");
    assert_eq!(under("1-g"), "1-g");
    assert_eq!(names(&tree, &tree.ancestry(at(&tree, "3-c"))), "3-c 2-b 1-a");
    let descends = |rev: &str, of: &str| tree.is_ancestor(at(&tree, of), at(&tree, rev));
    assert!(descends("4-e", "1-a") && descends("4-e", "3-d") && descends("2-f", "1-a"));
    assert!(!descends("4-e", "3-c") && !descends("1-a", "4-e") && !descends("3-d", "3-d"));
    assert!(tree.is_leaf(at(&tree, "3-c")) && !tree.is_leaf(at(&tree, "2-b")));
}

#[test]
fn an_index_that_does_not_exist_is_answered_with_nothing() {
    for tree in [RevTree::new(), tree(&["2-b 1-a"])] {
        for index in [2, 99, usize::MAX] {
            assert!(!tree.is_leaf(index) && !tree.is_ancestor(0, index) && !tree.is_ancestor(index, 0));
            assert!(tree.ancestry(index).is_empty() && tree.leaves_under(index).is_empty());
        }
    }
    let none = RevTree::new();
    assert!(none.is_empty() && none.leaves().is_empty() && none.winner().is_none());
}

#[test]
fn add_child_takes_what_fits() {
    let mut tree = RevTree::new();
    let rev = |text: &str| text.parse::<Rev>().unwrap();
    assert_eq!(tree.add_child(None, rev("1-a"), false), Ok(0));
    assert_eq!(tree.add_child(Some(0), rev("2-b"), true), Ok(1));
    assert_eq!(tree.add_child(Some(0), rev("2-c"), false), Ok(2));
    assert_eq!(paths(&tree), ["2-c 1-a", "!2-b 1-a"]);
    assert_eq!(tree.add_child(Some(0), rev("2-b"), true).unwrap_err().kind(), Kind::Conflict);
    for (parent, bad) in [(Some(0), "3-d"), (Some(0), "1-d"), (Some(7), "2-d"), (Some(usize::MAX), "2-d")] {
        assert_eq!(tree.add_child(parent, rev(bad), false).unwrap_err().kind(), Kind::Unknown, "{bad}");
    }
    assert_eq!(tree.nodes().len(), 3);
}

#[test]
fn from_nodes_refuses_what_is_no_tree() {
    let node = |rev: &str, parent| Node { rev: rev.parse().unwrap(), parent, deleted: false };
    assert!(RevTree::from_nodes(vec![node("1-a", None), node("2-b", Some(0)), node("4-c", None)]).is_ok());
    for bad in [
        vec![node("1-a", Some(0))],
        vec![node("2-b", Some(1)), node("1-a", None)],
        vec![node("1-a", None), node("3-b", Some(0))],
        vec![node("1-a", None), node("2-b", Some(9))],
        vec![node("1-a", None), node("1-a", None)],
        vec![node("1-a", None), node("1-b", None), node("2-c", Some(0)), node("2-c", Some(1))],
    ] {
        assert_eq!(RevTree::from_nodes(bad), Err(Error::corrupt("revision tree")));
    }
}

#[test]
fn stem_keeps_the_newest_of_every_branch() {
    #[track_caller]
    fn check(before: &[&str], limit: usize, after: &[&str], forgotten: &str) {
        let mut tree = tree(before);
        assert_eq!(tree.stem(limit), path(forgotten));
        assert_eq!(paths(&tree), after);
        assert!(RevTree::from_nodes(tree.nodes().to_vec()).is_ok());
    }
    check(&["3-c 2-b 1-a"], 3, &["3-c 2-b 1-a"], "");
    check(&["3-c 2-b 1-a"], 2, &["3-c 2-b"], "1-a");
    check(&["3-c 2-b 1-a"], 1, &["3-c"], "1-a 2-b");
    check(&["3-c 2-b 1-a"], 0, &["3-c"], "1-a 2-b");
    check(&["4-e 3-d 2-b 1-a", "3-c 2-b"], 2, &["4-e 3-d 2-b", "3-c 2-b"], "1-a");
    check(&["4-e 3-d 2-b 1-a", "2-c 1-a"], 2, &["4-e 3-d", "2-c 1-a"], "2-b");
    check(&["!3-c 2-b 1-a"], 1, &["!3-c"], "1-a 2-b");
    check(&[], 5, &[], "");
}

#[test]
fn missing_is_what_no_branch_knows() {
    // couch_key_tree_tests.erl, should_find_missing_leaves; generations are one higher here.
    let check = |paths: &[&str], asked: &str, missing: &str| {
        assert_eq!(tree(paths).missing(&path(asked)), path(missing));
    };
    check(&["2-1a 1-1", "2-1b 1-1"], "1-1 2-1a", "");
    check(&["2-1a 1-1", "2-1b 1-1"], "101-x 1-1 1-10 2-1a", "1-10 101-x");
    check(&["3-1aa 2-1a"], "1-1 2-1a 101-x", "1-1 101-x");
    check(&["3-1aa"], "1-1 2-1a 101-x", "1-1 2-1a 101-x");
    check(&[], "2-b 1-a 2-b", "1-a 2-b");
}

#[test]
fn possible_ancestors_are_the_leaves_below_the_highest_missing() {
    let tree = tree(&["3-c 2-b 1-a", "!2-d 1-a", "2-e 1-a", "5-f"]);
    assert_eq!(tree.possible_ancestors(&path("2-x 4-y")), path("3-c 2-e 2-d"));
    assert_eq!(tree.possible_ancestors(&path("3-z")), path("2-e 2-d"));
    assert_eq!(tree.possible_ancestors(&path("2-z")), path(""));
    assert_eq!(tree.possible_ancestors(&[]), path(""));
}

#[test]
fn a_long_history_stays_at_the_limit() {
    let history: Vec<Rev> = (1..=4000).rev().map(|n| format!("{n}-a").parse().unwrap()).collect();
    let mut tree = RevTree::new();
    for newest in (0..2000).rev() {
        tree.merge(&history[newest..(newest + 1000).min(history.len())], false).unwrap();
        tree.stem(1000);
    }
    assert_eq!((tree.nodes().len(), tree.leaves()), (1000, vec![999]));
}
