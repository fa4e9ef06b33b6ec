//! What rules remember of earlier events, by key.
//!
//! A plan writes down what its rules are to remember, in the same append: what one event decided, the
//! next one finds, after a restart too. Each subscription remembers for itself, as its plans form one
//! sequence of their own. Keys are kept as digests: they may be what a customer wrote.

use std::fmt;
use std::sync::Arc;

use hookswitch_crds::key::ObjectKey;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::store::StoredEvent;

/// The part of a rule that remembers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Scope {
    /// The route.
    pub route: ObjectKey,
    /// The rule.
    pub rule: String,
    /// The part of it.
    pub part: Part,
}

/// What of a rule remembers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Part {
    /// `once` of the delivery to this destination.
    Once(String),
    /// `transition`.
    Transition,
    /// `after`, of the rule as it was written then: another condition waits for something else.
    After(u64),
}

/// `once/crm`: how a store writes it.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Once(destination) => write!(f, "once/{destination}"),
            Self::Transition => f.write_str("transition"),
            Self::After(version) => write!(f, "after/{version:016x}"),
        }
    }
}

/// One key of a scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MemoryKey {
    /// Whose.
    pub scope: Arc<Scope>,
    /// A piece of the SHA-256 of the key's text.
    pub digest: [u8; 16],
}

impl MemoryKey {
    /// The key for a text.
    #[must_use]
    pub fn new(scope: &Arc<Scope>, text: &str) -> Self {
        let hash: [u8; 32] = Sha256::digest(text).into();
        Self {
            scope: Arc::clone(scope),
            digest: hash.first_chunk().copied().unwrap_or_default(),
        }
    }
}

/// What is remembered for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Memory {
    /// `once`: the effect is planned.
    Claimed,
    /// `transition`: the last state.
    State {
        /// Its rank.
        rank: i64,
        /// When it came about.
        at: Timestamp,
        /// When the key was last reopened.
        reopened: Option<Timestamp>,
    },
    /// `after`: where the key stands.
    Wait {
        /// Where.
        state: WaitState,
        /// When what is told by `state` came about, as its event says.
        at: Timestamp,
    },
}

/// Where a key of `after` stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WaitState {
    /// A timer waits.
    Pending {
        /// The event that started it.
        seq: u64,
    },
    /// A timer has fired, and nothing has cancelled it since.
    Fired {
        /// The event that started it.
        seq: u64,
    },
    /// It was cancelled: the next one may start, from then on.
    Cancelled,
    /// Something came that may cancel a start which has not come yet.
    Seen {
        /// The event.
        seq: u64,
    },
}

impl WaitState {
    /// The event that is needed to decide about the next one.
    #[must_use]
    pub const fn seq(self) -> Option<u64> {
        match self {
            Self::Pending { seq } | Self::Fired { seq } | Self::Seen { seq } => Some(seq),
            Self::Cancelled => None,
        }
    }
}

/// Something to remember: it takes the place of what the key had before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remember {
    /// For what.
    pub key: MemoryKey,
    /// What.
    pub memory: Memory,
    /// When it may be forgotten. What is planned of events accepted before then still finds it.
    pub until: Timestamp,
}

/// What a store remembers for a key.
#[derive(Debug, Clone)]
pub struct Recalled {
    /// What.
    pub memory: Memory,
    /// From when on it counts no more.
    pub until: Timestamp,
    /// The event of [`WaitState::seq`], where it is kept still.
    pub event: Option<Arc<StoredEvent>>,
}
