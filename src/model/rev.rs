//! Revision names: `generation-id`.
//!
//! CouchDB keeps a revision's id as 16 bytes where it was written as 32 hexadecimal digits, and as
//! the text itself otherwise (any text is allowed when a revision comes from elsewhere). Its order,
//! which picks winners, compares those bytes; so does ours (`couch_doc.erl`, `parse_revid/2`).

use std::{cmp::Ordering, fmt, str::FromStr};

use crate::error::{Error, Result};

/// The part of a revision after the dash.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum RevId {
    /// 32 hexadecimal digits: every revision that CouchDB or Settee made itself.
    Hash([u8; 16]),
    /// Anything else that somebody wrote with `new_edits: false`.
    Text(Box<str>),
}

impl RevId {
    /// Reads the part after the dash; errors with 400 `bad_request` where CouchDB does.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::bad_request("Invalid rev format"));
        }
        if text.len() != 32 {
            return Ok(Self::Text(text.into()));
        }
        super::unhex(text).map(Self::Hash).ok_or_else(|| Error::bad_request("Invalid rev format"))
    }

    /// The bytes that CouchDB compares.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Hash(hash) => hash,
            Self::Text(text) => text.as_bytes(),
        }
    }
}

impl fmt::Display for RevId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Hash(hash) => f.write_str(&super::hex(hash)),
        }
    }
}

impl fmt::Debug for RevId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialOrd for RevId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RevId {
    fn cmp(&self, other: &Self) -> Ordering {
        // A hash and a text with the same 16 bytes are different revisions; any fixed order does.
        self.as_bytes()
            .cmp(other.as_bytes())
            .then_with(|| matches!(self, Self::Text(_)).cmp(&matches!(other, Self::Text(_))))
    }
}

/// One revision of one document: `3-917fa2381192822767f010b95b45325b`.
///
/// Ordered by generation, then id: among leaves that are equally deleted, the greatest wins.
///
/// ```
/// use settee::model::Rev;
/// let rev: Rev = "3-917fa2381192822767f010b95b45325b".parse().unwrap();
/// assert_eq!(rev.generation, 3);
/// assert!(rev > "2-ffffffffffffffffffffffffffffffff".parse().unwrap());
/// assert!("three-abc".parse::<Rev>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rev {
    /// How many edits led here, from 1.
    pub generation: u64,
    /// Which of the edits of that generation.
    pub id: RevId,
}

impl FromStr for Rev {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::bad_request("Invalid rev format");
        let (generation, id) = text.split_once('-').ok_or_else(bad)?;
        // Digits only: `parse` alone would take a sign. 15 digits stay exact in a JavaScript number.
        if generation.is_empty() || generation.len() > 15 || !generation.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        let generation = generation.parse().map_err(|_| bad())?;
        if generation == 0 {
            return Err(bad());
        }
        Ok(Self { generation, id: RevId::parse(id)? })
    }
}

impl fmt::Display for Rev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.generation, self.id)
    }
}

impl fmt::Debug for Rev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Rev {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Rev {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_what_couchdb_does() {
        for text in ["1-a", "12-917fa2381192822767f010b95b45325b", "1-a-b"] {
            assert_eq!(text.parse::<Rev>().unwrap().to_string(), text);
        }
        let upper: Rev = "1-917FA2381192822767F010B95B45325B".parse().unwrap();
        assert_eq!(upper.to_string(), "1-917fa2381192822767f010b95b45325b");
    }

    #[test]
    fn refuses_what_is_no_revision() {
        for text in [
            "",
            "-",
            "1",
            "1-",
            "-a",
            "a-b",
            "+1-a",
            "0-a",
            "1.5-a",
            " 1-a",
            "1-zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
            "99999999999999999999-a",
        ] {
            let error = text.parse::<Rev>().unwrap_err();
            assert_eq!((error.status(), error.reason()), (400, "Invalid rev format"), "{text}");
        }
    }

    #[test]
    fn order_is_generation_then_bytes() {
        let rev = |text: &str| text.parse::<Rev>().unwrap();
        assert!(rev("2-a") > rev("1-b"));
        assert!(rev("10-a") > rev("9-b"));
        // 0x7a.. as bytes sorts before the text "zz", as in Erlang.
        assert!(rev("1-00000000000000000000000000000000") < rev("1-0"));
    }
}
