//! `find` and its indexes: as CouchDB answers, and the same with an index as without.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/rng.rs"]
mod rng;
mod support;

use std::rc::Rc;

use futures::{FutureExt, executor::block_on};
use rng::Rng;
use serde_json::{Value, json};
use settee::{
    database::{Database, OpenOptions},
    error::Result,
    selector::{Selector, compare, field_path, value_at},
    store::MemoryStore,
};
use support::*;

const NO_INDEX: &str = "No matching index found, create an index to optimize query time.";
const NO_SORT_INDEX: &str = "No index exists for this sort, try indexing by the sort fields.";

/// What `find` answers, as `pkg/settee.js` puts it together.
fn find(db: &Database, request: &Value) -> Result<Value> {
    block_on(async {
        let mut pages = db.find(&request.to_string())?;
        let mut answer: Value = serde_json::from_str(&pages.head().await?).unwrap();
        let mut docs = Vec::new();
        while let Some(page) = pages.next().await? {
            docs.extend(serde_json::from_str::<Vec<Value>>(&page.json).unwrap());
        }
        answer["docs"] = docs.into();
        Ok(answer)
    })
}

fn found(db: &Database, request: Value) -> Vec<String> {
    let answer = find(db, &request).unwrap_or_else(|error| panic!("{request}: {error}"));
    answer["docs"].as_array().unwrap().iter().map(|doc| doc["_id"].as_str().unwrap().to_owned()).collect()
}

fn index(db: &Database, definition: Value) -> Value {
    let told =
        db.create_index(&definition.to_string()).unwrap_or_else(|error| panic!("{definition}: {error}"));
    serde_json::from_str(&told).unwrap()
}

fn indexes(db: &Database) -> Value {
    serde_json::from_str(&db.indexes().unwrap()).unwrap()
}

fn recorded() -> Value {
    serde_json::from_str(include_str!("vectors/couchdb/find/3.5.0.json")).unwrap()
}

fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of[name].as_array().unwrap_or_else(|| panic!("no {name}"))
}

/// A refusal is CouchDB's, but for a reason that shows an Erlang term.
fn assert_refused(error: settee::error::Error, answer: &Value) {
    let body = &answer["body"];
    let what = &answer["request"];
    assert_eq!(
        (json!(error.status()), json!(error.name())),
        (answer["status"].clone(), body["error"].clone()),
        "{what}"
    );
    let reason = body["reason"].as_str().unwrap();
    if !reason.contains("<<") && !reason.contains('{') {
        assert_eq!(error.reason(), reason, "{what}");
    }
}

fn lines(warning: &Value) -> Vec<&str> {
    warning.as_str().map(|text| text.split('\n').collect()).unwrap_or_default()
}

/// What CouchDB answered, before and after it had indexes.
fn assert_answers_as_recorded(db: &Database, answers: &[Value]) {
    for answer in answers {
        let request = &answer["request"];
        let body = &answer["body"];
        let ours = find(db, request);
        if body["error"] == "no_usable_index" {
            // Sorted all the same, and said so.
            assert!(lines(&ours.unwrap()["warning"]).contains(&NO_SORT_INDEX), "{request}");
            continue;
        }
        if body["error"].is_string() {
            assert_refused(ours.map(|answer| panic!("{request}: {answer}")).unwrap_err(), answer);
            continue;
        }
        let mut ours = ours.unwrap_or_else(|error| panic!("{request}: {error}"));
        for doc in ours["docs"].as_array_mut().unwrap() {
            doc.as_object_mut().unwrap().remove("_rev");
        }
        let sorted = |docs: &Value| {
            let mut texts: Vec<String> = docs.as_array().unwrap().iter().map(Value::to_string).collect();
            texts.sort();
            texts
        };
        let has_limit = request.get("limit").or(request.get("skip")).is_some();
        if request.get("sort").is_some() || has_limit {
            assert_eq!(ours["docs"], body["docs"], "{request}");
        } else {
            assert_eq!(sorted(&ours["docs"]), sorted(&body["docs"]), "{request}");
        }
        // Where ids say where to look, that is as good as an index; what was examined is not counted.
        let by_id = request["selector"].get("_id").is_some();
        let mut theirs = lines(&body["warning"]);
        theirs.retain(|line| {
            !(line.starts_with("The number of documents examined") || by_id && *line == NO_INDEX)
        });
        let mut told = lines(&ours["warning"]);
        told.retain(|line| !(by_id && *line == NO_INDEX));
        assert_eq!(told, theirs, "{request}");
    }
}

