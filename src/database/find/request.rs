//! What is asked of `find` and of indexes, and how it is refused: with CouchDB's names and reasons, where it would
//! show an Erlang term with JSON.

use serde_json::{Map, Value};

use crate::{
    error::{Error, Result},
    selector::{Selector, field_path, value_at},
};

/// What CouchDB calls a refusal of a selector, by how its reason begins.
const SELECTOR_ERRORS: [(&str, &str); 5] = [
    ("Bad argument", "bad_arg"),
    ("Invalid operator", "invalid_operator"),
    ("Unsupported operator", "not_supported"),
    ("Invalid field name", "invalid_field_name"),
    ("One or more", "invalid_selector"),
];

/// What is asked of `find`.
pub(super) struct Request {
    pub(super) selector: Selector,
    /// CouchDB makes an empty result of a selector that is an empty list of conditions and nothing else.
    pub(super) finds_nothing: bool,
    pub(super) use_index: Option<IndexName>,
    pub(super) limit: u64,
    pub(super) skip: u64,
    pub(super) sort: Sort,
    /// The paths to keep; all of a document if empty.
    pub(super) fields: Vec<Vec<String>>,
}

/// Fields in their order: to sort by, or of an index.
#[derive(Default)]
pub(super) struct Sort {
    /// As they were written.
    pub(super) names: Vec<String>,
    pub(super) paths: Vec<Vec<String>>,
    pub(super) descending: bool,
}

/// An index as `use_index` names it.
pub(super) struct IndexName {
    pub(super) ddoc: String,
    pub(super) name: Option<String>,
}

pub(super) fn refused(name: &str, reason: impl Into<String>) -> Error {
    Error::remote(400, name, reason)
}

/// A JSON object's members.
pub(super) fn object(text: &str) -> Result<Map<String, Value>> {
    match serde_json::from_str(text) {
        Ok(Value::Object(given)) => Ok(given),
        _ => Err(Error::bad_request("Request body must be a JSON object")),
    }
}

/// Takes a member; one that is null is not given.
pub(super) fn take(given: &mut Map<String, Value>, key: &str) -> Option<Value> {
    given.remove(key).filter(|value| !value.is_null())
}

pub(super) fn required(given: &mut Map<String, Value>, key: &str) -> Result<Value> {
    take(given, key).ok_or_else(|| refused("missing_required_key", format!("Missing required key: {key}")))
}

/// Refuses what nobody took.
pub(super) fn nothing_else(given: &Map<String, Value>) -> Result<()> {
    match given.keys().next() {
        None => Ok(()),
        Some(key) => Err(refused("invalid_key", format!("Invalid key {key} for this request."))),
    }
}

/// The name of an index or of its design document.
pub(super) fn index_name(value: Value) -> Result<String> {
    match value {
        Value::String(name) if name.is_empty() => {
            Err(refused("invalid_empty_string", "Index name or ddoc cannot be empty string"))
        }
        Value::String(name) => Ok(name.strip_prefix("_design/").map(str::to_owned).unwrap_or(name)),
        other => Err(refused("invalid_string", format!("Invalid string: {other}"))),
    }
}

/// A path as CouchDB names what is wrong with it.
fn path(name: &str) -> Result<Vec<String>> {
    field_path(name).map_err(named)
}

fn named(error: Error) -> Error {
    let name = SELECTOR_ERRORS.iter().find(|(begin, _)| error.reason().starts_with(begin));
    refused(name.map_or("bad_request", |(_, name)| name), error.reason())
}

impl Request {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut given = object(text)?;
        let selector = required(&mut given, "selector")?;
        let Value::Object(members) = &selector else {
            let reason = format!("Selector must be a JSON object, not: {selector}");
            return Err(refused("invalid_selector_json", reason));
        };
        let is_empty_list = |(name, list): (&String, &Value)| {
            ["$and", "$or"].contains(&name.as_str()) && list.as_array().is_some_and(Vec::is_empty)
        };
        let request = Self {
            finds_nothing: members.len() == 1 && members.iter().any(is_empty_list),
            selector: Selector::parse(&selector).map_err(named)?,
            use_index: take(&mut given, "use_index").map(IndexName::parse).transpose()?.flatten(),
            limit: count(take(&mut given, "limit"), u64::MAX)?,
            skip: count(take(&mut given, "skip"), 0)?,
            sort: Sort::parse(take(&mut given, "sort"))?,
            fields: fields(take(&mut given, "fields"))?,
        };
        nothing_else(&given)?;
        Ok(request)
    }
}

