//! The second append: what routing decided.

use std::collections::HashSet;

use hookswitch_crds::key::ObjectKey;
use rusqlite::types::Value;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::codec::{
    self, PLACES, chain, disposition_code, first_key, int, micros, reason_code, span, state,
};
use super::fault::{Fault, ReadFault};
use super::state::{Shared, State};
use crate::plan::{DeadReason, FrozenBody, NewDelivery, Plan};
use crate::store::{Error, delivery_bytes};

/// Notes that an event is history since a time.
const FINISHED: &str = "INSERT OR IGNORE INTO finished (subscription, at, seq) VALUES (?, ?, ?)";

/// Plans of consecutive events, with their lists as they are kept.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct Append {
    subscription: ObjectKey,
    after: i64,
    plans: Vec<Encoded>,
}

#[derive(Deserialize)]
#[serde(from = "Plan")]
struct Encoded {
    plan: Plan,
    verdicts: Option<String>,
    suppressions: Option<String>,
}

impl Append {
    pub(in crate::store) fn new(subscription: ObjectKey, after: u64, plans: Vec<Plan>) -> Self {
        Self {
            subscription,
            after: int(after),
            plans: plans.into_iter().map(Encoded::from).collect(),
        }
    }

    /// What it plans.
    pub(super) fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.plans.iter().map(|encoded| &encoded.plan)
    }
}

impl From<Plan> for Encoded {
    fn from(plan: Plan) -> Self {
        fn list<T: Serialize>(items: &[T]) -> Option<String> {
            // Texts, numbers and flags: it can't fail.
            (!items.is_empty()).then(|| serde_json::to_string(items).unwrap_or_default())
        }
        Self {
            verdicts: list(&plan.verdicts),
            suppressions: list(&plan.suppressions),
            plan,
        }
    }
}

impl Serialize for Encoded {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.plan.serialize(serializer)
    }
}

impl State {
    /// Checks everything before it writes anything, so that a conflict leaves no trace.
    pub(super) fn plan(
        &mut self,
        connection: &Connection,
        shared: &Shared,
        append: &Append,
    ) -> Result<Result<(), Error>, Fault> {
        let Some(last) = append.plans.last().map(|plan| int(plan.plan.seq)) else {
            return Ok(Ok(()));
        };
        let Some(at) = self.find_subscription(&append.subscription) else {
            return Ok(Err(Error::Conflict));
        };
        if !self.is_next(connection, shared, at, append)? || !has_marks(connection, append)? {
            return Ok(Err(Error::Conflict));
        }
        let Some(subscription) = self.subscription_at(at).map(|found| found.id) else {
            return Ok(Err(Error::Conflict));
        };
        let plans = append.plans.iter().map(|encoded| &encoded.plan);
        if !self.has_timers(connection, subscription, plans)? {
            return Ok(Err(Error::Conflict));
        }
        let mut insert = connection.prepare_cached(
            "INSERT INTO plan (seq, sequence, planned_at, verdicts, suppressions) VALUES (?, ?, ?, ?, ?)",
        )?;
        let mut history = connection.prepare_cached(FINISHED)?;
        for encoded in &append.plans {
            let seq = int(encoded.plan.seq);
            let planned_at = micros(encoded.plan.planned_at);
            let verdicts = match &encoded.verdicts {
                None => Value::Null,
                Some(verdicts) => self.verdicts(connection, verdicts)?,
            };
            insert.execute((
                seq,
                int(encoded.plan.sequence),
                planned_at,
                verdicts,
                encoded.suppressions.as_deref(),
            ))?;
            if encoded.plan.deliveries.is_empty() {
                history.execute((subscription, planned_at, seq))?;
            }
            let bytes = self.append(connection, shared, subscription, &encoded.plan)?;
            if let Some(subscription) = self.change_subscription(at) {
                subscription.bytes = subscription.bytes.saturating_add(bytes);
            }
        }
        drop((insert, history));
        let backlog = self.subscription_at(at).is_some_and(|found| found.backlog)
            && shrink_backlog(connection, subscription, last)?;
        if let Some(subscription) = self.change_subscription(at) {
            subscription.planned = last;
            subscription.backlog = backlog;
        }
        Ok(Ok(()))
    }

