//! A CouchDB database in plain maps: what the engine is compared with.
//!
//! Written from CouchDB's description, not from the engine: a document is a set of revisions, each with
//! the parent that somebody named for it. Nothing here is fast and nothing is shared with the engine.
//! Only the id of a new revision is taken from the engine's answer; that the same edit always gets the
//! same one, and no two edits the same, is checked.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use settee::model::Digest;

pub type Members = Map<String, Value>;

#[derive(Clone, Debug, PartialEq)]
pub struct Att {
    pub content_type: String,
    pub digest: String,
    pub length: u64,
    pub revpos: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    pub deleted: bool,
    pub members: Members,
    pub atts: BTreeMap<String, Att>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub parent: Option<String>,
    pub deleted: bool,
    /// `None`: only ever named as an ancestor, or compacted away.
    pub body: Option<Body>,
    /// A compaction may have dropped the body.
    pub maybe_gone: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Doc {
    pub seq: u64,
    pub nodes: BTreeMap<String, Node>,
    /// Bodies of revisions that were stemmed away; they show again if the revision comes back.
    old: BTreeMap<String, (Body, bool)>,
}

/// What an edit does with one attachment.
#[derive(Clone)]
pub enum AttEdit {
    Data {
        content_type: String,
        bytes: Vec<u8>,
        revpos: Option<u64>,
    },
    /// "As it is."
    Stub,
    /// A stub as a replicator writes it.
    RemoteStub {
        content_type: String,
        digest: String,
        length: u64,
        revpos: u64,
    },
}

impl std::fmt::Debug for AttEdit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Data { bytes, revpos, .. } => write!(f, "{} bytes, revpos {revpos:?}", bytes.len()),
            Self::Stub => write!(f, "stub"),
            Self::RemoteStub { digest, .. } => write!(f, "stub of {digest}"),
        }
    }
}

#[derive(Clone, Debug)]
pub enum Edit {
    Put {
        id: String,
        rev: Option<String>,
        deleted: bool,
        force: bool,
        members: Members,
        atts: BTreeMap<String, AttEdit>,
    },
    /// `new_edits: false`; the path is the revision, then its ancestors.
    Replicate {
        id: String,
        path: Vec<String>,
        deleted: bool,
        members: Members,
        atts: BTreeMap<String, AttEdit>,
    },
    Local {
        id: String,
        rev: Option<u64>,
        deleted: bool,
        members: Members,
    },
    PutAtt {
        id: String,
        name: String,
        rev: Option<String>,
        bytes: Vec<u8>,
        content_type: String,
    },
    RemoveAtt {
        id: String,
        name: String,
        rev: String,
    },
    Remove {
        id: String,
        rev: String,
    },
    /// Refused before it is looked at any closer.
    Bad {
        json: Value,
        error: &'static str,
    },
}

/// An error's name, and its reason where that is part of the promise.
pub type Fail = (&'static str, Option<&'static str>);

/// What an edit is going to do.
pub enum Plan {
    Leaf { id: String, parent: Option<String>, deleted: bool, body: Body, contents: Vec<Vec<u8>> },
    Path { id: String, path: Vec<String>, deleted: bool, body: Body, contents: Vec<Vec<u8>> },
    Local { id: String, rev: u64, members: Option<Members> },
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    pub docs: BTreeMap<String, Doc>,
    pub locals: BTreeMap<String, (u64, Members)>,
    pub seq: u64,
    pub revs_limit: usize,
    /// Every content ever, by digest.
    pub contents: BTreeMap<String, Vec<u8>>,
    /// Which revision an edit got, and which edit a revision was made by.
    made: BTreeMap<String, String>,
    made_by: BTreeMap<String, String>,
}

pub fn generation(rev: &str) -> u64 {
    rev.split_once('-').unwrap().0.parse().unwrap()
}

