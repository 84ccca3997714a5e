//! The replicator over peers that fail: in the middle, for good, with a forgotten checkpoint, with
//! documents they refuse. After each story both sides hold the same, and nothing was skipped.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/shaky.rs"]
mod shaky;
mod support;

use std::cell::Cell;

use serde_json::{Value, json};
use settee::{
    database::Database,
    error::{Error, Kind},
    model::Seq,
    peer::Peer,
    replicate::{Options, Phase, Status},
};
use shaky::*;
use support::*;

#[test]
fn a_fault_anywhere_repeats_the_batch_and_loses_nothing() {
    let calls = ["info", "local_doc", "put_local_doc", "changes", "revs_diff", "bulk_get", "wanted", "write"];
    for name in calls.into_iter().chain(["attachment"]) {
        for nth in 0..4 {
            let (a, b) = (filled(10), memory());
            put(&b, json!({"_id": "_design/b"})).unwrap();
            futures::executor::block_on(a.put_attachment("att", "x", None, vec![7; 99].into(), "a/b"))
                .unwrap();
            let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
            for peer in [&source, &target] {
                peer.failing(move |call, count| (call == name && count == nth).then(network));
            }
            let options = json!({"batch_size": 3, "retry": true, "checkpoint_interval_ms": 0});
            let (ended, told) = run(&source, &target, options);
            let summary = ended.unwrap();
            assert!(summary.ok && summary.status == Status::Complete);
            assert_eq!(summary.docs_written, 11, "{name} {nth} {told:?}");
            assert_eq!(summary.doc_write_failures, 0);
            assert!(leaves(&a).iter().all(|leaf| leaves(&b).contains(leaf)), "{name} {nth}");
            let failed = source.count(name).max(target.count(name)) > nth;
            assert_eq!(
                told.iter().any(|event| event == "paused network_error"),
                failed,
                "{name} {nth} {told:?}"
            );
        }
    }
}

#[test]
fn without_retry_the_first_fault_ends_it_and_the_summary_stays() {
    let (a, b) = (filled(10), memory());
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
    source.failing(|call, count| (call == "bulk_get" && count == 2).then(network));
    let running = Running::start(&source, &target, json!({"batch_size": 3, "batches_limit": 1}));
    let handle = running.handle.clone();
    assert_eq!(running.end().0.unwrap_err().kind(), Kind::Network);
    let state = handle.state();
    assert_eq!(
        (state.phase, state.summary.status, state.summary.ok),
        (Phase::Failed, Status::Aborting, false)
    );
    assert_eq!(state.summary.docs_written, 6);
    assert_eq!(state.summary.last_seq, Seq::from(6));
}

#[test]
fn what_waiting_does_not_mend_ends_it_even_with_retry() {
    for error in [
        Error::remote(400, "bad_request", "x"),
        Error::remote(403, "forbidden", "You are not allowed to access this db."),
        Error::remote(404, "not_found", "Database does not exist."),
        Error::closed(),
    ] {
        let (source, target) = (Shaky::new(&filled(2), "a"), Shaky::new(&memory(), "b"));
        let fault = error.clone();
        target.failing(move |call, _| (call == "write").then(|| fault.clone()));
        assert_eq!(run(&source, &target, json!({"retry": true, "live": true})).0.unwrap_err(), error);
    }
}

#[test]
fn a_denied_document_blocks_no_other() {
    let (a, b) = (filled(6), memory());
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
    *target.refusal.borrow_mut() = Box::new(|doc| {
        (doc.id == "d01")
            .then(|| Error::remote(403, "forbidden", "no"))
            .or_else(|| (doc.id == "d04").then(|| Error::remote(413, "document_too_large", "d04")))
    });
    let (ended, told) = run(&source, &target, json!({"batch_size": 2}));
    let summary = ended.unwrap();
    assert_eq!((summary.docs_read, summary.docs_written, summary.doc_write_failures), (6, 4, 2));
    assert_eq!((summary.ok, summary.errors.len(), summary.errors[0].status), (true, 2, 403));
    assert!(
        told.contains(&"denied d01 forbidden".to_owned())
            && told.contains(&"denied d04 document_too_large".to_owned())
    );
    // It is past them: another run tries them once more, the one that is too large not even that.
    let (ended, told) = run(&source, &target, json!({}));
    let summary = ended.unwrap();
    assert_eq!((summary.docs_read, summary.docs_written, summary.doc_write_failures), (1, 0, 1));
    assert_eq!(told, ["active", "denied d01 forbidden"]);
}