    /// Whether the plans are for the very next events.
    fn is_next(
        &self,
        connection: &Connection,
        shared: &Shared,
        at: usize,
        append: &Append,
    ) -> Result<bool, ReadFault> {
        if self
            .subscription_at(at)
            .is_none_or(|found| found.planned != append.after)
        {
            return Ok(false);
        }
        let next = self.unplanned(connection, shared, at, append.plans.len())?;
        Ok(append
            .plans
            .iter()
            .map(|encoded| int(encoded.plan.seq))
            .eq(next)
            && append
                .plans
                .iter()
                .all(|encoded| encoded.plan.deliveries.len() < PLACES))
    }

    /// Writes what comes of one plan, and says what its deliveries count.
    fn append(
        &mut self,
        connection: &Connection,
        shared: &Shared,
        subscription: i64,
        plan: &Plan,
    ) -> Result<u64, ReadFault> {
        let seq = int(plan.seq);
        let planned_at = micros(plan.planned_at);
        for mark in &plan.marks_consumed {
            delete_mark(connection, mark)?;
        }
        for timer in &plan.timers {
            self.start_timer(connection, subscription, seq, timer)?;
        }
        for timer in &plan.cancelled {
            self.cancel_timer(connection, subscription, timer, (seq, planned_at))?;
        }
        for remember in &plan.remember {
            self.remember(connection, subscription, remember)?;
        }
        if let Some(why) = plan.set_aside {
            connection
                .prepare_cached("UPDATE event SET disposition = ? WHERE seq = ?")?
                .execute((disposition_code(why), seq))?;
        }
        let mut bytes = 0_u64;
        for (key, delivery) in (first_key(seq)..).zip(&plan.deliveries) {
            self.insert(connection, subscription, key, planned_at, delivery)?;
            bytes = bytes.saturating_add(delivery_bytes(delivery));
        }
        self.clear_suspect(connection, shared, seq)?;
        Ok(bytes)
    }

    pub(super) fn insert(
        &mut self,
        connection: &Connection,
        subscription: i64,
        key: i64,
        planned_at: i64,
        delivery: &NewDelivery,
    ) -> Result<(), ReadFault> {
        // What has nothing to send can't wait for its turn.
        let dead = delivery
            .dead
            .or_else(|| delivery.request.is_none().then_some(DeadReason::RuleError));
        let lane = self.lane(connection, &delivery.lane)?;
        let rule = self.rule(connection, &delivery.rule)?;
        let shape = match &delivery.request {
            Some(request) => Some(self.shape(connection, &codec::shape(request))?),
            None => None,
        };
        let chain = delivery
            .ordered_by
            .as_deref()
            .map(|subject| chain(lane, subscription, subject));
        let waits = delivery.waits_until.map(micros);
        let (state, ended_at, reason) = match dead {
            // Why it is dead is told when its timer fires.
            reason if waits.is_some() => (state::WAITS, None, reason.map(reason_code)),
            Some(reason) => (state::DEAD, Some(planned_at), Some(reason_code(reason))),
            None if is_unrendered(delivery) => (state::UNRENDERED, None, None),
            None if is_pending(connection, chain)? => (state::BLOCKED, None, None),
            None => (state::READY, None, None),
        };
        connection
            .prepare_cached(
                "INSERT INTO delivery (key, subscription, id, lane, rule, shape, state, attempts, interrupted, \
                 planned_at, due, chain, echo, echo_window, ended_at, reason) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                key,
                subscription,
                delivery.id.as_bytes(),
                lane,
                rule,
                shape,
                state,
                planned_at,
                waits.unwrap_or(planned_at),
                chain,
                delivery.echo.map(|echo| echo.key),
                delivery.echo.map(|echo| span(echo.window)),
                ended_at,
                reason,
            ])?;
        if let Some(own) = delivery.request.as_ref().and_then(codec::own) {
            connection
                .prepare_cached("INSERT INTO rendered (key, digest, body) VALUES (?, ?, ?)")?
                .execute((key, codec::short_digest(&[&own]), own.as_ref()))?;
        }
        if waits.is_some() {
            return Ok(());
        }
        if dead.is_some() {
            self.count(lane, 0, 1);
            return Ok(());
        }
        self.count(lane, 1, 0);
        if let Some(write_back) = &delivery.write_back {
            connection
                .prepare_cached(
                    "INSERT INTO write_back (lane, subject, at, delivery, until) VALUES (?, ?, ?, ?, ?)",
                )?
                .execute((
                    lane,
                    &write_back.subject,
                    planned_at,
                    key,
                    planned_at.saturating_add(span(write_back.window)),
                ))?;
        }
        Ok(())
    }
}

