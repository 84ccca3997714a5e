//! Every failure of the crate, as CouchDB would name it.
//!
//! One struct carries what a caller of CouchDB knows: a `name` (the wire field `error`), an HTTP
//! `status` and a `reason` in words. [`Kind`] is what Rust code matches on; name and status follow
//! from it, so they cannot drift apart. Names, statuses and reasons come from the server's own
//! table (`chttpd.erl`, `error_info/1`), not from any client's memory of it. Status 0 means that no
//! server would ever answer this: the failure is the device's or the network's own.
//!
//! Secrets, passwords in URLs and document contents never enter a `reason`.

use std::{borrow::Cow, fmt, rc::Rc};

use futures::future::LocalBoxFuture;

/// The result of anything that can fail here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a port's calls return: a future on this thread that may fail.
///
/// Boxed, so that every port is an object: the engine and the replicator are compiled once, whatever
/// store, transport or peer they run over.
pub type Pending<'a, T> = LocalBoxFuture<'a, Result<T>>;

/// What went wrong, for code to match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The request makes no sense: 400 `bad_request`.
    BadRequest,
    /// An option is unknown or has a bad value: 400 `query_parse_error`.
    QueryParse,
    /// A document id that CouchDB would refuse: 400 `illegal_docid`.
    IllegalDocid,
    /// A special member that does not exist or has a bad value: 400 `doc_validation`.
    DocValidation,
    /// The login is missing or wrong: 401 `unauthorized`.
    Unauthorized,
    /// The login is right and still may not: 403 `forbidden`.
    Forbidden,
    /// No such document, revision, attachment or database: 404 `not_found`.
    NotFound,
    /// The edit is not based on a current leaf: 409 `conflict`.
    Conflict,
    /// The database exists already: 412 `file_exists`.
    FileExists,
    /// A stub names an attachment the parent does not have: 412 `missing_stub`.
    MissingStub,
    /// A document is over the limit: 413 `document_too_large`.
    DocumentTooLarge,
    /// An attachment is over the limit: 413 `attachment_too_large`.
    AttachmentTooLarge,
    /// The browser has no room left: 507 `insufficient_storage`.
    InsufficientStorage,
    /// Something the code did not expect; a bug if it was not the storage's fault: 500 `unknown_error`.
    Unknown,
    /// A server's answer that none of the others stands for; its own name, status and reason.
    Remote,
    /// The server was not reached, or the answer broke off: 0 `network_error`.
    Network,
    /// No answer came in time: 0 `timeout`.
    Timeout,
    /// The caller cancelled it: 0 `cancelled`.
    Cancelled,
    /// The database was closed or destroyed: 0 `store_closed`.
    StoreClosed,
    /// The keys of this sealed channel are not at hand: 0 `locked`.
    Locked,
    /// The database was written by a newer Settee: 0 `schema_too_new`.
    SchemaTooNew,
    /// The browser does not let this page store anything: 0 `storage_unavailable`.
    StorageUnavailable,
    /// Stored bytes are not what was written: 0 `corrupt`.
    Corrupt,
}

impl Kind {
    /// Every kind, for tables and tests.
    pub const ALL: [Kind; 23] = [
        Kind::BadRequest,
        Kind::QueryParse,
        Kind::IllegalDocid,
        Kind::DocValidation,
        Kind::Unauthorized,
        Kind::Forbidden,
        Kind::NotFound,
        Kind::Conflict,
        Kind::FileExists,
        Kind::MissingStub,
        Kind::DocumentTooLarge,
        Kind::AttachmentTooLarge,
        Kind::InsufficientStorage,
        Kind::Unknown,
        Kind::Remote,
        Kind::Network,
        Kind::Timeout,
        Kind::Cancelled,
        Kind::StoreClosed,
        Kind::Locked,
        Kind::SchemaTooNew,
        Kind::StorageUnavailable,
        Kind::Corrupt,
    ];

