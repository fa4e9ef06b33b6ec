//! What rules remember, by key.
//!
//! A row for each key, which the plan that changes it replaces. Rows that count for no event any
//! more are removed with the echo marks, and before that where their subscription has no room left: each
//! counts against `storedBytes`, so that no sender's keys fill the disk.

use std::sync::Arc;

use hookswitch_crds::key::ObjectKey;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, Rows};

use super::codec::{int, micros, timestamp, unsigned};
use super::fault::{Damage, ReadFault};
use super::read;
use super::state::State;
use crate::plan::{Memory, MemoryKey, Part, Recalled, Remember, WaitState};
use crate::store::MEMORY_BYTES;

/// Kinds of memories in the file.
mod kind {
    pub(super) const CLAIMED: i64 = 0;
    /// `value` is the rank, `since` the reopening.
    pub(super) const STATE: i64 = 1;
    /// Of these `value` is the event.
    pub(super) const PENDING: i64 = 2;
    pub(super) const FIRED: i64 = 3;
    pub(super) const CANCELLED: i64 = 4;
    pub(super) const SEEN: i64 = 5;
}

/// Rows that one call removes at most.
const ROWS_AT_ONCE: i64 = 1024;
/// Rows that one call looks at for those of one subscription.
const LOOKED_AT: i64 = 4096;

/// The part of a rule, from how it is written.
pub(super) fn part(text: &str) -> Result<Part, Damage> {
    match text.split_once('/') {
        Some(("once", destination)) => Ok(Part::Once(destination.to_owned())),
        Some(("after", version)) => u64::from_str_radix(version, 16)
            .map(Part::After)
            .map_err(|_| Damage(format!("`{text}` is not a part of a rule"))),
        None if text == "transition" => Ok(Part::Transition),
        _ => Err(Damage(format!("`{text}` is not a part of a rule"))),
    }
}

/// What is remembered for each key, and how many rows are damaged: those are as if they were forgotten,
/// since planning must go on.
pub(super) fn recall(
    connection: &Connection,
    subscription: &ObjectKey,
    keys: &[MemoryKey],
) -> Result<(Vec<Option<Recalled>>, u64), ReadFault> {
    let mut damaged = 0;
    let mut find = connection.prepare_cached(
        "SELECT m.kind, m.until, m.at, m.value, m.since FROM subscription s \
         JOIN scope c ON c.subscription = s.id \
         JOIN memory m ON m.scope = c.id \
         WHERE s.namespace = ? AND s.name = ? \
         AND c.namespace = ? AND c.route = ? AND c.rule = ? AND c.part = ? AND m.key = ?",
    )?;
    let recalled = keys
        .iter()
        .map(|key| {
            let scope = &*key.scope;
            let found: Option<Result<Recalled, ReadFault>> = find
                .query_row(
                    (
                        &subscription.namespace,
                        &subscription.name,
                        &scope.route.namespace,
                        &scope.route.name,
                        &scope.rule,
                        scope.part.to_string(),
                        key.digest,
                    ),
                    |row| Ok(recalled(row)),
                )
                .optional()?;
            let read = found
                .transpose()
                .and_then(|it| it.map(|it| with_event(connection, it)).transpose());
            read.or_else(|fault| {
                let damage = fault.of_a_row()?;
                tracing::error!(%subscription, route = %scope.route, rule = scope.rule, damage, "what a rule remembers is damaged: it is forgotten");
                damaged += 1;
                Ok(None)
            })
        })
        .collect::<Result<_, ReadFault>>()?;
    Ok((recalled, damaged))
}

fn recalled(row: &Row<'_>) -> Result<Recalled, ReadFault> {
    let time = |column| -> Result<Option<Timestamp>, ReadFault> {
        let micros: Option<i64> = row.get(column)?;
        Ok(micros.map(timestamp).transpose()?)
    };
    let at = time(2)?.unwrap_or_default();
    let value = row.get::<_, Option<i64>>(3)?.unwrap_or_default();
    let wait = |state| Memory::Wait { state, at };
    let seq = unsigned(value);
    let memory = match row.get(0)? {
        kind::CLAIMED => Memory::Claimed,
        kind::STATE => Memory::State {
            rank: value,
            at,
            reopened: time(4)?,
        },
        kind::PENDING => wait(WaitState::Pending { seq }),
        kind::FIRED => wait(WaitState::Fired { seq }),
        kind::CANCELLED => wait(WaitState::Cancelled),
        kind::SEEN => wait(WaitState::Seen { seq }),
        other => return Err(Damage(format!("{other} is not a kind of memory")).into()),
    };
    Ok(Recalled {
        memory,
        until: timestamp(row.get(1)?)?,
        event: None,
    })
}

/// With the event that is needed to decide about the next one, where it is kept still.
fn with_event(connection: &Connection, mut recalled: Recalled) -> Result<Recalled, ReadFault> {
    if let Memory::Wait { state, .. } = recalled.memory
        && let Some(seq) = state.seq()
    {
        let event = read::find_event(connection, int(seq)).or_else(|fault| {
            let damage = fault.of_a_row()?;
            tracing::error!(
                seq,
                damage,
                "the row of an event that a wait began with is damaged"
            );
            Ok::<_, ReadFault>(None)
        });
        recalled.event = event?.map(Arc::new);
    }
    Ok(recalled)
}

