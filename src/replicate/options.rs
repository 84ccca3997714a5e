//! What a replication is asked to do, under PouchDB's names.

use std::{fmt, rc::Rc};

use serde_json::{Map, Value};

use crate::{
    error::{Error, Kind, Result},
    model::{Member, Seq, options},
    peer::{ChangesPage, ChangesQuery},
};

/// The longest pause between two attempts. CouchDB's and PouchDB's ten minutes and more leave a device
/// that came back online waiting; a minute costs a server that is down nothing it would notice.
pub const MAX_BACK_OFF_MS: u32 = 60_000;

/// The options of `replicate` and `sync`.
#[derive(Clone, Debug)]
pub struct Options {
    /// Goes on with changes as they happen, until cancelled.
    pub live: bool,
    /// Waits and tries again when the network or the server failed, until cancelled.
    pub retry: bool,
    /// Starts after this place in the source's feed whatever the checkpoints say; `"now"` for its end.
    /// As in CouchDB a replication with `since` has checkpoints of its own, so that it never makes
    /// another one skip what it skipped.
    pub since: Option<Seq>,
    /// Only these documents.
    pub doc_ids: Option<Vec<String>>,
    /// Documents whose ids begin so go over beside `doc_ids`. Then it is looked at here which are asked for.
    pub beside: Option<&'static str>,
    /// Only documents that match this Mango selector.
    pub selector: Option<Value>,
    /// A filter function of the source, `ddoc/name`.
    pub filter: Option<String>,
    /// Parameters for `filter`.
    pub query_params: Map<String, Value>,
    /// Which revisions go over: every leaf, or winners alone.
    pub style: Style,
    /// How many changes make a batch. If absent, CouchDB's default of 500 from a server: large enough that
    /// round trips do not count, small enough that a batch that fails is soon repeated. From this device as
    /// many as make about two megabytes, up to 1,000.
    pub batch_size: Option<usize>,
    /// How many batches are read ahead of the one that is being stored, at most.
    pub batches_limit: usize,
    /// Where checkpoints are kept.
    pub checkpoint: Checkpoints,
    /// How often a server keeps a waiting line alive; for `RemoteDatabase`, which the replicator does
    /// not know.
    pub heartbeat_ms: Heartbeat,
    /// How long a live replication waits for a change before it asks again: how long a line that died
    /// silently goes unnoticed.
    pub timeout_ms: u32,
    /// At most so often a checkpoint is written; the first time that all is there one is written at once.
    /// One for each batch would add two requests to each. A sixtieth as often where the target had everything.
    pub checkpoint_interval_ms: u32,
    /// Makes the target if it is not there (404).
    pub create_target: bool,
    /// The pause after the next failure, from the last one (0 at first). [`BackOff::default`] if absent.
    pub back_off: BackOff,
}

options!(
    Options: live, retry, since, doc_ids, selector, filter, query_params, style, batch_size, batches_limit, checkpoint,
    heartbeat_ms = "heartbeat", timeout_ms = "timeout", checkpoint_interval_ms, create_target
);

impl Default for Options {
    fn default() -> Self {
        Self {
            live: false,
            retry: false,
            since: None,
            doc_ids: None,
            beside: None,
            selector: None,
            filter: None,
            query_params: Map::new(),
            style: Style::AllDocs,
            batch_size: None,
            batches_limit: 2,
            checkpoint: Checkpoints::Both,
            heartbeat_ms: Heartbeat(None),
            timeout_ms: 60_000,
            checkpoint_interval_ms: 5_000,
            create_target: true,
            back_off: BackOff::default(),
        }
    }
}

impl Options {
    /// 400 `query_parse_error` for a size or time of 0, and where more than one of the options that choose
    /// documents is given, as in CouchDB: which one counts would be anybody's guess.
    pub fn check(&self) -> Result<()> {
        let bad = |reason: &'static str| Err(Error::new(Kind::QueryParse, reason));
        let least = self.batch_size.unwrap_or(1).min(self.batches_limit).min(self.timeout_ms as usize);
        if least == 0 || self.heartbeat_ms.0 == Some(0) {
            return bad("`batch_size`, `batches_limit`, `timeout` and `heartbeat` are at least 1");
        }
        let given = [self.doc_ids.is_some(), self.selector.is_some(), self.filter_function().is_some()];
        if given.into_iter().filter(|is_given| *is_given).count() > 1 {
            return bad("`doc_ids`, `selector` and `filter` exclude one another");
        }
        Ok(())
    }

    /// The filter that is asked of the source by name. Beside `doc_ids` or a selector CouchDB's names for
    /// those say nothing new.
    pub fn filter_function(&self) -> Option<&str> {
        self.filter.as_deref().filter(|filter| match *filter {
            "_doc_ids" => self.doc_ids.is_none(),
            "_selector" => self.selector.is_none(),
            _ => true,
        })
    }

