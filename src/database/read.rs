//! Reading documents: `get` in all its forms, and `bulkGet`.

use std::collections::HashMap;

use serde_json::Value;

use super::{
    Database,
    options::{BulkGetOptions, GetOptions, rev},
    render::{Members, Rendered},
    view::View,
};
use crate::{
    error::{Error, Result},
    log::{DocState, Location, StoredLeaf, read_at},
    model::{Bytes, Rev},
    store::BlockNo,
};

impl Database {
    /// One document: PouchDB's `get`.
    ///
    /// Shape:  a JSON object; with `open_revs`, an array of `{"ok":doc}` and `{"missing":rev}`.
    /// Errors: 404 `not_found` (`missing`, or `deleted` where the winner is a tombstone and no revision
    /// was asked for); 400 `bad_request` for a bad `rev`.
    pub async fn get(&self, id: &str, options: &GetOptions) -> Result<Rendered> {
        loop {
            let before = self.last_seq();
            match self.get_now(id, options).await {
                Err(error) if self.may_read_again(&error, before).await => {}
                done => return done,
            }
        }
    }

    async fn get_now(&self, id: &str, options: &GetOptions) -> Result<Rendered> {
        let view = self.view()?;
        let mut out = Rendered::default();
        if let Some(local) = id.strip_prefix("_local/") {
            let (rev, body) = self.local(&view, local).await?.ok_or_else(Error::missing)?;
            out.push("{\"_id\":");
            out.push_str(id);
            out.push(",\"_rev\":\"0-");
            out.push_display(rev);
            out.push("\"");
            if body.len() > 2 {
                out.push(",");
            }
            out.push(body.strip_prefix('{').unwrap_or("}"));
            return Ok(out);
        }
        crate::model::check_doc_id(id)?;
        let asked = options.rev.as_deref().map(rev).transpose()?;
        let members = Members {
            revs: options.revs,
            conflicts: options.conflicts,
            deleted_conflicts: options.deleted_conflicts,
            local_seq: options.local_seq,
            attachments: options.attachments,
            binary: options.binary,
            ..Members::default()
        };
        if let Some(open_revs) = &options.open_revs {
            return self
                .get_open_revs(&view, id, open_revs, options.latest, members, options.atts_since.as_deref())
                .await;
        }
        if asked.is_none() && !members.need_tree() && !options.revs_info && options.atts_since.is_none() {
            let leaf = self.winner(&view, id).await?.ok_or_else(Error::missing)?;
            if leaf.deleted {
                return Err(Error::deleted());
            }
            self.render(&mut out, &view, id, &leaf, None, &members).await?;
            return Ok(out);
        }
        let doc = self.doc(&view, id).await?.ok_or_else(Error::missing)?;
        let leaf = match asked {
            None => {
                let winner = doc.leaves.first().ok_or_else(Error::missing)?;
                if winner.deleted {
                    return Err(Error::deleted());
                }
                winner.clone()
            }
            Some(rev) => {
                let rev =
                    if options.latest { latest(&doc, &rev).into_iter().next().unwrap_or(rev) } else { rev };
                self.leaf_of(&view, &doc, &rev).await?.ok_or_else(Error::missing)?
            }
        };
        let mut members = since(members, options.atts_since.as_deref(), &doc, &leaf)?;
        if options.revs_info {
            members.revs_info = Some(self.revs_info(&doc, &leaf.rev).await?);
        }
        self.render(&mut out, &view, id, &leaf, Some(&doc), &members).await?;
        Ok(out)
    }

