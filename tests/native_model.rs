//! The whole database against a plain model of CouchDB: random edits and questions, seeded.
//!
//! `SETTEE_SEED` and `SETTEE_CASES` choose others, or one again.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/kit.rs"]
mod kit;
mod support;

use serde_json::json;

use kit::{
    rng::cases,
    world::{Climate, World},
};

fn run(name: &str, count: u64, steps: usize, climate: Climate) {
    cases(name, count, |rng| {
        let mut world = World::new(rng, climate);
        for step in 1..=steps {
            world.step();
            if step % (steps / 3) == 0 {
                world.check();
            }
        }
        world.check();
    });
}

#[test]
fn the_engine_does_as_the_model() {
    run("the_engine_does_as_the_model", 100, 90, Climate::default());
}

#[test]
fn few_documents_with_long_histories_do_as_the_model() {
    let climate = Climate { ids: 2, compactions: 2, ..Climate::default() };
    run("few_documents_with_long_histories_do_as_the_model", 40, 150, climate);
}

#[test]
fn two_tabs_and_restarts_do_as_the_model() {
    let climate = Climate { tabs: 2, restarts: 8, ..Climate::default() };
    run("two_tabs_and_restarts_do_as_the_model", 80, 100, climate);
}

#[test]
fn opening_from_a_snapshot_is_like_opening_from_the_log() {
    let climate = Climate { tabs: 2, restarts: 4, compactions: 4, is_writing: true, ..Climate::default() };
    run("opening_from_a_snapshot_is_like_opening_from_the_log", 15, 220, climate);
}

#[test]
fn compaction_by_itself_changes_nothing() {
    let climate = Climate {
        tabs: 2,
        restarts: 1,
        auto_compaction: true,
        compactions: 0,
        ids: 10,
        is_writing: true,
        ..Climate::default()
    };
    run("compaction_by_itself_changes_nothing", 3, 500, climate);
}

#[test]
fn a_log_that_is_mostly_dead_is_shortened_and_nothing_lost() {
    let climate = Climate {
        tabs: 2,
        auto_compaction: true,
        compactions: 0,
        big: true,
        ids: 4,
        is_writing: true,
        ..Climate::default()
    };
    cases("a_log_that_is_mostly_dead_is_shortened_and_nothing_lost", 2, |rng| {
        let mut world = World::new(rng, climate);
        let mut most = 0;
        let mut was_shortened = false;
        for _ in 0..350 {
            world.step();
            was_shortened |= world.root.log_bytes() < most;
            most = most.max(world.root.log_bytes());
        }
        assert!(was_shortened, "the thresholds were not reached");
        world.check();
    });
}

// Found by the above, kept small.

fn replicated(db: &settee::database::Database, path: &[&str]) {
    let ids: Vec<&str> = path.iter().map(|rev| rev.split_once('-').unwrap().1).collect();
    let start: u64 = path[0].split_once('-').unwrap().0.parse().unwrap();
    let doc = json!({"_id": "a", "_rev": path[0], "_revisions": {"start": start, "ids": ids}});
    assert!(support::bulk(db, json!([doc]), false)[0].is_ok());
}

#[test]
fn more_history_of_a_known_leaf_is_taken_up() {
    let db = support::memory();
    replicated(&db, &["3-c"]);
    replicated(&db, &["1-x"]);
    replicated(&db, &["2-y", "1-x"]);
    replicated(&db, &["3-c", "2-b", "1-a"]);
    let shown = support::get_with(&db, "a", json!({"revs": true})).unwrap();
    assert_eq!(shown["_revisions"]["ids"], json!(["c", "b", "a"]));
    // So an ancestor that comes on its own is no conflict.
    replicated(&db, &["2-b"]);
    let shown = support::get_with(&db, "a", json!({"conflicts": true})).unwrap();
    assert_eq!(shown["_conflicts"], json!(["2-y"]));
}

#[test]
fn a_path_that_only_joins_what_is_known_is_taken_up() {
    let db = support::memory();
    replicated(&db, &["2-x", "1-a"]);
    replicated(&db, &["3-c", "2-b"]);
    let before = support::changes(&db, json!({})).len();
    replicated(&db, &["3-c", "2-b", "1-a"]);
    let shown = support::get_with(&db, "a", json!({"revs": true, "local_seq": true})).unwrap();
    assert_eq!(shown["_revisions"]["ids"], json!(["c", "b", "a"]));
    assert_eq!((before, &shown["_local_seq"]), (1, &json!(3)));
    replicated(&db, &["3-c", "2-b", "1-a"]);
    let again = support::get_with(&db, "a", json!({"local_seq": true})).unwrap();
    assert_eq!(again["_local_seq"], json!(3));
}
