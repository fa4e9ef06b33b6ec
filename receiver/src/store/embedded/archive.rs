//! The engine's side of [`Archive`], and what it asks of the file: each goes through a bounded number
//! of rows.

use hookswitch_crds::key::ObjectKey;
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::change::Change;
use super::codec::{self, HEAD, Tries, end_key, first_key, int, left, timestamp, unsigned, uuid};
use super::fault::ReadFault;
use super::{Embedded, read};
use crate::event::Disposition;
use crate::plan::{DeadReason, Lane};
use crate::store::Pending;
use crate::store::archive::{
    Archive, DeadChange, DeadLetter, DeadQuery, EXAMINED, EventHead, EventQuery, EventSummary,
    From, Page, Replay, Stage,
};

impl Archive for Embedded {
    fn events(
        &self,
        query: EventQuery,
        from: From,
        limit: usize,
    ) -> Pending<'_, Page<EventSummary>> {
        Box::pin(async move {
            let read = self.read(move |connection| events(connection, &query, from, limit));
            let page = read.await?;
            let found = page.found.iter();
            self.damaged
                .note(found.map(|event| (event.head.seq, event.plan.as_ref())));
            Ok(page)
        })
    }

    fn dead_letters(
        &self,
        query: DeadQuery,
        after: u64,
        limit: usize,
    ) -> Pending<'_, Page<DeadLetter>> {
        Box::pin(self.read(move |connection| dead_letters(connection, &query, after, limit)))
    }

    fn retry(&self, changes: Vec<DeadChange>) -> Pending<'_, Vec<bool>> {
        Box::pin(async { self.change(Change::Retry(changes)).await?.each() })
    }

    fn discard(&self, changes: Vec<DeadChange>) -> Pending<'_, Vec<bool>> {
        Box::pin(async { self.change(Change::Discard(changes)).await?.each() })
    }

    fn replay(&self, replays: Vec<Replay>) -> Pending<'_, Vec<u64>> {
        Box::pin(async { self.change(Change::Replay(replays)).await?.counts() })
    }
}

/// How far a clock may have been off: accept order is by place, not by time.
const CLOCKS: SignedDuration = SignedDuration::from_hours(1);

/// A page of events.
pub(super) fn events(
    connection: &Connection,
    query: &EventQuery,
    from: From,
    limit: usize,
) -> Result<Page<EventSummary>, ReadFault> {
    let (begin, order, after, before) = match from {
        From::After(place) => (place, "ASC", int(place), i64::MAX),
        From::Before(place) => (place, "DESC", -1, int(place)),
    };
    let mut page = Page {
        found: Vec::new(),
        reached: begin,
        more: false,
    };
    let mut find = connection.prepare_cached(&format!(
        "SELECT {HEAD} FROM event e CROSS JOIN subscription s ON s.id = e.subscription \
         WHERE e.seq > ? AND e.seq < ? ORDER BY e.seq {order}"
    ))?;
    let mut rows = find.query((after, before))?;
    let mut examined = 0;
    while let Some(row) = rows.next()? {
        if page.found.len() >= limit || examined >= EXAMINED {
            page.more = true;
            break;
        }
        examined += 1;
        let head = head(row, 0)?;
        // The time of a damaged one may be any.
        let readable = head.disposition != Disposition::Damaged;
        if readable && is_beyond(query, from, head.accepted_at) {
            break;
        }
        page.reached = head.seq;
        if matches(query, &head)
            && let Some(summary) = summary(connection, query, head)?
        {
            page.found.push(summary);
        }
    }
    Ok(page)
}

/// An event; of a damaged one, what is left. Its place in the list must not hide the others.
fn head(row: &Row<'_>, first: usize) -> Result<EventHead, ReadFault> {
    codec::head(row, first).or_else(|fault| {
        let damage = fault.of_a_row()?;
        let head = codec::head_remains(row, first);
        tracing::error!(seq = head.seq, damage, "the row of an event is damaged");
        Ok(head)
    })
}

/// Whether nothing that is asked for can come any more.
fn is_beyond(query: &EventQuery, from: From, at: Timestamp) -> bool {
    match from {
        From::After(_) => query
            .until
            .is_some_and(|until| until.checked_add(CLOCKS).is_ok_and(|until| at >= until)),
        From::Before(_) => query
            .since
            .is_some_and(|since| since.checked_sub(CLOCKS).is_ok_and(|since| at < since)),
    }
}

