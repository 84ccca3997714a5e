//! Bytes as text, and back in one way only: lower-case base32 and base64url, both without padding.

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};

/// RFC 4648's base32 in lower case: what a CouchDB attachment name and a URL both take as it is.
pub(super) fn base32(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

/// The bytes that a base32 text stands for; `None` if another text stands for the same or it is none.
pub(super) fn unbase32(text: &str) -> Option<Vec<u8>> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).ok()
}

/// Base64url.
pub(super) fn base64url(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

/// The bytes that a base64url text stands for; `None` if another text stands for the same or it is none.
pub(super) fn unbase64url(text: &str) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(text.as_bytes()).ok()
}