/// CouchDB keeps 32 hexadecimal digits as 16 bytes and compares bytes.
fn rank(rev: &str) -> (u64, Vec<u8>) {
    let (generation, id) = rev.split_once('-').unwrap();
    let is_hash = id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
    let bytes = match is_hash {
        true => (0..16).map(|i| u8::from_str_radix(&id[2 * i..2 * i + 2], 16).unwrap()).collect(),
        false => id.as_bytes().to_vec(),
    };
    (generation.parse().unwrap(), bytes)
}

impl Doc {
    /// Every leaf, the winner first.
    pub fn leaves(&self) -> Vec<&str> {
        let parents: BTreeSet<&str> = self.nodes.values().filter_map(|node| node.parent.as_deref()).collect();
        let mut leaves: Vec<&str> =
            self.nodes.keys().map(|rev| &**rev).filter(|rev| !parents.contains(rev)).collect();
        leaves.sort_by_key(|rev| (!self.nodes[*rev].deleted, rank(rev)));
        leaves.reverse();
        leaves
    }

    pub fn winner(&self) -> &str {
        self.leaves()[0]
    }

    pub fn deleted(&self) -> bool {
        self.nodes[self.winner()].deleted
    }

    /// A revision and its ancestors.
    pub fn path<'a>(&'a self, rev: &'a str) -> Vec<&'a str> {
        let mut path = vec![rev];
        while let Some(parent) = self.nodes.get(path[path.len() - 1]).and_then(|node| node.parent.as_deref())
        {
            path.push(parent);
        }
        path
    }

    /// The leaves that descend from a revision, itself if it is one.
    pub fn leaves_under(&self, rev: &str) -> Vec<&str> {
        self.leaves().into_iter().filter(|leaf| self.path(leaf).contains(&rev)).collect()
    }

    fn merge(&mut self, path: &[String], deleted: bool, body: Body) {
        if !self.nodes.contains_key(&path[0]) {
            let node = Node { parent: None, deleted, body: Some(body), maybe_gone: false };
            self.nodes.insert(path[0].clone(), node);
        }
        for pair in path.windows(2) {
            if !self.nodes.contains_key(&pair[1]) {
                let (body, maybe_gone) = self.old.remove(&pair[1]).unzip();
                let maybe_gone = maybe_gone.unwrap_or(false);
                let node = Node { parent: None, deleted: false, body, maybe_gone };
                self.nodes.insert(pair[1].clone(), node);
            }
            let child = self.nodes.get_mut(&pair[0]).unwrap();
            assert!(child.parent.as_ref().is_none_or(|parent| *parent == pair[1]), "two parents");
            child.parent = Some(pair[1].clone());
        }
    }

    /// Only what is among the newest `limit` of some branch stays.
    fn stem(&mut self, limit: usize) {
        let mut kept = BTreeSet::new();
        for leaf in self.leaves() {
            kept.extend(self.path(leaf).into_iter().take(limit).map(str::to_owned));
        }
        let (kept_nodes, gone) =
            std::mem::take(&mut self.nodes).into_iter().partition(|(rev, _)| kept.contains(rev));
        self.nodes = kept_nodes;
        let gone: BTreeMap<String, Node> = gone;
        for (rev, node) in gone {
            if let Some(body) = node.body {
                self.old.insert(rev, (body, node.maybe_gone));
            }
        }
        for node in self.nodes.values_mut() {
            node.parent = node.parent.take().filter(|parent| kept.contains(parent));
        }
    }
}

impl Model {
    pub fn new(revs_limit: usize) -> Self {
        Self { revs_limit, ..Self::default() }
    }

    /// Contents that a leaf refers to.
    pub fn live_digests(&self) -> BTreeSet<String> {
        let leaves = |doc: &Doc| -> Vec<Body> {
            doc.leaves().iter().map(|leaf| doc.nodes[*leaf].body.clone().unwrap()).collect()
        };
        let bodies = self.docs.values().flat_map(leaves);
        bodies.flat_map(|body| body.atts.into_values().map(|att| att.digest)).collect()
    }

