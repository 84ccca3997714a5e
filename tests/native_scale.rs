//! One server and many devices: what a device, and a change, cost in requests and bytes, and how that
//! grows. `docs/scale.md` has the table that this prints:
//! `cargo test --release --test native_scale -- --ignored --nocapture`
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/kit.rs"]
mod kit;
#[path = "support/sim.rs"]
mod sim;
mod support;

use std::{cell::Cell, rc::Rc};

use futures::executor::block_on;
use serde_json::json;
use settee::{
    database::{
        Database, OpenOptions,
        options::{GetOptions, PutOptions},
    },
    peer::Peer,
    remote::RemoteDatabase,
    replicate::{Options, replicate},
    store::MemoryStore,
};
use sim::{
    sim_http::{Line, Traffic},
    sim_time::{Sim, SimPlatform, WORLD},
};

/// Documents in a channel before the devices come.
const DOCS: usize = 20;
/// What is measured is the mean of so many changes.
const CHANGES: usize = 4;
const LATENCY_MS: u64 = 20;

/// Who is there.
#[derive(Clone, Copy, Debug)]
struct Fleet {
    devices: usize,
    /// Channels that each device follows.
    channels: usize,
    /// Devices that share one channel.
    members: usize,
    /// Revisions of each document.
    revisions: usize,
}

/// What it costs.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// The first sync of one device's one channel.
    first: Traffic,
    /// One device in one idle minute.
    idle: Traffic,
    /// All devices together, for one change.
    change: Traffic,
}

struct Member {
    db: Database,
    channel: usize,
    traffic: Rc<Cell<Traffic>>,
}

fn open(sim: &Rc<Sim>) -> Database {
    let platform = SimPlatform::new(sim);
    block_on(Database::open(Rc::new(MemoryStore::new()), platform, OpenOptions::new("scale"))).unwrap()
}

/// A document of some 300 bytes.
fn put(db: &Database, id: &str, rev: Option<&str>, n: usize) -> String {
    let mut doc = json!({"_id": id, "n": n, "text": "x".repeat(260)});
    if let Some(rev) = rev {
        doc["_rev"] = rev.into();
    }
    block_on(db.put(&doc.to_string(), &[], &PutOptions::default())).unwrap().rev
}

fn total(members: &[Member]) -> Traffic {
    members.iter().fold(Traffic::default(), |sum, member| {
        let one = member.traffic.get();
        Traffic {
            requests: sum.requests + one.requests,
            up_bytes: sum.up_bytes + one.up_bytes,
            down_bytes: sum.down_bytes + one.down_bytes,
        }
    })
}

fn measure(fleet: Fleet) -> Cost {
    let sim = Sim::new(7, false);
    let channels: Vec<Database> = (0..fleet.devices * fleet.channels / fleet.members)
        .map(|_| {
            let db = open(&sim);
            for doc in 0..DOCS {
                let id = format!("photo-2026-11-{doc:02}");
                (0..fleet.revisions)
                    .fold(None, |rev: Option<String>, n| Some(put(&db, &id, rev.as_deref(), n)));
            }
            db
        })
        .collect();
    let run_for = |ms: u64| sim.run_until(sim.passed_ms() + ms, &|| {});
    let mut members = Vec::new();
    for at in 0..fleet.devices * fleet.channels {
        let channel = at % channels.len();
        let (db, traffic) = (open(&sim), Rc::<Cell<Traffic>>::default());
        let line = Line {
            sim: sim.clone(),
            server: channels[channel].clone(),
            traffic: traffic.clone(),
            latency_ms: LATENCY_MS,
        };
        let url = format!("https://couch.example/channel-{channel}");
        let remote = RemoteDatabase::new(Rc::new(line), SimPlatform::new(&sim), &url, Default::default());
        let remote: Rc<dyn Peer> = Rc::new(remote.unwrap());
        let local: Rc<dyn Peer> = Rc::new(db.clone());
        for (source, target) in [(remote.clone(), local.clone()), (local, remote)] {
            let options = Options { live: true, retry: true, ..Options::default() };
            let (handle, future) =
                replicate(source, target, SimPlatform::new(&sim), options, Rc::new(|_| {}));
            sim.spawn(WORLD, async move {
                let ended = future.await;
                panic!("a replication ended: {ended:?} {:?}", handle.state().phase);
            });
        }
        members.push(Member { db, channel, traffic });
    }
    run_for(20_000);
    let first = total(&members);
    run_for(45_000);
    // Two minutes in which nothing happens.
    let before = total(&members);
    run_for(120_000);
    let idle = total(&members).since(before);
    // The waiting lines were all asked anew a moment ago, so what goes over now is the changes'.
    let before = total(&members);
    for n in 0..CHANGES {
        let member = &members[n % members.len()];
        put(&member.db, &format!("change-{n}"), None, n);
        run_for(10_000);
        for other in members.iter().filter(|other| other.channel == member.channel) {
            assert!(block_on(other.db.get(&format!("change-{n}"), &GetOptions::default())).is_ok());
        }
    }
    let change = total(&members).since(before);
    // The tasks hold the simulation that holds them.
    sim.kill(WORLD);
    Cost { first: first.of(members.len()), idle: idle.of(2 * fleet.devices), change: change.of(CHANGES) }
}

fn fleet(devices: usize, channels: usize, members: usize, revisions: usize) -> Fleet {
    Fleet { devices, channels, members, revisions }
}

/// What one device costs does not depend on how many there are.
#[test]
fn costs_grow_with_devices_and_not_faster() {
    let (few, many) = (measure(fleet(5, 1, 5, 1)), measure(fleet(20, 1, 20, 1)));
    assert_eq!(few.first.requests, many.first.requests);
    assert_eq!(few.idle.requests, many.idle.requests);
    // Who writes asks for its waiting line anew, `_revs_diff`, `_bulk_docs` and a checkpoint; each of the
    // others its line, which brings the document along, and a checkpoint.
    assert_eq!((few.change.requests, many.change.requests), (4 + 4 * 2, 4 + 19 * 2));
    let each = |cost: Cost, devices: u64| cost.change.requests as f64 / devices as f64;
    assert!(each(many, 20) <= each(few, 5), "{few:?} {many:?}");
    // A device that follows ten channels waits on ten lines, and pays for a change in one of them.
    let ten = measure(fleet(10, 10, 5, 1));
    assert_eq!((ten.first.requests, ten.idle.requests), (few.first.requests, 10 * few.idle.requests));
    assert_eq!(ten.change.requests, few.change.requests);
}

#[test]
#[ignore = "prints the table of docs/scale.md; minutes"]
fn table() {
    println!(
        "| devices | channels a device | devices a channel | revisions | first sync, requests | KB | idle minute, requests a device | KB | a change, requests in all | KB in all | a device in that channel, requests | KB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    let kb = |bytes: u64| format!("{:.1}", bytes as f64 / 1000.0);
    for devices in [100, 1_000, 5_000] {
        for (channels, members) in [(1, devices), (10, 5)] {
            for revisions in [1, 20] {
                let cost = measure(fleet(devices, channels, members, revisions));
                println!(
                    "| {devices} | {channels} | {members} | {revisions} | {} / {} | {} / {} | {} / {} | {:.1} / {} |",
                    cost.first.requests,
                    kb(cost.first.bytes()),
                    cost.idle.requests,
                    kb(cost.idle.bytes()),
                    cost.change.requests,
                    kb(cost.change.bytes()),
                    cost.change.requests as f64 / members as f64,
                    kb(cost.change.bytes() / members as u64),
                );
            }
        }
    }
}
