//! A revision's line: one hash over everything it descends from. Sealed with the revision, it keeps a server
//! from hanging an edit below a revision that it was never made on, at any depth.

use super::{Hash, Refusal, crypt::hash};
use crate::model::Rev;

/// The line of a first revision: which channel, which document.
pub fn first_line(ch: &Hash, remote_id: &str) -> Hash {
    hash(&[b"line", ch, remote_id.as_bytes()])
}

/// The line of a revision from its parent's line and name.
pub fn next_line(parent_line: &Hash, parent: &Rev) -> Hash {
    hash(&[b"next", parent_line, parent.to_string().as_bytes()])
}

/// How far back a revision's history was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lineage {
    /// Down to the first revision, or to one that was opened here before.
    Proved,
    /// Only the parent: the history was cut off before anything known here.
    ParentOnly,
}

/// Holds a claimed history against what was sealed. Gives what of it may be believed: the revision, then
/// its ancestors as far as they were proved. What was claimed beyond them must not reach a tree: put above
/// the root of a stemmed one it would turn another leaf into an ancestor.
///
/// Shape:  `path` is the revision, then its ancestors, newest first, as in `_revisions`. `line` and `parent`
/// are the sealed ones. `known` gives the line of a revision of this document that was opened here before.
pub(super) fn check(
    first: Hash,
    path: &[Rev],
    parent: Option<&Rev>,
    line: &Hash,
    known: &dyn Fn(&Rev) -> Option<Hash>,
) -> Result<(Lineage, Vec<Rev>), Refusal> {
    let Some((rev, ancestors)) = path.split_first() else { return Err(Refusal::History) };
    let steps_down = |pair: &[Rev]| match pair {
        [child, parent] => parent.generation.checked_add(1) == Some(child.generation),
        _ => true,
    };
    let expected = parent.map_or(0, |parent| parent.generation) + 1;
    if rev.generation != expected || !path.windows(2).all(steps_down) {
        return Err(Refusal::History);
    }
    let Some(parent) = parent else {
        let fits = ancestors.is_empty() && *line == first;
        return if fits { Ok((Lineage::Proved, path.to_vec())) } else { Err(Refusal::History) };
    };
    // A history may end anywhere, but its second revision is the parent.
    let ancestors = match ancestors.first() {
        Some(claimed) if claimed != parent => return Err(Refusal::History),
        Some(_) => ancestors,
        None => std::slice::from_ref(parent),
    };
    let whole = ancestors.last().is_some_and(|oldest| oldest.generation == 1);
    let anchor = ancestors.iter().enumerate().find_map(|(at, rev)| Some((at, known(rev)?)));
    let (proved, start) = match anchor {
        Some((at, line)) => (ancestors.get(..=at).unwrap_or_default(), line),
        None if whole => (ancestors, first),
        None => return Ok((Lineage::ParentOnly, vec![rev.clone(), parent.clone()])),
    };
    let own = proved.iter().rev().fold(start, |line, ancestor| next_line(&line, ancestor));
    if own != *line {
        return Err(Refusal::History);
    }
    Ok((Lineage::Proved, std::iter::once(rev).chain(proved).cloned().collect()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::RevId;

    fn rev(generation: u64, name: u8) -> Rev {
        Rev { generation, id: RevId::Hash([name; 16]) }
    }

    #[test]
    fn a_history_is_held_against_its_line() {
        const FIRST: Hash = [7; 32];
        let nothing = |_: &Rev| None;
        let held =
            |path: &[Rev], parent: Option<&Rev>, line: Hash| check(FIRST, path, parent, &line, &nothing);
        let (one, two, three) = (rev(1, 1), rev(2, 2), rev(3, 3));
        let (at_two, other) = (next_line(&FIRST, &one), [8; 32]);
        let at_three = next_line(&at_two, &two);
        let proved = |path: &[Rev]| Ok((Lineage::Proved, path.to_vec()));
        let is_no = |outcome| assert_eq!(outcome, Err(Refusal::History));
        is_no(held(&[], None, FIRST));
        let path = [one.clone()];
        assert_eq!(held(&path, None, FIRST), proved(&path));
        is_no(held(&path, None, other));
        is_no(held(std::slice::from_ref(&two), None, FIRST));
        is_no(held(&[one.clone(), rev(0, 9)], None, FIRST));
        let path = [two.clone(), one.clone()];
        assert_eq!(held(&path, Some(&one), at_two), proved(&path));
        assert_eq!(held(&path[..1], Some(&one), at_two), proved(&path));
        is_no(held(&path, Some(&one), other));
        is_no(held(&path, Some(&rev(1, 9)), at_two));
        is_no(held(&[three.clone(), one.clone()], Some(&one), at_two));
        is_no(held(std::slice::from_ref(&three), Some(&one), at_two));
        let path = [three, two.clone(), one];
        assert_eq!(held(&path, Some(&two), at_three), proved(&path));
        is_no(held(&[path[0].clone(), two.clone(), rev(2, 9)], Some(&two), at_three));
        let cut = Ok((Lineage::ParentOnly, path[..2].to_vec()));
        assert_eq!(held(&path[..2], Some(&two), other), cut);
        assert_eq!(held(&path[..1], Some(&two), other), cut);
    }
}
