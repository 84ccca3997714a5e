//! What an index may make of a selector: what is surely there in every document that matches, and
//! within which bounds.
//!
//! Bounds may let pass what does not match, and never leave out what does: whoever uses them asks the selector
//! about each document that is left.

use std::{cmp::Ordering, ops::Bound};

use serde_json::{Map, Value};

use super::{Node, Selector, Test, compare, is_id};

/// The values from one bound to the other, in the order of [`compare`]; those of an `_id` by their bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Where it begins.
    pub from: Bound<Value>,
    /// Where it ends.
    pub to: Bound<Value>,
}

impl Span {
    /// All values there are.
    pub const ALL: Span = Span { from: Bound::Unbounded, to: Bound::Unbounded };

    fn of(value: &Value) -> Self {
        Self { from: Bound::Included(value.clone()), to: Bound::Included(value.clone()) }
    }

    /// The one value that it is made of.
    pub fn only(&self) -> Option<&Value> {
        match (&self.from, &self.to) {
            (Bound::Included(from), Bound::Included(to)) if compare(from, to).is_eq() => Some(from),
            _ => None,
        }
    }
}

impl Selector {
    /// Whether a document that matches surely has something there.
    pub fn requires(&self, path: &[String]) -> bool {
        self.root.requires(path)
    }

    /// Where the values at `path` lie in the documents that match: spans that are the same or have nothing in
    /// common, in no order; `ALL` alone if the selector says nothing of it that could be used.
    pub fn spans(&self, path: &[String]) -> Vec<Span> {
        let (mut span, mut among) = (Span::ALL, None);
        let mut raise = |bound| tighten(&mut span.from, bound, Ordering::Greater);
        let mut lower = |bound| tighten(&mut span.to, bound, Ordering::Less);
        let mut tests = Vec::new();
        self.root.conjuncts(path, &mut tests);
        for (test, negated) in tests {
            match (test, negated) {
                (Test::Equal(value), false) => {
                    raise(Bound::Included(value.clone()));
                    lower(Bound::Included(value.clone()));
                }
                (Test::Less(value), true) => raise(Bound::Included(value.clone())),
                (Test::LessOrEqual(value), true) => raise(Bound::Excluded(value.clone())),
                (Test::Less(value), false) => lower(Bound::Excluded(value.clone())),
                (Test::LessOrEqual(value), false) => lower(Bound::Included(value.clone())),
                (Test::BeginsWith(prefix), false) => {
                    raise(Bound::Included(prefix.as_str().into()));
                    // The last of all characters in either order, and more than once to be past any text.
                    let last = if is_id(path) { "\u{10ffff}" } else { "\u{ffff}" };
                    lower(Bound::Included(format!("{prefix}{}", last.repeat(4)).into()));
                }
                (Test::In(list), false) => among = Some(list),
                _ => {}
            }
        }
        match among {
            Some(list) if span == Span::ALL => spans_among(list),
            _ => vec![span],
        }
    }

    /// Whether every document that matches has the same value there.
    pub fn is_constant(&self, path: &[String]) -> bool {
        matches!(&self.spans(path)[..], [span] if span.only().is_some())
    }
}

/// A value in a list is one of its elements, or an array with one of them in it, which may be any array.
fn spans_among(list: &[Value]) -> Vec<Span> {
    let mut spans = vec![Span {
        from: Bound::Included(Value::Array(Vec::new())),
        to: Bound::Excluded(Value::Object(Map::new())),
    }];
    spans.extend(list.iter().filter(|value| !value.is_array()).map(Span::of));
    spans
}

/// Takes the narrower of two bounds; `inwards` is how it stands to the other.
fn tighten(bound: &mut Bound<Value>, new: Bound<Value>, inwards: Ordering) {
    let is_narrower = match (&*bound, &new) {
        (Bound::Unbounded, _) => true,
        (_, Bound::Unbounded) => false,
        (Bound::Included(old) | Bound::Excluded(old), Bound::Included(value) | Bound::Excluded(value)) => {
            let order = compare(value, old);
            order == inwards || order.is_eq() && matches!(new, Bound::Excluded(_))
        }
    };
    if is_narrower {
        *bound = new;
    }
}

impl Node {
    fn requires(&self, path: &[String]) -> bool {
        match self {
            Node::All(nodes) => nodes.iter().any(|node| node.requires(path)),
            Node::Any(nodes) => !nodes.is_empty() && nodes.iter().all(|node| node.requires(path)),
            Node::Field { path: own, test, negated } => {
                own == path && !(*negated && matches!(test, Test::Exists))
            }
            Node::Not(_) | Node::Unevaluable => false,
        }
    }

    /// The conditions on what is at `path` that all have to hold.
    fn conjuncts<'a>(&'a self, path: &[String], into: &mut Vec<(&'a Test, bool)>) {
        match self {
            Node::All(nodes) => nodes.iter().for_each(|node| node.conjuncts(path, into)),
            Node::Field { path: own, test, negated } if own == path => into.push((test, *negated)),
            _ => {}
        }
    }
}
