//! Condition types and reasons, as they stand in status; those of Gateway API where it has them.
//!
//! Every condition carries the `observedGeneration` that it is about. A reason's text is an API:
//! it may be added to and is never renamed.

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::{Schema, SchemaGenerator, json_schema};

/// The object's own spec is valid, and it may be what it asks to be.
pub const ACCEPTED: &str = "Accepted";
/// All that the object refers to exists.
pub const RESOLVED_REFS: &str = "ResolvedRefs";
/// Every live receiver serves the current spec.
pub const PROGRAMMED: &str = "Programmed";

/// The statuses of a condition.
pub mod status {
    /// It holds.
    pub const TRUE: &str = "True";
    /// It does not hold.
    pub const FALSE: &str = "False";
    /// Not known yet.
    pub const UNKNOWN: &str = "Unknown";
}

/// Why a condition is as it is.
pub mod reason {
    /// `Accepted` is True.
    pub const ACCEPTED: &str = "Accepted";
    /// An older subscription has the path.
    pub const PATH_CONFLICT: &str = "PathConflict";
    /// The path lies outside the namespace, and no grant allows it.
    pub const PATH_NOT_ALLOWED: &str = "PathNotAllowed";
    /// A destination asks for an address that its namespace may not reach.
    pub const NETWORK_NOT_ALLOWED: &str = "NetworkNotAllowed";
    /// A CEL expression or a template does not compile.
    pub const INVALID_EXPRESSION: &str = "InvalidExpression";
    /// The subscription's `allowedRoutes` leave the route's namespace out.
    pub const NOT_ALLOWED_BY_SUBSCRIPTION: &str = "NotAllowedBySubscription";
    /// No subscription has the name.
    pub const NO_MATCHING_SUBSCRIPTION: &str = "NoMatchingSubscription";
    /// The object can't be read, or breaks a rule of its schema.
    pub const UNREADABLE: &str = "Unreadable";

    /// `ResolvedRefs` is True.
    pub const RESOLVED_REFS: &str = "ResolvedRefs";
    /// A Secret or a `ConfigMap` is missing.
    pub const SECRET_NOT_FOUND: &str = "SecretNotFound";
    /// It lacks the key, or the key is empty.
    pub const SECRET_KEY_MISSING: &str = "SecretKeyMissing";
    /// The value can't be what it is referred to for: a key that is not base64, a header of two lines.
    pub const SECRET_INVALID: &str = "SecretInvalid";
    /// A word list has a line that is none, or is too long.
    pub const WORD_LIST_INVALID: &str = "WordListInvalid";
    /// A rule delivers to a destination that the route does not have.
    pub const DESTINATION_NOT_FOUND: &str = "DestinationNotFound";

    /// `Programmed` is True.
    pub const PROGRAMMED: &str = "Programmed";
    /// Not every live receiver has the newest snapshot yet.
    pub const PENDING: &str = "Pending";
    /// No receiver is live.
    pub const NO_RECEIVERS: &str = "NoReceivers";
    /// The spec is invalid, and receivers serve the last good one.
    pub const LAST_GOOD_KEPT: &str = "LastGoodKept";
    /// The snapshot is too large for its Secret.
    pub const SNAPSHOT_FULL: &str = "SnapshotFull";
    /// A live receiver can't read the format that the object needs.
    pub const RECEIVER_TOO_OLD: &str = "ReceiverTooOld";
}

/// The schema of a list of conditions, with the bounds that Kubernetes itself gives them.
pub(crate) fn list_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 8,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {
                    "description": "What the condition is about.",
                    "type": "string",
                    "maxLength": 316,
                },
                "status": {
                    "description": "True, False or Unknown.",
                    "type": "string",
                    "enum": [status::TRUE, status::FALSE, status::UNKNOWN],
                },
                "observedGeneration": {
                    "description": "The generation of the spec that the condition is about.",
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                },
                "lastTransitionTime": {
                    "description": "When the status last changed.",
                    "type": "string",
                    "format": "date-time",
                },
                "reason": {
                    "description": "Why, in one word for programs.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "message": {
                    "description": "Why, and what to do, for people.",
                    "type": "string",
                    "maxLength": 32768,
                },
            },
        },
    })
}
