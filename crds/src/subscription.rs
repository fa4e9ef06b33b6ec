//! `WebhookSubscription`: where a sender's requests arrive, and what they must show.
//!
//! A field that the provider decides has no default here, or the default would freeze into stored
//! objects: `None` means that the provider's preset fills it in when the object is compiled.

#![expect(
    clippy::doc_markdown,
    reason = "these comments are the descriptions that `kubectl explain` shows as they are"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::condition;
use crate::duration::Duration;
use crate::quantity::Quantity;
use crate::text;

mod field_source;
mod verification;

pub use field_source::FieldSource;
pub(crate) use field_source::{HEADER, POINTER};
pub use verification::{
    Algorithm, Encoding, HeaderToken, Hmac, Layout, MessagePart, SecretEncoding, TimestampUnit,
    Verification,
};

/// A sender of webhooks: its path, how its requests are verified, and where an event's attributes
/// are found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "hookswitch.dev",
    version = "v1alpha1",
    kind = "WebhookSubscription",
    plural = "webhooksubscriptions",
    singular = "webhooksubscription",
    shortname = "whsub",
    category = "hookswitch",
    namespaced,
    status = "WebhookSubscriptionStatus",
    derive = "PartialEq",
    doc = "A sender of webhooks: its path, how its requests are verified, and where an event's attributes are found.",
    printcolumn = r#"{"name":"URL","type":"string","jsonPath":".status.url"}"#,
    printcolumn = r#"{"name":"Routes","type":"integer","jsonPath":".status.attachedRoutes"}"#,
    printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.conditions[?(@.type==\"Accepted\")].status"}"#,
    printcolumn = r#"{"name":"Programmed","type":"string","jsonPath":".status.conditions[?(@.type==\"Programmed\")].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.provider != 'Telegram' || !has(self.verification.hmac)",
    "message": "Telegram signs nothing: remove hmac, and put X-Telegram-Bot-Api-Secret-Token under verification.headers",
}, {
    "rule": "self.provider != 'Generic' || !has(self.verification.hmac) || has(self.verification.hmac.header)",
    "message": "provider Generic knows no header: set verification.hmac.header to the one that holds the signature",
}, {
    "rule": "self.provider != 'Generic' || !has(self.verification.hmac) || !has(self.verification.hmac.message) || !('Id' in self.verification.hmac.message) || has(self.verification.hmac.idHeader)",
    "message": "the message holds Id: set verification.hmac.idHeader to the header that it is in",
}, {
    "rule": "self.provider != 'Generic' || !has(self.verification.hmac) || !has(self.verification.hmac.message) || !('Timestamp' in self.verification.hmac.message) || has(self.verification.hmac.timestampHeader) || (has(self.verification.hmac.layout) && self.verification.hmac.layout == 'Parameters')",
    "message": "the message holds Timestamp: set verification.hmac.timestampHeader to the header that it is in, or layout: Parameters",
}]))]
pub struct WebhookSubscriptionSpec {
    /// The sender. It fills in what is left out below: TGStaff, StandardWebhooks, GitHub, Stripe,
    /// Slack, Shopify, Zendesk, HubSpot, Telegram, Intercom, or Generic for any other.
    pub provider: Provider,
    /// The request path, matched exactly. Default: /{namespace}/{name}. It must lie under
    /// /{namespace}/ unless the operator grants the namespace another.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Path>")]
    pub path: Option<String>,
    /// What a request must show. All that is listed must pass.
    pub verification: Verification,
    /// How the sender's test requests are recognised. They get 200 and reach no destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping: Option<Ping>,
    /// Accepted event types; others are kept and not routed. Empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<text::EventType>", length(max = 256), extend("x-kubernetes-list-type" = "set"))]
    pub types: Vec<String>,
    /// Where an event's attributes are found: a JSON pointer into the body, or {header: Name}.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<Fields>,
    /// How repeated events are recognised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deduplication: Option<Deduplication>,
    /// Bounds on what this subscription may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// How long an event is kept for replay and explain once nothing of it is pending. Default:
    /// 72h. Dead letters are kept for 30 days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Duration>,
    /// Which namespaces' routes may attach.
    #[serde(default)]
    pub allowed_routes: AllowedRoutes,
    /// Accept and keep events, and route them only when this is false again.
    #[serde(default)]
    pub suspend: bool,
}

/// A sender, by the name of its preset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Provider {
    /// TG-Staff, a customer-support platform on Telegram.
    TGStaff,
    /// Standard Webhooks, and Svix.
    StandardWebhooks,
    /// GitHub.
    GitHub,
    /// Stripe.
    Stripe,
    /// Slack.
    Slack,
    /// Shopify.
    Shopify,
    /// Zendesk.
    Zendesk,
    /// `HubSpot`, version 3 of its signatures.
    HubSpot,
    /// Telegram's Bot API.
    Telegram,
    /// Intercom.
    Intercom,
    /// Any other: nothing is filled in but the plainest values.
    Generic,
}

