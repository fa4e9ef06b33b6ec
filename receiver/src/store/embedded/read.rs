//! Everything that is asked of the file. Each function sees one moment of it.

use std::collections::HashMap;
use std::sync::Arc;

use hookswitch_crds::key::ObjectKey;
use jiff::Timestamp;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row};

use super::codec::{self, EVENT, Tries, micros, seq_of, timestamp, unsigned, uuid};
use super::damaged::DamagedRow;
use super::fault::{Damage, ReadFault};
use super::remove::Victims;
use super::state;
use crate::plan::{FrozenRequest, Lane};
use crate::store::{
    Due, GuardAnswer, GuardQuestion, LaneStats, Retention, StoredDelivery, StoredEvent, Waiting,
    event_bytes,
};

mod history;

pub(super) use history::{history, plan, scan};

/// Marks that one answer holds at most.
const MARKS: i64 = 64;
/// What one purge finds at most; removing it takes some milliseconds.
const VICTIMS: usize = 256;
/// Echo marks are kept for events that are accepted and not yet planned, but no longer than this
/// after their end.
const MARKS_LINGER: i64 = 24 * 3600 * 1_000_000;

/// Bytes of events that are read at once, but for the last of them.
const BYTES: u64 = 4 << 20;

/// Subscriptions with events in the backlog.
pub(super) fn backlog(connection: &Connection) -> Result<Vec<ObjectKey>, ReadFault> {
    Ok(connection
        .prepare_cached(
            "SELECT namespace, name FROM subscription WHERE EXISTS \
             (SELECT 1 FROM backlog WHERE backlog.subscription = subscription.id)",
        )?
        .query_map((), |row| {
            Ok(ObjectKey {
                namespace: row.get(0)?,
                name: row.get(1)?,
            })
        })?
        .collect::<Result<_, _>>()?)
}

/// The last planned place.
pub(super) fn planned(connection: &Connection, subscription: &ObjectKey) -> Result<u64, ReadFault> {
    let planned: Option<i64> = connection
        .prepare_cached("SELECT planned FROM subscription WHERE namespace = ? AND name = ?")?
        .query_row((&subscription.namespace, &subscription.name), |row| {
            row.get(0)
        })
        .optional()?;
    Ok(planned.map_or(0, codec::unsigned))
}

/// The last planned place, and the next events after it.
pub(super) fn unplanned(
    connection: &Connection,
    subscription: &ObjectKey,
    recent: Vec<i64>,
    limit: usize,
) -> Result<(u64, Vec<StoredEvent>), ReadFault> {
    let found = connection
        .prepare_cached("SELECT id, planned FROM subscription WHERE namespace = ? AND name = ?")?
        .query_row((&subscription.namespace, &subscription.name), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((id, planned)) = found else {
        return Ok((0, Vec::new()));
    };
    let seqs = state::unplanned(connection, id, planned, recent.into_iter(), limit)?;
    let mut events = Vec::with_capacity(seqs.len());
    let mut bytes = 0;
    for seq in seqs {
        let event = event_or_remains(connection, seq, subscription)?;
        bytes += event_bytes(&event.event);
        events.push(event);
        if bytes >= BYTES {
            break;
        }
    }
    Ok((codec::unsigned(planned), events))
}

/// What waits for its plan. `recent` are the recent events, by subscription.
pub(super) fn waiting(
    connection: &Connection,
    recent: &HashMap<ObjectKey, Vec<i64>>,
) -> Result<Vec<Waiting>, ReadFault> {
    let mut all = connection
        .prepare_cached("SELECT id, namespace, name, planned, removed_since FROM subscription")?;
    let mut backlog = connection.prepare_cached(
        "SELECT count(*), min(seq), max(seq) FROM backlog WHERE subscription = ? AND seq > ?",
    )?;
    let mut accepted = connection.prepare_cached("SELECT accepted_at FROM event WHERE seq = ?")?;
    let mut rows = all.query(())?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, planned): (i64, i64) = (row.get(0)?, row.get(3)?);
        let subscription = ObjectKey {
            namespace: row.get(1)?,
            name: row.get(2)?,
        };
        let (in_backlog, first, last): (i64, Option<i64>, Option<i64>) = backlog
            .query_row((id, planned), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        // What has just moved to the backlog may be in both.
        let after = last.unwrap_or(planned).max(planned);
        let recent = recent.get(&subscription).into_iter().flatten();
        let mut recent = recent.filter(|seq| **seq > after);
        let first = first.or_else(|| recent.clone().next().copied());
        let events = codec::unsigned(in_backlog) + codec::counted(recent.by_ref().count());
        if events == 0 {
            continue;
        }
        let oldest: Option<i64> = match first {
            Some(first) => accepted.query_row([first], |row| row.get(0)).optional()?,
            None => None,
        };
        let removed_since: Option<i64> = row.get(4)?;
        found.push(Waiting {
            subscription,
            events,
            oldest: oldest.map(timestamp).transpose()?,
            removed_since: removed_since.map(timestamp).transpose()?,
        });
    }
    found.sort_by(|one, other| one.subscription.cmp(&other.subscription));
    Ok(found)
}

