//! Waiting for changes: on lines that live, are cut, fall silent or never say a word. Rows are those of
//! Apache CouchDB 3.5.0 as recorded on 2026-11-21, shortened.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/fake_server.rs"]
mod fake_server;

use std::{cell::Cell, rc::Rc};

use fake_server::*;
use futures::future::{Either, select};
use serde_json::{Value, json};
use settee::{
    error::{Kind, Result},
    model::Seq,
    peer::{ChangesPage, ChangesQuery, Peer},
    platform::Platform,
    remote::{Feed, RemoteDatabase, Request},
};

const CONTINUOUS: &str = "feed=continuous";

fn remote(clock: &Rc<Clock>, server: &Rc<FakeServer>, options: Value) -> RemoteDatabase {
    let options = serde_json::from_value(options).unwrap();
    let platform = Rc::new(FakePlatform(clock.clone()));
    RemoteDatabase::new(server.clone(), platform, "http://h:5984/db", options).unwrap()
}

async fn wait(db: &RemoteDatabase, since: &str, limit: usize, ms: u32) -> Result<ChangesPage> {
    db.changes(&ChangesQuery::default(), &Seq(json!(since)), limit, Some(ms)).await
}

fn row(number: usize) -> String {
    format!("{{\"seq\":\"{number}-g1A\",\"id\":\"doc{number}\",\"changes\":[{{\"rev\":\"1-a\"}}]}}\n")
}

fn rows(numbers: std::ops::Range<usize>) -> String {
    numbers.map(row).collect()
}

fn page(numbers: std::ops::Range<usize>) -> String {
    let rows = rows(numbers.clone()).trim().replace('\n', ",");
    format!("{{\"results\":[{rows}],\"last_seq\":\"{}-g1A\",\"pending\":0}}", numbers.end - 1)
}

fn ids(page: &ChangesPage) -> Vec<&str> {
    page.results.iter().map(|change| change.id.as_str()).collect()
}

fn now_ms(clock: &Rc<Clock>) -> f64 {
    FakePlatform(clock.clone()).now_ms()
}

/// The number that the request wants to go on after.
fn since(request: &Request) -> usize {
    let since = request.url.split("since=").nth(1).unwrap();
    since.split(['-', '&']).next().unwrap().parse().unwrap()
}

fn heartbeats(count: usize) -> Vec<Step> {
    [Step::Wait(10_000), send("\n")].into_iter().cycle().take(2 * count).collect()
}

#[test]
fn one_line_serves_many_calls() {
    let clock = Clock::new();
    let server = FakeServer::new(&clock, |_, _| {
        let mut steps =
            vec![send("\n"), Step::Wait(100), send(&row(1)), send(&rows(2..4)), Step::Wait(5_000)];
        // Cut in the middle of a row.
        let (start, end) = (rows(4..7)[..120].to_owned(), rows(4..7)[120..].to_owned());
        steps.extend([send(&start), Step::Wait(3), send(&end)]);
        steps.extend(heartbeats(20));
        steps.extend([send(&rows(7..12)), Step::Hang]);
        Reply::steps(200, steps)
    });
    let db = remote(&clock, &server, json!({}));
    let began_ms = now_ms(&clock);
    let first = clock.run(wait(&db, "0", 50, 60_000)).unwrap();
    assert_eq!((ids(&first), now_ms(&clock) - began_ms), (vec!["doc1", "doc2", "doc3"], 100.0));
    assert_eq!((first.last_seq.clone(), first.pending), (Seq(json!("3-g1A")), Some(0)));
    let second = clock.run(wait(&db, "3-g1A", 50, 60_000)).unwrap();
    let third = clock.run(wait(&db, second.last_seq.0.as_str().unwrap(), 50, 60_000)).unwrap();
    assert_eq!((ids(&second).len() + ids(&third).len(), third.last_seq.clone()), (3, Seq(json!("6-g1A"))));
    // Nothing for a while; then more than a page.
    let began_ms = now_ms(&clock);
    let none = clock.run(wait(&db, "6-g1A", 50, 60_000)).unwrap();
    assert_eq!(
        (none.results.len(), none.last_seq, now_ms(&clock) - began_ms),
        (0, Seq(json!("6-g1A")), 60_000.0)
    );
    clock.run(wait(&db, "6-g1A", 50, 60_000)).unwrap();
    clock.run(wait(&db, "6-g1A", 50, 60_000)).unwrap();
    let full = clock.run(wait(&db, "6-g1A", 3, 60_000)).unwrap();
    assert_eq!((ids(&full), full.pending), (vec!["doc7", "doc8", "doc9"], None));
    assert_eq!(ids(&clock.run(wait(&db, "9-g1A", 3, 60_000)).unwrap()), ["doc10", "doc11"]);
    assert_eq!(server.asked(), ["GET /db/_changes?style=all_docs&since=0&feed=continuous&heartbeat=10000"]);
    assert_eq!(server.open.get(), 1);
    // Who holds on to the database but waits no longer holds no connection.
    db.rest();
    assert_eq!(server.open.get(), 0);
}

