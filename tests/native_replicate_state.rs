//! What a replication says of itself and lets be done with it: phases, pauses, logins, a device that is
//! full, documents that are denied. On a clock that moves only when a test moves it.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/shaky.rs"]
mod shaky;
#[path = "support/story.rs"]
mod story;
mod support;

use std::{cell::Cell, rc::Rc};

use futures::executor::block_on;
use serde_json::json;
use settee::{
    database::Database,
    error::{Error, Kind},
    model::Seq,
    peer::Peer,
    replicate::{Phase, Status, replication_id},
};
use shaky::*;
use story::*;
use support::*;

fn unauthorized() -> Error {
    Error::remote(401, "unauthorized", "You are not authorized to access this db.")
}

#[test]
fn the_phases_of_a_life() {
    let (a, b) = (filled(3), memory());
    let (source, target) = pair(&a, &b);
    let mut story = Story::start(&source, &target, live());
    let phases = story.phases();
    story.turns();
    target.failing(|_, _| Some(network()));
    put(&a, json!({"_id": "x"})).unwrap();
    story.pass(1_000);
    target.failing(|_, _| Some(Error::remote(503, "busy", "later")));
    story.pass(1_000);
    target.failing(|_, _| Some(unauthorized()));
    story.pass(2_000);
    target.well();
    story.pass(200_000);
    story.handle().pause();
    story.turns();
    story.handle().resume();
    story.turns();
    story.handle().cancel();
    story.turns();
    use Phase::*;
    let expected = [
        Connecting, CatchingUp, Live, Offline, Waiting, NeedsAuth, CatchingUp, Live, Paused, Connecting,
        CatchingUp, Live, Stopped,
    ];
    assert_eq!(*phases.borrow(), expected);
    assert_eq!(story.state().summary.status, Status::Cancelled);
    assert_eq!(leaves(&a), leaves(&b));
    let words = expected.map(|phase| json!(phase));
    assert_eq!(words[1], "catching-up");
    assert_eq!(words[5], "needs-auth");
}

#[test]
fn the_listener_is_told_once_until_somebody_looks() {
    let (source, target) = pair(&filled(30), &memory());
    let mut story = Story::start(&source, &target, json!({"batch_size": 3}));
    let calls = Rc::new(Cell::new(0));
    let count = calls.clone();
    story.handle().on_change(move || count.set(count.get() + 1));
    story.turns();
    assert_eq!((calls.get(), story.state().phase), (1, Phase::Stopped));
}

#[test]
fn a_failure_says_since_when_and_until_when() {
    let (source, target) = pair(&filled(1), &memory());
    target.failing(|_, _| Some(network()));
    let mut story = Story::start(&source, &target, live());
    story.turns();
    for _ in 0..4 {
        let state = story.state();
        assert_eq!((state.phase, state.since_ms), (Phase::Offline, START_MS));
        assert_eq!(state.error.unwrap().kind(), Kind::Network);
        let left_ms = state.retry_at_ms.unwrap() - story.clock.now_ms.get();
        assert!(left_ms > 0.0 && left_ms <= 60_000.0);
        let asked = target.count("info");
        story.pass(left_ms as u32);
        assert_eq!(target.count("info"), asked + 1);
    }
    target.well();
    let now_ms = story.clock.now_ms.get();
    story.handle().wake();
    story.turns();
    let state = story.state();
    assert_eq!((state.phase, state.since_ms, state.retry_at_ms), (Phase::Live, now_ms, None));
    assert!(state.error.is_none());
}

#[test]
fn what_is_still_to_be_sent_is_counted_while_nothing_moves() {
    let (a, b) = (filled(5), memory());
    let (source, target) = pair(&a, &b);
    let mut story = Story::start(&source, &target, live());
    story.turns();
    assert_eq!(story.state().pending, Some(0));
    target.failing(|_, _| Some(network()));
    for n in 0..3 {
        put(&a, json!({"_id": format!("photo{n}")})).unwrap();
    }
    story.pass(1_000);
    assert_eq!((story.phase(), story.state().pending), (Phase::Offline, Some(3)));
    put(&a, json!({"_id": "photo3"})).unwrap();
    story.turns();
    assert_eq!(story.state().pending, Some(4));
    assert!(!story.is_pushed("photo3") && story.is_pushed("d00"));
    // A page that is opened while the server is away knows it from the checkpoint.
    let mut reopened = Story::start(&source, &target, live());
    reopened.turns();
    assert_eq!((reopened.phase(), reopened.state().pending), (Phase::Offline, Some(4)));
    assert!(!reopened.is_pushed("photo3") && reopened.is_pushed("d00"));
    target.well();
    story.handle().wake();
    story.turns();
    assert_eq!((story.phase(), story.state().pending), (Phase::Live, Some(0)));
    assert!(story.is_pushed("photo3"));
}

