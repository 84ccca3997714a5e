//! Mango selectors: which documents a filtered changes feed or replication lets through.
//!
//! The meaning is that of CouchDB's `mango_selector.erl`, with its corners, because a pull is
//! filtered by the server and a push by this code and the two must agree:
//!
//! - A field that a document lacks satisfies `{"$exists": false}` and nothing else, so neither `$ne`,
//!   `$nin` nor `$not` over a missing field matches. A path that leads into something other than an
//!   object or array satisfies nothing at all. Both follow from CouchDB moving every negation down
//!   to the single conditions first, which is also why `$and`, `$or` and `$nor` without members
//!   match everything, negated or not.
//! - Below `$elemMatch`, `$allMatch` and `$keyMapMatch` negations stay where they are: `$not` there is
//!   a plain "does not match", true for missing fields too, and a `$nor` that is reached makes the
//!   operator around it match nothing.
//! - An empty selector matches everything, but an empty object inside one means "equals `{}`".
//! - `_id` is compared as `allDocs` sorts it, by its bytes, and comes after whatever is no string.
//!
//! What differs from a server, knowingly:
//!
//! - Strings sort as CouchDB's ICU does for ASCII: punctuation, digits, letters, with case as the tie
//!   break. Other characters sort after ASCII by code point, so "é" is after "z" here and next to "e"
//!   there. Strings are equal when their characters are; ICU also equates composed with decomposed
//!   accents and ignores control characters.
//! - Objects compare by their members in order of name; CouchDB compares them as the documents wrote
//!   them and finds `{"a":1,"b":2}` and `{"b":2,"a":1}` unequal.
//! - `$regex` takes the `regex-lite` syntax, not PCRE's. A pattern with look-around, back-references, atomic
//!   groups or `\p` is a bad argument. Read differently without an error: `a++` is no more than `a+`, `\<`
//!   and `\>` are ends of words, `$` is the very end and not also before a last newline. `.` is a character,
//!   and `\w` and `(?i)` know ASCII only, where the server takes each byte of UTF-8 for a Latin-1
//!   character. Matching takes linear time.
//! - `$beginsWith` compares characters; CouchDB refuses a prefix that ends inside a grapheme cluster.
//! - Numbers over 64 bits are floats, so never integers to `$mod`.
//! - `$mod` by zero is a bad argument; CouchDB accepts it and then fails on the first integer. `$text` is
//!   not supported, whereas CouchDB takes it to match everything outside a text index.
//! - A reason shows the bad argument as JSON, not as an Erlang term.

mod plan;

use std::cmp::Ordering;

use regex_lite::Regex;
use serde_json::{Number, Value};

use crate::error::{Error, Result};
pub use plan::Span;

/// How deep a selector may nest; `serde_json` reads no deeper text, so that only one built in memory can be.
const MAX_DEPTH: usize = 128;

/// How many characters of a bad argument a reason repeats.
const MAX_SHOWN: usize = 200;

/// A checked selector, ready to be asked about any number of documents.
#[derive(Clone, Debug)]
pub struct Selector {
    root: Node,
}

impl Selector {
    /// Checks a selector; what CouchDB refuses is a `bad_request` with the reason it would give.
    pub fn parse(value: &Value) -> Result<Selector> {
        let Value::Object(members) = value else {
            return Err(Error::bad_request("Selector error: expected a JSON object"));
        };
        if !within_depth(value, MAX_DEPTH) {
            return Err(Error::bad_request(format!("Selector error: nested deeper than {MAX_DEPTH} levels")));
        }
        if members.is_empty() {
            return Ok(Selector { root: Node::All(Vec::new()) });
        }
        let root = node(value, &mut Vec::new(), Negation::Off)?;
        // Only a lone condition is caught, as on the server: within an `$and` it is about the document itself.
        if matches!(&root, Node::Field { path, .. } if path.is_empty()) {
            return Err(Error::bad_request("One or more conditions is missing a field name."));
        }
        Ok(Selector { root })
    }