#[test]
fn who_leaves_in_the_middle_takes_nothing_along() {
    let clock = Clock::new();
    let server = FakeServer::new(&clock, |_, _| {
        let text = format!("\n{}", rows(1..40));
        let piece = |bytes: &[u8]| [Step::Wait(7), Step::Send(bytes.to_vec())];
        let mut steps: Vec<Step> = text.as_bytes().chunks(13).flat_map(piece).collect();
        steps.push(Step::Hang);
        Reply::steps(200, steps)
    });
    let db = remote(&clock, &server, json!({}));
    let (mut seen, mut last) = (Vec::new(), "0".to_owned());
    while seen.len() < 39 {
        let patience = FakePlatform(clock.clone()).sleep(1 + seen.len() as u32 * 5 % 31);
        let waiting = Box::pin(wait(&db, &last, 5, 60_000));
        let page = match clock.run(select(waiting, patience)) {
            Either::Left((page, _)) => Some(page.unwrap()),
            Either::Right(_) => None,
        };
        if let Some(page) = page {
            seen.extend(page.results.iter().map(|change| change.id.clone()));
            last = page.last_seq.0.as_str().unwrap().to_owned();
        }
    }
    let expected: Vec<String> = (1..40).map(|number| format!("doc{number}")).collect();
    assert_eq!((seen, server.requests.borrow().len()), (expected, 1));
}

