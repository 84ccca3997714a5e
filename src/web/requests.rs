//! What the store asks of IndexedDB within one transaction: appends on both paths, and reads of many.

use std::collections::HashMap;

use js_sys::{Array, Uint8Array};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{IdbKeyRange, IdbObjectStore, IdbRequest};

use super::{
    blob::{bytes_of, content_to_stored},
    connection::{CONTENTS, Connection, LOG, Scope},
    transaction::{Failure, Transaction},
};
use crate::{
    error::Error,
    model::{Bytes, sort_by},
    store::{Batch, Block, BlockNo, Builder},
};

/// What came of an append under the log's lock.
pub(super) enum Appended {
    Written(BlockNo),
    Nothing(BlockNo),
    /// The batch turned out to need an object store that the transaction does not have.
    NeedsContents,
}

/// The fast path. `None` if others had appended; then nothing was written.
pub(super) async fn add(
    connection: &Connection,
    next: BlockNo,
    batch: &Batch,
) -> Result<Option<BlockNo>, Failure> {
    match write(connection.write(scope_of(touches_contents(batch)))?, next, batch).await {
        Ok(after) => Ok(Some(after)),
        Err(failure) if failure.is("ConstraintError") => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The slow path: what others wrote is read, shown to `build` and answered in one transaction.
pub(super) async fn append_after_others(
    connection: &Connection,
    next: BlockNo,
    build: &mut Builder<'_>,
    with_contents: bool,
) -> Result<Appended, Failure> {
    let transaction = connection.write(scope_of(with_contents))?;
    let newer = blocks_from(&transaction, next, None).await?;
    let next = newer.last().map_or(next, |last| last.no + 1);
    // Nothing was requested yet that writes, so letting go of the transaction here writes nothing.
    match build(&newer, next).map_err(Failure::Ours)? {
        None => Ok(Appended::Nothing(next)),
        Some(batch) if touches_contents(&batch) && !with_contents => Ok(Appended::NeedsContents),
        Some(batch) => Ok(Appended::Written(write(transaction, next, &batch).await?)),
    }
}

/// Writes a batch, all or nothing, with its blocks from `next` on. Resolves when it is committed.
async fn write(transaction: Transaction, next: BlockNo, batch: &Batch) -> Result<BlockNo, Failure> {
    match request_all(&transaction, next, batch) {
        Ok(()) => {}
        Err(failure) => {
            transaction.abort();
            return Err(failure);
        }
    }
    transaction.committed().await?;
    Ok(next + batch.blocks.len() as BlockNo)
}

fn request_all(transaction: &Transaction, next: BlockNo, batch: &Batch) -> Result<(), Failure> {
    let log = transaction.store(LOG)?;
    for (no, bytes) in (next..).zip(&batch.blocks) {
        log.add_with_key(&Uint8Array::new_from_slice(bytes), &no.into())?;
    }
    for range in &batch.drop_blocks {
        // Only what was there before: the blocks just added are not meant.
        let (start, end) = (range.start, range.end.min(next));
        if start < end {
            let range =
                IdbKeyRange::bound_with_lower_open_and_upper_open(&start.into(), &end.into(), false, true)?;
            log.delete(&range)?;
        }
    }
    if touches_contents(batch) {
        let contents = transaction.store(CONTENTS)?;
        for digest in &batch.drop_contents {
            contents.delete(&digest.to_string().into())?;
        }
        for (digest, content) in &batch.put_contents {
            // Also where it is there already: asking first would cost every new one a round trip.
            let value = content_to_stored(content).map_err(Failure::Ours)?;
            contents.put_with_key(&value, &digest.to_string().into())?;
        }
    }
    Ok(())
}

pub(super) fn touches_contents(batch: &Batch) -> bool {
    !batch.put_contents.is_empty() || !batch.drop_contents.is_empty()
}

fn scope_of(with_contents: bool) -> Scope {
    if with_contents { Scope::LogAndContents } else { Scope::Log }
}

/// Whether nobody has appended a block numbered `next` or more.
pub(super) async fn ends_before(connection: &Connection, next: BlockNo) -> Result<bool, Failure> {
    let transaction = connection.read(Scope::Log)?;
    let range = IdbKeyRange::lower_bound(&next.into())?;
    let request = transaction.store(LOG)?.get_key(&range)?;
    Ok(transaction.result(&request).await?.is_undefined())
}

/// How many blocks one request reads. Measured in Chromium: 600 blocks of 5 KB come in 24 ms by this
/// many, in 67 one by one, and in 110 by a single `getAll`; blocks of 0.5 and 15 KB behave alike.
const BLOCKS_PER_REQUEST: usize = 16;

/// The blocks numbered `from` and more.
pub(super) async fn blocks_from(
    transaction: &Transaction,
    from: BlockNo,
    limit: Option<u32>,
) -> Result<Vec<Block>, Failure> {
    let log = transaction.store(LOG)?;
    let range = IdbKeyRange::lower_bound(&from.into())?;
    let keys = match limit {
        Some(limit) => log.get_all_keys_with_key_and_limit(&range, limit)?,
        None => log.get_all_keys_with_key(&range)?,
    };
    if let Some(limit) = limit.filter(|&limit| limit as usize <= BLOCKS_PER_REQUEST) {
        // One page: not worth waiting for its keys first.
        let values = log.get_all_with_key_and_limit(&range, limit)?;
        transaction.result(&values).await?;
        return blocks_in(block_numbers(keys.result()?)?, &[values]);
    }
    let numbers = block_numbers(transaction.result(&keys).await?)?;
    let pages = numbers.chunks(BLOCKS_PER_REQUEST);
    let pages = pages.map(|page| log.get_all_with_key(&range_of(page)?)).collect::<Result<Vec<_>, _>>()?;
    if let Some(last) = pages.last() {
        transaction.result(last).await?;
    }
    blocks_in(numbers, &pages)
}

/// The blocks of these numbers from the answers that hold them in the same order.
fn blocks_in(numbers: Vec<BlockNo>, pages: &[IdbRequest]) -> Result<Vec<Block>, Failure> {
    let mut values = Vec::with_capacity(numbers.len());
    for page in pages {
        values.extend(page.result()?.unchecked_into::<Array>().iter());
    }
    let blocks = numbers.into_iter().zip(values);
    blocks.map(|(no, value)| Ok(Block { no, bytes: stored_block(value)? })).collect()
}

/// The blocks of these numbers, in the order asked for.
pub(super) async fn blocks_of(
    transaction: &Transaction,
    asked: &[BlockNo],
) -> Result<Vec<Option<Bytes>>, Failure> {
    let log = transaction.store(LOG)?;
    let mut numbers = asked.to_vec();
    sort_by(&mut numbers, Ord::cmp);
    numbers.dedup();
    let runs = numbers.chunk_by(|a, b| a + 1 == *b).flat_map(|run| run.chunks(BLOCKS_PER_REQUEST));
    // A block in a run may be missing, so the keys are asked for too; they are small.
    let request = |run: &[BlockNo]| -> Result<_, JsValue> {
        let range = range_of(run)?;
        Ok((log.get_all_keys_with_key(&range)?, log.get_all_with_key(&range)?))
    };
    let requests = runs.map(request).collect::<Result<Vec<_>, _>>()?;
    if let Some((_, last)) = requests.last() {
        transaction.result(last).await?;
    }
    let mut found = HashMap::with_capacity(numbers.len());
    for (keys, values) in requests {
        let blocks = blocks_in(block_numbers(keys.result()?)?, &[values])?;
        found.extend(blocks.into_iter().map(|block| (block.no, block.bytes)));
    }
    Ok(asked.iter().map(|no| found.get(no).cloned()).collect())
}

/// From the first to the last of numbers in order.
fn range_of(numbers: &[BlockNo]) -> Result<JsValue, JsValue> {
    let end = |number: Option<&BlockNo>| JsValue::from(number.copied().unwrap_or_default());
    IdbKeyRange::bound(&end(numbers.first()), &end(numbers.last())).map(JsValue::from)
}

fn block_numbers(keys: JsValue) -> Result<Vec<BlockNo>, Failure> {
    let number = |key: JsValue| key.as_f64().map(|no| no as BlockNo);
    let numbers: Option<Vec<_>> = keys.unchecked_into::<Array>().iter().map(number).collect();
    numbers.ok_or_else(|| Failure::Ours(Error::corrupt("block number")))
}

fn stored_block(value: JsValue) -> Result<Bytes, Failure> {
    stored_bytes(value, "block")?.ok_or_else(|| Failure::Ours(Error::corrupt("block")))
}

/// The values of keys, in their order; all requested at once.
pub(super) async fn get_each(
    transaction: &Transaction,
    store: &IdbObjectStore,
    keys: impl Iterator<Item = JsValue>,
    what: &'static str,
) -> Result<Vec<Option<Bytes>>, Failure> {
    let requests = keys.map(|key| store.get(&key)).collect::<Result<Vec<_>, _>>()?;
    if let Some(last) = requests.last() {
        transaction.result(last).await?;
    }
    requests.iter().map(|request| stored_bytes(request.result()?, what)).collect()
}

/// The bytes of a stored value; `None` for one that is not there.
pub(super) fn stored_bytes(value: JsValue, what: &'static str) -> Result<Option<Bytes>, Failure> {
    if value.is_undefined() {
        return Ok(None);
    }
    let array = value.dyn_into::<Uint8Array>().map_err(|_| Failure::Ours(Error::corrupt(what)))?;
    Ok(Some(bytes_of(&array)))
}