#[test]
fn bytes_are_those_of_documents_and_attachments_that_were_stored() {
    let a = memory();
    block_on(a.put_attachment("p", "x", None, vec![7; 1_000].into(), "a/b")).unwrap();
    put(&a, json!({"_id": "q", "text": "1234"})).unwrap();
    let (source, target) = pair(&a, &memory());
    let mut story = Story::start(&source, &target, json!({}));
    story.turns();
    let bodies = ["{}".len(), r#"{"text":"1234"}"#.len()];
    assert_eq!(story.state().bytes, 1_000 + bodies.iter().sum::<usize>() as u64);
}

/// CouchDB 3.4 and later: five wrong passwords within five minutes, and no right one is taken for the rest of them. Pushing
/// and pulling are two.
#[test]
fn a_password_that_was_refused_is_not_sent_until_the_account_is_locked_and_a_lock_is_waited_out() {
    let (a, b) = (filled(3), memory());
    let (source, target) = pair(&a, &b);
    let refused = Rc::new(Cell::new(0));
    let count = refused.clone();
    target.failing(move |_, _| {
        count.set(count.get() + 1);
        Some(unauthorized())
    });
    let mut story = Story::start(&source, &target, live());
    for _ in 0..15 {
        story.pass(19_000);
    }
    assert_eq!(story.phase(), Phase::NeedsAuth);
    assert!((1..=2).contains(&refused.get()), "{}", refused.get());
    // Somebody else at this address did.
    let locked = "Account is temporarily locked due to multiple authentication failures";
    target.failing(move |_, _| Some(Error::remote(403, "forbidden", locked)));
    story.handle().resume();
    story.pass(1_000);
    let state = story.state();
    assert_eq!((state.phase, state.error.unwrap().status()), (Phase::NeedsAuth, 403));
    target.well();
    story.pass(200_000);
    assert_eq!(story.phase(), Phase::Live);
    assert_eq!(leaves(&a), leaves(&b));
}

#[test]
fn a_login_that_runs_out_anywhere_loses_no_place() {
    let calls = ["info", "local_doc", "put_local_doc", "changes", "revs_diff", "bulk_get", "wanted", "write"];
    for name in calls.into_iter().chain(["attachment", "wait"]) {
        for (nth, how) in [(0, "resume"), (1, "wake"), (2, "time")] {
            let (a, b) = (filled(10), memory());
            put(&b, json!({"_id": "_design/b"})).unwrap();
            block_on(a.put_attachment("att", "x", None, vec![7; 99].into(), "a/b")).unwrap();
            let (source, target) = pair(&a, &b);
            let is_out = Rc::new(Cell::new(false));
            for peer in [&source, &target] {
                let is_out = is_out.clone();
                peer.failing(move |call, count| {
                    is_out.set(is_out.get() || (call == name && count == nth));
                    is_out.get().then(unauthorized)
                });
            }
            let with = json!({"batch_size": 3, "retry": true, "live": true, "checkpoint_interval_ms": 0});
            let mut story = Story::start(&source, &target, with);
            story.turns();
            for _ in 0..3 {
                story.pass(1_000);
            }
            if !is_out.get() {
                continue;
            }
            let state = story.state();
            assert_eq!((state.phase, state.error.unwrap().status()), (Phase::NeedsAuth, 401), "{name} {nth}");
            for peer in [&source, &target] {
                peer.well();
            }
            match how {
                "resume" => story.handle().resume(),
                "wake" => story.handle().wake(),
                _ => story.pass(200_000),
            }
            story.turns();
            let state = story.state();
            assert_eq!((state.phase, state.error.is_none()), (Phase::Live, true), "{name} {nth} {how}");
            assert_eq!(
                (state.summary.docs_written, state.summary.doc_write_failures),
                (11, 0),
                "{name} {nth}"
            );
            assert!(leaves(&a).iter().all(|leaf| leaves(&b).contains(leaf)), "{name} {nth}");
        }
    }
}

#[test]
fn without_retry_a_login_that_is_missing_ends_it() {
    let (source, target) = pair(&filled(2), &memory());
    target.failing(|_, _| Some(unauthorized()));
    assert_eq!(run(&source, &target, json!({"live": true})).0.unwrap_err(), unauthorized());
}

#[test]
fn it_may_be_paused_at_any_moment() {
    let a = filled(8);
    block_on(a.put_attachment("p", "x", None, vec![9; 70_000].into(), "a/b")).unwrap();
    for polls in 0..60 {
        let b = memory();
        let (source, target) = pair(&a, &b);
        let with = json!({"batch_size": 3, "checkpoint_interval_ms": 0, "live": true});
        let mut story = Story::start(&source, &target, with);
        story.running.turns(polls);
        story.handle().pause();
        story.running.turns(5);
        assert_eq!((story.phase(), story.state().error), (Phase::Paused, None));
        assert_eq!(story.running.events.borrow().last().unwrap(), "paused");
        let calls = target.calls.borrow().len();
        put(&a, json!({"_id": format!("while paused {polls}")})).unwrap();
        story.handle().wake();
        story.pass(120_000);
        assert_eq!(
            (target.calls.borrow().len(), story.phase()),
            (calls, Phase::Paused),
            "after {polls} polls"
        );
        story.handle().resume();
        story.turns();
        assert_eq!((story.phase(), leaves(&b)), (Phase::Live, leaves(&a)), "after {polls} polls");
        story.handle().cancel();
        assert_eq!(story.running.end().0.unwrap().status, Status::Cancelled);
    }
}

#[test]
fn a_replication_that_is_paused_from_the_start_asks_nothing_and_may_be_cancelled() {
    let (source, target) = pair(&filled(2), &memory());
    let mut story = Story::start(&source, &target, json!({}));
    story.handle().pause();
    story.turns();
    assert_eq!((story.phase(), target.calls.borrow().len()), (Phase::Paused, 0));
    story.handle().cancel();
    assert_eq!(story.running.end().0.unwrap().status, Status::Cancelled);
}

#[test]
fn a_device_that_is_full_waits_for_room() {
    let (a, b) = (filled(6), memory());
    let (source, target) = pair(&a, &b);
    let full = || Error::new(Kind::InsufficientStorage, "The browser has no room left.");
    let times = Cell::new(0);
    *target.refusal.borrow_mut() =
        Box::new(move |doc| (doc.id == "d03" && times.replace(times.get() + 1) < 9).then(full));
    let mut story = Story::start(&source, &target, live());
    let phases = story.phases();
    story.turns();
    for _ in 0..8 {
        let state = story.state();
        assert_eq!((state.phase, state.since_ms, state.error), (Phase::Paused, START_MS, Some(full())));
        let left_ms = state.retry_at_ms.unwrap() - story.clock.now_ms.get();
        assert!(left_ms > 0.0 && left_ms <= 60_000.0);
        story.pass(left_ms as u32);
    }
    assert_eq!(story.phase(), Phase::Paused);
    story.handle().wake();
    story.turns();
    assert_eq!((story.phase(), leaves(&b)), (Phase::Live, leaves(&a)));
    assert_eq!(
        *phases.borrow(),
        [Phase::Connecting, Phase::CatchingUp, Phase::Paused, Phase::CatchingUp, Phase::Live]
    );
    assert_eq!(story.state().summary.doc_write_failures, 0);
}

#[test]
fn from_a_device_that_is_full_everything_is_still_sent() {
    let (a, b) = (filled(6), memory());
    let (source, target) = pair(&a, &b);
    source
        .failing(|call, _| (call == "put_local_doc").then(|| Error::new(Kind::InsufficientStorage, "full")));
    let mut story = Story::start(&source, &target, live());
    story.turns();
    put(&a, json!({"_id": "more"})).unwrap();
    story.pass(1_000);
    assert_eq!((story.phase(), leaves(&b)), (Phase::Live, leaves(&a)));
    source.well();
    put(&a, json!({"_id": "when there is room"})).unwrap();
    story.pass(6_000);
    assert_eq!(log_of(&a), log_of(&b));
    assert_eq!(run(&source, &target, json!({})).0.unwrap().docs_read, 0);
}

#[test]
fn a_server_that_wants_to_be_left_alone_is() {
    let (source, target) = pair(&filled(2), &memory());
    target
        .failing(|_, _| Some(Error::remote(429, "too_many_requests", "x").with_retry_after_ms(Some(90_000))));
    let mut story = Story::start(&source, &target, live());
    story.turns();
    assert_eq!(story.phase(), Phase::Waiting);
    let at_ms = story.state().retry_at_ms.unwrap();
    assert!((START_MS + 90_000.0..=START_MS + 112_500.0).contains(&at_ms));
    target.well();
    let calls = target.calls.borrow().len();
    story.handle().wake();
    story.pass(60_000);
    story.handle().pause();
    story.turns();
    story.handle().resume();
    story.turns();
    assert_eq!((story.phase(), story.state().retry_at_ms), (Phase::Waiting, Some(at_ms)));
    story.pass(29_000);
    assert_eq!(target.calls.borrow().len(), calls);
    story.pass(23_500);
    assert_eq!(story.phase(), Phase::Live);
    // A day is more than it can mean.
    target.failing(|_, _| Some(Error::remote(503, "busy", "x").with_retry_after_ms(Some(86_400_000))));
    story.handle().pause();
    story.turns();
    story.handle().resume();
    story.turns();
    assert_eq!(story.phase(), Phase::Waiting);
    target.well();
    story.pass(750_000);
    assert_eq!(story.phase(), Phase::Live);
}

fn log_of(db: &Database) -> serde_json::Map<String, serde_json::Value> {
    let id = replication_id("a", "b", &Default::default(), None);
    block_on(db.local_doc(&id)).unwrap().unwrap().body
}

fn refuse(target: &Rc<Shaky>, ids: &'static [&'static str]) {
    *target.refusal.borrow_mut() = Box::new(move |doc| {
        ids.contains(&doc.id.as_str()).then(|| Error::remote(403, "forbidden", "not by this login"))
    });
}

