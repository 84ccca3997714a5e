//! Photos over a line that breaks: two databases, one behind HTTP, on a seed each. Requests are lost, cut in the
//! middle of a body, done without an answer, answered by half; in the end both sides hold the same, byte for byte.
//!
//!     SETTEE_SEED=7 SETTEE_CASES=1 cargo test --test native_http_faults
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/kit.rs"]
mod kit;
#[path = "support/sim.rs"]
mod sim;
mod support;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use base64ct::{Base64, Encoding as _};
use futures::{FutureExt, executor::block_on};
use kit::rng::{Rng, cases, note};
use serde_json::{Value, json};
use settee::{
    database::Database,
    error::{Error, Kind, Pending},
    model::Content,
    peer::Peer,
    remote::{RemoteDatabase, Request, Response, Transport},
    replicate::{BackOff, Options, replicate},
};
use support::*;

/// A line to `server` that breaks while there is anything left to break.
struct Flaky {
    server: Database,
    rng: RefCell<Rng>,
    left: Cell<usize>,
    /// Bodies of photos that broke off, on the way there and on the way back.
    broken_photos: Cell<[usize; 2]>,
}

fn gone() -> Error {
    Error::new(Kind::Network, "The line broke.")
}

impl Transport for Flaky {
    fn send(&self, request: Request) -> Pending<'_, Response> {
        async move {
            let is_photo = request.url.contains("/photo");
            let chance = if is_photo { 80 } else { 25 };
            let fault = match self.left.get() {
                left if left > 0 && self.rng.borrow_mut().percent(chance) => {
                    self.left.set(left - 1);
                    self.rng.borrow_mut().below(5)
                }
                _ => usize::MAX,
            };
            note(|| format!("{} {} fault {}", request.method, request.url, fault as isize));
            let count = |way: usize| {
                let mut broken = self.broken_photos.get();
                broken[way] += usize::from(is_photo);
                self.broken_photos.set(broken);
            };
            match fault {
                0 => Err(gone()),
                1 => {
                    // The server gets a part of the body, and may not take it for the whole.
                    let mut bytes = Vec::new();
                    for piece in &request.body {
                        bytes.extend_from_slice(&piece.bytes().await?);
                    }
                    if !bytes.is_empty() {
                        count(0);
                        bytes.truncate(self.rng.borrow_mut().below(bytes.len()));
                        let request = Request { body: vec![Content::from(bytes)], ..request };
                        sim::sim_http::serve(&self.server, request).await;
                    }
                    Err(gone())
                }
                2 => {
                    sim::sim_http::serve(&self.server, request).await;
                    Err(gone())
                }
                3 => {
                    // Somebody in between ends it early, without a word.
                    let response = sim::sim_http::serve(&self.server, request).await;
                    let mut bytes = response.body.bytes().await?.to_vec();
                    count(1);
                    bytes.truncate(self.rng.borrow_mut().below(bytes.len().max(1)));
                    Ok(Response { body: bytes.into(), ..response })
                }
                4 => {
                    let body = json!({"error": "service_unavailable", "reason": "try later"}).to_string();
                    Ok(Response { status: 503, headers: Vec::new(), body: body.into_bytes().into() })
                }
                _ => Ok(sim::sim_http::serve(&self.server, request).await),
            }
        }
        .boxed_local()
    }
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

/// Notes, photos small enough to go inline and too large for that, edits beside them, deletions, conflicts.
fn work(db: &Database, side: &str, rng: &mut Rng) {
    for n in 0..6 {
        let id = format!("photo {side} {n} & ü");
        let length = *rng.pick(&[10, 5_000, 70_000, 150_000]);
        let data = Base64::encode_string(&rng.bytes(length));
        let files = json!({"a/b ü.jpg": {"content_type": "image/jpeg", "data": data}});
        let rev = put(db, json!({"_id": id, "n": n, "_attachments": files})).unwrap();
        match rng.below(4) {
            0 => {
                let mut doc = get(db, &id).unwrap();
                doc["n"] = json!("edited");
                put(db, doc).unwrap();
            }
            1 => drop(block_on(db.remove(&id, &rev)).unwrap()),
            _ => {}
        }
        put(db, json!({"_id": format!("note {side} {n}"), "side": side})).unwrap();
    }
    let both = json!([{"_id": "both", "_rev": format!("1-{}", hex(rng)), "side": side}]);
    bulk(db, both, false);
}

fn hex(rng: &mut Rng) -> String {
    rng.bytes(16).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn photos_survive_a_line_that_breaks_anywhere() {
    let broken = Cell::new([0, 0]);
    cases("--test native_http_faults", 15, |mut rng| {
        let (here, there) = (memory(), memory());
        work(&here, "here", &mut rng);
        work(&there, "there", &mut rng);
        let transport = Rc::new(Flaky {
            server: there.clone(),
            rng: RefCell::new(rng.clone()),
            left: Cell::new(60),
            broken_photos: Cell::default(),
        });
        let platform = SeededPlatform::new(rng.next());
        let run = |is_push: bool| {
            let options = serde_json::from_value(json!({})).unwrap();
            let remote =
                RemoteDatabase::new(transport.clone(), platform.clone(), "http://h:5984/db", options)
                    .unwrap();
            let ends: [Rc<dyn Peer>; 2] = [Rc::new(here.clone()), Rc::new(remote)];
            let [source, target] = if is_push {
                ends
            } else {
                let [a, b] = ends;
                [b, a]
            };
            let options = Options {
                retry: true,
                batch_size: Some(5),
                back_off: BackOff::new(|_| 1),
                ..Options::default()
            };
            let (_handle, done) = replicate(source, target, platform.clone(), options, Rc::new(|_| ()));
            let summary = block_on(done).unwrap();
            assert!(summary.ok && summary.doc_write_failures == 0, "{:?}", summary.errors);
        };
        for is_push in [true, false, true] {
            run(is_push);
        }
        assert_eq!(census(&here), census(&there));
        assert_eq!(changes(&here, json!({})).len(), 25);
        let (sum, now) = (broken.get(), transport.broken_photos.get());
        broken.set([sum[0] + now[0], sum[1] + now[1]]);
    });
    let [there, back] = broken.get();
    assert!(there > 5 && back > 5, "{there} and {back} photos broke off on their way");
}
