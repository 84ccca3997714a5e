//! Documents with their history as JSON, in and out.

use std::fmt::Write as _;

use crate::{
    error::{Error, Result},
    model::{Draft, base64, push_json_string},
    peer::{ReplicatedAttachment, ReplicatedDoc},
};

/// How the contents of attachments go along.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// As base64 in the text.
    Inline,
    /// After the text, in order.
    Follow,
}

/// A document as a server gives it, asked for `revs=true`.
pub fn from_json(json: &str) -> Result<ReplicatedDoc> {
    let draft = Draft::parse(json, &[])?;
    let rev = draft.parent()?.ok_or_else(|| Error::bad_request("The document has no revision."))?;
    let path = draft.path.unwrap_or_else(|| vec![rev.clone()]);
    let id = draft.id.ok_or_else(|| Error::bad_request("The document has no id."))?;
    if path.first() != Some(&rev) {
        return Err(Error::bad_request("The document's history is another revision's."));
    }
    let attachments = draft.attachments.into_iter().map(|attachment| ReplicatedAttachment {
        name: attachment.name,
        content_type: attachment.content_type.unwrap_or_else(|| "application/octet-stream".to_owned()),
        revpos: attachment.revpos.unwrap_or(rev.generation),
        length: attachment.length.unwrap_or(0),
        digest: attachment.digest.unwrap_or_default(),
        is_encoded: attachment.is_encoded,
        content: attachment.content,
    });
    Ok(ReplicatedDoc {
        id,
        attachments: attachments.collect(),
        path,
        deleted: draft.deleted,
        body: draft.body,
    })
}

/// A document as `new_edits=false` takes it. The body's text is copied as it stands. Contents must be
/// in memory where they go [`Contents::Inline`].
pub async fn to_json(doc: &ReplicatedDoc, contents: Contents) -> Result<String> {
    let mut out = String::with_capacity(doc.body.len() + doc.path.len() * 36 + 200);
    out.push_str("{\"_id\":");
    push_json_string(&mut out, &doc.id);
    out.push_str(",\"_rev\":");
    push_json_string(&mut out, &doc.rev().to_string());
    // Writing to a String cannot fail.
    let _ = write!(out, ",\"_revisions\":{{\"start\":{},\"ids\":", doc.rev().generation);
    list(&mut out, '[', doc.path.iter(), |out, rev| {
        push_json_string(out, &rev.id.to_string());
    });
    out.push_str("]}");
    if doc.deleted {
        out.push_str(",\"_deleted\":true");
    }
    if !doc.attachments.is_empty() {
        out.push_str(",\"_attachments\":");
        let mut inline = Vec::with_capacity(doc.attachments.len());
        for attachment in &doc.attachments {
            inline.push(match &attachment.content {
                Some(content) if contents == Contents::Inline => Some(base64(&content.bytes().await?)),
                _ => None,
            });
        }
        list(&mut out, '{', doc.attachments.iter().zip(inline), |out, (attachment, data)| {
            push_attachment(out, attachment, data);
        });
        out.push('}');
    }
    let body = doc.body.trim();
    let members = body.strip_prefix('{').and_then(|body| body.strip_suffix('}')).unwrap_or("").trim();
    if !members.is_empty() {
        out.push(',');
        out.push_str(members);
    }
    out.push('}');
    Ok(out)
}

fn push_attachment(out: &mut String, attachment: &ReplicatedAttachment, data: Option<String>) {
    push_json_string(out, &attachment.name);
    out.push_str(":{\"content_type\":");
    push_json_string(out, &attachment.content_type);
    let _ = write!(out, ",\"revpos\":{}", attachment.revpos);
    // The server checks a digest against the bytes it gets; one of compressed bytes would not match.
    if !attachment.digest.is_empty() && !attachment.is_encoded {
        out.push_str(",\"digest\":");
        push_json_string(out, &attachment.digest);
    }
    let length = attachment.content.as_ref().map_or(attachment.length, |content| content.size_bytes());
    match (data, &attachment.content) {
        (Some(data), _) => {
            out.push_str(",\"data\":\"");
            out.push_str(&data);
            out.push('"');
        }
        (None, Some(_)) => {
            let _ = write!(out, ",\"length\":{length},\"follows\":true");
        }
        (None, None) => {
            let _ = write!(out, ",\"length\":{length},\"stub\":true");
        }
    }
    out.push('}');
}

/// Opens a list; the caller closes it.
fn list<T>(out: &mut String, open: char, items: impl Iterator<Item = T>, push: impl Fn(&mut String, T)) {
    out.push(open);
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(',');
        }
        push(out, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;

    const DOC: &str = r#"{"_id":"a\"b","_rev":"2-b","big":1180591620717411303424,"one":1.0,
        "_revisions":{"start":2,"ids":["b","a"]},"_conflicts":["2-a"],
        "_attachments":{"x":{"content_type":"text/plain","revpos":2,"digest":"md5-1B2M2Y8AsgTpgAmY7PhCfg==","length":0,"stub":true},
        "y":{"content_type":"text/css","revpos":1,"digest":"md5-2B2M2Y8AsgTpgAmY7PhCfg==","length":9,"stub":true,"encoding":"gzip","encoded_length":7}}}"#;

    #[test]
    fn a_document_goes_through_byte_for_byte() {
        let doc = from_json(DOC).unwrap();
        assert_eq!(doc.body, r#"{"big":1180591620717411303424,"one":1.0}"#);
        assert!(doc.attachments[1].is_encoded && !doc.attachments[0].is_encoded);
        assert_eq!(
            block_on(to_json(&doc, Contents::Inline)).unwrap(),
            r#"{"_id":"a\"b","_rev":"2-b","_revisions":{"start":2,"ids":["b","a"]},"_attachments":{"x":{"content_type":"text/plain","revpos":2,"digest":"md5-1B2M2Y8AsgTpgAmY7PhCfg==","length":0,"stub":true},"y":{"content_type":"text/css","revpos":1,"length":9,"stub":true}},"big":1180591620717411303424,"one":1.0}"#
        );
    }

    #[test]
    fn empty_bodies_and_contents() {
        let mut doc = from_json(r#"{"_id":"a","_rev":"1-a","_deleted":true}"#).unwrap();
        assert_eq!(
            block_on(to_json(&doc, Contents::Inline)).unwrap(),
            r#"{"_id":"a","_rev":"1-a","_revisions":{"start":1,"ids":["a"]},"_deleted":true}"#
        );
        doc.deleted = false;
        doc.body = " { \"v\" : {} } ".to_owned();
        doc.attachments.push(ReplicatedAttachment {
            name: "n".to_owned(),
            content_type: "a/b".to_owned(),
            revpos: 1,
            length: 7,
            digest: String::new(),
            is_encoded: true,
            content: Some(crate::model::Content::from(b"hi".to_vec())),
        });
        assert_eq!(
            block_on(to_json(&doc, Contents::Inline)).unwrap(),
            r#"{"_id":"a","_rev":"1-a","_revisions":{"start":1,"ids":["a"]},"_attachments":{"n":{"content_type":"a/b","revpos":1,"data":"aGk="}},"v" : {}}"#
        );
        assert!(block_on(to_json(&doc, Contents::Follow)).unwrap().contains(r#""length":2,"follows":true"#));
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for bad in [
            "[]",
            r#"{"_id":"a"}"#,
            r#"{"_rev":"1-a"}"#,
            r#"{"_id":"a","_rev":"2-b","_revisions":{"start":2,"ids":["x"]}}"#,
        ] {
            assert!(from_json(bad).is_err(), "{bad}");
        }
    }
}