    async fn get_open_revs(
        &self,
        view: &View,
        id: &str,
        open_revs: &Value,
        latest_wanted: bool,
        members: Members,
        atts_since: Option<&[String]>,
    ) -> Result<Rendered> {
        let doc = self.doc(view, id).await?;
        let wanted: Vec<Rev> = match open_revs {
            Value::String(all) if all == "all" => {
                let doc = doc.as_ref().ok_or_else(Error::missing)?;
                doc.leaves.iter().map(|leaf| leaf.rev.clone()).collect()
            }
            Value::Array(revs) => {
                let text = |value: &Value| {
                    rev(value.as_str().ok_or_else(|| Error::bad_request("Invalid rev format"))?)
                };
                revs.iter().map(text).collect::<Result<_>>()?
            }
            _ => return Err(Error::bad_request("`open_revs` is \"all\" or an array of revisions.")),
        };
        let mut out = Rendered::default();
        out.push("[");
        for (rev, found) in self.revisions(view, doc.as_ref(), wanted, latest_wanted).await? {
            if out.json.len() > 1 {
                out.push(",");
            }
            match (found, &doc) {
                (Some(leaf), Some(doc)) => {
                    out.push("{\"ok\":");
                    let members = since(members.clone(), atts_since, doc, &leaf)?;
                    self.render(&mut out, view, id, &leaf, Some(doc), &members).await?;
                }
                _ => {
                    out.push("{\"missing\":");
                    out.push_rev(&rev);
                }
            }
            out.push("}");
        }
        out.push("]");
        Ok(out)
    }

    /// The bodies of the revisions wanted, or of the leaves that followed them.
    pub(super) async fn revisions(
        &self,
        view: &View,
        doc: Option<&DocState>,
        wanted: Vec<Rev>,
        latest_wanted: bool,
    ) -> Result<Vec<(Rev, Option<StoredLeaf>)>> {
        let mut found: Vec<(Rev, Option<StoredLeaf>)> = Vec::with_capacity(wanted.len());
        for rev in wanted {
            let Some(doc) = doc else {
                found.push((rev, None));
                continue;
            };
            let leaves = if latest_wanted { latest(doc, &rev) } else { Vec::new() };
            if leaves.is_empty() {
                let leaf = self.leaf_of(view, doc, &rev).await?;
                found.push((rev, leaf));
            }
            for rev in leaves {
                // Two revisions may have the same leaf after them; it is told once.
                if !found.iter().any(|(there, leaf)| leaf.is_some() && *there == rev) {
                    let leaf = self.leaf_of(view, doc, &rev).await?;
                    found.push((rev, leaf));
                }
            }
        }
        Ok(found)
    }

    /// Many documents or revisions: PouchDB's `bulkGet`.
    ///
    /// Shape:  `{"results":[{"id":…,"docs":[{"ok":doc} | {"error":{"id","rev","error","reason"}}]}]}`.
    pub async fn bulk_get(&self, options: &BulkGetOptions) -> Result<Rendered> {
        let view = self.view()?;
        let mut out = Rendered::default();
        out.push("{\"results\":[");
        for (index, item) in options.docs.iter().enumerate() {
            out.push(if index > 0 { ",{\"id\":" } else { "{\"id\":" });
            out.push_str(&item.id);
            out.push(",\"docs\":[");
            let (json, contents) = (out.json.len(), out.contents.len());
            loop {
                let before = self.last_seq();
                match self.bulk_get_one(&mut out, &view, options, item).await {
                    Err(error) if self.may_read_again(&error, before).await => {
                        out.json.truncate(json);
                        out.contents.truncate(contents);
                    }
                    done => break done?,
                }
            }
            out.push("]}");
        }
        out.push("]}");
        Ok(out)
    }

