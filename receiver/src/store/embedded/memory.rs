//! What rules remember, by key.
//!
//! A row for each key, which the plan that changes it replaces. Rows that count for no event any
//! more are removed with the echo marks.

use hookswitch_crds::key::ObjectKey;
use rusqlite::{Connection, OptionalExtension, Row};

use super::codec::{micros, timestamp};
use super::fault::{Damage, ReadFault};
use super::state::State;
use crate::plan::{Memory, MemoryKey, Part, Recalled, Remember};

/// Kinds of memories in the file.
mod kind {
    pub(super) const CLAIMED: i64 = 0;
}

/// Rows that one call removes at most.
const ROWS_AT_ONCE: i64 = 1024;

/// The part of a rule, from how it is written.
pub(super) fn part(text: &str) -> Result<Part, Damage> {
    match text.split_once('/') {
        Some(("once", destination)) => Ok(Part::Once(destination.to_owned())),
        _ => Err(Damage(format!("`{text}` is not a part of a rule"))),
    }
}

/// What is remembered for each key.
pub(super) fn recall(
    connection: &Connection,
    subscription: &ObjectKey,
    keys: &[MemoryKey],
) -> Result<Vec<Option<Recalled>>, ReadFault> {
    let mut find = connection.prepare_cached(
        "SELECT m.kind, m.until FROM subscription s \
         JOIN scope c ON c.subscription = s.id \
         JOIN memory m ON m.scope = c.id \
         WHERE s.namespace = ? AND s.name = ? \
         AND c.namespace = ? AND c.route = ? AND c.rule = ? AND c.part = ? AND m.key = ?",
    )?;
    keys.iter()
        .map(|key| {
            let scope = &*key.scope;
            find.query_row(
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
            .optional()?
            .transpose()
        })
        .collect()
}

fn recalled(row: &Row<'_>) -> Result<Recalled, ReadFault> {
    let memory = match row.get(0)? {
        kind::CLAIMED => Memory::Claimed,
        other => return Err(Damage(format!("{other} is not a kind of memory")).into()),
    };
    Ok(Recalled {
        memory,
        until: timestamp(row.get(1)?)?,
    })
}

impl State {
    /// Replaces what a key had.
    pub(super) fn remember(
        &mut self,
        connection: &Connection,
        subscription: i64,
        remember: &Remember,
    ) -> Result<(), ReadFault> {
        let Remember { key, memory, until } = remember;
        let scope = self.scope(connection, subscription, &key.scope)?;
        let kind = match memory {
            Memory::Claimed => kind::CLAIMED,
        };
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO memory (scope, key, kind, until) VALUES (?, ?, ?, ?)",
            )?
            .execute((scope, key.digest, kind, micros(*until)))?;
        Ok(())
    }
}

/// Removes what is to be forgotten by then, and says whether more may be left.
pub(super) fn forget(connection: &Connection, before: i64) -> Result<bool, ReadFault> {
    let removed = connection
        .prepare_cached(
            "DELETE FROM memory WHERE (scope, key) IN \
             (SELECT scope, key FROM memory WHERE until <= ? ORDER BY until LIMIT ?)",
        )?
        .execute((before, ROWS_AT_ONCE))?;
    Ok(i64::try_from(removed).unwrap_or(i64::MAX) >= ROWS_AT_ONCE)
}
