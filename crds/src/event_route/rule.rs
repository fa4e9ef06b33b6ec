//! A rule: which events, what is added to them, and what is sent where.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::delivery::RateLimit;
use super::destination::{Header, Method};
use crate::duration::Duration;
use crate::text;

/// Which events, what is added to them, and what is sent where.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// What status, metrics and explain call it.
    #[schemars(with = "text::Name")]
    pub name: String,
    /// Event types. Empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<text::EventType>", length(max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub types: Vec<String>,
    /// A CEL expression that must be true, such as event.data.status == 'closed'. A field that the
    /// event lacks makes it false.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Expression>")]
    pub when: Option<String>,
    /// What is fetched once the rule has fired, for the bodies of deliver as enriched.<name>.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub enrich: Vec<Enrich>,
    /// States that never go back: an event that would is not delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transition: Option<Transition>,
    /// Deliver only after a wait, unless something happens meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<After>,
    /// What is sent, and where. A destination appears once.
    #[schemars(length(min = 1, max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["destination"]))]
    pub deliver: Vec<Deliver>,
}

/// Something that is fetched for an event, where a body names it as enriched.<name>.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Enrich {
    /// What expressions call it: enriched.<name>.
    #[schemars(with = "text::Identifier")]
    pub name: String,
    /// The request. Its answer is JSON.
    pub http: EnrichHttp,
    /// The whole of the request. Default: 2s.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Positive>")]
    pub timeout: Option<Duration>,
    /// How long an answer is used again. Default: not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<Duration>,
    /// How long a failure is used again, so that what does not answer is not asked for each event.
    /// Default: 10s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_failures: Option<Duration>,
    /// How many requests may be under way at once. Default: 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub concurrency: Option<u32>,
    /// The most requests. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Continue without it, Retry, or DeadLetter. Default: Continue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnEnrichFailure>,
}

/// The request of an enrichment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.url.startsWith('https://') || (has(self.allowPrivateNetwork) && self.allowPrivateNetwork)",
    "message": "http:// sends the request in the clear: use https://, or set allowPrivateNetwork: true for an endpoint on a private network",
}]))]
pub struct EnrichHttp {
    /// The address. ${...} may stand in path and query, and its value is percent-encoded.
    #[schemars(with = "text::UrlTemplate")]
    pub url: String,
    /// GET, POST, PUT, PATCH or DELETE. Default: GET.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Sent with the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub headers: Vec<Header>,
    /// Allow http:// and private and loopback addresses, where the operator allows this namespace
    /// to reach them. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_private_network: Option<bool>,
}

/// What to do where an enrichment fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnEnrichFailure {
    /// Deliver without it.
    Continue,
    /// Try again, as a delivery is.
    Retry,
    /// Give the rule's deliveries up.
    DeadLetter,
}

/// States that never go back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Transition {
    /// A CEL expression for what has the state, such as event.subject.
    #[schemars(with = "text::Expression")]
    pub key: String,
    /// A CEL expression for the state's rank, a whole number or a time. An event of a lower rank
    /// than the last is not delivered.
    #[schemars(with = "text::Expression")]
    pub rank: String,
    /// A CEL expression that is true for an event that may go back.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Expression>")]
    pub reopen_when: Option<String>,
}

/// A wait before delivering.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct After {
    /// How long, from the event's own time.
    #[schemars(with = "text::Positive")]
    pub wait: Duration,
    /// A CEL expression for what is waited for, such as event.data.agent_id: one wait at a time
    /// for each value.
    #[schemars(with = "text::Expression")]
    pub key: String,
    /// A later event that cancels the wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unless: Option<Unless>,
}

/// A later event that cancels a wait: one with the same key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "(has(self.types) && size(self.types) > 0) || has(self.when)",
    "message": "name what cancels the wait: types or when",
}]))]
pub struct Unless {
    /// Event types. Empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<text::EventType>", length(max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub types: Vec<String>,
    /// A CEL expression over the later event as event and the first one as first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Expression>")]
    pub when: Option<String>,
}

/// What is sent, and where.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Deliver {
    /// A destination of this route.
    #[schemars(with = "text::Name")]
    pub destination: String,
    /// One effect for each value of a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub once: Option<Once>,
    /// What is sent: any YAML in which ${...} is CEL. A text that is only one ${...} keeps its
    /// type; null is written ${null}, and a literal ${ is written $${. Left out, the event's data
    /// is sent as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any")]
    pub body: Option<serde_json::Value>,
}

/// One effect for each value of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Once {
    /// A CEL expression, such as event.subject.
    #[schemars(with = "text::Expression")]
    pub key: String,
    /// How long a value is remembered.
    #[schemars(with = "text::Positive")]
    pub window: Duration,
}

/// The schema of a value of any type, which the API server keeps as it is.
fn any(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}
