//! Where deliveries go: one of the kinds, and what is common to all of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::delivery::Delivery;
use super::kinds::{
    Dingtalk, Freshdesk, Hubspot, Mixpanel, Nats, Postgres, Salesforce, Slack, Telegram, Zendesk,
};
use crate::secret_ref::{RotatedSecretRef, SecretRef};
use crate::text;

/// Where deliveries go: exactly one kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "[has(self.http), has(self.slack), has(self.dingtalk), has(self.hubspot), has(self.salesforce), has(self.zendesk), has(self.freshdesk), has(self.mixpanel), has(self.telegram), has(self.tgstaff), has(self.nats), has(self.postgres)].exists_one(given, given)",
    "message": "name exactly one kind: http, slack, dingtalk, hubspot, salesforce, zendesk, freshdesk, mixpanel, telegram, tgstaff, nats or postgres; a second one is a destination of its own",
}, {
    "rule": "!has(self.delivery) || !has(self.delivery.onAmbiguous) || self.delivery.onAmbiguous != 'Search' || has(self.hubspot) || has(self.salesforce) || has(self.zendesk) || has(self.freshdesk)",
    "message": "onAmbiguous: Search is for hubspot, salesforce, zendesk and freshdesk, which can be searched: use Retry or DeadLetter",
}]))]
pub struct Destination {
    /// What rules call it.
    #[schemars(with = "text::Name")]
    pub name: String,
    /// Any HTTP endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// Slack, through an incoming webhook or the Web API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slack: Option<Slack>,
    /// A robot in a DingTalk group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dingtalk: Option<Dingtalk>,
    /// An object in HubSpot's CRM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hubspot: Option<Hubspot>,
    /// A record in Salesforce.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub salesforce: Option<Salesforce>,
    /// A ticket in Zendesk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zendesk: Option<Zendesk>,
    /// A ticket in Freshdesk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freshdesk: Option<Freshdesk>,
    /// An event in Mixpanel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mixpanel: Option<Mixpanel>,
    /// A message from a Telegram bot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub telegram: Option<Telegram>,
    /// TG-Staff's own API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tgstaff: Option<Tgstaff>,
    /// A subject of a NATS server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nats: Option<Nats>,
    /// A table of a PostgreSQL database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres: Option<Postgres>,
    /// What it does can come back as a new event: the loop guard applies. Default: true for
    /// tgstaff, else false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writes_back: Option<bool>,
    /// What is removed before the event is rendered for this destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redact: Option<Redact>,
    /// How deliveries are attempted. Every value has a default by kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
}

/// Any HTTP endpoint. Redirects are failures and are not followed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.url.startsWith('https://') || (has(self.allowPrivateNetwork) && self.allowPrivateNetwork)",
    "message": "http:// sends the event in the clear: use https://, or set allowPrivateNetwork: true for an endpoint on a private network",
}]))]
pub struct Http {
    /// Where requests go.
    #[schemars(with = "text::Url")]
    pub url: String,
    /// GET, POST, PUT, PATCH or DELETE. Default: POST.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Sent with each attempt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub headers: Vec<Header>,
    /// Json: the rendered body, or the event's data. CloudEventsBinary: the same, and the event's
    /// attributes in ce- headers. CloudEventsStructured: one JSON object with both. Default: Json.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// How requests are signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sign: Option<Sign>,
    /// Allow http:// and private and loopback addresses, where the operator allows this namespace
    /// to reach them. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_private_network: Option<bool>,
}

/// A method of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// GET.
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
}

/// A header of an outgoing request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.value) != has(self.secretRef)",
    "message": "give the header either a value or a secretRef",
}, {
    "rule": "!self.name.matches(r'(?i)^(host|content-length|transfer-encoding|connection)$')",
    "message": "Host, Content-Length, Transfer-Encoding and Connection are set by the connection: remove the header",
}]))]
pub struct Header {
    /// The header's name.
    #[schemars(with = "text::HeaderName")]
    pub name: String,
    /// Its value, where it is no secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::HeaderText>")]
    pub value: Option<String>,
    /// Its whole value, such as Bearer and a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
}

/// How an event is put on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Format {
    /// The rendered body, or the event's data.
    Json,
    /// CloudEvents 1.0 in binary mode.
    CloudEventsBinary,
    /// CloudEvents 1.0 in structured mode.
    CloudEventsStructured,
}

/// How requests are signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sign {
    /// As Standard Webhooks does: webhook-id, webhook-timestamp and webhook-signature.
    pub standard_webhooks: StandardWebhooks,
}

/// Signing as Standard Webhooks does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StandardWebhooks {
    /// Secrets, whsec_ and base64. The request is signed with each, so that the receiver may
    /// rotate them.
    #[schemars(length(min = 1, max = 4), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name", "key"]))]
    pub secret_refs: Vec<RotatedSecretRef>,
}

/// TG-Staff's own API. Its paths are not published, so they are settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.baseUrl.startsWith('https://') || (has(self.allowPrivateNetwork) && self.allowPrivateNetwork)",
    "message": "http:// sends the token in the clear: use https://, or set allowPrivateNetwork: true for an endpoint on a private network",
}]))]
pub struct Tgstaff {
    /// The API's address, as TG-Staff gave it to you.
    #[schemars(with = "text::BaseUrl")]
    pub base_url: String,
    /// The call's path, put behind baseUrl. One segment of it may be an expression, as in
    /// /users/${event.data.user_id}/tags.
    #[schemars(with = "text::UrlPath")]
    pub path: String,
    /// GET, POST, PUT, PATCH or DELETE. Default: POST.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// The API's token, sent as Authorization: Bearer.
    pub token_secret_ref: SecretRef,
    /// Other headers, sent with each attempt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub headers: Vec<Header>,
    /// Allow http:// and private and loopback addresses, where the operator allows this namespace
    /// to reach them. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_private_network: Option<bool>,
}

/// What is removed from an event before it is rendered for a destination.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "(has(self.pointers) && size(self.pointers) > 0) || (has(self.patterns) && size(self.patterns) > 0)",
    "message": "name what to remove: pointers or patterns",
}]))]
pub struct Redact {
    /// Members of the event's data, as JSON pointers such as /text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<text::Pointer>", length(max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub pointers: Vec<String>,
    /// What is masked in every text: Phone, Email, Card.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 3), extend("x-kubernetes-list-type" = "set"))]
    pub patterns: Vec<Pattern>,
}

/// What is masked in every text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Pattern {
    /// Telephone numbers.
    Phone,
    /// Email addresses.
    Email,
    /// Numbers of payment cards.
    Card,
}
