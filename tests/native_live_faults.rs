//! Live replications over HTTP whose lines break, fall silent, hold back or cut what comes, while people work on
//! every side, sessions end, passwords change and devices sleep: on a seed each, on a clock that jumps. In the end
//! all hold the same, byte for byte, nothing that was written is lost, and what was told on the way was so.
//!
//!     SETTEE_SEED=7 SETTEE_CASES=1 cargo test --test native_live_faults
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/kit.rs"]
mod kit;
#[path = "support/sim.rs"]
mod sim;
mod support;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    rc::Rc,
};

use base64ct::{Base64, Encoding as _};
use futures::executor::block_on;
use kit::rng::{cases, note};
use serde_json::{Value, json};
use settee::{
    database::{Database, OpenOptions},
    error::Kind,
    peer::Peer,
    remote::RemoteDatabase,
    replicate::{BackOff, Event, Handle, Options, Phase, replicate},
    store::MemoryStore,
};
use sim::{
    sim_line::{Line, Server},
    sim_time::{Owner, Sim, SimPlatform},
};
use support::*;

/// A whole minute without a byte, and the pauses between attempts: what it may take to come to rest.
const REST_MS: u64 = 20 * 60_000;

struct Device {
    db: Database,
    owner: Owner,
    handles: Vec<Handle>,
    is_asleep: Cell<bool>,
}

fn open(sim: &Rc<Sim>, name: &str) -> Database {
    let platform = SimPlatform::new(sim);
    block_on(Database::open(Rc::new(MemoryStore::new()), platform, OpenOptions::new(name))).unwrap()
}

/// What one replication tells, and whether it is so.
#[derive(Default)]
struct Told {
    name: String,
    handle: RefCell<Option<Handle>>,
    stored: RefCell<BTreeSet<(String, String)>>,
    failures: Cell<u64>,
}

impl Told {
    fn hear(&self, event: &Event) {
        let state = self.handle.borrow().as_ref().unwrap().state();
        note(|| match event {
            Event::Change(progress) => format!("{} change {:?}", self.name, progress.docs),
            other => format!("{} {other:?}", self.name),
        });
        match event {
            Event::Paused(None) => {
                assert_eq!((state.phase, state.pending, &state.error), (Phase::Live, Some(0), &None));
            }
            Event::Paused(Some(error)) => {
                let phase = match error.kind() {
                    Kind::Network => Phase::Offline,
                    Kind::Unauthorized => Phase::NeedsAuth,
                    _ => Phase::Waiting,
                };
                assert_eq!((state.phase, state.error.as_ref()), (phase, Some(error)));
                assert!(state.retry_at_ms.is_some());
                self.failures.set(self.failures.get() + 1);
            }
            Event::Change(progress) => {
                for doc in &progress.docs {
                    self.stored.borrow_mut().insert((doc.id.clone(), doc.rev.to_string()));
                }
            }
            Event::Denied(failure) => panic!("denied: {failure:?}"),
            _ => {}
        }
    }
}

/// A device with a database of its own that follows the server's, both ways.
fn follow(sim: &Rc<Sim>, server: &Rc<Server>, at: usize) -> (Device, Vec<Rc<Told>>) {
    let db = open(sim, &format!("n{at}"));
    let platform = SimPlatform::new(sim);
    let feed = sim.pick(&["auto", "auto", "continuous", "longpoll"]);
    let options = json!({
        "auth": {"username": "user", "password": "secret", "type": "session"}, "feed": feed,
        "heartbeat": sim.pick(&[2_000, 10_000]), "connection_timeout": sim.pick(&[5_000, 60_000]),
    });
    let line = Rc::new(Line { name: format!("n{at}"), server: server.clone(), streams: sim.percent(75) });
    let options = serde_json::from_value(options).unwrap();
    let remote = RemoteDatabase::new(line, platform.clone(), "http://h:5984/db", options).unwrap();
    let (local, remote): (Rc<dyn Peer>, Rc<dyn Peer>) = (Rc::new(db.clone()), Rc::new(remote));
    let owner = sim.new_owner();
    let (mut handles, mut told) = (Vec::new(), Vec::new());
    for (way, source, target) in [("push", local.clone(), remote.clone()), ("pull", remote, local)] {
        let with = Options {
            live: true,
            retry: true,
            batch_size: sim.pick(&[Some(2), Some(7), None]),
            checkpoint_interval_ms: sim.pick(&[0, 5_000]),
            timeout_ms: sim.pick(&[5_000, 60_000]),
            back_off: BackOff::new(|last_ms| (last_ms * 2).clamp(50, 20_000)),
            ..Options::default()
        };
        let heard = Rc::new(Told { name: format!("n{at} {way}"), ..Told::default() });
        let hearing = heard.clone();
        let on_event = Rc::new(move |event: Event| hearing.hear(&event));
        let (handle, done) = replicate(source, target, platform.clone(), with, on_event);
        *heard.handle.borrow_mut() = Some(handle.clone());
        handles.push(handle);
        told.push(heard);
        sim.spawn(owner, async move {
            done.await.unwrap();
        });
    }
    (Device { db, owner, handles, is_asleep: Cell::new(false) }, told)
}

