//! One signature for many revisions: they are the leaves of a Merkle tree, its root is signed, and each carries
//! its way to the root. A signature takes about as long as sealing ten documents, and checking it too.
//!
//! Source: RFC 9162, sections 2.1.1 and 2.1.3.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::Hash;

/// Revisions that a writer signs together at most. So a way is 256 bytes at most, which mostly fit into the
/// padding that is there anyway.
pub(super) const MOST_TOGETHER: usize = 256;

/// How long their ways are at most.
pub(super) const MOST_STEPS: usize = MOST_TOGETHER.ilog2() as usize;

/// Where a leaf stands in its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// Counted from 0.
    pub(super) index: u16,
    /// How many leaves the tree has.
    pub(super) size: u16,
}

impl Position {
    /// `None` for a place outside of the tree.
    pub(super) fn new(index: u16, size: u16) -> Option<Self> {
        (index < size).then_some(Self { index, size })
    }

    /// How many hashes the way to the root has.
    pub(super) fn steps(self) -> usize {
        self.sides().flatten().count()
    }

    /// Level by level, upwards: whether what stands beside is to the left, or nothing where nothing does.
    fn sides(self) -> impl Iterator<Item = Option<bool>> {
        let (mut index, mut last) = (self.index, self.size - 1);
        std::iter::from_fn(move || {
            if last == 0 {
                return None;
            }
            let is_left = index & 1 == 1;
            let side = (is_left || index < last).then_some(is_left);
            index >>= 1;
            last >>= 1;
            Some(side)
        })
    }

    /// The root that a leaf with this way leads to; `None` if the way is too short or too long.
    pub(super) fn root(self, leaf: Hash, way: &[Hash]) -> Option<Hash> {
        let mut way = way.iter();
        let mut node = leaf;
        for is_left in self.sides().flatten() {
            let beside = way.next()?;
            node = if is_left { parent(beside, &node) } else { parent(&node, beside) };
        }
        way.next().is_none().then_some(node)
    }
}

/// A tree whose root is known to be signed, and what was found to lead there. Leaves of one tree mostly come
/// together; then each needs a hash or two instead of its whole way.
pub(super) struct Proven {
    size: u16,
    /// By level, upwards from the leaves, and place there. Beside a node that is known to lead to the root, so is
    /// all that stands beside its way.
    nodes: HashMap<(u16, u16), Hash>,
}

impl Proven {
    /// Of which nothing is known but the root.
    pub(super) fn new(size: u16, root: Hash) -> Self {
        let whole = Position { index: 0, size };
        Self { size, nodes: HashMap::from([((whole.sides().count() as u16, 0), root)]) }
    }

    /// Whether this leaf stands here, its way being all that it has to be.
    pub(super) fn holds(&mut self, place: Position, leaf: Hash, way: &[Hash]) -> bool {
        if place.size != self.size {
            return false;
        }
        let (mut node, mut at, mut way) = (leaf, (0, place.index), way.iter());
        let (mut is_proved, mut found) = (false, Vec::new());
        for side in place.sides() {
            if !is_proved {
                is_proved = self.nodes.get(&at) == Some(&node);
                found.push((at, node));
            }
            if let Some(is_left) = side {
                let Some(beside) = way.next() else { return false };
                let beside_at = (at.0, at.1 ^ 1);
                if is_proved && self.nodes.get(&beside_at) != Some(beside) {
                    return false;
                }
                found.push((beside_at, *beside));
                if !is_proved {
                    node = if is_left { parent(beside, &node) } else { parent(&node, beside) };
                }
            }
            at = (at.0 + 1, at.1 >> 1);
        }
        let holds = (is_proved || self.nodes.get(&at) == Some(&node)) && way.next().is_none();
        if holds {
            self.nodes.extend(found);
        }
        holds
    }
}

/// A leaf's hash. A node's begins with another byte, so that none is taken for the other.
pub(super) fn leaf(bytes: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(bytes).finalize().into()
}

