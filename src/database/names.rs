//! Documents by two names, for a replication's caller: the plain ids that a caller knows, and those that are stored
//! and go over.

use super::{
    Database,
    view::{LOG, SEALED},
};
use crate::error::Result;

impl Database {
    /// How the ids of the channel's own log begin, which goes over whatever documents are chosen.
    pub const LOG: &'static str = LOG;

    /// The ids under which documents are stored.
    ///
    /// Errors: `locked`, if there is any to tell.
    pub fn stored_ids(&self, names: &[String]) -> Result<Vec<String>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let view = self.view()?;
        Ok(names.iter().map(|name| view.key(name).into_owned()).collect())
    }

    /// What a caller calls the documents of these stored ids: empty for the channel's own, `None` for what is not
    /// there, or kept aside.
    ///
    /// Errors: `locked`; `corrupt`.
    pub async fn names(&self, ids: &[String]) -> Result<Vec<Option<String>>> {
        let view = self.view()?;
        self.fresh().await?;
        let find = || -> Vec<Option<u32>> {
            let state = self.inner.state.borrow();
            ids.iter().map(|id| state.directory.find(id).map(|found| found.number())).collect()
        };
        let mut numbers = find();
        if numbers.contains(&None) {
            // What another tab stored may be there before its signal, and held if that one is locked.
            self.refresh().await?;
            self.renew().await?;
            numbers = find();
        }
        self.learn(&view, numbers.iter().flatten().copied().collect()).await?;
        let state = self.inner.state.borrow();
        let name = |(id, number): (&String, &Option<u32>)| match number {
            _ if self.inner.is_sealed && !id.starts_with(SEALED) => Some(String::new()),
            number => number.and_then(|number| view.name(&state.directory.doc(number))),
        };
        Ok(ids.iter().zip(&numbers).map(name).collect())
    }
}
