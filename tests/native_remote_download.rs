//! Large attachments over a line that breaks: taken up where it broke, and whole in the end.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/fake_server.rs"]
mod fake_server;

use std::rc::Rc;

use fake_server::*;
use settee::{
    error::{Error, Kind, Result},
    model::{Content, Digest},
    peer::{Peer, ReplicatedAttachment, ReplicatedDoc},
    remote::{RemoteDatabase, RemoteOptions, Request},
};

const SIZE: usize = 3_000_001;

fn film() -> Vec<u8> {
    let mut state = 9_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..SIZE).map(next).collect()
}

fn doc(bytes: &[u8]) -> (ReplicatedDoc, ReplicatedAttachment) {
    let attachment = ReplicatedAttachment {
        name: "film".into(),
        content_type: "video/mp4".into(),
        revpos: 1,
        length: bytes.len() as u64,
        digest: Digest::of(bytes).to_string(),
        is_encoded: false,
        content: None,
    };
    let doc = ReplicatedDoc {
        id: "a".into(),
        path: vec!["1-a".parse().unwrap()],
        deleted: false,
        body: "{}".into(),
        attachments: vec![attachment.clone()],
    };
    (doc, attachment)
}

fn start(request: &Request) -> usize {
    let range = header(request, "range").map(|range| range["bytes=".len()..range.len() - 1].parse().unwrap());
    range.unwrap_or(0)
}

/// What CouchDB answers, in pieces of 64 KB, and breaks off after `most` bytes.
fn couch(request: &Request, most: usize) -> Reply {
    let (film, from) = (film(), start(request));
    let end = SIZE.min(from + most);
    let mut steps: Vec<Step> =
        film[from..end].chunks(65_536).map(|piece| Step::Send(piece.to_vec())).collect();
    if end < SIZE {
        steps.push(Step::Break);
    }
    let reply = Reply::steps(if header(request, "range").is_some() { 206 } else { 200 }, steps);
    if reply.status == 200 {
        return reply;
    }
    reply.with_header("content-range", &format!("bytes {from}-{}/{SIZE}", SIZE - 1))
}

struct Story {
    clock: Rc<Clock>,
    server: Rc<FakeServer>,
    db: RemoteDatabase,
    doc: ReplicatedDoc,
    attachment: ReplicatedAttachment,
}

impl Story {
    fn new(handler: impl Fn(&Request, usize) -> Reply + 'static) -> Self {
        let clock = Clock::new();
        let server = FakeServer::new(&clock, handler);
        let platform = Rc::new(FakePlatform(clock.clone()));
        let options = RemoteOptions::default();
        let db = RemoteDatabase::new(server.clone(), platform, "http://h:5984/db", options).unwrap();
        let (doc, attachment) = doc(&film());
        Self { clock, server, db, doc, attachment }
    }

    fn attempt(&self) -> Result<Content> {
        self.clock.run(self.db.attachment(&self.doc, &self.attachment))
    }

