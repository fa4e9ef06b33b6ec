//! The parts of a rule that remember earlier events.

use serde::{Deserialize, Serialize};

use crate::duration::Duration;

/// States that never go back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// CEL over `event`: what has the state.
    pub key: String,
    /// CEL over `event`: the state's rank, a whole number or a time.
    pub rank: String,
    /// CEL over `event`: whether it may go back; `None` is false.
    pub reopen_when: Option<String>,
}

/// A wait before delivering.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct After {
    /// How long, from the event's own time.
    pub wait: Duration,
    /// CEL over `event`: what is waited for.
    pub key: String,
    /// What cancels the wait.
    pub unless: Option<Unless>,
}

/// A later event of the same key that cancels a wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unless {
    /// Event types; empty matches all.
    pub types: Vec<String>,
    /// CEL over `event` and `first`; `None` is true.
    pub when: Option<String>,
}

/// One effect for each value of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Once {
    /// CEL over `event`.
    pub key: String,
    /// How long a value is remembered.
    pub window: Duration,
}
