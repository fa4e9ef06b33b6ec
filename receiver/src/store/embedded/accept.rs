//! The first append: an event with its dedup entry.

use hookswitch_crds::key::ObjectKey;
use jiff::Timestamp;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use super::codec::{self, disposition_code, micros, unsigned};
use super::dedup::{self, Key, Seen};
use super::fault::{Fault, ReadFault};
use super::state::{Shared, State};
use crate::event::Disposition;
use crate::store::{Accepted, Error, NewEvent, event_bytes};

/// History that one accept removes at most to make room: some tens of milliseconds of work.
const EVICTED_AT_ONCE: usize = 4096;

/// An event to be kept, with what can be computed outside of the writer.
#[derive(Deserialize)]
#[serde(from = "NewEvent")]
pub(in crate::store) struct Accept {
    new: NewEvent,
    key: Key,
}

impl Accept {
    pub(in crate::store) fn new(mut new: NewEvent) -> Self {
        // As the file holds them: who reads must not see the difference.
        new.event.accepted_at = codec::rounded(new.event.accepted_at);
        new.event.time = new.event.time.map(codec::rounded);
        let key = dedup::key(&new.event.subscription, &new.event.id);
        Self { new, key }
    }
}

impl From<NewEvent> for Accept {
    fn from(new: NewEvent) -> Self {
        Self::new(new)
    }
}

impl Serialize for Accept {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.new.serialize(serializer)
    }
}

impl Accept {
    /// Whose event it is.
    pub(super) fn subscription(&self) -> &ObjectKey {
        &self.new.event.subscription
    }
}

/// The statement that writes an event, for the length of a transaction: finding it among the prepared ones
/// takes a good part of the time that it takes itself.
pub(super) struct Insert<'a>(Option<CachedStatement<'a>>);

impl<'a> Insert<'a> {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    fn statement(
        &mut self,
        connection: &'a Connection,
    ) -> rusqlite::Result<&mut CachedStatement<'a>> {
        let found = match self.0.take() {
            Some(found) => found,
            None => connection.prepare_cached(
                "INSERT INTO event (seq, subscription, uid, id, type, time, accepted_at, subject, sender, \
                 hops, content_type, disposition, digest, remember_until, body) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?,
        };
        Ok(self.0.insert(found))
    }
}

/// The question whether an event would be a duplicate.
#[derive(Debug)]
pub(super) struct Ask {
    key: Key,
    digest: dedup::Half,
    now: i64,
}

impl State {
    pub(super) fn accept<'a>(
        &mut self,
        connection: &'a Connection,
        insert: &mut Insert<'a>,
        shared: &Shared,
        accept: Accept,
    ) -> Result<Result<Accepted, Error>, Fault> {
        let Accept { mut new, key } = accept;
        let event = &new.event;
        let digest = dedup::half(&new.digest);
        let seen = self
            .dedup
            .look_up(connection, &key, &digest, micros(event.accepted_at))?;
        if seen == Seen::Same {
            return Ok(Ok(Accepted::Duplicate));
        }
        let at = self.subscription(connection, &event.subscription)?;
        let bytes = event_bytes(event);
        let room = (bytes, new.quota);
        let now = micros(event.accepted_at);
        if let Err(used) = self.make_room(connection, shared, at, room, now)? {
            return Ok(Err(Error::QuotaExceeded {
                subscription: event.subscription.clone(),
                used,
                limit: new.quota,
            }));
        }
        let disposition = match seen {
            Seen::OtherBody => Disposition::IdReused,
            Seen::Never | Seen::Same => event.disposition,
        };
        let seq = self.next_seq;
        let remember_until = micros(new.remember_until);
        insert.statement(connection)?.execute(params![
            seq,
            self.subscription_at(at).map_or(0, |found| found.id),
            event.uid.as_bytes(),
            event.id,
            event.r#type,
            event.time.map(micros),
            micros(event.accepted_at),
            event.subject,
            event.sender,
            event.hops,
            event.content_type,
            disposition_code(disposition),
            new.digest,
            remember_until,
            event.body.as_ref(),
        ])?;
        self.dedup.remember(key, digest, remember_until);
        new.event.disposition = disposition;
        self.accepted(at, seq, new.event, bytes);
        if self.is_full() {
            self.flush(connection, shared)?;
        }
        let seq = unsigned(seq);
        Ok(Ok(if seen == Seen::OtherBody {
            Accepted::IdReused { seq }
        } else {
            Accepted::New { seq }
        }))
    }

    /// Removes what the subscription's rules may forget, then its finished history, oldest first, until
    /// so many bytes fit in the quota; else says how many are used.
    fn make_room(
        &mut self,
        connection: &Connection,
        shared: &Shared,
        at: usize,
        (bytes, quota): (u64, u64),
        now: i64,
    ) -> Result<Result<(), u64>, ReadFault> {
        let full = |used: u64| used.saturating_add(bytes) > quota;
        if self.subscription_at(at).is_some_and(|it| full(it.bytes)) && bytes <= quota {
            self.forget_early(connection, shared, at, now)?;
        }
        let mut evicted = 0;
        loop {
            let Some(subscription) = self.subscription_at(at) else {
                return Ok(Ok(()));
            };
            let used = subscription.bytes;
            if used.saturating_add(bytes) <= quota {
                return Ok(Ok(()));
            }
            if bytes > quota || evicted >= EVICTED_AT_ONCE {
                return Ok(Err(used));
            }
            let oldest = connection
                .prepare_cached(
                    "SELECT at, seq FROM finished WHERE subscription = ? ORDER BY at, seq LIMIT 64",
                )?
                .query_map([subscription.id], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<Vec<(i64, i64)>, _>>()?;
            if oldest.is_empty() {
                return Ok(Err(used));
            }
            let id = subscription.id;
            for (finished_at, seq) in oldest {
                self.remove_event(connection, shared, id, finished_at, seq)?;
                evicted += 1;
                let used = self.subscription_at(at).map_or(0, |found| found.bytes);
                if used.saturating_add(bytes) <= quota {
                    break;
                }
            }
        }
    }
}

impl State {
    /// Forgets what no event of the subscription can ask for any more, those that wait for their plan
    /// included.
    fn forget_early(
        &mut self,
        connection: &Connection,
        shared: &Shared,
        at: usize,
        now: i64,
    ) -> Result<(), ReadFault> {
        let Some(subscription) = self.subscription_at(at).map(|found| found.id) else {
            return Ok(());
        };
        let accepted: Option<i64> = match self.oldest_unplanned(connection, shared, at)? {
            None => None,
            Some(seq) => connection
                .prepare_cached("SELECT accepted_at FROM event WHERE seq = ?")?
                .query_row([seq], |row| row.get(0))
                .optional()?,
        };
        let before = accepted.map_or(now, |accepted| accepted.min(now));
        self.forget_of(connection, subscription, before)
    }
}

impl Ask {
    pub(super) fn new(
        subscription: &ObjectKey,
        id: &str,
        digest: &[u8; 32],
        at: Timestamp,
    ) -> Self {
        Self {
            key: dedup::key(subscription, id),
            digest: dedup::half(digest),
            now: micros(at),
        }
    }
}

impl State {
    pub(super) fn seen(&self, connection: &Connection, ask: &Ask) -> Result<bool, ReadFault> {
        self.dedup
            .look_up(connection, &ask.key, &ask.digest, ask.now)
            .map(|seen| seen == Seen::Same)
    }
}
