//! How values are written in the file, and read back.

use std::borrow::Cow;

use bytes::Bytes;
use hookswitch_crds::duration::Duration;
use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::snapshot::DestinationKind;
use jiff::Timestamp;
use rusqlite::types::FromSql;
use rusqlite::{Connection, Row};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::fault::{Damage, ReadFault};
use crate::event::{Disposition, Event};
use crate::plan::{DeadReason, FrozenBody, FrozenRequest};
use crate::redact::Hidden;
use crate::store::archive::EventHead;
use crate::store::{Answer, AttemptRecord, DeliveryState, StoredEvent};

/// Bits of a delivery's key that say its place in the plan.
const PLACE_BITS: u32 = 20;
/// Deliveries that one plan can hold.
pub(super) const PLACES: usize = 1 << PLACE_BITS;

/// How many of a delivery's first attempts are kept.
const FIRST_TRIES: usize = 5;
/// How many of its last.
const LAST_TRIES: usize = 20;

/// Delivery states in the file.
pub(super) mod state {
    /// Waits for its look-ups: its body is to be rendered.
    pub(crate) const UNRENDERED: i64 = -1;
    /// Waits until it is due.
    pub(crate) const READY: i64 = 0;
    /// Waits for an earlier one of its chain.
    pub(crate) const BLOCKED: i64 = 1;
    /// Being attempted.
    pub(crate) const CLAIMED: i64 = 2;
    /// Done.
    pub(crate) const DELIVERED: i64 = 3;
    /// Given up.
    pub(crate) const DEAD: i64 = 4;
    /// Waits for a timer.
    pub(crate) const WAITS: i64 = 5;
}

/// Their places are what the file holds: add at the end only.
const DISPOSITIONS: [Disposition; 8] = [
    Disposition::Route,
    Disposition::Ping,
    Disposition::Unparseable,
    Disposition::TypeNotAccepted,
    Disposition::IdReused,
    Disposition::Quarantined,
    Disposition::Damaged,
    Disposition::SubscriptionRemoved,
];
/// Their places are what the file holds: add at the end only.
const DEAD_REASONS: [DeadReason; 9] = [
    DeadReason::Refused,
    DeadReason::GaveUp,
    DeadReason::Ambiguous,
    DeadReason::DestinationRemoved,
    DeadReason::RuleError,
    DeadReason::LoopHops,
    DeadReason::LoopRate,
    DeadReason::Damaged,
    DeadReason::LookUpFailed,
];

/// Microseconds since 1970, rounded down.
pub(in crate::store) fn micros(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond().div_euclid(1000)).unwrap_or(i64::MAX)
}

/// The reverse of [`micros`].
pub(super) fn timestamp(micros: i64) -> Result<Timestamp, Damage> {
    // Not `from_microsecond`: that refuses the microseconds of the very last second, and "for ever" is there.
    Timestamp::from_nanosecond(i128::from(micros) * 1000)
        .map_err(|_| Damage(format!("{micros} is not a time in microseconds")))
}

/// A time as it is read back.
pub(super) fn rounded(time: Timestamp) -> Timestamp {
    timestamp(micros(time)).unwrap_or(time)
}

/// A span in microseconds.
pub(super) fn span(duration: Duration) -> i64 {
    duration.as_millis().saturating_mul(1000)
}

/// A place as SQLite holds it.
pub(in crate::store) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number that is never negative.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// The key of an event's first delivery.
pub(super) fn first_key(seq: i64) -> i64 {
    seq << PLACE_BITS
}

/// The key after an event's last delivery.
pub(super) fn end_key(seq: i64) -> i64 {
    (seq + 1) << PLACE_BITS
}

/// The event of a delivery.
pub(super) fn seq_of(key: i64) -> i64 {
    key >> PLACE_BITS
}

/// The first piece of SHA-256, to find damage in a rendered body and to name a chain.
pub(super) fn short_digest(parts: &[&[u8]]) -> [u8; 8] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    let hash: [u8; 32] = hash.finalize().into();
    let (first, _) = hash.split_first_chunk().unwrap_or((&[0; 8], &[]));
    *first
}

/// What deliveries that go one after the other have in common.
pub(super) fn chain(lane: i64, subscription: i64, subject: &str) -> i64 {
    i64::from_le_bytes(short_digest(&[
        &lane.to_le_bytes(),
        &subscription.to_le_bytes(),
        subject.as_bytes(),
    ]))
}

pub(super) fn disposition_code(disposition: Disposition) -> i64 {
    place_of(&DISPOSITIONS, &disposition)
}

pub(super) fn reason_code(reason: DeadReason) -> i64 {
    place_of(&DEAD_REASONS, &reason)
}