/// How a memory is written: kind, `at`, `value`, `since`.
fn columns(memory: &Memory) -> (i64, Option<i64>, Option<i64>, Option<i64>) {
    match *memory {
        Memory::Claimed => (kind::CLAIMED, None, None, None),
        Memory::State { rank, at, reopened } => (
            kind::STATE,
            Some(micros(at)),
            Some(rank),
            reopened.map(micros),
        ),
        Memory::Wait { state, at } => {
            let kind = match state {
                WaitState::Pending { .. } => kind::PENDING,
                WaitState::Fired { .. } => kind::FIRED,
                WaitState::Cancelled => kind::CANCELLED,
                WaitState::Seen { .. } => kind::SEEN,
            };
            (kind, Some(micros(at)), state.seq().map(int), None)
        }
    }
}

impl State {
    /// Whether an effect was had for the key that counts for an event accepted then.
    pub(super) fn is_claimed(
        &mut self,
        connection: &Connection,
        subscription: i64,
        key: &MemoryKey,
        accepted_at: i64,
    ) -> Result<bool, ReadFault> {
        let scope = self.scope(connection, subscription, &key.scope)?;
        Ok(connection
            .prepare_cached("SELECT 1 FROM memory WHERE scope = ? AND key = ? AND until > ?")?
            .exists((scope, key.digest, accepted_at))?)
    }

    /// Replaces what a key had.
    pub(super) fn remember(
        &mut self,
        connection: &Connection,
        subscription: i64,
        remember: &Remember,
    ) -> Result<(), ReadFault> {
        let Remember { key, memory, until } = remember;
        let scope = self.scope(connection, subscription, &key.scope)?;
        let (kind, at, value, since) = columns(memory);
        let row = (kind, at, value, since, micros(*until), scope, key.digest);
        let known = connection
            .prepare_cached(
                "UPDATE memory SET kind = ?, at = ?, value = ?, since = ?, until = ? \
                 WHERE scope = ? AND key = ?",
            )?
            .execute(row)?;
        if known == 0 {
            connection
                .prepare_cached(
                    "INSERT INTO memory (kind, at, value, since, until, scope, key) \
                     VALUES (?, ?, ?, ?, ?, ?, ?)",
                )?
                .execute(row)?;
            self.add_bytes(subscription, MEMORY_BYTES);
        }
        Ok(())
    }

    /// Removes what is to be forgotten by then, and says whether more may be left.
    pub(super) fn forget(
        &mut self,
        connection: &Connection,
        before: i64,
    ) -> Result<bool, ReadFault> {
        let removed = self.removed(
            connection
                .prepare_cached(
                    "DELETE FROM memory WHERE (scope, key) IN \
                     (SELECT scope, key FROM memory WHERE until <= ? ORDER BY until LIMIT ?) \
                     RETURNING scope",
                )?
                .query((before, ROWS_AT_ONCE))?,
        )?;
        Ok(removed >= ROWS_AT_ONCE)
    }

    /// Removes what one subscription's rules may forget by then, among the first of all that may be.
    pub(super) fn forget_of(
        &mut self,
        connection: &Connection,
        subscription: i64,
        before: i64,
    ) -> Result<(), ReadFault> {
        self.removed(
            connection
                .prepare_cached(
                    "DELETE FROM memory WHERE (scope, key) IN \
                     (SELECT m.scope, m.key FROM \
                       (SELECT scope, key FROM memory WHERE until <= ? ORDER BY until LIMIT ?) m \
                      JOIN scope c ON c.id = m.scope WHERE c.subscription = ?) \
                     RETURNING scope",
                )?
                .query((before, LOOKED_AT, subscription))?,
        )?;
        Ok(())
    }

    /// Forgets that a timer of the key waits, where it is the one that this event started.
    pub(super) fn forget_pending(
        &mut self,
        connection: &Connection,
        scope: i64,
        key: &[u8; 16],
        seq: i64,
    ) -> Result<(), ReadFault> {
        self.removed(
            connection
                .prepare_cached(
                    "DELETE FROM memory WHERE scope = ? AND key = ? AND kind = ? AND value = ? \
                     RETURNING scope",
                )?
                .query((scope, key, kind::PENDING, seq))?,
        )?;
        Ok(())
    }

    /// Forgets that a timer waits which this event started, whatever its key.
    pub(super) fn forget_started(
        &mut self,
        connection: &Connection,
        scope: i64,
        seq: i64,
    ) -> Result<(), ReadFault> {
        self.removed(
            connection
                .prepare_cached(
                    "DELETE FROM memory WHERE scope = ? AND kind = ? AND value = ? RETURNING scope",
                )?
                .query((scope, kind::PENDING, seq))?,
        )?;
        Ok(())
    }

    /// Takes rows that are removed off the bytes of their subscriptions, and says how many they were.
    fn removed(&mut self, mut scopes: Rows<'_>) -> Result<i64, ReadFault> {
        let mut removed = 0;
        while let Some(row) = scopes.next()? {
            removed += 1;
            if let Some(subscription) = self.subscription_of(row.get(0)?) {
                self.release_bytes(subscription, MEMORY_BYTES);
            }
        }
        Ok(removed)
    }
}
