//! What a [`Store`] promises, one async function a promise, for every adapter to be held to.
//!
//! A promise gets a [`Fixture`], which makes two handles of one new store, as two tabs have them. The
//! list at the end, [`for_each_store_promise!`](crate::for_each_store_promise), is what test files
//! expand into one test a promise.
//!
//! Always compiled, so that integration tests reach it without a feature; nothing exported calls it, so
//! it adds no byte to the `.wasm`. It panics where a promise is broken, as tests do.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    ops::Range,
    rc::Rc,
};

use futures::future::join_all;

use super::{Batch, Block, BlockNo, Signal, Store};
use crate::{
    error::{Error, Kind, Result},
    model::{Bytes, Content, Digest},
};

/// How an adapter's tests make stores.
pub trait Fixture {
    /// The adapter.
    type Store: Store;
    /// Two handles of a store that nobody else has.
    fn pair() -> impl Future<Output = (Self::Store, Self::Store)>;
    /// Lets other tasks run; long enough, when repeated 200 times, for a signal to arrive.
    fn pause() -> impl Future<Output = ()>;
}

fn bytes(text: &str) -> Bytes {
    text.as_bytes().into()
}

fn blocks(texts: &[&str]) -> Batch {
    Batch { blocks: texts.iter().map(|text| bytes(text)).collect(), ..Batch::default() }
}

fn dropping(range: Range<BlockNo>) -> Batch {
    Batch { drop_blocks: Vec::from([range]), ..Batch::default() }
}

fn texts(blocks: &[Block]) -> Vec<(BlockNo, String)> {
    blocks.iter().map(|block| (block.no, String::from_utf8_lossy(&block.bytes).into_owned())).collect()
}

fn owned(expected: &[(BlockNo, &str)]) -> Vec<(BlockNo, String)> {
    expected.iter().map(|&(no, text)| (no, text.to_owned())).collect()
}

/// Appends at a place, whatever others wrote.
async fn put(store: &impl Store, next: BlockNo, batch: Batch) -> Result<BlockNo> {
    store.append(next, &mut |_, _| Ok(Some(batch.clone()))).await
}

async fn log(store: &impl Store) -> Vec<(BlockNo, String)> {
    texts(&store.scan(0, u32::MAX).await.unwrap())
}

fn assert_closed<T>(result: Result<T>) {
    assert_eq!(result.err().map(|error| error.kind()), Some(Kind::StoreClosed));
}

/// A new log is empty, its first block is number 1, and those of one batch follow each other.
pub async fn append_numbers_blocks_from_one<F: Fixture>() {
    let (store, _other) = F::pair().await;
    assert_eq!(log(&store).await, []);
    assert_eq!(put(&store, 1, blocks(&["a"])).await.unwrap(), 2);
    assert_eq!(put(&store, 2, blocks(&["b", "c", "d"])).await.unwrap(), 5);
    assert_eq!(log(&store).await, owned(&[(1, "a"), (2, "b"), (3, "c"), (4, "d")]));
}

/// What one handle has appended, the other reads as soon as the promise has resolved.
pub async fn an_append_is_seen_by_the_other_handle<F: Fixture>() {
    let (store, other) = F::pair().await;
    put(&store, 1, blocks(&["a"])).await.unwrap();
    assert_eq!(log(&other).await, owned(&[(1, "a")]));
    assert_eq!(put(&other, 2, blocks(&["b"])).await.unwrap(), 3);
    assert_eq!(log(&store).await, owned(&[(1, "a"), (2, "b")]));
}

/// Blocks come back in the order asked for, also twice, with `None` for those that are not there.
pub async fn read_answers_in_the_order_asked<F: Fixture>() {
    let (store, _other) = F::pair().await;
    put(&store, 1, blocks(&["a", "b", "c"])).await.unwrap();
    let found = store.read(vec![3, 9, 1, 3]).await.unwrap();
    assert_eq!(found, [Some(bytes("c")), None, Some(bytes("a")), Some(bytes("c"))]);
    assert_eq!(store.read(Vec::new()).await.unwrap(), []);
}

