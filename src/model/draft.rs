//! A document as JSON text, taken apart no further than a database has to.
//!
//! CouchDB's own members begin with an underscore. They are read; the rest is copied as it stands, so
//! a number that JavaScript could not hold comes out as it went in.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Content, Digest, Rev, RevId, canonical, sort::sort_by};
use crate::error::{Error, Kind, Result};

/// Members that begin with an underscore and are kept like any other: CouchDB's replicator writes them into
/// its documents (`couch_doc.erl`, `transfer_fields/3`).
const KEPT: [&str; 6] = [
    "access",
    "replication_id",
    "replication_state",
    "replication_state_reason",
    "replication_state_time",
    "replication_stats",
];

/// A document as somebody wants to write it.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// `_id`, checked by [`check_doc_id`].
    pub id: Option<String>,
    /// `_rev` as written. `0-N` in `_local/` documents, else a [`Rev`].
    pub rev: Option<String>,
    /// `_revisions`: the revision itself, then its ancestors.
    pub path: Option<Vec<Rev>>,
    /// `_deleted`.
    pub deleted: bool,
    /// The other members: a JSON object as text.
    pub body: String,
    /// `_attachments`.
    pub attachments: Vec<DraftAttachment>,
}

/// An attachment as somebody wants to write it, or as a server describes it.
#[derive(Clone, Debug)]
pub struct DraftAttachment {
    /// Its name in the document.
    pub name: String,
    /// `content_type`, if given.
    pub content_type: Option<String>,
    /// `revpos`, if given.
    pub revpos: Option<u64>,
    /// `length`, if given.
    pub length: Option<u64>,
    /// `digest` as written, if given.
    pub digest: Option<String>,
    /// `encoding` was given: the writer keeps it compressed and the digest is of that.
    pub is_encoded: bool,
    /// The bytes; `None` for a stub.
    pub content: Option<Content>,
}

impl DraftAttachment {
    /// These bytes, under this name.
    pub fn new(name: String, content_type: String, content: Content) -> Self {
        Self {
            name,
            content_type: Some(content_type),
            revpos: None,
            length: None,
            digest: None,
            is_encoded: false,
            content: Some(content),
        }
    }
}

/// Refuses what CouchDB refuses as a document id, with its words: 400 `illegal_docid`.
pub fn check_doc_id(id: &str) -> Result<()> {
    let illegal = |reason: &'static str| Err(Error::new(Kind::IllegalDocid, reason));
    match id {
        "" => illegal("Document id must not be empty"),
        "_design/" => illegal("Illegal document id `_design/`"),
        "_local/" => illegal("Illegal document id `_local/`"),
        _ if id.starts_with("_design/") || id.starts_with("_local/") => Ok(()),
        _ if id.starts_with('_') => illegal("Only reserved document ids may start with underscore."),
        _ => Ok(()),
    }
}

/// Refuses what CouchDB refuses as an attachment's name: 400 `bad_request`.
pub fn check_attachment_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::bad_request("Attachment name must not be empty"));
    }
    if name.starts_with('_') {
        return Err(Error::bad_request(format!(
            "Attachment name '{name}' starts with prohibited character '_'"
        )));
    }
    Ok(())
}

/// Splits a JSON array into its elements' texts: 400 `bad_request` if it is none.
pub fn split_array(json: &str) -> Result<Vec<&RawValue>> {
    serde_json::from_str(json).map_err(|error| bad_json(&error))
}

/// The text of what an object has under a name, or an array at a place; `None` for what is neither.
pub fn text_at<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    if json.starts_with('[') {
        return split_array(json).ok()?.get(name.parse::<usize>().ok()?).map(|value| value.get());
    }
    let Members(members) = serde_json::from_str(json).ok()?;
    // JSON's last member of a name counts.
    members.into_iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.get())
}

/// Whether a text is a document's body: a JSON object without special members, as [`Draft::body`] is.
///
/// Errors: 400 `bad_request` (no JSON object), 400 `doc_validation` (a special member).
pub fn check_body(json: &str) -> Result<()> {
    let Members(members) = serde_json::from_str(json).map_err(|error| bad_json(&error))?;
    let is_special =
        |(key, _): &(Cow<str>, _)| key.strip_prefix('_').is_some_and(|name| !KEPT.contains(&name));
    if members.iter().any(is_special) {
        return Err(Error::doc_validation("A body has no special members."));
    }
    Ok(())
}

fn bad_json(error: &serde_json::Error) -> Error {
    Error::bad_request(format!("invalid UTF-8 JSON: {error}"))
}