/// One event.
fn event(connection: &Connection, seq: i64) -> Result<StoredEvent, ReadFault> {
    find_event(connection, seq)?.ok_or_else(|| Damage(format!("event {seq} is missing")).into())
}

/// One event, where it is kept still.
pub(super) fn find_event(
    connection: &Connection,
    seq: i64,
) -> Result<Option<StoredEvent>, ReadFault> {
    connection
        .prepare_cached(&format!(
            "SELECT {EVENT} FROM event e JOIN subscription s ON s.id = e.subscription WHERE e.seq = ?"
        ))?
        .query_row([seq], |row| Ok(codec::event(row)))
        .optional()?
        .transpose()
}

/// One event; where its row is damaged, what is left of it.
fn event_or_remains(
    connection: &Connection,
    seq: i64,
    subscription: &ObjectKey,
) -> Result<StoredEvent, ReadFault> {
    event(connection, seq).or_else(|fault| {
        let damage = fault.of_a_row()?;
        tracing::error!(%subscription, seq, damage, "the row of an event is damaged: it is set aside");
        Ok(codec::remains(connection, seq, subscription))
    })
}

/// What the loop guard asks.
pub(super) fn guard(
    connection: &Connection,
    questions: &[GuardQuestion],
) -> Result<Vec<GuardAnswer>, ReadFault> {
    questions
        .iter()
        .map(|question| {
            let Some(lane) = lane_id(connection, &question.lane)? else {
                return Ok(GuardAnswer::default());
            };
            let mut marks = Vec::new();
            if let Some(key) = &question.echo_key {
                let mut find = connection.prepare_cached(
                    "SELECT id FROM mark INDEXED BY mark_key WHERE lane = ? AND key = ? AND until > ? \
                     ORDER BY claimed_at, id LIMIT ?",
                )?;
                let mut rows = find.query((lane, key, micros(question.at), MARKS))?;
                while let Some(row) = rows.next()? {
                    marks.push(uuid(codec::blob(row, 0)?)?);
                }
            }
            let write_backs = connection
                .prepare_cached(
                    "SELECT count(*) FROM write_back WHERE lane = ? AND subject = ? AND at >= ?",
                )?
                .query_row((lane, &question.subject, micros(question.since)), |row| {
                    row.get(0)
                })?;
            Ok(GuardAnswer { marks, write_backs })
        })
        .collect()
}

fn lane_id(connection: &Connection, lane: &Lane) -> Result<Option<i64>, ReadFault> {
    Ok(connection
        .prepare_cached(
            "SELECT id FROM lane WHERE namespace = ? AND route = ? AND destination = ?",
        )?
        .query_row(
            (&lane.route.namespace, &lane.route.name, &lane.destination),
            |row| row.get(0),
        )
        .optional()?)
}

/// What waits in a lane.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) enum For {
    /// For an attempt.
    Attempt,
    /// For its look-ups.
    LookUps,
}

impl For {
    /// The condition of the index that holds them, and its name.
    const fn index(self) -> (&'static str, &'static str) {
        match self {
            Self::Attempt => ("state = 0", "delivery_due"),
            Self::LookUps => ("state = -1", "delivery_unrendered"),
        }
    }
}