    /// Whether a document, with its `_id` and `_rev`, is one of those selected.
    pub fn matches(&self, doc: &Value) -> bool {
        self.root.eval(doc) == Some(true)
    }
}

/// A selector with its field names gathered into paths and its negations at the conditions.
#[derive(Clone, Debug)]
enum Node {
    /// Every one matches; none to match is a match.
    All(Vec<Node>),
    /// At least one matches; here too, none to match is a match.
    Any(Vec<Node>),
    /// A negation that was left in place, below an operator on elements or keys.
    Not(Box<Node>),
    /// A condition on what is found at the path.
    Field { path: Vec<String>, test: Test, negated: bool },
    /// What CouchDB accepts and then cannot evaluate.
    Unevaluable,
}

/// A condition on one value. The operators that are missing here are the negations of these.
#[derive(Clone, Debug)]
enum Test {
    Exists,
    Less(Value),
    LessOrEqual(Value),
    Equal(Value),
    In(Vec<Value>),
    All(Vec<Value>),
    Type(String),
    Mod(i128, i128),
    Size(u64),
    Regex(Regex),
    BeginsWith(String),
    SomeElement(Box<Node>),
    EveryElement(Box<Node>),
    SomeKey(Box<Node>),
}

/// What the operators around a part of the selector do to its conditions.
#[derive(Clone, Copy, PartialEq)]
enum Negation {
    /// Nothing: they hold as written.
    Off,
    /// They are turned around.
    On,
    /// As written, and so are the negations within.
    InPlace,
}

fn within_depth(value: &Value, left: usize) -> bool {
    match value {
        Value::Array(items) => left > 0 && items.iter().all(|item| within_depth(item, left - 1)),
        Value::Object(members) => left > 0 && members.values().all(|member| within_depth(member, left - 1)),
        _ => true,
    }
}

fn bad_arg(operator: &str, arg: &Value) -> Error {
    let text = arg.to_string();
    let shown = text.char_indices().nth(MAX_SHOWN).map_or(text.as_str(), |(end, _)| &text[..end]);
    Error::bad_request(format!("Bad argument for operator {operator}: {shown}"))
}

/// A selector's part, below the fields in `path`.
fn node(value: &Value, path: &mut Vec<String>, negation: Negation) -> Result<Node> {
    let mut nodes = match value {
        Value::Object(members) => {
            members.iter().map(|(name, arg)| member(name, arg, path, negation)).collect::<Result<Vec<_>>>()?
        }
        _ => Vec::new(),
    };
    Ok(match nodes.len() {
        0 => condition(path, (Test::Equal(value.clone()), false), negation),
        1 => nodes.swap_remove(0),
        _ => conjunction(nodes, negation == Negation::On),
    })
}

/// All of them, or by De Morgan any of them if they were negated.
fn conjunction(nodes: Vec<Node>, negated: bool) -> Node {
    if negated { Node::Any(nodes) } else { Node::All(nodes) }
}

fn condition(path: &[String], (test, turned): (Test, bool), negation: Negation) -> Node {
    Node::Field { path: path.to_vec(), test, negated: turned != (negation == Negation::On) }
}

/// One name of a selector with what it holds: a combination, an operator or a field.
fn member(name: &str, arg: &Value, path: &mut Vec<String>, negation: Negation) -> Result<Node> {
    let opposite = match negation {
        Negation::Off => Negation::On,
        Negation::On => Negation::Off,
        Negation::InPlace => Negation::InPlace,
    };
    match name {
        "$and" | "$or" | "$nor" => {
            let items = arg.as_array().ok_or_else(|| bad_arg(name, arg))?;
            let inner = if name == "$nor" { opposite } else { negation };
            let nodes = items.iter().map(|item| node(item, path, inner)).collect::<Result<_>>()?;
            Ok(match (name, negation) {
                ("$nor", Negation::InPlace) => Node::Unevaluable,
                ("$or", _) => conjunction(nodes, negation != Negation::On),
                _ => conjunction(nodes, negation == Negation::On),
            })
        }
        "$not" if !arg.is_object() => Err(bad_arg(name, arg)),
        "$not" if negation == Negation::InPlace => Ok(Node::Not(Box::new(node(arg, path, negation)?))),
        "$not" => node(arg, path, opposite),
        _ if name.starts_with('$') => Ok(condition(path, test(name, arg)?, negation)),
        _ => {
            let outer = path.len();
            path.extend(field_path(name)?);
            let found = node(arg, path, negation);
            path.truncate(outer);
            found
        }
    }
}

