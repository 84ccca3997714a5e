//! Engine and model side by side: random edits to both, and every question put to both.
#![allow(dead_code)]

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use serde_json::{Value, json};
use settee::{
    database::{
        Database, OpenOptions, Rendered, Written,
        options::{BulkDocsOptions, PutOptions, parse},
    },
    error::{Error, Result},
    model::{Content, Digest},
    store::{MemoryStore, Store},
};

use super::{
    faulty_store::{FaultyStore, Weather},
    model::{Att, AttEdit, Edit, Get, Members, Model, accepts, generation, missing},
    rng::{Rng, note},
};
use crate::support::SeededPlatform;
use futures::executor::block_on;

const IDS: [&str; 10] = ["a", "aa", "b", "B", "é", "_design/x", "c d", "\"q\\", "z", "~"];
const TYPES: [&str; 3] = ["text/plain", "image/jpeg", "application/octet-stream"];
const KINDS: [settee::error::Kind; 2] =
    [settee::error::Kind::InsufficientStorage, settee::error::Kind::Unknown];

/// Which kinds of things happen in a case.
#[derive(Clone, Copy, Debug)]
pub struct Climate {
    pub tabs: usize,
    /// Of a hundred steps, how many reopen a tab.
    pub restarts: usize,
    pub auto_compaction: bool,
    pub compactions: usize,
    /// Bodies of many kilobytes, so that dead bytes add up.
    pub big: bool,
    /// Of a hundred steps, before how many a fault is set up.
    pub faults: usize,
    pub ids: usize,
    /// No questions between the edits.
    pub is_writing: bool,
}

impl Default for Climate {
    fn default() -> Self {
        Self {
            tabs: 1,
            restarts: 0,
            auto_compaction: false,
            compactions: 3,
            big: false,
            faults: 0,
            ids: 7,
            is_writing: false,
        }
    }
}

pub struct World {
    pub rng: Rng,
    pub climate: Climate,
    pub root: MemoryStore,
    pub weather: Rc<Weather>,
    pub tabs: Vec<Database>,
    pub model: Model,
    pub options: OpenOptions,
    /// Does what the store did but did not admit, to know the revisions' names.
    shadow: Option<Database>,
    /// Each document's revisions, wherever they exist, with the one parent that each has.
    universe: BTreeMap<String, BTreeMap<String, Option<String>>>,
    bytes: Vec<Vec<u8>>,
}

/// An answer as JSON, an error included.
pub fn shown(answer: Result<Value>) -> Value {
    answer.unwrap_or_else(|error| json!({"$error": error.name(), "reason": error.reason()}))
}

fn json_of(rendered: Result<Rendered>) -> Value {
    shown(rendered.map(|rendered| {
        assert!(rendered.contents.is_empty());
        serde_json::from_str(&rendered.json).unwrap_or_else(|error| panic!("{error}: {}", rendered.json))
    }))
}

#[track_caller]
pub fn expect(question: impl std::fmt::Debug, expected: &Value, got: &Value) {
    assert!(accepts(expected, got), "\nasked    {question:?}\nexpected {expected}\ngot      {got}\n");
}

impl World {
    pub fn new(mut rng: Rng, climate: Climate) -> Self {
        let revs_limit = *rng.pick(&[1000, 1000, 5, 3, 2, 1]);
        let options =
            OpenOptions { revs_limit, auto_compaction: climate.auto_compaction, ..OpenOptions::new("test") };
        let root = MemoryStore::new();
        let weather = Weather::new(Rng(rng.next()));
        let bytes = (0..5).map(|n| rng.bytes([0, 1, 10, 300, 1000][n])).collect();
        let mut world = Self {
            rng,
            climate,
            root,
            weather,
            tabs: Vec::new(),
            model: Model::new(revs_limit),
            options,
            shadow: None,
            universe: BTreeMap::new(),
            bytes,
        };
        if climate.faults > 0 {
            let options = OpenOptions { auto_compaction: false, ..world.options.clone() };
            let shadow = Database::open(Rc::new(MemoryStore::new()), SeededPlatform::new(1), options);
            world.shadow = Some(block_on(shadow).unwrap());
        }
        world.tabs = (0..climate.tabs).map(|_| world.open()).collect();
        world
    }

