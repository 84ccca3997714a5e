//! `multipart/related`: a document and its attachments in one request, contents from where they lie.
//!
//! ```text
//! --boundary                          CouchDB takes the parts in the order of the text's `follows`
//! Content-Type: application/json      entries and ignores their headers; PouchDB's server goes by
//!                                     the filename. So both are right.
//! {"_id":…,"_attachments":{"a":{"follows":true,…},…},…}
//! --boundary
//! Content-Disposition: attachment; filename="a"
//! Content-Type: image/png
//! Content-Length: 123456
//!
//! …123,456 bytes…
//! --boundary--
//! ```

use crate::{model::Content, peer::ReplicatedDoc};

/// The pieces of the body; sent one after the other. `json` is the document's text with `follows` for
/// every attachment that has a content.
pub fn body(json: &str, doc: &ReplicatedDoc, boundary: &str) -> Vec<Content> {
    let mut pieces = Vec::with_capacity(doc.attachments.len() * 2 + 1);
    let mut head = format!("--{boundary}\r\nContent-Type: application/json\r\n\r\n{json}");
    for attachment in &doc.attachments {
        let Some(content) = &attachment.content else { continue };
        head.push_str(&format!(
            "\r\n--{boundary}\r\nContent-Disposition: attachment; filename=\"{}\"\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
            quoted(&attachment.name),
            attachment.content_type.replace(|c: char| c.is_control(), " "),
            content.size_bytes(),
        ));
        pieces.push(Content::from(std::mem::take(&mut head).into_bytes()));
        pieces.push(content.clone());
    }
    head.push_str(&format!("\r\n--{boundary}--"));
    pieces.push(Content::from(head.into_bytes()));
    pieces
}

/// A file name between quotation marks, as browsers write it into forms.
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::ReplicatedAttachment;
    use futures::executor::block_on;

    #[test]
    fn bodies_are_exact() {
        let attachment = |name: &str, content: Option<&[u8]>| ReplicatedAttachment {
            name: name.to_owned(),
            content_type: "image/png".to_owned(),
            revpos: 1,
            length: 3,
            digest: String::new(),
            is_encoded: false,
            content: content.map(|bytes| Content::from(bytes.to_vec())),
        };
        let doc = ReplicatedDoc {
            id: "a".to_owned(),
            path: vec!["1-a".parse().unwrap()],
            deleted: false,
            body: "{}".to_owned(),
            attachments: vec![
                attachment("x\"y", Some(b"\0\r\n")),
                attachment("stub", None),
                attachment("ü", Some(b"")),
            ],
        };
        let pieces = body("{JSON}", &doc, "BOUND");
        assert_eq!(pieces.len(), 5);
        let mut bytes = Vec::new();
        for piece in &pieces {
            bytes.extend_from_slice(&block_on(piece.bytes()).unwrap());
        }
        let expected = "--BOUND\r\nContent-Type: application/json\r\n\r\n{JSON}\r\n--BOUND\r\n\
            Content-Disposition: attachment; filename=\"x%22y\"\r\nContent-Type: image/png\r\nContent-Length: 3\r\n\r\n\
            \0\r\n\r\n--BOUND\r\n\
            Content-Disposition: attachment; filename=\"ü\"\r\nContent-Type: image/png\r\nContent-Length: 0\r\n\r\n\
            \r\n--BOUND--";
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    }
}