impl Draft {
    /// Reads a document. `contents` are the bytes that came beside the text: an attachment whose `data`
    /// is the number n means the nth of them.
    ///
    /// Errors, all with CouchDB's words: 400 `bad_request` (no JSON object, bad base64, bad attachment
    /// name), 400 `illegal_docid`, 400 `doc_validation` (an unknown or malformed special member).
    pub fn parse(json: &str, contents: &[Content]) -> Result<Self> {
        let Members(members) = match serde_json::from_str(json) {
            Ok(members) => members,
            Err(error) if error.is_data() => {
                return Err(Error::bad_request("Document must be a JSON object"));
            }
            Err(error) => return Err(bad_json(&error)),
        };
        let mut draft = Draft { body: String::with_capacity(json.len()), ..Draft::default() };
        draft.body.push('{');
        for (key, value) in members {
            match key.strip_prefix('_').filter(|name| !KEPT.contains(name)) {
                Some(special) => draft.special(special, value.get(), contents)?,
                None => {
                    if draft.body.len() > 1 {
                        draft.body.push(',');
                    }
                    push_json_string(&mut draft.body, &key);
                    draft.body.push(':');
                    draft.body.push_str(value.get());
                }
            }
        }
        draft.body.push('}');
        Ok(draft)
    }

    fn special(&mut self, name: &str, value: &str, contents: &[Content]) -> Result<()> {
        match name {
            "id" => {
                let id: String = serde_json::from_str(value)
                    .map_err(|_| Error::new(Kind::IllegalDocid, "Document id must be a string"))?;
                check_doc_id(&id)?;
                self.id = Some(id);
            }
            "rev" => {
                // `undefined` and null are how JavaScript says that there is none.
                if value != "null" {
                    let rev =
                        serde_json::from_str(value).map_err(|_| Error::bad_request("Invalid rev format"))?;
                    self.rev = Some(rev);
                }
            }
            "deleted" => {
                self.deleted = serde_json::from_str(value)
                    .map_err(|_| Error::doc_validation("Bad special document member: _deleted"))?;
            }
            "revisions" => self.path = Some(revisions(value)?),
            "attachments" => {
                let Members(members) = serde_json::from_str(value)
                    .map_err(|_| Error::bad_request("Attachments must be a JSON object"))?;
                for (name, value) in members {
                    let attachment = attachment(name.into_owned(), value.get(), contents)?;
                    // JSON's last member of a name counts.
                    self.attachments.retain(|other| other.name != attachment.name);
                    self.attachments.push(attachment);
                }
                sort_by(&mut self.attachments, |a, b| a.name.cmp(&b.name));
            }
            // What `get` adds and a caller sends back unchanged.
            "revs_info" | "local_seq" | "conflicts" | "deleted_conflicts" => {}
            other => {
                return Err(Error::doc_validation(format!("Bad special document member: _{other}")));
            }
        }
        Ok(())
    }

    /// `_rev` as a revision: 400 `bad_request` where it is none.
    pub fn parent(&self) -> Result<Option<Rev>> {
        self.rev.as_deref().map(str::parse).transpose()
    }

    /// The body's part of the revision id.
    pub fn body_digest(&self) -> Result<Digest> {
        canonical::digest(&self.body)
    }
}

fn revisions(value: &str) -> Result<Vec<Rev>> {
    #[derive(Deserialize)]
    struct Revisions<'a> {
        #[serde(borrow)]
        start: Option<&'a RawValue>,
        #[serde(borrow)]
        ids: Option<&'a RawValue>,
    }
    let revisions: Revisions = serde_json::from_str(value)
        .map_err(|_| Error::doc_validation("Bad special document member: _revisions"))?;
    let start: u64 = revisions
        .start
        .and_then(|start| serde_json::from_str(start.get()).ok())
        .ok_or_else(|| Error::doc_validation("_revisions.start isn't an integer."))?;
    let ids: Vec<&RawValue> = revisions
        .ids
        .and_then(|ids| serde_json::from_str(ids.get()).ok())
        .ok_or_else(|| Error::doc_validation("_revisions.ids isn't a array."))?;
    // As `_rev`, at most 15 digits: exact in a JavaScript number, and never the last that counts.
    if start >= 1_000_000_000_000_000 {
        return Err(Error::doc_validation("_revisions.start is too large."));
    }
    if ids.is_empty() || start < ids.len() as u64 {
        return Err(Error::doc_validation("_revisions.start is lower than the number of _revisions.ids."));
    }
    ids.iter()
        .zip(0..)
        .map(|(id, back)| {
            let id: Cow<str> = serde_json::from_str::<String>(id.get())
                .map_err(|_| Error::doc_validation("RevId isn't a string"))?
                .into();
            let id =
                RevId::parse(&id).map_err(|_| Error::doc_validation("RevId isn't a valid hexadecimal"))?;
            Ok(Rev { generation: start - back, id })
        })
        .collect()
}