/// The reverse of [`reason_code`].
pub(super) fn dead_reason(code: i64) -> Result<DeadReason, Damage> {
    at_place(&DEAD_REASONS, code, "reason of a dead letter")
}

fn place_of<T: PartialEq>(all: &[T], one: &T) -> i64 {
    all.iter()
        .position(|other| other == one)
        .and_then(|place| i64::try_from(place).ok())
        .unwrap_or(-1)
}

fn at_place<T: Copy>(all: &[T], place: i64, what: &str) -> Result<T, Damage> {
    usize::try_from(place)
        .ok()
        .and_then(|place| all.get(place))
        .copied()
        .ok_or_else(|| Damage(format!("{place} is not a {what}")))
}

/// A UUID from 16 bytes.
pub(super) fn uuid(bytes: &[u8]) -> Result<Uuid, Damage> {
    Uuid::from_slice(bytes).map_err(|_| Damage("an id is not 16 bytes".to_owned()))
}

/// JSON that was written by us.
pub(super) fn json<'a, T: Deserialize<'a>>(text: &'a str, what: &str) -> Result<T, Damage> {
    serde_json::from_str(text).map_err(|error| Damage(format!("{what} can't be read: {error}")))
}

/// Columns of an event, in the order in which [`event`] reads them; the subscription's table is `s`.
pub(super) const EVENT: &str = "e.seq, s.namespace, s.name, e.uid, e.id, e.type, e.time, e.accepted_at, \
     e.subject, e.sender, e.hops, e.content_type, e.disposition, e.digest, e.body";

/// Reads an event, and checks that its body is what was accepted.
pub(super) fn event(row: &Row<'_>) -> Result<StoredEvent, ReadFault> {
    let seq: i64 = row.get(0)?;
    let body = Bytes::copy_from_slice(blob(row, 14)?);
    if Sha256::digest(&body).as_slice() != blob(row, 13)? {
        return Err(Damage(format!("the body of event {seq} is not what was accepted")).into());
    }
    let time: Option<i64> = row.get(6)?;
    Ok(StoredEvent {
        seq: unsigned(seq),
        event: Event {
            uid: uuid(blob(row, 3)?)?,
            subscription: ObjectKey {
                namespace: row.get(1)?,
                name: row.get(2)?,
            },
            id: row.get(4)?,
            r#type: row.get(5)?,
            time: time.map(timestamp).transpose()?,
            accepted_at: timestamp(row.get(7)?)?,
            subject: row.get(8)?,
            sender: row.get(9)?,
            hops: row.get(10)?,
            content_type: row.get(11)?,
            disposition: at_place(&DISPOSITIONS, row.get(12)?, "disposition")?,
            body,
        },
    })
}

/// Columns of an event without its body, in the order in which [`head`] reads them.
pub(super) const HEAD: &str = "e.seq, s.namespace, s.name, e.uid, e.id, e.type, e.accepted_at, \
     e.subject, e.sender, e.disposition, octet_length(e.body)";

/// Reads an event without its body, from columns that begin with `first`.
pub(super) fn head(row: &Row<'_>, first: usize) -> Result<EventHead, ReadFault> {
    Ok(EventHead {
        seq: unsigned(row.get(first)?),
        subscription: ObjectKey {
            namespace: row.get(first + 1)?,
            name: row.get(first + 2)?,
        },
        uid: uuid(blob(row, first + 3)?)?,
        id: row.get(first + 4)?,
        r#type: row.get(first + 5)?,
        accepted_at: timestamp(row.get(first + 6)?)?,
        subject: row.get(first + 7)?,
        sender: row.get(first + 8)?,
        disposition: at_place(&DISPOSITIONS, row.get(first + 9)?, "disposition")?,
        bytes: unsigned(row.get(first + 10)?),
    })
}

/// A column of a damaged row, where it can be read.
pub(super) fn left<T: FromSql + Default>(row: &Row<'_>, column: usize) -> T {
    row.get(column).unwrap_or_default()
}

/// What is left of an event's columns, in the order of [`HEAD`].
pub(super) fn head_remains(row: &Row<'_>, first: usize) -> EventHead {
    EventHead {
        seq: unsigned(left(row, first)),
        subscription: ObjectKey {
            namespace: left(row, first + 1),
            name: left(row, first + 2),
        },
        uid: blob(row, first + 3)
            .ok()
            .and_then(|bytes| uuid(bytes).ok())
            .unwrap_or_default(),
        id: left(row, first + 4),
        r#type: left(row, first + 5),
        accepted_at: timestamp(left(row, first + 6)).unwrap_or_default(),
        subject: left(row, first + 7),
        sender: left(row, first + 8),
        disposition: Disposition::Damaged,
        bytes: unsigned(left(row, first + 10)),
    }
}