/// Deliveries of a lane that are due, and those whose rows are damaged.
pub(super) fn due(
    connection: &Connection,
    what: For,
    lane: &Lane,
    now: Timestamp,
    limit: usize,
) -> Result<(Due, Vec<DamagedRow>), ReadFault> {
    let (state, index) = what.index();
    let Some(id) = lane_id(connection, lane)? else {
        return Ok((Due::default(), Vec::new()));
    };
    let now = micros(now);
    let mut events: HashMap<i64, Arc<StoredEvent>> = HashMap::new();
    let mut due = Due::default();
    let mut damaged = Vec::new();
    let mut find = connection.prepare_cached(&format!(
        "SELECT d.key, d.id, r.name, ifnull(h.shape, d.shape), b.digest, b.body, d.attempts, d.planned_at, d.due, d.interrupted, d.tries, \
         p.sequence \
         FROM delivery d INDEXED BY {index} \
         LEFT JOIN rule r ON r.id = d.rule \
         LEFT JOIN shape h ON h.id = d.shape \
         LEFT JOIN rendered b ON b.key = d.key \
         LEFT JOIN plan p ON p.seq = d.key >> 20 \
         WHERE d.{state} AND d.lane = ? AND d.due <= ? ORDER BY d.due, d.key LIMIT ?",
    ))?;
    let mut rows = find.query((id, now, i64::try_from(limit).unwrap_or(i64::MAX)))?;
    while let Some(row) = rows.next()? {
        let key: i64 = row.get(0)?;
        match delivery(connection, row, lane, &mut events) {
            Ok(delivery) => due.ready.push(delivery),
            Err(fault) => {
                let damage = fault.of_a_row()?;
                let seq = seq_of(key);
                tracing::error!(%lane, key, seq, damage, "the row of a delivery is damaged: it goes to the dead letters");
                damaged.push(DamagedRow::Delivery(key));
            }
        }
    }
    let next: Option<i64> = connection
        .prepare_cached(&format!(
            "SELECT min(due) FROM delivery INDEXED BY {index} WHERE {state} AND lane = ? AND due > ?",
        ))?
        .query_row((id, now), |row| row.get(0))?;
    due.next = next.map(timestamp).transpose()?;
    due.damaged = codec::counted(damaged.len());
    Ok((due, damaged))
}

/// One of them.
fn delivery(
    connection: &Connection,
    row: &Row<'_>,
    lane: &Lane,
    events: &mut HashMap<i64, Arc<StoredEvent>>,
) -> Result<StoredDelivery, ReadFault> {
    let seq = seq_of(row.get(0)?);
    let event = if let Some(event) = events.get(&seq) {
        Arc::clone(event)
    } else {
        let event = Arc::new(event(connection, seq)?);
        events.insert(seq, Arc::clone(&event));
        event
    };
    // Read though there is none yet: the claim reads them in the writer, where damage would end the engine.
    let tries = Tries::read(
        row.get_ref(10)?
            .as_str_or_null()
            .map_err(|error| unreadable(&error))?,
    )?;
    Ok(StoredDelivery {
        id: uuid(codec::blob(row, 1)?)?,
        lane: lane.clone(),
        rule: row.get(2)?,
        event,
        request: request(row, 3)?
            .ok_or_else(|| Damage("a delivery that waits has no request".to_owned()))?,
        attempts: row.get(6)?,
        planned_at: timestamp(row.get(7)?)?,
        sequence: unsigned(row.get::<_, Option<i64>>(11)?.unwrap_or_default()),
        due: timestamp(row.get(8)?)?,
        interrupted: row.get(9)?,
        doubtful: tries.may_have_taken_effect(),
    })
}

fn unreadable(error: &rusqlite::types::FromSqlError) -> ReadFault {
    Damage(format!("a column can't be read: {error}")).into()
}

/// A request from its shape, digest and body, in that order.
fn request(row: &Row<'_>, column: usize) -> Result<Option<FrozenRequest>, ReadFault> {
    let ValueRef::Text(shape) = row.get_ref(column)? else {
        return Ok(None);
    };
    let shape = std::str::from_utf8(shape).map_err(|_| Damage("a shape is not text".to_owned()))?;
    let rendered = match (row.get_ref(column + 1)?, row.get_ref(column + 2)?) {
        (ValueRef::Blob(digest), ValueRef::Blob(body)) => Some((digest, body)),
        _ => None,
    };
    Ok(Some(codec::request(shape, rendered)?))
}