#[test]
fn an_outcome_that_may_pass_by_itself_holds_the_batch_but_keeps_what_was_written() {
    let (a, b) = (filled(4), memory());
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
    let times = Cell::new(0);
    *target.refusal.borrow_mut() = Box::new(move |doc| {
        (doc.id == "d02" && times.replace(times.get() + 1) < 2).then(|| Error::remote(503, "busy", "later"))
    });
    let (ended, told) = run(&source, &target, json!({"retry": true}));
    assert_eq!(ended.unwrap().docs_written, 4);
    assert_eq!(leaves(&a), leaves(&b));
    let expected = ["active", "change 3", "paused busy", "paused busy", "active", "change 1", "checkpoint 4"];
    let told: Vec<&str> = told.iter().map(String::as_str).filter(|event| expected.contains(event)).collect();
    assert_eq!(
        told,
        ["active", "change 3", "paused busy", "active", "paused busy", "active", "change 1", "checkpoint 4"]
    );
}

#[test]
fn an_empty_target_is_not_asked_what_it_lacks() {
    let (source, target) = (Shaky::new(&filled(5), "a"), Shaky::new(&memory(), "b"));
    target.is_away.set(true);
    run(&source, &target, json!({"batch_size": 2})).0.unwrap();
    assert_eq!(target.count("revs_diff"), 0);
    put(&source.inner.borrow(), json!({"_id": "new"})).unwrap();
    run(&source, &target, json!({})).0.unwrap();
    assert_eq!(target.count("revs_diff"), 1);
}

/// What is written to it and pushed comes back with the source's feed; it has that already.
#[test]
fn a_target_that_was_empty_once_is_asked_when_it_is_live() {
    let (a, b) = (filled(2), memory());
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
    target.is_away.set(true);
    let mut running = Running::start(&source, &target, json!({"live": true}));
    running.turns(200);
    assert_eq!((source.count("bulk_get"), target.count("revs_diff")), (1, 0));
    for db in [&b, &a] {
        put(db, json!({"_id": "written here and pushed"})).unwrap();
    }
    running.turns(200);
    assert_eq!((source.count("bulk_get"), target.count("revs_diff")), (1, 1));
    running.handle.cancel();
}

#[test]
fn large_documents_are_asked_for_a_few_at_a_time() {
    let a = memory();
    for n in 0..120 {
        put(&a, json!({"_id": format!("d{n:03}"), "text": "x".repeat(100_000)})).unwrap();
    }
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&memory(), "b"));
    run(&source, &target, json!({"batch_size": 60, "batches_limit": 1})).0.unwrap();
    assert_eq!(source.count("bulk_get"), 1 + 6);
}

#[test]
fn a_run_resumes_where_the_last_one_ended() {
    let (a, b) = (filled(9), memory());
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
    source.failing(|call, count| (call == "changes" && count >= 2).then(network));
    run(&source, &target, json!({"batch_size": 3, "checkpoint_interval_ms": 0})).0.unwrap_err();
    source.well();
    let resumed = run(&source, &target, json!({"batch_size": 3})).0.unwrap();
    // The second batch was read before the fault; its checkpoint may or may not have been.
    assert!(resumed.docs_read <= 6, "{resumed:?}");
    assert_eq!(leaves(&a), leaves(&b));
    let calls = source.count("changes");
    assert_eq!(run(&source, &target, json!({"batch_size": 3})).0.unwrap().docs_read, 0);
    assert_eq!(source.count("changes"), calls + 1);
}

#[test]
fn a_side_that_forgot_its_checkpoint_is_started_over() {
    for source_forgets in [true, false] {
        let (a, b) = (filled(5), memory());
        let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
        run(&source, &target, json!({})).0.unwrap();
        // The same address, another database: without checkpoint, and with what it holds now.
        let (forgetful, with) = if source_forgets { (&source, filled(7)) } else { (&target, memory()) };
        *forgetful.inner.borrow_mut() = with;
        run(&source, &target, json!({})).0.unwrap();
        assert_eq!(leaves(&source.inner.borrow()), leaves(&target.inner.borrow()), "{source_forgets}");
    }
}

