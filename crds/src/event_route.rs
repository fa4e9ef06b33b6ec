//! `EventRoute`: which events go where, and as what.
//!
//! ```text
//! subscriptionRefs ─▶ rules: types, when ─▶ enrich ─▶ transition, after ─▶ deliver ─▶ destinations
//!                                                                 loopGuard ┘ (those that write back)
//! ```
//!
//! A field that the kind of destination decides has no default here, or the default would freeze
//! into stored objects: `None` means that it is filled in when the object is compiled.

#![expect(
    clippy::doc_markdown,
    reason = "these comments are the descriptions that `kubectl explain` shows as they are"
)]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition;
use crate::text;

mod delivery;
mod destination;
mod kinds;
mod loop_guard;
mod rule;
mod word_list;

pub use delivery::{Backoff, CircuitBreaker, Delivery, OnAmbiguous, Ordering, RateLimit};
pub use destination::{
    Destination, Format, Header, Http, Method, Pattern, Redact, Sign, StandardWebhooks, Tgstaff,
};
pub use kinds::{
    ClientCredentials, Dingtalk, Freshdesk, Hubspot, HubspotAssociation, JwtBearer, Mixpanel,
    MixpanelRegion, Nats, NatsUser, OnConflict, Postgres, Salesforce, SalesforceAuth,
    ServiceAccount, Slack, Telegram, Zendesk,
};
pub use loop_guard::{Echo, GuardMode, LoopGuard, SubjectLimit};
pub use rule::{
    After, Deliver, Enrich, EnrichHttp, OnEnrichFailure, Once, Rule, Transition, Unless,
};
pub use word_list::WordList;

/// Which events of which subscriptions go where, and as what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "hookswitch.dev",
    version = "v1alpha1",
    kind = "EventRoute",
    plural = "eventroutes",
    singular = "eventroute",
    shortname = "evroute",
    category = "hookswitch",
    namespaced,
    status = "EventRouteStatus",
    derive = "PartialEq",
    doc = "Which events of which subscriptions go where, and as what.",
    printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.conditions[?(@.type==\"Accepted\")].status"}"#,
    printcolumn = r#"{"name":"Programmed","type":"string","jsonPath":".status.conditions[?(@.type==\"Programmed\")].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.subscriptionRefs.all(a, self.subscriptionRefs.exists_one(b, a.name == b.name && (has(a.__namespace__) ? a.__namespace__ : '') == (has(b.__namespace__) ? b.__namespace__ : '')))",
    "message": "subscriptionRefs names a subscription twice: remove one",
}]))]
pub struct EventRouteSpec {
    /// The subscriptions whose events this route takes.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub subscription_refs: Vec<SubscriptionRef>,
    /// Lists of words for expressions, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub word_lists: Vec<WordList>,
    /// Where rules may deliver to, by name.
    #[schemars(length(min = 1, max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub destinations: Vec<Destination>,
    /// Every rule whose types and when hold delivers.
    #[schemars(length(min = 1, max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub rules: Vec<Rule>,
    /// Guards against loops, for deliveries to destinations that write back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loop_guard: Option<LoopGuard>,
}

/// A subscription, in this namespace unless another is named.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubscriptionRef {
    /// The subscription's name.
    #[schemars(with = "text::ObjectName")]
    pub name: String,
    /// Its namespace, where it is not the route's own. The subscription's allowedRoutes must allow
    /// it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::NamespaceName>")]
    pub namespace: Option<String>,
}

/// What the operator found about a route.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventRouteStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The generation of the spec that receivers serve: an older one while the current one is
    /// invalid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving_generation: Option<i64>,
    /// One entry for each subscription.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub parents: Vec<RouteParentStatus>,
    /// Accepted, ResolvedRefs and Programmed, over all subscriptions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "condition::list_schema")]
    pub conditions: Vec<Condition>,
}

/// What the operator found about a route and one of its subscriptions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteParentStatus {
    /// The subscription, as the spec names it.
    pub subscription_ref: SubscriptionRef,
    /// Accepted, ResolvedRefs and Programmed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "condition::list_schema")]
    pub conditions: Vec<Condition>,
}
