//! Kinds of text in the resources: a name, a path, an expression. Each kind says once how long
//! it may be, what it must look like, and what to write where it does not.
//!
//! They are schemas only: a field stays a `String` and names its kind with
//! `#[schemars(with = "...")]`. The rule is CEL rather than `pattern`, so that the API server
//! answers with the remedy and not with a regular expression.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::duration;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident: $max:literal, $pattern:literal, $remedy:literal;)*) => {$(
        $(#[$doc])*
        pub(crate) enum $kind {}

        impl JsonSchema for $kind {
            fn schema_name() -> Cow<'static, str> {
                stringify!($kind).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "minLength": 1,
                    "maxLength": $max,
                    "x-kubernetes-validations": [{
                        "rule": concat!("self.matches(r'", $pattern, "')"),
                        "message": $remedy,
                    }],
                })
            }
        }
    )*};
}

kinds! {
    /// The name of a rule, a destination or a list in its route: a DNS label.
    Name: 63, "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "use lower case letters, digits and dashes, and begin and end with a letter or a digit, as in new-inquiry";
    /// A name that expressions use after a dot: `enriched.profile`.
    Identifier: 63, "^[a-z][a-zA-Z0-9_]*$",
        "use letters, digits and underscores, and begin with a lower case letter, as in profile: expressions name it enriched.profile";
    /// The name of a Kubernetes object: a DNS subdomain.
    ObjectName: 253, "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$",
        "use the name of an object in Kubernetes: lower case letters, digits, dashes and dots, as in tg-staff";
    /// A namespace's name.
    NamespaceName: 63, "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "use the name of a namespace: lower case letters, digits and dashes, as in support";
    /// A key of a Secret or a ConfigMap.
    DataKey: 253, "^[-._a-zA-Z0-9]+$",
        "use a key of the object's data: letters, digits, dashes, underscores and dots, as in signing-key";
    /// The name of an HTTP header (RFC 9110, `token`).
    HeaderName: 256, "^[-!#$%&*+.^_`|~0-9A-Za-z]+$",
        "use the name of an HTTP header without its colon, as in X-TG-Staff-Signature";
    /// The value of an HTTP header: printable, and no space at its ends.
    HeaderText: 1024, "^[!-~]([ -~]*[!-~])?$",
        "use printable ASCII without spaces at the ends, and a secretRef for what is secret";
    /// A request path that is matched exactly.
    Path: 512, "^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$",
        "begin with / and use letters, digits, -, _, ~ and dots in segments, without a slash at the end, as in /support/tg-staff";
    /// A path that is put behind a base URL.
    UrlPath: 1024, "^/[^ ?#]*$",
        "begin with / and leave query and fragment out, as in /messages";
    /// An absolute URL with a literal host.
    Url: 2048, "^https?://[-A-Za-z0-9._:\\[\\]]+([/?][^ #]*)?$",
        "write https://host/path without spaces, fragment or credentials: those go to headers, from a Secret";
    /// An absolute URL of a host, perhaps with a path that others are put behind.
    BaseUrl: 2048, "^https?://[-A-Za-z0-9._:\\[\\]]+(/[^ ?#]*)?$",
        "write https://host, without query, fragment or credentials";
    /// Scheme and authority alone.
    Origin: 512, "^https?://[-A-Za-z0-9._:\\[\\]]+$",
        "write the scheme and host that the sender calls, as in https://hooks.example.com";
    /// A URL with `${...}` behind its host.
    UrlTemplate: 2048, "^https?://[-A-Za-z0-9._:\\[\\]]+([/?].*)?$",
        "write https://host/path?query: the host is written out, and ${...} may stand in path and query only";
    /// A NATS server's URL.
    NatsUrl: 512, "^(nats|tls)://[-A-Za-z0-9._:\\[\\]]+$",
        "write nats://host:4222 or tls://host:4222, and credentials as credentialsSecretRef";
    /// A host name's first label at a vendor.
    HostLabel: 63, "^[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?$",
        "use the first part of your account's host name, as acme in acme.zendesk.com";
    /// An event's type, as the sender writes it.
    EventType: 128, "^[!-~]+$",
        "use the type as the sender writes it, without spaces, as in conversation.created";
    /// A CEL expression.
    Expression: 4096, "[^ ]",
        "write a CEL expression, as in event.data.status == 'closed', or leave the field out";
    /// Text with `${...}` in it.
    TextTemplate: 4096, "[^ ]",
        "write text with ${...} in it, as in ${event.subject}, or leave the field out";
    /// A JSON pointer (RFC 6901) to a member.
    Pointer: 512, "^(/([^~/]|~0|~1)*)+$",
        "write a JSON pointer, as in /message/text: ~1 stands for a slash in a name, ~0 for a tilde";
    /// Addresses in CIDR notation.
    Cidr: 49, "^[0-9A-Fa-f:.]+/[0-9]{1,3}$",
        "write addresses in CIDR notation, as in 203.0.113.0/24, or 203.0.113.7/32 for one";
    /// A word that a sender's event is compared with.
    Word: 128, "[^ ]",
        "write a word, or leave it out";
    /// The name of an object, a field or a version at a vendor's API.
    ApiName: 128, "^[A-Za-z0-9][-A-Za-z0-9_.]*$",
        "use the name as the vendor's API writes it: letters, digits, dashes, underscores and dots";
    /// A table of PostgreSQL, perhaps with its schema.
    SqlName: 127, "^[A-Za-z_][A-Za-z0-9_]{0,62}([.][A-Za-z_][A-Za-z0-9_]{0,62})?$",
        "use a table's name, as in events or public.events";
    /// A column of PostgreSQL.
    SqlColumn: 63, "^[A-Za-z_][A-Za-z0-9_]*$",
        "use a column's name, as in user_id";
    /// Something that a vendor knows and that has no fixed form: an address, a channel.
    Plain: 256, "^[^ ]+$",
        "write it without spaces";
}

/// A duration above zero, as most are.
pub(crate) enum Positive {}

impl JsonSchema for Positive {
    fn schema_name() -> Cow<'static, str> {
        "Positive".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let (longest, message) = duration::LONGEST;
        json_schema!({
            "type": "string",
            "maxLength": duration::MAX_LENGTH,
            "pattern": duration::PATTERN,
            "x-kubernetes-validations": [{
                "rule": "duration(self) > duration('0s')",
                "message": "write a duration above zero, as in 30s, 10m or 72h",
            }, {"rule": longest, "message": message}],
        })
    }
}