/// One thing that somebody does.
fn act(sim: &Rc<Sim>, db: &Database, who: usize, n: usize) -> Option<(String, String)> {
    let id = format!("d{}", sim.below(8));
    let current = get(db, &id).ok();
    let rev = current.as_ref().map(|doc| doc["_rev"].as_str().unwrap().to_owned());
    let mut doc = match (sim.below(10), current) {
        (0, Some(_)) => {
            let written = block_on(db.remove(&id, &rev.unwrap())).unwrap();
            return Some((id, written.rev));
        }
        (1..4, current) => {
            let bytes = sim.split().bytes(sim.pick(&[10, 5_000, 70_000]));
            let file = json!({"content_type": "image/jpeg", "data": Base64::encode_string(&bytes)});
            let mut doc = current.unwrap_or_else(|| json!({"_id": id}));
            doc["_attachments"]["a b.jpg"] = file;
            doc
        }
        (4..7, _) => json!({"_id": format!("own {who} {n}")}),
        (_, current) => current.unwrap_or_else(|| json!({"_id": id})),
    };
    doc["n"] = json!(format!("{who} {n}"));
    Some((doc["_id"].as_str().unwrap().to_owned(), put(db, doc).unwrap()))
}

/// Every document with its leaves, histories and bytes.
fn census(db: &Database) -> Vec<Value> {
    let mut docs = Vec::new();
    for row in changes(db, json!({"style": "all_docs"})) {
        let asked = json!({"open_revs": "all", "revs": true, "attachments": true});
        let mut leaves = get_with(db, row["id"].as_str().unwrap(), asked).unwrap();
        leaves.as_array_mut().unwrap().sort_by_key(|leaf| leaf["ok"]["_rev"].to_string());
        docs.push(json!([row["id"], leaves]));
    }
    docs.sort_by_key(|doc| doc[0].to_string());
    docs
}

fn is_in(census: &[Value], id: &str, rev: &str) -> bool {
    let leaves = census.iter().find(|doc| doc[0] == id).and_then(|doc| doc[1].as_array());
    leaves.into_iter().flatten().any(|leaf| {
        let revisions = &leaf["ok"]["_revisions"];
        let start = revisions["start"].as_u64().unwrap();
        let ids = revisions["ids"].as_array().unwrap().iter().enumerate();
        ids.into_iter().any(|(at, id)| format!("{}-{}", start - at as u64, id.as_str().unwrap()) == rev)
    })
}

