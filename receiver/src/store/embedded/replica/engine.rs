//! What the engine of a replica is asked beside what every engine is.

use std::collections::HashMap;

use hookswitch_crds::key::ObjectKey;
use jiff::Timestamp;

use super::Message;
use crate::plan::Lane;
use crate::store::embedded::damaged::DamagedRow;
use crate::store::embedded::read::{self, For};
use crate::store::embedded::remove::Victims;
use crate::store::embedded::state::lock;
use crate::store::embedded::writer::Operation;
use crate::store::embedded::{Embedded, codec, timer};
use crate::store::{Due, Error, Retention, TimersDue};

impl Embedded {
    /// Applies messages of the log, all or none.
    ///
    /// # Errors
    /// [`Error::Full`] where the disk is: try again.
    pub(in crate::store) async fn apply(&self, messages: Vec<Message>) -> Result<(), Error> {
        self.ask(|reply| Operation::Apply(messages, reply)).await
    }

    /// Finds what is past its retention.
    pub(in crate::store) async fn victims(
        &self,
        now: Timestamp,
        retentions: Vec<(ObjectKey, Retention)>,
        default: Retention,
    ) -> Result<Victims, Error> {
        let retentions: HashMap<_, _> = retentions.into_iter().collect();
        let unplanned = lock(&self.shared.recent).first();
        self.read(move |connection| {
            read::victims(connection, now, &retentions, &default, unplanned)
        })
        .await
    }

    /// The last planned place of a subscription.
    pub(in crate::store) async fn planned(&self, subscription: ObjectKey) -> Result<u64, Error> {
        self.read(move |connection| read::planned(connection, &subscription))
            .await
    }

    /// The engine stops for good.
    pub(in crate::store) fn stop(&self, why: &str) {
        drop(self.shared.stopped.set(why.into()));
    }

    /// What waits in a lane and is due, and what of it is damaged.
    pub(in crate::store) async fn look(
        &self,
        what: For,
        lane: Lane,
        now: Timestamp,
        limit: usize,
    ) -> Result<(Due, Vec<DamagedRow>), Error> {
        self.read(move |connection| read::due(connection, what, &lane, now, limit))
            .await
    }

    /// Timers of a subscription that are due, and those that are damaged.
    pub(in crate::store) async fn look_for_timers(
        &self,
        subscription: ObjectKey,
        (now, since): (Timestamp, Timestamp),
        limit: usize,
    ) -> Result<(TimersDue, Vec<DamagedRow>), Error> {
        let (due, damaged) = self
            .read(move |connection| timer::due(connection, &subscription, now, since, limit))
            .await?;
        self.damaged.timers.inc_by(codec::counted(damaged.len()));
        Ok((due, damaged))
    }

    /// Gives up the copy of a log: these rows of it are damaged.
    pub(in crate::store) async fn give_up(&self, damaged: &[DamagedRow]) -> Result<(), Error> {
        let rows: Vec<String> = damaged.iter().map(ToString::to_string).collect();
        self.ask(|reply| Operation::GiveUp(rows.join("\n"), reply))
            .await
    }
}
