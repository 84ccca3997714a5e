//! Passwords that a server refused, so that not each of its databases shows them to it.
//!
//! CouchDB 3.4 and later lock an account for five minutes after five wrong passwords in five minutes, and then
//! refuse the right one too. A page with ten channels whose password was changed elsewhere would do that at once.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use futures::{
    future::{Either, select},
    lock::{Mutex, MutexGuard},
};

use super::auth::Login;
use crate::{
    error::{Error, Result},
    platform::{Platform, sha256},
};

/// How long a refusal that somebody else got is taken for one's own: a little less than a replication waits with
/// a login that was refused, so that one of many asks the server each time.
pub const OTHERS_MS: f64 = 140_000.0;

/// The same where a person has just logged in, as pages do for all their channels at once.
pub const TYPED_MS: f64 = 10_000.0;

/// How long one is waited for who shows it: a server that does not answer holds nobody else up.
const PATIENCE_MS: u32 = 3_000;

/// What a server said to the logins that it was shown.
#[derive(Default)]
pub struct Refusals {
    logins: RefCell<Vec<Rc<Shown>>>,
    last: Cell<u32>,
}

/// One login, as the server knows it.
pub struct Shown {
    login: [u8; 32],
    verdict: RefCell<Verdict>,
    /// Until the server took it, one request shows it at a time.
    turn: Mutex<()>,
}

enum Verdict {
    Unknown,
    Taken,
    Refused { at_ms: f64, by: u32, error: Error },
}

impl Refusals {
    /// A number for who asks.
    pub fn asker(&self) -> u32 {
        self.last.set(self.last.get().wrapping_add(1));
        self.last.get()
    }

    /// What is known of a login. The password is kept as a digest.
    pub fn of(&self, login: &Login) -> Rc<Shown> {
        let login = sha256(format!("{}:{}", login.username, login.password).as_bytes());
        let mut logins = self.logins.borrow_mut();
        if let Some(shown) = logins.iter().find(|shown| shown.login == login) {
            return shown.clone();
        }
        let shown = Rc::new(Shown { login, verdict: RefCell::new(Verdict::Unknown), turn: Mutex::new(()) });
        logins.push(shown.clone());
        shown
    }
}

impl Shown {
    /// Waits until nobody else shows it, and holds the turn meanwhile. Not once the server has taken it.
    pub async fn turn(&self, platform: &dyn Platform) -> Option<MutexGuard<'_, ()>> {
        if self.is_taken() {
            return None;
        }
        match select(self.turn.lock(), platform.sleep(PATIENCE_MS)).await {
            Either::Left((turn, _)) => (!self.is_taken()).then_some(turn),
            Either::Right(_) => None,
        }
    }

    fn is_taken(&self) -> bool {
        matches!(*self.verdict.borrow(), Verdict::Taken)
    }

    /// Whether this asker may show it now.
    ///
    /// Errors: the refusal that somebody else got less than `others_ms` ago.
    pub fn may_go(&self, asker: u32, others_ms: f64, platform: &dyn Platform) -> Result<()> {
        match &*self.verdict.borrow() {
            Verdict::Refused { at_ms, by, error }
                if *by != asker && (platform.now_ms() - at_ms).abs() < others_ms =>
            {
                Err(error.clone())
            }
            _ => Ok(()),
        }
    }

    /// Takes down what the server said. Errors that are not about the password tell nothing of it.
    pub fn judge(&self, said: std::result::Result<(), &Error>, asker: u32, platform: &dyn Platform) {
        let verdict = match said {
            Ok(()) => Verdict::Taken,
            Err(error) if error.is_wrong_password() => {
                Verdict::Refused { at_ms: platform.now_ms(), by: asker, error: error.clone() }
            }
            Err(_) => return,
        };
        self.verdict.replace(verdict);
    }
}