    async fn bulk_get_one(
        &self,
        out: &mut Rendered,
        view: &View,
        options: &BulkGetOptions,
        item: &super::options::BulkGetItem,
    ) -> Result<()> {
        let members = Members {
            revs: options.revs,
            attachments: options.attachments,
            binary: options.binary,
            ..Members::default()
        };
        let asked = match item.rev.as_deref().map(rev).transpose() {
            Ok(asked) => asked,
            Err(error) => {
                bulk_get_error(out, &item.id, item.rev.as_deref().unwrap_or_default(), &error);
                return Ok(());
            }
        };
        let doc = self.doc(view, &item.id).await?;
        let wanted = match (&doc, asked) {
            (_, Some(rev)) => vec![rev],
            (Some(doc), None) => doc.leaves.iter().take(1).map(|leaf| leaf.rev.clone()).collect(),
            (None, None) => {
                bulk_get_error(out, &item.id, "undefined", &Error::missing());
                return Ok(());
            }
        };
        for (index, (rev, leaf)) in
            self.revisions(view, doc.as_ref(), wanted, options.latest).await?.into_iter().enumerate()
        {
            if index > 0 {
                out.push(",");
            }
            match (leaf, &doc) {
                (Some(leaf), Some(doc)) => {
                    out.push("{\"ok\":");
                    let members = since(members.clone(), item.atts_since.as_deref(), doc, &leaf)?;
                    self.render(out, view, &item.id, &leaf, Some(doc), &members).await?;
                    out.push("}");
                }
                _ => bulk_get_error(out, &item.id, &rev.to_string(), &Error::missing()),
            }
        }
        Ok(())
    }

    /// `_revs_info`: a revision and its ancestors, and what is left of each.
    async fn revs_info(&self, doc: &DocState, of: &Rev) -> Result<Vec<(Rev, &'static str)>> {
        let mut bodies = Vec::new();
        let mut at = doc.prev;
        bodies.extend(doc.leaves.iter().map(|leaf| leaf.rev.clone()));
        while let Some(place) = at {
            let Some(entry) = self.entry(place).await? else { break };
            bodies.extend(entry.leaves.iter().map(|leaf| leaf.rev.clone()));
            at = before(place, entry.prev);
        }
        let Some(index) = doc.tree.find(of) else { return Ok(Vec::new()) };
        let status = |index: usize| {
            let node = &doc.tree.nodes()[index];
            if !bodies.contains(&node.rev) {
                "missing"
            } else if node.deleted {
                "deleted"
            } else {
                "available"
            }
        };
        let path = doc.tree.ancestry(index).into_iter();
        Ok(path.map(|index| (doc.tree.nodes()[index].rev.clone(), status(index))).collect())
    }

    /// A revision's body: a leaf's, or an older one's for as long as no compaction dropped it.
    pub(super) async fn leaf_of(&self, view: &View, doc: &DocState, rev: &Rev) -> Result<Option<StoredLeaf>> {
        if let Some(leaf) = doc.leaves.iter().find(|leaf| leaf.rev == *rev) {
            return Ok(Some(leaf.clone()));
        }
        if doc.tree.find(rev).is_none() {
            return Ok(None);
        }
        let mut at = doc.prev;
        while let Some(place) = at {
            let Some(entry) = self.entry(place).await? else { break };
            if let Some(leaf) = entry.leaves.into_iter().find(|leaf| leaf.rev == *rev) {
                return view.leaf(&doc.id, leaf).map(Some);
            }
            at = before(place, entry.prev);
        }
        Ok(None)
    }

    /// The entry at a place, unless its block was compacted away.
    async fn entry(&self, at: Location) -> Result<Option<DocState>> {
        match self.inner.blocks(vec![at.block]).await?.remove(&at.block) {
            Some(block) => Ok(Some(read_at(&block, at.offset)?.doc()?)),
            None => Ok(None),
        }
    }

    /// A document's whole state as it is seen; its `id` is that under which it is stored.
    pub(super) async fn doc(&self, view: &View, id: &str) -> Result<Option<DocState>> {
        match self.locate(&view.key(id)).await? {
            Some((block, at)) => Ok(Some(view.doc(read_at(&block, at.offset)?.doc()?)?)),
            None => Ok(None),
        }
    }

    /// A document's winning leaf.
    pub(super) async fn winner(&self, view: &View, id: &str) -> Result<Option<StoredLeaf>> {
        let key = view.key(id);
        match self.locate(&key).await? {
            Some((block, at)) => Ok(Some(view.leaf(&key, read_at(&block, at.offset)?.winner()?)?)),
            None => Ok(None),
        }
    }

