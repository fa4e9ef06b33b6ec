//! Timers: deliveries that wait, and what becomes of them.
//!
//! A timer is started by the plan of an event, with its deliveries rendered and frozen like any other;
//! a later plan cancels it, or a firing sets its deliveries free. It is named by the part of the rule
//! that waits and the event that started it.

use std::sync::Arc;

use hookswitch_crds::duration::Duration;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{DeadReason, Lane, MemoryKey, Remember, Scope, Suppression, WriteBack};

/// Which timer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TimerId {
    /// What waits.
    pub scope: Arc<Scope>,
    /// The event that started it, by its place in the store.
    pub seq: u64,
}

/// A timer that a plan starts: the plan's deliveries of the same route and rule wait for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewTimer {
    /// What waits, and for which key.
    pub key: MemoryKey,
    /// When it began: the event's own time, where that is plausible.
    pub at: Timestamp,
    /// When it is to fire.
    pub due: Timestamp,
    /// What `once` asks when it fires, by destination.
    pub once: Vec<OnceTerms>,
}

/// `once` of a delivery that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnceTerms {
    /// The destination.
    pub destination: String,
    /// The digest of the key.
    pub digest: [u8; 16],
    /// How long it is remembered, from the firing.
    pub window: Duration,
}

/// A timer that waits, as a store gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredTimer {
    /// Which.
    pub id: TimerId,
    /// The key's digest.
    pub digest: [u8; 16],
    /// When it began.
    pub at: Timestamp,
    /// When it is to fire.
    pub due: Timestamp,
    /// The subject of the event that started it.
    pub subject: Option<String>,
    /// What `once` asks.
    pub once: Vec<OnceTerms>,
    /// What waits.
    pub deliveries: Vec<WaitingDelivery>,
}

impl StoredTimer {
    /// The key that it waits for.
    #[must_use]
    pub fn key(&self) -> MemoryKey {
        MemoryKey {
            scope: Arc::clone(&self.id.scope),
            digest: self.digest,
        }
    }
}

/// A delivery that waits for a timer.
#[derive(Debug, Clone, PartialEq)]
pub struct WaitingDelivery {
    /// The idempotency key.
    pub id: Uuid,
    /// Its queue, once the timer fires.
    pub lane: Lane,
    /// Set where it then goes to the dead letters.
    pub dead: Option<DeadReason>,
}

/// The firing of a timer: an append of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Firing {
    /// Which. It must wait still.
    pub timer: TimerId,
    /// When.
    pub at: Timestamp,
    /// What becomes of each of its deliveries.
    pub deliveries: Vec<(Uuid, Fate)>,
    /// What its rule remembers from now on.
    pub remember: Vec<Remember>,
    /// What the loop guard found.
    pub suppressions: Vec<Suppression>,
}

/// What becomes of a delivery when its timer fires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// It is delivered.
    Deliver {
        /// Counted against the subject's limit.
        write_back: Option<WriteBack>,
    },
    /// It goes to the dead letters.
    Dead(DeadReason),
    /// `once`: the key has had its effect. It is forgotten.
    Drop,
}
