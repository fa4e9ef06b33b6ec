//! Whose work is what, and how a receiver does its own.

use std::time::Duration;

use hookswitch_crds::key::ObjectKey;
use jiff::Timestamp;

use super::{Parts, log};
use crate::plan::Lane;
use crate::store::embedded::change::{Change, Done};
use crate::store::embedded::damaged::DamagedRow;
use crate::store::embedded::read::For;
use crate::store::{Claim, Due, Error};

impl Parts {
    pub(super) fn is_member(&self) -> bool {
        self.common.view().has(&self.common.me)
    }

    fn owns(&self, work: &str) -> bool {
        self.common.view().owner(work) == Some(&self.common.me)
    }

    pub(super) fn plans(&self, subscription: &ObjectKey) -> bool {
        self.owns(&format!("subscription {subscription}"))
    }

    pub(super) fn delivers(&self, lane: &Lane) -> bool {
        self.owns(&format!("lane {lane}"))
    }

    /// Whether one of several receivers does what is done once for all.
    pub(super) fn leads(&self) -> bool {
        self.common.view().members.first() == Some(&self.common.me)
    }

    /// Writes a change to the log, and gives what it came to.
    pub(super) async fn change(&self, change: Change) -> Result<Done, Error> {
        self.change_within(change, log::ANSWERED).await
    }

    async fn change_within(&self, change: Change, within: Duration) -> Result<Done, Error> {
        self.engine.works()?;
        self.connection.reachable()?;
        self.log.change(&change, within).await
    }

    /// What waits in a lane of ours and is due.
    pub(super) async fn waiting_in(
        &self,
        what: For,
        lane: Lane,
        now: Timestamp,
        limit: usize,
    ) -> Result<Due, Error> {
        if !self.delivers(&lane) {
            return Ok(Due::default());
        }
        let (due, damaged) = self.engine.look(what, lane, now, limit).await?;
        self.condemn(damaged).await?;
        Ok(due)
    }

    /// What can't be read is damaged here, mostly: then the copy is given up and made anew. What can't be read
    /// in the new one either is damaged for all, as in the checkpoint: it is set aside for all.
    pub(super) async fn condemn(&self, damaged: Vec<DamagedRow>) -> Result<(), Error> {
        if damaged.is_empty() {
            return Ok(());
        }
        let known = |row: &DamagedRow| {
            let row = row.to_string();
            self.damaged_before.lines().any(|line| line == row)
        };
        if !damaged.iter().all(known) {
            return self.engine.give_up(&damaged).await;
        }
        tracing::error!(
            rows = damaged.len(),
            "rows are damaged in a new copy too: they are set aside for all receivers"
        );
        self.change(Change::Condemn(damaged)).await.map(drop)
    }

    /// Writes claims to the log. An answer that comes late is not believed: who was silent for so long may have been
    /// voted off meanwhile, and others at work. Nobody hears it then, and what was won is given back.
    pub(super) async fn claim(&self, claims: Vec<Claim>) -> Result<Vec<bool>, Error> {
        let within = (self.connection.settings().takeover / 2).min(log::ANSWERED);
        let done = self.change_within(Change::Claim(claims), within).await?;
        done.each()
    }
}
