//! A sorted list of document numbers, in chunks, so that an insertion moves little.
//!
//! Four bytes a document instead of a tree node: the ids themselves stand once, in the directory.

use std::cmp::Ordering;

const CHUNK: usize = 512;

/// A sorted list of numbers whose order somebody else knows.
#[derive(Default)]
pub(crate) struct Order {
    /// Never empty chunks, each sorted, in order.
    chunks: Vec<Vec<u32>>,
}

/// A place in an [`Order`]; stays valid until the next change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    chunk: usize,
    at: usize,
}

impl Order {
    /// The number that `compare` calls equal, or the place where it would stand. `compare` tells how a
    /// number's item stands to the one sought.
    pub(crate) fn find(&self, compare: impl Fn(u32) -> Ordering) -> Result<u32, Place> {
        self.place(compare).map(|place| self.chunks[place.chunk][place.at])
    }

    /// Where the number stands that `compare` calls equal, or where it would.
    fn place(&self, compare: impl Fn(u32) -> Ordering) -> Result<Place, Place> {
        let chunk = self
            .chunks
            .partition_point(|chunk| chunk.first().is_some_and(|&first| compare(first) != Ordering::Greater))
            .saturating_sub(1);
        let Some(numbers) = self.chunks.get(chunk) else { return Err(Place { chunk: 0, at: 0 }) };
        let place = |at| Place { chunk, at };
        numbers.binary_search_by(|&number| compare(number)).map(place).map_err(place)
    }

    /// Takes out the number that `compare` calls equal.
    pub(crate) fn remove(&mut self, compare: impl Fn(u32) -> Ordering) {
        let Ok(Place { chunk, at }) = self.place(compare) else { return };
        self.chunks[chunk].remove(at);
        if self.chunks[chunk].is_empty() {
            self.chunks.remove(chunk);
        }
    }

    pub(crate) fn insert(&mut self, place: Place, number: u32) {
        let Some(chunk) = self.chunks.get_mut(place.chunk) else {
            self.chunks.push(vec![number]);
            return;
        };
        if chunk.len() < CHUNK {
            chunk.insert(place.at, number);
            return;
        }
        // Ids often come in order; then full chunks stay full instead of half.
        let middle = if place.at == chunk.len() { chunk.len() } else { chunk.len() / 2 };
        let mut upper = chunk.split_off(middle);
        if place.at >= middle {
            upper.insert(place.at - middle, number);
        } else {
            chunk.insert(place.at, number);
        }
        chunk.shrink_to_fit();
        self.chunks.insert(place.chunk + 1, upper);
    }

    /// The numbers from the first that `before` does not hold for, upwards.
    pub(crate) fn from(&self, before: impl Fn(u32) -> bool) -> impl Iterator<Item = u32> + '_ {
        let chunk = self.chunks.partition_point(|chunk| chunk.last().is_some_and(|&last| before(last)));
        let skip = self.chunks.get(chunk).map_or(0, |numbers| numbers.partition_point(|&n| before(n)));
        self.chunks.iter().skip(chunk).flatten().copied().skip(skip)
    }

    /// Every number, upwards.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        self.chunks.iter().flatten().copied()
    }

    /// The bytes it takes.
    pub(crate) fn size_bytes(&self) -> usize {
        self.chunks.capacity() * size_of::<Vec<u32>>()
            + self.chunks.iter().map(|chunk| chunk.capacity() * 4).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_a_sorted_set(
            items in proptest::collection::vec(0u32..5000, 0..3000),
            gone in proptest::collection::vec(0u32..5000, 0..3000),
        ) {
            let mut order = Order::default();
            for &item in &items {
                if let Err(place) = order.find(|number| number.cmp(&item)) {
                    order.insert(place, item);
                }
            }
            let mut expected: std::collections::BTreeSet<u32> = items.iter().copied().collect();
            for item in gone {
                order.remove(|number| number.cmp(&item));
                expected.remove(&item);
            }
            prop_assert!(order.iter().eq(expected.iter().copied()));
            for bound in [0, 1, 2500, 4999, 5000] {
                prop_assert!(order.from(|n| n < bound).eq(expected.range(bound..).copied()));
            }
        }
    }
}
