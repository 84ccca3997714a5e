//! `RemoteDatabase` at a server that lets in whom it knows: sessions and tokens that are got, shared,
//! renewed, refused and replaced. Answers of `_session` are those of Apache CouchDB 3.5.0 as recorded on
//! 2026-11-21.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/fake_server.rs"]
mod fake_server;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use fake_server::*;
use futures::{FutureExt, future::join_all};
use serde_json::{Value, json};
use settee::{
    error::{Kind, Pending, Result},
    model::base64,
    peer::Peer,
    platform::Platform,
    remote::{Credentials, Login, Reason, RemoteDatabase, RemoteOptions, Request, Tokens, no_token},
};

const INFO: &str = r#"{"update_seq":"7-x","doc_count":3,"doc_del_count":2}"#;
const REFUSED: &str = r#"{"error":"unauthorized","reason":"You are not authorized to access this db."}"#;
const WRONG: &str = r#"{"error":"unauthorized","reason":"Name or password is incorrect."}"#;

fn open(clock: &Rc<Clock>, server: &Rc<FakeServer>, url: &str, options: Value) -> RemoteDatabase {
    let options = serde_json::from_value(options).unwrap();
    RemoteDatabase::new(server.clone(), Rc::new(FakePlatform(clock.clone())), url, options).unwrap()
}

fn session() -> Value {
    json!({"auth": {"type": "session", "username": "anna", "password": "s3cret"}})
}

/// A CouchDB with the user anna. A session is a cookie with its number and lasts ten minutes.
struct Couch {
    clock: Rc<Clock>,
    /// Who sees `set-cookie`, and whose cookies nobody else sends.
    shows_cookies: bool,
    logins: Cell<usize>,
    ends_ms: Cell<f64>,
    password: RefCell<&'static str>,
    /// How long `_session` takes.
    takes_ms: u32,
}

impl Couch {
    fn new(clock: &Rc<Clock>, shows_cookies: bool, takes_ms: u32) -> Rc<Self> {
        Rc::new(Self {
            clock: clock.clone(),
            shows_cookies,
            logins: Cell::new(0),
            ends_ms: Cell::new(0.0),
            password: RefCell::new("s3cret"),
            takes_ms,
        })
    }

    fn serve(self: &Rc<Self>) -> Rc<FakeServer> {
        let couch = self.clone();
        FakeServer::new(&self.clock, move |request, _| couch.answer(request))
    }