fn count(value: Option<Value>, default: u64) -> Result<u64> {
    let Some(value) = value else { return Ok(default) };
    let reason = || format!("{value} is not an integer greater than or equal to zero");
    value.as_u64().ok_or_else(|| refused("invalid_non_neg_integer", reason()))
}

fn fields(value: Option<Value>) -> Result<Vec<Vec<String>>> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let reason = || format!("Fields must be an array of strings, not: {value}");
    let fields = value.as_array().ok_or_else(|| refused("invalid_fields", reason()))?;
    let field = |field: &Value| match field {
        Value::String(name) => path(name),
        other => Err(refused("invalid_field", format!("Invalid JSON for field spec: {other}"))),
    };
    fields.iter().map(field).collect()
}

impl Sort {
    /// `["a", {"b": "asc"}]`: all of them up or all of them down.
    pub(super) fn parse(value: Option<Value>) -> Result<Self> {
        let Some(value) = value else { return Ok(Self::default()) };
        let Value::Array(fields) = value else {
            return Err(refused(
                "invalid_sort_json",
                format!("Sort must be an array of sort specs, not: {value}"),
            ));
        };
        let mut sort = Self::default();
        for (index, field) in fields.iter().enumerate() {
            let one = field
                .as_object()
                .filter(|members| members.len() == 1)
                .and_then(|members| members.iter().next());
            let (name, descending) = match (field, one) {
                (Value::String(name), _) if !name.is_empty() => (name, false),
                (_, Some((name, Value::String(way)))) if way == "asc" || way == "desc" => {
                    (name, way == "desc")
                }
                _ => return Err(refused("invalid_sort_field", format!("Invalid sort field: {field}"))),
            };
            if index > 0 && sort.descending != descending {
                let reason = "Sorts currently only support a single direction for all fields.";
                return Err(refused("unsupported_mixed_sort", reason));
            }
            sort.descending = descending;
            sort.paths.push(path(name)?);
            sort.names.push(name.clone());
        }
        Ok(sort)
    }

    /// What a document has in the fields, if it has them all.
    pub(super) fn key(&self, doc: &Value) -> Option<Box<[Value]>> {
        self.paths.iter().map(|path| value_at(doc, path).cloned()).collect()
    }
}

impl IndexName {
    /// `"ddoc"`, `"ddoc/name"`, `["ddoc"]` or `["ddoc", "name"]`, each with or without `_design/`.
    fn parse(value: Value) -> Result<Option<Self>> {
        let text = match &value {
            Value::String(text) => Some(text.clone()),
            Value::Array(parts) => {
                parts.iter().map(Value::as_str).collect::<Option<Vec<_>>>().map(|parts| parts.join("/"))
            }
            _ => None,
        };
        let parts =
            text.as_ref().map(|text| text.strip_prefix("_design/").unwrap_or(text).split('/').collect());
        let parts: Vec<&str> = parts.unwrap_or_default();
        match parts[..] {
            [""] => Ok(None),
            [ddoc] => Ok(Some(Self { ddoc: ddoc.to_owned(), name: None })),
            [ddoc, name] => Ok(Some(Self { ddoc: ddoc.to_owned(), name: Some(name.to_owned()) })),
            _ => Err(refused("invalid_index_name", format!("Invalid index name: {value}"))),
        }
    }

    /// The warning that it was not used.
    pub(super) fn not_used(&self) -> String {
        let ddoc = &self.ddoc;
        match &self.name {
            None => format!(
                "_design/{ddoc} was not used because it does not contain a valid index for this query."
            ),
            Some(name) => {
                format!("_design/{ddoc}, {name} was not used because it is not a valid index for this query.")
            }
        }
    }
}
