//! The third append: the start of an attempt, and its end.

use rusqlite::{Connection, OptionalExtension, Row};

use super::codec::{self, Tries, micros, reason_code, seq_of, span, state};
use super::fault::ReadFault;
use super::plan::{delete_mark, settle};
use super::state::State;
use crate::plan::{DeadReason, FrozenBody};
use crate::store::{Claim, Finish, Next, Render, Rendered};

/// What is known of a delivery before its claim or finish.
struct Current {
    key: i64,
    subscription: i64,
    lane: i64,
    state: i64,
    attempts: u32,
    planned_at: i64,
    chain: Option<i64>,
    echo: Option<(Vec<u8>, i64)>,
    tries: Tries,
}

/// A delivery that waits for its look-ups.
struct Unrendered {
    key: i64,
    subscription: i64,
    lane: i64,
    chain: Option<i64>,
    shape: String,
    digest: Vec<u8>,
    /// The template.
    body: Vec<u8>,
}

/// Starts an attempt, where it is the next and nobody else has it.
pub(super) fn claim(connection: &Connection, claim: &Claim) -> Result<bool, ReadFault> {
    let Some(mut current) = find(connection, claim.id.as_bytes())? else {
        return Ok(false);
    };
    if current.state != state::READY || current.attempts != claim.attempts {
        return Ok(false);
    }
    let at = micros(claim.at);
    let attempts = current.attempts.saturating_add(1);
    current.tries.start(attempts, at);
    connection
        .prepare_cached(
            "UPDATE delivery SET state = 2, attempts = ?, interrupted = 0, tries = ? WHERE key = ?",
        )?
        .execute((attempts, current.tries.text(), current.key))?;
    if let Some((key, window)) = current.echo {
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO mark (id, lane, key, claimed_at, until) VALUES (?, ?, ?, ?, ?)",
            )?
            .execute((
                claim.id.as_bytes(),
                current.lane,
                key,
                at,
                at.saturating_add(window),
            ))?;
    }
    Ok(true)
}

impl State {
    /// Ends an attempt, where it is the last one that began; or, without an answer, a delivery that
    /// is not to be attempted.
    pub(super) fn finish(
        &mut self,
        connection: &Connection,
        finish: &Finish,
    ) -> Result<bool, ReadFault> {
        let Some(mut current) = find(connection, finish.id.as_bytes())? else {
            return Ok(false);
        };
        let is_current = current.attempts == finish.attempts
            && current.state <= state::CLAIMED
            && (finish.answer.is_none() || current.tries.goes_on());
        if !is_current {
            return Ok(false);
        }
        let at = micros(finish.at);
        current.tries.end(at, finish.answer.as_ref());
        let refused = finish.next != Next::Delivered
            && finish
                .answer
                .as_ref()
                .is_some_and(|answer| !answer.ambiguous);
        if refused && current.echo.is_some() && !current.tries.earlier_may_have_taken_effect() {
            delete_mark(connection, &finish.id)?;
        }
        match finish.next {
            Next::RetryAt(due) => {
                connection
                    .prepare_cached(
                        "UPDATE delivery SET state = ?, due = ?, interrupted = 0, tries = ? WHERE key = ?",
                    )?
                    .execute((
                        current.after_retry(),
                        micros(due),
                        current.tries.text(),
                        current.key,
                    ))?;
            }
            Next::Delivered => {
                end(connection, &current, at, state::DELIVERED, None)?;
                self.count(current.lane, -1, 0);
                let at = at.max(current.planned_at);
                settle(connection, current.subscription, seq_of(current.key), at)?;
            }
            Next::Dead(reason) => {
                end(
                    connection,
                    &current,
                    at,
                    state::DEAD,
                    Some(reason_code(reason)),
                )?;
                self.count(current.lane, -1, 1);
            }
        }
        Ok(true)
    }
}