    fn answer(&self, request: &Request) -> Reply {
        let now_ms = FakePlatform(self.clock.clone()).now_ms();
        assert!(header(request, "authorization").is_none());
        if path(request).ends_with("/_session") {
            let Some(settee::model::Content::Bytes(body)) = request.body.first() else { panic!() };
            let login: Value = serde_json::from_slice(body).unwrap();
            if login != json!({"name": "anna", "password": *self.password.borrow()}) {
                let refusal = Reply { before: vec![Step::Wait(self.takes_ms)], ..reply(401, WRONG) };
                return refusal.with_header("set-cookie", "AuthSession=; Version=1; Max-Age=600");
            }
            self.logins.set(self.logins.get() + 1);
            self.ends_ms.set(now_ms + f64::from(self.takes_ms) + 600_000.0);
            let answer = Reply {
                before: vec![Step::Wait(self.takes_ms)],
                ..reply(200, r#"{"ok":true,"name":"anna","roles":[]}"#)
            };
            return self.with_cookie(answer);
        }
        let cookie = format!("AuthSession=number{}", self.logins.get());
        let is_known = if self.shows_cookies {
            header(request, "cookie").is_some_and(|sent| sent.ends_with(&cookie))
        } else {
            self.logins.get() > 0
        };
        if is_known && now_ms < self.ends_ms.get() { reply(200, INFO) } else { reply(401, REFUSED) }
    }

    fn with_cookie(&self, answer: Reply) -> Reply {
        if !self.shows_cookies {
            return answer;
        }
        let cookie = format!(
            "AuthSession=number{}; Version=1; Expires=Sat, 21-Nov-2026 13:33:37 GMT; Max-Age=600; Path=/; HttpOnly",
            self.logins.get()
        );
        answer.with_header("set-cookie", "other=1").with_header("set-cookie", &cookie)
    }
}

#[test]
fn a_session_is_got_once_for_many_requests_and_renewed_before_it_ends() {
    for shows_cookies in [true, false] {
        let clock = Clock::new();
        let couch = Couch::new(&clock, shows_cookies, 300);
        let server = couch.serve();
        let db = open(&clock, &server, "http://h:5984/couch/db", session());
        for info in clock.run(join_all((0..5).map(|_| db.info()))) {
            assert_eq!(info.unwrap().doc_count, 3);
        }
        assert_eq!(server.asked()[0], "POST /couch/_session");
        assert_eq!(server.asked()[1..], ["GET /couch/db"; 5].map(str::to_owned));
        // Ten minutes, ten times, and never a refusal on the way.
        let platform = FakePlatform(clock.clone());
        for _ in 0..100 {
            clock.run(platform.sleep(60_000));
            clock.run(db.info()).unwrap();
        }
        assert!((11..=13).contains(&couch.logins.get()), "{}", couch.logins.get());
        assert_eq!(server.requests.borrow().len(), 105 + couch.logins.get());
        assert_eq!(server.header(1, "cookie").is_some(), shows_cookies);
    }
}

#[test]
fn one_that_ended_early_is_renewed_once_and_the_request_repeated() {
    let clock = Clock::new();
    let couch = Couch::new(&clock, true, 300);
    let server = couch.serve();
    let mut options = session();
    options["headers"] = json!({"Cookie": "a=b", "X-A": "1"});
    let db = open(&clock, &server, "http://h:5984/db", options);
    clock.run(db.info()).unwrap();
    assert_eq!(server.header(0, "x-a").unwrap(), "1");
    assert_eq!(server.header(1, "cookie").unwrap(), "a=b; AuthSession=number1");
    couch.ends_ms.set(0.0);
    for info in clock.run(join_all((0..4).map(|_| db.info()))) {
        info.unwrap();
    }
    assert_eq!(couch.logins.get(), 2);
    let refused = server.asked().iter().filter(|line| *line == "GET /db").count() - 5;
    assert!((1..=4).contains(&refused), "{refused}");
    // Refused again at once: it is not the session.
    couch.ends_ms.set(0.0);
    let error = clock.run(db.info()).unwrap_err();
    assert!(error.needs_login());
    assert_eq!((error.reason(), couch.logins.get()), ("You are not authorized to access this db.", 2));
}

#[test]
fn a_cookie_that_the_server_renews_is_taken_over() {
    let clock = Clock::new();
    let count = Rc::new(Cell::new(0));
    let counted = count.clone();
    let server = FakeServer::new(&clock, move |request, number| {
        counted.set(counted.get() + usize::from(path(request) == "/_session"));
        let cookie = format!("AuthSession=n{number}; Version=1; Max-Age=600");
        reply(200, INFO).with_header("set-cookie", &cookie)
    });
    let db = open(&clock, &server, "http://h:5984/db", session());
    for _ in 0..20 {
        clock.run(FakePlatform(clock.clone()).sleep(300_000));
        clock.run(db.info()).unwrap();
    }
    assert_eq!(count.get(), 1);
    assert_eq!(server.header(20, "cookie").unwrap(), "AuthSession=n19");
}

#[test]
fn a_wrong_password_is_told_and_another_login_goes_on() {
    let clock = Clock::new();
    let couch = Couch::new(&clock, true, 1);
    couch.password.replace("changed");
    let server = couch.serve();
    let db = open(&clock, &server, "http://h:5984/db", session());
    for info in clock.run(join_all((0..3).map(|_| db.info()))) {
        let error = info.unwrap_err();
        assert!(error.needs_login() && !error.is_retryable());
        assert_eq!(error.reason(), "Name or password is incorrect.");
        assert!(!format!("{error} {error:?} {db:?}").contains("s3cret"));
    }
    assert_eq!(server.asked(), ["POST /_session"]);
    let login = |password: &str| {
        Credentials::Login(Login { username: "anna".into(), password: password.into(), is_session: true })
    };
    db.log_in(login("changed"));
    clock.run(db.info()).unwrap();
    // In the middle, with the session that there was refused.
    couch.password.replace("again");
    couch.ends_ms.set(0.0);
    assert!(clock.run(db.info()).unwrap_err().needs_login());
    db.log_in(login("again"));
    clock.run(db.info()).unwrap();
    assert_eq!(clock.run(db.identity()).unwrap(), "http://h:5984/db");
}

#[test]
fn a_login_while_an_old_one_is_on_its_way_is_the_one_that_counts() {
    let clock = Clock::new();
    let couch = Couch::new(&clock, true, 5_000);
    let server = couch.serve();
    let db = open(&clock, &server, "http://h:5984/db", session());
    let later = async {
        FakePlatform(clock.clone()).sleep(1_000).await;
        couch.password.replace("new");
        let login = Login { username: "anna".into(), password: "new".into(), is_session: true };
        db.log_in(Credentials::Login(login));
    };
    let (info, ()) = clock.run(futures::future::join(db.info(), later));
    info.unwrap();
    assert_eq!(server.asked(), ["POST /_session", "POST /_session", "GET /db"]);
}

#[test]
fn a_server_that_cannot_be_asked_for_a_session_is_a_fault_of_the_network() {
    let clock = Clock::new();
    for (reply, kind) in [
        (Reply::steps(200, vec![Step::Break]), Kind::Network),
        (reply(200, "<html>Welcome to our hotel</html>"), Kind::Network),
        (Reply::steps(200, vec![Step::Hang]), Kind::Timeout),
        (reply(503, ""), Kind::Remote),
    ] {
        let server = FakeServer::new(&clock, move |_, _| reply.clone());
        let error = clock.run(open(&clock, &server, "http://h:5984/db", session()).info()).unwrap_err();
        assert!(error.kind() == kind && error.is_retryable(), "{error}");
    }
}

#[test]
fn a_request_that_is_given_up_while_logging_in_leaves_the_turn_to_the_others() {
    let clock = Clock::new();
    let couch = Couch::new(&clock, true, 1_000);
    let db = open(&clock, &couch.serve(), "http://h:5984/db", session());
    let given_up = async {
        let sleep = FakePlatform(clock.clone()).sleep(500);
        futures::future::select(db.info(), sleep).await;
    };
    let ((), info) = clock.run(futures::future::join(given_up, db.info()));
    info.unwrap();
}

/// Gives what is told, and keeps why it was asked.
#[derive(Default)]
struct Desk {
    clock: Option<Rc<Clock>>,
    tokens: RefCell<Vec<Result<String>>>,
    asked: RefCell<Vec<Reason>>,
}

impl Tokens for Desk {
    fn get_token(&self, reason: Reason) -> Pending<'_, String> {
        self.asked.borrow_mut().push(reason);
        async {
            if let Some(clock) = &self.clock {
                FakePlatform(clock.clone()).sleep(5_000).await;
            }
            self.tokens.borrow_mut().remove(0)
        }
        .boxed_local()
    }
}

