//! What a request must show: a signature, static headers, an address.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::duration::Duration;
use crate::secret_ref::{RotatedSecretRef, SecretRef};
use crate::text;

/// What a request must show. All that is listed must pass.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "has(self.hmac) || (has(self.headers) && size(self.headers) > 0) || (has(self.unverified) && self.unverified)",
        "message": "name what proves the sender: hmac or headers (sourceRanges alone do not), or write `unverified: true` alone to accept every request",
    },
    {
        "rule": "!has(self.unverified) || !self.unverified || (!has(self.hmac) && (!has(self.headers) || size(self.headers) == 0) && (!has(self.sourceRanges) || size(self.sourceRanges) == 0))",
        "message": "unverified: true stands alone: remove it, or remove hmac, headers and sourceRanges",
    },
]))]
pub struct Verification {
    /// A signature over the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hmac: Option<Hmac>,
    /// Headers that must hold a secret's value, such as Authorization.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub headers: Vec<HeaderToken>,
    /// Addresses that requests may come from, in CIDR notation. Behind a proxy that the receiver
    /// trusts, the address that the proxy tells counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<text::Cidr>", length(max = 64), extend("x-kubernetes-list-type" = "set"))]
    pub source_ranges: Vec<String>,
    /// True to accept every request. It stands alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unverified: Option<bool>,
}

/// A signature scheme and its secrets. The provider fills in what is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.message) || 'Body' in self.message",
        "message": "a signature that leaves the body out proves nothing about it: add Body to message",
    },
    {
        "rule": "!has(self.tolerance) || !has(self.message) || 'Timestamp' in self.message",
        "message": "tolerance needs a signed timestamp: add Timestamp to message, or remove tolerance",
    },
]))]
pub struct Hmac {
    /// The header that holds the signature, or several.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::HeaderName>")]
    pub header: Option<String>,
    /// The hash: SHA1, SHA256 or SHA512. Default: SHA256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// How the signature is written: Hex, Base64, or Auto for either. Default: Auto.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// Stripped from the signature, such as sha256=. With layouts that hold several signatures it
    /// names those that count, such as v1, or v1=.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub prefix: Option<String>,
    /// How the header is split. Single: one signature. SpaceSeparated: several, as Standard
    /// Webhooks sends them. Parameters: key=value pairs, as Stripe sends them, t being the
    /// timestamp. Default: Single.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// How a secret becomes the key: Raw, Base64, or Whsec for base64 after whsec_. Default: Raw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_encoding: Option<SecretEncoding>,
    /// What is signed, in order: Id, Timestamp, Method, Url, Body, or literal: and characters, as
    /// in literal:v0. Default: [Body].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub message: Option<Vec<MessagePart>>,
    /// Put between the parts of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub delimiter: Option<String>,
    /// The header that holds the message's Id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::HeaderName>")]
    pub id_header: Option<String>,
    /// The header that holds the message's Timestamp.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::HeaderName>")]
    pub timestamp_header: Option<String>,
    /// How the timestamp is written: Seconds, Milliseconds or Rfc3339. Default: Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_unit: Option<TimestampUnit>,
    /// How far the timestamp may be from the receiver's clock, either way.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Positive>")]
    pub tolerance: Option<Duration>,
    /// Scheme and host as the sender calls them, where the message holds the Url. Default: the
    /// receiver's own public URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<text::Origin>")]
    pub public_url: Option<String>,
    /// The signing secrets; any one may match, so that they can be rotated without a gap.
    #[schemars(length(min = 1, max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name", "key"]))]
    pub secret_refs: Vec<RotatedSecretRef>,
}

/// The hash of an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Algorithm {
    /// HMAC-SHA1, for senders that have nothing better.
    SHA1,
    /// HMAC-SHA256.
    SHA256,
    /// HMAC-SHA512.
    SHA512,
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Encoding {
    /// Hexadecimal or base64, told apart by length.
    Auto,
    /// Hexadecimal.
    Hex,
    /// Base64.
    Base64,
}

/// How a signature header is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Layout {
    /// One signature.
    Single,
    /// Several, separated by spaces, each `version,signature`.
    SpaceSeparated,
    /// `key=value` pairs separated by commas.
    Parameters,
}

/// How a secret becomes a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SecretEncoding {
    /// The bytes as they are.
    Raw,
    /// The bytes are base64 of the key.
    Base64,
    /// `whsec_` and base64 of the key.
    Whsec,
}

/// How a timestamp is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TimestampUnit {
    /// Unix seconds.
    Seconds,
    /// Unix milliseconds.
    Milliseconds,
    /// RFC 3339.
    Rfc3339,
}

/// A part of the signed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessagePart {
    /// The value of `idHeader`.
    Id,
    /// The timestamp as it was sent.
    Timestamp,
    /// The request method in capitals.
    Method,
    /// The full URL, as the sender called it.
    Url,
    /// The raw body.
    Body,
    /// These characters.
    Literal(String),
}

/// A header that must hold a secret's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderToken {
    /// The header.
    #[schemars(with = "text::HeaderName")]
    pub name: String,
    /// Its whole value, such as Bearer and a token.
    pub secret_ref: SecretRef,
}

/// What stands before the characters of [`MessagePart::Literal`].
const LITERAL: &str = "literal:";

impl fmt::Display for MessagePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Id => "Id",
            Self::Timestamp => "Timestamp",
            Self::Method => "Method",
            Self::Url => "Url",
            Self::Body => "Body",
            Self::Literal(text) => return write!(f, "{LITERAL}{text}"),
        })
    }
}

impl Serialize for MessagePart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MessagePart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(match text.as_str() {
            "Id" => Self::Id,
            "Timestamp" => Self::Timestamp,
            "Method" => Self::Method,
            "Url" => Self::Url,
            "Body" => Self::Body,
            other => match other.strip_prefix(LITERAL) {
                Some(literal) if !literal.is_empty() => Self::Literal(literal.to_owned()),
                _ => {
                    return Err(serde::de::Error::custom(format!(
                        "`{text}` is no part of a message: write Id, Timestamp, Method, Url, Body, \
                         or characters as in literal:v0"
                    )));
                }
            },
        })
    }
}

impl JsonSchema for MessagePart {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MessagePart".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": 64,
            "x-kubernetes-validations": [{
                "rule": "self.matches(r'^(Id|Timestamp|Method|Url|Body|literal:.+)$')",
                "message": "write Id, Timestamp, Method, Url, Body, or characters as in literal:v0",
            }],
        })
    }
}
