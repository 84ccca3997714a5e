//! What must be true when all is quiet, and what must always be.
#![allow(dead_code)]

use std::{collections::BTreeMap, rc::Rc};

use futures::executor::block_on;
use serde_json::{Value, json};
use settee::{
    database::{Database, OpenOptions},
    model::{Content, Digest, Seq},
    replicate::Phase,
    store::{MemoryStore, Store},
};

use super::{sim_net::read_seq, sim_world::World};
use crate::support::{SeededPlatform, changes, get_with};

/// What a store holds, seen by somebody who was not there.
fn open(store: &MemoryStore) -> Database {
    block_on(Database::open(Rc::new(store.fork()), SeededPlatform::new(1), OpenOptions::new("check")))
        .unwrap()
}

/// A checkpoint is the promise that the target has everything up to it.
pub fn checkpoint(world: &World, source: usize, target: usize, seq: &Seq) -> Result<(), String> {
    let source = open(&world.devices[source].root.borrow());
    let target = open(&world.devices[target].root.borrow());
    let life = block_on(source.info()).unwrap().uuid;
    let seq = read_seq(seq, &life).0.as_u64().unwrap();
    let denied = world.denied.borrow();
    let mut asked = BTreeMap::new();
    for row in changes(&source, json!({"style": "all_docs"})) {
        if row["seq"].as_u64().unwrap() > seq {
            break;
        }
        let id = row["id"].as_str().unwrap().to_owned();
        let revs =
            row["changes"].as_array().unwrap().iter().map(|leaf| leaf["rev"].as_str().unwrap().to_owned());
        let revs: Vec<String> = revs.filter(|rev| !denied.contains(&(id.clone(), rev.clone()))).collect();
        asked.insert(id, revs);
    }
    match block_on(target.revs_diff(&json!(asked).to_string())).unwrap() {
        missing if missing == "{}" => Ok(()),
        missing => Err(format!("the target lacks {missing}")),
    }
}

/// Everything there is to know of a device's documents but the order in which they came.
fn contents(db: &Database) -> BTreeMap<String, Value> {
    let with = json!({"open_revs": "all", "revs": true});
    let rows = changes(db, json!({"style": "all_docs"}));
    rows.into_iter()
        .map(|row| {
            let id = row["id"].as_str().unwrap().to_owned();
            let mut leaves = get_with(db, &id, with.clone()).unwrap();
            forget_revpos(&mut leaves);
            let doc = json!({"revs": row["changes"], "deleted": row["deleted"], "leaves": leaves});
            (id, doc)
        })
        .collect()
}

/// The same content put once more by one device and kept by another makes one revision with two stories
/// of when its attachment came to be; CouchDB's revision ids do not tell them apart either.
fn forget_revpos(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(forget_revpos),
        Value::Object(members) => {
            members.remove("revpos");
            members.values_mut().for_each(forget_revpos);
        }
        _ => {}
    }
}

fn digests(value: &Value, out: &mut Vec<(String, u64)>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| digests(item, out)),
        Value::Object(members) => {
            if let (Some(digest), Some(length)) = (members.get("digest"), members.get("length")) {
                out.push((digest.as_str().unwrap().to_owned(), length.as_u64().unwrap()));
            }
            members.values().for_each(|member| digests(member, out));
        }
        _ => {}
    }
}

/// All is quiet: everybody has the same, nothing is lost, nothing goes round and round, and every
/// replication says how it stands.
pub fn check(world: &World) {
    let sim = &world.sim;
    let dbs: Vec<Database> = world.devices.iter().map(|device| open(&device.root.borrow())).collect();
    let first = contents(&dbs[0]);
    for (id, doc) in &first {
        id.bytes().chain(doc["revs"].to_string().bytes()).for_each(|byte| sim.mix(u64::from(byte)));
    }
    for (at, db) in dbs.iter().enumerate() {
        let here = contents(db);
        for id in first.keys().chain(here.keys()) {
            assert_eq!(first.get(id), here.get(id), "{id} on n0 and on n{at}");
        }
        let mut named = Vec::new();
        here.values().for_each(|doc| digests(doc, &mut named));
        for (digest, length) in named {
            let content = block_on(world.devices[at].root.borrow().content(digest.parse().unwrap()));
            let content = content.unwrap().unwrap_or_else(|| panic!("n{at} lacks the content {digest}"));
            let Content::Bytes(bytes) = content else { unreachable!() };
            assert_eq!((Digest::of(&bytes).to_string(), bytes.len() as u64), (digest, length), "on n{at}");
        }
    }
    survived(world, &dbs);
    at_rest(world);
    truthful(world);
}

/// What somebody was told is written is everywhere, unless the device that told it was thrown away.
fn survived(world: &World, dbs: &[Database]) {
    let mut asked: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for acked in &*world.acked.borrow() {
        if acked.life == world.devices[acked.device].life.get() {
            asked.entry(acked.id.clone()).or_default().push(acked.rev.clone());
        }
    }
    for (at, db) in dbs.iter().enumerate() {
        let missing = block_on(db.revs_diff(&json!(asked).to_string())).unwrap();
        assert_eq!(missing, "{}", "n{at} lost what was acknowledged");
    }
}

/// Nothing but waiting lines goes over the network, and not many of those.
fn at_rest(world: &World) {
    const MINUTES: u64 = 5;
    let waits = |world: &World| -> Vec<(String, u64, u64)> {
        let mut waits = Vec::new();
        for device in &world.devices {
            for (job, running) in &*device.running.borrow() {
                let count = running.wire.count("wait");
                let allowed = MINUTES * 60_000 / u64::from(running.timeout_ms) + 2;
                waits.push((format!("{job:?}"), count, allowed));
                let looks = running.wire.count("info") + running.wire.count("local_doc");
                waits.push((format!("{job:?} looks"), looks, 1));
            }
        }
        waits
    };
    let (before, activity) = (waits(world), world.net.activity.get());
    world.run_for(MINUTES * 60_000);
    assert_eq!(world.net.activity.get(), activity, "there is no rest");
    for ((job, before, allowed), (_, after, _)) in before.into_iter().zip(waits(world)) {
        assert!(after - before <= allowed, "{job} asks too often: {}", after - before);
    }
}

fn truthful(world: &World) {
    for (at, device) in world.devices.iter().enumerate() {
        let jobs = world.plan.jobs.iter().filter(|job| job.0 == at).count() * world.plan.tabs;
        assert_eq!(device.running.borrow().len(), jobs, "n{at} does not run all its replications");
        for (job, running) in &*device.running.borrow() {
            let state = running.handle.state();
            assert_eq!(
                (state.phase, state.error.as_ref(), state.summary.pending),
                (Phase::Live, None, Some(0)),
                "{job:?} says something else"
            );
            // A side that forgot its checkpoint begins anew at once and tells nothing; so, now and then, does
            // one of two tabs that wrote one checkpoint at the same time.
            if !world.plan.has_evictions && world.plan.tabs == 1 {
                assert_eq!(running.wire.untold.get(), 0, "{job:?} kept a failure to itself");
            }
        }
    }
}