    fn parent_of_edit(&self, id: &str, rev: Option<&str>, deleted: bool) -> Result<Option<String>, Fail> {
        let conflict = Err(("conflict", Some("Document update conflict.")));
        match (self.docs.get(id), rev) {
            (None, None) => Ok(None),
            (None, Some(_)) => conflict,
            (Some(doc), rev) if doc.deleted() => match rev {
                None if !deleted => Ok(Some(doc.winner().to_owned())),
                _ => conflict,
            },
            (Some(doc), Some(rev)) if doc.leaves().contains(&rev) => Ok(Some(rev.to_owned())),
            (Some(_), _) => conflict,
        }
    }

    fn leaf_body(&self, id: &str, rev: Option<&str>) -> Option<&Body> {
        let doc = self.docs.get(id)?;
        let rev = rev.filter(|rev| doc.leaves().contains(rev))?;
        doc.nodes[rev].body.as_ref()
    }

    /// What an edit will do, or why it may not.
    pub fn plan(&self, edit: &Edit) -> Result<Plan, Fail> {
        match edit {
            Edit::Bad { error, .. } => Err((error, None)),
            Edit::Remove { id, rev } => match self.docs.get(id) {
                None => Err(("not_found", Some("missing"))),
                Some(doc) if doc.deleted() => Err(("not_found", Some("deleted"))),
                Some(_) => self.plan(&Edit::Put {
                    id: id.clone(),
                    rev: Some(rev.clone()),
                    deleted: true,
                    force: false,
                    members: Members::new(),
                    atts: BTreeMap::new(),
                }),
            },
            Edit::Put { id, rev, deleted, force, members, atts } => {
                let parent = match rev {
                    Some(rev) if *force => Some(rev.clone()),
                    rev => self.parent_of_edit(id, rev.as_deref(), *deleted)?,
                };
                let before = self.leaf_body(id, parent.as_deref());
                let mut body = Body { deleted: *deleted, members: members.clone(), atts: BTreeMap::new() };
                let mut contents = Vec::new();
                for (name, att) in atts {
                    let att = match att {
                        AttEdit::Data { content_type, bytes, .. } => {
                            contents.push(bytes.clone());
                            data(content_type, bytes, parent.as_deref().map_or(0, generation) + 1)
                        }
                        _ => {
                            let before = before.and_then(|before| before.atts.get(name));
                            before.cloned().ok_or(("missing_stub", None))?
                        }
                    };
                    body.atts.insert(name.clone(), att);
                }
                Ok(Plan::Leaf { id: id.clone(), parent, deleted: *deleted, body, contents })
            }
            Edit::Replicate { id, path, deleted, members, atts } => {
                let mut body = Body { deleted: *deleted, members: members.clone(), atts: BTreeMap::new() };
                let mut contents = Vec::new();
                let ancestors = |name: &str| {
                    let doc = self.docs.get(id)?;
                    let leaf = doc.leaves().into_iter().find(|leaf| path.iter().any(|rev| rev == leaf))?;
                    doc.nodes[leaf].body.as_ref()?.atts.get(name).cloned()
                };
                for (name, att) in atts {
                    let att = match att {
                        AttEdit::Data { content_type, bytes, revpos } => {
                            contents.push(bytes.clone());
                            data(content_type, bytes, revpos.unwrap_or(generation(&path[0])))
                        }
                        AttEdit::Stub => return Err(("missing_stub", None)),
                        AttEdit::RemoteStub { content_type, digest, length, revpos } => match ancestors(name)
                        {
                            Some(before) if before.digest == *digest => before,
                            _ if self.live_digests().contains(digest) => Att {
                                content_type: content_type.clone(),
                                digest: digest.clone(),
                                length: *length,
                                revpos: *revpos,
                            },
                            _ => return Err(("missing_stub", None)),
                        },
                    };
                    body.atts.insert(name.clone(), att);
                }
                Ok(Plan::Path { id: id.clone(), path: path.clone(), deleted: *deleted, body, contents })
            }
            Edit::PutAtt { id, name, rev, bytes, content_type } => {
                let parent = self.parent_of_edit(id, rev.as_deref(), false)?;
                let mut body = self.live_body(id, parent.as_deref());
                let revpos = parent.as_deref().map_or(0, generation) + 1;
                body.atts.insert(name.clone(), data(content_type, bytes, revpos));
                Ok(Plan::Leaf { id: id.clone(), parent, deleted: false, body, contents: vec![bytes.clone()] })
            }
            Edit::RemoveAtt { id, name, rev } => {
                if !self.docs.contains_key(id) {
                    return Err(("not_found", Some("missing")));
                }
                let parent = self.parent_of_edit(id, Some(rev), false)?;
                let mut body = self.live_body(id, parent.as_deref());
                if body.atts.remove(name).is_none() {
                    return Err(("not_found", None));
                }
                Ok(Plan::Leaf { id: id.clone(), parent, deleted: false, body, contents: Vec::new() })
            }
            Edit::Local { id, rev, deleted, members } => {
                let current = self.locals.get(id).map_or(0, |(rev, _)| *rev);
                if rev.unwrap_or(0) != current || (*deleted && current == 0) {
                    return Err(("conflict", Some("Document update conflict.")));
                }
                let members = (!deleted).then(|| members.clone());
                Ok(Plan::Local { id: id.clone(), rev: if *deleted { 0 } else { current + 1 }, members })
            }
        }
    }