#[test]
fn a_target_made_anew_in_the_middle_gets_everything() {
    let (a, first, second) = (filled(5), memory(), memory());
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&first, "b"));
    let mut running = Running::start(&source, &target, json!({"live": true, "checkpoint_interval_ms": 0}));
    running.turns(300);
    assert_eq!(leaves(&first), leaves(&a));
    *target.inner.borrow_mut() = second.clone();
    put(&a, json!({"_id": "later"})).unwrap();
    running.turns(600);
    assert_eq!(leaves(&second), leaves(&a));
    running.handle.cancel();
    assert_eq!(running.end().0.unwrap().status, Status::Cancelled);
}

/// A target that had everything anyway has no checkpoint worth writing for as long as nothing changes, and
/// the first one that is written must not vouch for another database.
#[test]
fn a_target_made_anew_before_its_first_checkpoint_gets_everything() {
    let (a, first, second) = (filled(5), memory(), memory());
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&first, "b"));
    run(&source, &Shaky::new(&first, "another name"), json!({})).0.unwrap();
    let with = json!({"live": true, "checkpoint_interval_ms": 3_600_000});
    let mut running = Running::start(&source, &target, with);
    running.turns(300);
    assert_eq!(running.handle.state().phase, Phase::Live);
    *target.inner.borrow_mut() = second.clone();
    put(&a, json!({"_id": "later"})).unwrap();
    running.turns(600);
    assert_eq!(leaves(&second), leaves(&a));
    running.handle.cancel();
    running.end().0.unwrap();
}

#[test]
fn a_source_that_is_only_read_has_its_checkpoint_on_the_target() {
    let (a, b) = (filled(5), memory());
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
    source.failing(|call, _| (call == "put_local_doc").then(|| Error::remote(403, "forbidden", "read only")));
    assert_eq!(run(&source, &target, json!({})).0.unwrap().docs_read, 5);
    let told = run(&source, &target, json!({})).1;
    assert!(told.is_empty(), "{told:?}");
    // One that took a checkpoint before and does not now has thrown us out.
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&memory(), "c"));
    source.failing(|call, count| {
        (call == "put_local_doc" && count > 0).then(|| Error::remote(401, "unauthorized", "expired"))
    });
    let ended = run(&source, &target, json!({"batch_size": 2, "checkpoint_interval_ms": 0})).0;
    assert_eq!(ended.unwrap_err().kind(), Kind::Unauthorized);
}

#[test]
fn two_tabs_may_write_one_checkpoint() {
    let (a, b) = (filled(30), memory());
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
    let with = json!({"live": true, "batch_size": 3, "checkpoint_interval_ms": 0});
    let mut tabs = [Running::start(&source, &target, with.clone()), Running::start(&source, &target, with)];
    for n in 0..60 {
        if n % 5 == 0 {
            put(&a, json!({"_id": format!("later{n}")})).unwrap();
        }
        tabs.iter_mut().for_each(|tab| tab.turns(7));
    }
    tabs.iter_mut().for_each(|tab| tab.turns(500));
    assert_eq!(leaves(&a), leaves(&b));
    for tab in tabs {
        assert!(tab.ended.borrow().is_none());
        tab.handle.cancel();
        tab.end().0.unwrap();
    }
    assert_eq!(run(&source, &target, json!({})).0.unwrap().docs_read, 0);
}

