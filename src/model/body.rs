//! A document's body as it is stored and sent.

use std::{cell::OnceCell, fmt, ops::Deref, rc::Rc};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

/// How a body ends that may be held in binary.
pub const BINARY_END: &str = "\"}}";

/// A JSON object as text. One that ends in base64url, as sealed documents do, may be held in binary instead: a quarter
/// less, and what seals, stores and opens it has no use for the text. It becomes text when somebody looks at it.
#[derive(Clone)]
pub struct Body {
    text: OnceCell<String>,
    /// What stands before the base64url, and what that stands for. A copy shares it.
    binary: Option<Rc<(String, Vec<u8>)>>,
}

impl Body {
    /// `head`, then the bytes in base64url without padding, then [`BINARY_END`].
    pub fn binary(head: String, bytes: Vec<u8>) -> Self {
        Self { text: OnceCell::new(), binary: Some(Rc::new((head, bytes))) }
    }

    /// See [`Body::binary`]; `None` of one that was text from the beginning.
    pub fn as_binary(&self) -> Option<(&str, &[u8])> {
        self.binary.as_ref().map(|binary| (&*binary.0, &*binary.1))
    }

    /// As text.
    pub fn into_text(mut self) -> String {
        let text = self.text.take();
        text.or_else(|| self.binary.as_deref().map(written)).unwrap_or_default()
    }
}

fn written((head, bytes): &(String, Vec<u8>)) -> String {
    let length = head.len() + bytes.len().div_ceil(3) * 4 + BINARY_END.len();
    let mut text = String::with_capacity(length);
    text.push_str(head);
    BASE64_URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
    text.push_str(BINARY_END);
    text
}

impl Deref for Body {
    type Target = str;

    fn deref(&self) -> &str {
        self.text.get_or_init(|| self.binary.as_deref().map(written).unwrap_or_default())
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self { text: text.into(), binary: None }
    }
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Body {}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_is_text_for_whoever_looks() {
        let body = Body::binary(r#"{"x":{"c":""#.to_owned(), vec![0xfb, 0xff, 0]);
        let text = r#"{"x":{"c":"-_8A"}}"#;
        assert_eq!(body.clone().into_text(), text);
        assert_eq!((&*body, body.len()), (text, text.len()));
        assert_eq!(body, Body::from(text.to_owned()));
        assert_eq!(body.as_binary(), Some((r#"{"x":{"c":""#, &[0xfb, 0xff, 0][..])));
        assert_eq!(body.into_text(), text);
        assert_eq!(Body::from("{}".to_owned()).as_binary(), None);
    }
}