    /// The body that an attachment is put into or taken from; a tombstone gives none.
    fn live_body(&self, id: &str, parent: Option<&str>) -> Body {
        let none = || Body { deleted: false, members: Members::new(), atts: BTreeMap::new() };
        match (self.docs.get(id), parent) {
            (Some(doc), Some(rev)) if !doc.nodes[rev].deleted => {
                self.leaf_body(id, parent).cloned().unwrap_or_else(none)
            }
            _ => none(),
        }
    }

    /// Does what was planned; `rev` is what the engine called it.
    pub fn carry_out(&mut self, plan: Plan, rev: &str) {
        match plan {
            Plan::Local { id, rev: number, members } => {
                assert_eq!(rev, format!("0-{number}"));
                match members {
                    Some(members) => self.locals.insert(id, (number, members)),
                    None => self.locals.remove(&id),
                };
            }
            Plan::Leaf { id, parent, deleted, body, contents } => {
                assert_eq!(generation(rev), parent.as_deref().map_or(0, generation) + 1, "{rev}");
                assert_eq!(rev.len(), rev.find('-').unwrap() + 33, "{rev}");
                let atts: Vec<_> =
                    body.atts.iter().map(|(name, att)| (name, &att.content_type, &att.digest)).collect();
                let edit = json!([parent, deleted, body.members, atts]).to_string();
                if let Some(before) = self.made.insert(edit.clone(), rev.to_owned()) {
                    assert_eq!(before, rev, "the same edit got two revisions");
                }
                if let Some(before) = self.made_by.insert(rev.to_owned(), edit.clone()) {
                    assert_eq!(before, edit, "two edits got the same revision");
                }
                let path: Vec<String> = std::iter::once(rev.to_owned()).chain(parent).collect();
                self.grow(id, &path, deleted, body, contents);
            }
            Plan::Path { id, path, deleted, body, contents } => {
                assert_eq!(rev, path[0]);
                self.grow(id, &path, deleted, body, contents);
            }
        }
    }

    fn grow(&mut self, id: String, path: &[String], deleted: bool, body: Body, contents: Vec<Vec<u8>>) {
        let before = self.docs.get(&id).cloned().unwrap_or_default();
        let mut doc = before.clone();
        doc.merge(path, deleted, body);
        doc.stem(self.revs_limit);
        if doc.nodes == before.nodes {
            return;
        }
        self.seq += 1;
        doc.seq = self.seq;
        self.docs.insert(id, doc);
        for bytes in contents {
            self.contents.insert(Digest::of(&bytes).to_string(), bytes);
        }
    }

    /// A compaction that succeeded: only leaves have bodies.
    pub fn compact(&mut self) {
        for doc in self.docs.values_mut() {
            let leaves: BTreeSet<String> = doc.leaves().into_iter().map(str::to_owned).collect();
            for (rev, node) in &mut doc.nodes {
                if !leaves.contains(rev) {
                    node.body = None;
                }
            }
            doc.old.clear();
        }
    }