#[test]
fn answers_are_couchdbs() {
    let recorded = recorded();
    let db = memory();
    assert!(bulk(&db, recorded["docs"].clone(), true).iter().all(Result::is_ok));
    assert_answers_as_recorded(&db, list(&recorded, "bare"));
    for answer in list(&recorded, "created") {
        assert_eq!(index(&db, answer["request"].clone()), answer["body"], "{}", answer["request"]);
    }
    let mut listed = list(&recorded, "listed").to_vec();
    for index in &mut listed {
        index.as_object_mut().unwrap().remove("partitioned");
    }
    assert_eq!(indexes(&db), json!({"total_rows": listed.len(), "indexes": listed}));
    assert_answers_as_recorded(&db, list(&recorded, "indexed"));
    for answer in list(&recorded, "refused") {
        let error = db.create_index(&answer["request"].to_string());
        assert_refused(error.map(|told| panic!("{}: {told}", answer["request"])).unwrap_err(), answer);
    }
}

#[test]
fn an_index_is_named_made_once_replaced_and_dropped() {
    let db = memory();
    let of = |fields: Value| json!({"index": {"fields": fields}});
    let first = index(&db, of(json!(["a"])));
    assert_eq!(first["result"], "created");
    assert_eq!(first["id"], json!(format!("_design/{}", first["name"].as_str().unwrap())));
    assert_eq!(index(&db, of(json!([{"a": "asc"}])))["result"], "exists");
    assert_ne!(index(&db, of(json!([{"a": "desc"}])))["name"], first["name"]);
    // As PouchDB has it; another definition under the same name takes its place.
    assert_eq!(
        index(&db, json!({"index": {"fields": ["b"], "name": "n", "ddoc": "d", "type": "json"}}))["id"],
        "_design/d"
    );
    assert_eq!(
        index(&db, json!({"index": {"fields": ["c"]}, "name": "n", "ddoc": "_design/d"}))["result"],
        "created"
    );
    let listed = indexes(&db);
    assert_eq!(listed["total_rows"], 4);
    assert_eq!(
        listed["indexes"][1],
        json!({"ddoc": "_design/d", "name": "n", "type": "json", "def": {"fields": [{"c": "asc"}]}})
    );
    // An entry of the list says which to drop.
    let entry = &listed["indexes"][1];
    assert_eq!(db.delete_index(&entry.to_string()).unwrap(), "{\"ok\":true}");
    let error = db.delete_index(&entry.to_string()).unwrap_err();
    assert_eq!((error.status(), error.name()), (404, "not_found"));
    let error = db.delete_index("{}").unwrap_err();
    assert_eq!((error.status(), error.name()), (400, "missing_required_key"));
    assert_eq!(indexes(&db)["total_rows"], 3);
    let error = db.create_index(&of(json!([])).to_string()).unwrap_err();
    assert_eq!((error.status(), error.name()), (400, "invalid_index"));
}

#[test]
fn all_are_found_unless_a_limit_is_given() {
    let db = memory();
    bulk(&db, (0..600).map(|n| json!({"_id": format!("{n:03}"), "n": n})).collect(), true);
    assert_eq!(found(&db, json!({"selector": {}})).len(), 600);
    assert_eq!(
        found(&db, json!({"selector": {"n": {"$gte": 590}}, "limit": 3, "skip": 2})),
        ["592", "593", "594"]
    );
    index(&db, json!({"index": {"fields": ["n"]}}));
    assert_eq!(found(&db, json!({"selector": {"n": {"$gte": 10}}})).len(), 590);
    assert_eq!(found(&db, json!({"selector": {}, "sort": [{"n": "desc"}], "limit": 2})), ["599", "598"]);
}

