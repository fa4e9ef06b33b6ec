//! What the file tells of timers.

use std::sync::Arc;

use hookswitch_crds::key::ObjectKey;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::state;
use crate::config::Planned;
use crate::plan::{DeadReason, Lane, OnceTerms, Scope, StoredTimer, TimerId, WaitingDelivery};
use crate::store::embedded::codec::{self, end_key, first_key, int, micros, timestamp, unsigned};
use crate::store::embedded::damaged::DamagedRow;
use crate::store::embedded::fault::{Damage, ReadFault};
use crate::store::embedded::memory;
use crate::store::{TimerRecord, TimerState, TimerStats, TimersDue};

/// Timers of a subscription that are due, began then or later, and when the next is; and those that
/// can't be read, which keep none of the others.
pub(in crate::store::embedded) fn due(
    connection: &Connection,
    subscription: &ObjectKey,
    now: Timestamp,
    since: Timestamp,
    limit: usize,
) -> Result<(TimersDue, Vec<DamagedRow>), ReadFault> {
    let (now, since) = (micros(now), micros(since));
    let limit_sql = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut timers: Vec<(i64, StoredTimer)> = Vec::new();
    let mut damaged = Vec::new();
    let mut next: Option<i64> = None;
    let mut find = connection.prepare_cached(
        "SELECT t.seq, t.key, t.at, t.due, t.once, e.subject \
         FROM timer t INDEXED BY timer_due JOIN event e ON e.seq = t.seq \
         WHERE t.scope = ? AND t.state = 0 AND t.due <= ? AND t.at >= ? ORDER BY t.due LIMIT ?",
    )?;
    let mut later = connection.prepare_cached(
        "SELECT min(due) FROM timer INDEXED BY timer_due WHERE scope = ? AND state = 0 AND due > ?",
    )?;
    for (id, scope) in scopes(connection, Some(subscription))? {
        let scope = Arc::new(scope.scope);
        let mut rows = find.query((id, now, since, limit_sql))?;
        while let Some(row) = rows.next()? {
            let seq: i64 = row.get(0)?;
            match timer(row, &scope) {
                Ok(timer) => timers.push((id, timer)),
                Err(fault) => damaged.push(damage(fault, (seq, id), now)?),
            }
        }
        let after: Option<i64> = later.query_row((id, now), |row| row.get(0))?;
        next = next.into_iter().chain(after).min();
    }
    timers.sort_by_key(|(_, timer)| (timer.due, timer.id.seq));
    timers.truncate(limit);
    let mut whole = Vec::with_capacity(timers.len());
    for (scope, mut timer) in timers {
        match deliveries(connection, &timer.id) {
            Ok(deliveries) => {
                timer.deliveries = deliveries;
                whole.push(timer);
            }
            Err(fault) => damaged.push(damage(fault, (int(timer.id.seq), scope), now)?),
        }
    }
    let due = TimersDue {
        timers: whole,
        next: next.map(timestamp).transpose()?,
    };
    Ok((due, damaged))
}

fn damage(fault: ReadFault, (seq, scope): (i64, i64), at: i64) -> Result<DamagedRow, ReadFault> {
    let damage = fault.of_a_row()?;
    tracing::error!(
        seq,
        damage,
        "the row of a timer is damaged: what waits for it goes to the dead letters"
    );
    Ok(DamagedRow::Timer { seq, scope, at })
}

fn timer(row: &Row<'_>, scope: &Arc<Scope>) -> Result<StoredTimer, ReadFault> {
    let once: Option<String> = row.get(4)?;
    let once: Vec<OnceTerms> = once.map_or_else(
        || Ok(Vec::new()),
        |text| codec::json(&text, "what `once` asks of a timer"),
    )?;
    Ok(StoredTimer {
        id: TimerId {
            scope: Arc::clone(scope),
            seq: unsigned(row.get(0)?),
        },
        digest: row.get(1)?,
        at: timestamp(row.get(2)?)?,
        due: timestamp(row.get(3)?)?,
        once,
        subject: row.get(5)?,
        deliveries: Vec::new(),
    })
}

fn deliveries(connection: &Connection, id: &TimerId) -> Result<Vec<WaitingDelivery>, ReadFault> {
    waiting(connection, int(id.seq), &id.scope, |row| {
        let reason: Option<i64> = row.get(5)?;
        let broken = row.get::<_, bool>(6)?.then_some(DeadReason::RuleError);
        Ok(WaitingDelivery {
            id: codec::uuid(codec::blob(row, 1)?)?,
            lane: Lane {
                route: id.scope.route.clone(),
                destination: row.get(4)?,
            },
            dead: reason.map(codec::dead_reason).transpose()?.or(broken),
        })
    })
}

