//! Guards against A→B→A loops, for deliveries to destinations that write back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;
use crate::text;

/// Guards against loops. They apply to destinations that write back, and to no others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoopGuard {
    /// Enforce, or Observe: count what would be suppressed, and deliver it. Default: Enforce.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<GuardMode>,
    /// Events from these senders are never written back; compared without case. Default: agent and
    /// system.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<text::Word>>", length(max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub senders: Option<Vec<String>>,
    /// Recognises the events that this route's own write-backs cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub echo: Option<Echo>,
    /// The most receivers that an event may have passed through, by X-Hookswitch-Hops. Default: 4.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub max_hops: Option<u32>,
    /// A breaker for loops that none of the others see. It counts write-backs, not events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_subject: Option<SubjectLimit>,
}

/// What a guard does when it finds a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GuardMode {
    /// Suppress.
    Enforce,
    /// Count, and deliver all the same.
    Observe,
}

/// Two expressions that give the same text for a write-back and for the event that it causes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Echo {
    /// A CEL expression over event and request, the rendered body of the write-back.
    #[schemars(with = "text::Expression")]
    pub sent: String,
    /// A CEL expression over event, the one that may be the echo.
    #[schemars(with = "text::Expression")]
    pub received: String,
    /// How long the echo is waited for. Default: 5m.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Positive>")]
    pub window: Option<Duration>,
}

/// The most write-backs of one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubjectLimit {
    /// How many in a window; more go to the dead letters.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub limit: u32,
    /// The window.
    #[schemars(with = "text::Positive")]
    pub window: Duration,
}