/// The condition an operator stands for, and whether it is that condition's negation.
fn test(operator: &str, arg: &Value) -> Result<(Test, bool)> {
    let bad = || bad_arg(operator, arg);
    let invalid = || Error::bad_request(format!("Invalid operator: {operator}"));
    let list = || arg.as_array().cloned().ok_or_else(bad);
    let inner = || match arg {
        Value::Object(_) => node(arg, &mut Vec::new(), Negation::InPlace).map(Box::new),
        _ => Err(bad()),
    };
    Ok(match operator {
        "$lt" => (Test::Less(arg.clone()), false),
        "$gte" => (Test::Less(arg.clone()), true),
        "$lte" => (Test::LessOrEqual(arg.clone()), false),
        "$gt" => (Test::LessOrEqual(arg.clone()), true),
        "$eq" => (Test::Equal(arg.clone()), false),
        "$ne" => (Test::Equal(arg.clone()), true),
        "$in" => (Test::In(list()?), false),
        "$nin" => (Test::In(list()?), true),
        "$all" => (Test::All(list()?), false),
        "$exists" => (Test::Exists, !arg.as_bool().ok_or_else(bad)?),
        "$type" => (Test::Type(arg.as_str().ok_or_else(bad)?.to_owned()), false),
        "$size" => (Test::Size(arg.as_u64().ok_or_else(bad)?), false),
        "$mod" => match list()?.as_slice() {
            [divisor, remainder] => {
                let divisor = integer(divisor).filter(|divisor| *divisor != 0).ok_or_else(bad)?;
                (Test::Mod(divisor, integer(remainder).ok_or_else(bad)?), false)
            }
            _ => return Err(bad()),
        },
        // CouchDB knows these two with a string only.
        "$regex" => {
            let pattern = arg.as_str().ok_or_else(invalid)?;
            (Test::Regex(Regex::new(pattern).map_err(|error| bad().with_source(error))?), false)
        }
        "$beginsWith" => (Test::BeginsWith(arg.as_str().ok_or_else(invalid)?.to_owned()), false),
        "$elemMatch" => (Test::SomeElement(inner()?), false),
        "$allMatch" => (Test::EveryElement(inner()?), false),
        "$keyMapMatch" => (Test::SomeKey(inner()?), false),
        "$where" | "$geoWithin" | "$geoIntersects" | "$near" | "$nearSphere" | "$text" => {
            return Err(Error::bad_request(format!("Unsupported operator: {operator}")));
        }
        _ => return Err(invalid()),
    })
}

/// The names in a dotted path. Errors: 400 `bad_request` if there are none. `\.` is a dot in a name, and a backslash before a `$` keeps a name from being
/// taken for an operator.
pub fn field_path(name: &str) -> Result<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut started = false;
    let mut escaped = false;
    for c in name.chars() {
        if c == '.' && !escaped {
            if !started {
                break;
            }
            parts.push(String::new());
            started = false;
        } else {
            started = true;
            if let (true, Some(part)) = (c != '\\', parts.last_mut()) {
                part.push(c);
            }
        }
        escaped = c == '\\';
    }
    if started { Ok(parts) } else { Err(Error::bad_request(format!("Invalid field name: {name}"))) }
}

/// What is at the end of a path.
enum Found<'a> {
    Value(&'a Value),
    /// An object on the way has no such member.
    Missing,
    /// Something on the way has no members at all, or an array not that many.
    BadPath,
}

