//! The engine's side of [`Archive`]: any receiver answers what a person asks, and changes go through the log.

use super::JetStream;
use crate::store::Pending;
use crate::store::archive::{
    Archive, DeadChange, DeadLetter, DeadQuery, EventQuery, EventSummary, From, Page, Replay,
};
use crate::store::embedded::change::Change;

impl Archive for JetStream {
    fn events(
        &self,
        query: EventQuery,
        from: From,
        limit: usize,
    ) -> Pending<'_, Page<EventSummary>> {
        self.parts.engine.events(query, from, limit)
    }

    fn dead_letters(
        &self,
        query: DeadQuery,
        after: u64,
        limit: usize,
    ) -> Pending<'_, Page<DeadLetter>> {
        self.parts.engine.dead_letters(query, after, limit)
    }

    fn retry(&self, changes: Vec<DeadChange>) -> Pending<'_, Vec<bool>> {
        Box::pin(async { self.parts.change(Change::Retry(changes)).await?.each() })
    }

    fn discard(&self, changes: Vec<DeadChange>) -> Pending<'_, Vec<bool>> {
        Box::pin(async { self.parts.change(Change::Discard(changes)).await?.each() })
    }

    fn replay(&self, replays: Vec<Replay>) -> Pending<'_, Vec<u64>> {
        Box::pin(async { self.parts.change(Change::Replay(replays)).await?.counts() })
    }
}