/// How the sender's test requests are recognised.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ping {
    /// Allow: an unsigned request whose type is absent or in types gets 200 if headers and
    /// addresses pass; it is counted, logged and never routed. Any other unsigned request gets
    /// 401. Reject: every unsigned request gets 401. Default: Allow for TGStaff, else Reject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsigned: Option<Unsigned>,
    /// Event types of test requests, signed ones included.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<text::EventType>>", length(max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub types: Option<Vec<String>>,
}

/// What to answer an unsigned test request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Unsigned {
    /// 200, and nothing is routed.
    Allow,
    /// 401.
    Reject,
}

/// Where an event's attributes are found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fields {
    /// The event's type, such as /event_type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<FieldSource>,
    /// The sender's id of the event. Where it is absent, the SHA-256 of the body stands in for it,
    /// with a window of 15 minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<FieldSource>,
    /// The event's own time: RFC 3339, or Unix seconds or milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<FieldSource>,
    /// The ordering key, such as /conversation_id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<FieldSource>,
    /// The kind of sender, such as /sender_type, for the loop guard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<FieldSource>,
}

/// How repeated events are recognised.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.window) || duration(self.window) >= duration('10m')",
    "message": "senders repeat an event for minutes: use a window of 10m or more, as in 24h",
}]))]
pub struct Deduplication {
    /// How long an event's id is remembered; longer than the sender retries. Default: 24h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Duration>,
}

/// Bounds on what a subscription may use. The operator may set lower ceilings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.burst) || has(self.eventsPerSecond)",
    "message": "burst needs a rate: set eventsPerSecond, or remove burst",
}]))]
pub struct Limits {
    /// The largest body, in bytes; larger ones get 413. Default: 1048576.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 33_554_432))]
    pub body_bytes: Option<u32>,
    /// The most that may be kept, as in 500Mi or 1Gi. Finished history goes first, then requests
    /// get 503. Default: 1Gi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<Quantity>,
    /// Verified new events a second; above it requests get 503 and the sender retries. Default: no
    /// limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub events_per_second: Option<u32>,
    /// How many events may come at once. Default: as many as eventsPerSecond.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,
}

/// Which routes may attach.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AllowedRoutes {
    /// The namespaces of routes that may attach.
    #[serde(default)]
    pub namespaces: RouteNamespaces,
}

/// Namespaces of routes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "(self.from == 'Selector') == has(self.selector)",
    "message": "selector and from: Selector go together: set both, or neither",
}]))]
pub struct RouteNamespaces {
    /// Same: this namespace alone. All: every namespace. Selector: those whose labels match.
    #[serde(default)]
    pub from: FromNamespaces,
    /// The labels of namespaces, with from: Selector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "label_selector")]
    pub selector: Option<LabelSelector>,
}

/// How namespaces are chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FromNamespaces {
    /// The subscription's own.
    #[default]
    Same,
    /// Every one.
    All,
    /// Those whose labels match the selector.
    Selector,
}

/// What the operator found about a subscription.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookSubscriptionStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The generation of the spec that receivers serve: an older one while the current one is
    /// invalid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving_generation: Option<i64>,
    /// What to enter at the sender.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub url: Option<String>,
    /// How many routes are attached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attached_routes: Option<i32>,
    /// Accepted, ResolvedRefs and Programmed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "condition::list_schema")]
    pub conditions: Vec<Condition>,
}

/// Kubernetes' own label selector, with bounds.
fn label_selector(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "properties": {
            "matchLabels": {
                "description": "Labels that a namespace must have.",
                "type": "object",
                "maxProperties": 16,
                "additionalProperties": {"type": "string", "maxLength": 63},
            },
            "matchExpressions": {
                "description": "Requirements that a namespace's labels must meet.",
                "type": "array",
                "maxItems": 16,
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": {
                            "description": "The label's key.",
                            "type": "string",
                            "minLength": 1,
                            "maxLength": 317,
                        },
                        "operator": {
                            "description": "How the label relates to values.",
                            "type": "string",
                            "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                        },
                        "values": {
                            "description": "With In and NotIn, the values; otherwise left out.",
                            "type": "array",
                            "maxItems": 64,
                            "x-kubernetes-list-type": "atomic",
                            "items": {"type": "string", "maxLength": 63},
                        },
                    },
                    "x-kubernetes-validations": [{
                        "rule": "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
                        "message": "In and NotIn need values; Exists and DoesNotExist have none",
                    }],
                },
            },
        },
    })
}
