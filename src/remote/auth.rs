//! Who asks: what is sent along with every request, how it is got and renewed.
//!
//! A name and password are sent as they are. A session is a cookie of CouchDB's for ten minutes, and a
//! bearer token lasts as long as its issuer says; both are got before the first request, renewed before
//! they end and, once, when a server refuses them. Requests that run side by side share one renewal.
//!
//! A browser keeps cookies to itself and sends them by itself (`credentials: include`). Elsewhere nobody
//! keeps them, so where `set-cookie` can be seen the cookie is kept here.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use futures::{FutureExt, lock::Mutex};
use serde_json::Value;

use super::http::{self, Http};
use crate::{
    error::{Error, Pending, Result},
    model::{Content, Member, base64, unbase64},
};

/// How long a session lasts where the server does not say: CouchDB's default, in seconds.
const SESSION_SECONDS: u32 = 600;

/// A token is replaced so long before it ends: clocks differ, and a request takes its time.
const TOKEN_MARGIN_MS: f64 = 30_000.0;

/// A server that refuses a login again so soon after it was renewed means it.
const REFUSED_AGAIN_MS: f64 = 10_000.0;

/// A name and password.
#[derive(Clone)]
pub struct Login {
    /// The name.
    pub username: String,
    /// The password.
    pub password: String,
    /// Logs in at `_session` and sends the cookie, instead of the password with every request.
    pub is_session: bool,
}

/// Of `{username, password, type?: 'basic' | 'session'}`. The error repeats nothing: it may be a password in the
/// wrong place.
impl Member for Login {
    const WHAT: &'static str = "{username, password}, perhaps with type: 'basic' or 'session'";

    fn of(value: Value) -> Option<Self> {
        let Value::Object(mut members) = value else { return None };
        let is_session = match members.remove("type") {
            None => false,
            Some(Value::String(kind)) if kind == "basic" => false,
            Some(Value::String(kind)) if kind == "session" => true,
            Some(_) => return None,
        };
        let mut take = |name: &str| Some(members.remove(name)?.as_str()?.to_owned());
        let login = Self { username: take("username")?, password: take("password")?, is_session };
        members.is_empty().then_some(login)
    }
}

/// Why a token is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is none yet.
    First,
    /// The last one ends, or has ended.
    Expired,
    /// The server refused the last one.
    Rejected,
}

impl Reason {
    /// `first`, `expired`, `rejected`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
        }
    }
}

/// Port: where bearer tokens come from.
pub trait Tokens {
    /// A token, which is sent as it is. May take as long as a person needs to log in.
    ///
    /// Errors: 401 `unauthorized` where there is none to be had; `network_error` if that may change.
    fn get_token(&self, reason: Reason) -> Pending<'_, String>;
}

/// How to be let in.
#[derive(Clone)]
pub enum Credentials {
    /// By name and password.
    Login(Login),
    /// By bearer tokens.
    Tokens(Rc<dyn Tokens>),
}

/// The login as it stands.
pub struct Auth {
    /// The caller's own headers.
    headers: RefCell<Vec<(String, String)>>,
    credentials: RefCell<Option<Credentials>>,
    held: RefCell<Option<Held>>,
    /// Counts logins and attempts at one, so that who waited for another's attempt knows it is over.
    attempt: Cell<u32>,
    /// What came of the last.
    outcome: RefCell<Result<()>>,
    refused_ms: Cell<f64>,
    /// One attempt at a time.
    turn: Mutex<()>,
}

/// What lets us in for a while.
struct Held {
    /// `None` for a cookie that the browser keeps.
    header: Option<(&'static str, String)>,
    renew_at_ms: f64,
}

impl Auth {
    /// A caller's `Authorization` header takes the place of any login.
    pub fn new(headers: Vec<(String, String)>, credentials: Option<Credentials>) -> Self {
        let has_own = headers.iter().any(is_authorization);
        Self {
            headers: RefCell::new(headers),
            credentials: RefCell::new(credentials.filter(|_| !has_own)),
            held: RefCell::default(),
            attempt: Cell::new(0),
            outcome: RefCell::new(Ok(())),
            refused_ms: Cell::new(f64::NEG_INFINITY),
            turn: Mutex::new(()),
        }
    }

    /// Goes on with other credentials; forgets the last ones and a caller's `Authorization`.
    pub fn log_in(&self, credentials: Credentials) {
        self.headers.borrow_mut().retain(|header| !is_authorization(header));
        self.credentials.replace(Some(credentials));
        self.held.take();
        self.attempt.set(self.attempt.get().wrapping_add(1));
        *self.outcome.borrow_mut() = Ok(());
        self.refused_ms.set(f64::NEG_INFINITY);
    }

