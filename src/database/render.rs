//! Documents as JSON text, the way CouchDB's answers look.

use std::fmt::Write as _;

use super::{Database, view::View};
use crate::{
    error::{Error, Result},
    log::{DocState, StoredAttachment, StoredLeaf},
    model::{Content, Rev, base64, push_json_string},
    revtree::RevTree,
};

/// JSON text, and the bytes that go beside it: an attachment whose `data` is the number n means the
/// nth of `contents`.
#[derive(Clone, Debug, Default)]
pub struct Rendered {
    /// JSON.
    pub json: String,
    /// What its attachments' `data` numbers stand for.
    pub contents: Vec<Content>,
}

/// Which of a document's special members to write.
#[derive(Clone, Debug, Default)]
pub(super) struct Members {
    pub(super) revs: bool,
    pub(super) conflicts: bool,
    pub(super) deleted_conflicts: bool,
    pub(super) local_seq: bool,
    /// `_revs_info`, already found out.
    pub(super) revs_info: Option<Vec<(Rev, &'static str)>>,
    pub(super) attachments: bool,
    pub(super) binary: bool,
    /// Attachments not newer than this generation stay stubs.
    pub(super) stubs_up_to: u64,
}

impl Members {
    /// Whether the winning leaf alone is enough to write the document.
    pub(super) fn need_tree(&self) -> bool {
        self.revs || self.conflicts || self.deleted_conflicts || self.local_seq || self.revs_info.is_some()
    }
}

impl Rendered {
    pub(super) fn push(&mut self, text: &str) {
        self.json.push_str(text);
    }

    pub(super) fn push_str(&mut self, text: &str) {
        push_json_string(&mut self.json, text);
    }

    pub(super) fn push_rev(&mut self, rev: &Rev) {
        // Infallible: writing to a String. Text revisions may need escapes.
        match &rev.id {
            crate::model::RevId::Hash(_) => {
                let _ = write!(self.json, "\"{rev}\"");
            }
            crate::model::RevId::Text(_) => push_json_string(&mut self.json, &rev.to_string()),
        }
    }

    pub(super) fn push_display(&mut self, value: impl std::fmt::Display) {
        let _ = write!(self.json, "{value}");
    }

    /// A leaf as it is without options: attachments are stubs.
    pub(super) fn push_leaf(&mut self, id: &str, leaf: &StoredLeaf) {
        self.push_body(id, leaf);
        for (index, attachment) in leaf.attachments.iter().enumerate() {
            self.push(if index > 0 { "" } else { ",\"_attachments\":{" });
            self.push_attachment(index, attachment);
            self.push_stub(attachment);
            self.push("}");
        }
        self.push(if leaf.attachments.is_empty() { "}" } else { "}}" });
    }

    /// A leaf but for its attachments and the end.
    fn push_body(&mut self, id: &str, leaf: &StoredLeaf) {
        self.json.reserve(leaf.body.len() + id.len() + 64);
        self.push("{\"_id\":");
        self.push_str(id);
        self.push(",\"_rev\":");
        self.push_rev(&leaf.rev);
        if leaf.deleted {
            self.push(",\"_deleted\":true");
        }
        let body = inner(&leaf.body);
        if !body.is_empty() {
            self.push(",");
            self.push(body);
        }
    }

    fn push_attachment(&mut self, index: usize, attachment: &StoredAttachment) {
        if index > 0 {
            self.push(",");
        }
        self.push_str(&attachment.name);
        self.push(":{\"content_type\":");
        self.push_str(&attachment.content_type);
        self.push(",\"revpos\":");
        self.push_display(attachment.revpos);
        self.push(",\"digest\":\"");
        self.push_display(attachment.digest);
        self.push("\"");
    }

    fn push_stub(&mut self, attachment: &StoredAttachment) {
        self.push(",\"length\":");
        self.push_display(attachment.length);
        self.push(",\"stub\":true");
    }

    pub(super) fn push_revs<'a>(&mut self, revs: impl IntoIterator<Item = &'a Rev>) {
        self.push("[");
        for (index, rev) in revs.into_iter().enumerate() {
            if index > 0 {
                self.push(",");
            }
            self.push_rev(rev);
        }
        self.push("]");
    }
}

