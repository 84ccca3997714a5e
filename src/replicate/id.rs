//! The name under which a replication finds its checkpoints again.

use md5::{Digest as _, Md5};
use serde_json::{Map, Value, json};

use super::options::{Options, Style};
use crate::model::{hex, sort_by};

/// The version of the recipe below. A change of the recipe is a new version, so that nobody reads a
/// checkpoint of another replication.
pub const REPLICATION_ID_VERSION: u32 = 1;

/// The id of a replication's checkpoints (`_local/<id>`): the same for the same peers and the same
/// question. It is not the id that CouchDB or PouchDB would choose, so nobody's checkpoints mix.
///
/// `filter_code` is that of a filter function, so that changing it starts a replication anew, as in CouchDB.
///
/// Shape: 32 hexadecimal digits, the MD5 of a canonical JSON array of everything that decides which
/// documents go over.
pub fn replication_id(source: &str, target: &str, options: &Options, filter_code: Option<&str>) -> String {
    let mut doc_ids = options.doc_ids.clone();
    if let Some(ids) = &mut doc_ids {
        sort_by(ids, |a, b| a.cmp(b));
        ids.dedup();
    }
    // Parameters without a filter decide nothing.
    let filter = options.filter_function();
    let query_params = filter.map(|_| Value::Object(options.query_params.clone()));
    let filter = match filter_code {
        Some(code) => json!([filter, code]),
        None => json!(filter),
    };
    let parts = json!([
        "settee",
        REPLICATION_ID_VERSION,
        source,
        target,
        doc_ids,
        options.selector,
        filter,
        query_params,
        (options.style == Style::MainOnly).then_some("main_only"),
        options.since,
    ]);
    let text = canonical(parts).to_string();
    hex(&Md5::digest(text.as_bytes()))
}

/// Members sorted by name, whatever order the map type keeps.
fn canonical(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.into_iter().collect();
            sort_by(&mut members, |(a, _), (b, _)| a.cmp(b));
            let mut sorted = Map::new();
            for (name, value) in members {
                sorted.insert(name, canonical(value));
            }
            Value::Object(sorted)
        }
        Value::Array(items) => Value::Array(items.into_iter().map(canonical).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(json: &str) -> Options {
        serde_json::from_str(json).unwrap()
    }

    fn id(source: &str, target: &str, options: &Options) -> String {
        replication_id(source, target, options, None)
    }

    #[test]
    fn the_same_question_has_the_same_id() {
        let a = options(
            r#"{"doc_ids":["b","a"],"selector":{"x":1,"y":{"p":1,"q":2}},"batch_size":7,"live":true}"#,
        );
        let b = options(r#"{"doc_ids":["a","b","a"],"selector":{"y":{"q":2,"p":1},"x":1}}"#);
        assert_eq!(id("s", "t", &a), id("s", "t", &b));
        let named = options(r#"{"doc_ids":["a","b"],"filter":"_doc_ids"}"#);
        assert_eq!(id("s", "t", &named), id("s", "t", &options(r#"{"doc_ids":["a","b"]}"#)));
    }

    #[test]
    fn another_question_has_another_id() {
        let variants = [
            "{}",
            r#"{"doc_ids":[]}"#,
            r#"{"doc_ids":["a"]}"#,
            r#"{"selector":{"a":1}}"#,
            r#"{"filter":"d/f"}"#,
            r#"{"filter":"d/f","query_params":{"a":1}}"#,
            r#"{"style":"main_only"}"#,
            r#"{"since":"5-x"}"#,
        ];
        let ids: std::collections::HashSet<_> = variants.iter().map(|v| id("s", "t", &options(v))).collect();
        assert_eq!(ids.len(), variants.len());
        assert_ne!(id("s", "t", &options("{}")), id("t", "s", &options("{}")));
        let filtered = options(r#"{"filter":"d/f"}"#);
        let with = |code| replication_id("s", "t", &filtered, code);
        assert_ne!(with(Some("function () {}")), with(Some("function (doc) {}")));
        assert_eq!(with(Some("function () {}")), with(Some("function () {}")));
    }

    /// Changing this value makes every device start from the beginning: raise the version then.
    #[test]
    fn the_recipe_is_fixed() {
        let id = id("uuid:1", "http://localhost:5984/photos", &options("{}"));
        assert_eq!(id, "b91b74f13d8b7d561b3e43e9280de5bb");
    }
}
