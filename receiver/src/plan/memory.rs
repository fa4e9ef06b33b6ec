//! What rules remember of earlier events, by key.
//!
//! A plan writes down what its rules are to remember, in the same append: what one event decided, the
//! next one finds, after a restart too. Each subscription remembers for itself, as its plans form one
//! sequence of their own. Keys are kept as digests: they may be what a customer wrote.

use std::fmt;
use std::sync::Arc;

use hookswitch_crds::key::ObjectKey;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

/// The part of a rule that remembers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    /// The route.
    pub route: ObjectKey,
    /// The rule.
    pub rule: String,
    /// The part of it.
    pub part: Part,
}

/// What of a rule remembers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// `once` of the delivery to this destination.
    Once(String),
}

/// `once/crm`: how a store writes it.
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Once(destination) => write!(f, "once/{destination}"),
        }
    }
}

/// One key of a scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// `once`: the effect is planned.
    Claimed,
}

/// Something to remember: it takes the place of what the key had before.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}
