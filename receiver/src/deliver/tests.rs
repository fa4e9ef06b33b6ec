//! Tests of the engine, and what its modules' tests share.

use hookswitch_crds::duration::Duration;
use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::snapshot::{CircuitBreaker, Delivery, OnAmbiguous, Ordering};
use uuid::Uuid;

use crate::event::{Disposition, Event};

mod awaiting;
pub(super) mod bench;
mod database;
pub(super) mod kinds;
mod lanes;
pub(super) mod memory;
mod outcomes;
mod server;
mod sockets;
mod spoken;

/// Settings that tests begin with.
pub(super) fn settings() -> Delivery {
    Delivery {
        timeout: Duration::from_secs(10),
        give_up_after: Duration::from_secs(48 * 3600),
        backoff_initial: Duration::from_secs(2),
        backoff_max: Duration::from_secs(600),
        on_ambiguous: OnAmbiguous::Retry,
        rate_limit: None,
        ordering: Ordering::None,
        circuit_breaker: CircuitBreaker {
            failures: 10,
            open_for: Duration::from_secs(30),
        },
    }
}

/// An event of `support/support`.
pub(super) fn event() -> Event {
    Event {
        uid: Uuid::from_u128(1),
        subscription: ObjectKey::new("support", "support"),
        id: "event-1".to_owned(),
        r#type: "message.received".to_owned(),
        time: None,
        accepted_at: "2026-01-02T03:04:05Z".parse().unwrap(),
        subject: Some("conversation-1".to_owned()),
        sender: None,
        hops: 0,
        content_type: Some("application/json".to_owned()),
        disposition: Disposition::Route,
        body: bytes::Bytes::from_static(b"{\"text\":\"hello\"}"),
    }
}
