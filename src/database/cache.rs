//! Blocks read lately, up to a number of bytes.

use std::collections::HashMap;

use crate::{model::Bytes, store::BlockNo};

/// Enough for 100,000 documents of a few hundred bytes: with less, reading them in the order of random ids reads
/// every block again and again (28 times the time a document, measured with 8 MB). Only what is read fills it.
const LIMIT_BYTES: usize = 40 << 20;

#[derive(Default)]
pub(super) struct BlockCache {
    blocks: HashMap<BlockNo, (Bytes, u64)>,
    clock: u64,
    size_bytes: usize,
}

impl BlockCache {
    pub(super) fn get(&mut self, no: BlockNo) -> Option<Bytes> {
        let (bytes, age) = self.blocks.get_mut(&no)?;
        self.clock += 1;
        *age = self.clock;
        Some(bytes.clone())
    }

    pub(super) fn contains(&self, no: BlockNo) -> bool {
        self.blocks.contains_key(&no)
    }

    pub(super) fn insert(&mut self, no: BlockNo, bytes: Bytes) {
        self.remove(no);
        self.clock += 1;
        self.size_bytes += bytes.len();
        self.blocks.insert(no, (bytes, self.clock));
        // There are a few thousand at most, and each that goes was a read of the store.
        while self.size_bytes > LIMIT_BYTES
            && self.blocks.len() > 1
            && let Some(oldest) = self.blocks.iter().min_by_key(|(_, (_, age))| *age).map(|(&no, _)| no)
        {
            self.remove(oldest);
        }
    }

    pub(super) fn remove(&mut self, no: BlockNo) {
        if let Some((bytes, _)) = self.blocks.remove(&no) {
            self.size_bytes -= bytes.len();
        }
    }
}
