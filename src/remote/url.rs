//! Addresses: a database's URL taken apart, and what goes into one percent-encoded.
//!
//! A URL library knows punycode, file paths and a hundred schemes, for some 200 KB of wasm. A
//! database's address is `http(s)://[name:password@]host[:port]/path`, and the browser normalises what
//! is left when it sends; what is done here is what the identity of a replication needs.

use super::Login;
use crate::error::{Error, Result};

/// Where a database is, and who asks.
pub struct Location {
    /// Without name and password, without a slash at the end; scheme and host in lower case, without
    /// a port that goes without saying. Two spellings of one address are one.
    pub url: String,
    /// From the URL, percent-decoded.
    pub login: Option<Login>,
}

impl Location {
    /// Errors: 400 `bad_request`; the reason does not repeat the address, it may hold a password.
    pub fn parse(text: &str) -> Result<Self> {
        let no_address =
            || Error::bad_request("The address of a database is http:// or https://, a host and a name.");
        let text = text.trim();
        let text = text.split_once('#').map_or(text, |(text, _)| text);
        let (scheme, rest) = text.split_once("://").ok_or_else(no_address)?;
        let scheme = scheme.to_ascii_lowercase();
        let usual_port = match scheme.as_str() {
            "http" => ":80",
            "https" => ":443",
            _ => return Err(no_address()),
        };
        if rest.contains('?') {
            return Err(Error::bad_request("The address of a database has no question mark."));
        }
        let (authority, path) = rest.split_once('/').ok_or_else(no_address)?;
        let (login, host) = match authority.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, authority),
        };
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix(usual_port).unwrap_or(&host);
        let is_odd = |c: char| c.is_whitespace() || c.is_control() || "\\^|<>\"`{}".contains(c);
        let path = path.trim_matches('/');
        if host.is_empty() || host.starts_with(':') || host.contains(is_odd) || path.is_empty() {
            return Err(no_address());
        }
        let mut url = format!("{scheme}://{host}");
        for segment in path.split('/') {
            url.push('/');
            // What is encoded stays; a name typed with blanks or umlauts is made good.
            encode_into(&mut url, segment, b"%!$&'()*+,;=:@");
        }
        Ok(Self { url, login: login.map(parse_login).transpose()? })
    }
}

fn parse_login(text: &str) -> Result<Login> {
    let (username, password) = text.split_once(':').unwrap_or((text, ""));
    let login = Login { username: decode(username)?, password: decode(password)?, is_session: false };
    if login.username.contains(':') {
        // Basic authentication ends the name at the first colon.
        return Err(Error::bad_request("A name to log in with has no colon."));
    }
    Ok(login)
}

/// Percent-decoded text; a per cent sign that begins no code stands for itself, as browsers have it.
pub fn decode(text: &str) -> Result<String> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).map_err(|_| Error::bad_request("The name or password in the address is no UTF-8."))
}

fn encode_into(out: &mut String, text: &str, kept: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

/// Text as one segment of a path, or a value of a query.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    encode_into(&mut out, text, b"");
    out
}

/// A document's path under its database. The slash of `_design/` and `_local/` stays.
///
/// Errors: 400 `bad_request` for `.` and `..`: every URL parser takes them for directories, encoded or
/// not.
pub fn doc_path(id: &str) -> Result<String> {
    if is_dots(id) {
        return Err(Error::bad_request("A document of this id cannot be asked for by its address."));
    }
    for prefix in ["_design/", "_local/"] {
        if let Some(rest) = id.strip_prefix(prefix) {
            return Ok(format!("/{prefix}{}", encode(rest)));
        }
    }
    Ok(format!("/{}", encode(id)))
}

/// An attachment's path under its document's. Slashes stay, since some proxies refuse encoded ones,
/// unless a URL parser would clean them away.
pub fn attachment_path(id: &str, name: &str) -> Result<String> {
    if is_dots(name) {
        return Err(Error::bad_request("An attachment of this name cannot be asked for by its address."));
    }
    let is_cleaned = name.split('/').any(|segment| segment.is_empty() || is_dots(segment));
    let mut path = doc_path(id)?;
    path.push('/');
    encode_into(&mut path, name, if is_cleaned { b"" } else { b"/" });
    Ok(path)
}

fn is_dots(segment: &str) -> bool {
    segment == "." || segment == ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_address_are_one() {
        for text in [
            "http://localhost:5984/photos",
            " HTTP://LocalHost:5984/photos/ ",
            "http://a:b@localhost:5984/photos",
            "http://localhost:5984/photos#x",
        ] {
            assert_eq!(Location::parse(text).unwrap().url, "http://localhost:5984/photos", "{text}");
        }
        let url = |text: &str| Location::parse(text).unwrap().url;
        assert_eq!(url("https://couch.example:443/a/b%2Fc"), "https://couch.example/a/b%2Fc");
        assert_eq!(url("http://couch.example:80/x"), "http://couch.example/x");
        assert_eq!(url("http://[::1]:5984/ü x"), "http://[::1]:5984/%C3%BC%20x");
    }

    #[test]
    fn logins_are_decoded() {
        let login = |text: &str| {
            let login = Location::parse(text).unwrap().login.unwrap();
            (login.username, login.password)
        };
        assert_eq!(login("http://anna:secret@h/d"), ("anna".into(), "secret".into()));
        assert_eq!(login("http://a%40b.c:p%3A%2F%C3%BC@h/d"), ("a@b.c".into(), "p:/ü".into()));
        assert_eq!(login("http://anna@h/d"), ("anna".into(), "".into()));
        assert_eq!(login("http://a:100%@h/d"), ("a".into(), "100%".into()));
        assert_eq!(login("http://a@b:c@h/d"), ("a@b".into(), "c".into()));
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        for text in [
            "",
            "photos",
            "ftp://h/d",
            "http://h",
            "http://h/",
            "http:///d",
            "http://:5984/d",
            "http://secret@/d",
            "http://u:secret@h/d?x=1",
            "http://a b/d",
            "http://a%3Ab:secret@h/d",
            "http://%ff:secret@h/d",
        ] {
            let error = Location::parse(text).err().unwrap_or_else(|| panic!("{text} was taken"));
            assert_eq!((error.status(), error.name()), (400, "bad_request"));
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn ids_and_names_are_encoded() {
        assert_eq!(doc_path("a/b?c#d %é+").unwrap(), "/a%2Fb%3Fc%23d%20%25%C3%A9%2B");
        assert_eq!(doc_path("_design/a/b").unwrap(), "/_design/a%2Fb");
        assert_eq!(doc_path("_local/x y").unwrap(), "/_local/x%20y");
        assert_eq!(attachment_path("a", "b/c d.png").unwrap(), "/a/b/c%20d.png");
        assert_eq!(attachment_path("a", "b/../c").unwrap(), "/a/b%2F..%2Fc");
        assert_eq!(attachment_path("a", "/c").unwrap(), "/a/%2Fc");
        assert!(doc_path("..").is_err() && attachment_path("a", ".").is_err());
    }
}