    /// A compaction that may have happened, or in part.
    pub fn maybe_compact(&mut self) {
        for doc in self.docs.values_mut() {
            let leaves: BTreeSet<String> = doc.leaves().into_iter().map(str::to_owned).collect();
            for (rev, node) in &mut doc.nodes {
                if !leaves.contains(rev) {
                    node.maybe_gone = true;
                }
            }
            doc.old.values_mut().for_each(|(_, maybe_gone)| *maybe_gone = true);
        }
    }
}

fn data(content_type: &str, bytes: &[u8], revpos: u64) -> Att {
    let digest = Digest::of(bytes).to_string();
    Att { content_type: content_type.to_owned(), digest, length: bytes.len() as u64, revpos }
}

// ---- What reading gives. An expectation is JSON in which {"$any": […]} accepts either of several and
// ---- {"$error": name} an error.

pub fn failure(name: &str, reason: Option<&str>) -> Value {
    match reason {
        Some(reason) => json!({"$error": name, "reason": reason}),
        None => json!({"$error": name}),
    }
}

pub fn missing() -> Value {
    failure("not_found", Some("missing"))
}

/// Whether an answer is one of those expected.
pub fn accepts(expected: &Value, got: &Value) -> bool {
    if let Some(any) = expected.get("$any").and_then(Value::as_array) {
        return any.iter().any(|expected| accepts(expected, got));
    }
    if expected.get("$error").is_some() {
        return expected["$error"] == got["$error"]
            && (expected.get("reason").is_none() || expected["reason"] == got["reason"]);
    }
    match (expected, got) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| accepts(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| accepts(a, b)))
        }
        (a, b) => a == b,
    }
}

#[derive(Clone, Debug, Default)]
pub struct Get {
    pub rev: Option<String>,
    pub revs: bool,
    pub revs_info: bool,
    pub conflicts: bool,
    pub deleted_conflicts: bool,
    pub latest: bool,
    pub local_seq: bool,
    pub attachments: bool,
    pub atts_since: Option<Vec<String>>,
    /// `"all"` is told by an empty list.
    pub open_revs: Option<Vec<String>>,
}

impl Get {
    pub fn options(&self) -> Value {
        let mut options = json!({
            "revs": self.revs, "revs_info": self.revs_info, "conflicts": self.conflicts,
            "deleted_conflicts": self.deleted_conflicts, "latest": self.latest,
            "local_seq": self.local_seq, "attachments": self.attachments,
        });
        if let Some(rev) = &self.rev {
            options["rev"] = json!(rev);
        }
        if let Some(atts_since) = &self.atts_since {
            options["atts_since"] = json!(atts_since);
        }
        if let Some(revs) = &self.open_revs {
            options["open_revs"] = if revs.is_empty() { json!("all") } else { json!(revs) };
        }
        options
    }
}

