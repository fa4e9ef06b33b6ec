//! The named kinds of destination: HTTP APIs whose facts are known, a message queue and a
//! database.
//!
//! `baseUrl` stands in for a vendor's own address, for a proxy or for tests; `http://` and private
//! addresses need `allowPrivateNetwork` there as they do for `http`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::destination::Format;
use crate::secret_ref::SecretRef;
use crate::text;

/// The rule of every kind that has a `baseUrl`.
macro_rules! vendor {
    ($($more:tt)*) => {
        serde_json::json!([{
            "rule": "!has(self.baseUrl) || self.baseUrl.startsWith('https://') || (has(self.allowPrivateNetwork) && self.allowPrivateNetwork)",
            "message": "http:// sends secrets in the clear: use https://, or set allowPrivateNetwork: true for an endpoint on a private network",
        } $($more)*])
    };
}

/// Slack, through an incoming webhook or the Web API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = vendor!(, {
    "rule": "has(self.webhookUrlSecretRef) != has(self.tokenSecretRef)",
    "message": "name either webhookUrlSecretRef, for an incoming webhook, or tokenSecretRef, for the Web API",
}, {
    "rule": "!has(self.channel) || has(self.tokenSecretRef)",
    "message": "an incoming webhook has its own channel: remove channel, or use tokenSecretRef",
})))]
pub struct Slack {
    /// The URL of an incoming webhook, which is itself a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_url_secret_ref: Option<SecretRef>,
    /// A bot's token for chat.postMessage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<SecretRef>,
    /// The channel, where the body does not name one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Plain>")]
    pub channel: Option<String>,
    /// Another address than https://slack.com, for the Web API.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::BaseUrl>")]
    pub base_url: Option<String>,
    /// Allow http:// and private and loopback addresses. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_private_network: Option<bool>,
}

/// A robot in a `DingTalk` group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = vendor!()))]
pub struct Dingtalk {
    /// The robot's access token.
    pub access_token_secret_ref: SecretRef,
    /// The robot's signing secret, where its security setting is a signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing_secret_ref: Option<SecretRef>,
    /// Another address than https://oapi.dingtalk.com, such as https://oapi.dingtalk.io for
    /// accounts outside mainland China.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::BaseUrl>")]
    pub base_url: Option<String>,
    /// Allow http:// and private and loopback addresses. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_private_network: Option<bool>,
}

/// An object in `HubSpot`'s CRM, created or found by a unique property.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = vendor!(, {
    "rule": "has(self.idProperty) == has(self.id)",
    "message": "idProperty and id go together: the unique property, and its value for an event",
})))]
pub struct Hubspot {
    /// A private app's access token.
    pub token_secret_ref: SecretRef,
    /// The type of object: contacts, tickets, or another of the account.
    #[schemars(with = "text::ApiName")]
    pub object_type: String,
    /// The unique property that the object is found by, such as tgstaff_user_id. Left out, each
    /// delivery creates an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::ApiName>")]
    pub id_property: Option<String>,
    /// The value of that property: text with ${...}.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::TextTemplate>")]
    pub id: Option<String>,
    /// Objects that the new one is tied to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub associations: Vec<HubspotAssociation>,
    /// The API's version. Default: 2026-03.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::ApiName>")]
    pub api_version: Option<String>,
    /// Another address than https://api.hubapi.com.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::BaseUrl>")]
    pub base_url: Option<String>,
    /// Allow http:// and private and loopback addresses. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_private_network: Option<bool>,
}

/// An object that a new one is tied to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HubspotAssociation {
    /// The other object's id: text with ${...}.
    #[schemars(with = "text::TextTemplate")]
    pub to: String,
    /// HubSpot's number for the kind and direction of the tie, such as 16 from a ticket to a
    /// contact.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub type_id: u32,
}

