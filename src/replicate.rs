//! One replicator over two [`Peer`]s: memory, IndexedDB and HTTP in any pairing.
//!
//! ```text
//!            ┌ changes ─► revs_diff ─► bulk_get ┐             ┌ attachments ─► write ┐
//!   source ──┤   (pages, read ahead of need)    ├─► batch ──► ┤     (one at a time)  ├─► checkpoint
//!            └──────────────────────────────────┘             └──────────────────────┘
//! ```
//!
//! A replication is its checkpoint: a `_local/` document on both sides, in CouchDB's own form, that
//! says up to where the target has everything. It is written only after everything before it is
//! stored, so a replication may be dropped at any moment, and the next one repeats at most what was
//! done since. Whatever was done twice is done once: revisions are what they are.
//!
//! Knows nothing of HTTP, databases or browsers; see [`crate::peer`] for the port.

mod ahead;
mod backoff;
mod checkpoint;
mod clock;
mod control;
mod denied;
mod feed;
mod id;
mod lives;
mod options;
mod report;
mod run;
mod suspects;
mod transfer;

pub use control::{Handle, Phase, State};
pub use id::{REPLICATION_ID_VERSION, replication_id};
pub use options::{BackOff, Checkpoints, Options, Style};
pub use report::{DocRev, Event, Failure, Progress, Status, Summary};
pub use run::replicate;
