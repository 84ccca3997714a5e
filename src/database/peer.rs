//! A local database as one end of a replication.

use std::collections::HashMap;

use futures::{
    FutureExt,
    future::{Either, LocalBoxFuture, pending, select},
};

use super::{
    Database,
    changes::{Filter, seq_number},
    edit::is_same_attachment,
    options::PutOptions,
    render::path,
    view::View,
};
use crate::{
    error::{Error, Kind, Pending, Result},
    log::{StoredAttachment, StoredLeaf},
    model::{Content, Digest, Rev, Seq},
    peer::{
        Change, ChangesPage, ChangesQuery, Fetched, LocalDoc, MissingRevs, Peer, PeerInfo,
        ReplicatedAttachment, ReplicatedDoc,
    },
};

impl Database {
    /// What the database lacks of the revisions named: PouchDB's `revsDiff`.
    ///
    /// Shape:  `{"id":["rev",…]}` in; `{"id":{"missing":["rev",…],"possible_ancestors":[…]}}` out, with
    /// only what is missing.
    pub async fn revs_diff(&self, json: &str) -> Result<String> {
        let asked: HashMap<String, Vec<String>> = serde_json::from_str(json)
            .map_err(|_| Error::bad_request("revsDiff takes an object of arrays of revisions."))?;
        let mut leaves = Vec::with_capacity(asked.len());
        for (id, revs) in asked {
            leaves.push((id, revs.iter().map(|rev| rev.parse()).collect::<Result<Vec<Rev>>>()?));
        }
        let view = self.view()?;
        let mut names = HashMap::new();
        for (id, _) in &mut leaves {
            let key = view.key(id).into_owned();
            names.insert(key.clone(), std::mem::replace(id, key));
        }
        let mut out = serde_json::Map::new();
        for missing in self.missing(leaves).await? {
            let texts = |revs: &[Rev]| revs.iter().map(Rev::to_string).collect::<Vec<_>>();
            let mut entry = serde_json::Map::new();
            entry.insert("missing".to_owned(), texts(&missing.revs).into());
            if !missing.possible_ancestors.is_empty() {
                entry.insert("possible_ancestors".to_owned(), texts(&missing.possible_ancestors).into());
            }
            out.insert(names.remove(&missing.id).unwrap_or(missing.id), entry.into());
        }
        Ok(serde_json::Value::Object(out).to_string())
    }

    async fn missing(&self, leaves: Vec<(String, Vec<Rev>)>) -> Result<Vec<MissingRevs>> {
        self.fresh().await?;
        let mut missing = Vec::new();
        let mut unclear = Vec::new();
        {
            let state = self.inner.state.borrow();
            for (id, mut revs) in leaves {
                revs.retain(|rev| !self.is_held(&id, rev));
                let Some(found) = state.directory.find(&id) else {
                    if !revs.is_empty() {
                        missing.push(MissingRevs { id, revs, possible_ancestors: Vec::new() });
                    }
                    continue;
                };
                let known = found.leaves();
                revs.retain(|rev| !known.iter().any(|leaf| leaf.rev == *rev));
                if revs.is_empty() {
                    continue;
                }
                let newest = known.iter().map(|leaf| leaf.rev.generation).max().unwrap_or(0);
                if revs.iter().any(|rev| rev.generation <= newest) {
                    unclear.push((id, revs));
                    continue;
                }
                let possible_ancestors = known.into_iter().map(|leaf| leaf.rev).collect();
                missing.push(MissingRevs { id, revs, possible_ancestors });
            }
        }
        // An older revision that is no leaf may be an inner one: only the tree knows.
        for (id, revs) in unclear {
            let Some(doc) = self.doc(&View::AsStored, &id).await? else { continue };
            let revs = doc.tree.missing(&revs);
            if !revs.is_empty() {
                let possible_ancestors = doc.tree.possible_ancestors(&revs);
                missing.push(MissingRevs { id, revs, possible_ancestors });
            }
        }
        Ok(missing)
    }