/// However many blocks are read at once, with and without gaps, each comes back as what it is.
pub async fn many_blocks_are_read_at_once<F: Fixture>() {
    const COUNT: BlockNo = 150;
    let (store, _other) = F::pair().await;
    let all: Vec<String> = (1..=COUNT).map(|no| format!("block {no}")).collect();
    put(&store, 1, blocks(&all.iter().map(String::as_str).collect::<Vec<_>>())).await.unwrap();
    let gaps = Batch { drop_blocks: vec![3..4, 16..18, 50..90, 149..150], ..Batch::default() };
    put(&store, COUNT + 1, gaps).await.unwrap();
    let is_gone = |no| matches!(no, 0 | 3 | 16 | 17 | 50..90 | 149) || no > COUNT;
    let expected = |no: BlockNo| (!is_gone(no)).then(|| bytes(&format!("block {no}")));

    let forth: Vec<BlockNo> = (0..COUNT + 9).collect();
    for numbers in [forth.clone(), forth.iter().rev().copied().collect(), [forth.clone(), forth].concat()] {
        let found = store.read(numbers.clone()).await.unwrap();
        assert_eq!(found, numbers.into_iter().map(expected).collect::<Vec<_>>());
    }
    let there: Vec<BlockNo> = (1..=COUNT).filter(|&no| !is_gone(no)).collect();
    for (from, limit) in [(1, 1_000), (2, 100), (17, 33), (60, 16)] {
        let scanned = texts(&store.scan(from, limit).await.unwrap());
        let there = there.iter().filter(|&&no| no >= from).take(limit as usize);
        assert_eq!(scanned, there.map(|&no| (no, format!("block {no}"))).collect::<Vec<_>>());
    }
}

/// A block may be empty, and large, and hold any byte.
pub async fn blocks_hold_any_bytes<F: Fixture>() {
    let (store, other) = F::pair().await;
    let any: Bytes = (0..300_000u32).map(|i| (i % 251) as u8 ^ (i >> 8) as u8).collect();
    let batch = Batch { blocks: vec![bytes(""), any.clone()], ..Batch::default() };
    put(&store, 1, batch).await.unwrap();
    assert_eq!(other.read(vec![1, 2]).await.unwrap(), [Some(bytes("")), Some(any)]);
}

/// A scan starts at `from`, stops after `limit`, and passes over numbers that are gone.
pub async fn scan_goes_in_order_up_to_its_limit<F: Fixture>() {
    let (store, _other) = F::pair().await;
    put(&store, 1, blocks(&["a", "b", "c", "d", "e"])).await.unwrap();
    assert_eq!(put(&store, 6, dropping(2..4)).await.unwrap(), 6);
    assert_eq!(texts(&store.scan(1, 2).await.unwrap()), owned(&[(1, "a"), (4, "d")]));
    assert_eq!(texts(&store.scan(2, 9).await.unwrap()), owned(&[(4, "d"), (5, "e")]));
    assert_eq!(texts(&store.scan(1, 0).await.unwrap()), []);
    assert_eq!(texts(&store.scan(6, 9).await.unwrap()), []);
}

/// The builder of one who is behind sees what the others appended, and writes after it.
pub async fn a_builder_behind_is_shown_the_newer_blocks<F: Fixture>() {
    let (store, other) = F::pair().await;
    put(&store, 1, blocks(&["a"])).await.unwrap();
    put(&other, 2, blocks(&["b", "c"])).await.unwrap();
    let mut seen = Vec::new();
    let after = store
        .append(2, &mut |newer, next| {
            seen = texts(newer);
            let text = format!("{next} after {}", newer.len());
            Ok(Some(blocks(&[&text])))
        })
        .await
        .unwrap();
    assert_eq!(seen, owned(&[(2, "b"), (3, "c")]));
    assert_eq!(after, 5);
    assert_eq!(log(&other).await, owned(&[(1, "a"), (2, "b"), (3, "c"), (4, "4 after 2")]));
}

