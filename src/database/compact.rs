//! Compaction: live entries move to the log's end, dead ones are left behind, contents that nothing
//! refers to go.
//!
//! It runs in steps of about a megabyte, each a commit like any other: other work goes on between
//! them, another tab may compact at the same time, and a crash anywhere leaves a whole log. A step
//! decides what is live in its commit's builder, so an edit that came just before is not lost.
//!
//! By itself ([`super::OpenOptions::auto_compaction`]) the database looks after every few commits and
//! does at most one step: many small blocks are merged, and a log that is mostly dead is shortened.

use std::ops::Range;

use super::{Database, Inner, Job};
use crate::{
    error::Result,
    log::{BLOCK_TARGET_BYTES, BlockBuilder, BlockUse, Location, entries},
    model::{Bytes, Digest, sort_by},
    store::{Batch, Block, BlockNo},
};

/// Blocks in one step.
const STEP_BLOCKS: usize = 64;

/// Live bytes in one step.
const STEP_BYTES: u64 = 1 << 20;

/// Commits between two looks.
const LOOK_EVERY: u32 = 32;

/// Small blocks that are worth a merge.
const SMALL_BLOCKS: usize = 128;

/// Dead bytes below which a log is not worth shortening.
const DEAD_BYTES: u64 = 1 << 20;

/// One commit of a compaction.
pub(super) enum Step {
    /// Move what is live in these blocks to the end.
    Blocks(Vec<BlockNo>),
    /// Drop the contents of these that nothing refers to.
    Contents(Vec<Digest>),
}

impl Database {
    /// Drops the bodies of all revisions that are no leaves, and the contents only they had: CouchDB's
    /// compaction.
    ///
    /// Atomic: step by step; every step leaves a whole database.
    pub async fn compact(&self) -> Result<()> {
        self.fresh().await?;
        let victims: Vec<(BlockNo, BlockUse)> = {
            let state = self.inner.state.borrow();
            let is_worth = |usage: &BlockUse| usage.live_entries < usage.total_entries || is_small(usage);
            state.directory.blocks().filter(|(_, usage)| is_worth(usage)).collect()
        };
        let is_dead = |usage: &BlockUse| usage.live_entries < usage.total_entries;
        // A single small block at the end that is all alive stays as it is.
        if victims.len() > 1 || victims.iter().any(|(_, usage)| is_dead(usage)) {
            for step in steps(&victims) {
                self.submit(|reply| Job::Compact { step: Step::Blocks(step), reply }).await?;
                self.inner.platform.sleep(0).await;
            }
        }
        self.drop_contents().await
    }

    async fn drop_contents(&self) -> Result<()> {
        let digests = self.inner.store.content_digests().await?;
        let unused = {
            let state = self.inner.state.borrow();
            digests.into_iter().filter(|digest| !state.directory.refers_to(digest)).collect::<Vec<_>>()
        };
        if unused.is_empty() {
            return Ok(());
        }
        self.submit(|reply| Job::Compact { step: Step::Contents(unused), reply }).await
    }

    /// One step, if it is time to look and there is reason. Failures are left to the next time: the
    /// caller's own write has succeeded.
    pub(super) async fn compact_if_worth_it(&self) {
        if !self.inner.options.auto_compaction {
            return;
        }
        let commits = &self.inner.commits;
        commits.set(commits.get() + 1);
        if commits.get() < LOOK_EVERY {
            return;
        }
        commits.set(0);
        let step = {
            let state = self.inner.state.borrow();
            let small: Vec<_> = state.directory.blocks().filter(|(_, usage)| is_small(usage)).collect();
            let (total, live) = state.directory.log_bytes();
            if total - live.min(total) > DEAD_BYTES.max(total / 2) {
                let mut worst: Vec<_> = state.directory.blocks().collect();
                let share = |usage: &BlockUse| {
                    u64::from(usage.live_bytes) * 1000 / u64::from(usage.total_bytes.max(1))
                };
                sort_by(&mut worst, |(_, a), (_, b)| share(a).cmp(&share(b)));
                steps(&worst).into_iter().next()
            } else if small.len() >= SMALL_BLOCKS {
                let merged: Vec<BlockNo> = small.iter().map(|(no, _)| *no).collect();
                Some(merged)
            } else {
                None
            }
        };
        if let Some(step) = step {
            let _ = self.submit(|reply| Job::Compact { step: Step::Blocks(step), reply }).await;
        }
    }
}