/// The state of the lanes that have anything in them.
pub(super) fn lanes(connection: &Connection) -> Result<Vec<LaneStats>, ReadFault> {
    let mut find = connection.prepare_cached(
        "SELECT namespace, route, destination, pending, dead, \
         (SELECT e.accepted_at FROM event e WHERE e.seq = \
           (SELECT min(d.key) >> 20 FROM delivery d INDEXED BY delivery_pending \
            WHERE d.lane = lane.id AND d.state <= 2)) \
         FROM lane WHERE pending > 0 OR dead > 0 ORDER BY namespace, route, destination",
    )?;
    let mut rows = find.query(())?;
    let mut lanes = Vec::new();
    while let Some(row) = rows.next()? {
        let oldest: Option<i64> = row.get(5)?;
        lanes.push(LaneStats {
            lane: Lane {
                route: ObjectKey {
                    namespace: row.get(0)?,
                    name: row.get(1)?,
                },
                destination: row.get(2)?,
            },
            pending: codec::unsigned(row.get(3)?),
            dead: codec::unsigned(row.get(4)?),
            oldest: oldest.map(timestamp).transpose()?,
        });
    }
    Ok(lanes)
}

/// What is past its retention. `unplanned` is the first recent event without a plan.
pub(super) fn victims(
    connection: &Connection,
    now: Timestamp,
    retentions: &HashMap<ObjectKey, Retention>,
    default: &Retention,
    unplanned: Option<i64>,
) -> Result<Victims, ReadFault> {
    let now = micros(now);
    let mut victims = Victims {
        now,
        marks_before: marks_before(connection, now, unplanned)?,
        present: Some(retentions.keys().cloned().collect()),
        ..Victims::default()
    };
    let subscriptions = connection
        .prepare_cached("SELECT id, namespace, name FROM subscription")?
        .query_map((), |row| {
            let key = ObjectKey {
                namespace: row.get(1)?,
                name: row.get(2)?,
            };
            Ok((row.get(0)?, key))
        })?
        .collect::<Result<Vec<(i64, ObjectKey)>, _>>()?;
    let mut dead = connection.prepare_cached(
        "SELECT key FROM delivery INDEXED BY delivery_dead \
         WHERE subscription = ? AND ended_at <= ? AND state = 4 ORDER BY ended_at LIMIT ?",
    )?;
    let mut finished = connection.prepare_cached(
        "SELECT at, seq FROM finished WHERE subscription = ? AND at <= ? ORDER BY at, seq LIMIT ?",
    )?;
    for (id, key) in subscriptions {
        let room = VICTIMS.saturating_sub(victims.dead.len() + victims.finished.len());
        if room == 0 {
            victims.more = true;
            break;
        }
        let retention = retentions.get(&key).unwrap_or(default);
        let room = i64::try_from(room).unwrap_or(0);
        let before = |keep| now.saturating_sub(codec::span(keep));
        let keys = dead
            .query_map((id, before(retention.dead_letters), room), |row| row.get(0))?
            .collect::<Result<Vec<i64>, _>>()?;
        let room = room - i64::try_from(keys.len()).unwrap_or(0);
        victims.dead.extend(keys);
        let events = finished
            .query_map((id, before(retention.finished), room), |row| {
                Ok((id, row.get(0)?, row.get(1)?))
            })?
            .collect::<Result<Vec<_>, _>>()?;
        victims.finished.extend(events);
    }
    victims.more |= victims.dead.len() + victims.finished.len() >= VICTIMS;
    Ok(victims)
}

/// Marks that end before the oldest unplanned event was accepted can't meet one any more.
fn marks_before(
    connection: &Connection,
    now: i64,
    unplanned: Option<i64>,
) -> Result<i64, ReadFault> {
    let backlog: Option<i64> = connection
        .prepare_cached(
            "SELECT min((SELECT min(seq) FROM backlog WHERE backlog.subscription = subscription.id)) \
             FROM subscription",
        )?
        .query_row((), |row| row.get(0))?;
    let Some(oldest) = backlog.into_iter().chain(unplanned).min() else {
        return Ok(now);
    };
    let accepted: Option<i64> = connection
        .prepare_cached("SELECT accepted_at FROM event WHERE seq = ?")?
        .query_row([oldest], |row| row.get(0))
        .optional()?;
    Ok(accepted
        .map_or(now, |accepted| accepted.min(now))
        .max(now.saturating_sub(MARKS_LINGER)))
}