/// One who is behind is shown the newer blocks also if what it would write first is nothing, an error,
/// or no block.
pub async fn a_builder_behind_is_asked_again_whatever_it_said<F: Fixture>() {
    let (store, other) = F::pair().await;
    put(&other, 1, blocks(&["a"])).await.unwrap();
    for (at, first) in (2..).zip([Ok(None), Err(Error::conflict()), Ok(Some(Batch::default()))]) {
        let mut build = |newer: &[Block], _| {
            if newer.is_empty() { first.clone() } else { Ok(Some(blocks(&["again"]))) }
        };
        assert_eq!(store.append(1, &mut build).await.unwrap(), at + 1);
    }
    assert_eq!(log(&other).await.len(), 4);
}

/// `None` writes nothing and is no error.
pub async fn a_builder_that_declines_writes_nothing<F: Fixture>() {
    let (store, other) = F::pair().await;
    put(&store, 1, blocks(&["a"])).await.unwrap();
    assert_eq!(store.append(2, &mut |_, _| Ok(None)).await.unwrap(), 2);
    assert_eq!(store.append(1, &mut |_, _| Ok(None)).await.unwrap(), 2);
    assert_eq!(log(&other).await, owned(&[(1, "a")]));
    // Nothing is locked afterwards.
    assert_eq!(put(&other, 2, blocks(&["b"])).await.unwrap(), 3);
}

/// The builder's error is the call's, and nothing is written.
pub async fn a_builder_that_fails_writes_nothing<F: Fixture>() {
    let (store, other) = F::pair().await;
    put(&store, 1, blocks(&["a"])).await.unwrap();
    for next in [2, 1] {
        let error = store.append(next, &mut |_, _| Err(Error::conflict())).await.unwrap_err();
        assert_eq!(error, Error::conflict());
    }
    assert_eq!(log(&other).await, owned(&[(1, "a")]));
    assert_eq!(put(&other, 2, blocks(&["b"])).await.unwrap(), 3);
}

/// Nothing is left of what a builder said before it was shown the newer blocks.
pub async fn only_the_last_answer_is_written<F: Fixture>() {
    let (store, other) = F::pair().await;
    put(&store, 1, blocks(&["a"])).await.unwrap();
    put(&other, 2, blocks(&["b"])).await.unwrap();
    let put_contents = vec![(Digest::of(b"hello"), b"hello".to_vec().into())];
    let stale = Batch { put_contents, blocks: blocks(&["stale", "too"]).blocks, ..dropping(1..2) };
    for last in [Ok(None), Err(Error::conflict()), Ok(Some(blocks(&["c"])))] {
        let mut build =
            |newer: &[Block], _| if newer.is_empty() { Ok(Some(stale.clone())) } else { last.clone() };
        let after = store.append(2, &mut build).await;
        assert_eq!(after.ok(), last.map_or(None, |batch| Some(3 + batch.iter().len() as BlockNo)));
        assert!(other.content_digests().await.unwrap().is_empty());
    }
    assert_eq!(log(&other).await, owned(&[(1, "a"), (2, "b"), (3, "c")]));
}

/// Of many appends begun at once through two handles, every one is there once, and each builder that
/// wrote had seen all blocks before its own.
pub async fn concurrent_appends_lose_nothing<F: Fixture>() {
    const EACH: usize = 10;
    let (store, other) = F::pair().await;
    let seen = Rc::new(RefCell::new(Vec::new()));
    let one = async |handle: &F::Store, name: String| {
        let mut known = 0;
        let (mut at, written) = (0, bytes(&name));
        let after = handle
            .append(1, &mut |newer, next| {
                (known, at) = (newer.len(), next);
                Ok(Some(Batch { blocks: vec![written.clone()], ..Batch::default() }))
            })
            .await
            .unwrap();
        assert_eq!(after, at + 1);
        assert_eq!(known as BlockNo + 1, at, "{name} did not see all blocks before its own");
        seen.borrow_mut().push((at, name));
    };
    let mine = join_all((0..EACH).map(|i| one(&store, format!("store {i}"))));
    let theirs = join_all((0..EACH).map(|i| one(&other, format!("other {i}"))));
    futures::future::join(mine, theirs).await;
    let mut seen = seen.take();
    seen.sort();
    assert_eq!(seen.len(), 2 * EACH);
    assert_eq!(log(&store).await, seen);
}

