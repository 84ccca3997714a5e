//! Attachments one at a time.

use super::{
    Database, Written,
    edit::{Change, Edit},
    options::{AttachmentOptions, rev},
    render::content_gone,
};
use crate::{
    error::{Error, Kind, Result},
    log::StoredLeaf,
    model::{Content, DraftAttachment, check_attachment_name, check_doc_id},
};

impl Database {
    /// Puts one attachment into a document, making the document if there is none: PouchDB's
    /// `putAttachment`.
    ///
    /// Errors: 409 `conflict` where `rev` is not a leaf (or absent for a document that exists).
    pub async fn put_attachment(
        &self,
        id: &str,
        name: &str,
        rev: Option<&str>,
        content: Content,
        content_type: &str,
    ) -> Result<Written> {
        check(id, name)?;
        let view = self.view()?;
        let with = DraftAttachment::new(name.to_owned(), content_type.to_owned(), content);
        let with = view.attachment(&*self.inner.platform, id, with, None).await?;
        let parent = rev.map(str::parse).transpose()?;
        let change = Change::Attachment { parent, name: name.to_owned(), with: Some(with) };
        self.write_one(Edit::new(&view, id.to_owned(), change)).await
    }

    /// Removes one attachment from a document: PouchDB's `removeAttachment`.
    ///
    /// Errors: 404 `not_found` if there is no such document or attachment; 409 `conflict`.
    pub async fn remove_attachment(&self, id: &str, name: &str, rev: &str) -> Result<Written> {
        check(id, name)?;
        let view = self.view()?;
        let parent = rev.parse()?;
        if self.doc(&view, id).await?.is_none() {
            return Err(Error::missing());
        }
        let change = Change::Attachment { parent: Some(parent), name: name.to_owned(), with: None };
        self.write_one(Edit::new(&view, id.to_owned(), change)).await
    }

    /// An attachment's bytes and MIME type: PouchDB's `getAttachment`.
    ///
    /// Errors: 404 `not_found`.
    pub async fn get_attachment(
        &self,
        id: &str,
        name: &str,
        options: &AttachmentOptions,
    ) -> Result<(Content, String)> {
        check_doc_id(id)?;
        loop {
            let before = self.last_seq();
            match self.get_attachment_now(id, name, options).await {
                Err(error) if self.may_read_again(&error, before).await => {}
                done => return done,
            }
        }
    }

    async fn get_attachment_now(
        &self,
        id: &str,
        name: &str,
        options: &AttachmentOptions,
    ) -> Result<(Content, String)> {
        let view = self.view()?;
        let leaf: StoredLeaf = match &options.rev {
            None => {
                let winner = self.winner(&view, id).await?.ok_or_else(Error::missing)?;
                if winner.deleted {
                    return Err(Error::deleted());
                }
                winner
            }
            Some(asked) => {
                let asked = rev(asked)?;
                let doc = self.doc(&view, id).await?.ok_or_else(Error::missing)?;
                self.leaf_of(&view, &doc, &asked).await?.ok_or_else(Error::missing)?
            }
        };
        let attachment = leaf.attachments.into_iter().find(|attachment| attachment.name == name);
        let attachment =
            attachment.ok_or_else(|| Error::new(Kind::NotFound, "Document is missing attachment"))?;
        let content = self.content(&view, id, &attachment).await?;
        Ok((content.ok_or_else(content_gone)?, attachment.content_type))
    }
}

fn check(id: &str, name: &str) -> Result<()> {
    check_doc_id(id)?;
    if id.starts_with("_local/") {
        return Err(Error::bad_request("_local documents do not accept attachments."));
    }
    check_attachment_name(name)
}