#[test]
fn checkpoints_are_couchdbs() {
    let (a, b) = (filled(3), memory());
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
    run(&source, &target, json!({})).0.unwrap();
    put(&a, json!({"_id": "more"})).unwrap();
    run(&source, &target, json!({})).0.unwrap();
    let id = settee::replicate::replication_id("a", "b", &Options::default(), None);
    let read = |db: &Database| futures::executor::block_on(db.local_doc(&id)).unwrap().unwrap().body;
    let log = read(&a);
    assert_eq!(log, read(&b));
    assert_eq!((&log["source_last_seq"], &log["replication_id_version"]), (&json!(4), &json!(1)));
    assert_eq!(log["history"].as_array().unwrap().len(), 2);
    let newest = &log["history"][0];
    assert_eq!(newest["session_id"], log["session_id"]);
    for (member, value) in [
        ("start_last_seq", json!(3)),
        ("end_last_seq", json!(4)),
        ("recorded_seq", json!(4)),
        ("missing_checked", json!(1)),
        ("missing_found", json!(1)),
        ("docs_read", json!(1)),
        ("docs_written", json!(1)),
        ("doc_write_failures", json!(0)),
        ("start_time", json!("Thu, 01 Jan 1970 00:00:00 GMT")),
        ("end_time", json!("Thu, 01 Jan 1970 00:00:00 GMT")),
    ] {
        assert_eq!(newest[member], value, "{member}");
    }
}

#[test]
fn histories_are_capped() {
    let a = filled(1);
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&memory(), "b"));
    for n in 0..55 {
        put(&a, json!({"_id": format!("more{n}")})).unwrap();
        run(&source, &target, json!({})).0.unwrap();
    }
    let id = settee::replicate::replication_id("a", "b", &Options::default(), None);
    let log = futures::executor::block_on(a.local_doc(&id)).unwrap().unwrap().body;
    assert_eq!(log["history"].as_array().unwrap().len(), 50);
}

#[test]
fn checkpoints_are_kept_where_they_are_asked_for() {
    let id = |with: &Value| {
        settee::replicate::replication_id("a", "b", &serde_json::from_value(with.clone()).unwrap(), None)
    };
    for (checkpoint, kept) in
        [(json!(false), [false, false]), (json!("source"), [true, false]), (json!("target"), [false, true])]
    {
        let (a, b) = (filled(3), memory());
        let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
        let with = json!({"checkpoint": checkpoint});
        run(&source, &target, with.clone()).0.unwrap();
        let has = |db: &Database| futures::executor::block_on(db.local_doc(&id(&with))).unwrap().is_some();
        assert_eq!([has(&a), has(&b)], kept);
        let asked = target.count("revs_diff");
        assert_eq!(run(&source, &target, with.clone()).0.unwrap().docs_read, 0);
        assert_eq!(target.count("revs_diff") > asked, checkpoint == json!(false));
    }
}

#[test]
fn a_missing_database_is_made_or_told() {
    let gone = |call: &'static str, count: usize| {
        (call == "info" && count == 0).then(|| Error::remote(404, "not_found", "Database does not exist."))
    };
    let (source, target) = (Shaky::new(&filled(2), "a"), Shaky::new(&memory(), "b"));
    target.failing(gone);
    assert_eq!(run(&source, &target, json!({})).0.unwrap().docs_written, 2);
    assert_eq!(target.count("create"), 1);
    let (source, target) = (Shaky::new(&filled(2), "a"), Shaky::new(&memory(), "b"));
    target.failing(gone);
    assert_eq!(run(&source, &target, json!({"create_target": false})).0.unwrap_err().status(), 404);
    assert_eq!(target.count("create"), 0);
}

#[test]
fn live_waits_and_comes_back_by_itself_or_when_woken() {
    let (a, b) = (filled(1), memory());
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
    let mut running = Running::start(&source, &target, json!({"live": true, "retry": true}));
    running.turns(200);
    assert_eq!(running.handle.state().phase, Phase::Live);
    source.failing(|_, _| Some(network()));
    running.turns(200);
    assert_eq!(running.handle.state().error.unwrap().kind(), Kind::Network);
    source.well();
    put(&a, json!({"_id": "while offline"})).unwrap();
    running.handle.wake();
    running.turns(200);
    assert_eq!(running.handle.state().phase, Phase::Live);
    assert!(running.handle.state().error.is_none());
    assert_eq!(leaves(&a), leaves(&b));
    let told = running.events.borrow().clone();
    let paused = told.iter().filter(|event| *event == "paused").count();
    assert!(paused == 2 && told.contains(&"paused network_error".to_owned()), "{told:?}");
    running.handle.cancel();
    let (ended, _) = running.end();
    assert_eq!(ended.unwrap().status, Status::Cancelled);
}