/// Dropped ranges are gone, what was not there is no error, and new blocks of the same batch stay.
pub async fn drops_leave_the_rest_and_the_new<F: Fixture>() {
    let (store, other) = F::pair().await;
    put(&store, 1, blocks(&["a", "b", "c", "d"])).await.unwrap();
    let batch = Batch { drop_blocks: vec![1..2, 3..20, 7..7], ..blocks(&["e"]) };
    assert_eq!(put(&store, 5, batch).await.unwrap(), 6);
    assert_eq!(log(&other).await, owned(&[(2, "b"), (5, "e")]));
}

/// A batch without blocks is checked against newer ones too, and ends where they end.
pub async fn a_batch_without_blocks_is_a_commit<F: Fixture>() {
    let (store, other) = F::pair().await;
    put(&store, 1, blocks(&["a"])).await.unwrap();
    put(&other, 2, blocks(&["b"])).await.unwrap();
    let mut seen = Vec::new();
    let mut build = |newer: &[Block], next| {
        seen.push((newer.len(), next));
        Ok(Some(dropping(1..2)))
    };
    assert_eq!(store.append(2, &mut build).await.unwrap(), 3);
    assert_eq!(seen.last(), Some(&(1, 3)));
    assert_eq!(log(&store).await, owned(&[(2, "b")]));
}

/// Contents come and go with the blocks of their batch, and are found by digest.
pub async fn contents_come_and_go_by_digest<F: Fixture>() {
    let (store, other) = F::pair().await;
    let (small, empty): (Content, Content) = (b"hello".to_vec().into(), Vec::new().into());
    let large: Content = vec![7; 200_000].into();
    let all = [small, empty, large];
    let mut named = Vec::new();
    for content in all {
        named.push((content.digest().await.unwrap(), content));
    }
    let batch = Batch { put_contents: named.clone(), ..blocks(&["a"]) };
    put(&store, 1, batch).await.unwrap();
    for (digest, content) in &named {
        let found = other.content(*digest).await.unwrap().unwrap();
        assert_eq!(found.size_bytes(), content.size_bytes());
        assert_eq!(found.digest().await.unwrap(), *digest);
        assert_eq!(found.bytes().await.unwrap(), content.bytes().await.unwrap());
    }
    let sorted = |mut digests: Vec<Digest>| {
        digests.sort();
        digests
    };
    let digests: Vec<_> = named.iter().map(|(digest, _)| *digest).collect();
    assert_eq!(sorted(other.content_digests().await.unwrap()), sorted(digests.clone()));

    // What was read from the store can be put again, also under a batch without blocks.
    let again = other.content(digests[2]).await.unwrap().unwrap();
    let batch = Batch {
        put_contents: vec![(digests[2], again)],
        drop_contents: vec![digests[0], Digest::of(b"never put")],
        ..Batch::default()
    };
    put(&other, 2, batch).await.unwrap();
    assert!(store.content(digests[0]).await.unwrap().is_none());
    assert_eq!(store.content(digests[2]).await.unwrap().unwrap().digest().await.unwrap(), digests[2]);
    assert_eq!(sorted(store.content_digests().await.unwrap()), sorted(digests[1..].to_vec()));
}

/// A builder that is behind may need contents only once it has seen the newer blocks.
pub async fn a_builder_behind_may_change_its_mind_about_contents<F: Fixture>() {
    let (store, other) = F::pair().await;
    put(&other, 1, blocks(&["a"])).await.unwrap();
    let content: Content = b"hello".to_vec().into();
    let digest = Digest::of(b"hello");
    let mut build = |newer: &[Block], _| {
        let put_contents = if newer.is_empty() { Vec::new() } else { vec![(digest, content.clone())] };
        Ok(Some(Batch { put_contents, ..blocks(&["b"]) }))
    };
    assert_eq!(store.append(1, &mut build).await.unwrap(), 3);
    assert!(other.content(digest).await.unwrap().is_some());
    assert_eq!(log(&other).await, owned(&[(1, "a"), (2, "b")]));
}