fn parent(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// A tree over some leaves, at least one.
pub(super) struct Tree {
    /// The leaves, then what stands above them, up to the root.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    pub(super) fn new(leaves: Vec<Hash>) -> Self {
        let mut levels = vec![leaves];
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            let above = below.chunks(2).filter_map(|pair| match pair {
                [left, right] => Some(parent(left, right)),
                // The last one of an odd number goes up as it is.
                other => other.first().copied(),
            });
            levels.push(above.collect());
        }
        Self { levels }
    }

    /// `None` of no leaves at all.
    pub(super) fn root(&self) -> Option<Hash> {
        self.levels.last()?.first().copied()
    }

    /// The way from a leaf to the root.
    pub(super) fn way(&self, index: usize) -> impl Iterator<Item = &Hash> {
        self.levels.iter().enumerate().filter_map(move |(height, level)| level.get(index >> height ^ 1))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    /// RFC 9162's own definition of a tree, word for word.
    fn by_definition(leaves: &[Hash]) -> Hash {
        if let [leaf] = leaves {
            return *leaf;
        }
        let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
        parent(&by_definition(left), &by_definition(right))
    }

    #[test]
    fn every_leaf_leads_to_the_root_and_to_no_other_from_another_place() {
        for size in 1..70u16 {
            let leaves: Vec<Hash> = (0..size).map(|n| leaf(&n.to_be_bytes())).collect();
            let tree = Tree::new(leaves.clone());
            let root = tree.root().unwrap();
            assert_eq!(root, by_definition(&leaves));
            for index in 0..size {
                let way: Vec<Hash> = tree.way(usize::from(index)).copied().collect();
                let here = Position::new(index, size).unwrap();
                assert_eq!(here.steps(), way.len());
                assert_eq!(here.root(leaves[usize::from(index)], &way), Some(root));
                for (other, leaf) in leaves.iter().enumerate() {
                    let place = Position::new(other as u16, size).unwrap();
                    assert_eq!(place.root(*leaf, &way) == Some(root), other == usize::from(index));
                }
                for n in 0..way.len() {
                    let mut changed = way.clone();
                    changed[n][31] ^= 1;
                    assert_ne!(here.root(leaves[usize::from(index)], &changed), Some(root));
                    assert_eq!(here.root(leaves[usize::from(index)], &way[..n]), None);
                }
                assert_eq!(here.root(leaves[usize::from(index)], &[&way[..], &[root]].concat()), None);
            }
        }
    }

    #[test]
    fn what_is_remembered_of_a_tree_proves_what_the_whole_way_does() {
        for size in 1..40u16 {
            let leaves: Vec<Hash> = (0..size).map(|n| leaf(&n.to_be_bytes())).collect();
            let tree = Tree::new(leaves.clone());
            let ways: Vec<Vec<Hash>> = (0..leaves.len()).map(|n| tree.way(n).copied().collect()).collect();
            let mut proven = Proven::new(size, tree.root().unwrap());
            // Some known, some not, in an order of no meaning; twice, so that in the end all are known.
            for step in 0..2 * size {
                let index = usize::from(step.wrapping_mul(17) % size);
                let (own, way) = (leaves[index], &ways[index]);
                let here = Position::new(index as u16, size).unwrap();
                // What was refused once is not remembered.
                let mut is_no = |place: Position, leaf: Hash, way: &[Hash]| {
                    for _ in 0..2 {
                        assert!(!proven.holds(place, leaf, way), "{size} {index} {place:?}");
                    }
                };
                for other in (0..size).filter(|other| usize::from(*other) != index) {
                    is_no(Position::new(other, size).unwrap(), own, way);
                }
                for n in 0..way.len() {
                    let mut changed = way.clone();
                    changed[n][0] ^= 1;
                    is_no(here, own, &changed);
                    changed[n] = own;
                    is_no(here, own, &changed);
                    // What stands beside it, in its place.
                    is_no(here, way[n], way);
                    is_no(here, own, &way[..n]);
                }
                is_no(here, own, &[&way[..], &[own]].concat());
                is_no(here, leaf(b"another"), way);
                is_no(Position { size: size + 1, ..here }, own, way);
                assert!(proven.holds(here, own, way), "{size} {index}");
            }
        }
    }

    /// From the tests of Certificate Transparency: the tree over these eight inputs.
    #[test]
    fn the_root_is_what_others_compute() {
        let inputs: [&[u8]; 8] = [
            &[],
            &[0],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
        ];
        let root = Tree::new(inputs.iter().map(|bytes| leaf(bytes)).collect()).root().unwrap();
        let expected = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328";
        assert_eq!(crate::model::hex(&root), expected);
        let five = Tree::new(inputs[..5].iter().map(|bytes| leaf(bytes)).collect()).root().unwrap();
        let expected = "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4";
        assert_eq!(crate::model::hex(&five), expected);
    }

    #[test]
    fn there_are_no_places_outside() {
        assert_eq!(Position::new(0, 0), None);
        assert_eq!(Position::new(3, 3), None);
        assert_eq!(Position::new(u16::MAX, u16::MAX), None);
        assert_eq!(Position::new(u16::MAX - 1, u16::MAX).unwrap().steps(), 15);
        assert_eq!(Position::new(0, 1).unwrap().root(leaf(b"a"), &[]), Some(leaf(b"a")));
        assert_eq!(Tree::new(Vec::new()).root(), None);
    }
}