    /// CouchDB's name and HTTP status for this kind; status 0 where no server could answer it.
    pub fn name_and_status(self) -> (&'static str, u16) {
        match self {
            Kind::BadRequest => ("bad_request", 400),
            Kind::QueryParse => ("query_parse_error", 400),
            Kind::IllegalDocid => ("illegal_docid", 400),
            Kind::DocValidation => ("doc_validation", 400),
            Kind::Unauthorized => ("unauthorized", 401),
            Kind::Forbidden => ("forbidden", 403),
            Kind::NotFound => ("not_found", 404),
            Kind::Conflict => ("conflict", 409),
            Kind::FileExists => ("file_exists", 412),
            Kind::MissingStub => ("missing_stub", 412),
            Kind::DocumentTooLarge => ("document_too_large", 413),
            Kind::AttachmentTooLarge => ("attachment_too_large", 413),
            Kind::InsufficientStorage => ("insufficient_storage", 507),
            Kind::Unknown | Kind::Remote => ("unknown_error", 500),
            Kind::Network => ("network_error", 0),
            Kind::Timeout => ("timeout", 0),
            Kind::Cancelled => ("cancelled", 0),
            Kind::StoreClosed => ("store_closed", 0),
            Kind::Locked => ("locked", 0),
            Kind::SchemaTooNew => ("schema_too_new", 0),
            Kind::StorageUnavailable => ("storage_unavailable", 0),
            Kind::Corrupt => ("corrupt", 0),
        }
    }

    /// The kind a server's status stands for.
    pub fn of_status(status: u16, name: &str) -> Kind {
        match (status, name) {
            (400, "query_parse_error") => Kind::QueryParse,
            (400, "illegal_docid") => Kind::IllegalDocid,
            (400, "doc_validation") => Kind::DocValidation,
            (400, _) => Kind::BadRequest,
            (401, _) => Kind::Unauthorized,
            (403, _) => Kind::Forbidden,
            (404, _) => Kind::NotFound,
            (409, _) => Kind::Conflict,
            (412, "file_exists") => Kind::FileExists,
            (412, "missing_stub") => Kind::MissingStub,
            (413, "attachment_too_large") => Kind::AttachmentTooLarge,
            (413, _) => Kind::DocumentTooLarge,
            (507, _) => Kind::InsufficientStorage,
            _ => Kind::Remote,
        }
    }
}

/// A failure with CouchDB's name, status and reason.
#[derive(Clone, Debug)]
pub struct Error {
    kind: Kind,
    status: u16,
    name: Cow<'static, str>,
    reason: Cow<'static, str>,
    retry_after_ms: Option<u32>,
    source: Option<Rc<dyn std::error::Error>>,
}

impl Error {
    /// An error of a kind, with its reason in words.
    pub fn new(kind: Kind, reason: impl Into<Cow<'static, str>>) -> Self {
        let (name, status) = kind.name_and_status();
        Self { kind, status, name: name.into(), reason: reason.into(), retry_after_ms: None, source: None }
    }

