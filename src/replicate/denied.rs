//! The documents that did not go over, remembered so that they are tried again: when they change (the
//! feed brings them), when somebody logs in or resumes, and once when a replication starts.
//!
//! They are a member of the checkpoint, which CouchDB passes over:
//!
//! ```text
//! "denied": [ {"id":"a", "rev":"1-x", "seq":"17-…", "status":403, "error":"forbidden", "reason":"…"}, … ]
//! "denied_from": "17-…"          instead, when they are too many to be named
//! ```
//!
//! `seq` is a place in the source's feed before the document's change. Places cannot be compared, but
//! the feed brings them in order, so the first of the list is the earliest.

use serde_json::{Map, Value};

use super::report::Failure;
use crate::{
    model::{Rev, Seq, sort_by},
    peer::{Change, ReplicatedDoc},
};

/// So many are named. Each costs about 150 bytes in every checkpoint.
const MAX_NAMED: usize = 100;

const MAX_REASON_CHARS: usize = 200;

const NAMED: &str = "denied";
const FROM: &str = "denied_from";

/// Which of them an attempt tries again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Retry {
    /// None: it only goes on after a failure.
    #[default]
    None,
    /// Those that a server failed at (5xx): after it was away, it may be a better one.
    Failed,
    /// Those that are not too large (413): at the start. A photo that is too large for a server stays so,
    /// and is not sent each time a page is opened.
    Light,
    /// All: somebody logged in or asked for it.
    All,
}

/// What was denied and has not gone over since.
#[derive(Default)]
pub struct Denied {
    list: Vec<Item>,
    count: u64,
    /// Being tried again; back in the list if that breaks off.
    again: Vec<Item>,
    /// There are more than the list holds, and all come after this place in the feed.
    pub from: Option<Seq>,
    /// The feed is being read again from here, which no checkpoint says yet.
    pub replay: Option<Seq>,
    /// A checkpoint named a place that is none.
    distrusts_from: bool,
    /// The checkpoints do not say all of this yet.
    pub is_news: bool,
}

struct Item {
    /// The how manieth was denied; the list is in this order.
    order: u64,
    id: String,
    rev: Rev,
    status: u64,
    /// As a checkpoint has it.
    json: Value,
    /// Not only a checkpoint says so: it happened in this replication.
    is_told: bool,
}

impl Item {
    fn seq(&self) -> Seq {
        Seq(self.json["seq"].clone())
    }

    fn is(&self, id: &str, rev: &Rev) -> bool {
        self.id == id && self.rev == *rev
    }
}

impl Denied {
    /// Adds what a checkpoint remembers. What is not ours to read is passed over.
    pub fn load(&mut self, log: &Map<String, Value>) {
        if let Some(Value::Array(items)) = log.get(NAMED) {
            for json in items {
                let id = json["id"].as_str().map(str::to_owned);
                let rev = json["rev"].as_str().and_then(|rev| rev.parse::<Rev>().ok());
                if let (Some(id), Some(rev), Some(status)) = (id, rev, json["status"].as_u64())
                    && !json["seq"].is_null()
                    && !self.list.iter().any(|known| known.is(&id, &rev))
                {
                    self.count += 1;
                    let (order, json) = (self.count, json.clone());
                    self.put(Item { order, id, rev, status, json, is_told: false });
                }
            }
        }
        if let Some(from) = log.get(FROM)
            && self.from.is_none()
            && !self.distrusts_from
        {
            self.from = Some(Seq(from.clone()));
            self.list.clear();
        }
    }

    /// As members of a checkpoint.
    pub fn save(&self, log: &mut Map<String, Value>) {
        if let Some(from) = &self.from {
            log.insert(FROM.to_owned(), from.0.clone());
        } else if !self.is_empty() {
            let items: Vec<Value> =
                self.again.iter().chain(&self.list).map(|item| item.json.clone()).collect();
            log.insert(NAMED.to_owned(), items.into());
        }
    }

    /// Remembers a failure whose change comes after `seq`; whether that is news to who is told. One without a revision
    /// cannot be asked for again.
    pub fn add(&mut self, failure: &Failure, seq: &Seq) -> bool {
        let Some(rev) = failure.rev.clone() else { return true };
        // The attempt that was told of it broke off for another document, and came to this one again.
        if self.list.iter().any(|known| known.is_told && known.is(&failure.id, &rev)) {
            return false;
        }
        let before = self.again.iter().find(|item| item.is(&failure.id, &rev));
        if before.is_some() && failure.status == 404 {
            return true; // The source no longer has it.
        }
        self.count += 1;
        let (order, seq) = before.map_or((self.count, seq.clone()), |before| (before.order, before.seq()));
        let mut json = Map::new();
        for (name, value) in [
            ("id", failure.id.as_str().into()),
            ("rev", rev.to_string().into()),
            ("seq", seq.0),
            ("status", failure.status.into()),
            ("error", failure.name.as_str().into()),
            // A validation function may say anything; a checkpoint has to stay small.
            ("reason", failure.reason.chars().take(MAX_REASON_CHARS).collect::<String>().into()),
        ] {
            json.insert(name.to_owned(), value);
        }
        self.is_news = true;
        let (id, status) = (failure.id.clone(), failure.status.into());
        self.put(Item { order, id, rev, status, json: json.into(), is_told: true });
        true
    }

