//! Timers: deliveries that wait, in the rows that they will be delivered from.
//!
//! ```text
//! plan ──▶ timer row (waits) + delivery rows (state 5) ── fire ──▶ delivery rows ready, blocked or dead
//!                         │
//!                         └── cancelled by a plan, or its rule is gone ──▶ delivery rows removed
//! ```
//!
//! A delivery that waits is in no queue: it blocks none of its subject and is in no count. It keeps its
//! event, so that the first event is there for as long as anything may ask for it. The timer's row
//! stays when it has ended, and tells what became of it until the event is removed.

use std::collections::{HashMap, HashSet};

use hookswitch_crds::key::ObjectKey;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::codec::{self, end_key, first_key, int, micros, reason_code, span, unsigned};
use super::fault::{Fault, ReadFault};
use super::plan::{first_state, settle};
use super::remove::remove_rendered;
use super::state::State;
use crate::plan::{
    DeadReason, Fate, Firing, NewTimer, Plan, Scope, Suppression, TimerId, WriteBack,
};
use crate::store::{Error, RemovedTimers};

/// States of timers in the file.
pub(super) mod state {
    pub(in crate::store::embedded) const WAITS: i64 = 0;
    pub(in crate::store::embedded) const FIRED: i64 = 1;
    pub(in crate::store::embedded) const CANCELLED: i64 = 2;
    pub(in crate::store::embedded) const REMOVED: i64 = 3;
}

mod read;

pub(super) use read::{due, planned, records, stats};

/// Timers that one call removes at most.
const REMOVED_AT_ONCE: i64 = 256;

/// Firings of one subscription.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct Fire {
    subscription: ObjectKey,
    after: i64,
    firings: Vec<Firing>,
}

impl Fire {
    pub(in crate::store) fn new(subscription: ObjectKey, after: u64, firings: Vec<Firing>) -> Self {
        Self {
            subscription,
            after: int(after),
            firings,
        }
    }
}

/// Timers whose rule is gone.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct Remove {
    subscription: ObjectKey,
    scope: Scope,
    at: i64,
}

impl Remove {
    pub(in crate::store) fn new(subscription: ObjectKey, scope: Scope, at: Timestamp) -> Self {
        Self {
            subscription,
            scope,
            at: micros(at),
        }
    }
}

/// A delivery that waits.
struct Waiting {
    key: i64,
    id: Uuid,
    lane: i64,
    chain: Option<i64>,
}

impl Waiting {
    fn read(row: &Row<'_>) -> Result<Self, ReadFault> {
        Ok(Self {
            key: row.get(0)?,
            id: codec::uuid(codec::blob(row, 1)?)?,
            lane: row.get(2)?,
            chain: row.get(3)?,
        })
    }
}