    /// The database once more, from its log.
    pub fn open(&self) -> Database {
        open_over(FaultyStore::new(self.root.handle(), &self.weather), self.options.clone())
    }

    /// A later life: what a crash would have left goes on.
    pub fn crash(&mut self) {
        self.root = self.root.fork();
        self.tabs = (0..self.climate.tabs).map(|_| self.open()).collect();
    }

    fn id(&mut self) -> String {
        self.rng.pick(&IDS[..self.climate.ids]).to_string()
    }

    fn members(&mut self) -> Members {
        let mut members = Members::new();
        for key in ["n", "text", "list", "o"] {
            if self.rng.percent(40) {
                let value = match key {
                    "n" => json!(self.rng.below(4)),
                    "text" => json!(*self.rng.pick(&["", "é\u{1F600}", "a\"b\\c\n", "x"])),
                    "list" => json!([1, null, {"deep": [true]}]),
                    _ => json!({"b": 1, "a": {}}),
                };
                members.insert(key.into(), value);
            }
        }
        if self.climate.big && self.rng.percent(60) {
            let letter = *self.rng.pick(&["x", "y", "z"]);
            members.insert("big".into(), letter.repeat(10_000 + self.rng.below(20_000)).into());
        }
        members
    }

    fn new_rev_id(&mut self) -> String {
        match self.rng.below(3) {
            0 => format!("{:02x}", self.rng.below(16)).repeat(16),
            _ => self.rng.pick(&["a", "b", "c", "ff", "zz-z", "\"é"]).to_string(),
        }
    }

    /// A revision of this generation that somebody somewhere may have made, with all its ancestors.
    fn invent(&mut self, id: &str, generation: u64) -> String {
        let rev = format!("{generation}-{}", self.new_rev_id());
        if self.universe.get(id).is_some_and(|known| known.contains_key(&rev)) {
            return rev;
        }
        let parent = (generation > 1).then(|| {
            let known: Vec<String> = self.known(id, generation - 1);
            if !known.is_empty() && self.rng.percent(80) {
                self.rng.pick(&known).clone()
            } else {
                self.invent(id, generation - 1)
            }
        });
        self.universe.entry(id.to_owned()).or_default().insert(rev.clone(), parent);
        rev
    }

    fn known(&self, id: &str, of_generation: u64) -> Vec<String> {
        let known = self.universe.get(id).into_iter().flat_map(|known| known.keys());
        known.filter(|rev| of_generation == 0 || generation(rev) == of_generation).cloned().collect()
    }

    fn any_rev(&mut self, id: &str) -> String {
        let known = self.known(id, 0);
        if known.is_empty() || self.rng.percent(15) {
            let generation = 1 + self.rng.below(3) as u64;
            return format!("{generation}-{}", self.new_rev_id());
        }
        self.rng.pick(&known).clone()
    }

    fn rev_for_edit(&mut self, id: &str) -> Option<String> {
        let leaves: Vec<String> = match self.model.docs.get(id) {
            None => return if self.rng.percent(12) { Some(self.any_rev(id)) } else { None },
            Some(doc) => doc.leaves().into_iter().map(str::to_owned).collect(),
        };
        let deleted = self.model.docs[id].deleted();
        match self.rng.below(100) {
            0..60 if deleted => None,
            0..55 => Some(leaves[0].clone()),
            55..80 => Some(self.rng.pick(&leaves).clone()),
            80..92 => Some(self.any_rev(id)),
            _ => None,
        }
    }

    fn att_data(&mut self) -> AttEdit {
        let bytes = self.rng.pick(&self.bytes.clone()).clone();
        let revpos = self.rng.percent(50).then(|| 1 + self.rng.below(3) as u64);
        AttEdit::Data { content_type: self.rng.pick(&TYPES).to_string(), bytes, revpos }
    }

    fn atts(&mut self, remote: bool) -> BTreeMap<String, AttEdit> {
        let mut atts = BTreeMap::new();
        if self.rng.percent(65) {
            return atts;
        }
        for _ in 0..1 + self.rng.below(2) {
            let name = self.rng.pick(&["f", "g.jpg", "é"]).to_string();
            let att = match self.rng.below(10) {
                0..6 => self.att_data(),
                _ if !remote => AttEdit::Stub,
                _ => {
                    let bytes = self.rng.pick(&self.bytes.clone()).clone();
                    AttEdit::RemoteStub {
                        content_type: "x/y".into(),
                        digest: Digest::of(&bytes).to_string(),
                        length: bytes.len() as u64,
                        revpos: 1,
                    }
                }
            };
            atts.insert(name, att);
        }
        atts
    }

