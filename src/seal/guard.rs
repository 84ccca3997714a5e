//! The design document that an owner may put on the server: a net against accidents.
//!
//! It refuses whatever has not the form of a sealed document, so that a faulty client, or somebody who
//! writes with a general tool, cannot put clear text beside what is sealed. Against the server itself it
//! does nothing.

use serde_json::json;

/// Its id.
pub const GUARD_ID: &str = "_design/guard";

/// CouchDB takes a function without a name alone, which is no script: hence the file's name.
const VALIDATE: &str = include_str!("guard.js.txt");

/// The document as JSON text, ready to be put.
pub fn guard_document() -> String {
    json!({"_id": GUARD_ID, "language": "javascript", "validate_doc_update": VALIDATE}).to_string()
}