#[test]
fn a_stub_that_the_target_cannot_fill_comes_with_everything() {
    let (a, b) = (memory(), memory());
    let att = |id: &str, rev: Option<&str>, name: &str| {
        futures::executor::block_on(a.put_attachment(id, name, rev, name.as_bytes().to_vec().into(), "a/b"))
            .unwrap()
            .rev
    };
    let rev = att("p", None, "one");
    att("p", Some(&rev), "two");
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
    // As if the target had promised an attachment that compaction has taken since.
    let times = Cell::new(0);
    *target.refusal.borrow_mut() = Box::new(move |doc| {
        let is_whole = doc.attachments.iter().all(|attachment| attachment.content.is_some());
        (!is_whole || times.replace(times.get() + 1) == 0).then(|| Error::new(Kind::MissingStub, "stub"))
    });
    let mut doc = get(&a, "p").unwrap();
    doc["caption"] = json!("x");
    put(&a, doc).unwrap();
    let summary = run(&source, &target, json!({})).0.unwrap();
    // Whole from the start and refused for a stub all the same is the document's own trouble.
    assert_eq!((summary.docs_written, summary.doc_write_failures), (0, 1));
    let (b, b2) = (memory(), memory());
    let (first, target) = (Shaky::new(&b2, "x"), Shaky::new(&b, "b"));
    run(&source, &first, json!({})).0.unwrap();
    run(&source, &target, json!({"doc_ids": ["p"]})).0.unwrap();
    let mut doc = get(&a, "p").unwrap();
    doc["caption"] = json!("y");
    put(&a, doc).unwrap();
    *target.refusal.borrow_mut() = Box::new(|doc| {
        let is_whole = doc.attachments.iter().all(|attachment| attachment.content.is_some());
        (!is_whole).then(|| Error::new(Kind::MissingStub, "stub"))
    });
    let before = source.count("attachment");
    assert_eq!(run(&source, &target, json!({"doc_ids": ["p"]})).0.unwrap().docs_written, 1);
    assert_eq!(source.count("attachment"), before + 2);
    assert_eq!(get(&b, "p").unwrap()["caption"], "y");
}

#[test]
fn an_attachment_that_cannot_be_had_denies_its_document_alone() {
    let a = filled(2);
    futures::executor::block_on(a.put_attachment("p", "x", None, vec![1].into(), "a/b")).unwrap();
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&memory(), "b"));
    source.failing(|call, _| (call == "attachment").then(Error::missing));
    let (ended, told) = run(&source, &target, json!({}));
    assert_eq!((ended.unwrap().docs_written, told.contains(&"denied p not_found".to_owned())), (2, true));
}

/// A login that runs out between a document and its attachment is no fault of the document's, and a
/// checkpoint past it would lose it.
#[test]
fn a_login_that_runs_out_at_an_attachment_denies_nothing() {
    let a = filled(2);
    futures::executor::block_on(a.put_attachment("p", "x", None, vec![1].into(), "a/b")).unwrap();
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&memory(), "b"));
    source.failing(|call, _| (call == "attachment").then(|| Error::remote(401, "unauthorized", "expired")));
    let (ended, told) = run(&source, &target, json!({}));
    assert_eq!(ended.unwrap_err().kind(), Kind::Unauthorized);
    assert!(!told.iter().any(|event| event.starts_with("denied")), "{told:?}");
    source.well();
    run(&source, &target, json!({})).0.unwrap();
    assert_eq!(leaves(&a), leaves(&target.inner.borrow()));
}

#[test]
fn winners_alone_go_over_if_asked() {
    let (a, b) = (memory(), memory());
    bulk(&a, json!([{"_id": "x", "_rev": "1-b"}, {"_id": "x", "_rev": "1-a"}]), false);
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
    assert_eq!(run(&source, &target, json!({"style": "main_only"})).0.unwrap().docs_written, 1);
    assert_eq!(run(&source, &target, json!({})).0.unwrap().docs_written, 1);
    assert_eq!(leaves(&a), leaves(&b));
}