    fn replicate(&mut self, single: bool) -> Edit {
        let id = self.id();
        let known = self.known(&id, 0);
        let rev = if !known.is_empty() && self.rng.percent(35) {
            self.rng.pick(&known).clone()
        } else {
            let highest = known.iter().map(|rev| generation(rev)).max().unwrap_or(0);
            let generation = 1 + self.rng.below(highest.min(8) as usize + 2) as u64;
            self.invent(&id, generation)
        };
        let mut path = vec![rev];
        while let Some(parent) = &self.universe[&id].get(&path[path.len() - 1]).cloned().flatten() {
            path.push(parent.clone());
        }
        if self.rng.percent(30) {
            path.truncate(1 + self.rng.below(path.len()));
        }
        // Stubs are looked at only where the revision is new; then the order of looking does not matter.
        let is_known = self.model.docs.get(&id).is_some_and(|doc| doc.nodes.contains_key(&path[0]));
        let atts = if single && !is_known { self.atts(true) } else { BTreeMap::new() };
        Edit::Replicate { deleted: self.rng.percent(20), members: self.members(), id, path, atts }
    }

    fn put(&mut self) -> Edit {
        let id = self.id();
        let mut rev = self.rev_for_edit(&id);
        let force = rev.is_some() && self.rng.percent(8);
        if force {
            let parent = self.any_rev(&id);
            if !self.universe.get(&id).is_some_and(|known| known.contains_key(&parent)) {
                rev = Some({
                    let generation = generation(&parent);
                    self.invent(&id, generation)
                });
            } else {
                rev = Some(parent);
            }
        }
        let (members, atts) = (self.members(), self.atts(false));
        Edit::Put { deleted: self.rng.percent(12), id, rev, force, members, atts }
    }

    fn local(&mut self) -> Edit {
        let id = self.rng.pick(&["x", "é/y"]).to_string();
        let current = self.model.locals.get(&id).map(|(rev, _)| *rev);
        let rev = match self.rng.below(10) {
            0 => Some(self.rng.below(4) as u64),
            1 => None,
            _ => current,
        };
        Edit::Local { id, rev, deleted: self.rng.percent(25), members: self.members() }
    }

    fn bad(&mut self) -> Edit {
        let (json, error) = self
            .rng
            .pick(&[
                (json!({"_id": "_x"}), "illegal_docid"),
                (json!({"_id": ""}), "illegal_docid"),
                (json!({"_id": "a", "_foo": 1}), "doc_validation"),
                (json!({"_id": "a", "_rev": "x"}), "bad_request"),
                (json!({"_id": "a", "_attachments": {"f": {"data": "*"}}}), "bad_request"),
                (json!([]), "bad_request"),
            ])
            .clone();
        Edit::Bad { json, error }
    }

    pub fn edit(&mut self) -> Edit {
        match self.rng.below(100) {
            0..45 => self.put(),
            45..70 => self.replicate(true),
            70..78 => {
                let id = self.id();
                let rev = self.rev_for_edit(&id);
                let name = self.rng.pick(&["f", "g.jpg"]).to_string();
                let AttEdit::Data { content_type, bytes, .. } = self.att_data() else { unreachable!() };
                Edit::PutAtt { id, name, rev, bytes, content_type }
            }
            78..83 => {
                let id = self.id();
                let rev = self.rev_for_edit(&id).unwrap_or("1-a".into());
                Edit::RemoveAtt { rev, name: self.rng.pick(&["f", "g.jpg", "é"]).to_string(), id }
            }
            83..89 => {
                let id = self.id();
                let rev = self.rev_for_edit(&id).unwrap_or("1-a".into());
                Edit::Remove { id, rev }
            }
            89..97 => self.local(),
            _ => self.bad(),
        }
    }

    pub fn tab(&mut self) -> Database {
        let at = self.rng.below(self.tabs.len());
        self.tabs[at].clone()
    }