#[test]
fn what_was_denied_goes_over_after_a_login() {
    let (a, b) = (filled(6), memory());
    let (source, target) = pair(&a, &b);
    refuse(&target, &["d01", "d04"]);
    let mut story = Story::start(&source, &target, live());
    story.turns();
    assert_eq!((story.phase(), story.state().summary.docs_written), (Phase::Live, 4));
    assert!(story.is_pushed("d00") && !story.is_pushed("d01") && !story.is_pushed("d04"));
    refuse(&target, &["d04"]);
    story.handle().resume();
    story.pass(1_000);
    assert!(story.is_pushed("d01") && !story.is_pushed("d04"));
    assert_eq!((story.told("denied d01 forbidden"), story.told("denied d04 forbidden")), (1, 2));
    // A wake-up asks the waiting line anew and tries nothing again.
    story.handle().wake();
    story.pass(1_000);
    assert_eq!(story.told("denied d04 forbidden"), 2);
    target.failing(|_, _| Some(unauthorized()));
    put(&a, json!({"_id": "new"})).unwrap();
    story.pass(1_000);
    assert_eq!(story.phase(), Phase::NeedsAuth);
    target.well();
    story.handle().resume();
    story.turns();
    assert_eq!((story.phase(), story.told("denied d04 forbidden")), (Phase::Live, 3));
    assert!(story.is_pushed("d01") && !story.is_pushed("d04"));
    let kept = log_of(&a)["denied"].clone();
    assert_eq!(
        (kept.as_array().unwrap().len(), &kept[0]["id"], &kept[0]["status"]),
        (1, &json!("d04"), &json!(403))
    );
    assert_eq!(log_of(&b)["denied"], kept);
    // Changed so that it is welcome.
    let mut doc = get(&a, "d04").unwrap();
    doc["is"] = json!("welcome");
    refuse(&target, &[]);
    put(&a, doc).unwrap();
    story.pass(6_000);
    assert_eq!(leaves(&a), leaves(&b));
    assert!(story.is_pushed("d04"));
    assert!(!log_of(&a).contains_key("denied"));
}