    /// Who asks with other credentials and the same headers.
    fn with(&self, credentials: Credentials) -> Self {
        let other = Self::new(self.headers.borrow().clone(), None);
        other.log_in(credentials);
        other
    }

    /// Goes on with what another one got for the same credentials.
    pub fn take_over(&self, other: Self) {
        self.held.replace(other.held.into_inner());
    }

    /// Takes over a cookie that the server renewed by itself, where we keep it.
    pub fn note(&self, headers: &[(String, String)], now_ms: f64) {
        if let Some(held) = &mut *self.held.borrow_mut()
            && matches!(held.header, Some(("Cookie", _)))
            && let Some(renewed) = session_of(headers, now_ms)
        {
            *held = renewed;
        }
    }
}

impl Http {
    /// The same database, asked by somebody else.
    pub fn with_login(&self, credentials: Credentials) -> Self {
        Self {
            transport: self.transport.clone(),
            platform: self.platform.clone(),
            url: self.url.clone(),
            auth: self.auth.with(credentials),
            slots: self.slots.clone(),
            is_visible: self.is_visible.clone(),
            distrusts_cache: Cell::default(),
            timeout_ms: self.timeout_ms,
        }
    }

    /// Whether the server knows who we are, so that it means one document when it refuses that with 401. A
    /// database that everybody may read lets us in without a login that has ended. False if there is a new
    /// one now: what was refused is worth another try.
    ///
    /// Errors: `refusal` where there is none any more.
    pub fn is_known(&self, refusal: Error) -> Pending<'_, bool> {
        async move {
            if self.auth.credentials.borrow().is_none() {
                return Ok(true);
            }
            let mut request = self.request("GET", "", None);
            request.url = self.session_url();
            let attempt = self.sign(&mut request.headers).await?;
            let answer = self.exchange(request, Some(self.timeout_ms)).await?;
            if !matches!(answer.status, 200 | 401) {
                return Ok(true);
            }
            let said = self.text_of(answer, Some(self.timeout_ms)).await?;
            let said: Value = http::parse(&said)?;
            let is_nobody = said["userCtx"].get("name").is_none_or(Value::is_null);
            if is_nobody && !self.renew(attempt, Reason::Rejected).await? {
                return Err(refusal);
            }
            Ok(!is_nobody)
        }
        .boxed_local()
    }

    /// The database is the last segment; a server may stand under a path of its own.
    fn session_url(&self) -> String {
        let root = self.url.rsplit_once('/').map_or(self.url.as_str(), |(root, _)| root);
        format!("{root}/_session")
    }

    /// Adds what every request carries. The number is for [`Http::renew`].
    pub fn sign<'a>(&'a self, headers: &'a mut Vec<(String, String)>) -> Pending<'a, u32> {
        self.sign_now(headers).boxed_local()
    }

    async fn sign_now(&self, headers: &mut Vec<(String, String)>) -> Result<u32> {
        let auth = &self.auth;
        loop {
            let attempt = auth.attempt.get();
            let reason = match (&*auth.credentials.borrow(), &*auth.held.borrow()) {
                (None, _) | (Some(Credentials::Login(Login { is_session: false, .. })), _) => None,
                (Some(_), None) => Some(Reason::First),
                (Some(_), Some(held)) => {
                    (self.platform.now_ms() >= held.renew_at_ms).then_some(Reason::Expired)
                }
            };
            let Some(reason) = reason else { break };
            self.renew(attempt, reason).await?;
        }
        headers.extend_from_slice(&auth.headers.borrow());
        let held = match &*auth.credentials.borrow() {
            Some(Credentials::Login(Login { username, password, is_session: false })) => {
                let value = format!("Basic {}", base64(format!("{username}:{password}").as_bytes()));
                Some(("Authorization", value))
            }
            _ => auth.held.borrow().as_ref().and_then(|held| held.header.clone()),
        };
        if let Some((name, value)) = held {
            match headers.iter_mut().find(|(header, _)| header.eq_ignore_ascii_case(name)) {
                // A caller's other cookies.
                Some((_, cookies)) => *cookies = format!("{cookies}; {value}"),
                None => headers.push((name.to_owned(), value)),
            }
        }
        Ok(auth.attempt.get())
    }