fn matches(query: &EventQuery, head: &EventHead) -> bool {
    let EventQuery {
        subscription,
        id,
        r#type,
        subject,
        since,
        until,
        verdict: _,
        state: _,
    } = query;
    is(subscription.as_ref(), &head.subscription)
        && is(id.as_ref(), &head.id)
        && is(r#type.as_ref(), &head.r#type)
        && subject
            .as_ref()
            .is_none_or(|it| head.subject.as_ref() == Some(it))
        && since.is_none_or(|since| head.accepted_at >= since)
        && until.is_none_or(|until| head.accepted_at < until)
}

fn is<T: PartialEq>(wanted: Option<&T>, is: &T) -> bool {
    wanted.is_none_or(|wanted| wanted == is)
}

/// What is known of an event, where it is one that is asked for.
fn summary(
    connection: &Connection,
    query: &EventQuery,
    head: EventHead,
) -> Result<Option<EventSummary>, ReadFault> {
    let seq = int(head.seq);
    let plan = read::plan(connection, seq)?;
    if !query.verdict.matches(&head, plan.as_ref()) {
        return Ok(None);
    }
    let (pending, delivered, dead): (i64, i64, i64) = connection
        .prepare_cached(
            "SELECT ifnull(sum(state NOT IN (3, 4)), 0), ifnull(sum(state = 3), 0), ifnull(sum(state = 4), 0) \
             FROM delivery WHERE key >= ? AND key < ?",
        )?
        .query_row((first_key(seq), end_key(seq)), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let wanted = match query.state {
        None => true,
        Some(Stage::Pending) => pending > 0,
        Some(Stage::Delivered) => delivered > 0,
        Some(Stage::Dead) => dead > 0,
    };
    Ok(wanted.then_some(EventSummary {
        head,
        plan,
        pending: unsigned(pending),
        delivered: unsigned(delivered),
        dead: unsigned(dead),
    }))
}

/// Columns of a dead letter, before those of its event.
const DEAD: &str = "d.key, d.id, l.namespace, l.route, l.destination, r.name, d.reason, d.ended_at, \
     d.attempts, d.shape IS NOT NULL, d.tries";
/// How many they are.
const DEAD_COLUMNS: usize = 11;
/// What they are read from.
const DEAD_FROM: &str = "CROSS JOIN lane l ON l.id = d.lane \
     JOIN event e ON e.seq = d.key >> 20 JOIN subscription s ON s.id = e.subscription \
     LEFT JOIN rule r ON r.id = d.rule";

/// A page of dead letters.
pub(super) fn dead_letters(
    connection: &Connection,
    query: &DeadQuery,
    after: u64,
    limit: usize,
) -> Result<Page<DeadLetter>, ReadFault> {
    let mut page = Page {
        found: Vec::new(),
        reached: after,
        more: false,
    };
    if let Some(ids) = &query.ids {
        let mut find = connection.prepare_cached(&format!(
            "SELECT {DEAD}, {HEAD} FROM delivery d INDEXED BY delivery_id {DEAD_FROM} \
             WHERE d.id = ? AND d.state <> 3 AND d.state = 4"
        ))?;
        for id in ids {
            let letter = find
                .query_row([id.as_bytes()], |row| Ok(dead_letter_or_remains(row)))
                .optional()?
                .transpose()?;
            let letter = letter.filter(|it| it.place > after && matches_dead(query, it));
            page.found.extend(letter);
        }
        page.found.sort_by_key(|letter| letter.place);
        page.found.dedup_by_key(|letter| letter.place);
        page.more = page.found.len() > limit;
        page.found.truncate(limit);
        if let Some(last) = page.found.last() {
            page.reached = last.place;
        }
        return Ok(page);
    }
    let mut find = connection.prepare_cached(&format!(
        "SELECT {DEAD}, {HEAD} FROM delivery d INDEXED BY delivery_dead_place {DEAD_FROM} \
         WHERE d.state = 4 AND d.key > ? ORDER BY d.key"
    ))?;
    let mut rows = find.query([int(after)])?;
    let mut examined = 0;
    while let Some(row) = rows.next()? {
        if page.found.len() >= limit || examined >= EXAMINED {
            page.more = true;
            break;
        }
        examined += 1;
        let letter = dead_letter_or_remains(row)?;
        page.reached = letter.place;
        if matches_dead(query, &letter) {
            page.found.push(letter);
        }
    }
    Ok(page)
}

fn dead_letter(row: &Row<'_>) -> Result<DeadLetter, ReadFault> {
    let tries: Option<String> = row.get(10)?;
    Ok(DeadLetter {
        place: unsigned(row.get(0)?),
        id: uuid(codec::blob(row, 1)?)?,
        lane: Lane {
            route: ObjectKey {
                namespace: row.get(2)?,
                name: row.get(3)?,
            },
            destination: row.get(4)?,
        },
        rule: row.get(5)?,
        reason: codec::dead_reason(row.get(6)?)?,
        ended_at: timestamp(row.get(7)?)?,
        attempts: row.get(8)?,
        rendered: row.get(9)?,
        last: Tries::read(tries.as_deref())?.records()?.pop(),
        event: head(row, DEAD_COLUMNS)?,
    })
}

/// A dead letter; of a damaged one, what is left.
fn dead_letter_or_remains(row: &Row<'_>) -> Result<DeadLetter, ReadFault> {
    dead_letter(row).or_else(|fault| {
        let damage = fault.of_a_row()?;
        let place = unsigned(left(row, 0));
        tracing::error!(place, damage, "the row of a dead letter is damaged");
        Ok(DeadLetter {
            place,
            id: codec::blob(row, 1)
                .ok()
                .and_then(|bytes| uuid(bytes).ok())
                .unwrap_or_default(),
            lane: Lane {
                route: ObjectKey {
                    namespace: left(row, 2),
                    name: left(row, 3),
                },
                destination: left(row, 4),
            },
            rule: left(row, 5),
            reason: row
                .get(6)
                .ok()
                .and_then(|code| codec::dead_reason(code).ok())
                .unwrap_or(DeadReason::Damaged),
            ended_at: timestamp(left(row, 7)).unwrap_or_default(),
            attempts: left(row, 8),
            rendered: left(row, 9),
            last: None,
            event: head(row, DEAD_COLUMNS)?,
        })
    })
}

fn matches_dead(query: &DeadQuery, letter: &DeadLetter) -> bool {
    let DeadQuery {
        ids: _,
        subscription,
        event,
        r#type,
        route,
        destination,
        rule,
        reason,
        since,
        until,
    } = query;
    is(subscription.as_ref(), &letter.event.subscription)
        && is(event.as_ref(), &letter.event.uid)
        && is(r#type.as_ref(), &letter.event.r#type)
        && is(route.as_ref(), &letter.lane.route)
        && is(destination.as_ref(), &letter.lane.destination)
        && is(rule.as_ref(), &letter.rule)
        && is(reason.as_ref(), &letter.reason)
        && since.is_none_or(|since| letter.ended_at >= since)
        && until.is_none_or(|until| letter.ended_at < until)
}