#[test]
fn what_was_denied_is_tried_once_by_each_replication_that_starts() {
    let (a, b) = (filled(6), memory());
    let (source, target) = pair(&a, &b);
    refuse(&target, &["d02"]);
    run(&source, &target, json!({})).0.unwrap();
    let mut story = Story::start(&source, &target, live());
    assert!(!story.is_pushed("d02") && story.is_pushed("d03"));
    story.turns();
    // Faults that pass are no reason to try again.
    for _ in 0..3 {
        source.failing(|_, _| Some(network()));
        story.pass(1_000);
        source.well();
        story.handle().wake();
        story.turns();
        assert_eq!(story.phase(), Phase::Live);
    }
    assert_eq!(story.told("denied d02 forbidden"), 1);
    story.handle().cancel();
    story.running.end().0.unwrap();
    refuse(&target, &[]);
    // Changed meanwhile, the change goes over, and once.
    let mut doc = get(&a, "d02").unwrap();
    doc["is"] = json!("welcome");
    put(&a, doc).unwrap();
    // The retry itself may fail and come again.
    let fault = Cell::new(0);
    target.failing(move |call, _| (call == "write" && fault.replace(fault.get() + 1) < 2).then(network));
    let summary = run(&source, &target, json!({"retry": true})).0.unwrap();
    assert_eq!((summary.docs_written, summary.doc_write_failures), (1, 0));
    assert_eq!(leaves(&a), leaves(&b));
    assert_eq!(run(&source, &target, json!({})).0.unwrap().docs_read, 0);
}

