//! What a browser threw, as an error of ours.
//!
//! A rejection may be a `DOMException`, an `Error`, a string or nothing at all, and a newer browser
//! may use a name that nobody here has heard of. None of that may panic; all of it keeps the
//! browser's own words.

use std::fmt;

use js_sys::Reflect;
use wasm_bindgen::JsValue;

use crate::error::{Error, Kind};

/// The name and message of anything that JavaScript threw.
#[derive(Clone, Debug)]
pub(super) struct Thrown {
    /// `QuotaExceededError`, for one; empty when it had none.
    pub(super) name: String,
    message: String,
}

impl Thrown {
    pub(super) fn new(name: &str, message: &str) -> Self {
        Self { name: name.into(), message: message.into() }
    }

    /// An idb error keeps the `DOMException` only inside its sentence (`…: <name>: <message>`), and
    /// rexie hides it one level deeper. Reading the sentence spares us a direct dependency on idb.
    pub(super) fn of_rexie(error: &rexie::Error) -> Self {
        let words = std::error::Error::source(error).unwrap_or(error).to_string();
        let name = words.split(": ").find(|part| part.ends_with("Error") && !part.contains(' '));
        Self { name: name.unwrap_or_default().into(), message: words }
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.name == name
    }

    /// Why a transaction failed.
    pub(super) fn into_storage_error(self) -> Error {
        match self.name.as_str() {
            "QuotaExceededError" => Error::new(
                Kind::InsufficientStorage,
                "There is no room left for this site's data on this device. Nothing was written; \
                 free some space or delete something, and try again.",
            ),
            "VersionError" => Error::new(
                Kind::SchemaTooNew,
                "The database was written by a newer version of this page; reload the page to use it.",
            ),
            _ => Error::new(Kind::Unknown, format!("The browser's storage failed: {self}")),
        }
        .with_source(self)
    }

    /// Why a database did not open: here the same names mean that there is no storage to be had.
    pub(super) fn into_open_error(self) -> Error {
        match self.name.as_str() {
            "SecurityError" | "InvalidStateError" | "NotAllowedError" | "NotSupportedError" => {
                storage_unavailable().with_source(self)
            }
            _ => self.into_storage_error(),
        }
    }
}

/// The error for a platform that stores nothing.
pub(super) fn storage_unavailable() -> Error {
    Error::new(
        Kind::StorageUnavailable,
        "This browser does not let this page store anything: storage is blocked in its settings, \
         or this is a private window.",
    )
}

impl From<&JsValue> for Thrown {
    fn from(value: &JsValue) -> Self {
        let member = |key: &str| {
            let value = if value.is_object() { Reflect::get(value, &key.into()).ok() } else { None };
            value.and_then(|value| value.as_string()).unwrap_or_default()
        };
        let (name, mut message) = (member("name"), member("message"));
        if name.is_empty() && message.is_empty() {
            message = value.as_string().unwrap_or_else(|| format!("{value:?}"));
        }
        Self { name, message }
    }
}

impl fmt::Display for Thrown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name.as_str(), self.message.as_str()) {
            ("", message) => f.write_str(message),
            (name, "") => f.write_str(name),
            (name, message) => write!(f, "{name}: {message}"),
        }
    }
}

impl std::error::Error for Thrown {}
