//! A place in a changes feed.

use serde::{Deserialize, Serialize};

use super::Member;

/// A place in one database's changes feed, as that database wrote it.
///
/// Opaque: CouchDB 2 and later write text, CouchDB 1 and PouchDB's server numbers. Only the database
/// that issued it can compare it, so it is kept and sent back exactly as it came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub serde_json::Value);

impl Seq {
    /// Before the first change.
    pub fn zero() -> Self {
        Self(0.into())
    }

    /// As CouchDB takes it in `since=`.
    pub fn to_query(&self) -> String {
        match &self.0 {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

impl Member for Seq {
    const WHAT: &'static str = "a place in a feed";

    fn of(value: serde_json::Value) -> Option<Self> {
        Some(Self(value))
    }
}

impl From<u64> for Seq {
    fn from(seq: u64) -> Self {
        Self(seq.into())
    }
}