#[test]
fn more_denied_documents_than_are_named_are_found_in_the_feed() {
    let (a, b) = (filled(0), memory());
    for n in 0..250 {
        put(&a, json!({"_id": format!("d{n:03}")})).unwrap();
    }
    let (source, target) = pair(&a, &b);
    *target.refusal.borrow_mut() =
        Box::new(|doc| (doc.id.as_str() >= "d050").then(|| Error::remote(403, "forbidden", "read only")));
    let with = json!({"batch_size": 20, "checkpoint_interval_ms": 0});
    assert_eq!(run(&source, &target, with.clone()).0.unwrap().doc_write_failures, 200);
    let log = log_of(&a);
    assert_eq!((&log["denied_from"], &log["source_last_seq"]), (&json!(40), &json!(250)));
    assert!(!log.contains_key("denied"));
    let mut story = Story::start(&source, &target, live());
    story.turns();
    story.turns();
    assert_eq!(story.phase(), Phase::Live);
    assert!(story.is_pushed("d045") && !story.is_pushed("d099"));
    *target.refusal.borrow_mut() = Box::new(|_| None);
    // Broken off in the middle, it begins there again.
    let fault = Cell::new(0);
    target.failing(move |call, _| (call == "write" && fault.replace(fault.get() + 1) == 0).then(network));
    story.handle().cancel();
    story.running.end().0.unwrap();
    let summary = run(&source, &target, json!({"retry": true, "batch_size": 20})).0.unwrap();
    assert_eq!((summary.docs_written, summary.doc_write_failures), (200, 0));
    assert_eq!(leaves(&a), leaves(&b));
    let log = log_of(&a);
    assert_eq!((log.contains_key("denied_from"), &log["source_last_seq"]), (false, &json!(250)));
    assert_eq!(log["source_last_seq"], Seq::from(250).0);
}