/// Records are found by name, in the order asked for, and replaced unless told not to.
pub async fn records_are_put_and_kept<F: Fixture>() {
    let (store, other) = F::pair().await;
    assert_eq!(store.records(vec!["x"]).await.unwrap(), [None]);
    assert_eq!(store.put_record("x", bytes("1"), true).await.unwrap(), bytes("1"));
    assert_eq!(other.put_record("x", bytes("2"), true).await.unwrap(), bytes("1"));
    assert_eq!(other.records(vec!["y", "x"]).await.unwrap(), [None, Some(bytes("1"))]);
    assert_eq!(other.put_record("x", bytes("3"), false).await.unwrap(), bytes("3"));
    assert_eq!(store.records(vec!["x", "y", "x"]).await.unwrap(), [Some(bytes("3")), None, Some(bytes("3"))]);
    assert_eq!(store.records(Vec::new()).await.unwrap(), []);
}

/// Of two that make a record only if it is absent, both get the same one.
pub async fn a_record_is_made_once<F: Fixture>() {
    let (store, other) = F::pair().await;
    let (a, b) = futures::future::join(
        store.put_record("x", bytes("store"), true),
        other.put_record("x", bytes("other"), true),
    )
    .await;
    assert_eq!(a.unwrap(), b.unwrap());
}

/// After a commit the other handle is told, at least once, and the one that made it is not.
pub async fn a_commit_is_told_to_the_others<F: Fixture>() {
    let (store, other) = F::pair().await;
    let heard = |handle: &F::Store| {
        let count = Rc::new(Cell::new(0));
        let counted = count.clone();
        handle.watch(Box::new(move |signal| {
            assert_eq!(signal, Signal::Committed);
            counted.set(counted.get() + 1);
        }));
        count
    };
    let replaced = heard(&other);
    let (by_store, by_other) = (heard(&store), heard(&other));
    // Handles may tell each other to look once when they are opened.
    for _ in 0..20 {
        F::pause().await;
    }
    let (mine, replaced_before) = (by_store.get(), replaced.get());
    for next in 1..4 {
        let before = by_other.get();
        put(&store, next, blocks(&["a"])).await.unwrap();
        for _ in 0..200 {
            if by_other.get() > before {
                break;
            }
            F::pause().await;
        }
        assert!(by_other.get() > before, "commit {next} was not told");
    }
    assert_eq!((by_store.get(), replaced.get()), (mine, replaced_before));
}

/// Nothing is missed between opening and the first look: one who then watches, and looks at the log once
/// more when told, sees every commit, however early it was made.
pub async fn no_commit_goes_untold<F: Fixture>() {
    let (store, other) = F::pair().await;
    // No pause in between: the handles may not know of each other yet.
    assert_eq!(log(&other).await, []);
    put(&store, 1, blocks(&["a"])).await.unwrap();
    let told = Rc::new(Cell::new(false));
    let flag = told.clone();
    let looked = log(&other).await;
    other.watch(Box::new(move |_| flag.set(true)));
    for _ in 0..200 {
        if !looked.is_empty() || told.get() {
            break;
        }
        F::pause().await;
    }
    assert_eq!(log(&other).await, owned(&[(1, "a")]));

    let flag = told.clone();
    told.set(false);
    store.watch(Box::new(move |_| flag.set(true)));
    put(&other, 2, blocks(&["b"])).await.unwrap();
    for _ in 0..200 {
        if told.get() {
            break;
        }
        F::pause().await;
    }
    assert!(told.get());
}