    /// Writes one edit to the engine and the model, and compares.
    pub fn write(&mut self, edit: Edit) {
        note(|| format!("{edit:?}"));
        let db = self.tab();
        let answer = block_on(write(&db, &edit));
        self.take_up(std::slice::from_ref(&edit), Ok(vec![answer]));
    }

    pub fn write_bulk(&mut self) {
        let new_edits = self.rng.percent(60);
        let count = 1 + self.rng.below(6);
        let edits: Vec<Edit> = (0..count)
            .map(|_| match self.rng.below(10) {
                0 => self.bad(),
                1 => self.local(),
                _ if new_edits => {
                    let mut edit = self.put();
                    if let Edit::Put { force, rev, .. } = &mut edit
                        && std::mem::replace(force, false)
                    {
                        *rev = None;
                    }
                    edit
                }
                _ => self.replicate(false),
            })
            .collect();
        note(|| format!("bulk new_edits={new_edits} {edits:?}"));
        let db = self.tab();
        let answers = block_on(bulk(&db, &edits, new_edits));
        if let Some(error) =
            edits.iter().find_map(|edit| if let Edit::Bad { error, .. } = edit { Some(*error) } else { None })
        {
            // A malformed document fails the batch whole, before anything is looked at.
            assert_eq!(answers.unwrap_err().name(), error);
            return;
        }
        self.take_up(&edits, answers);
    }

    fn take_up(&mut self, edits: &[Edit], answers: Result<Vec<Result<Written>>>) {
        let faults = self.weather.faults.replace(0);
        let is_ours = |error: &Error| error.reason() == "injected";
        let failed = match &answers {
            Err(error) => is_ours(error),
            Ok(answers) => answers.len() == 1 && answers[0].as_ref().is_err_and(is_ours),
        };
        if failed {
            assert!(faults > 0);
            // Whether it happened all the same, the fault knows; the sequence number tells.
            let reopened = block_on(self.open().info()).unwrap();
            let locals_before = self.model.locals.clone();
            let mut with = self.model.clone();
            let answers = self.shadow_write(edits);
            apply(&mut with, edits, &answers);
            let local_changed = with.locals != locals_before && {
                let db = self.open();
                with.locals.iter().any(|(id, (rev, _))| {
                    block_on(db.get(&format!("_local/{id}"), &Default::default()))
                        .is_ok_and(|doc| doc.json.contains(&format!("\"_rev\":\"0-{rev}\"")))
                        && locals_before.get(id).map(|(rev, _)| rev) != Some(rev)
                }) || locals_before.keys().any(|id| {
                    !with.locals.contains_key(id)
                        && block_on(db.get(&format!("_local/{id}"), &Default::default())).is_err()
                })
            };
            note(|| format!("   failed on purpose; seq {} -> {}", self.model.seq, reopened.update_seq));
            if reopened.update_seq == self.model.seq && !local_changed {
                // The shadow went ahead: it starts anew from what there is.
                self.reset_shadow();
            } else {
                self.model = with;
                self.know(edits, &answers);
            }
            return;
        }
        let answers = answers.unwrap();
        if self.shadow.is_some() {
            let shadow = self.shadow_write(edits);
            for (ours, theirs) in answers.iter().zip(&shadow) {
                assert_eq!(ours.as_ref().ok(), theirs.as_ref().ok());
            }
        }
        apply(&mut self.model, edits, &answers);
        self.know(edits, &answers);
        if self.climate.auto_compaction {
            self.model.maybe_compact();
        }
    }

    fn shadow_write(&mut self, edits: &[Edit]) -> Vec<Result<Written>> {
        let shadow = self.shadow.clone().unwrap();
        let is_replicated = edits.iter().any(|edit| matches!(edit, Edit::Replicate { .. }));
        if let [edit] = edits {
            return vec![block_on(write(&shadow, edit))];
        }
        block_on(bulk(&shadow, edits, !is_replicated)).unwrap()
    }

    fn reset_shadow(&mut self) {
        let options = OpenOptions { auto_compaction: false, ..self.options.clone() };
        self.shadow = Some(open_over(self.root.fork(), options));
    }