    pub(super) fn replicated_attachment(
        stored: &StoredAttachment,
        content: Option<Content>,
    ) -> ReplicatedAttachment {
        ReplicatedAttachment {
            name: stored.name.clone(),
            content_type: stored.content_type.clone(),
            revpos: stored.revpos,
            length: stored.length,
            digest: stored.digest.to_string(),
            is_encoded: false,
            content,
        }
    }

    fn replicated(id: &str, leaf: StoredLeaf, path: Vec<Rev>) -> ReplicatedDoc {
        let attachments = leaf.attachments.iter().map(|stored| Self::replicated_attachment(stored, None));
        ReplicatedDoc {
            id: id.to_owned(),
            path,
            deleted: leaf.deleted,
            attachments: attachments.collect(),
            body: leaf.body.into_text(),
        }
    }
}

impl Peer for Database {
    fn identity(&self) -> Pending<'_, String> {
        async { Ok(self.inner.uuid.clone()) }.boxed_local()
    }

    fn is_here(&self) -> bool {
        true
    }

    fn info(&self) -> Pending<'_, PeerInfo> {
        async {
            self.fresh().await?;
            let state = self.inner.state.borrow();
            Ok(PeerInfo {
                update_seq: state.directory.last_seq().into(),
                doc_count: state.directory.doc_count(),
                total_count: Some(state.directory.total_count()),
                instance_start_time: None,
            })
        }
        .boxed_local()
    }

    fn may_meet<'a>(&'a self, other: &'a dyn Peer) -> Pending<'a, ()> {
        Database::may_meet(self, other).boxed_local()
    }

    fn quarantined(&self, seen: u64) -> LocalBoxFuture<'_, u64> {
        async move {
            match self.quarantined_but(seen).await {
                Ok(count) => count,
                // It was closed; whoever asks hears of that elsewhere.
                Err(_) => pending().await,
            }
        }
        .boxed_local()
    }

    fn create(&self) -> Pending<'_, bool> {
        async { self.inner.open().map(|()| false) }.boxed_local()
    }

    fn changes<'a>(
        &'a self,
        query: &'a ChangesQuery,
        since: &'a Seq,
        limit: usize,
        wait_ms: Option<u32>,
    ) -> Pending<'a, ChangesPage> {
        async move {
            if query.filter.is_some() {
                return Err(Error::new(
                    Kind::QueryParse,
                    "A filter function runs on a server; a local database takes doc_ids or a selector.",
                ));
            }
            let filter = Filter::of_replication(query.doc_ids.as_deref(), query.selector.as_ref())?;
            let since = seq_number(since)?;
            let mut deadline = wait_ms.map(|ms| self.inner.platform.sleep(ms));
            loop {
                let change = self.inner.next_change();
                self.fresh().await?;
                // A selector is about what documents hold; ids are those that replicate. A lock ends it,
                // also where it waits.
                let view = if query.selector.is_some() { self.view()? } else { View::AsStored };
                let entries = self.inner.state.borrow().directory.changes(since, limit);
                if entries.is_empty()
                    && let Some(sleep) = deadline.take()
                {
                    match select(change, sleep).await {
                        Either::Left((_, sleep)) => deadline = Some(sleep),
                        Either::Right(_) => {}
                    }
                    continue;
                }
                let last_seq = entries.last().map_or(since, |entry| entry.seq);
                let entries = self.matching(&view, &filter, entries).await?;
                let state = self.inner.state.borrow();
                let entries = entries
                    .into_iter()
                    .filter(|entry| self.replicates(state.directory.doc(entry.number).id()));
                let results = entries.map(|entry| {
                    let found = state.directory.doc(entry.number);
                    Change {
                        seq: entry.seq.into(),
                        id: found.id().to_owned(),
                        leaves: found.leaves().into_iter().map(|leaf| leaf.rev).collect(),
                        deleted: found.deleted(),
                    }
                });
                return Ok(ChangesPage {
                    results: results.collect(),
                    last_seq: last_seq.into(),
                    pending: Some(state.directory.pending(last_seq)),
                    // Asking for them costs no request here.
                    docs: Vec::new(),
                    odd: Vec::new(),
                });
            }
        }
        .boxed_local()
    }

    fn revs_diff(&self, leaves: Vec<(String, Vec<Rev>)>) -> Pending<'_, Vec<MissingRevs>> {
        self.missing(leaves).boxed_local()
    }

    fn bulk_get(&self, wanted: Vec<MissingRevs>) -> Pending<'_, Vec<Fetched>> {
        async move {
            let mut fetched = Vec::new();
            for MissingRevs { id, revs, .. } in wanted {
                let doc = self.doc(&View::AsStored, &id).await?;
                for (rev, leaf) in self.revisions(&View::AsStored, doc.as_ref(), revs, true).await? {
                    let doc = match (leaf, &doc) {
                        (Some(leaf), Some(doc)) => {
                            let path = path(&doc.tree, &leaf.rev);
                            self.may_leave(Self::replicated(&id, leaf, path))
                        }
                        _ => Err(Error::missing()),
                    };
                    fetched.push(Fetched { id: id.clone(), rev: Some(rev), doc });
                }
            }
            Ok(fetched)
        }
        .boxed_local()
    }

    fn attachment<'a>(
        &'a self,
        _doc: &'a ReplicatedDoc,
        attachment: &'a ReplicatedAttachment,
    ) -> Pending<'a, Content> {
        async move {
            self.inner.open()?;
            let content = self.inner.store.content(attachment.digest.parse()?).await?;
            content.ok_or_else(Error::missing)
        }
        .boxed_local()
    }

    fn wanted_attachments<'a>(
        &'a self,
        doc: &'a ReplicatedDoc,
        _ancestors: &'a [Rev],
    ) -> Pending<'a, Vec<usize>> {
        async move {
            let is_known = |attachment: &ReplicatedAttachment| {
                let digest: Option<Digest> = attachment.digest.parse().ok();
                let digest = digest.filter(|_| !attachment.is_encoded);
                digest.is_some_and(|digest| self.inner.state.borrow().directory.refers_to(&digest))
            };
            let mut wanted: Vec<usize> =
                (0..doc.attachments.len()).filter(|&index| !is_known(&doc.attachments[index])).collect();
            if wanted.iter().any(|&index| doc.attachments[index].is_encoded)
                && let Some(mine) = self.doc(&View::AsStored, &doc.id).await?
                && let Some(leaf) = mine.leaves.iter().find(|leaf| doc.path.contains(&leaf.rev))
            {
                wanted.retain(|&index| {
                    let attachment = &doc.attachments[index];
                    let before = leaf.attachments.iter().find(|before| before.name == attachment.name);
                    !before.is_some_and(|before| {
                        is_same_attachment(before, None, Some(attachment.revpos), Some(attachment.length))
                    })
                });
            }
            Ok(wanted)
        }
        .boxed_local()
    }

    fn write_replicated(&self, docs: Vec<ReplicatedDoc>) -> Pending<'_, Vec<Result<()>>> {
        self.write_replicas(docs).boxed_local()
    }

    fn local_doc<'a>(&'a self, id: &'a str) -> Pending<'a, Option<LocalDoc>> {
        async move {
            let Some((rev, body)) = self.local(&View::AsStored, id).await? else { return Ok(None) };
            let body = serde_json::from_str(&body).map_err(|_| Error::corrupt("_local document"))?;
            Ok(Some(LocalDoc { rev: Some(format!("0-{rev}")), body }))
        }
        .boxed_local()
    }

    fn put_local_doc<'a>(&'a self, id: &'a str, doc: LocalDoc) -> Pending<'a, String> {
        async move {
            let mut body = doc.body;
            body.insert("_id".to_owned(), format!("_local/{id}").into());
            if let Some(rev) = doc.rev {
                body.insert("_rev".to_owned(), rev.into());
            }
            let json = serde_json::Value::Object(body).to_string();
            Ok(self.put_as(View::AsStored, &json, &[], &PutOptions::default()).await?.rev)
        }
        .boxed_local()
    }
}