fn is_small(usage: &BlockUse) -> bool {
    (usage.total_bytes as usize) < BLOCK_TARGET_BYTES / 4
}

/// Cuts a list of blocks into steps.
fn steps(victims: &[(BlockNo, BlockUse)]) -> Vec<Vec<BlockNo>> {
    let mut steps: Vec<Vec<BlockNo>> = Vec::new();
    let mut bytes = 0;
    for (no, usage) in victims {
        match steps.last_mut() {
            Some(step) if step.len() < STEP_BLOCKS && bytes < STEP_BYTES => step.push(*no),
            _ => {
                steps.push(vec![*no]);
                bytes = 0;
            }
        }
        bytes += u64::from(usage.live_bytes);
    }
    steps
}

impl Inner {
    /// Only the line of jobs may call it.
    pub(super) async fn compact_step(&self, step: Step) -> Result<()> {
        match step {
            Step::Blocks(victims) => self.move_live(victims).await,
            Step::Contents(unused) => {
                let next = self.state.borrow().next;
                let mut build = |newer: &[Block], first| {
                    let mut state = self.state.borrow_mut();
                    state.fold(newer.to_vec())?;
                    state.next = first;
                    let drop_contents: Vec<Digest> =
                        unused.iter().filter(|digest| !state.directory.refers_to(digest)).copied().collect();
                    Ok(Some(Batch { drop_contents, ..Batch::default() }))
                };
                self.store.append(next, &mut build).await.map(|_| ())
            }
        }
    }

    async fn move_live(&self, mut victims: Vec<BlockNo>) -> Result<()> {
        sort_by(&mut victims, Ord::cmp);
        // Straight from the store: what will be dropped need not fill the cache.
        let blocks = self.store.read(victims.clone()).await?;
        let victims: Vec<(BlockNo, Option<Bytes>)> = victims.into_iter().zip(blocks).collect();
        let mut moved: (BlockNo, Vec<Bytes>) = (0, Vec::new());
        let mut dropped: Vec<Range<BlockNo>> = Vec::new();
        let next = self.state.borrow().next;
        let mut build = |newer: &[Block], first| {
            let mut state = self.state.borrow_mut();
            state.fold(newer.to_vec())?;
            state.next = first;
            let mut builder = BlockBuilder::new(first);
            dropped.clear();
            let mut spared = None;
            for (no, bytes) in &victims {
                for entry in bytes.as_deref().map(entries).transpose()?.into_iter().flatten() {
                    let entry = entry?;
                    if state.directory.is_live(&entry.summary, Location { block: *no, offset: entry.offset })
                    {
                        builder.push(entry.bytes);
                    }
                }
                match dropped.last_mut() {
                    Some(last) if last.end == *no => last.end = no + 1,
                    _ => dropped.push(*no..no + 1),
                }
                spared = Some(*no);
            }
            let blocks: Vec<Bytes> = builder.finish().into_iter().map(Bytes::from).collect();
            // The log must not get shorter at its end, or a number would be used again.
            if blocks.is_empty()
                && spared == Some(first - 1)
                && let Some(last) = dropped.last_mut()
            {
                last.end -= 1;
            }
            dropped.retain(|range| !range.is_empty());
            moved = (first, blocks.clone());
            Ok(Some(Batch { blocks, drop_blocks: dropped.clone(), ..Batch::default() }))
        };
        self.store.append(next, &mut build).await?;
        let mut state = self.state.borrow_mut();
        let (first, blocks) = moved;
        state.fold(blocks.into_iter().zip(first..).map(|(bytes, no)| Block { no, bytes }).collect())?;
        for range in &dropped {
            state.directory.drop_blocks(range);
            for no in range.clone() {
                state.cache.remove(no);
            }
        }
        Ok(())
    }
}