    /// A server's answer: its body's `error` and `reason` stay verbatim.
    pub fn remote(status: u16, name: impl Into<String>, reason: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            kind: Kind::of_status(status, &name),
            status,
            name: name.into(),
            reason: reason.into().into(),
            retry_after_ms: None,
            source: None,
        }
    }

    /// Keeps what caused it, for [`std::error::Error::source`] and the log.
    pub fn with_source(mut self, source: impl std::error::Error + 'static) -> Self {
        self.source = Some(Rc::new(source));
        self
    }

    /// Keeps when the server said to come back, in milliseconds from now.
    pub fn with_retry_after_ms(mut self, ms: Option<u32>) -> Self {
        self.retry_after_ms = ms;
        self
    }

    /// What went wrong, for code to match on.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The HTTP status CouchDB answers with; 0 where no server could answer.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// CouchDB's `error` field.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// CouchDB's `reason` field: a sentence or word for the person who reads it.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether the same call may succeed later with nothing changed by the caller.
    pub fn is_retryable(&self) -> bool {
        match self.kind {
            Kind::Network | Kind::Timeout => true,
            Kind::Remote => self.status >= 500 || self.status == 408 || self.status == 429,
            Kind::Unknown => false,
            _ => false,
        }
    }

    /// How long the server asked to be left alone (`Retry-After`), in milliseconds from when its answer
    /// came. The least pause before the next attempt; `None` where it did not say.
    pub fn retry_after_ms(&self) -> Option<u32> {
        self.retry_after_ms
    }

    /// Whether somebody has to log in (again) before the same call can succeed: a 401, or CouchDB's 403 where a wrong
    /// password was sent so often that it takes no right one for five minutes. Said of a whole
    /// request; a document that a validation function refuses with 401 is that document's trouble.
    pub fn needs_login(&self) -> bool {
        self.kind == Kind::Unauthorized
            || (self.kind == Kind::Forbidden && self.reason.starts_with("Account is temporarily locked"))
    }

    /// 400 `bad_request`.
    pub fn bad_request(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::BadRequest, reason)
    }

    /// 400 `doc_validation`.
    pub fn doc_validation(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::DocValidation, reason)
    }

    /// 404 `not_found`, reason `missing`.
    pub fn missing() -> Self {
        Self::new(Kind::NotFound, "missing")
    }

    /// 404 `not_found`, reason `deleted`.
    pub fn deleted() -> Self {
        Self::new(Kind::NotFound, "deleted")
    }

    /// 409 `conflict`, with the server's own sentence.
    pub fn conflict() -> Self {
        Self::new(Kind::Conflict, "Document update conflict.")
    }

    /// 0 `store_closed`: the caller closed the database.
    pub fn closed() -> Self {
        Self::new(Kind::StoreClosed, "The database is closed; open it again to go on.")
    }

    /// 0 `store_closed`: here or in another tab.
    pub fn destroyed() -> Self {
        Self::new(Kind::StoreClosed, "The database was destroyed.")
    }

    /// 0 `locked`: a sealed channel without its keys.
    pub fn locked() -> Self {
        Self::new(Kind::Locked, "The channel is locked; unlock it to read and write.")
    }

    /// 404 `no_channel`: a sealed database that waits for its channel.
    pub fn no_channel() -> Self {
        let reason =
            "Nothing of this channel is here yet. Replicate it from where it is, or begin a new one.";
        Self { kind: Kind::Locked, ..Self::remote(404, "no_channel", reason) }
    }

    /// 403 `forbidden`: a clear database where a sealed channel is asked for.
    pub fn not_sealed() -> Self {
        Self::new(
            Kind::Forbidden,
            "This database is not sealed and cannot become so. Copy what it holds into a sealed one.",
        )
    }

    /// 0 `corrupt`: stored bytes do not decode; `what` names the part.
    pub fn corrupt(what: &'static str) -> Self {
        Self::new(Kind::Corrupt, format!("The stored {what} does not decode."))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref()
    }
}

impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, self.status, &self.name, &self.reason)
            == (other.kind, other.status, &other.name, &other.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_name_or_a_stated_reason_not_to() {
        for kind in Kind::ALL {
            let (name, status) = kind.name_and_status();
            assert!(!name.is_empty());
            if status != 0 && kind != Kind::Unknown && kind != Kind::Remote {
                assert_eq!(Kind::of_status(status, name), kind, "{name} does not come back");
            }
        }
    }

    #[test]
    fn a_servers_words_stay_verbatim() {
        let error = Error::remote(412, "precondition_failed", "because");
        assert_eq!((error.status(), error.name(), error.reason()), (412, "precondition_failed", "because"));
        assert_eq!(error.kind(), Kind::Remote);
        assert!(Error::remote(503, "x", "y").is_retryable());
        assert!(!Error::conflict().is_retryable());
        assert!(Error::remote(401, "x", "y").needs_login() && !Error::remote(403, "x", "y").needs_login());
        let locked = "Account is temporarily locked due to multiple authentication failures";
        assert!(Error::remote(403, "forbidden", locked).needs_login());
        let busy = Error::remote(429, "x", "y").with_retry_after_ms(Some(7));
        assert_eq!((busy.retry_after_ms(), Error::conflict().retry_after_ms()), (Some(7), None));
    }
}