/// What is left of an event whose row is damaged: enough to plan it as such, and to tell of it.
pub(super) fn remains(connection: &Connection, seq: i64, subscription: &ObjectKey) -> StoredEvent {
    let text = |column: &str| -> Option<String> {
        connection
            .query_row(
                &format!("SELECT {column} FROM event WHERE seq = ?"),
                [seq],
                |row| row.get(0),
            )
            .ok()
    };
    let time = |column: &str| -> Option<Timestamp> {
        let micros = connection
            .query_row(
                &format!("SELECT {column} FROM event WHERE seq = ?"),
                [seq],
                |row| row.get(0),
            )
            .ok()?;
        timestamp(micros).ok()
    };
    let uid = connection
        .query_row("SELECT uid FROM event WHERE seq = ?", [seq], |row| {
            row.get::<_, [u8; 16]>(0)
        })
        .map(Uuid::from_bytes);
    StoredEvent {
        seq: unsigned(seq),
        event: Event {
            uid: uid.unwrap_or_default(),
            subscription: subscription.clone(),
            id: text("id").unwrap_or_default(),
            r#type: text("type").unwrap_or_default(),
            time: None,
            accepted_at: time("accepted_at").unwrap_or_default(),
            subject: text("subject"),
            sender: None,
            hops: 0,
            content_type: None,
            disposition: Disposition::Damaged,
            body: Bytes::new(),
        },
    }
}

/// A length as a count.
pub(super) fn counted(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A column that holds bytes.
pub(super) fn blob<'row>(row: &'row Row<'_>, column: usize) -> Result<&'row [u8], ReadFault> {
    row.get_ref(column)?
        .as_blob()
        .map_err(|error| Damage(format!("a column that should hold bytes: {error}")).into())
}

/// What the requests of one rule have in common, as it is kept once.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "it is what the file holds: each is a flag of its own"
)]
struct Shape {
    kind: DestinationKind,
    method: String,
    content_type: String,
    cloud_event_headers: bool,
    #[serde(default, skip_serializing_if = "Hidden::nothing")]
    hidden: Hidden,
    /// False: the event's own body is sent.
    rendered: bool,
    /// What is kept of each delivery begins with its address.
    #[serde(default)]
    addressed: bool,
    /// What is kept as the body is a template with its look-ups.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unrendered: bool,
}

/// A request without its body.
pub(super) fn shape(request: &FrozenRequest) -> String {
    let shape = Shape {
        kind: request.kind,
        method: request.method.clone(),
        content_type: request.content_type.clone(),
        cloud_event_headers: request.cloud_event_headers,
        rendered: request.body != FrozenBody::Event,
        hidden: request.hidden,
        addressed: request.address.is_some(),
        unrendered: matches!(request.body, FrozenBody::Unrendered(_)),
    };
    // Plain text and flags: it can't fail.
    serde_json::to_string(&shape).unwrap_or_default()
}

/// What is kept of a request beside its shape: the body that was rendered for it, and before that,
/// where it has one, its address with its length.
pub(super) fn own(request: &FrozenRequest) -> Option<Cow<'_, [u8]>> {
    let body = match &request.body {
        FrozenBody::Event => None,
        FrozenBody::Rendered(body) | FrozenBody::Unrendered(body) => Some(body.as_ref()),
    };
    let Some(address) = &request.address else {
        return body.map(Cow::Borrowed);
    };
    let length = u32::try_from(address.len())
        .unwrap_or(u32::MAX)
        .to_le_bytes();
    let parts = [
        length.as_slice(),
        address.as_bytes(),
        body.unwrap_or_default(),
    ];
    Some(Cow::Owned(parts.concat()))
}

/// A request from its shape, and what it has of its own, with digest.
pub(super) fn request(shape: &str, own: Option<(&[u8], &[u8])>) -> Result<FrozenRequest, Damage> {
    let shape: Shape = json(shape, "the shape of a request")?;
    let damage = || Damage("the body of a delivery is not what was rendered".to_owned());
    let own = match own {
        Some((digest, own)) if digest == short_digest(&[own]) => Some(own),
        Some(_) => return Err(damage()),
        None => None,
    };
    if own.is_some() != (shape.rendered || shape.addressed) {
        return Err(damage());
    }
    let own = own.unwrap_or_default();
    let (address, body) = if shape.addressed {
        let (address, body) = addressed(own).ok_or_else(damage)?;
        (Some(address), body)
    } else {
        (None, own)
    };
    Ok(FrozenRequest {
        kind: shape.kind,
        method: shape.method,
        content_type: shape.content_type,
        cloud_event_headers: shape.cloud_event_headers,
        hidden: shape.hidden,
        address,
        body: match (shape.rendered, shape.unrendered) {
            (true, true) => FrozenBody::Unrendered(Bytes::copy_from_slice(body)),
            (true, false) => FrozenBody::Rendered(Bytes::copy_from_slice(body)),
            (false, _) => FrozenBody::Event,
        },
    })
}