#[test]
fn parts_of_a_document_are_the_text_that_they_were() {
    let db = memory();
    let body = r#"{"_id":"a","big":123456789012345678901234567890,"one":1.0,"x":{"e":1E+2,"f":0.30000000000000004,"g":[{"h":1e1}]}}"#;
    block_on(db.put(body, &[], &options(json!({})))).unwrap();
    let mut pages = db
        .find(r#"{"selector":{"_id":"a"},"fields":["big","x.f","one","x.e","x.g.0.h","nothing","x.g.1"]}"#)
        .unwrap();
    let page = block_on(pages.next()).unwrap().unwrap();
    let expected = r#"[{"big":123456789012345678901234567890,"x":{"f":0.30000000000000004,"e":1E+2,"g":{"0":{"h":1e1}}},"one":1.0}]"#;
    assert_eq!(page.json, expected);
    // A number is the same in a selector as in a document, digit for digit.
    assert_eq!(found(&db, json!({"selector": {"x.f": 0.30000000000000004}})), ["a"]);
}

#[test]
fn attachments_are_stubs_and_can_be_selected_by() {
    let db = memory();
    put(&db, json!({"_id": "a", "_attachments": {"f": {"content_type": "text/plain", "data": "aGk="}}}))
        .unwrap();
    put(&db, json!({"_id": "b"})).unwrap();
    let answer = find(&db, &json!({"selector": {"_attachments.f.content_type": "text/plain"}})).unwrap();
    assert_eq!(answer["docs"][0], get(&db, "a").unwrap());
    assert_eq!(answer["docs"].as_array().unwrap().len(), 1);
}

#[test]
fn a_handle_of_another_tab_is_heard_by_an_index_that_is_built() {
    let store = MemoryStore::new();
    let (one, other) = (open(store.handle()), open(store.handle()));
    index(&one, json!({"index": {"fields": ["n"]}}));
    let request = json!({"selector": {"n": {"$gt": 0}}, "sort": ["n"]});
    put(&one, json!({"_id": "a", "n": 2})).unwrap();
    assert_eq!(found(&one, request.clone()), ["a"]);
    let rev = put(&other, json!({"_id": "b", "n": 1})).unwrap();
    assert_eq!(found(&one, request.clone()), ["b", "a"]);
    let rev = put(&other, json!({"_id": "b", "_rev": rev, "n": 3})).unwrap();
    assert_eq!(found(&one, request.clone()), ["a", "b"]);
    block_on(other.remove("b", &rev)).unwrap();
    assert_eq!(found(&one, request.clone()), ["a"]);
    // It is of this handle's core alone.
    assert_eq!(indexes(&other)["total_rows"], 1);
    assert_eq!(find(&other, &request).unwrap()["warning"], json!(format!("{NO_INDEX}\n{NO_SORT_INDEX}")));
}

#[test]
fn calls_side_by_side_build_an_index_together() {
    let db = memory();
    bulk(&db, (0..900).map(|n| json!({"_id": format!("{n:03}"), "n": n % 7})).collect(), true);
    index(&db, json!({"index": {"fields": ["n"]}}));
    let ask = || async {
        let mut pages = db.find(r#"{"selector":{"n":3}}"#).unwrap();
        let mut count = 0;
        while let Some(page) = pages.next().await.unwrap() {
            count += serde_json::from_str::<Vec<Value>>(&page.json).unwrap().len();
        }
        count
    };
    let dropped = ask();
    let counts = block_on(async {
        // One that is given up half-way leaves the others what it has done.
        let _ = futures::poll!(Box::pin(dropped));
        futures::join!(ask(), ask(), ask())
    });
    let expected = (0..900).filter(|n| n % 7 == 3).count();
    assert_eq!(counts, (expected, expected, expected));
}

#[test]
fn what_is_locked_finds_nothing_and_builds_anew() {
    if !SEALED {
        return;
    }
    let db = memory();
    bulk(&db, (0..600).map(|n| json!({"_id": format!("{n:03}"), "n": n})).collect(), true);
    index(&db, json!({"index": {"fields": ["n"]}}));
    let request = json!({"selector": {"n": {"$lt": 2}}});
    assert_eq!(found(&db, request.clone()), ["000", "001"]);
    db.lock();
    let refusal = get(&db, "000").unwrap_err();
    assert_eq!(find(&db, &request).unwrap_err(), refusal);
    assert_eq!(db.index_entries(), 0);
    // Indexes are declared, not read.
    assert_eq!(indexes(&db)["total_rows"], 2);
    block_on(db.unlock(Rc::new(Fixed(keys())))).unwrap();
    assert_eq!(found(&db, request.clone()), ["000", "001"]);
    assert_eq!(db.index_entries(), 600);
    // One that was under way ends, and does not fill again what was dropped.
    db.lock();
    block_on(db.unlock(Rc::new(Fixed(keys())))).unwrap();
    let mut pages = db.find(&request.to_string()).unwrap();
    let mut next = Box::pin(pages.next());
    block_on(async {
        for _ in 0..3 {
            assert!(futures::poll!(&mut next).is_pending(), "too fast for this test");
        }
        db.lock();
        assert_eq!(next.await.unwrap_err(), refusal);
    });
    assert_eq!(db.index_entries(), 0);
}

#[test]
fn the_first_search_finds_what_later_ones_find() {
    let store = MemoryStore::new();
    let warm = open(store.handle());
    let docs: Vec<Value> = (0..700)
        .map(|n| json!({"_id": format!("{}{n}", if n % 2 == 0 { "a" } else { "B" }), "n": n * 37 % 100}))
        .collect();
    assert!(bulk(&warm, json!(docs), true).iter().all(Result::is_ok));
    put(&warm, json!({"_id": "_design/own", "n": 1})).unwrap();
    for id in ["a10", "B11"] {
        let rev = get(&warm, id).unwrap()["_rev"].as_str().unwrap().to_owned();
        block_on(warm.remove(id, &rev)).unwrap();
    }
    assert_eq!(all_docs(&warm, json!({})).len(), 699);
    for more in [
        json!({}),
        json!({"limit": 5, "skip": 3}),
        json!({"sort": ["_id"]}),
        json!({"sort": [{"_id": "desc"}], "limit": 7}),
        json!({"sort": ["n"], "skip": 2, "fields": ["_id"]}),
        json!({"sort": [{"n": "desc"}, {"_id": "desc"}]}),
        json!({"selector": {"_id": {"$gt": "B5", "$lte": "a20"}}}),
        json!({"selector": {"_id": {"$gt": "a4"}, "n": {"$lt": 50}}, "sort": [{"_id": "desc"}]}),
        json!({"selector": {"none": 1}}),
    ] {
        let mut request = json!({"selector": {"n": {"$gte": 10}}});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let cold = open(store.handle());
        let first = find(&cold, &request).unwrap();
        assert_eq!(first, find(&warm, &request).unwrap(), "{request}");
        assert_eq!(first, find(&cold, &request).unwrap(), "{request}");
        assert_eq!(all_docs(&cold, json!({})), all_docs(&warm, json!({})), "{request}");
    }
}

#[test]
fn a_feed_with_a_selector_hears_in_plain_terms() {
    let db = memory();
    let mut feed = db
        .changes(options(json!({"selector": {"n": {"$gt": 1}, "_id": {"$gte": "a"}}, "include_docs": true})))
        .unwrap();
    put(&db, json!({"_id": "b", "n": 1})).unwrap();
    put(&db, json!({"_id": "B", "n": 2})).unwrap();
    put(&db, json!({"_id": "a", "n": 2})).unwrap();
    let page = block_on(feed.next(true)).unwrap().unwrap();
    let rows: Vec<Value> = serde_json::from_str(&page.json).unwrap();
    assert_eq!(ids(&rows), ["a"]);
    assert_eq!(rows[0]["doc"]["n"], 2);
    assert!(feed.next(true).now_or_never().is_none());
}

#[test]
fn a_feed_with_a_selector_tells_of_what_couchdb_tells_of() {
    let recorded: Value = serde_json::from_str(include_str!("vectors/couchdb/changes/3.5.0.json")).unwrap();
    let db = memory();
    for step in list(&recorded, "steps") {
        let is_branch = step["branch"].is_object();
        let mut doc = step[if is_branch { "branch" } else { "doc" }].clone();
        let id = doc["_id"].as_str().unwrap().to_owned();
        let current = get(&db, &id).map(|doc| doc["_rev"].as_str().unwrap().to_owned()).ok();
        if let Some(rev) = if is_branch { first_rev(&db, &id) } else { current } {
            doc["_rev"] = rev.into();
        }
        block_on(db.put(&doc.to_string(), &[], &options(json!({ "force": is_branch })))).unwrap();
    }
    assert!(list(&recorded, "answers").len() > 100);
    for answer in list(&recorded, "answers") {
        let mut asked = answer["options"].clone();
        asked["selector"] = answer["selector"].clone();
        let rows = changes(&db, asked);
        let mut told = ids(&rows);
        told.sort_unstable();
        assert_eq!(json!(told), answer["ids"], "{answer}");
    }
}

#[test]
fn a_closed_database_says_so() {
    let db = memory();
    db.close();
    assert_eq!(find(&db, &json!({"selector": {}})).unwrap_err().name(), "store_closed");
    assert_eq!(db.create_index(r#"{"index":{"fields":["a"]}}"#).unwrap_err().name(), "store_closed");
}

const WORDS: [&str; 9] = ["", "a", "A", "ab", "aB", "b-", "b_", "é", "a\u{1}"];
const FIELDS: [&str; 4] = ["a", "b", "in.x", "_id"];

fn value(rng: &mut Rng, depth: usize) -> Value {
    match rng.below(if depth > 1 { 6 } else { 9 }) {
        0 => Value::Null,
        1 => rng.percent(50).into(),
        2 | 3 => (rng.below(4) as i64 - 1).into(),
        4 => json!(rng.below(3) as f64 / 2.0),
        5 => (*rng.pick(&WORDS)).into(),
        6 => (0..rng.below(3)).map(|_| value(rng, depth + 1)).collect(),
        7 => json!({ "x": value(rng, depth + 1) }),
        _ => json!({}),
    }
}

fn doc(rng: &mut Rng, id: &str) -> Value {
    let mut doc = json!({ "_id": id });
    for name in ["a", "b", "in"] {
        if rng.percent(80) {
            doc[name] =
                if name == "in" && rng.percent(70) { json!({ "x": value(rng, 1) }) } else { value(rng, 0) };
        }
    }
    doc
}

fn condition(rng: &mut Rng, field: &str) -> Value {
    let mut bound = || if field == "_id" { (*rng.pick(&IDS)).into() } else { value(rng, 1) };
    let (one, other) = (bound(), bound());
    match rng.below(12) {
        0..=2 => one,
        3 => json!({ "$gt": one }),
        4 => json!({ "$gte": one, "$lt": other }),
        5 => json!({ "$lte": one }),
        6 => json!({ "$in": [one, other] }),
        7 => json!({ "$exists": rng.percent(70) }),
        8 => json!({ "$ne": one }),
        9 => json!({ "$beginsWith": rng.pick(&WORDS) }),
        10 => json!({ "$not": { "$gt": one } }),
        _ => json!({ "$gt": null }),
    }
}

fn selector(rng: &mut Rng, depth: usize) -> Value {
    let mut selector = json!({});
    for _ in 0..rng.below(3) + usize::from(depth > 0) {
        let field = *rng.pick(&FIELDS);
        match rng.below(if depth > 1 { 6 } else { 9 }) {
            6 => selector["$and"] = json!([self::selector(rng, depth + 1), self::selector(rng, depth + 1)]),
            7 => selector["$or"] = json!([self::selector(rng, depth + 1), self::selector(rng, depth + 1)]),
            8 => selector["$nor"] = json!([self::selector(rng, depth + 1)]),
            _ => selector[field] = condition(rng, field),
        }
    }
    selector
}

const IDS: [&str; 14] = ["a", "A", "b", "B", "ab", "a-", "a_", "_design/a", "~", "é", "0", "10", "zz", "Z"];

/// What there is to find, by the simplest means: every document that `allDocs` has, asked of the selector.
fn naive(db: &Database, selector: &Value, sort: &Value) -> Vec<Value> {
    let parsed = Selector::parse(selector).unwrap();
    let rows = all_docs(db, json!({"include_docs": true}));
    let mut docs: Vec<Value> = rows.into_iter().map(|mut row| row["doc"].take()).collect();
    docs.retain(|doc| parsed.matches(doc) && !doc["_id"].as_str().unwrap().starts_with("_design/"));
    let fields = sort.as_array().cloned().unwrap_or_default();
    let name = |field: &Value| match field {
        Value::String(name) => name.clone(),
        field => field.as_object().unwrap().keys().next().unwrap().clone(),
    };
    let paths: Vec<Vec<String>> = fields.iter().map(|field| field_path(&name(field)).unwrap()).collect();
    docs.retain(|doc| paths.iter().all(|path| value_at(doc, path).is_some()));
    let by_bytes = |doc: &Value| doc["_id"].as_str().unwrap().to_owned();
    docs.sort_by(|a, b| {
        let by_fields = paths.iter().map(|path| match &path[..] {
            [id] if id == "_id" && paths.len() == 1 => by_bytes(a).cmp(&by_bytes(b)),
            path => compare(value_at(a, path).unwrap(), value_at(b, path).unwrap()),
        });
        let by_fields = by_fields.into_iter().find(|order| order.is_ne());
        by_fields.unwrap_or_else(|| by_bytes(a).cmp(&by_bytes(b)))
    });
    if fields.first().is_some_and(Value::is_object) {
        docs.reverse();
    }
    docs
}

/// Documents that come, change, branch and go; what is found never depends on the indexes there are.
#[test]
fn an_index_never_changes_what_is_found() {
    let seed = std::env::var("SETTEE_SEED").map_or(1, |seed| seed.parse().unwrap());
    let cases =
        std::env::var("SETTEE_CASES").map_or(if SEALED { 2 } else { 10 }, |cases| cases.parse().unwrap());
    for seed in seed..seed + cases {
        let mut rng = Rng(seed);
        let store = MemoryStore::new();
        let (plain, indexed) = (open(store.handle()), open(store.handle()));
        let mut named = Vec::new();
        for round in 0..12 {
            if round % 3 == 0 {
                let mut fields = vec![*rng.pick(&FIELDS)];
                for field in FIELDS {
                    if rng.percent(25) && !fields.contains(&field) {
                        fields.push(field);
                    }
                }
                let ddoc = format!("i{round}");
                let descending = rng.percent(30);
                let fields: Value = fields
                    .iter()
                    .map(|field| if descending { json!({ *field: "desc" }) } else { json!(field) })
                    .collect();
                index(&indexed, json!({"index": {"fields": fields}, "ddoc": ddoc}));
                named.push(ddoc);
            }
            for _ in 0..rng.below(12) {
                let db = if rng.percent(50) { &plain } else { &indexed };
                edit(&mut rng, db);
            }
            for _ in 0..10 {
                check(&mut rng, seed, &plain, &indexed, &named);
            }
        }
    }
}

fn edit(rng: &mut Rng, db: &Database) {
    let id = *rng.pick(&IDS);
    let current = get_with(db, id, json!({"conflicts": true})).ok();
    let mut doc = doc(rng, id);
    match current {
        Some(current) if rng.percent(20) => {
            block_on(db.remove(id, current["_rev"].as_str().unwrap())).unwrap();
        }
        Some(current) => {
            // Sometimes a branch beside what is there.
            let rev = current["_conflicts"][0].as_str().filter(|_| rng.percent(50));
            doc["_rev"] = rev.unwrap_or(current["_rev"].as_str().unwrap()).into();
            let force = rng.percent(30);
            if force && let Some(first) = first_rev(db, id) {
                doc["_rev"] = first.into();
            }
            let _ = block_on(db.put(&doc.to_string(), &[], &options(json!({ "force": force }))));
        }
        None => drop(put(db, doc).unwrap()),
    }
}

/// The oldest revision of a document's winner.
fn first_rev(db: &Database, id: &str) -> Option<String> {
    let doc = get_with(db, id, json!({"revs": true})).ok()?;
    let ids = doc["_revisions"]["ids"].as_array()?;
    let start = doc["_revisions"]["start"].as_u64()?;
    Some(format!("{}-{}", start + 1 - ids.len() as u64, ids.last()?.as_str()?))
}

fn check(rng: &mut Rng, seed: u64, plain: &Database, indexed: &Database, named: &[String]) {
    let selector = selector(rng, 0);
    let mut request = json!({ "selector": selector });
    if rng.percent(60) {
        let descending = rng.percent(40);
        let first = *rng.pick(&FIELDS);
        let mut fields = vec![first];
        let second = *rng.pick(&FIELDS);
        if rng.percent(30) && second != first {
            fields.push(second);
        }
        // Ids by themselves sort by their bytes, but in an index that begins with them.
        if fields == ["_id"] {
            fields = vec!["a"];
        }
        request["sort"] = fields
            .iter()
            .map(|field| if descending { json!({ *field: "desc" }) } else { json!(field) })
            .collect();
    }
    if rng.percent(30) {
        request["use_index"] = rng.pick(named).as_str().into();
    }
    let expected = naive(plain, &selector, &request["sort"]);
    let by_id = |mut docs: Vec<Value>| {
        docs.sort_by_key(|doc| doc["_id"].to_string());
        docs
    };
    for db in [plain, indexed] {
        let docs = find(db, &request).unwrap()["docs"].as_array().unwrap().clone();
        assert_eq!(by_id(docs.clone()), by_id(expected.clone()), "seed {seed}: {request}, {}", indexes(db));
        // Those that sort alike come in any order, as in CouchDB.
        let keys =
            |docs: &[Value]| -> Vec<Vec<Value>> { docs.iter().map(|doc| sort_key(doc, &request)).collect() };
        assert_eq!(keys(&docs), keys(&expected), "seed {seed}: {request}, {}", indexes(db));
        let mut part = request.clone();
        (part["limit"], part["skip"]) = (2.into(), 1.into());
        let part = find(db, &part).unwrap()["docs"].as_array().unwrap().clone();
        assert_eq!(part, docs.iter().skip(1).take(2).cloned().collect::<Vec<_>>(), "seed {seed}: {request}");
    }
}

fn sort_key(doc: &Value, request: &Value) -> Vec<Value> {
    let fields = request["sort"].as_array().cloned().unwrap_or_default();
    let name = |field: &Value| match field {
        Value::String(name) => name.clone(),
        field => field.as_object().unwrap().keys().next().unwrap().clone(),
    };
    let value = |field: &Value| value_at(doc, &field_path(&name(field)).unwrap()).unwrap().clone();
    // 1 and 1.0 sort alike.
    let plain = |value: Value| value.as_f64().map_or(value, |number| json!(number));
    fields.iter().map(value).map(plain).collect()
}

#[test]
fn an_index_ends_with_the_open_database() {
    // Each open core declares its own: what was declared before is not there after a reopening.
    let store = MemoryStore::new();
    let db = open(store.handle());
    index(&db, json!({"index": {"fields": ["a"]}}));
    put(&db, json!({"_id": "x", "a": 1})).unwrap();
    assert_eq!(found(&db, json!({"selector": {"a": 1}})), ["x"]);
    db.close();
    let db = open_with(store.handle(), OpenOptions::new("test"));
    assert_eq!(indexes(&db)["total_rows"], 1);
    assert_eq!(find(&db, &json!({"selector": {"a": 1}})).unwrap()["warning"], NO_INDEX);
}