fn attachment(name: String, value: &str, contents: &[Content]) -> Result<DraftAttachment> {
    #[derive(Deserialize)]
    struct Json<'a> {
        content_type: Option<String>,
        revpos: Option<u64>,
        length: Option<u64>,
        digest: Option<String>,
        encoding: Option<String>,
        stub: Option<bool>,
        #[serde(borrow)]
        data: Option<&'a RawValue>,
    }
    check_attachment_name(&name)?;
    let invalid = |name: &str| Error::bad_request(format!("Invalid attachment data for {name}"));
    let json: Json = serde_json::from_str(value).map_err(|_| invalid(&name))?;
    let content = match json.data {
        None => {
            if json.stub != Some(true) {
                return Err(invalid(&name));
            }
            None
        }
        Some(data) if data.get().starts_with('"') => {
            let text: Cow<str> = match serde_json::from_str::<&str>(data.get()) {
                Ok(text) => text.into(),
                Err(_) => serde_json::from_str::<String>(data.get()).map_err(|_| invalid(&name))?.into(),
            };
            Some(Content::from_base64(&text).ok_or_else(|| invalid(&name))?)
        }
        Some(data) => {
            let index: usize = data.get().parse().map_err(|_| invalid(&name))?;
            Some(contents.get(index).ok_or_else(|| invalid(&name))?.clone())
        }
    };
    Ok(DraftAttachment {
        content_type: json.content_type,
        revpos: json.revpos,
        length: json.length,
        digest: json.digest,
        is_encoded: json.encoding.is_some(),
        content,
        name,
    })
}

/// Appends `text` as a JSON string.
pub fn push_json_string(out: &mut String, text: &str) {
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(text).to_string());
    }
}

/// An object's members in the order they stand in, values as text.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    members.push((key, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

/// A string that is borrowed where it holds no escapes; serde's own `Cow` is always owned.
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(text.into()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(text.to_owned().into()))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(json: &str) -> (u16, String, String) {
        let error = Draft::parse(json, &[]).unwrap_err();
        (error.status(), error.name().to_owned(), error.reason().to_owned())
    }

    #[test]
    fn special_members_are_read_and_the_rest_is_copied() {
        let draft = Draft::parse(
            r#"{"z":1.0,"_id":"a","big":123456789012345678901234567890,"_rev":"2-b","q\"":[ 1 ],"_deleted":true,"_conflicts":[]}"#,
            &[],
        )
        .unwrap();
        assert_eq!(draft.body, r#"{"z":1.0,"big":123456789012345678901234567890,"q\"":[ 1 ]}"#);
        assert_eq!(
            (draft.id.as_deref(), draft.rev.as_deref(), draft.deleted),
            (Some("a"), Some("2-b"), true)
        );
    }

    #[test]
    fn the_replicators_members_are_kept() {
        let draft =
            Draft::parse(r#"{"_id":"a","_replication_state":"error","_replication_stats":{"n":1}}"#, &[]);
        assert_eq!(draft.unwrap().body, r#"{"_replication_state":"error","_replication_stats":{"n":1}}"#);
    }

    #[test]
    fn bad_input_has_couchdbs_words() {
        for json in ["[]", "1", "\"a\"", "null", "true"] {
            assert_eq!(
                error(json),
                (400, "bad_request".into(), "Document must be a JSON object".into()),
                "{json}"
            );
        }
        assert_eq!(error("{\"a\":").0, 400);
        assert_eq!(error(r#"{"_id":1}"#).2, "Document id must be a string");
        assert_eq!(error(r#"{"_id":""}"#).2, "Document id must not be empty");
        assert_eq!(error(r#"{"_id":"_x"}"#).2, "Only reserved document ids may start with underscore.");
        assert_eq!(
            error(r#"{"_foo":1}"#),
            (400, "doc_validation".into(), "Bad special document member: _foo".into())
        );
        assert_eq!(error(r#"{"_deleted":1}"#).1, "doc_validation");
        assert_eq!(error(r#"{"_rev":1}"#).2, "Invalid rev format");
        assert_eq!(error(r#"{"_revisions":{"ids":["a"]}}"#).2, "_revisions.start isn't an integer.");
        assert_eq!(error(r#"{"_revisions":{"start":1}}"#).2, "_revisions.ids isn't a array.");
        assert_eq!(error(r#"{"_revisions":{"start":1,"ids":[1]}}"#).2, "RevId isn't a string");
        assert_eq!(error(r#"{"_revisions":{"start":18446744073709551615,"ids":["a"]}}"#).1, "doc_validation");
        for data in ["\"a\"", "\"====\"", "1", "-1", "{}", "\"YWI\"", "\"YW I=\"", "\"YWI=YWI=\""] {
            let json = format!(r#"{{"_attachments":{{"f":{{"data":{data}}}}}}}"#);
            assert_eq!(
                error(&json),
                (400, "bad_request".into(), "Invalid attachment data for f".into()),
                "{data}"
            );
        }
        assert_eq!(
            error(r#"{"_attachments":{"_f":{"data":""}}}"#).2,
            "Attachment name '_f' starts with prohibited character '_'"
        );
    }

    #[test]
    fn attachments_come_as_base64_as_stubs_or_beside_the_text() {
        let json = r#"{"_attachments":{"b":{"data":0,"content_type":"x/y"},"a":{"data":"aGk="},"c":{"stub":true,"revpos":3}}}"#;
        let draft = Draft::parse(json, &[Content::from(b"beside".to_vec())]).unwrap();
        let sizes: Vec<_> = draft
            .attachments
            .iter()
            .map(|a| (a.name.as_str(), a.content.as_ref().map(Content::size_bytes)))
            .collect();
        assert_eq!(sizes, [("a", Some(2)), ("b", Some(6)), ("c", None)]);
        assert_eq!(draft.attachments[2].revpos, Some(3));
    }
}