impl Model {
    /// One revision as JSON; `otherwise` if it may or must be gone.
    fn show(&self, id: &str, doc: &Doc, rev: &str, get: &Get, wrap: bool, otherwise: Value) -> Value {
        let Some((node, body)) = doc.nodes.get(rev).and_then(|node| Some((node, node.body.as_ref()?))) else {
            return otherwise;
        };
        let mut out = body.members.clone();
        out.insert("_id".into(), id.into());
        out.insert("_rev".into(), rev.into());
        if body.deleted {
            out.insert("_deleted".into(), true.into());
        }
        let path = doc.path(rev);
        let since = get.atts_since.iter().flatten().filter(|known| path.contains(&known.as_str()));
        let stubs_up_to = since.map(|known| generation(known)).max().unwrap_or(0);
        let with_data = get.attachments || get.atts_since.is_some();
        if !body.atts.is_empty() {
            let mut atts = Members::new();
            for (name, att) in &body.atts {
                let mut shown =
                    json!({"content_type": att.content_type, "revpos": att.revpos, "digest": att.digest});
                if with_data && att.revpos > stubs_up_to {
                    shown["data"] = data_encoding::BASE64.encode(&self.contents[&att.digest]).into();
                } else {
                    shown["stub"] = true.into();
                    shown["length"] = att.length.into();
                }
                atts.insert(name.clone(), shown);
            }
            out.insert("_attachments".into(), atts.into());
        }
        if get.revs {
            let ids: Vec<&str> = path.iter().map(|rev| rev.split_once('-').unwrap().1).collect();
            out.insert("_revisions".into(), json!({"start": generation(rev), "ids": ids}));
        }
        if get.revs_info {
            let info = path.iter().map(|rev| {
                let node = &doc.nodes[*rev];
                let there = if node.deleted { "deleted" } else { "available" };
                let status = match (&node.body, node.maybe_gone) {
                    (None, _) => json!("missing"),
                    (Some(_), false) => json!(there),
                    (Some(_), true) => json!({"$any": [there, "missing"]}),
                };
                json!({"rev": rev, "status": status})
            });
            out.insert("_revs_info".into(), info.collect());
        }
        let others = |deleted: bool| -> Vec<&str> {
            let leaves = doc.leaves().into_iter().skip(1);
            leaves.filter(|leaf| doc.nodes[*leaf].deleted == deleted).collect()
        };
        if get.conflicts && !others(false).is_empty() {
            out.insert("_conflicts".into(), json!(others(false)));
        }
        if get.deleted_conflicts && !others(true).is_empty() {
            out.insert("_deleted_conflicts".into(), json!(others(true)));
        }
        if get.local_seq {
            out.insert("_local_seq".into(), doc.seq.into());
        }
        let shown = if wrap { json!({"ok": out}) } else { Value::Object(out) };
        match node.maybe_gone {
            // The contents of a body that is there may be gone before it.
            true => json!({"$any": [shown, otherwise, missing()]}),
            false => shown,
        }
    }

    pub fn get(&self, id: &str, get: &Get) -> Value {
        if let Some(revs) = &get.open_revs {
            let Some(doc) = self.docs.get(id) else {
                return match revs.is_empty() {
                    true => missing(),
                    false => revs.iter().map(|rev| json!({"missing": rev})).collect(),
                };
            };
            let mut out: Vec<Value> = Vec::new();
            let mut told: BTreeSet<String> = BTreeSet::new();
            let leaves = doc.leaves();
            let revs: Vec<&str> =
                if revs.is_empty() { leaves } else { revs.iter().map(|rev| &**rev).collect() };
            for rev in revs {
                let under = if get.latest { doc.leaves_under(rev) } else { Vec::new() };
                if under.is_empty() {
                    out.push(self.show(id, doc, rev, get, true, json!({"missing": rev})));
                }
                for leaf in under {
                    if told.insert(leaf.to_owned()) {
                        out.push(self.show(id, doc, leaf, get, true, json!({"missing": leaf})));
                    }
                }
            }
            return out.into();
        }
        let Some(doc) = self.docs.get(id) else { return missing() };
        let rev = match &get.rev {
            None if doc.deleted() => return failure("not_found", Some("deleted")),
            None => doc.winner(),
            Some(rev) if get.latest => doc.leaves_under(rev).first().copied().unwrap_or(rev),
            Some(rev) => rev,
        };
        self.show(id, doc, rev, get, false, missing())
    }

