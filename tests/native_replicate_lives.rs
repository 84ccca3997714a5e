//! A database that is deleted and made anew under its old address while a live replication waits: whatever the
//! server says of itself, it is noticed, and what the new one lacks goes over.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/shaky.rs"]
mod shaky;
#[path = "support/story.rs"]
mod story;
mod support;

use std::rc::Rc;

use serde_json::json;
use settee::{error::Error, replicate::Phase};
use shaky::*;
use story::*;
use support::*;

const MINUTE_MS: u32 = 60_000;

/// How a server tells that a database is another one: by its life, by refusing a checkpoint that it does not
/// know, or not at all.
#[derive(Clone, Copy, Debug)]
enum Server {
    TellsLives,
    Numbers,
    Lenient,
}
const SERVERS: [Server; 3] = [Server::TellsLives, Server::Numbers, Server::Lenient];

fn put_away(peer: &Rc<Shaky>, server: Server) {
    peer.is_away.set(true);
    match server {
        Server::TellsLives => is_life(peer, "1700000000"),
        Server::Numbers => {}
        Server::Lenient => peer.is_lenient.set(true),
    }
}

fn make_anew(peer: &Rc<Shaky>, server: Server, count: usize) {
    let anew = memory();
    for n in 0..count {
        put(&anew, json!({"_id": format!("anew{n}")})).unwrap();
    }
    *peer.inner.borrow_mut() = anew;
    if matches!(server, Server::TellsLives) {
        is_life(peer, "1800000000");
    }
}

/// What makes somebody look.
#[derive(Clone, Copy, Debug)]
enum Reason {
    WakeUp,
    Time,
    Others,
}

fn happen(reason: Reason, story: &mut Story, peer: &Rc<Shaky>) {
    match reason {
        Reason::WakeUp => story.handle().wake(),
        Reason::Time => story.pass(7 * MINUTE_MS),
        Reason::Others => peer.doubts.take().into_iter().for_each(|bell| {
            let _ = bell.send(());
        }),
    }
    story.turns();
    story.pass(2_000);
}

#[test]
fn a_target_that_was_emptied_gets_everything_though_nothing_changes() {
    for server in SERVERS {
        for reason in [Reason::WakeUp, Reason::Time, Reason::Others] {
            let a = filled(5);
            let (source, target) = pair(&a, &memory());
            put_away(&target, server);
            let mut story = Story::start(&source, &target, live());
            story.turns();
            assert_eq!(story.phase(), Phase::Live);
            make_anew(&target, server, 0);
            happen(reason, &mut story, &target);
            assert_eq!(story.phase(), Phase::Live, "{server:?} {reason:?}");
            assert_eq!(leaves(&target.inner.borrow()), leaves(&a), "{server:?} {reason:?}");
            // The pull of the same sync wants to know.
            assert!(target.doubted.get() > 0);
        }
    }
}

/// Without a log of ours there, and without a word of its life: that it is empty has to do.
#[test]
fn a_target_without_a_checkpoint_that_was_emptied_gets_everything() {
    for server in SERVERS {
        for checkpoint in [json!("source"), json!(false)] {
            for reason in [Reason::WakeUp, Reason::Time, Reason::Others] {
                let a = filled(5);
                let (source, target) = pair(&a, &memory());
                put_away(&target, server);
                let with = json!({"live": true, "retry": true, "checkpoint": checkpoint});
                let mut story = Story::start(&source, &target, with);
                story.turns();
                make_anew(&target, server, 0);
                happen(reason, &mut story, &target);
                assert_eq!(story.phase(), Phase::Live, "{server:?} {checkpoint} {reason:?}");
                let there = leaves(&target.inner.borrow());
                assert_eq!(there, leaves(&a), "{server:?} {checkpoint} {reason:?}");
            }
        }
    }
}

#[test]
fn a_target_that_was_emptied_between_two_replications_gets_everything() {
    for server in SERVERS {
        for with in [json!({"checkpoint": "source"}), json!({"checkpoint": false}), json!({})] {
            let a = filled(5);
            let (source, target) = pair(&a, &memory());
            put_away(&target, server);
            let count = || run(&source, &target, with.clone()).0.unwrap().docs_written;
            assert_eq!((count(), count()), (5, 0));
            make_anew(&target, server, 0);
            assert_eq!(count(), 5, "{server:?} {with}");
            assert_eq!(leaves(&target.inner.borrow()), leaves(&a));
        }
    }
}

/// Nothing of the source's is for it, and it stays empty: no reason to begin anew.
#[test]
fn a_target_that_is_empty_with_reason_is_left_alone() {
    let a = filled(5);
    let (source, target) = pair(&a, &memory());
    put_away(&target, Server::Numbers);
    let with = json!({"live": true, "retry": true, "checkpoint": "source", "doc_ids": ["nobody"]});
    let mut story = Story::start(&source, &target, with);
    story.turns();
    let attempts = target.count("info");
    happen(Reason::WakeUp, &mut story, &target);
    happen(Reason::Time, &mut story, &target);
    assert_eq!((story.phase(), target.doubted.get()), (Phase::Live, 0));
    assert!(target.count("info") <= attempts + 3);
}