    /// Gets a new session or token, unless somebody did since `attempt`. False if that cannot help.
    pub fn renew(&self, attempt: u32, reason: Reason) -> Pending<'_, bool> {
        self.renew_in_turn(attempt, reason).boxed_local()
    }

    async fn renew_in_turn(&self, attempt: u32, reason: Reason) -> Result<bool> {
        let auth = &self.auth;
        let _turn = auth.turn.lock().await;
        if auth.attempt.get() != attempt {
            return auth.outcome.borrow().clone().map(|()| true);
        }
        let credentials = auth.credentials.borrow().clone();
        let now_ms = self.platform.now_ms();
        if reason == Reason::Rejected {
            if (now_ms - auth.refused_ms.get()).abs() < REFUSED_AGAIN_MS {
                return Ok(false);
            }
            auth.refused_ms.set(now_ms);
        }
        let got = match credentials {
            Some(Credentials::Login(login)) if login.is_session => self.open_session(&login).await,
            Some(Credentials::Tokens(tokens)) => {
                tokens.get_token(reason).await.map(|token| held_token(token.trim(), self.platform.now_ms()))
            }
            _ => return Ok(false),
        };
        if auth.attempt.get() != attempt {
            // Somebody logged in meanwhile: what came of this is nobody's any more.
            return Ok(true);
        }
        auth.attempt.set(attempt.wrapping_add(1));
        let (held, outcome) = match got {
            Ok(held) => (Some(held), Ok(())),
            Err(error) => (None, Err(error)),
        };
        auth.held.replace(held);
        *auth.outcome.borrow_mut() = outcome.clone();
        outcome.map(|()| true)
    }

    async fn open_session(&self, login: &Login) -> Result<Held> {
        let names = serde_json::json!({ "name": login.username, "password": login.password });
        let body = vec![Content::from(names.to_string().into_bytes())];
        let mut request = self.request("POST", "", Some(("application/json", body)));
        request.url = self.session_url();
        request.headers.extend_from_slice(&self.auth.headers.borrow());
        let answer = self.exchange(request, Some(self.timeout_ms)).await?;
        if !(200..300).contains(&answer.status) {
            return Err(self.failure(answer).await);
        }
        let now_ms = self.platform.now_ms();
        let held = session_of(&answer.headers, now_ms);
        http::parse::<Value>(&self.text_of(answer, Some(self.timeout_ms)).await?)?;
        Ok(held.unwrap_or(Held { header: None, renew_at_ms: renewal_ms(now_ms, SESSION_SECONDS) }))
    }
}

fn is_authorization((name, _): &(String, String)) -> bool {
    name.eq_ignore_ascii_case("authorization")
}

/// A fifth of its time before it ends. The server renews it too, but only when asked often enough.
fn renewal_ms(now_ms: f64, seconds: u32) -> f64 {
    now_ms + f64::from(seconds) * 800.0
}

/// The session in an answer's headers, where they are shown.
fn session_of(headers: &[(String, String)], now_ms: f64) -> Option<Held> {
    let cookie = headers.iter().filter(|(name, _)| name == "set-cookie");
    let cookie = cookie.filter_map(|(_, value)| Some(&value[value.find("AuthSession=")?..])).next_back()?;
    let mut parts = cookie.split([';', ',']).map(str::trim);
    let pair = parts.next().filter(|pair| *pair != "AuthSession=")?;
    let seconds =
        parts.find_map(|part| part.strip_prefix("Max-Age=")?.parse().ok()).unwrap_or(SESSION_SECONDS);
    Some(Held { header: Some(("Cookie", pair.to_owned())), renew_at_ms: renewal_ms(now_ms, seconds) })
}

fn held_token(token: &str, now_ms: f64) -> Held {
    let renew_at_ms = match expiry_ms(token) {
        // One that has ended by our clock, fresh as it is: the clock is wrong, and the server decides.
        Some(ends_ms) if ends_ms > now_ms => (ends_ms - TOKEN_MARGIN_MS).max((now_ms + ends_ms) / 2.0),
        _ => f64::INFINITY,
    };
    Held { header: Some(("Authorization", format!("Bearer {token}"))), renew_at_ms }
}

/// When a token ends, if it is a JWT that says so.
fn expiry_ms(token: &str) -> Option<f64> {
    let mut claims = token.split('.').nth(1)?.replace('-', "+").replace('_', "/");
    while claims.len() % 4 != 0 {
        claims.push('=');
    }
    let claims: Value = serde_json::from_slice(&unbase64(&claims)?).ok()?;
    Some(claims.get("exp")?.as_f64()? * 1000.0)
}

/// What [`Tokens`] gives where nobody can or will log in.
pub fn no_token(why: &str) -> Error {
    Error::remote(401, "unauthorized", format!("There is no token to log in with: {why}"))
}