    fn know(&mut self, edits: &[Edit], answers: &[Result<Written>]) {
        for (edit, answer) in edits.iter().zip(answers) {
            let Ok(written) = answer else { continue };
            if let (Edit::Replicate { .. } | Edit::Local { .. }, _) = (edit, ()) {
                continue;
            }
            let known = self.universe.entry(written.id.clone()).or_default();
            if !known.contains_key(&written.rev) {
                let parent = self.model.docs[&written.id].nodes.get(&written.rev);
                known.insert(written.rev.clone(), parent.and_then(|node| node.parent.clone()));
            }
        }
        // What the limit cut at once is known all the same.
        for edit in edits {
            if let Edit::Put { id, rev: Some(rev), force: true, .. } = edit {
                self.universe.entry(id.clone()).or_default().entry(rev.clone()).or_insert(None);
            }
        }
    }

    pub fn compact(&mut self) {
        note(|| "compact".into());
        let db = self.tab();
        match block_on(db.compact()) {
            Ok(()) => {
                if self.climate.tabs == 1 {
                    self.model.compact();
                } else {
                    // Another tab may still have the old block in its cache.
                    self.model.maybe_compact();
                }
                self.weather.faults.set(0);
                let there: BTreeSet<String> =
                    block_on(self.root.content_digests()).unwrap().iter().map(Digest::to_string).collect();
                assert_eq!(there, self.model.live_digests(), "contents after compaction");
            }
            Err(error) => {
                assert_eq!(error.reason(), "injected");
                self.weather.faults.set(0);
                self.model.maybe_compact();
            }
        }
    }

    /// Something random.
    pub fn step(&mut self) {
        if self.rng.percent(self.climate.faults) {
            use super::faulty_store::Fault;
            let kind = *self.rng.pick(&KINDS);
            let fault = if self.rng.percent(50) { Fault::Before(kind) } else { Fault::After(kind) };
            let after = self.rng.below(4) as u32;
            note(|| format!("fault {fault:?} after {after}"));
            self.weather.fault.set(Some((after, fault)));
        }
        if self.rng.percent(self.climate.compactions) {
            return self.compact();
        }
        if self.rng.percent(6) {
            note(|| "save".into());
            return block_on(self.tab().save()).unwrap();
        }
        if self.rng.percent(self.climate.restarts) {
            if self.rng.percent(30) {
                note(|| "crash".into());
                return self.crash();
            }
            note(|| "restart".into());
            let at = self.rng.below(self.tabs.len());
            if self.rng.percent(50) {
                self.tabs[at].close();
            }
            self.tabs[at] = self.open();
            return;
        }
        match self.rng.below(100) {
            0..45 => {
                let edit = self.edit();
                self.write(edit);
            }
            45..55 => self.write_bulk(),
            _ if self.climate.is_writing => {
                let edit = self.put();
                self.write(edit);
            }
            _ => self.ask(),
        }
    }