    fn put(&mut self, item: Item) {
        if self.from.is_some() {
            return;
        }
        self.list.retain(|known| !known.is(&item.id, &item.rev));
        let place = self.list.partition_point(|known| known.order < item.order);
        self.list.insert(place, item);
        if self.list.len() > MAX_NAMED {
            let firsts = self.list.first().into_iter().chain(self.again.first());
            self.from = firsts.min_by_key(|item| item.order).map(Item::seq);
            self.list.clear();
            self.again.clear();
        }
    }

    /// The place to read the feed again from is none. Whether there was one; no log is asked for it any more.
    pub fn drop_replay(&mut self) -> bool {
        let had_one = self.replay.take().is_some();
        self.distrusts_from |= had_one;
        had_one
    }

    /// Which of the list a document brings along: itself or what came before it.
    pub fn settled_by(&self, doc: &ReplicatedDoc) -> Vec<Rev> {
        let is_settled = |item: &&Item| item.id == doc.id && doc.path.contains(&item.rev);
        self.list.iter().filter(is_settled).map(|item| item.rev.clone()).collect()
    }

    /// Those went over, or what follows them was denied in their place.
    pub fn settle(&mut self, id: &str, revs: &[Rev]) {
        self.is_news |= !revs.is_empty();
        self.list.retain(|item| item.id != id || !revs.contains(&item.rev));
    }

    /// Whether everything went over.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && self.again.is_empty() && self.from.is_none()
    }

    /// Whether anything of a document is in the list.
    pub fn has(&self, id: &str) -> bool {
        self.list.iter().chain(&self.again).any(|item| item.id == id)
    }

    /// Takes those that are to be tried again, as a feed would bring them. [`Denied::went_through`] when
    /// each of them was stored or denied again.
    pub fn take(&mut self, retry: Retry) -> Vec<Change> {
        let mut known = std::mem::take(&mut self.again);
        known.append(&mut self.list);
        sort_by(&mut known, |a, b| a.order.cmp(&b.order));
        for item in known {
            let is_tried = match retry {
                Retry::None => false,
                Retry::Failed => item.status >= 500,
                Retry::Light => item.status != 413,
                Retry::All => true,
            };
            if is_tried { self.again.push(item) } else { self.list.push(item) }
        }
        let change = |item: &Item| Change {
            seq: item.seq(),
            id: item.id.clone(),
            leaves: vec![item.rev.clone()],
            deleted: false,
        };
        self.again.iter().map(change).collect()
    }

    /// All that was taken has been dealt with.
    pub fn went_through(&mut self) {
        self.is_news |= !self.again.is_empty();
        self.again.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn failure(id: &str, status: u16) -> Failure {
        Failure::new(id, Some(&"1-a".parse().unwrap()), &Error::remote(status, "forbidden", "no"))
    }

    fn saved(denied: &Denied) -> Map<String, Value> {
        let mut log = Map::new();
        denied.save(&mut log);
        log
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let mut denied = Denied::default();
        denied.add(&failure("a", 403), &Seq::from(3));
        denied.add(&failure("b", 413), &Seq::from(4));
        denied.add(&failure("a", 403), &Seq::from(5));
        let mut again = Denied::default();
        again.load(&saved(&denied));
        assert_eq!(saved(&again), saved(&denied));
        assert_eq!(saved(&again)[NAMED].as_array().unwrap().len(), 2);
        assert!(again.has("a") && again.has("b") && !again.has("c"));
        let ids = |changes: Vec<Change>| changes.into_iter().map(|change| change.id).collect::<Vec<_>>();
        assert_eq!(ids(again.take(Retry::Light)), ["a"]);
        again.went_through();
        assert_eq!(ids(again.take(Retry::All)), ["b"]);
        again.load(serde_json::json!({"denied": [7, {"id": "x"}]}).as_object().unwrap());
        assert!(!again.has("x"));
    }

    #[test]
    fn too_many_leave_the_place_of_the_first() {
        let mut denied = Denied::default();
        for n in 0..=MAX_NAMED {
            denied.add(&failure(&format!("d{n}"), 403), &Seq::from(7 + n as u64));
        }
        assert_eq!(denied.from, Some(Seq::from(7)));
        denied.add(&failure("later", 403), &Seq::from(999));
        assert_eq!(Value::Object(saved(&denied)), serde_json::json!({"denied_from": 7}));
    }

    #[test]
    fn a_retry_that_breaks_off_forgets_nothing() {
        let mut denied = Denied::default();
        denied.add(&failure("a", 403), &Seq::from(3));
        denied.take(Retry::Light);
        assert!(denied.has("a") && saved(&denied).contains_key(NAMED));
        assert_eq!(denied.take(Retry::Light).len(), 1);
        // The source lost it since.
        denied.add(&failure("a", 404), &Seq::from(9));
        denied.went_through();
        assert!(!denied.has("a"));
    }
}