/// After `close`, which may be called twice, every call fails with `store_closed`; the other handle works.
pub async fn a_closed_handle_refuses_every_call<F: Fixture>() {
    let (store, other) = F::pair().await;
    put(&store, 1, blocks(&["a"])).await.unwrap();
    store.close();
    store.close();
    refuses_every_call(&store).await;
    assert_eq!(put(&other, 2, blocks(&["b"])).await.unwrap(), 3);
}

async fn refuses_every_call(store: &impl Store) {
    let mut asked = false;
    let mut build = |_: &[Block], _| {
        asked = true;
        Ok(Some(blocks(&["z"])))
    };
    assert_closed(store.append(2, &mut build).await);
    assert!(!asked, "a builder ran for a closed store");
    assert_closed(store.read(vec![1]).await);
    assert_closed(store.read(Vec::new()).await);
    assert_closed(store.scan(1, 1).await);
    assert_closed(store.scan(1, 0).await);
    assert_closed(store.content(Digest::of(b"")).await);
    assert_closed(store.content_digests().await);
    assert_closed(store.records(vec!["x"]).await);
    assert_closed(store.records(Vec::new()).await);
    assert_closed(store.put_record("x", bytes("1"), false).await);
    assert_closed(store.destroy().await);
}

/// A destroyed store is closed for the one who destroyed it and for the others, who are told.
pub async fn a_destroyed_store_is_gone_for_everybody<F: Fixture>() {
    let (store, other) = F::pair().await;
    put(&store, 1, blocks(&["a"])).await.unwrap();
    let told = Rc::new(Cell::new(0));
    let count = told.clone();
    other.watch(Box::new(move |signal| {
        // The commit may still be on its way.
        if signal == Signal::Destroyed {
            count.set(count.get() + 1);
        }
    }));
    store.destroy().await.unwrap();
    refuses_every_call(&store).await;
    for _ in 0..200 {
        if told.get() > 0 {
            break;
        }
        F::pause().await;
    }
    assert_eq!(told.get(), 1);
    refuses_every_call(&other).await;
    F::pause().await;
    assert_eq!(told.get(), 1);
}

/// A store that another handle destroyed is not made anew, also not by one who was not told yet.
pub async fn a_store_destroyed_elsewhere_is_not_made_anew<F: Fixture>() {
    let (store, other) = F::pair().await;
    put(&store, 1, blocks(&["a"])).await.unwrap();
    store.destroy().await.unwrap();
    assert_closed(put(&other, 2, blocks(&["b"])).await);
    refuses_every_call(&other).await;
}

/// Calls a macro with the name of every promise of [`Store`].
#[macro_export]
#[doc(hidden)]
macro_rules! for_each_store_promise {
    ($then:ident) => {
        $then! {
            append_numbers_blocks_from_one,
            an_append_is_seen_by_the_other_handle,
            read_answers_in_the_order_asked,
            many_blocks_are_read_at_once,
            blocks_hold_any_bytes,
            scan_goes_in_order_up_to_its_limit,
            a_builder_behind_is_shown_the_newer_blocks,
            a_builder_behind_is_asked_again_whatever_it_said,
            a_builder_that_declines_writes_nothing,
            a_builder_that_fails_writes_nothing,
            only_the_last_answer_is_written,
            concurrent_appends_lose_nothing,
            drops_leave_the_rest_and_the_new,
            a_batch_without_blocks_is_a_commit,
            contents_come_and_go_by_digest,
            a_builder_behind_may_change_its_mind_about_contents,
            records_are_put_and_kept,
            a_record_is_made_once,
            a_commit_is_told_to_the_others,
            no_commit_goes_untold,
            a_closed_handle_refuses_every_call,
            a_destroyed_store_is_gone_for_everybody,
            a_store_destroyed_elsewhere_is_not_made_anew,
        }
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_promise_is_in_the_list() {
        let source = include_str!("conformance.rs");
        let (promises, list) = source.split_once("macro_rules! for_each_store_promise").unwrap();
        for promise in promises.split("\npub async fn ").skip(1) {
            let name = promise.split('<').next().unwrap();
            assert!(list.contains(&format!(" {name},\n")), "{name} is not in the list");
        }
    }
}
