//! Short ways to make what the store takes.

use std::path::Path;

use bytes::Bytes;
use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::snapshot::DestinationKind;
use hookswitch_receiver::event::{Disposition, Event};
use hookswitch_receiver::metrics::Metrics;
use hookswitch_receiver::plan::{FrozenBody, FrozenRequest, Lane, NewDelivery, Plan};
use hookswitch_receiver::redact::Hidden;
use hookswitch_receiver::store::embedded::{Embedded, Options};
use hookswitch_receiver::store::{
    Accepted, Answer, Claim, Error, Finish, NewEvent, Next, Retention, Store,
};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Some quota that is never reached.
pub(crate) const PLENTY: u64 = 1 << 30;

pub(crate) fn try_open(dir: &Path) -> Result<Embedded, Error> {
    Embedded::open(Options {
        dir: dir.to_owned(),
        metrics: Metrics::new().unwrap(),
    })
}

pub(crate) fn open(dir: &Path) -> Embedded {
    try_open(dir).unwrap()
}

/// With the metrics that it counts in.
pub(crate) fn open_measured(dir: &Path) -> (Embedded, Metrics) {
    let metrics = Metrics::new().unwrap();
    let options = Options {
        dir: dir.to_owned(),
        metrics: metrics.clone(),
    };
    (Embedded::open(options).unwrap(), metrics)
}

/// So many seconds after some moment.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

pub(crate) fn key(name: &str) -> ObjectKey {
    ObjectKey::new("support", name)
}

pub(crate) fn lane(destination: &str) -> Lane {
    Lane {
        route: key("route"),
        destination: destination.to_owned(),
    }
}

/// The same text, the same id.
pub(crate) fn uuid(text: &str) -> Uuid {
    Uuid::from_slice(&Sha256::digest(text)[..16]).unwrap()
}

/// An event accepted at a second, whose id is remembered for an hour.
pub(crate) fn event(subscription: &str, id: &str, body: &str, seconds: i64) -> NewEvent {
    NewEvent {
        event: Event {
            uid: uuid(&format!("{subscription} {id} {body} {seconds}")),
            subscription: key(subscription),
            id: id.to_owned(),
            r#type: "message.received".to_owned(),
            time: Some(at(seconds - 1)),
            accepted_at: at(seconds),
            subject: Some("conversation-1".to_owned()),
            sender: None,
            hops: 0,
            content_type: Some("application/json".to_owned()),
            disposition: Disposition::Route,
            body: Bytes::from(body.to_owned()),
        },
        digest: Sha256::digest(body).into(),
        remember_until: at(seconds + 3600),
        quota: PLENTY,
    }
}

/// A delivery with a rendered body.
pub(crate) fn delivery(destination: &str, seq: u64) -> NewDelivery {
    NewDelivery {
        id: uuid(&format!("{destination} {seq}")),
        lane: lane(destination),
        rule: "rule".to_owned(),
        request: Some(FrozenRequest {
            kind: DestinationKind::Http,
            method: "POST".to_owned(),
            content_type: "application/json".to_owned(),
            cloud_event_headers: false,
            address: None,
            hidden: Hidden::default(),
            body: FrozenBody::Rendered(Bytes::from(format!("{{\"seq\":{seq}}}"))),
        }),
        ordered_by: None,
        echo: None,
        write_back: None,
        dead: None,
        waits_until: None,
    }
}

pub(crate) fn plan(seq: u64, seconds: i64, deliveries: Vec<NewDelivery>) -> Plan {
    Plan {
        seq,
        sequence: 7,
        planned_at: at(seconds),
        verdicts: Vec::new(),
        suppressions: Vec::new(),
        deliveries,
        marks_consumed: Vec::new(),
        remember: Vec::new(),
        timers: Vec::new(),
        cancelled: Vec::new(),
        set_aside: None,
    }
}

pub(crate) fn claim(id: Uuid, attempts: u32, seconds: i64) -> Claim {
    Claim {
        id,
        attempts,
        at: at(seconds),
    }
}

pub(crate) fn finish(id: Uuid, attempts: u32, seconds: i64, next: Next) -> Finish {
    Finish {
        id,
        attempts,
        at: at(seconds),
        answer: Some(Answer {
            status: Some(if next == Next::Delivered { 200 } else { 500 }),
            reason: "said".to_owned(),
            ambiguous: false,
            excerpt: None,
        }),
        next,
    }
}

/// Keeps nothing that is finished, and dead letters for a day.
pub(crate) fn keep_nothing() -> Retention {
    Retention {
        finished: hookswitch_crds::duration::Duration::from_secs(0),
        dead_letters: hookswitch_crds::duration::Duration::from_secs(86_400),
    }
}

/// The place of an event that must be new.
pub(crate) async fn accept(store: &dyn Store, event: NewEvent) -> u64 {
    match store.accept(event).await.unwrap() {
        Accepted::New { seq } => seq,
        other => panic!("{other:?} where a new event was expected"),
    }
}
