//! What a request must show, resolved: the user's settings over the provider's scheme.
//!
//! A scheme that could not verify anything is refused here, and never served: it would answer 401
//! to every request, or worse.

use hookswitch_crds::condition::reason;
use hookswitch_crds::snapshot::{self, MessagePart, SignatureLayout};
use hookswitch_crds::subscription::{self as spec, Provider};
use ipnet::IpNet;

use super::context::Context;
use super::problems::Problems;
use super::secrets::{self, Use};

/// The header of Telegram's static token.
/// <https://core.telegram.org/bots/api#setwebhook>
const TELEGRAM_TOKEN: &str = "X-Telegram-Bot-Api-Secret-Token";

/// Resolves a spec's verification over its provider's scheme.
pub(super) fn resolve(
    verification: &spec::Verification,
    provider: Provider,
    preset: snapshot::Hmac,
    context: &Context<'_>,
    problems: &mut Problems,
) -> snapshot::Verification {
    let spec::Verification {
        hmac,
        headers,
        source_ranges,
        unverified,
    } = verification;
    snapshot::Verification {
        hmac: hmac
            .as_ref()
            .map(|hmac| self::hmac(hmac, provider, preset, context, problems)),
        headers: headers
            .iter()
            .enumerate()
            .map(|(index, spec::HeaderToken { name, secret_ref })| {
                let field = format!("spec.verification.headers[{index}].secretRef");
                snapshot::HeaderToken {
                    name: name.clone(),
                    secret: context
                        .secrets
                        .resolve(secret_ref, Use::Header, &field, problems),
                }
            })
            .collect(),
        source_ranges: self::source_ranges(source_ranges, problems),
        unverified: unverified.unwrap_or(false),
    }
}

fn hmac(
    hmac: &spec::Hmac,
    provider: Provider,
    preset: snapshot::Hmac,
    context: &Context<'_>,
    problems: &mut Problems,
) -> snapshot::Hmac {
    let spec::Hmac {
        header,
        algorithm,
        encoding,
        prefix,
        layout,
        secret_encoding,
        message,
        delimiter,
        id_header,
        timestamp_header,
        timestamp_unit,
        tolerance,
        public_url,
        secret_refs,
    } = hmac.clone();
    let secret_encoding = secret_encoding.map_or(preset.secret_encoding, self::secret_encoding);
    let secrets: Vec<_> = secret_refs
        .iter()
        .enumerate()
        .map(|(index, reference)| {
            let field = format!("spec.verification.hmac.secretRefs[{index}]");
            let use_as = Use::Key(secret_encoding);
            context
                .secrets
                .resolve_rotated(reference, use_as, &field, problems)
        })
        .collect();
    secrets::one_at_least(
        &secrets,
        "spec.verification.hmac.secretRefs",
        "every request gets 503",
        problems,
    );
    let message: Vec<MessagePart> = message.map_or(preset.message, |parts| {
        parts.into_iter().map(part).collect()
    });
    let dated = message.contains(&MessagePart::Timestamp);
    let signs_url = message.contains(&MessagePart::Url);
    let resolved = snapshot::Hmac {
        header: header.unwrap_or(preset.header),
        algorithm: algorithm.map_or(preset.algorithm, self::algorithm),
        encoding: encoding.map_or(preset.encoding, self::encoding),
        prefix: prefix.or(preset.prefix).filter(|prefix| !prefix.is_empty()),
        layout: layout.map_or(preset.layout, self::layout),
        secret_encoding,
        message,
        delimiter: delimiter.unwrap_or(preset.delimiter),
        id_header: id_header.or(preset.id_header),
        timestamp_header: timestamp_header.or(preset.timestamp_header),
        timestamp_unit: timestamp_unit.map_or(preset.timestamp_unit, self::timestamp_unit),
        tolerance: tolerance.or_else(|| preset.tolerance.filter(|_| dated)),
        public_url: public_url
            .or_else(|| context.settings.base_url.clone())
            .map(|url| url.trim_end_matches('/').to_owned())
            .filter(|_| signs_url),
        secrets,
    };
    check(&resolved, provider, problems);
    resolved
}