impl State {
    /// Whether every timer that the plans cancel waits, or is started by a plan before.
    pub(super) fn has_timers<'a>(
        &self,
        connection: &Connection,
        subscription: i64,
        plans: impl Iterator<Item = &'a Plan>,
    ) -> Result<bool, ReadFault> {
        let mut started: HashSet<(&Scope, u64)> = HashSet::new();
        let mut ended: HashSet<&TimerId> = HashSet::new();
        for plan in plans {
            for timer in &plan.cancelled {
                let there = started.contains(&(&*timer.scope, timer.seq))
                    || self.waits(connection, subscription, timer)?;
                if !there || !ended.insert(timer) {
                    return Ok(false);
                }
            }
            let timers = plan.timers.iter();
            started.extend(timers.map(|timer| (&*timer.key.scope, plan.seq)));
        }
        Ok(true)
    }

    fn waits(
        &self,
        connection: &Connection,
        subscription: i64,
        timer: &TimerId,
    ) -> Result<bool, ReadFault> {
        let Some(scope) = self.find_scope(subscription, &timer.scope) else {
            return Ok(false);
        };
        Ok(connection
            .prepare_cached("SELECT 1 FROM timer WHERE seq = ? AND scope = ? AND state = 0")?
            .exists((int(timer.seq), scope))?)
    }

    /// Starts a timer. Its deliveries are written by themselves.
    pub(super) fn start_timer(
        &mut self,
        connection: &Connection,
        subscription: i64,
        seq: i64,
        timer: &NewTimer,
    ) -> Result<(), ReadFault> {
        let scope = self.scope(connection, subscription, &timer.key.scope)?;
        // Texts and numbers: it can't fail.
        let once = (!timer.once.is_empty())
            .then(|| serde_json::to_string(&timer.once).unwrap_or_default());
        connection
            .prepare_cached(
                "INSERT INTO timer (seq, scope, key, at, due, state, once) VALUES (?, ?, ?, ?, ?, 0, ?)",
            )?
            .execute((
                seq,
                scope,
                timer.key.digest,
                micros(timer.at),
                micros(timer.due),
                once,
            ))?;
        self.count_timers(scope, 1);
        Ok(())
    }

    /// Ends a timer without its deliveries, by an event that is planned at a time.
    pub(super) fn cancel_timer(
        &mut self,
        connection: &Connection,
        subscription: i64,
        timer: &TimerId,
        (by, at): (i64, i64),
    ) -> Result<(), ReadFault> {
        let Some(scope) = self.find_scope(subscription, &timer.scope) else {
            return Ok(());
        };
        let seq = int(timer.seq);
        self.drop_timer(
            connection,
            subscription,
            (scope, &timer.scope),
            (seq, state::CANCELLED, at),
        )?;
        connection
            .prepare_cached("UPDATE timer SET ended_by = ? WHERE seq = ? AND scope = ?")?
            .execute((by, seq, scope))?;
        Ok(())
    }

    fn drop_timer(
        &mut self,
        connection: &Connection,
        subscription: i64,
        (scope, of): (i64, &Scope),
        (seq, state, at): (i64, i64, i64),
    ) -> Result<(), ReadFault> {
        for row in read::waiting(connection, seq, of, Waiting::read)? {
            self.drop_delivery(connection, subscription, row.key)?;
        }
        self.end_timer(connection, scope, seq, (state, at))?;
        settle(connection, subscription, seq, at)
    }

    fn drop_delivery(
        &mut self,
        connection: &Connection,
        subscription: i64,
        key: i64,
    ) -> Result<(), ReadFault> {
        let rendered = remove_rendered(connection, (key, key + 1))?;
        connection
            .prepare_cached("DELETE FROM delivery WHERE key = ?")?
            .execute([key])?;
        self.release_bytes(subscription, unsigned(128 + rendered));
        Ok(())
    }

    fn end_timer(
        &mut self,
        connection: &Connection,
        scope: i64,
        seq: i64,
        (state, at): (i64, i64),
    ) -> Result<(), ReadFault> {
        connection
            .prepare_cached("UPDATE timer SET state = ?, ended_at = ? WHERE seq = ? AND scope = ?")?
            .execute((state, at, seq, scope))?;
        self.count_timers(scope, -1);
        Ok(())
    }

    /// Checks everything before it writes anything, so that a conflict leaves no trace.
    pub(super) fn fire(
        &mut self,
        connection: &Connection,
        fire: &Fire,
    ) -> Result<Result<(), Error>, Fault> {
        let found = self
            .find_subscription(&fire.subscription)
            .and_then(|at| self.subscription_at(at));
        let Some(subscription) = found
            .filter(|found| found.planned == fire.after)
            .map(|found| found.id)
        else {
            return Ok(Err(Error::Conflict));
        };
        let mut fired = HashSet::new();
        for firing in &fire.firings {
            if !fired.insert(&firing.timer)
                || !self.waits(connection, subscription, &firing.timer)?
            {
                return Ok(Err(Error::Conflict));
            }
        }
        for firing in &fire.firings {
            self.fire_one(connection, subscription, firing)?;
        }
        Ok(Ok(()))
    }

    fn fire_one(
        &mut self,
        connection: &Connection,
        subscription: i64,
        firing: &Firing,
    ) -> Result<(), ReadFault> {
        let TimerId { scope: of, seq } = &firing.timer;
        let (seq, at) = (int(*seq), micros(firing.at));
        let scope = self.scope(connection, subscription, of)?;
        let fates: HashMap<Uuid, &Fate> = firing
            .deliveries
            .iter()
            .map(|(id, fate)| (*id, fate))
            .collect();
        for row in read::waiting(connection, seq, of, Waiting::read)? {
            match fates.get(&row.id) {
                Some(Fate::Deliver { write_back }) => {
                    self.free(connection, &row, at, write_back.as_ref())?;
                }
                Some(Fate::Dead(reason)) => {
                    connection
                        .prepare_cached(
                            "UPDATE delivery SET state = 4, planned_at = ?1, due = ?1, ended_at = ?1, reason = ?2 \
                             WHERE key = ?3",
                        )?
                        .execute((at, reason_code(*reason), row.key))?;
                    self.count(row.lane, 0, 1);
                }
                Some(Fate::Drop) | None => self.drop_delivery(connection, subscription, row.key)?,
            }
        }
        self.end_timer(connection, scope, seq, (state::FIRED, at))?;
        add_suppressions(connection, seq, &firing.suppressions)?;
        for remember in &firing.remember {
            self.remember(connection, subscription, remember)?;
        }
        settle(connection, subscription, seq, at)
    }

    /// Lets a delivery go into its queue.
    fn free(
        &mut self,
        connection: &Connection,
        row: &Waiting,
        at: i64,
        write_back: Option<&WriteBack>,
    ) -> Result<(), ReadFault> {
        let state = first_state(connection, row.key, row.chain)?;
        connection
            .prepare_cached(
                "UPDATE delivery SET state = ?1, planned_at = ?2, due = ?2 WHERE key = ?3",
            )?
            .execute((state, at, row.key))?;
        self.count(row.lane, 1, 0);
        if let Some(write_back) = write_back {
            connection
                .prepare_cached(
                    "INSERT INTO write_back (lane, subject, at, delivery, until) VALUES (?, ?, ?, ?, ?)",
                )?
                .execute((
                    row.lane,
                    &write_back.subject,
                    at,
                    row.key,
                    at.saturating_add(span(write_back.window)),
                ))?;
        }
        Ok(())
    }

    /// Ends a timer whose row, or whose delivery's, is damaged: what waits goes to the dead letters, and the
    /// key is free. Reads nothing of them that may be what is damaged.
    pub(super) fn condemn_timer(
        &mut self,
        connection: &Connection,
        (seq, scope): (i64, i64),
        at: i64,
    ) -> Result<(), ReadFault> {
        let waits = connection
            .prepare_cached("SELECT 1 FROM timer WHERE seq = ? AND scope = ? AND state = 0")?
            .exists((seq, scope))?;
        let Some(subscription) = self.subscription_of(scope).filter(|_| waits) else {
            return Ok(());
        };
        let rows = connection
            .prepare_cached(
                "SELECT d.key, d.lane FROM delivery d JOIN scope c ON c.id = ?1 \
                 JOIN lane l ON l.id = d.lane AND l.namespace = c.namespace AND l.route = c.route \
                 JOIN rule r ON r.id = d.rule AND r.name = c.rule \
                 WHERE d.key >= ?2 AND d.key < ?3 AND d.state = 5",
            )?
            .query_map((scope, first_key(seq), end_key(seq)), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<Result<Vec<(i64, i64)>, _>>()?;
        for (key, lane) in rows {
            connection
                .prepare_cached(
                    "UPDATE delivery SET state = 4, ended_at = ?, reason = ?, tries = NULL WHERE key = ?",
                )?
                .execute((at, reason_code(DeadReason::Damaged), key))?;
            self.count(lane, 0, 1);
        }
        self.end_timer(connection, scope, seq, (state::REMOVED, at))?;
        self.forget_started(connection, scope, seq)?;
        settle(connection, subscription, seq, at)
    }

    /// Removes some of the timers of a rule that is gone.
    pub(super) fn remove_timers(
        &mut self,
        connection: &Connection,
        remove: &Remove,
    ) -> Result<RemovedTimers, ReadFault> {
        let found = self
            .find_subscription(&remove.subscription)
            .and_then(|at| self.subscription_at(at))
            .map(|found| found.id);
        let Some((subscription, scope)) =
            found.and_then(|id| Some((id, self.find_scope(id, &remove.scope)?)))
        else {
            return Ok(RemovedTimers::default());
        };
        let timers = connection
            .prepare_cached(
                "SELECT seq, key FROM timer INDEXED BY timer_due WHERE scope = ? AND state = 0 ORDER BY due LIMIT ?",
            )?
            .query_map((scope, REMOVED_AT_ONCE), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect::<Result<Vec<(i64, [u8; 16])>, _>>()?;
        for (seq, key) in &timers {
            self.drop_timer(
                connection,
                subscription,
                (scope, &remove.scope),
                (*seq, state::REMOVED, remove.at),
            )?;
            // Should the rule come back, its keys are free.
            self.forget_pending(connection, scope, key, *seq)?;
        }
        let count = i64::try_from(timers.len()).unwrap_or(i64::MAX);
        Ok(RemovedTimers {
            removed: unsigned(count),
            more: count >= REMOVED_AT_ONCE,
        })
    }
}

/// Notes what the loop guard has found beside what it found when the event was planned. A list that can't
/// be read gives way: it must not keep the timer from firing.
fn add_suppressions(
    connection: &Connection,
    seq: i64,
    found: &[Suppression],
) -> Result<(), ReadFault> {
    if found.is_empty() {
        return Ok(());
    }
    let before: Option<String> = connection
        .prepare_cached("SELECT suppressions FROM plan WHERE seq = ?")?
        .query_row([seq], |row| Ok(codec::left(row, 0)))
        .optional()?
        .flatten();
    let mut all: Vec<Suppression> = before
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    all.extend(found.iter().cloned());
    // Texts and flags: it can't fail.
    let all = serde_json::to_string(&all).unwrap_or_default();
    connection
        .prepare_cached("UPDATE plan SET suppressions = ? WHERE seq = ?")?
        .execute((all, seq))?;
    Ok(())
}