    pub fn all_docs(&self, options: &Value) -> (Vec<Value>, Option<u64>) {
        let live: Vec<&String> =
            self.docs.iter().filter(|(_, doc)| !doc.deleted()).map(|(id, _)| id).collect();
        let descending = options["descending"] == true;
        let get = Get {
            conflicts: options["conflicts"] == true,
            attachments: options["attachments"] == true,
            ..Get::default()
        };
        let row = |id: &String| {
            let Some(doc) = self.docs.get(id) else { return json!({"key": id, "error": "not_found"}) };
            let mut row = json!({"id": id, "key": id, "value": {"rev": doc.winner()}});
            if doc.deleted() {
                row["value"]["deleted"] = true.into();
            }
            if options["include_docs"] == true {
                row["doc"] = if doc.deleted() { Value::Null } else { self.get(id, &get) };
            }
            row
        };
        let mut ids: Vec<String> = match options["keys"].as_array() {
            Some(keys) => keys.iter().map(|key| key.as_str().unwrap().to_owned()).collect(),
            None => live.iter().map(|id| id.to_string()).collect(),
        };
        if descending {
            ids.reverse();
        }
        let is_range = options.get("keys").is_none();
        let all = ids.clone();
        if is_range {
            let (start, end) = match options["key"].as_str() {
                Some(key) => (Some(key), Some(key)),
                None => (options["startkey"].as_str(), options["endkey"].as_str()),
            };
            let exclusive = options["inclusive_end"] == false && options.get("key").is_none();
            ids.retain(|id| {
                let id = id.as_str();
                let after = start.is_none_or(|start| if descending { id <= start } else { id >= start });
                let before = end.is_none_or(|end| match (descending, exclusive) {
                    (false, false) => id <= end,
                    (false, true) => id < end,
                    (true, false) => id >= end,
                    (true, true) => id > end,
                });
                after && before
            });
        }
        let skip = options["skip"].as_u64().unwrap_or(0) as usize;
        let limit = options["limit"].as_u64().unwrap_or(u64::MAX) as usize;
        let ids: Vec<String> = ids.into_iter().skip(skip).take(limit).collect();
        let offset = match ids.first() {
            Some(first) if is_range => all.iter().position(|id| id == first).map(|at| at as u64),
            _ => None,
        };
        (ids.iter().map(row).collect(), offset)
    }

    pub fn changes(&self, options: &Value) -> Vec<Value> {
        let mut docs: Vec<(&String, &Doc)> = self.docs.iter().collect();
        docs.sort_by_key(|(_, doc)| doc.seq);
        let since = match &options["since"] {
            Value::String(text) if text == "now" => self.seq,
            Value::String(text) => text.parse().unwrap(),
            since => since.as_u64().unwrap_or(0),
        };
        docs.retain(|(_, doc)| doc.seq > since);
        if options["descending"] == true {
            docs.reverse();
        }
        if let Some(ids) = options["doc_ids"].as_array() {
            docs.retain(|(id, _)| ids.iter().any(|other| other == *id));
        }
        if let Some(limit) = options["limit"].as_u64() {
            docs.truncate(limit.max(1) as usize);
        }
        let entry = |(id, doc): &(&String, &Doc)| {
            let mut leaves = doc.leaves();
            if options["style"] != "all_docs" {
                leaves.truncate(1);
            }
            let revs: Vec<Value> = leaves.iter().map(|rev| json!({"rev": rev})).collect();
            let mut entry = json!({"seq": doc.seq, "id": id, "changes": revs});
            if doc.deleted() {
                entry["deleted"] = true.into();
            }
            if options["include_docs"] == true {
                let get = Get {
                    rev: Some(doc.winner().to_owned()),
                    conflicts: options["conflicts"] == true,
                    attachments: options["attachments"] == true,
                    ..Get::default()
                };
                entry["doc"] = self.get(id, &get);
            }
            entry
        };
        docs.iter().map(entry).collect()
    }

    pub fn revs_diff(&self, asked: &BTreeMap<String, Vec<String>>) -> Value {
        let mut out = Members::new();
        for (id, revs) in asked {
            let doc = self.docs.get(id).cloned().unwrap_or_default();
            let missing: BTreeSet<&String> =
                revs.iter().filter(|rev| !doc.nodes.contains_key(*rev)).collect();
            let Some(highest) = missing.iter().map(|rev| generation(rev)).max() else { continue };
            let mut entry = json!({"missing": missing});
            let mut ancestors = doc.leaves();
            ancestors.retain(|rev| generation(rev) < highest);
            if !ancestors.is_empty() {
                entry["possible_ancestors"] = json!(ancestors);
            }
            out.insert(id.clone(), entry);
        }
        out.into()
    }
}