#[test]
fn a_target_that_was_deleted_is_made_again() {
    let (source, target) = pair(&filled(5), &memory());
    put_away(&target, Server::TellsLives);
    let mut story = Story::start(&source, &target, live());
    story.turns();
    make_anew(&target, Server::TellsLives, 0);
    let infos = target.count("info");
    target.failing(move |call, count| {
        (call == "info" && count < infos + 2)
            .then(|| Error::remote(404, "not_found", "Database does not exist."))
    });
    happen(Reason::WakeUp, &mut story, &target);
    assert_eq!((story.phase(), target.count("create")), (Phase::Live, 1));
    assert_eq!(leaves(&target.inner.borrow()).len(), 5);
}

#[test]
fn a_source_that_has_not_come_as_far_as_before_is_another_one() {
    for server in [Server::TellsLives, Server::Numbers] {
        for checkpoint in [json!(true), json!(false), json!("target")] {
            for reason in [Reason::WakeUp, Reason::Time, Reason::Others] {
                let (source, target) = pair(&filled(5), &memory());
                put_away(&source, server);
                let with = json!({"live": true, "retry": true, "checkpoint": checkpoint});
                let mut story = Story::start(&source, &target, with);
                story.turns();
                make_anew(&source, server, 2);
                happen(reason, &mut story, &source);
                let is_there = get(&target.inner.borrow(), "anew1").is_ok();
                assert_eq!(
                    (story.phase(), is_there),
                    (Phase::Live, true),
                    "{server:?} {reason:?} {checkpoint}"
                );
            }
        }
    }
}

/// It is past the place where we wait, so that its number tells nothing; our log does.
#[test]
fn a_source_that_has_overtaken_us_is_another_one_if_it_forgot_us() {
    let (source, target) = pair(&filled(5), &memory());
    put_away(&source, Server::Numbers);
    let mut story = Story::start(&source, &target, live());
    story.turns();
    make_anew(&source, Server::Numbers, 9);
    happen(Reason::WakeUp, &mut story, &source);
    assert!(get(&target.inner.borrow(), "anew0").is_ok());
}

#[test]
fn a_feed_that_goes_backwards_is_another_ones() {
    let (source, target) = pair(&filled(5), &memory());
    put_away(&source, Server::Numbers);
    let mut story = Story::start(&source, &target, json!({"live": true, "retry": true, "timeout": 1_000}));
    story.turns();
    make_anew(&source, Server::Numbers, 2);
    source.goes_back.set(true);
    story.pass(3_000);
    story.pass(3_000);
    story.pass(3_000);
    assert_eq!(story.phase(), Phase::Live);
    assert!(get(&target.inner.borrow(), "anew1").is_ok());
}

/// CouchDB 2 and 3 take a checkpoint whatever revision it names, so that a database that was made anew would
/// be told that it has everything.
#[test]
fn a_checkpoint_is_not_written_into_another_database() {
    for server in SERVERS {
        for is_source in [false, true] {
            let a = filled(5);
            let (source, target) = pair(&a, &memory());
            let side = if is_source { &source } else { &target };
            put_away(side, server);
            let with = json!({"live": true, "retry": true, "checkpoint_interval_ms": 0});
            let mut story = Story::start(&source, &target, with.clone());
            story.turns();
            let other = if is_source { filled(5) } else { memory() };
            if is_source {
                put(&other, json!({"_id": "of the new one"})).unwrap();
                // As its feed has it: past where we were.
                put(&a, json!({"_id": "later"})).unwrap();
            }
            *side.inner.borrow_mut() = other.clone();
            if matches!(server, Server::TellsLives) {
                is_life(side, "1800000000");
            }
            put(&source.inner.borrow(), json!({"_id": "later"})).unwrap();
            story.pass(2_000);
            story.handle().cancel();
            story.running.end().0.unwrap();
            run(&source, &target, json!({})).0.unwrap();
            let (from, to) = (leaves(&source.inner.borrow()), leaves(&target.inner.borrow()));
            assert!(from.iter().all(|leaf| to.contains(leaf)), "{server:?} {is_source}");
        }
    }
}

/// It would be asked, and would answer, as fast as the line can.
#[test]
fn a_source_that_tells_the_same_again_and_again_is_not_asked_without_a_pause() {
    let (source, target) = pair(&filled(2), &memory());
    put_away(&source, Server::TellsLives);
    source.repeats.set(true);
    let mut story = Story::start(&source, &target, live());
    story.turns();
    let asked = source.count("wait");
    for _ in 0..10 {
        story.pass(1_000);
    }
    let more = source.count("wait") - asked;
    assert!((1..=20).contains(&more), "{more} in ten seconds");
}

#[test]
fn who_waits_asks_seldom() {
    for server in SERVERS {
        let (source, target) = pair(&filled(2), &memory());
        put_away(&target, server);
        let mut story = Story::start(&source, &target, live());
        story.turns();
        let asked = target.calls.borrow().len();
        story.pass(4 * MINUTE_MS);
        assert_eq!(target.calls.borrow().len(), asked, "{server:?}");
        for _ in 0..120 {
            story.pass(MINUTE_MS);
        }
        let looks = target.calls.borrow().len() - asked;
        assert!((9..=13).contains(&looks), "{server:?}: {looks} in two hours");
    }
}