fn find<'a>(value: &'a Value, path: &[String]) -> Found<'a> {
    let mut at = value;
    for name in path {
        at = match at {
            Value::Object(members) => match members.get(name) {
                Some(member) => member,
                None => return Found::Missing,
            },
            Value::Array(items) => {
                let index = name.parse::<i64>().ok().and_then(|index| usize::try_from(index).ok());
                match index.and_then(|index| items.get(index)) {
                    Some(item) => item,
                    None => return Found::BadPath,
                }
            }
            _ => return Found::BadPath,
        };
    }
    Found::Value(at)
}

impl Node {
    /// Whether a value matches; `None` where CouchDB gives up.
    fn eval(&self, value: &Value) -> Option<bool> {
        match self {
            Node::All(nodes) => {
                for node in nodes {
                    if !node.eval(value)? {
                        return Some(false);
                    }
                }
                Some(true)
            }
            Node::Any(nodes) => {
                for node in nodes {
                    if node.eval(value)? {
                        return Some(true);
                    }
                }
                Some(nodes.is_empty())
            }
            Node::Not(node) => node.eval(value).map(|matched| !matched),
            Node::Field { path, test, negated } => Some(match find(value, path) {
                Found::Value(found) => test.holds(found, is_id(path)) != *negated,
                Found::Missing => *negated && matches!(test, Test::Exists),
                Found::BadPath => false,
            }),
            Node::Unevaluable => None,
        }
    }
}

/// What is at the end of a path, if there is anything.
pub fn value_at<'a>(doc: &'a Value, path: &[String]) -> Option<&'a Value> {
    match find(doc, path) {
        Found::Value(value) => Some(value),
        Found::Missing | Found::BadPath => None,
    }
}

fn is_id(path: &[String]) -> bool {
    matches!(path, [name] if name == "_id")
}

impl Test {
    /// `is_id` says that the value is a document's id.
    fn holds(&self, value: &Value, is_id: bool) -> bool {
        let equal = |other: &Value| compare(value, other).is_eq();
        let to = |bound: &Value| match (value, bound) {
            (Value::String(id), Value::String(bound)) if is_id => id.cmp(bound),
            (Value::String(_), _) if is_id => Ordering::Greater,
            _ => compare(value, bound),
        };
        match (self, value) {
            (Test::Exists, _) => true,
            (Test::Less(bound), _) => to(bound).is_lt(),
            (Test::LessOrEqual(bound), _) => to(bound).is_le(),
            (Test::Equal(other), _) => equal(other),
            // An array is in the list through its elements, never as a whole.
            (Test::In(list), Value::Array(items)) => {
                list.iter().any(|listed| items.iter().any(|item| compare(item, listed).is_eq()))
            }
            (Test::In(list), _) => list.iter().any(equal),
            // Elements are compared exactly, so that 1 is not 1.0.
            (Test::All(list), Value::Array(items)) => match list.as_slice() {
                [] => false,
                [whole @ Value::Array(_)] => items.contains(whole) || equal(whole),
                list => list.iter().all(|listed| items.contains(listed)),
            },
            (Test::Type(name), _) => name == type_name(value),
            (Test::Mod(divisor, remainder), _) => {
                integer(value).is_some_and(|number| number % divisor == *remainder)
            }
            (Test::Size(size), Value::Array(items)) => items.len() as u64 == *size,
            (Test::Regex(regex), Value::String(text)) => regex.is_match(text),
            (Test::BeginsWith(prefix), Value::String(text)) => text.starts_with(prefix),
            (Test::SomeElement(node), Value::Array(items)) => some(items.iter().map(|item| node.eval(item))),
            (Test::EveryElement(node), Value::Array(items)) => {
                !items.is_empty() && items.iter().all(|item| node.eval(item) == Some(true))
            }
            (Test::SomeKey(node), Value::Object(members)) => {
                some(members.keys().map(|key| node.eval(&Value::from(key.as_str()))))
            }
            _ => false,
        }
    }
}