impl State {
    /// Writes down what has come of a delivery's look-ups, where it still waits for them.
    pub(super) fn render(
        &mut self,
        connection: &Connection,
        render: &Render,
    ) -> Result<bool, ReadFault> {
        let found: Option<Unrendered> = connection
            .prepare_cached(
                "SELECT d.key, d.subscription, d.lane, d.chain, ifnull(h.shape, d.shape), b.digest, b.body \
                 FROM delivery d INDEXED BY delivery_id LEFT JOIN shape h ON h.id = d.shape \
                 JOIN rendered b ON b.key = d.key WHERE d.id = ? AND d.state <> 3 AND d.state = -1",
            )?
            .query_row([render.id.as_bytes()], |row| {
                Ok(Unrendered {
                    key: row.get(0)?,
                    subscription: row.get(1)?,
                    lane: row.get(2)?,
                    chain: row.get(3)?,
                    shape: row.get(4)?,
                    digest: row.get(5)?,
                    body: row.get(6)?,
                })
            })
            .optional()?;
        let Some(Unrendered {
            key,
            subscription,
            lane,
            chain,
            shape,
            digest,
            body: before,
        }) = found
        else {
            return Ok(false);
        };
        let mut request = match codec::request(&shape, Some((&digest, &before))) {
            Ok(request) => request,
            // Others have the row as it was: a replica is not changed by itself but given up, and made anew.
            Err(damage) if self.is_replica => return Err(damage.into()),
            Err(_) => {
                self.condemn(connection, key)?;
                return Ok(false);
            }
        };
        if !render.look_ups.is_empty() {
            // Names and labels: it can't fail.
            let look_ups = serde_json::to_string(&render.look_ups).unwrap_or_default();
            connection
                .prepare_cached("UPDATE delivery SET look_ups = ? WHERE key = ?")?
                .execute((look_ups, key))?;
        }
        match &render.body {
            Rendered::Never(reason) => {
                connection
                    .prepare_cached(
                        "UPDATE delivery SET state = 4, ended_at = ?, reason = ? WHERE key = ?",
                    )?
                    .execute((micros(render.at), reason_code(*reason), key))?;
                self.count(lane, -1, 1);
                unblock(connection, chain)?;
                return Ok(true);
            }
            Rendered::Again { body, due } => {
                request.body = FrozenBody::Unrendered(body.clone());
                connection
                    .prepare_cached("UPDATE delivery SET due = ? WHERE key = ?")?
                    .execute((micros(*due), key))?;
            }
            Rendered::Ready { body, echo } => {
                request.body = FrozenBody::Rendered(body.clone());
                let shape = self.shape(connection, &codec::shape(&request))?;
                let state = if is_behind(connection, chain, key)? {
                    state::BLOCKED
                } else {
                    state::READY
                };
                connection
                    .prepare_cached(
                        "UPDATE delivery SET state = ?, shape = ?, due = ?, echo = ?, echo_window = ? \
                         WHERE key = ?",
                    )?
                    .execute((
                        state,
                        shape,
                        micros(render.at),
                        echo.map(|echo| echo.key),
                        echo.map(|echo| span(echo.window)),
                        key,
                    ))?;
            }
        }
        let own = codec::own(&request).unwrap_or_default();
        connection
            .prepare_cached("UPDATE rendered SET digest = ?, body = ? WHERE key = ?")?
            .execute((codec::short_digest(&[&own]), own.as_ref(), key))?;
        self.release_bytes(subscription, codec::counted(before.len()));
        self.add_bytes(subscription, codec::counted(own.len()));
        Ok(true)
    }

    /// Moves a delivery whose row is damaged to the dead letters. Reads nothing of it that may be
    /// what is damaged, and forgets its attempts.
    pub(super) fn condemn(&mut self, connection: &Connection, key: i64) -> Result<(), ReadFault> {
        let found: Option<(i64, Option<i64>)> = connection
            .prepare_cached("SELECT lane, chain FROM delivery WHERE key = ? AND state <= 2")?
            .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((lane, chain)) = found else {
            return Ok(());
        };
        connection
            .prepare_cached(
                "UPDATE delivery SET state = 4, interrupted = 0, ended_at = max(planned_at, due), \
                 reason = ?, tries = NULL WHERE key = ?",
            )?
            .execute((reason_code(DeadReason::Damaged), key))?;
        self.count(lane, -1, 1);
        unblock(connection, chain)
    }
}

/// Writes the end of a delivery, and lets the next of its chain go.
fn end(
    connection: &Connection,
    current: &Current,
    at: i64,
    state: i64,
    reason: Option<i64>,
) -> Result<(), ReadFault> {
    connection
        .prepare_cached(
            "UPDATE delivery SET state = ?, interrupted = 0, ended_at = ?, reason = ?, tries = ? \
             WHERE key = ?",
        )?
        .execute((state, at, reason, current.tries.text(), current.key))?;
    unblock(connection, current.chain)
}

/// Whether an earlier one of the chain is not finished.
fn is_behind(connection: &Connection, chain: Option<i64>, key: i64) -> Result<bool, ReadFault> {
    let Some(chain) = chain else {
        return Ok(false);
    };
    Ok(connection
        .prepare_cached(
            "SELECT 1 FROM delivery INDEXED BY delivery_chain \
             WHERE chain = ? AND state <= 2 AND chain IS NOT NULL AND key < ? LIMIT 1",
        )?
        .exists((chain, key))?)
}

/// Lets the first of a chain go, where it waited for what has just ended.
fn unblock(connection: &Connection, chain: Option<i64>) -> Result<(), ReadFault> {
    if let Some(chain) = chain {
        connection
            .prepare_cached(
                "UPDATE delivery SET state = 0 WHERE state = 1 AND key = \
                 (SELECT key FROM delivery INDEXED BY delivery_chain \
                  WHERE chain = ? AND state <= 2 AND chain IS NOT NULL ORDER BY key LIMIT 1)",
            )?
            .execute([chain])?;
    }
    Ok(())
}

impl Current {
    fn read(row: &Row<'_>) -> Result<Self, ReadFault> {
        let echo: Option<Vec<u8>> = row.get(7)?;
        let window: Option<i64> = row.get(8)?;
        Ok(Self {
            key: row.get(0)?,
            subscription: row.get(1)?,
            lane: row.get(2)?,
            state: row.get(3)?,
            attempts: row.get(4)?,
            planned_at: row.get(5)?,
            chain: row.get(6)?,
            echo: echo.zip(window),
            tries: Tries::read(row.get_ref(9)?.as_str_or_null().unwrap_or_default())?,
        })
    }

    /// A delivery that waits for an earlier one goes on waiting.
    fn after_retry(&self) -> i64 {
        if self.state == state::BLOCKED {
            state::BLOCKED
        } else {
            state::READY
        }
    }
}

/// A delivery that is not delivered, by its id.
fn find(connection: &Connection, id: &[u8]) -> Result<Option<Current>, ReadFault> {
    connection
        .prepare_cached(
            "SELECT key, subscription, lane, state, attempts, planned_at, chain, echo, echo_window, tries \
             FROM delivery INDEXED BY delivery_id WHERE id = ? AND state <> 3",
        )?
        .query_row([id], |row| Ok(Current::read(row)))
        .optional()?
        .transpose()
}