fn with_tokens(
    clock: &Rc<Clock>,
    server: &Rc<FakeServer>,
    desk: &Rc<Desk>,
    options: Value,
) -> RemoteDatabase {
    let mut options: RemoteOptions = serde_json::from_value(options).unwrap();
    options.tokens = Some(desk.clone());
    let platform = Rc::new(FakePlatform(clock.clone()));
    RemoteDatabase::new(server.clone(), platform, "http://x:y@h:5984/db", options).unwrap()
}

/// Knows one token.
fn bearer(clock: &Rc<Clock>, good: &Rc<RefCell<String>>) -> Rc<FakeServer> {
    let good = good.clone();
    FakeServer::new(clock, move |request, _| {
        let sent = header(request, "authorization");
        if sent == Some(format!("Bearer {}", good.borrow())) { reply(200, INFO) } else { reply(401, REFUSED) }
    })
}

fn jwt(exp: f64) -> String {
    // Base64 as URLs have it, with both of its own digits in it.
    let claims = base64(json!({"sub": "??>>~~ü", "exp": exp}).to_string().as_bytes());
    format!("e30.{}.sig", claims.trim_end_matches('=').replace('+', "-").replace('/', "_"))
}

#[test]
fn a_token_is_asked_for_once_by_many_and_again_before_it_ends() {
    let clock = Clock::new();
    let now_ms = || FakePlatform(clock.clone()).now_ms();
    let (first, second) = (jwt(now_ms() / 1000.0 + 300.0), jwt(now_ms() / 1000.0 + 3_000.0));
    let desk = Rc::new(Desk { clock: Some(clock.clone()), ..Desk::default() });
    desk.tokens.replace(vec![Ok(first.clone()), Ok(format!(" {second}\n"))]);
    let good = Rc::new(RefCell::new(first));
    let server = bearer(&clock, &good);
    let db = with_tokens(&clock, &server, &desk, json!({}));
    for info in clock.run(join_all((0..5).map(|_| db.info()))) {
        info.unwrap();
    }
    clock.run(FakePlatform(clock.clone()).sleep(260_000));
    clock.run(db.info()).unwrap();
    assert_eq!(*desk.asked.borrow(), [Reason::First]);
    clock.run(FakePlatform(clock.clone()).sleep(10_000));
    good.replace(second);
    for info in clock.run(join_all((0..5).map(|_| db.info()))) {
        info.unwrap();
    }
    assert_eq!(*desk.asked.borrow(), [Reason::First, Reason::Expired]);
    assert_eq!(server.requests.borrow().len(), 11);
}

