//! What is known of each provider: how it signs, how it pings, where an event's attributes are.
//!
//! A subscription's own settings go over its provider's, field by field. Nothing here is a schema
//! default, so what we learn of a provider reaches stored objects too.

use hookswitch_crds::duration::Duration;
use hookswitch_crds::snapshot::{
    FieldSource, Fields, Hmac, HmacAlgorithm, MessagePart, Ping, SecretEncoding, SignatureEncoding,
    SignatureLayout, TimestampUnit,
};
use hookswitch_crds::subscription::Provider;

/// How far a signed timestamp may be from now, by the providers that name a tolerance.
const TOLERANCE: Duration = Duration::from_secs(300);

/// The facts of one provider.
#[derive(Debug)]
pub(super) struct Preset {
    /// The signature, without secrets; its header is empty where the provider has none.
    pub(super) hmac: Hmac,
    /// How it tests an endpoint.
    pub(super) ping: Ping,
    /// Where an event's attributes are.
    pub(super) fields: Fields,
}

impl Preset {
    /// The facts of a provider.
    pub(super) fn of(provider: Provider) -> Self {
        match provider {
            Provider::TGStaff => tg_staff(),
            Provider::StandardWebhooks => standard_webhooks(),
            Provider::GitHub => github(),
            Provider::Stripe => stripe(),
            Provider::Slack => slack(),
            Provider::Shopify => shopify(),
            Provider::Zendesk => zendesk(),
            Provider::HubSpot => hubspot(),
            Provider::Intercom => intercom(),
            Provider::Telegram => telegram(),
            Provider::Generic => generic(),
        }
    }
}

/// TG-Staff documents the signature's header and hash, and no more: its encoding, its JSON keys and
/// its ping are settings for that reason.
fn tg_staff() -> Preset {
    Preset {
        hmac: signed_body("X-TG-Staff-Signature", SignatureEncoding::Auto),
        ping: Ping {
            allow_unsigned: true,
            types: vec!["ping".into(), "test".into()],
        },
        fields: Fields {
            r#type: pointer("/event_type"),
            id: pointer("/event_id"),
            time: pointer("/timestamp"),
            subject: pointer("/conversation_id"),
            sender: pointer("/sender_type"),
        },
    }
}

/// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.
/// Svix signs alike under `svix-` headers.
fn standard_webhooks() -> Preset {
    Preset {
        hmac: Hmac {
            prefix: Some("v1,".into()),
            layout: SignatureLayout::SpaceSeparated,
            secret_encoding: SecretEncoding::Whsec,
            message: vec![MessagePart::Id, MessagePart::Timestamp, MessagePart::Body],
            delimiter: ".".into(),
            id_header: Some("webhook-id".into()),
            timestamp_header: Some("webhook-timestamp".into()),
            tolerance: Some(TOLERANCE),
            ..signed_body("webhook-signature", SignatureEncoding::Base64)
        },
        fields: Fields {
            r#type: pointer("/type"),
            id: header("webhook-id"),
            time: pointer("/timestamp"),
            ..no_fields()
        },
        ..generic()
    }
}

/// <https://docs.github.com/en/webhooks/webhook-events-and-payloads#delivery-headers>
fn github() -> Preset {
    Preset {
        hmac: Hmac {
            prefix: Some("sha256=".into()),
            ..signed_body("X-Hub-Signature-256", SignatureEncoding::Hex)
        },
        ping: signed_ping(&["ping"]),
        fields: Fields {
            r#type: header("X-GitHub-Event"),
            id: header("X-GitHub-Delivery"),
            subject: pointer("/repository/full_name"),
            sender: pointer("/sender/type"),
            ..no_fields()
        },
    }
}

/// <https://docs.stripe.com/webhooks#verify-manually>. The whole secret is the key, with its
/// `whsec_`.
fn stripe() -> Preset {
    Preset {
        hmac: Hmac {
            prefix: Some("v1=".into()),
            layout: SignatureLayout::Parameters,
            message: vec![MessagePart::Timestamp, MessagePart::Body],
            delimiter: ".".into(),
            tolerance: Some(TOLERANCE),
            ..signed_body("Stripe-Signature", SignatureEncoding::Hex)
        },
        ping: signed_ping(&["v2.core.event_destination.ping"]),
        fields: Fields {
            r#type: pointer("/type"),
            id: pointer("/id"),
            time: pointer("/created"),
            subject: pointer("/data/object/id"),
            ..no_fields()
        },
    }
}

/// <https://docs.slack.dev/authentication/verifying-requests-from-slack> and the Events API's
/// envelope.
fn slack() -> Preset {
    Preset {
        hmac: Hmac {
            prefix: Some("v0=".into()),
            message: vec![
                MessagePart::Literal("v0".into()),
                MessagePart::Timestamp,
                MessagePart::Body,
            ],
            delimiter: ":".into(),
            timestamp_header: Some("X-Slack-Request-Timestamp".into()),
            tolerance: Some(TOLERANCE),
            ..signed_body("X-Slack-Signature", SignatureEncoding::Hex)
        },
        fields: Fields {
            r#type: pointer("/event/type"),
            id: pointer("/event_id"),
            time: pointer("/event_time"),
            subject: pointer("/event/channel"),
            ..no_fields()
        },
        ..generic()
    }
}