    /// One random question.
    pub fn ask(&mut self) {
        let db = self.tab();
        match self.rng.below(10) {
            0..5 => {
                let id = self.id();
                let rng = &mut self.rng.clone();
                self.rng.next();
                let get = Get {
                    rev: rng.percent(40).then(|| self.any_rev(&id)),
                    revs: rng.percent(40),
                    revs_info: rng.percent(30),
                    conflicts: rng.percent(40),
                    deleted_conflicts: rng.percent(30),
                    latest: rng.percent(30),
                    local_seq: rng.percent(30),
                    attachments: rng.percent(40),
                    atts_since: rng.percent(15).then(|| vec![self.any_rev(&id), self.any_rev(&id)]),
                    open_revs: None,
                };
                ask_get(&db, &self.model, &id, &get);
            }
            5..7 => {
                let id = self.id();
                let count = self.rng.below(4);
                let revs: Vec<String> = (0..count).map(|_| self.any_rev(&id)).collect();
                let get = Get {
                    revs: self.rng.percent(50),
                    attachments: self.rng.percent(50),
                    latest: self.rng.percent(50),
                    open_revs: Some(revs),
                    ..Get::default()
                };
                ask_get(&db, &self.model, &id, &get);
            }
            7 => {
                let mut options = json!({});
                for key in ["descending", "include_docs", "conflicts", "attachments"] {
                    if self.rng.percent(40) {
                        options[key] = true.into();
                    }
                }
                if self.rng.percent(25) {
                    let count = self.rng.below(5);
                    let keys: Vec<String> = (0..count).map(|_| self.id()).collect();
                    options["keys"] = json!(keys);
                } else if self.rng.percent(15) {
                    options["key"] = self.id().into();
                } else {
                    for key in ["startkey", "endkey"] {
                        if self.rng.percent(40) {
                            options[key] = self.id().into();
                        }
                    }
                    if self.rng.percent(30) {
                        options["inclusive_end"] = false.into();
                    }
                }
                if self.rng.percent(30) {
                    options["skip"] = self.rng.below(4).into();
                }
                if self.rng.percent(30) {
                    options["limit"] = self.rng.below(5).into();
                }
                ask_all_docs(&db, &self.model, &options);
            }
            8 => {
                let mut options = json!({});
                for key in ["descending", "include_docs", "conflicts", "attachments"] {
                    if self.rng.percent(40) {
                        options[key] = true.into();
                    }
                }
                if self.rng.percent(50) {
                    let since = self.rng.below(self.model.seq as usize + 2);
                    options["since"] =
                        if self.rng.percent(20) { json!(since.to_string()) } else { json!(since) };
                }
                if self.rng.percent(40) {
                    options["limit"] = self.rng.below(5).into();
                }
                if self.rng.percent(40) {
                    options["style"] = "all_docs".into();
                }
                if self.rng.percent(30) {
                    options["doc_ids"] = json!([self.id(), self.id(), "nope"]);
                }
                ask_changes(&db, &self.model, &options);
            }
            _ => {
                let mut asked = BTreeMap::new();
                for _ in 0..3 {
                    let id = self.id();
                    let revs = (0..3).map(|_| self.any_rev(&id)).collect();
                    asked.insert(id, revs);
                }
                ask_revs_diff(&db, &self.model, &asked);
            }
        }
    }

    /// Compares everything there is to know, in every tab and in one that opens now.
    pub fn check(&self) {
        for db in &self.tabs {
            check(db, &self.model);
        }
        check(&self.open(), &self.model);
        check_contents(&self.root, &self.model);
    }
}

pub fn open_over(store: impl Store + 'static, options: OpenOptions) -> Database {
    block_on(Database::open(Rc::new(store), SeededPlatform::new(1), options)).unwrap()
}

/// Holds the engine's answers against the model's, and does in the model what was done.
fn apply(model: &mut Model, edits: &[Edit], answers: &[Result<Written>]) {
    assert_eq!(edits.len(), answers.len());
    // Contents that a commit finds are those of its begin, so stubs are planned edit by edit all the same.
    for (edit, answer) in edits.iter().zip(answers) {
        match (model.plan(edit), answer) {
            (Ok(plan), Ok(written)) => model.carry_out(plan, &written.rev),
            (Err((name, reason)), Err(error)) => {
                assert_eq!(name, error.name(), "{edit:?}: {error}");
                if let Some(reason) = reason {
                    assert_eq!(reason, error.reason(), "{edit:?}");
                }
            }
            (Ok(_), Err(error)) => panic!("{edit:?} was to succeed: {error}"),
            (Err(error), Ok(_)) => panic!("{edit:?} was to fail with {error:?}"),
        }
    }
}

fn att_json(att: &AttEdit) -> Value {
    match att {
        AttEdit::Data { content_type, bytes, revpos } => {
            let mut out = json!({"content_type": content_type, "data": data_encoding::BASE64.encode(bytes)});
            if let Some(revpos) = revpos {
                out["revpos"] = json!(revpos);
            }
            out
        }
        AttEdit::Stub => json!({"stub": true}),
        AttEdit::RemoteStub { content_type, digest, length, revpos } => json!({
            "stub": true, "content_type": content_type, "digest": digest, "length": length,
            "revpos": revpos}),
    }
}

