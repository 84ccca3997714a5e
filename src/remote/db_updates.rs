//! CouchDB's `_db_updates`: one feed that tells which databases of a server moved. Only server admins may
//! read it, unless the server was told otherwise; pouchdb-server's has no places to go on from, so it is none.

use futures::{
    FutureExt,
    future::{Either, select},
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    http::{self, Http},
    origin::{Move, Moves},
    url::encode,
};
use crate::{error::Pending, model::Seq};

/// Where a line cannot be heard to be alive it is asked anew this often.
const DEAF_MS: u32 = 60_000;

/// See the module's page. Its `url` is the server's.
pub struct DbUpdates {
    pub http: Http,
    pub heartbeat_ms: u32,
}

#[derive(Deserialize)]
struct Updates {
    results: Vec<Update>,
    last_seq: Value,
}

#[derive(Deserialize)]
struct Update {
    db_name: String,
    #[serde(default, rename = "type")]
    what: String,
}

impl Moves for DbUpdates {
    fn now(&self) -> Pending<'_, Value> {
        async {
            let text = self.http.json("GET", "/_db_updates?since=now", None).await?;
            Ok(http::parse::<Updates>(&text)?.last_seq)
        }
        .boxed_local()
    }

    fn after<'a>(&'a self, since: &'a Value) -> Pending<'a, (Vec<Move>, Value)> {
        async move {
            let place = encode(&Seq(since.clone()).to_query());
            let path = format!("/_db_updates?feed=longpoll&heartbeat={}&since={place}", self.heartbeat_ms);
            let mut request = self.http.request("GET", &path, None);
            request.waits = true;
            let can_hear = self.http.transport.can_stream();
            let line = self.http.text(request, can_hear.then(|| self.heartbeat_ms.saturating_mul(5) / 2));
            let end = async {
                match can_hear {
                    true => futures::future::pending().await,
                    false => self.http.platform.sleep(DEAF_MS).await,
                }
            };
            match select(line, end.boxed_local()).await {
                Either::Left((text, _)) => {
                    let updates: Updates = http::parse(&text?)?;
                    let moved = |Update { db_name, what }| Move {
                        name: db_name,
                        is_other: what == "created" || what == "deleted",
                    };
                    Ok((updates.results.into_iter().map(moved).collect(), updates.last_seq))
                }
                Either::Right(_) => Ok((Vec::new(), since.clone())),
            }
        }
        .boxed_local()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_couchdb_answered_is_read() {
        let recorded = include_str!("../../tests/vectors/couchdb/3.5.0.json");
        let recorded: Value = serde_json::from_str(recorded).unwrap();
        let said = |name: &str| -> Updates {
            http::parse(recorded["exchanges"][name]["body"].as_str().unwrap()).unwrap()
        };
        let (now, later) = (said("db-updates-now"), said("db-updates"));
        assert!(now.results.is_empty() && now.last_seq.is_string());
        let names: Vec<_> = later.results.iter().map(|update| update.db_name.as_str()).collect();
        assert_eq!(names, ["db"]);
        assert_ne!(later.last_seq, now.last_seq);
    }
}
