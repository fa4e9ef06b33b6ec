//! What the file tells of single events. A damaged row is told as far as it can be read, and logged:
//! it must not hide the others.

use hookswitch_crds::key::ObjectKey;
use rusqlite::{Connection, OptionalExtension, Row};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::{event, request};
use crate::plan::{DeadReason, Lane};
use crate::store::embedded::codec::{
    self, Tries, delivery_state, end_key, first_key, int, left, timestamp, uuid,
};
use crate::store::embedded::fault::{Damage, ReadFault};
use crate::store::embedded::timer;
use crate::store::{DeliveryRecord, DeliveryState, History, PlanRecord};

/// Histories of events after a place.
pub(in crate::store::embedded) fn scan(
    connection: &Connection,
    after: u64,
    limit: usize,
) -> Result<Vec<History>, ReadFault> {
    let seqs = connection
        .prepare_cached("SELECT seq FROM event WHERE seq > ? ORDER BY seq LIMIT ?")?
        .query_map(
            (int(after), i64::try_from(limit).unwrap_or(i64::MAX)),
            |row| row.get(0),
        )?
        .collect::<Result<Vec<i64>, _>>()?;
    seqs.into_iter()
        .map(|seq| history_of(connection, seq))
        .collect()
}

/// One event's history, by its uid.
pub(in crate::store::embedded) fn history(
    connection: &Connection,
    uid: Uuid,
) -> Result<Option<History>, ReadFault> {
    // A uid begins with its time, so there is mostly one stretch of events that may hold it.
    let mut stretches = connection
        .prepare_cached("SELECT first, last FROM chapter WHERE min <= ?1 AND max >= ?1")?
        .query_map([uid.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<Vec<(i64, i64)>, _>>()?;
    let flushed: i64 = connection
        .prepare_cached("SELECT ifnull(max(last), 0) FROM chapter")?
        .query_row((), |row| row.get(0))?;
    stretches.push((flushed + 1, i64::MAX));
    for (first, last) in stretches {
        let seq = connection
            .prepare_cached("SELECT seq FROM event WHERE seq BETWEEN ? AND ? AND uid = ?")?
            .query_row((first, last, uid.as_bytes()), |row| row.get(0))
            .optional()?;
        if let Some(seq) = seq {
            return history_of(connection, seq).map(Some);
        }
    }
    Ok(None)
}

fn history_of(connection: &Connection, seq: i64) -> Result<History, ReadFault> {
    let remains = |fault: ReadFault| {
        let damage = fault.of_a_row()?;
        tracing::error!(seq, damage, "the row of an event is damaged");
        Ok::<_, ReadFault>(codec::remains(connection, seq, &ObjectKey::new("", "")))
    };
    Ok(History {
        event: event(connection, seq).or_else(remains)?,
        plan: plan(connection, seq)?,
        deliveries: deliveries(connection, seq)?,
        timers: timer::records(connection, seq)?,
    })
}

/// What is kept of an event's plan. Of a damaged one what can be read: it must not hide the others, nor
/// that the event is planned.
pub(in crate::store::embedded) fn plan(
    connection: &Connection,
    seq: i64,
) -> Result<Option<PlanRecord>, ReadFault> {
    connection
        .prepare_cached(
            "SELECT sequence, planned_at, ifnull(v.list, p.verdicts), suppressions \
             FROM plan p LEFT JOIN verdicts v ON v.id = p.verdicts WHERE seq = ?",
        )?
        .query_row([seq], |row| {
            Ok(plan_of(row).or_else(|fault| plan_remains(row, seq, fault)))
        })
        .optional()?
        .transpose()
}

fn plan_of(row: &Row<'_>) -> Result<PlanRecord, ReadFault> {
    Ok(PlanRecord {
        sequence: codec::unsigned(row.get(0)?),
        planned_at: timestamp(row.get(1)?)?,
        verdicts: list(row.get(2)?, "a list of verdicts")?,
        suppressions: list(row.get(3)?, "a list of suppressions")?,
        damaged: false,
    })
}

fn plan_remains(row: &Row<'_>, seq: i64, fault: ReadFault) -> Result<PlanRecord, ReadFault> {
    let damage = fault.of_a_row()?;
    tracing::error!(seq, damage, "the row of a plan is damaged");
    Ok(PlanRecord {
        sequence: codec::unsigned(left(row, 0)),
        planned_at: timestamp(left(row, 1)).unwrap_or_default(),
        verdicts: list(left(row, 2), "").unwrap_or_default(),
        suppressions: list(left(row, 3), "").unwrap_or_default(),
        damaged: true,
    })
}

fn list<T: DeserializeOwned>(text: Option<String>, what: &str) -> Result<Vec<T>, Damage> {
    text.map_or_else(|| Ok(Vec::new()), |text| codec::json(&text, what))
}

fn deliveries(connection: &Connection, seq: i64) -> Result<Vec<DeliveryRecord>, ReadFault> {
    let mut find = connection.prepare_cached(
        "SELECT d.id, l.namespace, l.route, l.destination, r.name, ifnull(h.shape, d.shape), b.digest, b.body, \
         d.state, d.due, d.reason, d.tries, d.planned_at, d.look_ups \
         FROM delivery d LEFT JOIN lane l ON l.id = d.lane LEFT JOIN rule r ON r.id = d.rule \
         LEFT JOIN shape h ON h.id = d.shape LEFT JOIN rendered b ON b.key = d.key \
         WHERE d.key >= ? AND d.key < ? ORDER BY d.key",
    )?;
    let mut rows = find.query((first_key(seq), end_key(seq)))?;
    let mut deliveries = Vec::new();
    while let Some(row) = rows.next()? {
        deliveries.push(delivery(row).or_else(|fault| {
            let damage = fault.of_a_row()?;
            tracing::error!(seq, damage, "the row of a delivery is damaged");
            Ok::<_, ReadFault>(remains(row))
        })?);
    }
    Ok(deliveries)
}

fn delivery(row: &Row<'_>) -> Result<DeliveryRecord, ReadFault> {
    let tries: Option<String> = row.get(11)?;
    let state = delivery_state(row.get(8)?, row.get(9)?, row.get(10)?)?;
    Ok(DeliveryRecord {
        id: uuid(codec::blob(row, 0)?)?,
        lane: Lane {
            route: ObjectKey {
                namespace: row.get(1)?,
                name: row.get(2)?,
            },
            destination: row.get(3)?,
        },
        rule: row.get(4)?,
        request: match state {
            DeliveryState::Dead(DeadReason::Damaged) => None,
            _ => request(row, 5)?,
        },
        look_ups: list(row.get(13)?, "the look-ups of a delivery")?,
        planned_at: timestamp(row.get(12)?)?,
        state,
        attempts: Tries::read(tries.as_deref())?.records()?,
    })
}

/// What is left of a delivery whose row is damaged: each column that can be read, without what can't.
fn remains(row: &Row<'_>) -> DeliveryRecord {
    let tries: Option<String> = left(row, 11);
    let state = delivery_state(left(row, 8), left(row, 9), left(row, 10))
        .unwrap_or(DeliveryState::Dead(DeadReason::Damaged));
    DeliveryRecord {
        id: codec::blob(row, 0)
            .ok()
            .and_then(|bytes| uuid(bytes).ok())
            .unwrap_or_default(),
        lane: Lane {
            route: ObjectKey {
                namespace: left(row, 1),
                name: left(row, 2),
            },
            destination: left(row, 3),
        },
        rule: left(row, 4),
        request: match state {
            DeliveryState::Dead(DeadReason::Damaged) => None,
            _ => request(row, 5).ok().flatten(),
        },
        look_ups: list(left(row, 13), "").unwrap_or_default(),
        planned_at: timestamp(left(row, 12)).unwrap_or_default(),
        state,
        attempts: Tries::read(tries.as_deref())
            .and_then(Tries::records)
            .unwrap_or_default(),
    }
}