fn doc_json(edit: &Edit) -> Value {
    let (mut out, atts) = match edit {
        Edit::Bad { json, .. } => return json.clone(),
        Edit::Put { id, rev, deleted, members, atts, .. } => {
            let mut out = Value::Object(members.clone());
            out["_id"] = json!(id);
            if let Some(rev) = rev {
                out["_rev"] = json!(rev);
            }
            if *deleted {
                out["_deleted"] = json!(true);
            }
            (out, atts)
        }
        Edit::Replicate { id, path, deleted, members, atts } => {
            let mut out = Value::Object(members.clone());
            out["_id"] = json!(id);
            out["_rev"] = json!(path[0]);
            let ids: Vec<&str> = path.iter().map(|rev| rev.split_once('-').unwrap().1).collect();
            out["_revisions"] = json!({"start": generation(&path[0]), "ids": ids});
            if *deleted {
                out["_deleted"] = json!(true);
            }
            (out, atts)
        }
        Edit::Local { id, rev, deleted, members } => {
            let mut out = Value::Object(members.clone());
            out["_id"] = json!(format!("_local/{id}"));
            if let Some(rev) = rev {
                out["_rev"] = json!(format!("0-{rev}"));
            }
            if *deleted {
                out["_deleted"] = json!(true);
            }
            return out;
        }
        Edit::PutAtt { .. } | Edit::RemoveAtt { .. } | Edit::Remove { .. } => unreachable!(),
    };
    if !atts.is_empty() {
        let atts: Members = atts.iter().map(|(name, att)| (name.clone(), att_json(att))).collect();
        out["_attachments"] = atts.into();
    }
    out
}

pub async fn write(db: &Database, edit: &Edit) -> Result<Written> {
    match edit {
        Edit::PutAtt { id, name, rev, bytes, content_type } => {
            db.put_attachment(id, name, rev.as_deref(), Content::from(bytes.clone()), content_type).await
        }
        Edit::RemoveAtt { id, name, rev } => db.remove_attachment(id, name, rev).await,
        Edit::Remove { id, rev } => db.remove(id, rev).await,
        other => {
            let options = PutOptions {
                force: matches!(other, Edit::Put { force: true, .. }),
                new_edits: matches!(other, Edit::Replicate { .. }).then_some(false),
            };
            db.put(&doc_json(other).to_string(), &[], &options).await
        }
    }
}