impl Database {
    /// Writes one leaf of a document. `doc` is needed where `members` says so.
    pub(super) async fn render(
        &self,
        out: &mut Rendered,
        view: &View,
        id: &str,
        leaf: &StoredLeaf,
        doc: Option<&DocState>,
        members: &Members,
    ) -> Result<()> {
        out.push_body(id, leaf);
        if !leaf.attachments.is_empty() {
            self.render_attachments(out, view, id, leaf, members).await?;
        }
        if let Some(doc) = doc {
            render_history(out, leaf, doc, members);
        }
        out.push("}");
        Ok(())
    }

    async fn render_attachments(
        &self,
        out: &mut Rendered,
        view: &View,
        id: &str,
        leaf: &StoredLeaf,
        members: &Members,
    ) -> Result<()> {
        out.push(",\"_attachments\":{");
        for (index, attachment) in leaf.attachments.iter().enumerate() {
            out.push_attachment(index, attachment);
            let is_known = members.stubs_up_to > 0 && attachment.revpos <= members.stubs_up_to;
            if members.attachments && !is_known {
                let content = self.content(view, id, attachment).await?;
                let content = content.ok_or_else(content_gone)?;
                out.push(",\"data\":");
                if members.binary {
                    out.push_display(out.contents.len());
                    out.contents.push(content);
                } else {
                    out.push("\"");
                    out.push(&base64(&content.bytes().await?));
                    out.push("\"");
                }
            } else {
                out.push_stub(attachment);
            }
            out.push("}");
        }
        out.push("}");
        Ok(())
    }
}

#[derive(Debug)]
struct ContentGone;

impl std::fmt::Display for ContentGone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("its content was compacted away")
    }
}

impl std::error::Error for ContentGone {}

/// Compaction dropped a content: of a body that no leaf has any more, or that a leaf had a moment ago.
pub(super) fn content_gone() -> Error {
    Error::missing().with_source(ContentGone)
}

impl Database {
    pub(super) fn last_seq(&self) -> u64 {
        self.inner.state.borrow().directory.last_seq()
    }

    /// Whether a read that began at `before` failed for want of a content, and the database has changed
    /// since, so that the same read may now find another state whole.
    pub(super) async fn may_read_again(&self, error: &Error, before: u64) -> bool {
        let source = std::error::Error::source(error);
        source.is_some_and(|source| source.is::<ContentGone>())
            && self.refresh().await.is_ok()
            && self.last_seq() != before
    }
}

/// The members of a JSON object's text, without its braces.
fn inner(body: &str) -> &str {
    body.strip_prefix('{').and_then(|body| body.strip_suffix('}')).unwrap_or("")
}

fn render_history(out: &mut Rendered, leaf: &StoredLeaf, doc: &DocState, members: &Members) {
    if members.revs {
        let path = path(&doc.tree, &leaf.rev);
        out.push(",\"_revisions\":{\"start\":");
        out.push_display(leaf.rev.generation);
        out.push(",\"ids\":[");
        for (index, rev) in path.iter().enumerate() {
            if index > 0 {
                out.push(",");
            }
            push_json_string(&mut out.json, &rev.id.to_string());
        }
        out.push("]}");
    }
    if let Some(infos) = &members.revs_info {
        out.push(",\"_revs_info\":[");
        for (index, (rev, status)) in infos.iter().enumerate() {
            out.push(if index > 0 { ",{\"rev\":" } else { "{\"rev\":" });
            out.push_rev(rev);
            out.push(",\"status\":\"");
            out.push(status);
            out.push("\"}");
        }
        out.push("]");
    }
    let others = |deleted: bool| {
        doc.leaves.iter().skip(1).filter(move |other| other.deleted == deleted).map(|other| &other.rev)
    };
    if members.conflicts && others(false).next().is_some() {
        out.push(",\"_conflicts\":");
        out.push_revs(others(false));
    }
    if members.deleted_conflicts && others(true).next().is_some() {
        out.push(",\"_deleted_conflicts\":");
        out.push_revs(others(true));
    }
    if members.local_seq {
        out.push(",\"_local_seq\":");
        out.push_display(doc.seq);
    }
}

/// A revision and its ancestors; the revision alone if the tree does not know it.
pub(super) fn path(tree: &RevTree, rev: &Rev) -> Vec<Rev> {
    match tree.find(rev) {
        Some(index) => tree.ancestry(index).into_iter().map(|i| tree.nodes()[i].rev.clone()).collect(),
        None => vec![rev.clone()],
    }
}