/// Who may write there may write anything into a checkpoint.
#[test]
fn a_place_that_is_none_ends_nothing() {
    for from in [json!("nonsense"), json!({"a": 1}), json!(-7), json!([[]]), json!(999), json!("999-x")] {
        for with in [json!({}), json!({"retry": true}), json!({"since": 5}), json!({"checkpoint": "target"})]
        {
            let (a, b) = (filled(5), memory());
            let (source, target) = pair(&a, &b);
            run(&source, &target, json!({})).0.unwrap();
            let id = replication_id("a", "b", &Default::default(), None);
            let mut log = block_on(b.local_doc(&id)).unwrap().unwrap();
            log.body.insert("denied_from".to_owned(), from.clone());
            block_on(Peer::put_local_doc(&b, &id, log)).unwrap();
            put(&a, json!({"_id": "new"})).unwrap();
            run(&source, &target, with.clone()).0.unwrap();
            assert_eq!(leaves(&a), leaves(&b), "{from} {with}");
        }
    }
}

#[test]
fn a_checkpoint_of_another_life_is_not_believed() {
    for checkpoint in [json!(true), json!("source"), json!("target")] {
        for is_source in [true, false] {
            let (a, b) = (filled(5), memory());
            let (source, target) = servers(&a, &b);
            let with = json!({"checkpoint": checkpoint});
            run(&source, &target, with.clone()).0.unwrap();
            assert_eq!(run(&source, &target, with.clone()).0.unwrap().docs_read, 0);
            // One side is deleted and made anew; its address and its checkpoint are the old ones, as
            // where somebody copied the database's files back.
            let (side, db) = if is_source { (&source, filled(0)) } else { (&target, memory()) };
            let id = replication_id("a", "b", &settee::replicate::Options::default(), None);
            if let Some(log) = block_on(side.inner.borrow().local_doc(&id)).unwrap() {
                let log = settee::peer::LocalDoc { rev: None, ..log };
                block_on(Peer::put_local_doc(&db, &id, log)).unwrap();
            }
            if is_source {
                put(&db, json!({"_id": "of the new one"})).unwrap();
            }
            *side.inner.borrow_mut() = db;
            is_life(side, "1800000000");
            run(&source, &target, with.clone()).0.unwrap();
            let (from, to) = (leaves(&source.inner.borrow()), leaves(&target.inner.borrow()));
            assert!(from.iter().all(|leaf| to.contains(leaf)), "{checkpoint} {is_source}");
            assert_eq!(run(&source, &target, with).0.unwrap().docs_read, 0);
        }
    }
}

#[test]
fn a_server_that_says_nothing_of_its_life_is_believed() {
    let (source, target) = pair(&filled(5), &memory());
    run(&source, &target, json!({})).0.unwrap();
    is_life(&source, "1700000000");
    assert_eq!(run(&source, &target, json!({})).0.unwrap().docs_read, 0);
    source.instance.take();
    assert_eq!(run(&source, &target, json!({})).0.unwrap().docs_read, 0);
}

#[test]
fn a_source_made_anew_while_it_is_waited_for_is_noticed_at_a_wake_up() {
    for checkpoint in [json!(true), json!(false)] {
        let (a, b) = (filled(5), memory());
        let (source, target) = servers(&a, &b);
        let with = json!({"live": true, "checkpoint": checkpoint});
        let mut story = Story::start(&source, &target, with);
        story.turns();
        assert_eq!(story.phase(), Phase::Live);
        // It is not yet where the old one was.
        let anew = memory();
        put(&anew, json!({"_id": "of the new one"})).unwrap();
        *source.inner.borrow_mut() = anew;
        is_life(&source, "1800000000");
        story.pass(1_000);
        assert!(get(&b, "of the new one").is_err());
        story.handle().wake();
        story.pass(1_000);
        story.pass(1_000);
        assert_eq!(story.phase(), Phase::Live);
        assert!(get(&b, "of the new one").is_ok(), "{checkpoint}");
    }
}

#[test]
fn what_another_life_denied_is_forgotten() {
    let a = filled(3);
    let (source, target) = servers(&a, &memory());
    refuse(&target, &["d01"]);
    let mut story = Story::start(&source, &target, live());
    story.turns();
    assert!(!story.is_pushed("d01"));
    source.failing(|call, _| (call == "wait").then(network));
    story.handle().wake();
    story.turns();
    source.well();
    *source.inner.borrow_mut() = memory();
    is_life(&source, "1800000000");
    story.handle().wake();
    story.turns();
    assert_eq!((story.phase(), story.is_pushed("d01")), (Phase::Live, true));
}