/// <https://shopify.dev/docs/apps/build/webhooks> for the headers, and
/// <https://shopify.dev/docs/apps/build/webhooks/ignore-duplicates> for the id.
fn shopify() -> Preset {
    Preset {
        hmac: signed_body("X-Shopify-Hmac-SHA256", SignatureEncoding::Base64),
        fields: Fields {
            r#type: header("X-Shopify-Topic"),
            id: header("X-Shopify-Event-Id"),
            time: header("X-Shopify-Triggered-At"),
            subject: pointer("/admin_graphql_api_id"),
            sender: None,
        },
        ..generic()
    }
}

/// <https://developer.zendesk.com/documentation/webhooks/verifying/>, and the payload of event
/// webhooks; that of a trigger's is the user's own. No tolerance is documented.
fn zendesk() -> Preset {
    Preset {
        hmac: Hmac {
            message: vec![MessagePart::Timestamp, MessagePart::Body],
            timestamp_header: Some("X-Zendesk-Webhook-Signature-Timestamp".into()),
            timestamp_unit: TimestampUnit::Rfc3339,
            ..signed_body("X-Zendesk-Webhook-Signature", SignatureEncoding::Base64)
        },
        fields: Fields {
            r#type: pointer("/type"),
            id: pointer("/id"),
            time: pointer("/time"),
            subject: pointer("/subject"),
            sender: None,
        },
        ..generic()
    }
}

/// <https://developers.hubspot.com/docs/apps/legacy-apps/authentication/validating-requests>.
/// A request holds up to 100 events of several types, and an `eventId` is not unique: there is no
/// place that holds for the whole of one.
fn hubspot() -> Preset {
    Preset {
        hmac: Hmac {
            message: vec![
                MessagePart::Method,
                MessagePart::Url,
                MessagePart::Body,
                MessagePart::Timestamp,
            ],
            timestamp_header: Some("X-HubSpot-Request-Timestamp".into()),
            timestamp_unit: TimestampUnit::Milliseconds,
            tolerance: Some(TOLERANCE),
            ..signed_body("X-HubSpot-Signature-v3", SignatureEncoding::Base64)
        },
        ..generic()
    }
}

/// <https://developers.intercom.com/docs/webhooks/webhook-notifications>
fn intercom() -> Preset {
    Preset {
        hmac: Hmac {
            algorithm: HmacAlgorithm::SHA1,
            prefix: Some("sha1=".into()),
            ..signed_body("X-Hub-Signature", SignatureEncoding::Hex)
        },
        ping: signed_ping(&["ping"]),
        fields: Fields {
            r#type: pointer("/topic"),
            id: pointer("/id"),
            time: pointer("/created_at"),
            subject: pointer("/data/item/id"),
            sender: None,
        },
    }
}

/// <https://core.telegram.org/bots/api#setwebhook>. An update names its type by which field it has,
/// so there is no place that holds one.
fn telegram() -> Preset {
    Preset {
        fields: Fields {
            id: pointer("/update_id"),
            time: pointer("/message/date"),
            subject: pointer("/message/chat/id"),
            ..no_fields()
        },
        ..generic()
    }
}

/// A sender of which nothing is known.
fn generic() -> Preset {
    Preset {
        hmac: signed_body("", SignatureEncoding::Auto),
        ping: signed_ping(&[]),
        fields: no_fields(),
    }
}

/// HMAC-SHA256 over the raw body, the most common scheme.
fn signed_body(header: &str, encoding: SignatureEncoding) -> Hmac {
    Hmac {
        header: header.to_owned(),
        algorithm: HmacAlgorithm::SHA256,
        encoding,
        prefix: None,
        layout: SignatureLayout::Single,
        secret_encoding: SecretEncoding::Raw,
        message: vec![MessagePart::Body],
        delimiter: String::new(),
        id_header: None,
        timestamp_header: None,
        timestamp_unit: TimestampUnit::Seconds,
        tolerance: None,
        public_url: None,
        secrets: Vec::new(),
    }
}

/// Pings are signed like any event.
fn signed_ping(types: &[&str]) -> Ping {
    Ping {
        allow_unsigned: false,
        types: types.iter().map(ToString::to_string).collect(),
    }
}

fn no_fields() -> Fields {
    Fields {
        r#type: None,
        id: None,
        time: None,
        subject: None,
        sender: None,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it reads as a field's value")]
fn pointer(pointer: &str) -> Option<FieldSource> {
    Some(FieldSource::Pointer(pointer.to_owned()))
}

#[expect(clippy::unnecessary_wraps, reason = "it reads as a field's value")]
fn header(name: &str) -> Option<FieldSource> {
    Some(FieldSource::Header(name.to_owned()))
}
