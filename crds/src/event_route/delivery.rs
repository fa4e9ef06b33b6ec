//! How deliveries are attempted. Every value has a default by the kind of destination.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;
use crate::text;

/// How deliveries are attempted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Delivery {
    /// The whole of one attempt. Default: 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Positive>")]
    pub timeout: Option<Duration>,
    /// A failure after this long is the last, and the delivery becomes a dead letter. Waiting for
    /// a rate limit or an open circuit uses no attempt. Default: 48h.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Positive>")]
    pub give_up_after: Option<Duration>,
    /// The wait between attempts: exponential, with full jitter. The destination's Retry-After
    /// wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// What to do when it can't be known whether an attempt took effect: Retry, Search for the
    /// effect and then decide, or DeadLetter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_ambiguous: Option<OnAmbiguous>,
    /// The most attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// None, or PerSubject: events of one subject go in the order in which they were accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordering: Option<Ordering>,
    /// When to stop asking a failing destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
}

/// The wait between attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.initial) || !has(self.max) || duration(self.initial) <= duration(self.max)",
    "message": "initial is longer than max: the first wait is the shortest",
}]))]
pub struct Backoff {
    /// The first wait; the next ones double. Default: 2s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Positive>")]
    pub initial: Option<Duration>,
    /// The longest wait. Default: 10m.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Positive>")]
    pub max: Option<Duration>,
}

/// What to do about an ambiguous attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnAmbiguous {
    /// Attempt again: at least once.
    Retry,
    /// Ask the destination for the effect, and attempt again only where there is none.
    Search,
    /// Give up: at most once.
    DeadLetter,
}

/// The most attempts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimit {
    /// Attempts a second; may be a fraction, as 0.33 for 20 a minute.
    #[schemars(extend("minimum" = 0, "exclusiveMinimum" = true, "maximum" = 10_000))]
    pub per_second: f64,
    /// How many may go at once. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub burst: Option<u32>,
}

/// The order of deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Ordering {
    /// None.
    None,
    /// The order of acceptance, within a subject.
    PerSubject,
}

/// When to stop asking a failing destination.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CircuitBreaker {
    /// Failures in a row that open it. Default: 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub failures: Option<u32>,
    /// How long it stays open before one attempt is let through. Default: 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Positive>")]
    pub open_for: Option<Duration>,
}