#[test]
fn a_line_held_back_from_the_start_is_given_up_for_long_polls() {
    for reply in [
        Reply { before: vec![Step::Hang], ..reply(200, "") },
        Reply::steps(200, vec![Step::Hang]),
        Reply::steps(200, vec![]),
        Reply::steps(200, vec![Step::Break]),
        reply(405, r#"{"error":"method_not_allowed","reason":"x"}"#),
        reply(400, ""),
        fake_server::reply(200, &format!("{}\n", page(1..2))),
    ] {
        let clock = Clock::new();
        let cannot = reply.clone();
        let server = FakeServer::new(&clock, move |request, _| {
            if request.url.contains(CONTINUOUS) {
                cannot.clone()
            } else {
                fake_server::reply(200, &page(1..2))
            }
        });
        let db = remote(&clock, &server, json!({}));
        // The replicator goes on after an empty page and after what is retryable.
        let first = clock.run(wait(&db, "0", 5, 60_000));
        assert!(first.map_or_else(|error| error.is_retryable(), |page| page.results.is_empty()), "{reply:?}");
        assert_eq!(ids(&clock.run(wait(&db, "0", 5, 60_000)).unwrap()), ["doc1"]);
        let asked = server.asked();
        let tried = asked.iter().filter(|line| line.contains(CONTINUOUS)).count();
        assert!(tried <= 2 && asked.last().unwrap().contains("feed=longpoll"), "{asked:?}");
        clock.run(FakePlatform(clock.clone()).sleep(1_700_000));
        clock.run(wait(&db, "0", 5, 60_000)).unwrap();
        assert!(server.asked().last().unwrap().contains("feed=longpoll"));
        clock.run(FakePlatform(clock.clone()).sleep(100_000));
        drop(clock.run(wait(&db, "0", 5, 60_000)));
        assert!(server.asked().last().unwrap().contains(CONTINUOUS));
    }
}

#[test]
fn short_waits_in_vain_add_up() {
    let clock = Clock::new();
    let server = FakeServer::new(&clock, |request, _| {
        let is_held = request.url.contains(CONTINUOUS);
        if is_held { Reply::steps(200, vec![Step::Hang]) } else { reply(200, &page(1..2)) }
    });
    let db = remote(&clock, &server, json!({}));
    for _ in 0..3 {
        assert!(clock.run(wait(&db, "0", 5, 1_000)).unwrap().results.is_empty());
    }
    assert_eq!(ids(&clock.run(wait(&db, "0", 5, 1_000)).unwrap()), ["doc1"]);
}

#[test]
fn a_line_that_falls_silent_is_dead() {
    let clock = Clock::new();
    let server = FakeServer::new(&clock, |request, _| {
        let mut steps = vec![send("\n")];
        steps.extend(heartbeats(3));
        steps.push(if since(request) == 0 { Step::Hang } else { send(&row(since(request) + 1)) });
        Reply::steps(200, steps)
    });
    let db = remote(&clock, &server, json!({}));
    let began_ms = now_ms(&clock);
    let error = clock.run(wait(&db, "0", 5, 600_000)).unwrap_err();
    assert_eq!((error.kind(), now_ms(&clock) - began_ms), (Kind::Timeout, 55_000.0));
    assert!(error.is_retryable() && server.open.get() == 0);
    // It is tried again, since it worked.
    assert_eq!(ids(&clock.run(wait(&db, "7", 5, 60_000)).unwrap()), ["doc8"]);
    assert!(server.asked()[1].contains(CONTINUOUS));
}

#[test]
fn a_line_that_is_cut_is_opened_again_where_the_last_page_ended() {
    for cut in [Some(Step::Break), None] {
        let clock = Clock::new();
        let server = FakeServer::new(&clock, move |request, _| {
            let from = since(request) + 1;
            let mut steps =
                vec![send("\n"), Step::Wait(5), send(&row(from)), Step::Wait(5), send("{\"seq\":\"")];
            steps.extend(cut.clone());
            Reply::steps(200, steps)
        });
        let db = remote(&clock, &server, json!({}));
        let mut last = "0".to_owned();
        for number in 1..9 {
            let page = clock.run(wait(&db, &last, 5, 60_000)).unwrap();
            assert_eq!(ids(&page), [format!("doc{number}")]);
            last = page.last_seq.0.as_str().unwrap().to_owned();
        }
        assert_eq!(server.requests.borrow().len(), 8);
    }
    // One that is cut again and again is told in the end.
    let clock = Clock::new();
    let server = FakeServer::new(&clock, |_, _| Reply::steps(200, vec![send("\n"), Step::Break]));
    let db = remote(&clock, &server, json!({}));
    assert_eq!(clock.run(wait(&db, "0", 5, 60_000)).unwrap_err().kind(), Kind::Network);
    assert_eq!(server.requests.borrow().len(), 2);
}

#[test]
fn a_refusal_on_the_way_is_an_error() {
    let clock = Clock::new();
    let server = FakeServer::new(&clock, |request, _| {
        if since(request) == 0 {
            return reply(401, r#"{"error":"unauthorized","reason":"no"}"#);
        }
        let told = r#"{"error":"timeout","reason":"The request could not be processed in a reasonable amount of time."}"#;
        reply(200, &format!("{}{told}\n", row(4)))
    });
    let db = remote(&clock, &server, json!({}));
    assert!(clock.run(wait(&db, "0", 5, 60_000)).unwrap_err().needs_login());
    let error = clock.run(wait(&db, "3-g1A", 5, 60_000)).unwrap_err();
    assert_eq!((error.name(), error.is_retryable(), server.open.get()), ("timeout", true, 0));
}

#[test]
fn another_question_is_another_line() {
    let clock = Clock::new();
    let server = FakeServer::new(&clock, |_, _| Reply::steps(200, vec![send("\n"), Step::Hang]));
    let db = remote(&clock, &server, json!({}));
    let asked = |query: &ChangesQuery, since: &str| {
        clock.run(db.changes(query, &Seq(json!(since)), 5, Some(1_000))).unwrap();
        (server.requests.borrow().len(), server.open.get())
    };
    let all = ChangesQuery::default();
    assert_eq!(asked(&all, "1-a"), (1, 1));
    assert_eq!(asked(&all, "1-a"), (1, 1));
    assert_eq!(asked(&all, "2-a"), (2, 1));
    let some = ChangesQuery { doc_ids: Some(vec!["a".into()]), ..ChangesQuery::default() };
    let others = ChangesQuery { doc_ids: Some(vec!["b".into()]), ..ChangesQuery::default() };
    assert_eq!(asked(&some, "2-a"), (3, 1));
    assert_eq!(asked(&some, "2-a"), (3, 1));
    assert_eq!(asked(&others, "2-a"), (4, 1));
    assert_eq!(
        server.asked()[3],
        "POST /db/_changes?style=all_docs&since=2-a&feed=continuous&heartbeat=10000&filter=_doc_ids"
    );
    // Reading on without waiting leaves the line alone; who wants no line has none.
    db.set_feed(Feed::Longpoll);
    assert_eq!(asked(&others, "2-a"), (5, 0));
    assert!(server.asked()[4].contains("limit=5&since=2-a&feed=longpoll"));
    db.set_feed(Feed::Continuous);
    assert_eq!(asked(&others, "2-a"), (6, 1));
}

#[test]
fn a_device_that_slept_does_not_trust_its_line() {
    let clock = Clock::new();
    let server = FakeServer::new(&clock, |_, number| {
        Reply::steps(200, vec![send("\n"), if number == 0 { Step::Hang } else { send(&row(1)) }])
    });
    let db = remote(&clock, &server, json!({}));
    clock.run(wait(&db, "0", 5, 5_000)).unwrap();
    clock.freeze(3_600_000);
    let began_ms = now_ms(&clock);
    assert_eq!(ids(&clock.run(wait(&db, "0", 5, 60_000)).unwrap()), ["doc1"]);
    assert!(now_ms(&clock) - began_ms <= 1_000.0);
    assert_eq!(server.requests.borrow().len(), 2);
    // One on which something has arrived meanwhile is alive.
    let server = FakeServer::new(&clock, |_, _| {
        Reply::steps(200, vec![send("\n"), Step::Wait(7_000), send(&row(1)), Step::Hang])
    });
    let db = remote(&clock, &server, json!({}));
    clock.run(wait(&db, "0", 5, 5_000)).unwrap();
    clock.freeze(100_000);
    assert_eq!(ids(&clock.run(wait(&db, "0", 5, 60_000)).unwrap()), ["doc1"]);
    assert_eq!(server.requests.borrow().len(), 1);
}

#[test]
fn a_long_poll_that_dies_is_noticed() {
    let clock = Clock::new();
    let answers: Vec<Reply> = vec![
        // Heartbeats arrive here, so their absence is told.
        Reply::steps(
            200,
            [vec![send("{\"results\":[\n")], heartbeats(3), vec![send("],\"last_seq\":3}")]].concat(),
        ),
        Reply::steps(200, vec![send("{\"results\":[\n"), Step::Hang]),
        Reply { before: vec![Step::Hang], ..reply(200, "") },
    ];
    let server = FakeServer::new(&clock, move |_, number| answers[number].clone());
    let db = remote(&clock, &server, json!({"feed": "longpoll"}));
    assert_eq!(clock.run(wait(&db, "0", 5, 600_000)).unwrap().last_seq, Seq(json!(3)));
    for _ in 0..2 {
        let began_ms = now_ms(&clock);
        assert_eq!(clock.run(wait(&db, "3", 5, 600_000)).unwrap_err().kind(), Kind::Timeout);
        assert_eq!(now_ms(&clock) - began_ms, 25_000.0);
    }
}

#[test]
fn a_long_poll_without_a_word_is_checked_by_a_plain_request() {
    let clock = Clock::new();
    let is_dead = Rc::new(Cell::new(false));
    let dead = is_dead.clone();
    let server = FakeServer::new(&clock, move |request, _| {
        let is_held = dead.get() || request.url.contains("feed=");
        if is_held { Reply { before: vec![Step::Hang], ..reply(200, "") } } else { reply(200, &page(1..3)) }
    });
    let db = remote(&clock, &server, json!({"feed": "longpoll"}));
    assert_eq!(ids(&clock.run(wait(&db, "0", 5, 60_000)).unwrap()), ["doc1", "doc2"]);
    is_dead.set(true);
    assert_eq!(clock.run(wait(&db, "2", 5, 60_000)).unwrap_err().kind(), Kind::Timeout);
}