    /// Whether not all documents are meant.
    pub(super) fn is_filtered(&self) -> bool {
        self.doc_ids.is_some() || self.selector.is_some() || self.filter_function().is_some()
    }

    /// Leaves of what the source's feed told what is asked for.
    pub(super) fn choose(&self, page: &mut ChangesPage) {
        if let (Some(ids), Some(beside)) = (&self.doc_ids, self.beside) {
            let is_meant = |id: &String| id.starts_with(beside) || ids.contains(id);
            page.results.retain(|change| is_meant(&change.id));
            page.odd.retain(is_meant);
        }
    }

    /// What is asked of the source's feed.
    pub fn query(&self) -> ChangesQuery {
        ChangesQuery {
            doc_ids: self.doc_ids.clone().filter(|_| self.beside.is_none()),
            selector: self.selector.clone(),
            filter: self.filter_function().map(str::to_owned),
            query_params: self.query_params.clone(),
            include_docs: false,
            is_main_only: self.style == Style::MainOnly,
        }
    }
}

/// Which revisions go over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Every leaf: conflicts go over too.
    #[default]
    AllDocs,
    /// Winners alone.
    MainOnly,
}

impl Member for Style {
    const WHAT: &'static str = "`all_docs` or `main_only`";

    fn of(value: Value) -> Option<Self> {
        match value.as_str()? {
            "all_docs" => Some(Self::AllDocs),
            "main_only" => Some(Self::MainOnly),
            _ => None,
        }
    }
}

/// Where checkpoints are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checkpoints {
    /// On both sides; they are compared, so that a side that lost its own is noticed.
    #[default]
    Both,
    /// On the source alone.
    Source,
    /// On the target alone.
    Target,
    /// Nowhere: every replication starts from the beginning.
    None,
}

impl Checkpoints {
    /// Whether the source keeps one.
    pub fn on_source(self) -> bool {
        matches!(self, Self::Both | Self::Source)
    }

    /// Whether the target keeps one.
    pub fn on_target(self) -> bool {
        matches!(self, Self::Both | Self::Target)
    }
}

/// PouchDB's spelling: `true`, `false`, `"source"`, `"target"`.
impl Member for Checkpoints {
    const WHAT: &'static str = "true, false, \"source\" or \"target\"";

    fn of(value: Value) -> Option<Self> {
        match (value.as_bool(), value.as_str()) {
            (Some(true), _) | (_, Some("both")) => Some(Self::Both),
            (Some(false), _) => Some(Self::None),
            (_, Some("source")) => Some(Self::Source),
            (_, Some("target")) => Some(Self::Target),
            _ => None,
        }
    }
}

/// A number of milliseconds; `true` and `false` leave the default, as a line that nobody keeps alive
/// dies silently.
#[derive(Clone, Copy, Debug)]
pub struct Heartbeat(pub Option<u32>);

impl Member for Heartbeat {
    const WHAT: &'static str = "a number of milliseconds";

    fn of(value: Value) -> Option<Self> {
        if value.is_boolean() { Some(Self(None)) } else { Option::of(value).map(Self) }
    }
}

/// How the pause between attempts grows.
#[derive(Clone, Default)]
pub struct BackOff(Option<Rc<dyn Fn(u32) -> u32>>);

impl BackOff {
    /// A caller's own: gets the last pause in milliseconds (0 at first), gives the next one.
    pub fn new(next_ms: impl Fn(u32) -> u32 + 'static) -> Self {
        Self(Some(Rc::new(next_ms)))
    }

    /// The caller's own, if there is one.
    pub(super) fn custom(&self) -> Option<&dyn Fn(u32) -> u32> {
        self.0.as_deref()
    }
}

impl fmt::Debug for BackOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "BackOff(custom)" } else { "BackOff(default)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_pouchdbs_names() {
        let options: Options = serde_json::from_str(
            r#"{"live":true,"retry":true,"since":"now","doc_ids":["a"],"batch_size":10,"batches_limit":3,
                "heartbeat":5000,"timeout":9000,"checkpoint":"target","style":"main_only","query_params":{"a":1}}"#,
        )
        .unwrap();
        assert!(options.live && options.retry);
        assert_eq!((options.heartbeat_ms.0, options.timeout_ms), (Some(5000), 9000));
        assert_eq!((options.checkpoint, options.style), (Checkpoints::Target, Style::MainOnly));
        assert_eq!(options.query().query_params["a"], 1);
        assert!(
            serde_json::from_str::<Options>(r#"{"liev":true}"#).unwrap_err().to_string().contains("liev")
        );
        assert_eq!(serde_json::from_str::<Options>(r#"{"heartbeat":false}"#).unwrap().heartbeat_ms.0, None);
    }
}