/// Whether one of them matched before one could not be evaluated.
fn some(mut results: impl Iterator<Item = Option<bool>>) -> bool {
    results.find(|result| *result != Some(false)) == Some(Some(true))
}

fn integer(value: &Value) -> Option<i128> {
    value.as_number().and_then(whole)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// CouchDB's view collation: null, false, true, numbers, strings, arrays, objects.
pub fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare_numbers(a, b),
        (Value::String(a), Value::String(b)) => collate(a, b),
        (Value::Array(a), Value::Array(b)) => {
            first_difference(a.iter().zip(b).map(|(a, b)| compare(a, b)), a.len().cmp(&b.len()))
        }
        (Value::Object(a), Value::Object(b)) => first_difference(
            a.iter().zip(b).map(|((name, a), (other, b))| collate(name, other).then_with(|| compare(a, b))),
            a.len().cmp(&b.len()),
        ),
        _ => rank(a).cmp(&rank(b)),
    }
}

fn first_difference(mut pairs: impl Iterator<Item = Ordering>, otherwise: Ordering) -> Ordering {
    pairs.find(|order| order.is_ne()).unwrap_or(otherwise)
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(false) => 1,
        Value::Bool(true) => 2,
        Value::Number(_) => 3,
        Value::String(_) => 4,
        Value::Array(_) => 5,
        Value::Object(_) => 6,
    }
}

/// By exact value, integers beyond what a float can tell apart included.
fn compare_numbers(a: &Number, b: &Number) -> Ordering {
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(a), None) => compare_with_float(a, float(b)),
        (None, Some(b)) => compare_with_float(b, float(a)).reverse(),
        (None, None) => compare_floats(float(a), float(b)),
    }
}

fn whole(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

fn float(number: &Number) -> f64 {
    number.as_f64().unwrap_or_default()
}

/// JSON has no number that does not compare.
fn compare_floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or(Ordering::Equal)
}

fn compare_with_float(a: i128, b: f64) -> Ordering {
    /// From here on every float is an integer.
    const WHOLE: f64 = 9_007_199_254_740_992.0;
    if b.abs() < WHOLE { compare_floats(a as f64, b) } else { a.cmp(&(b as i128)) }
}

/// The place of each ASCII character in that order; 0 for those that do not count.
const ASCII: [u8; 128] = {
    let mut places = [0; 128];
    let mut at = 0;
    while at < BEFORE_LETTERS.len() {
        places[BEFORE_LETTERS.as_bytes()[at] as usize] = at as u8 + 1;
        at += 1;
    }
    let mut letter = b'a';
    while letter <= b'z' {
        places[letter as usize] = letter;
        places[letter.to_ascii_uppercase() as usize] = letter;
        letter += 1;
    }
    places
};

/// The characters that ICU's root order puts before the letters.
const BEFORE_LETTERS: &str = "\t\n\u{b}\u{c}\r _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$0123456789";

/// Strings in ICU's root order as far as ASCII goes: by letters first, then small before capital.
fn collate(a: &str, b: &str) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let by_letter = weights(a).map(|(letter, _)| letter).cmp(weights(b).map(|(letter, _)| letter));
    let by_case = || weights(a).map(|(_, capital)| capital).cmp(weights(b).map(|(_, capital)| capital));
    by_letter.then_with(by_case).then_with(|| a.cmp(b))
}

/// Where each character sorts and whether it is a capital; control characters do not count.
fn weights(text: &str) -> impl Iterator<Item = (u32, bool)> {
    text.chars().filter_map(|c| {
        let weight = match c {
            '\0'..='\u{7f}' => match ASCII[c as usize] {
                0 => return None,
                place => u32::from(place),
            },
            // The end of every range: ICU sorts it after all other characters.
            '\u{ffff}' => u32::MAX,
            _ => u32::from(c),
        };
        Some((weight, c.is_ascii_uppercase()))
    })
}
