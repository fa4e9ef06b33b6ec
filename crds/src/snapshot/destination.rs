//! Where deliveries go, and how they are attempted.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::ResolvedSecret;
use crate::duration::Duration;

/// Where deliveries go. Most of the named kinds resolve to HTTP with their facts filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// Unique in its route.
    pub name: String,
    /// What answers mean, and what a default body is, by the kind of destination.
    pub kind: DestinationKind,
    /// What is spoken there, and all that it takes: a member named for the protocol.
    #[serde(flatten)]
    pub transport: Transport,
    /// The part of the address that depends on the event, as a template of text, frozen with the
    /// plan. By HTTP it is percent-encoded, and put where the URL's path has `{address}`, else behind
    /// it, as one segment; by NATS it is the whole subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What it does can come back as a new event.
    pub writes_back: bool,
    /// How deliveries are attempted.
    pub delivery: Delivery,
    /// What it must not see of an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redact: Option<Redact>,
}

/// What is taken out of an event before it is rendered for a destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Redact {
    /// Members of the event's data, as JSON pointers.
    pub pointers: Vec<String>,
    /// What is masked in every text.
    pub patterns: Vec<Pattern>,
}

/// What is masked in every text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pattern {
    /// Telephone numbers.
    Phone,
    /// Email addresses.
    Email,
    /// Numbers of payment cards.
    Card,
}

/// The kinds of destination that this build serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DestinationKind {
    /// The general one.
    Http,
    /// TG-Staff's own API.
    Tgstaff,
    /// Slack's Web API.
    Slack,
    /// An incoming webhook of Slack's.
    SlackWebhook,
    /// A ticket in Zendesk.
    Zendesk,
    /// A message from a Telegram bot.
    Telegram,
    /// A message from a robot of `DingTalk`'s.
    Dingtalk,
    /// An object in `HubSpot`'s CRM.
    Hubspot,
    /// A record in Salesforce.
    Salesforce,
    /// A ticket in Freshdesk.
    Freshdesk,
    /// An event in Mixpanel.
    Mixpanel,
    /// A subject of a NATS server.
    Nats,
    /// A table of a PostgreSQL database.
    Postgres,
}

/// What is spoken to a destination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Transport {
    /// HTTP.
    Http(Box<Http>),
    /// NATS's own protocol.
    Nats(Box<Nats>),
    /// PostgreSQL's own protocol.
    Postgres(Box<Postgres>),
}

impl From<Http> for Transport {
    fn from(http: Http) -> Self {
        Self::Http(Box::new(http))
    }
}

impl Transport {
    /// How the event is put on the wire.
    #[must_use]
    pub fn format(&self) -> Format {
        match self {
            Self::Http(http) => http.format,
            Self::Nats(nats) => nats.format,
            Self::Postgres(_) => Format::Json,
        }
    }

    /// What is done there, in capitals: HTTP's method, or a word of our own for people.
    #[must_use]
    pub fn method(&self) -> &str {
        match self {
            Self::Http(http) => &http.method,
            Self::Nats(_) => "PUBLISH",
            Self::Postgres(_) => "INSERT",
        }
    }

    /// HTTP, where it is that.
    #[must_use]
    pub fn http(&self) -> Option<&Http> {
        match self {
            Self::Http(http) => Some(http),
            Self::Nats(_) | Self::Postgres(_) => None,
        }
    }
}

/// A NATS server, and how messages are published there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Nats {
    /// A name, or an address without brackets.
    pub host: String,
    /// TCP.
    pub port: u16,
    /// TLS is a must. Where it is not, it is spoken if the server wants it.
    pub tls: bool,
    /// Wait for JetStream to store the message; else for the server to take it.
    pub jetstream: bool,
    /// How the event is put on the wire.
    pub format: Format,
    /// Who we are.
    pub auth: NatsAuth,
    /// Certificates in PEM that the server's own is signed with, in place of the platform's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<ResolvedSecret>,
    /// Private ranges that it may be in, without TLS too. Empty: public addresses and TLS only.
    pub private_networks: Vec<IpNet>,
}

/// Who we are to a NATS server. While a secret of it is missing, deliveries are held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NatsAuth {
    /// Nobody.
    None,
    /// A JWT and the seed of its key, as nsc writes them to a .creds file.
    Credentials(ResolvedSecret),
    /// The seed of a key.
    Nkey(ResolvedSecret),
    /// A token.
    Token(ResolvedSecret),
    /// A user.
    User {
        /// Its name.
        username: ResolvedSecret,
        /// Its password.
        password: ResolvedSecret,
    },
}

/// A table of a PostgreSQL database, and how rows are written there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Postgres {
    /// The connection; see [`crate::postgres_url`]. While it is missing, deliveries are held.
    pub url: ResolvedSecret,
    /// The table, perhaps with its schema, as it is written.
    pub table: String,
    /// The column of the delivery's key; `None` writes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_column: Option<String>,
    /// The columns that tell whether a row is there already: one at least.
    pub conflict_columns: Vec<String>,
    /// What to do where it is.
    pub on_conflict: OnConflict,
    /// Certificates in PEM that the server's own is signed with, in place of the platform's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<ResolvedSecret>,
    /// Private ranges that it may be in, without TLS too. Empty: public addresses and TLS only.
    pub private_networks: Vec<IpNet>,
}