    /// Where a document's entry stands, with its block.
    async fn locate(&self, id: &str) -> Result<Option<(Bytes, Location)>> {
        self.fresh().await?;
        let place = || self.inner.state.borrow().directory.find(id).map(|found| found.at());
        // A miss is checked against the log: another tab's write may be there before its signal.
        if place().is_none() {
            self.refresh().await?;
        }
        loop {
            let Some(at) = place() else { return Ok(None) };
            if let Some(block) = self.inner.blocks(vec![at.block]).await?.remove(&at.block) {
                return Ok(Some((block, at)));
            }
            // Another tab's compaction moved it; the log's end says where to.
            self.refresh().await?;
            if place() == Some(at) {
                return Err(Error::corrupt("log"));
            }
        }
    }

    /// A `_local/` document (`id` without the prefix): N of its revision `0-N`, and its body.
    pub(super) async fn local(&self, view: &View, id: &str) -> Result<Option<(u64, String)>> {
        self.fresh().await?;
        let key = view.local_key(id);
        let place = || self.inner.state.borrow().directory.local(&key);
        if place().is_none() {
            self.refresh().await?;
        }
        loop {
            let Some((rev, at)) = place() else { return Ok(None) };
            if let Some(block) = self.inner.blocks(vec![at.block]).await?.remove(&at.block) {
                let body = read_at(&block, at.offset)?.local_body()?;
                return Ok(Some((rev, view.local(id, rev, body)?)));
            }
            self.refresh().await?;
            if place() == Some((rev, at)) {
                return Err(Error::corrupt("log"));
            }
        }
    }

    /// The blocks in which these documents (numbers of the directory) stand now.
    pub(super) async fn blocks_of(&self, numbers: &[u32]) -> Result<HashMap<BlockNo, Bytes>> {
        let places = || -> Vec<BlockNo> {
            let state = self.inner.state.borrow();
            numbers.iter().map(|&number| state.directory.doc(number).at().block).collect()
        };
        loop {
            let wanted = places();
            let blocks = self.inner.blocks(wanted.clone()).await?;
            if places().iter().all(|no| blocks.contains_key(no)) {
                return Ok(blocks);
            }
            self.refresh().await?;
            // Compaction would have moved them; then they would stand elsewhere now.
            if places() == wanted {
                return Err(Error::corrupt("log"));
            }
        }
    }
}

/// The place of an older entry. It stands before the newer one, or the log is damaged and might lead in
/// a circle.
fn before(place: Location, prev: Option<Location>) -> Option<Location> {
    prev.filter(|prev| *prev < place)
}

/// The leaves that followed a revision; empty if the tree does not know it.
fn latest(doc: &DocState, rev: &Rev) -> Vec<Rev> {
    let leaves = doc.tree.find(rev).map(|index| doc.tree.leaves_under(index)).unwrap_or_default();
    leaves.into_iter().map(|index| doc.tree.nodes()[index].rev.clone()).collect()
}

/// Takes `atts_since` into account: what a listed ancestor had already stays a stub.
fn since(
    mut members: Members,
    atts_since: Option<&[String]>,
    doc: &DocState,
    leaf: &StoredLeaf,
) -> Result<Members> {
    let Some(atts_since) = atts_since else { return Ok(members) };
    members.attachments = true;
    let path = super::render::path(&doc.tree, &leaf.rev);
    for known in atts_since {
        let known = rev(known)?;
        if path.contains(&known) {
            members.stubs_up_to = members.stubs_up_to.max(known.generation);
        }
    }
    Ok(members)
}

fn bulk_get_error(out: &mut Rendered, id: &str, rev: &str, error: &Error) {
    out.push("{\"error\":{\"id\":");
    out.push_str(id);
    out.push(",\"rev\":");
    out.push_str(rev);
    out.push(",\"error\":");
    out.push_str(error.name());
    out.push(",\"reason\":");
    out.push_str(error.reason());
    out.push("}}");
}
