//! What changes the store, apart from who waits for it: the embedded engine does a change where it is
//! asked for, and the `JetStream` engine writes it to the log first, from where every replica does it.
//!
//! Invariant: what a change does depends on the state and on the change alone, never on a clock, on
//! chance, on what is cached, or on where a transaction begins. Times and ids travel in the change. Else
//! replicas of one log would differ.

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::accept::{Accept, Insert};
use super::damaged::DamagedRow;
use super::fault::{Fault, ReadFault};
use super::outcome;
use super::plan::Append;
use super::remove::Victims;
use super::state::{Shared, State};
use super::timer::{Fire, Remove as RemoveTimers};
use crate::store::archive::{DeadChange, Replay};
use crate::store::{Accepted, Claim, Error, Finish, Purged, RemovedTimers, Render};

/// A change.
#[derive(Serialize, Deserialize)]
pub(in crate::store) enum Change {
    Accept(Box<Accept>),
    Plan(Append),
    Fire(Fire),
    RemoveTimers(RemoveTimers),
    Claim(Vec<Claim>),
    Finish(Vec<Finish>),
    Render(Vec<Render>),
    Remove(Victims),
    Retry(Vec<DeadChange>),
    Discard(Vec<DeadChange>),
    Replay(Vec<Replay>),
    /// Who shares the work from now on, where the view before has that number.
    View {
        after: u64,
        members: Vec<Uuid>,
    },
    /// Events that a process did not survive planning.
    Suspect(Vec<u64>),
    /// Rows that nobody can read: what they are of goes to the dead letters.
    Condemn(Vec<DamagedRow>),
}

/// What came of a change.
pub(in crate::store) enum Done {
    Accept(Result<Accepted, Error>),
    Plan(Result<(), Error>),
    Each(Vec<bool>),
    Counts(Vec<u64>),
    Remove(Purged),
    RemoveTimers(RemovedTimers),
}

impl Done {
    pub(in crate::store) fn accepted(self) -> Result<Accepted, Error> {
        match self {
            Self::Accept(outcome) => outcome,
            _ => Err(mistaken()),
        }
    }

    pub(in crate::store) fn planned(self) -> Result<(), Error> {
        match self {
            Self::Plan(outcome) => outcome,
            _ => Err(mistaken()),
        }
    }

    pub(in crate::store) fn each(self) -> Result<Vec<bool>, Error> {
        match self {
            Self::Each(outcome) => Ok(outcome),
            _ => Err(mistaken()),
        }
    }

    pub(in crate::store) fn counts(self) -> Result<Vec<u64>, Error> {
        match self {
            Self::Counts(outcome) => Ok(outcome),
            _ => Err(mistaken()),
        }
    }

    pub(in crate::store) fn purged(self) -> Result<Purged, Error> {
        match self {
            Self::Remove(outcome) => Ok(outcome),
            _ => Err(mistaken()),
        }
    }

    pub(in crate::store) fn removed_timers(self) -> Result<RemovedTimers, Error> {
        match self {
            Self::RemoveTimers(outcome) => Ok(outcome),
            _ => Err(mistaken()),
        }
    }
}

fn mistaken() -> Error {
    Error::Read("the store answered another question".to_owned())
}

/// Does a change. Where it meets a fault, that comes with an outcome in its stead.
pub(super) fn apply<'a>(
    change: Change,
    connection: &'a Connection,
    insert: &mut Insert<'a>,
    shared: &Shared,
    state: &mut State,
) -> (Done, Option<Fault>) {
    match change {
        Change::Accept(accept) => {
            let result = state.accept(connection, insert, shared, *accept);
            let (outcome, fault) = split(result, Ok(Accepted::Duplicate));
            (Done::Accept(outcome), fault)
        }
        Change::Plan(append) => {
            let result = state.plan(connection, shared, &append);
            let (outcome, fault) = split(result, Ok(()));
            (Done::Plan(outcome), fault)
        }
        Change::Fire(fire) => {
            let (outcome, fault) = split(state.fire(connection, &fire), Ok(()));
            (Done::Plan(outcome), fault)
        }
        Change::RemoveTimers(remove) => {
            let result = state.remove_timers(connection, &remove);
            let (outcome, fault) = split(result.map_err(Fault::from), RemovedTimers::default());
            (Done::RemoveTimers(outcome), fault)
        }
        Change::Claim(claims) => {
            let (outcome, fault) = each(&claims, |claim| outcome::claim(connection, claim));
            (Done::Each(outcome), fault)
        }
        Change::Finish(finishes) => {
            let (outcome, fault) = each(&finishes, |finish| state.finish(connection, finish));
            (Done::Each(outcome), fault)
        }
        Change::Render(renders) => {
            let (outcome, fault) = each(&renders, |render| state.render(connection, render));
            (Done::Each(outcome), fault)
        }
        Change::Remove(victims) => {
            let result = state.remove(connection, shared, &victims);
            let (outcome, fault) = split(result.map_err(Fault::from), Purged::default());
            (Done::Remove(outcome), fault)
        }
        Change::Retry(changes) => {
            let (outcome, fault) = each(&changes, |change| state.retry(connection, change));
            (Done::Each(outcome), fault)
        }
        Change::Discard(changes) => {
            let (outcome, fault) = each(&changes, |change| state.discard(connection, change));
            (Done::Each(outcome), fault)
        }
        Change::Replay(replays) => {
            let (outcome, fault) = each(&replays, |replay| state.replay(connection, replay));
            (Done::Counts(outcome), fault)
        }
        Change::Condemn(rows) => {
            let (outcome, fault) = each(&rows, |row| match *row {
                DamagedRow::Delivery(key) => state.condemn(connection, key),
                DamagedRow::Timer { seq, scope, at } => {
                    state.condemn_timer(connection, (seq, scope), at)
                }
            });
            (Done::Each(vec![true; outcome.len()]), fault)
        }
        // The replica does those that only several receivers need.
        Change::View { .. } | Change::Suspect(_) => (Done::Each(Vec::new()), None),
    }
}

/// An outcome, or one in its stead with the fault.
pub(super) fn split<T>(result: Result<T, Fault>, instead: T) -> (T, Option<Fault>) {
    match result {
        Ok(outcome) => (outcome, None),
        Err(fault) => (instead, Some(fault)),
    }
}

/// Does each of several, up to the first fault.
fn each<I, T>(
    items: &[I],
    apply: impl FnMut(&I) -> Result<T, ReadFault>,
) -> (Vec<T>, Option<Fault>) {
    let all = items.iter().map(apply).collect::<Result<_, _>>();
    split(all.map_err(Fault::from), Vec::new())
}
