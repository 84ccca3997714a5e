//! Mango selectors against what CouchDB's own `mango_selector.erl` does, and where Settee differs.
//!
//! `vectors/selector.json` holds the server's truth: every case was also run through CouchDB's module
//! (apache/couchdb a6778e5d, Erlang 25, with an ASCII stand-in for ICU). What is different here is in the
//! tests that do not use it.
#![cfg(not(target_arch = "wasm32"))]

use serde_json::{Value, json};
use settee::{error::Kind, selector::Selector};

fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/selector.json")).unwrap()
}

fn list<'a>(case: &'a Value, name: &str) -> &'a [Value] {
    case[name].as_array().unwrap_or_else(|| panic!("no {name} in {case}"))
}

fn matches(selector: &Value, doc: &Value) -> bool {
    Selector::parse(selector).unwrap_or_else(|error| panic!("{selector}: {error}")).matches(doc)
}

fn refusal(selector: &Value) -> String {
    let error = Selector::parse(selector).map(|_| panic!("{selector} is accepted")).unwrap_err();
    assert_eq!((error.kind(), error.status(), error.name()), (Kind::BadRequest, 400, "bad_request"));
    error.reason().to_owned()
}

#[test]
fn conditions_hold_for_their_values_and_negated_for_the_others() {
    let vectors = vectors();
    for case in list(&vectors, "values") {
        let test = &case["test"];
        for (expected, values) in [(true, list(case, "yes")), (false, list(case, "no"))] {
            for value in values {
                let doc = json!({ "x": value });
                assert_eq!(matches(&json!({ "x": test }), &doc), expected, "{test} on {value}");
                assert_eq!(
                    matches(&json!({ "x": { "$not": test } }), &doc),
                    !expected,
                    "not {test} on {value}"
                );
                assert_eq!(
                    matches(&json!({ "$nor": [{ "x": test }] }), &doc),
                    !expected,
                    "nor {test} on {value}"
                );
            }
        }
    }
}

#[test]
fn selectors_pick_their_documents() {
    let vectors = vectors();
    for case in list(&vectors, "docs") {
        for (expected, docs) in [(true, list(case, "yes")), (false, list(case, "no"))] {
            for doc in docs {
                assert_eq!(matches(&case["selector"], doc), expected, "{} on {doc}", case["selector"]);
            }
        }
    }
}

#[test]
fn bad_selectors_are_refused_in_couchdbs_words() {
    let vectors = vectors();
    for case in list(&vectors, "errors") {
        assert_eq!(json!(refusal(&case["selector"])), case["reason"], "{}", case["selector"]);
    }
}

#[test]
fn every_operator_has_a_case() {
    let text = vectors()["values"].to_string();
    for operator in [
        "lt",
        "lte",
        "eq",
        "ne",
        "gte",
        "gt",
        "in",
        "nin",
        "all",
        "size",
        "mod",
        "regex",
        "exists",
        "type",
        "and",
        "or",
        "nor",
        "not",
        "elemMatch",
        "allMatch",
        "keyMapMatch",
        "beginsWith",
    ] {
        assert!(text.contains(&format!("\"${operator}\"")), "${operator}");
    }
}

/// All of ASCII as ICU 78 sorts it (`Intl.Collator` of Node 20), apart from the letters in between.
#[test]
fn ascii_sorts_as_in_icu() {
    let before = "\t\n\u{b}\u{c}\r _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$0123456789";
    let order: Vec<String> = before.chars().chain("aAbBcCxXyYzZ".chars()).map(String::from).collect();
    for (at, one) in order.iter().enumerate() {
        for (other_at, other) in order.iter().enumerate() {
            assert_eq!(
                matches(&json!({ "x": { "$lt": other } }), &json!({ "x": one })),
                at < other_at,
                "{one:?} {other:?}"
            );
        }
    }
    // Case is the tie break and counts only after all letters; control characters count for nothing.
    for (less, more) in [
        ("aB", "Ac"),
        ("ab", "aB"),
        ("aB", "Ab"),
        ("a", "ab"),
        ("A", "ab"),
        ("a\u{1}b", "ac"),
        ("\u{1}b", "c"),
    ] {
        assert!(matches(&json!({ "x": { "$lt": more } }), &json!({ "x": less })), "{less:?} < {more:?}");
        assert!(matches(&json!({ "x": { "$gt": less } }), &json!({ "x": more })), "{more:?} > {less:?}");
    }
}