/// Refuses a scheme that lacks what it names.
fn check(hmac: &snapshot::Hmac, provider: Provider, problems: &mut Problems) {
    let mut missing = |field: &str, message: String| {
        let field = format!("spec.verification.hmac.{field}");
        problems.refused(field, reason::UNREADABLE, message);
    };
    if hmac.header.is_empty() {
        missing(
            "header",
            match provider {
                Provider::Telegram => format!(
                    "Telegram signs nothing: leave hmac out, and put {TELEGRAM_TOKEN} with a \
                     secretRef into verification.headers"
                ),
                _ => "name the header that holds the signature".to_owned(),
            },
        );
    }
    let signs = |part: &MessagePart| hmac.message.contains(part);
    if !signs(&MessagePart::Body) {
        missing(
            "message",
            "Body is not among what is signed, so anyone could send another body: add it"
                .to_owned(),
        );
    }
    if signs(&MessagePart::Id) && hmac.id_header.is_none() {
        missing(
            "idHeader",
            "the message holds the Id: name its header".to_owned(),
        );
    }
    let has_timestamp =
        hmac.timestamp_header.is_some() || hmac.layout == SignatureLayout::Parameters;
    if signs(&MessagePart::Timestamp) && !has_timestamp {
        missing(
            "timestampHeader",
            "the message holds the Timestamp: name its header".to_owned(),
        );
    }
    if hmac.tolerance.is_some() && !signs(&MessagePart::Timestamp) {
        missing(
            "tolerance",
            "the Timestamp is not among what is signed, so its age proves nothing: add it to \
             message, or leave tolerance out"
                .to_owned(),
        );
    }
    if signs(&MessagePart::Url) && hmac.public_url.is_none() {
        missing(
            "publicUrl",
            "the URL is among what is signed, and it is not known how the sender calls it: write \
             scheme and host, as in https://hooks.example.com"
                .to_owned(),
        );
    }
    if hmac.prefix.is_none() && hmac.layout != SignatureLayout::Single {
        missing(
            "prefix",
            "this layout holds several signatures: name those that count, as in v1= for Parameters \
             or v1, for SpaceSeparated"
                .to_owned(),
        );
    }
}

fn source_ranges(ranges: &[String], problems: &mut Problems) -> Vec<IpNet> {
    let parsed = ranges.iter().enumerate().filter_map(|(index, range)| {
        range
            .parse()
            .map_err(|_| {
                problems.refused(
                    format!("spec.verification.sourceRanges[{index}]"),
                    reason::UNREADABLE,
                    format!("`{range}` is no range of addresses: write it as 203.0.113.0/24"),
                );
            })
            .ok()
    });
    parsed.collect()
}

fn algorithm(algorithm: spec::Algorithm) -> snapshot::HmacAlgorithm {
    match algorithm {
        spec::Algorithm::SHA1 => snapshot::HmacAlgorithm::SHA1,
        spec::Algorithm::SHA256 => snapshot::HmacAlgorithm::SHA256,
        spec::Algorithm::SHA512 => snapshot::HmacAlgorithm::SHA512,
    }
}

fn encoding(encoding: spec::Encoding) -> snapshot::SignatureEncoding {
    match encoding {
        spec::Encoding::Auto => snapshot::SignatureEncoding::Auto,
        spec::Encoding::Hex => snapshot::SignatureEncoding::Hex,
        spec::Encoding::Base64 => snapshot::SignatureEncoding::Base64,
    }
}

fn layout(layout: spec::Layout) -> SignatureLayout {
    match layout {
        spec::Layout::Single => SignatureLayout::Single,
        spec::Layout::SpaceSeparated => SignatureLayout::SpaceSeparated,
        spec::Layout::Parameters => SignatureLayout::Parameters,
    }
}

fn secret_encoding(encoding: spec::SecretEncoding) -> snapshot::SecretEncoding {
    match encoding {
        spec::SecretEncoding::Raw => snapshot::SecretEncoding::Raw,
        spec::SecretEncoding::Base64 => snapshot::SecretEncoding::Base64,
        spec::SecretEncoding::Whsec => snapshot::SecretEncoding::Whsec,
    }
}

fn timestamp_unit(unit: spec::TimestampUnit) -> snapshot::TimestampUnit {
    match unit {
        spec::TimestampUnit::Seconds => snapshot::TimestampUnit::Seconds,
        spec::TimestampUnit::Milliseconds => snapshot::TimestampUnit::Milliseconds,
        spec::TimestampUnit::Rfc3339 => snapshot::TimestampUnit::Rfc3339,
    }
}

fn part(part: spec::MessagePart) -> MessagePart {
    match part {
        spec::MessagePart::Id => MessagePart::Id,
        spec::MessagePart::Timestamp => MessagePart::Timestamp,
        spec::MessagePart::Method => MessagePart::Method,
        spec::MessagePart::Url => MessagePart::Url,
        spec::MessagePart::Body => MessagePart::Body,
        spec::MessagePart::Literal(text) => MessagePart::Literal(text),
    }
}