/// Cancelled by its handle after any number of polls, it resolves as cancelled and the next run ends
/// where an undisturbed one does.
#[test]
fn cancelling_at_any_moment_leaves_nothing_half_recorded() {
    let a = filled(8);
    futures::executor::block_on(a.put_attachment("p", "x", None, vec![9; 70_000].into(), "a/b")).unwrap();
    let with = json!({"batch_size": 3, "checkpoint_interval_ms": 0, "live": true});
    for polls in 0..80 {
        let b = memory();
        let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
        let mut running = Running::start(&source, &target, with.clone());
        running.turns(polls);
        running.handle.cancel();
        assert_eq!(running.end().0.unwrap().status, Status::Cancelled);
        run(&source, &target, json!({"batch_size": 3})).0.unwrap();
        assert_eq!(leaves(&a), leaves(&b), "after {polls} polls");
    }
}

/// What was refused before a line broke is refused again with the batch: it is told once, and counted once.
#[test]
fn what_is_refused_again_after_an_interruption_is_told_once() {
    let (a, b) = (filled(6), memory());
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
    let tries = std::rc::Rc::new(Cell::new(0));
    let counted = tries.clone();
    *target.refusal.borrow_mut() = Box::new(move |doc| match doc.id.as_str() {
        "d01" => Some(Error::remote(403, "forbidden", "no")),
        "d04" if counted.replace(counted.get() + 1) < 3 => Some(network()),
        _ => None,
    });
    let (ended, told) = run(&source, &target, json!({"retry": true}));
    let summary = ended.unwrap();
    assert_eq!((summary.docs_written, summary.doc_write_failures, tries.get()), (5, 1, 4), "{told:?}");
    assert_eq!(told.iter().filter(|event| event.starts_with("denied d01")).count(), 1, "{told:?}");
    assert_eq!(summary.errors.len(), 1);
}

/// CouchDB answers 500 where a validation function throws something odd, and so does one whose disk is broken in
/// one place: waiting never ends that.
#[test]
fn a_document_at_which_a_server_always_fails_is_denied_in_the_end() {
    for how in ["outcome", "whole", "read", "attachment"] {
        let (a, b) = (filled(6), memory());
        futures::executor::block_on(a.put_attachment("d02", "x", None, vec![1].into(), "a/b")).unwrap_err();
        let rev = get(&a, "d02").unwrap()["_rev"].as_str().unwrap().to_owned();
        futures::executor::block_on(a.put_attachment("d02", "x", Some(&rev), vec![1].into(), "a/b")).unwrap();
        let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
        match how {
            "outcome" => *target.refusal.borrow_mut() = Box::new(|doc| (doc.id == "d02").then(broken)),
            "whole" => target.poison.set(Some("d02")),
            "read" => *source.unreadable.borrow_mut() = Box::new(|id| id == "d02"),
            _ => source.failing(|call, _| (call == "attachment").then(broken)),
        }
        let (ended, told) = run(&source, &target, json!({"retry": true, "batch_size": 4}));
        let summary = ended.unwrap();
        assert_eq!((summary.docs_written, summary.doc_write_failures), (5, 1), "{how} {told:?}");
        assert_eq!(told.iter().filter(|event| *event == "denied d02 unknown_error").count(), 1, "{how}");
        let failures = told.iter().filter(|event| *event == "paused unknown_error").count();
        assert_eq!(failures, if how == "whole" { 7 } else { 5 }, "{how}");
        // Once it is mended it goes over with the next start.
        *target.refusal.borrow_mut() = Box::new(|_| None);
        target.poison.set(None);
        *source.unreadable.borrow_mut() = Box::new(|_| false);
        source.well();
        assert_eq!(run(&source, &target, json!({})).0.unwrap().docs_written, 1);
        assert_eq!(leaves(&a), leaves(&b));
    }
}

/// A photo that never comes as it was sent, and another, and another: what is beside them arrives at once, and they are
/// given up together, each told once.
#[test]
fn many_at_which_a_server_fails_keep_back_no_other() {
    for how in ["attachment", "bulk_get"] {
        let (a, b) = (filled(6), memory());
        for n in 0..20 {
            let name = format!("d{n:02}-photo");
            futures::executor::block_on(a.put_attachment(&name, "x", None, vec![n].into(), "a/b")).unwrap();
        }
        put(&a, json!({"_id": "last"})).unwrap();
        let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
        match how {
            "attachment" => source.failing(|call, _| (call == "attachment").then(broken)),
            _ => *source.unreadable.borrow_mut() = Box::new(|id| id.ends_with("photo")),
        }
        let mut running = Running::start(&source, &target, json!({"retry": true, "live": true}));
        while !running.events.borrow().iter().any(|event| event.starts_with("paused ")) {
            running.turns(1);
        }
        assert_eq!(all_docs(&b, json!({})).len(), 7, "{how}");
        running.turns(2_000);
        let state = running.handle.state();
        assert_eq!((state.phase, state.summary.doc_write_failures), (Phase::Live, 20), "{how}");
        let told = running.events.borrow();
        let count = |what: &str| told.iter().filter(|event| event.starts_with(what)).count();
        assert_eq!((count("paused unknown_error"), count("denied ")), (5, 20), "{how} {told:?}");
    }
}