/// A record in Salesforce, found by an external id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.instanceUrl.startsWith('https://') || (has(self.allowPrivateNetwork) && self.allowPrivateNetwork)",
    "message": "http:// sends secrets in the clear: use https://, or set allowPrivateNetwork: true for an endpoint on a private network",
}]))]
pub struct Salesforce {
    /// The org's address, as https://acme.my.salesforce.com.
    #[schemars(with = "text::BaseUrl")]
    pub instance_url: String,
    /// The type of record, such as Lead.
    #[schemars(with = "text::ApiName")]
    pub object: String,
    /// The external-id field that the record is found by, such as TGStaff_User__c. The body leaves
    /// it out.
    #[schemars(with = "text::ApiName")]
    pub external_id_field: String,
    /// The value of that field: text with ${...}.
    #[schemars(with = "text::TextTemplate")]
    pub external_id: String,
    /// How a token is got.
    pub auth: SalesforceAuth,
    /// The API's version, such as v66.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::ApiName>")]
    pub api_version: Option<String>,
    /// Allow http:// and private and loopback addresses. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_private_network: Option<bool>,
}

/// How a token of Salesforce is got: exactly one way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.clientCredentials) != has(self.jwtBearer)",
    "message": "name either clientCredentials or jwtBearer",
}]))]
pub struct SalesforceAuth {
    /// OAuth 2.0 client credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_credentials: Option<ClientCredentials>,
    /// OAuth 2.0 JWT bearer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt_bearer: Option<JwtBearer>,
}

/// OAuth 2.0 client credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientCredentials {
    /// The connected app's consumer key.
    pub client_id_secret_ref: SecretRef,
    /// The connected app's consumer secret.
    pub client_secret_secret_ref: SecretRef,
}

/// OAuth 2.0 JWT bearer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwtBearer {
    /// The connected app's consumer key.
    pub client_id_secret_ref: SecretRef,
    /// The user to act as.
    #[schemars(with = "text::Plain")]
    pub username: String,
    /// The private key in PEM.
    pub private_key_secret_ref: SecretRef,
    /// Who the token is for: https://login.salesforce.com, or https://test.salesforce.com for a
    /// sandbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Origin>")]
    pub audience: Option<String>,
}

/// A ticket in Zendesk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = vendor!()))]
pub struct Zendesk {
    /// The account: acme for acme.zendesk.com.
    #[schemars(with = "text::HostLabel")]
    pub subdomain: String,
    /// The agent whose token it is.
    #[schemars(with = "text::Plain")]
    pub email: String,
    /// The API token.
    pub token_secret_ref: SecretRef,
    /// Another address than the account's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::BaseUrl>")]
    pub base_url: Option<String>,
    /// Allow http:// and private and loopback addresses. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_private_network: Option<bool>,
}

/// A ticket in Freshdesk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = vendor!()))]
pub struct Freshdesk {
    /// The account: acme for acme.freshdesk.com.
    #[schemars(with = "text::HostLabel")]
    pub domain: String,
    /// The API key.
    pub api_key_secret_ref: SecretRef,
    /// Another address than the account's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::BaseUrl>")]
    pub base_url: Option<String>,
    /// Allow http:// and private and loopback addresses. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_private_network: Option<bool>,
}

/// An event in Mixpanel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = vendor!(, {
    "rule": "has(self.serviceAccount) != has(self.projectTokenSecretRef)",
    "message": "name either serviceAccount or projectTokenSecretRef",
})))]
pub struct Mixpanel {
    /// The project's number.
    #[schemars(with = "text::ApiName")]
    pub project_id: String,
    /// A service account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ServiceAccount>,
    /// The project's token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_token_secret_ref: Option<SecretRef>,
    /// Where the project's data is kept: US, EU or IN. Default: US.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<MixpanelRegion>,
    /// Another address than the region's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::BaseUrl>")]
    pub base_url: Option<String>,
    /// Allow http:// and private and loopback addresses. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_private_network: Option<bool>,
}

/// A service account of Mixpanel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceAccount {
    /// Its user name.
    pub username_secret_ref: SecretRef,
    /// Its secret.
    pub password_secret_ref: SecretRef,
}

/// Where a project of Mixpanel keeps its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MixpanelRegion {
    /// The United States.
    US,
    /// The European Union.
    EU,
    /// India.
    IN,
}

