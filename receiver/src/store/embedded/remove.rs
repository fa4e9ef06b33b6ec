//! Removing what is past its retention, or in the way of a new event.

use std::collections::HashSet;

use hookswitch_crds::key::ObjectKey;
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use super::codec::{end_key, first_key, seq_of, unsigned};
use super::fault::ReadFault;
use super::plan::settle;
use super::state::{Shared, State};
use crate::store::Purged;

/// What a read has found to be past its retention.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::store) struct Victims {
    /// Dead letters, by key.
    pub(super) dead: Vec<i64>,
    /// Finished events: subscription, since when, place.
    pub(super) finished: Vec<(i64, i64, i64)>,
    /// Echo marks and memories that end before then can't meet an event any more.
    pub(super) marks_before: i64,
    /// Now.
    pub(super) now: i64,
    /// The subscriptions that the configuration has; `None` where they are the same as before.
    pub(in crate::store) present: Option<HashSet<ObjectKey>>,
    /// More is left.
    pub(super) more: bool,
}

/// Small rows that one call removes at most.
const ROWS_AT_ONCE: i64 = 1024;

impl Victims {
    /// Whether nothing is past its retention.
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.dead.is_empty() && self.finished.is_empty() && !self.more
    }
}

impl State {
    pub(super) fn remove(
        &mut self,
        connection: &Connection,
        shared: &Shared,
        victims: &Victims,
    ) -> Result<Purged, ReadFault> {
        if let Some(present) = &victims.present {
            self.note_removed(present, victims.now);
        }
        let mut purged = Purged {
            more: victims.more,
            ..Purged::default()
        };
        for key in &victims.dead {
            if self.remove_dead(connection, *key)? {
                purged.dead_letters += 1;
                // Its event may be next.
                purged.more = true;
            }
        }
        for (subscription, at, seq) in &victims.finished {
            if self.remove_event(connection, shared, *subscription, *at, *seq)? {
                purged.events += 1;
            }
        }
        let marks = connection
            .prepare_cached(
                "DELETE FROM mark WHERE id IN (SELECT id FROM mark WHERE until <= ? ORDER BY until LIMIT ?)",
            )?
            .execute((victims.marks_before, ROWS_AT_ONCE))?;
        let write_backs = connection
            .prepare_cached(
                "DELETE FROM write_back WHERE (lane, subject, at, delivery) IN \
                 (SELECT lane, subject, at, delivery FROM write_back WHERE until <= ? ORDER BY until LIMIT ?)",
            )?
            .execute((victims.now, ROWS_AT_ONCE))?;
        let full = usize::try_from(ROWS_AT_ONCE).unwrap_or(usize::MAX);
        purged.more |= marks >= full || write_backs >= full;
        purged.more |= self.forget(connection, victims.marks_before)?;
        purged.more |= self.dedup.expire(connection, victims.now)?;
        // The last chapter stays: its end says where the recent events begin.
        connection
            .prepare_cached(
                "DELETE FROM chapter WHERE first < (SELECT max(first) FROM chapter) AND NOT EXISTS \
                 (SELECT 1 FROM event WHERE seq BETWEEN chapter.first AND chapter.last)",
            )?
            .execute(())?;
        Ok(purged)
    }

    /// Removes an event with all that came of it, where it is finished since then.
    pub(super) fn remove_event(
        &mut self,
        connection: &Connection,
        shared: &Shared,
        subscription: i64,
        at: i64,
        seq: i64,
    ) -> Result<bool, ReadFault> {
        let finished = connection
            .prepare_cached("DELETE FROM finished WHERE subscription = ? AND at = ? AND seq = ?")?
            .execute((subscription, at, seq))?;
        if finished == 0 {
            return Ok(false);
        }
        if seq > self.flushed {
            // Its row is the only place of its dedup entry.
            self.flush(connection, shared)?;
        }
        let range = (first_key(seq), end_key(seq));
        let event: i64 = connection
            .prepare_cached(
                "SELECT octet_length(body) + octet_length(id) + octet_length(type) \
                 + ifnull(octet_length(subject), 0) + ifnull(octet_length(sender), 0) \
                 + ifnull(octet_length(content_type), 0) + 128 FROM event WHERE seq = ?",
            )?
            .query_row([seq], |row| row.get(0))
            // A damaged file may have lost the row; nothing is left to count then.
            .optional()?
            .unwrap_or_default();
        let deliveries: i64 = connection
            .prepare_cached("SELECT 128 * count(*) FROM delivery WHERE key >= ? AND key < ?")?
            .query_row(range, |row| row.get(0))?;
        let mut rendered = 0;
        if deliveries > 0 {
            rendered = remove_rendered(connection, range)?;
            connection
                .prepare_cached("DELETE FROM delivery WHERE key >= ? AND key < ?")?
                .execute(range)?;
        }
        for table in [
            "DELETE FROM plan WHERE seq = ?",
            "DELETE FROM timer WHERE seq = ?",
            "DELETE FROM event WHERE seq = ?",
        ] {
            connection.prepare_cached(table)?.execute([seq])?;
        }
        self.release_bytes(subscription, unsigned(event + deliveries + rendered));
        Ok(true)
    }

    /// Removes a dead letter, where it is still one.
    pub(super) fn remove_dead(
        &mut self,
        connection: &Connection,
        key: i64,
    ) -> Result<bool, ReadFault> {
        let mut find = connection.prepare_cached(
            "SELECT subscription, lane, max(ended_at, planned_at) FROM delivery WHERE key = ? AND state = 4",
        )?;
        let mut rows = find.query([key])?;
        let Some(row) = rows.next()? else {
            return Ok(false);
        };
        let (subscription, lane, ended_at): (i64, i64, i64) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        drop(rows);
        let rendered = remove_rendered(connection, (key, key + 1))?;
        connection
            .prepare_cached("DELETE FROM delivery WHERE key = ?")?
            .execute([key])?;
        self.count(lane, 0, -1);
        self.release_bytes(subscription, unsigned(128 + rendered));
        settle(connection, subscription, seq_of(key), ended_at)?;
        Ok(true)
    }
}

/// Removes rendered bodies, and says how many bytes they had.
pub(super) fn remove_rendered(
    connection: &Connection,
    range: (i64, i64),
) -> Result<i64, ReadFault> {
    let bytes = connection
        .prepare_cached(
            "SELECT ifnull(sum(octet_length(body)), 0) FROM rendered WHERE key >= ? AND key < ?",
        )?
        .query_row(range, |row| row.get(0))?;
    connection
        .prepare_cached("DELETE FROM rendered WHERE key >= ? AND key < ?")?
        .execute(range)?;
    Ok(bytes)
}