pub async fn bulk(db: &Database, edits: &[Edit], new_edits: bool) -> Result<Vec<Result<Written>>> {
    let docs: Vec<Value> = edits.iter().map(doc_json).collect();
    let options = BulkDocsOptions { new_edits: Some(new_edits) };
    let rows = db.bulk_docs(&Value::from(docs).to_string(), &[], &options).await?;
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

pub fn ask_get(db: &Database, model: &Model, id: &str, get: &Get) {
    let options = parse(get.options()).unwrap();
    let got = json_of(block_on(db.get(id, &options)));
    expect((id, get), &model.get(id, get), &got);
}

pub fn ask_all_docs(db: &Database, model: &Model, options: &Value) {
    let mut rows = db.all_docs(parse(options.clone()).unwrap()).unwrap();
    let head: Value = serde_json::from_str(block_on(rows.head()).unwrap()).unwrap();
    let mut got = Vec::new();
    while let Some(piece) = block_on(rows.next()).unwrap() {
        got.extend(serde_json::from_str::<Vec<Value>>(&piece.json).unwrap());
    }
    let (expected, offset) = model.all_docs(options);
    expect(("allDocs", options), &expected.into(), &got.into());
    let live = model.docs.values().filter(|doc| !doc.deleted()).count();
    assert_eq!(head["total_rows"], live, "{options}");
    if let Some(offset) = offset {
        assert_eq!(head["offset"], offset, "{options}");
    }
}

pub fn ask_changes(db: &Database, model: &Model, options: &Value) {
    let mut feed = db.changes(parse(options.clone()).unwrap()).unwrap();
    let mut got = Vec::new();
    while let Some(piece) = block_on(feed.next(false)).unwrap() {
        assert!(got.len() < 10_000, "the feed tells without end");
        got.extend(serde_json::from_str::<Vec<Value>>(&piece.json).unwrap());
    }
    expect(("changes", options), &model.changes(options).into(), &got.into());
}

pub fn ask_revs_diff(db: &Database, model: &Model, asked: &BTreeMap<String, Vec<String>>) {
    let mut got: Value =
        serde_json::from_str(&block_on(db.revs_diff(&json!(asked).to_string())).unwrap()).unwrap();
    for entry in got.as_object_mut().unwrap().values_mut() {
        // A set: each once, in any order.
        let missing: BTreeSet<String> = serde_json::from_value(entry["missing"].take()).unwrap();
        entry["missing"] = json!(missing);
    }
    expect(asked, &model.revs_diff(asked), &got);
}

/// Compares everything there is to know.
pub fn check(db: &Database, model: &Model) {
    let info = block_on(db.info()).unwrap();
    let live = model.docs.values().filter(|doc| !doc.deleted()).count() as u64;
    assert_eq!(
        (info.update_seq, info.doc_count, info.doc_del_count),
        (model.seq, live, model.docs.len() as u64 - live)
    );
    assert!(info.sizes.active <= info.sizes.file, "{:?}", info.sizes);
    ask_changes(db, model, &json!({"style": "all_docs", "include_docs": true, "conflicts": true}));
    ask_changes(db, model, &json!({"descending": true}));
    ask_all_docs(db, model, &json!({"include_docs": true, "conflicts": true, "attachments": true}));
    let mut asked = BTreeMap::new();
    for (id, doc) in &model.docs {
        let all = Get { revs: true, attachments: true, open_revs: Some(Vec::new()), ..Get::default() };
        ask_get(db, model, id, &all);
        let winner = Get {
            revs: true,
            revs_info: true,
            conflicts: true,
            deleted_conflicts: true,
            local_seq: true,
            ..Get::default()
        };
        ask_get(db, model, id, &winner);
        ask_get(db, model, id, &Get::default());
        for (rev, node) in &doc.nodes {
            ask_get(db, model, id, &Get { rev: Some(rev.clone()), ..Get::default() });
            ask_get(db, model, id, &Get { rev: Some(rev.clone()), latest: true, ..Get::default() });
            let Some(body) = node.body.as_ref().filter(|_| !node.maybe_gone) else { continue };
            for (name, att) in &body.atts {
                ask_attachment(db, model, id, Some(rev), name, att);
            }
        }
        let winner = &doc.nodes[doc.winner()];
        if !doc.deleted() {
            for (name, att) in &winner.body.as_ref().unwrap().atts {
                ask_attachment(db, model, id, None, name, att);
            }
        }
        let mut revs: Vec<String> = doc.nodes.keys().cloned().collect();
        revs.push("9-nope".into());
        asked.insert(id.clone(), revs);
    }
    ask_revs_diff(db, model, &asked);
    let docs: Vec<Value> = model.docs.keys().map(|id| json!({"id": id})).collect();
    let got = json_of(block_on(db.bulk_get(&parse(json!({"docs": docs, "revs": true})).unwrap())));
    let get = |(id, doc): (&String, &super::model::Doc)| {
        let get = Get { rev: Some(doc.winner().into()), revs: true, ..Get::default() };
        json!({"id": id, "docs": [{"ok": model.get(id, &get)}]})
    };
    let expected: Vec<Value> = model.docs.iter().map(get).collect();
    expect("bulkGet", &json!({"results": expected}), &got);
    for id in ["x", "é/y"] {
        let got = json_of(block_on(db.get(&format!("_local/{id}"), &Default::default())));
        let expected = match model.locals.get(id) {
            None => missing(),
            Some((rev, members)) => {
                let mut doc = Value::Object(members.clone());
                doc["_id"] = json!(format!("_local/{id}"));
                doc["_rev"] = json!(format!("0-{rev}"));
                doc
            }
        };
        expect(("_local", id), &expected, &got);
    }
}

fn ask_attachment(db: &Database, model: &Model, id: &str, rev: Option<&str>, name: &str, att: &Att) {
    let options = parse(rev.map_or(json!({}), |rev| json!({"rev": rev}))).unwrap();
    let (content, content_type) = block_on(db.get_attachment(id, name, &options)).unwrap();
    assert_eq!(content_type, att.content_type);
    assert_eq!(block_on(content.bytes()).unwrap()[..], model.contents[&att.digest][..], "{id} {name}");
}

/// Everything that a leaf refers to is there, and is what its name says.
pub fn check_contents(store: &MemoryStore, model: &Model) {
    let there = block_on(store.content_digests()).unwrap();
    for digest in &there {
        let bytes = block_on(async { store.content(*digest).await.unwrap().unwrap().bytes().await.unwrap() });
        assert_eq!(Digest::of(&bytes), *digest);
    }
    let there: BTreeSet<String> = there.iter().map(Digest::to_string).collect();
    let live = model.live_digests();
    assert!(live.is_subset(&there), "a content is missing: {:?}", live.difference(&there));
}