/// A message from a Telegram bot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = vendor!()))]
pub struct Telegram {
    /// The bot's token.
    pub token_secret_ref: SecretRef,
    /// The chat, where the body does not name one: text with ${...}.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::TextTemplate>")]
    pub chat_id: Option<String>,
    /// Another address than https://api.telegram.org.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::BaseUrl>")]
    pub base_url: Option<String>,
    /// Allow http:// and private and loopback addresses. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_private_network: Option<bool>,
}

/// A subject of a NATS server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.url.startsWith('tls://') || (has(self.allowPrivateNetwork) && self.allowPrivateNetwork)",
    "message": "nats:// sends the event in the clear: use tls://, or set allowPrivateNetwork: true for a server on a private network",
}, {
    "rule": "[has(self.credentialsSecretRef), has(self.nkeySecretRef), has(self.tokenSecretRef), has(self.user)].filter(given, given).size() <= 1",
    "message": "name one of credentialsSecretRef, nkeySecretRef, tokenSecretRef and user at most",
}]))]
pub struct Nats {
    /// The server. Others that it tells of are not used.
    #[schemars(with = "text::NatsUrl")]
    pub url: String,
    /// The subject: text with ${...}. What comes of it has no spaces and no wildcards, and begins
    /// neither with $ nor with _INBOX.
    #[schemars(with = "text::TextTemplate")]
    pub subject: String,
    /// Credentials, as nsc writes them to a .creds file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretRef>,
    /// The seed of a user's key, which begins with SU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nkey_secret_ref: Option<SecretRef>,
    /// A token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<SecretRef>,
    /// A user and a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<NatsUser>,
    /// True to wait for JetStream to store the message; false waits until the server has taken it,
    /// which passes it on to who listens just then. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jetstream: Option<bool>,
    /// Json: the rendered body, or the event's data. CloudEventsBinary: the same, and the event's
    /// attributes in ce- headers. CloudEventsStructured: one JSON object with both. Default: Json.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Certificates, in PEM, that the server's own is signed with. Default: those of the platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretRef>,
    /// Allow nats:// and private and loopback addresses, where the operator allows this namespace
    /// to reach them. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_private_network: Option<bool>,
}

/// A user of a NATS server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NatsUser {
    /// Its name.
    pub username_secret_ref: SecretRef,
    /// Its password.
    pub password_secret_ref: SecretRef,
}

/// A table of a PostgreSQL database. The body's members are its columns. Without a body they are
/// event_id, event_type, event_time, subject and data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.onConflict) || self.onConflict != 'Update' || (has(self.conflictColumns) && size(self.conflictColumns) > 0)",
    "message": "onConflict: Update needs conflictColumns: without them a row is found by the delivery's own key, and would be the same again",
}, {
    "rule": "!has(self.keyColumn) || !has(self.conflictColumns) || !(self.keyColumn in self.conflictColumns)",
    "message": "keyColumn is set by Hookswitch: leave it out of conflictColumns, or leave conflictColumns out",
}]))]
pub struct Postgres {
    /// The connection, as postgres://user:password@host/database. TLS is spoken, and the server's
    /// certificate is checked, unless it ends with ?sslmode=disable.
    pub url_secret_ref: SecretRef,
    /// The table, perhaps with its schema. Upper and lower case differ.
    #[schemars(with = "text::SqlName")]
    pub table: String,
    /// The column of the delivery's key, a uuid or a text, the same with every attempt. Without
    /// conflictColumns it needs a unique index, and a second row of the same key is not written.
    /// Default: hookswitch_id, or none with conflictColumns.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::SqlColumn>")]
    pub key_column: Option<String>,
    /// Columns that tell whether a row is there already, such as the user's id. They need a unique
    /// index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<text::SqlColumn>", length(max = 8), extend("x-kubernetes-list-type" = "set"))]
    pub conflict_columns: Vec<String>,
    /// What to do where it is, by conflictColumns: Update it, or DoNothing. Default: Update.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_conflict: Option<OnConflict>,
    /// Certificates, in PEM, that the server's own is signed with. Default: those of the platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretRef>,
    /// Allow connections without TLS and private and loopback addresses, where the operator allows
    /// this namespace to reach them. Default: false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_private_network: Option<bool>,
}

/// What to do where a row is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnConflict {
    /// Write the new values over it.
    Update,
    /// Leave it.
    DoNothing,
}