    /// Attempts until it works; panics when that is not soon.
    fn succeed(&self) -> Vec<u8> {
        for _ in 0..20 {
            match self.attempt() {
                Ok(content) => return self.clock.run(content.bytes()).unwrap().to_vec(),
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
        panic!("it never came: {:?}", self.ranges());
    }

    fn ranges(&self) -> Vec<usize> {
        self.server.requests.borrow().iter().map(start).collect()
    }
}

#[test]
fn a_download_goes_on_where_the_line_broke() {
    for most in [1, 700_000, 1_048_576, 1_500_001, SIZE - 1] {
        // The first attempts go wrong; the next has a line that holds.
        let story = Story::new(move |request, number| couch(request, if number < 3 { most } else { SIZE }));
        assert!(story.succeed() == film(), "{most}");
        let ranges = story.ranges();
        let expected: Vec<usize> = (0..4).map(|number| number * most).filter(|from| *from < SIZE).collect();
        assert_eq!(ranges, expected);
        assert_eq!(story.server.header(1, "if-range"), None);
    }
}

#[test]
fn one_attempt_survives_one_break_and_another_session_the_next() {
    let story = Story::new(|request, _| couch(request, 1_000_000));
    assert_eq!(story.attempt().unwrap_err().kind(), Kind::Network);
    assert!(story.succeed() == film());
    assert_eq!(story.ranges(), [0, 1_000_000, 2_000_000, 3_000_000]);
}

#[test]
fn all_that_came_before_a_late_break_is_enough() {
    let story = Story::new(|request, _| {
        let mut reply = couch(request, SIZE);
        reply.steps.push(Step::Break);
        reply
    });
    assert!(story.succeed() == film());
    assert_eq!(story.ranges(), [0]);
}

#[test]
fn a_line_that_is_cut_without_a_word_or_falls_silent_is_gone_on_with_too() {
    for end in [None, Some(Step::Hang)] {
        let story = Story::new(move |request, number| {
            let mut reply = couch(request, if number == 0 { 2_000_000 } else { SIZE });
            if number == 0 {
                reply.steps.pop();
                reply.steps.extend(end.clone());
            }
            reply
        });
        assert!(story.succeed() == film());
        assert_eq!(story.ranges(), [0, 2_000_000]);
    }
}

/// As damaged as a small one would be: its document's trouble, which waiting does not mend.
#[test]
fn one_that_is_shorter_than_its_document_says_did_not_break_off() {
    let most = 1_500_000;
    let story = Story::new(move |request, _| {
        let from = start(request);
        if from >= most {
            return reply(416, r#"{"error":"requested_range_not_satisfiable","reason":"x"}"#);
        }
        Reply::steps(200, vec![Step::Send(film()[..most].to_vec())])
    });
    for _ in 0..2 {
        let error = story.attempt().unwrap_err();
        assert_eq!((error.kind(), error.status()), (Kind::Remote, 502), "{error}");
    }
    assert_eq!(story.server.open.get(), 0);
}

#[test]
fn who_knows_no_ranges_sends_it_all_again() {
    let story = Story::new(|request, number| {
        let mut whole = request.clone();
        whole.headers.retain(|(name, _)| name != "Range");
        couch(&whole, if number < 2 { 2_000_000 } else { SIZE })
    });
    assert!(story.succeed() == film());
    assert_eq!(story.ranges(), [0, 2_000_000, 2_000_000]);
    // Or refuses them, or sends another one, or drops the request.
    let bad: [fn(&Request) -> Reply; 3] = [
        |_| reply(416, ""),
        |request| {
            let mut other = request.clone();
            other.headers.retain(|(name, _)| name != "Range");
            other.headers.push(("Range".into(), "bytes=5-".into()));
            couch(&other, SIZE)
        },
        |_| Reply { before: vec![Step::Break], ..Reply::default() },
    ];
    for bad in bad {
        let story = Story::new(move |request, number| {
            if start(request) > 0 {
                bad(request)
            } else {
                couch(request, if number == 0 { 2_000_000 } else { SIZE })
            }
        });
        assert!(story.succeed() == film());
        assert_eq!(*story.ranges().last().unwrap(), 0);
    }
}

#[test]
fn what_was_damaged_is_noticed_and_fetched_anew() {
    let story = Story::new(move |request, number| {
        let mut reply = couch(request, if number == 0 { 2_000_000 } else { SIZE });
        if number < 2
            && let Some(Step::Send(bytes)) = reply.steps.first_mut()
        {
            bytes[7] ^= 1;
        }
        reply
    });
    assert!(story.succeed() == film());
    assert_eq!(story.ranges(), [0, 2_000_000, 0]);
}

#[test]
fn a_refusal_is_told_and_nothing_is_kept_of_it() {
    let story =
        Story::new(|_, _| reply(404, r#"{"error":"not_found","reason":"Document is missing attachment"}"#));
    let error = Error::remote(404, "not_found", "Document is missing attachment");
    assert_eq!(story.attempt().unwrap_err(), error);
    assert_eq!(story.attempt().unwrap_err(), error);
    assert_eq!(story.ranges(), [0, 0]);
}

/// A browser keeps what was cut short, and gives it again for as long as it is asked; so it is passed over.
#[test]
fn what_came_damaged_is_asked_for_past_the_caches() {
    let photo = b"a photo, whole".to_vec();
    let (doc, attachment) = doc(&photo);
    let given = photo.clone();
    let clock = Clock::new();
    let server = FakeServer::new(&clock, move |request, _| {
        // What lies in between remembers a damaged one of the same length.
        let bytes = if request.is_fresh { given.clone() } else { vec![0; given.len()] };
        Reply::steps(200, vec![Step::Send(bytes)])
    });
    let options = RemoteOptions::default();
    let db =
        RemoteDatabase::new(server.clone(), Rc::new(FakePlatform(clock.clone())), "http://x/db", options)
            .unwrap();
    let content = clock.run(db.attachment(&doc, &attachment)).unwrap();
    assert_eq!(&*clock.run(content.bytes()).unwrap(), &photo[..]);
    // It was right, so the caches have another chance.
    let fresh =
        |server: &FakeServer| server.requests.borrow().iter().map(|it| it.is_fresh).collect::<Vec<_>>();
    assert_eq!(fresh(&server), [false, true]);
    clock.run(db.attachment(&doc, &attachment)).unwrap();
    assert_eq!(fresh(&server), [false, true, false, true]);
}

/// Somebody in between answers with a page of his own and no error; the rest comes from the server. The second
/// time the same happens, and that is no proof of anything.
#[test]
fn a_web_page_is_not_taken_for_the_beginning_of_a_film() {
    let page = |_: &Request| Reply::steps(200, vec![send("<html>Please log in</html>")]);
    let damaged = Story::new(move |request, number| match number {
        0 | 2 => page(request),
        _ => couch(request, SIZE),
    });
    assert!(damaged.attempt().unwrap_err().is_retryable());
    assert!(damaged.succeed() == film());
    let once =
        Story::new(move |request, number| if number == 0 { page(request) } else { couch(request, SIZE) });
    assert!(once.succeed() == film());
}