/// What is read ahead holds the line while what came before is being stored, which wants it too.
#[test]
fn a_single_connection_is_enough() {
    for is_push in [false, true] {
        let sim = Sim::new(1, false);
        let server = Server::new(&sim, open(&sim, "server"));
        server.faults.set(0);
        let db = open(&sim, "here");
        let from = if is_push { &db } else { &server.db };
        for n in 0..12 {
            let data = Base64::encode_string(&sim.split().bytes(70_000));
            let files = json!({"f": {"content_type": "image/jpeg", "data": data}});
            put(from, json!({"_id": format!("d{n:02}"), "_attachments": files})).unwrap();
        }
        let line = Rc::new(Line { name: "one".to_owned(), server: server.clone(), streams: true });
        let auth = json!({"username": "user", "password": "secret", "type": "session"});
        let options = serde_json::from_value(json!({"auth": auth, "connections": 1})).unwrap();
        let platform = SimPlatform::new(&sim);
        let remote = RemoteDatabase::new(line, platform.clone(), "http://h:5984/db", options).unwrap();
        let (local, remote): (Rc<dyn Peer>, Rc<dyn Peer>) = (Rc::new(db.clone()), Rc::new(remote));
        let (source, target) = if is_push { (local, remote) } else { (remote, local) };
        let with = Options { batch_size: Some(2), ..Options::default() };
        let (handle, done) = replicate(source, target, platform, with, Rc::new(|_| ()));
        sim.spawn(sim.new_owner(), async move {
            done.await.unwrap();
        });
        sim.run_until(REST_MS, &|| {});
        assert_eq!((handle.state().phase, handle.state().summary.docs_written), (Phase::Stopped, 12));
        assert_eq!(census(&db), census(&server.db));
    }
}

#[test]
fn live_replications_get_over_whatever_happens_to_their_lines() {
    let (stored, failures, sessions) = (Cell::new(0), Cell::new(0), Cell::new(0));
    cases("--test native_live_faults", 12, |mut rng| {
        let sim = Sim::new(rng.next(), false);
        let server = Server::new(&sim, open(&sim, "server"));
        let (devices, told): (Vec<_>, Vec<_>) =
            (0..sim.between(1, 3)).map(|at| follow(&sim, &server, at)).unzip();
        let mut written = Vec::new();
        let mut is_disturbed = false;
        let run_for = |ms: usize| sim.run_until(sim.passed_ms() + ms as u64, &|| {});
        let wake = |device: &Device| {
            sim.thaw(device.owner);
            device.is_asleep.set(false);
            if sim.percent(60) {
                device.handles.iter().for_each(Handle::wake);
            }
        };
        for n in 0..sim.between(10, 60) {
            run_for(match sim.below(10) {
                0 => sim.between(30_000, 400_000),
                1..4 => sim.between(2_000, 20_000),
                _ => sim.between(1, 500),
            });
            let who = sim.below(devices.len() + 1);
            let device = devices.get(who);
            // Who sleeps does not write.
            if device.is_none_or(|device| !device.is_asleep.get()) {
                written.extend(act(&sim, device.map_or(&server.db, |device| &device.db), who, n));
            }
            let Some(device) = device.filter(|_| server.faults.get() > 0) else { continue };
            is_disturbed = true;
            match sim.below(14) {
                0 | 1 => {
                    server.is_cut.set(!server.is_cut.get());
                    server.tear();
                }
                2 => server.tear(),
                3 => server.log_out(),
                4 => {
                    server.is_locked.set(!server.is_locked.get());
                    server.log_out();
                }
                5 if !device.is_asleep.get() => {
                    sim.freeze(device.owner);
                    device.is_asleep.set(true);
                    server.tear();
                }
                6 => wake(device),
                _ => {}
            }
        }
        note(|| "all is well".to_owned());
        server.faults.set(0);
        server.is_cut.set(false);
        server.is_locked.set(false);
        devices.iter().for_each(wake);
        run_for(REST_MS as usize);

        let there = census(&server.db);
        for (device, told) in devices.iter().zip(&told) {
            assert_eq!(census(&device.db), there);
            for (handle, told) in device.handles.iter().zip(told) {
                let state = handle.state();
                assert_eq!((state.phase, state.pending, state.error), (Phase::Live, Some(0), None));
                if !is_disturbed {
                    assert_eq!(told.failures.get(), 0);
                }
                stored.set(stored.get() + told.stored.borrow().len());
                failures.set(failures.get() + told.failures.get());
            }
            sim.kill(device.owner);
        }
        for (id, rev) in &written {
            assert!(is_in(&there, id, rev), "{id} {rev} is lost");
        }
        sessions.set(sessions.get() + server.sessions());
    });
    println!("{} revisions went over, {} pauses, {} logins", stored.get(), failures.get(), sessions.get());
    assert!(stored.get() > 200 && failures.get() > 20 && sessions.get() > 40);
}