/// The deliveries of an event that wait for a rule's timer. Each reader takes what it needs, so that damage
/// to the rest does not matter to it: key, id, lane, chain, the lane's destination, reason, and whether there
/// is no shape.
pub(super) fn waiting<T>(
    connection: &Connection,
    seq: i64,
    scope: &Scope,
    read: impl Fn(&Row<'_>) -> Result<T, ReadFault>,
) -> Result<Vec<T>, ReadFault> {
    let mut find = connection.prepare_cached(
        "SELECT d.key, d.id, d.lane, d.chain, l.destination, d.reason, d.shape IS NULL FROM delivery d \
         JOIN lane l ON l.id = d.lane JOIN rule r ON r.id = d.rule \
         WHERE d.key >= ? AND d.key < ? AND d.state = 5 \
         AND l.namespace = ? AND l.route = ? AND r.name = ? ORDER BY d.key",
    )?;
    let mut rows = find.query((
        first_key(seq),
        end_key(seq),
        &scope.route.namespace,
        &scope.route.name,
        &scope.rule,
    ))?;
    let mut waiting = Vec::new();
    while let Some(row) = rows.next()? {
        waiting.push(read(row)?);
    }
    Ok(waiting)
}

/// What waits, by what waits.
pub(in crate::store::embedded) fn stats(
    connection: &Connection,
) -> Result<Vec<TimerStats>, ReadFault> {
    let scopes = scopes(connection, None)?;
    Ok(scopes.into_iter().map(|(_, stats)| stats).collect())
}

/// What planned the last of a scope's timers that wait.
pub(in crate::store::embedded) fn planned(
    connection: &Connection,
    subscription: &ObjectKey,
    scope: &Scope,
) -> Result<Option<Planned>, ReadFault> {
    let scopes = scopes(connection, Some(subscription))?;
    let Some((id, _)) = scopes.iter().find(|(_, stats)| stats.scope == *scope) else {
        return Ok(None);
    };
    let found: Option<(i64, i64)> = connection
        .prepare_cached(
            "SELECT p.sequence, p.planned_at FROM timer t INDEXED BY timer_due JOIN plan p ON p.seq = t.seq \
             WHERE t.scope = ? AND t.state = 0 ORDER BY p.sequence DESC, p.planned_at DESC LIMIT 1",
        )?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let planned = found.map(|(sequence, at)| {
        Ok(Planned {
            sequence: unsigned(sequence),
            at: timestamp(at)?,
        })
    });
    planned.transpose()
}

/// The scopes that have timers, with their rows; of one subscription, or of all.
fn scopes(
    connection: &Connection,
    subscription: Option<&ObjectKey>,
) -> Result<Vec<(i64, TimerStats)>, ReadFault> {
    let mut find = connection.prepare_cached(
        "SELECT c.id, s.namespace, s.name, c.namespace, c.route, c.rule, c.part, c.timers \
         FROM scope c JOIN subscription s ON s.id = c.subscription \
         WHERE c.timers > 0 AND (?1 IS NULL OR (s.namespace = ?1 AND s.name = ?2)) \
         ORDER BY s.namespace, s.name, c.namespace, c.route, c.rule, c.part",
    )?;
    let mut rows = find.query((
        subscription.map(|key| &key.namespace),
        subscription.map(|key| &key.name),
    ))?;
    let mut scopes = Vec::new();
    while let Some(row) = rows.next()? {
        let part: String = row.get(6)?;
        let stats = TimerStats {
            subscription: ObjectKey {
                namespace: row.get(1)?,
                name: row.get(2)?,
            },
            scope: Scope {
                route: ObjectKey {
                    namespace: row.get(3)?,
                    name: row.get(4)?,
                },
                rule: row.get(5)?,
                part: memory::part(&part)?,
            },
            pending: unsigned(row.get(7)?),
        };
        scopes.push((row.get(0)?, stats));
    }
    Ok(scopes)
}

/// What became of an event's timers.
pub(in crate::store::embedded) fn records(
    connection: &Connection,
    seq: i64,
) -> Result<Vec<TimerRecord>, ReadFault> {
    let mut find = connection.prepare_cached(
        "SELECT c.namespace, c.route, c.rule, t.at, t.due, t.state, t.ended_at, e.uid \
         FROM timer t JOIN scope c ON c.id = t.scope LEFT JOIN event e ON e.seq = t.ended_by \
         WHERE t.seq = ? ORDER BY t.scope",
    )?;
    let mut rows = find.query([seq])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        match record(row) {
            Ok(record) => records.push(record),
            Err(fault) => {
                let damage = fault.of_a_row()?;
                tracing::error!(seq, damage, "the row of a timer is damaged");
            }
        }
    }
    Ok(records)
}

fn record(row: &Row<'_>) -> Result<TimerRecord, ReadFault> {
    let ended: Option<i64> = row.get(6)?;
    let ended = ended.map(timestamp).transpose()?;
    let state = match (row.get(5)?, ended) {
        (state::WAITS, None) => TimerState::Waits,
        (state::FIRED, Some(at)) => TimerState::Fired { at },
        (state::CANCELLED, Some(at)) => TimerState::Cancelled {
            at,
            // A damaged one is told as one that is gone.
            by: codec::blob(row, 7)
                .ok()
                .and_then(|uid| codec::uuid(uid).ok()),
        },
        (state::REMOVED, Some(at)) => TimerState::Removed { at },
        (other, _) => return Err(Damage(format!("{other} is not a state of a timer")).into()),
    };
    Ok(TimerRecord {
        route: ObjectKey {
            namespace: row.get(0)?,
            name: row.get(1)?,
        },
        rule: row.get(2)?,
        at: timestamp(row.get(3)?)?,
        due: timestamp(row.get(4)?)?,
        state,
    })
}
