//! What a person does to what has ended: retry, discard, replay.

use rusqlite::{Connection, OptionalExtension as _};

use super::codec::{PLACES, end_key, first_key, int, micros, state};
use super::fault::ReadFault;
use super::plan::first_state;
use super::state::State;
use crate::plan::{NewDelivery, Part, Remember, Scope};
use crate::store::archive::{DeadChange, Replay};
use crate::store::delivery_bytes;

/// A dead letter's row.
struct Dead {
    key: i64,
    lane: i64,
    chain: Option<i64>,
    rendered: bool,
}

/// A dead letter, where it is one and has had so many attempts.
fn dead(connection: &Connection, change: &DeadChange) -> Result<Option<Dead>, ReadFault> {
    Ok(connection
        .prepare_cached(
            "SELECT key, lane, chain, shape IS NOT NULL FROM delivery INDEXED BY delivery_id \
             WHERE id = ? AND state <> 3 AND state = 4 AND attempts = ?",
        )?
        .query_row((change.id.as_bytes(), change.attempts), |row| {
            Ok(Dead {
                key: row.get(0)?,
                lane: row.get(1)?,
                chain: row.get(2)?,
                rendered: row.get(3)?,
            })
        })
        .optional()?)
}

impl State {
    /// Lets a dead letter be attempted again. In its chain it waits where another one is under way,
    /// and goes before later ones when that ends.
    pub(super) fn retry(
        &mut self,
        connection: &Connection,
        change: &DeadChange,
    ) -> Result<bool, ReadFault> {
        let Some(dead) = dead(connection, change)?.filter(|dead| dead.rendered) else {
            return Ok(false);
        };
        let state = first_state(connection, dead.key, dead.chain)?;
        let at = micros(change.at);
        connection
            .prepare_cached(
                "UPDATE delivery SET state = ?, planned_at = ?, due = ?, ended_at = NULL, reason = NULL \
                 WHERE key = ?",
            )?
            .execute((state, at, at, dead.key))?;
        self.count(dead.lane, 1, -1);
        Ok(true)
    }

    /// Removes a dead letter.
    pub(super) fn discard(
        &mut self,
        connection: &Connection,
        change: &DeadChange,
    ) -> Result<bool, ReadFault> {
        match dead(connection, change)? {
            Some(dead) => self.remove_dead(connection, dead.key),
            None => Ok(false),
        }
    }

    /// Gives an event deliveries that it lacks, and says how many.
    pub(super) fn replay(
        &mut self,
        connection: &Connection,
        replay: &Replay,
    ) -> Result<u64, ReadFault> {
        let seq = int(replay.seq);
        let range = (first_key(seq), end_key(seq));
        let planned: Option<(i64, i64, i64)> = connection
            .prepare_cached(
                "SELECT e.subscription, p.planned_at, e.accepted_at FROM event e JOIN plan p ON p.seq = e.seq WHERE e.seq = ?",
            )?
            .query_row([seq], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((subscription, planned_at, accepted_at)) = planned else {
            return Ok(0);
        };
        let mut made = 0;
        let mut bytes = 0_u64;
        for delivery in &replay.deliveries {
            if delivery.request.is_none() || delivery.dead.is_some() {
                continue;
            }
            let same: Option<(i64, i64, bool, i64)> = connection
                .prepare_cached(
                    "SELECT key, state, shape IS NOT NULL, lane FROM delivery WHERE key >= ? AND key < ? AND id = ?",
                )?
                .query_row((range.0, range.1, delivery.id.as_bytes()), |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                })
                .optional()?;
            let claim = claim_of(&replay.claims, delivery);
            if let Some(claim) = claim
                && same.is_none_or(|(_, _, rendered, _)| !rendered)
                && self.is_claimed(connection, subscription, &claim.key, accepted_at)?
            {
                continue;
            }
            let key = match same {
                Some((key, state::DEAD, false, lane)) => {
                    connection
                        .prepare_cached("DELETE FROM delivery WHERE key = ?")?
                        .execute([key])?;
                    self.count(lane, 0, -1);
                    self.release_bytes(subscription, 128);
                    key
                }
                Some(_) => continue,
                None => {
                    if made == 0 {
                        unsettle(connection, subscription, seq, planned_at)?;
                    }
                    let last: Option<i64> = connection
                        .prepare_cached("SELECT max(key) FROM delivery WHERE key >= ? AND key < ?")?
                        .query_row(range, |row| row.get(0))?;
                    let next = last.map_or(range.0, |last| last + 1);
                    let places = i64::try_from(PLACES).unwrap_or(i64::MAX);
                    if next - range.0 >= places - 1 {
                        break;
                    }
                    next
                }
            };
            self.insert(connection, subscription, key, micros(replay.at), delivery)?;
            if let Some(claim) = claim {
                self.remember(connection, subscription, claim)?;
            }
            bytes = bytes.saturating_add(delivery_bytes(delivery));
            made += 1;
        }
        self.add_bytes(subscription, bytes);
        Ok(made)
    }
}

/// What `once` remembers of a delivery.
fn claim_of<'a>(claims: &'a [Remember], delivery: &NewDelivery) -> Option<&'a Remember> {
    claims.iter().find(|claim| {
        let Scope { route, rule, part } = &*claim.key.scope;
        *route == delivery.lane.route
            && *rule == delivery.rule
            && *part == Part::Once(delivery.lane.destination.clone())
    })
}

/// Takes back that nothing of the event is pending, where that was noted. Mostly it was noted under
/// the time of its last delivery's end; else, as when a dead letter was removed, it is looked for.
fn unsettle(
    connection: &Connection,
    subscription: i64,
    seq: i64,
    planned_at: i64,
) -> Result<(), ReadFault> {
    let range = (first_key(seq), end_key(seq));
    let (kept, ended): (bool, Option<i64>) = connection
        .prepare_cached(
            "SELECT ifnull(max(state <> 3), 0), max(max(ended_at, planned_at)) FROM delivery WHERE key >= ? AND key < ?",
        )?
        .query_row(range, |row| Ok((row.get(0)?, row.get(1)?)))?;
    if kept {
        return Ok(());
    }
    let likely = ended.map_or(planned_at, |ended| ended.max(planned_at));
    let removed = connection
        .prepare_cached("DELETE FROM finished WHERE subscription = ? AND at = ? AND seq = ?")?
        .execute((subscription, likely, seq))?;
    if removed == 0 {
        connection
            .prepare_cached("DELETE FROM finished WHERE subscription = ? AND seq = ?")?
            .execute((subscription, seq))?;
    }
    Ok(())
}