/// A bad line answers now this, now that: it is waited out, as long as that may pass.
#[test]
fn a_document_at_which_something_else_fails_each_time_is_not_given_up_soon() {
    for (lasts, written, failures) in [(12, 1, 12), (usize::MAX, 0, 20)] {
        let (a, b) = (memory(), memory());
        futures::executor::block_on(a.put_attachment("photo", "x", None, vec![1].into(), "a/b")).unwrap();
        let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
        source.failing(move |call, count| {
            let status = [500, 502, 504, 500][count % 4];
            (call == "attachment" && count < lasts).then(|| Error::remote(status, "oops", "in between"))
        });
        let (ended, told) = run(&source, &target, json!({"retry": true}));
        let summary = ended.unwrap();
        assert_eq!((summary.docs_written, summary.doc_write_failures), (written, 1 - written), "{told:?}");
        assert_eq!(told.iter().filter(|event| *event == "paused oops").count(), failures, "{told:?}");
    }
}

#[test]
fn a_server_that_fails_at_everything_is_no_documents_fault() {
    for status in [500, 503] {
        let (a, b) = (filled(6), memory());
        let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
        let failure = move || Error::remote(status, "unknown_error", "enospc");
        let times = std::rc::Rc::new(Cell::new(0));
        let so_often = times.clone();
        *target.refusal.borrow_mut() =
            Box::new(move |doc| (doc.id == "d02" && so_often.replace(so_often.get() + 1) < 20).then(failure));
        if status == 500 {
            let so_often = times.clone();
            target.failing(move |call, count| {
                (call == "put_local_doc" && count > 0 && so_often.get() < 20).then(failure)
            });
        }
        let (ended, told) = run(&source, &target, json!({"retry": true}));
        assert_eq!((ended.unwrap().docs_written, times.get()), (6, 21), "{status} {told:?}");
        assert!(!told.iter().any(|event| event.starts_with("denied")), "{status}");
        assert_eq!(leaves(&a), leaves(&b));
    }
}

#[test]
fn what_a_server_failed_at_is_tried_again_after_it_was_away() {
    let (a, b) = (filled(3), memory());
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&b, "b"));
    *target.refusal.borrow_mut() = Box::new(|doc| (doc.id == "d01").then(broken));
    let mut running = Running::start(&source, &target, json!({"retry": true, "live": true}));
    running.turns(600);
    assert_eq!(running.handle.state().phase, Phase::Live);
    *target.refusal.borrow_mut() = Box::new(|_| None);
    source.failing(|call, _| (call == "wait" || call == "changes").then(network));
    running.handle.wake();
    running.turns(100);
    source.well();
    running.turns(600);
    assert_eq!(leaves(&a), leaves(&b));
}

/// What a validation function says may be as long as a document; a checkpoint has a limit.
#[test]
fn a_checkpoint_stays_small_whatever_is_said_of_what_was_denied() {
    let a = filled(60);
    let (source, target) = (Shaky::new(&a, "a"), Shaky::new(&memory(), "b"));
    *target.refusal.borrow_mut() = Box::new(|_| Some(Error::remote(403, "forbidden", "ä".repeat(100_000))));
    run(&source, &target, json!({})).0.unwrap();
    let id = settee::replicate::replication_id("a", "b", &Options::default(), None);
    let log = futures::executor::block_on(a.local_doc(&id)).unwrap().unwrap().body;
    assert_eq!(log["denied"].as_array().unwrap().len(), 60);
    assert!(Value::from(log).to_string().len() < 60_000);
}