/// Parts an address from what stands behind it.
fn addressed(own: &[u8]) -> Option<(String, &[u8])> {
    let (length, rest) = own.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (address, body) = rest.split_at_checked(length)?;
    Some((String::from_utf8(address.to_vec()).ok()?, body))
}

/// The state that a delivery's row tells.
pub(super) fn delivery_state(
    state: i64,
    due: i64,
    reason: Option<i64>,
) -> Result<DeliveryState, Damage> {
    Ok(match state {
        state::UNRENDERED => DeliveryState::Unrendered {
            due: timestamp(due)?,
        },
        state::READY => DeliveryState::Pending {
            due: timestamp(due)?,
        },
        state::WAITS => DeliveryState::Waits {
            due: timestamp(due)?,
        },
        state::BLOCKED => DeliveryState::Blocked,
        state::CLAIMED => DeliveryState::Claimed,
        state::DELIVERED => DeliveryState::Delivered,
        state::DEAD => DeliveryState::Dead(dead_reason(reason.unwrap_or(-1))?),
        other => return Err(Damage(format!("{other} is not a state of a delivery"))),
    })
}

/// The attempts of a delivery that are kept.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Tries(Vec<Try>);

/// Number, start, end, and what came back: status, reason, ambiguous, excerpt. As a list it is small.
#[derive(Debug, Serialize, Deserialize)]
struct Try(
    u32,
    i64,
    Option<i64>,
    Option<(Option<u16>, String, bool, Option<String>)>,
);

impl Try {
    /// Whether it may have: nothing came back that says that it has not. One that was interrupted stays
    /// such after its delivery was given up without an answer: somebody may retry it.
    fn may_have_taken_effect(&self) -> bool {
        self.3.as_ref().is_none_or(|answer| answer.2)
    }
}

impl Tries {
    pub(super) fn read(text: Option<&str>) -> Result<Self, Damage> {
        text.map_or_else(
            || Ok(Self::default()),
            |text| json(text, "the attempts of a delivery"),
        )
    }

    /// As it is kept; nothing before the first.
    pub(super) fn text(&self) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        serde_json::to_string(self).ok()
    }

    pub(super) fn start(&mut self, number: u32, at: i64) {
        if self.0.len() == FIRST_TRIES + LAST_TRIES {
            self.0.remove(FIRST_TRIES);
        }
        self.0.push(Try(number, at, None, None));
    }

    pub(super) fn end(&mut self, at: i64, answer: Option<&Answer>) {
        if let Some(last) = self.0.last_mut().filter(|last| last.2.is_none()) {
            last.2 = Some(at);
            last.3 = answer.map(|answer| {
                (
                    answer.status,
                    answer.reason.clone(),
                    answer.ambiguous,
                    answer.excerpt.clone(),
                )
            });
        }
    }

    /// Whether the last attempt has begun and not ended.
    pub(super) fn goes_on(&self) -> bool {
        self.0.last().is_some_and(|last| last.2.is_none())
    }

    /// Whether one before the last may have taken effect.
    pub(super) fn earlier_may_have_taken_effect(&self) -> bool {
        self.0.iter().rev().skip(1).any(Try::may_have_taken_effect)
    }

    /// Whether any may have taken effect.
    pub(super) fn may_have_taken_effect(&self) -> bool {
        self.0.iter().any(Try::may_have_taken_effect)
    }

    pub(super) fn records(self) -> Result<Vec<AttemptRecord>, Damage> {
        self.0
            .into_iter()
            .map(|Try(number, started, finished, answer)| {
                Ok(AttemptRecord {
                    number,
                    started_at: timestamp(started)?,
                    finished_at: finished.map(timestamp).transpose()?,
                    answer: answer.map(|(status, reason, ambiguous, excerpt)| Answer {
                        status,
                        reason,
                        ambiguous,
                        excerpt,
                    }),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_read_back_the_first_and_the_last_too() {
        for time in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
            let read = timestamp(micros(time)).expect("it was written");
            assert_eq!(micros(read), micros(time));
        }
        assert!(timestamp(i64::MAX).is_err());
    }
}