/// What to do where a row is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnConflict {
    /// Write the new values over it.
    Update,
    /// Leave it.
    DoNothing,
}

/// An HTTP request, but for its body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Http {
    /// Absolute; `http` or `https`.
    pub url: String,
    /// In capitals.
    pub method: String,
    /// Sent with each attempt.
    pub headers: Vec<Header>,
    /// How the event is put on the wire.
    pub format: Format,
    /// Authentication that is more than a header.
    #[serde(default, skip_serializing_if = "Auth::is_none")]
    pub auth: Auth,
    /// Standard Webhooks signing: the request is signed with each usable secret.
    pub signing_secrets: Vec<ResolvedSecret>,
    /// Private ranges that this destination may reach, plain HTTP included. Empty: public
    /// addresses and HTTPS only.
    pub private_networks: Vec<IpNet>,
}

/// Authentication that is more than a header. While a secret of it is missing, deliveries are held.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Auth {
    /// None but what headers hold.
    #[default]
    None,
    /// HTTP's Basic scheme (RFC 7617).
    Basic {
        /// What is before the colon.
        username: Credential,
        /// What is behind it.
        password: Credential,
    },
    /// The secret is the whole URL.
    Url(ResolvedSecret),
    /// The secret stands in the URL's path, where the path has `{secret}`.
    Path(ResolvedSecret),
    /// `DingTalk`'s scheme: a token in the query, and the time and its signature beside it.
    #[serde(rename_all = "camelCase")]
    SignedQuery {
        /// `access_token`.
        token: ResolvedSecret,
        /// Signs the time of each attempt, where there is one.
        signing_secret: Option<ResolvedSecret>,
    },
    /// A bearer token that is got first, and again once it no longer counts.
    OAuth(Box<OAuth>),
}

/// How a bearer token is got (RFC 6749).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OAuth {
    /// Where.
    pub token_url: String,
    /// For what.
    pub grant: Grant,
}

/// What a bearer token is got for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Grant {
    /// Client credentials (RFC 6749, 4.4).
    #[serde(rename_all = "camelCase")]
    ClientCredentials {
        /// The client's id.
        client_id: ResolvedSecret,
        /// Its secret.
        client_secret: ResolvedSecret,
    },
    /// A JWT that the client signs (RFC 7523), by RS256.
    #[serde(rename_all = "camelCase")]
    JwtBearer {
        /// The client's id.
        client_id: ResolvedSecret,
        /// The user to act as.
        username: String,
        /// Whom the JWT is for.
        audience: String,
        /// In PEM.
        private_key: ResolvedSecret,
    },
}

impl Auth {
    fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

/// A part of a credential.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Credential {
    /// Known to all, or written in the route.
    Literal(String),
    /// From a Secret.
    Secret(ResolvedSecret),
}

/// A header of an outgoing request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// The header's name.
    pub name: String,
    /// Its value.
    pub value: HeaderValue,
}

/// A header's value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum HeaderValue {
    /// Written in the route.
    Literal(String),
    /// From a Secret, after a literal prefix such as `Bearer `.
    Secret {
        /// Put before the secret's value; may be empty.
        prefix: String,
        /// The value; while it is missing, deliveries are held.
        secret: ResolvedSecret,
    },
}

/// How an event is put on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// The rendered body, or the event's data as it came.
    Json,
    /// CloudEvents 1.0 binary mode: attributes in `ce-` headers.
    CloudEventsBinary,
    /// CloudEvents 1.0 structured mode: one JSON object.
    CloudEventsStructured,
}

/// How deliveries are attempted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// The whole of one attempt.
    pub timeout: Duration,
    /// From the plan; afterwards a failed attempt is the last.
    pub give_up_after: Duration,
    /// The first delay; the next ones double, with full jitter.
    pub backoff_initial: Duration,
    /// The longest delay.
    pub backoff_max: Duration,
    /// What to do when it can't be known whether an attempt took effect.
    pub on_ambiguous: OnAmbiguous,
    /// Attempts a second; `None` for no limit.
    pub rate_limit: Option<RateLimit>,
    /// Order within a subject.
    pub ordering: Ordering,
    /// When to stop asking a failing destination.
    pub circuit_breaker: CircuitBreaker,
}

/// What to do about an ambiguous attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnAmbiguous {
    /// Attempt again: at least once.
    Retry,
    /// Ask the destination whether it has it, and attempt again where it has not.
    Search,
    /// Give up: at most once.
    DeadLetter,
}

/// A limit on attempts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// Attempts a second; may be a fraction.
    pub per_second: f64,
    /// How many at once.
    pub burst: u32,
}

/// Order of deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ordering {
    /// None.
    None,
    /// Accept order for each (route, destination, subscription, subject).
    PerSubject,
}

/// When to stop asking a failing destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreaker {
    /// Failures in a row that open it.
    pub failures: u32,
    /// How long it stays open before one attempt is let through.
    pub open_for: Duration,
}