#[test]
fn a_refused_token_is_replaced_once() {
    let clock = Clock::new();
    let desk = Rc::new(Desk::default());
    // One is no JWT; one has ended by our clock, which may be wrong.
    let old = jwt(5.0);
    desk.tokens.replace(vec![Ok("opaque".into()), Ok(old.clone()), Ok("bad".into()), Ok("good".into())]);
    let good = Rc::new(RefCell::new("opaque".to_owned()));
    let server = bearer(&clock, &good);
    let db = with_tokens(&clock, &server, &desk, json!({}));
    clock.run(db.info()).unwrap();
    good.replace(old);
    clock.run(db.info()).unwrap();
    clock.run(db.info()).unwrap();
    assert_eq!(*desk.asked.borrow(), [Reason::First, Reason::Rejected]);
    good.replace("good".into());
    clock.run(FakePlatform(clock.clone()).sleep(60_000));
    assert!(clock.run(db.info()).unwrap_err().needs_login());
    assert!(clock.run(db.info()).unwrap_err().needs_login());
    assert_eq!(desk.asked.borrow().len(), 3);
    clock.run(FakePlatform(clock.clone()).sleep(60_000));
    clock.run(db.info()).unwrap();
    // A header of the caller's own goes before, until somebody logs in.
    let own = json!({"headers": {"authorization": "Bearer good"}});
    let db = with_tokens(&clock, &server, &Rc::new(Desk::default()), own);
    clock.run(db.info()).unwrap();
    good.replace("newer".into());
    assert!(clock.run(db.info()).unwrap_err().needs_login());
    let desk = Desk { tokens: RefCell::new(vec![Ok("newer".into())]), ..Desk::default() };
    db.log_in(Credentials::Tokens(Rc::new(desk)));
    clock.run(db.info()).unwrap();
}

#[test]
fn nobody_who_logs_in_is_a_401_of_everybody_who_waits() {
    let clock = Clock::new();
    let desk = Rc::new(Desk { clock: Some(clock.clone()), ..Desk::default() });
    desk.tokens.replace(vec![Err(no_token("the window was closed")), Ok("good".into())]);
    let server = bearer(&clock, &Rc::new(RefCell::new("good".into())));
    let db = with_tokens(&clock, &server, &desk, json!({}));
    for info in clock.run(join_all((0..3).map(|_| db.info()))) {
        let error = info.unwrap_err();
        assert!(error.needs_login() && error.reason().contains("the window was closed"));
    }
    assert_eq!((desk.asked.borrow().len(), server.requests.borrow().len()), (1, 0));
    clock.run(db.info()).unwrap();
}

#[test]
fn a_bad_login_is_not_repeated_in_the_error() {
    for bad in [
        json!({"auth": "s3cret"}),
        json!({"auth": ["s3cret"]}),
        json!({"auth": {"username": "a"}}),
        json!({"auth": {"username": "a", "password": 53}}),
        json!({"auth": {"username": "a", "password": "s3cret", "type": "s3cret"}}),
        json!({"auth": {"username": "a", "password": "s3cret", "type": 3}}),
        json!({"auth": {"username": "a", "password": "s3cret", "s3cret": 1}}),
        json!({"headers": "s3cret"}),
        json!({"headers": {"authorization": 53}}),
    ] {
        let error = serde_json::from_value::<RemoteOptions>(bad.clone()).unwrap_err().to_string();
        assert!(!error.contains("s3cret") && !error.contains("53"), "{bad}: {error}");
    }
    let plain: RemoteOptions =
        serde_json::from_value(json!({"auth": {"username": "a", "password": "b", "type": "basic"}})).unwrap();
    assert!(!plain.auth.unwrap().is_session);
}