/// Notes that nothing of the event is pending or dead, where that is so: from then on it is
/// history. `at` is the time of what just ended.
pub(super) fn settle(
    connection: &Connection,
    subscription: i64,
    seq: i64,
    at: i64,
) -> Result<(), ReadFault> {
    let range = (first_key(seq), codec::end_key(seq));
    let kept = connection
        .prepare_cached("SELECT 1 FROM delivery WHERE key >= ? AND key < ? AND state <> 3 LIMIT 1")?
        .exists(range)?;
    if kept {
        return Ok(());
    }
    let ended: Option<i64> = connection
        .prepare_cached("SELECT max(ended_at) FROM delivery WHERE key >= ? AND key < ?")?
        .query_row(range, |row| row.get(0))?;
    connection.prepare_cached(FINISHED)?.execute((
        subscription,
        ended.map_or(at, |ended| ended.max(at)),
        seq,
    ))?;
    Ok(())
}

/// Removes a mark, where it is still there.
pub(super) fn delete_mark(connection: &Connection, id: &Uuid) -> Result<(), ReadFault> {
    connection
        .prepare_cached("DELETE FROM mark WHERE id = ?")?
        .execute([id.as_bytes()])?;
    Ok(())
}

/// Takes planned events out of the backlog, and says whether others are left.
fn shrink_backlog(
    connection: &Connection,
    subscription: i64,
    last: i64,
) -> Result<bool, ReadFault> {
    connection
        .prepare_cached("DELETE FROM backlog WHERE subscription = ? AND seq <= ?")?
        .execute((subscription, last))?;
    Ok(connection
        .prepare_cached("SELECT 1 FROM backlog WHERE subscription = ? LIMIT 1")?
        .exists([subscription])?)
}

/// Whether every mark that the plans use up is there, and used once.
fn has_marks(connection: &Connection, append: &Append) -> Result<bool, ReadFault> {
    let mut used = HashSet::new();
    let mut find = connection.prepare_cached("SELECT 1 FROM mark WHERE id = ?")?;
    for mark in append
        .plans
        .iter()
        .flat_map(|encoded| &encoded.plan.marks_consumed)
    {
        if !used.insert(mark) || !find.exists([mark.as_bytes()])? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Where a delivery that is let go stands: its look-ups come first, then what is before it in its chain.
pub(super) fn first_state(
    connection: &Connection,
    key: i64,
    chain: Option<i64>,
) -> Result<i64, ReadFault> {
    let unrendered: Option<bool> = connection
        .prepare_cached(
            "SELECT ifnull(h.shape, d.shape) LIKE '%\"unrendered\":true%' \
             FROM delivery d LEFT JOIN shape h ON h.id = d.shape WHERE d.key = ?",
        )?
        .query_row([key], |row| row.get(0))?;
    Ok(if unrendered == Some(true) {
        state::UNRENDERED
    } else if is_pending(connection, chain)? {
        state::BLOCKED
    } else {
        state::READY
    })
}

fn is_unrendered(delivery: &NewDelivery) -> bool {
    let body = delivery.request.as_ref().map(|request| &request.body);
    matches!(body, Some(FrozenBody::Unrendered(_)))
}

/// Whether a delivery of the chain is not finished.
pub(super) fn is_pending(connection: &Connection, chain: Option<i64>) -> Result<bool, ReadFault> {
    let Some(chain) = chain else {
        return Ok(false);
    };
    Ok(connection
        .prepare_cached(
            "SELECT 1 FROM delivery INDEXED BY delivery_chain \
             WHERE chain = ? AND state <= 2 AND chain IS NOT NULL LIMIT 1",
        )?
        .exists([chain])?)
}