/// As CouchDB's selectors compare them; see `vectors/couchdb/find/3.5.0.json`.
#[test]
fn ids_are_compared_by_their_bytes() {
    for (bound, yes, no) in [("a", ["b", "~"], ["B", "_"]), ("Z", ["a", "é"], ["A", "-"])] {
        for (expected, ids) in [(true, yes), (false, no)] {
            for id in ids {
                let doc = json!({ "_id": id });
                assert_eq!(matches(&json!({ "_id": { "$gt": bound } }), &doc), expected, "{id:?} {bound:?}");
                assert_eq!(
                    matches(&json!({ "_id": { "$lte": bound } }), &doc),
                    !expected,
                    "{id:?} {bound:?}"
                );
            }
        }
    }
    // Another field of that name is a field like any other.
    assert!(matches(&json!({ "x._id": { "$gt": "a" } }), &json!({ "x": { "_id": "B" } })));
    assert!(!matches(&json!({ "_id": { "$lt": {} } }), &json!({ "_id": "a" })));
}

#[test]
fn strings_beyond_ascii_sort_after_it_by_code_point() {
    for (less, more) in [
        ("z", "é"),
        ("é", "ü"),
        ("ü", "日"),
        ("日", "😀"),
        ("😀", "\u{ffff}"),
        ("foo😀", "foo\u{ffff}"),
        ("fooz", "foo\u{fff0}"),
    ] {
        assert!(matches(&json!({ "x": { "$lt": more } }), &json!({ "x": less })), "{less:?} < {more:?}");
    }
    for (one, other) in [("é", "e\u{301}"), ("a", "a\u{1}")] {
        assert!(!matches(&json!({ "x": one }), &json!({ "x": other })), "{one:?} is not {other:?}");
    }
}

#[test]
fn objects_are_equal_in_any_order_of_members() {
    let doc: Value = serde_json::from_str(r#"{"x":{"b":2,"a":1}}"#).unwrap();
    assert!(matches(&json!({ "x": { "$eq": { "a": 1, "b": 2 } } }), &doc));
}

#[test]
fn what_regex_lite_lacks_is_a_bad_argument() {
    for pattern in ["(?=a)", "(?<!a)b", r"(a)\1", "(?>a)", r"\p{L}"] {
        let reason = refusal(&json!({ "x": { "$regex": pattern } }));
        assert_eq!(reason, format!("Bad argument for operator $regex: {}", json!(pattern)));
    }
    assert!(matches(&json!({ "x": { "$regex": "^a.b$" } }), &json!({ "x": "aéb" })));
    assert!(!matches(&json!({ "x": { "$regex": "^a$" } }), &json!({ "x": "a\n" })));
    assert!(matches(&json!({ "x": { "$regex": "a++a" } }), &json!({ "x": "aa" })));
    assert!(!matches(&json!({ "x": { "$regex": r"\<a" } }), &json!({ "x": "<b" })));
}

#[test]
fn what_would_fail_or_match_everything_on_a_server_is_refused() {
    assert_eq!(refusal(&json!({ "x": { "$mod": [0, 1] } })), "Bad argument for operator $mod: [0,1]");
    assert_eq!(refusal(&json!({ "$text": "a" })), "Unsupported operator: $text");
    assert_eq!(refusal(&json!({ "$default": { "$text": "a" } })), "Invalid operator: $default");
}

#[test]
fn a_long_bad_argument_is_cut() {
    let reason = refusal(&json!({ "x": { "$in": "é".repeat(1000) } }));
    assert!(
        reason.starts_with("Bad argument for operator $in: \"éé") && reason.chars().count() < 250,
        "{reason}"
    );
}

#[test]
fn depth_is_limited_and_deep_documents_are_not_a_problem() {
    let nested = |depth: usize, wrap: &dyn Fn(Value) -> Value| {
        (0..depth).fold(json!({ "b": 1 }), |inner, _| wrap(inner))
    };
    let wraps: [&dyn Fn(Value) -> Value; 5] = [
        &|inner| json!({ "a": inner }),
        &|inner| json!({ "$not": inner }),
        &|inner| json!({ "a": { "$elemMatch": inner } }),
        &|inner| json!({ "$and": [inner] }),
        &|inner| json!({ "a": { "$eq": [inner] } }),
    ];
    for wrap in wraps {
        assert_eq!(refusal(&nested(300, wrap)), "Selector error: nested deeper than 128 levels");
    }
    assert!(matches(&nested(127, wraps[0]), &nested(127, wraps[0])));
    assert!(matches(&nested(42, wraps[2]), &nested(42, &|inner| json!({ "a": [inner] }))));
    let deep = nested(300, &|inner| json!([inner]));
    assert!(!matches(&json!({ "x": [[[1]]] }), &json!({ "x": deep })));
    assert!(!matches(&json!({ "x": { "$all": [[[1]]] } }), &json!({ "x": deep })));
}
