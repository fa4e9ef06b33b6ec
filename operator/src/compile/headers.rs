//! Headers of outgoing requests: the user's own, beside those that Hookswitch sets.
//!
//! A header that would not be sent as it is written is refused, never passed over.

use std::collections::BTreeSet;

use hookswitch_crds::condition::reason;
use hookswitch_crds::event_route as spec;
use hookswitch_crds::snapshot::{Header, HeaderValue};

use super::context::Context;
use super::problems::Problems;
use super::secrets::Use;

/// Set on every request, or by HTTP itself.
const RESERVED: [&str; 14] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "idempotency-key",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-hookswitch-hops",
];

/// Resolves headers. `set` are names in lower case that this destination sets besides.
pub(super) fn resolve(
    headers: &[spec::Header],
    set: &[&str],
    field: &str,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Vec<Header> {
    let mut seen = BTreeSet::new();
    let resolved = headers.iter().enumerate().map(|(index, header)| {
        let spec::Header {
            name,
            value,
            secret_ref,
        } = header;
        let field = format!("{field}.headers[{index}]");
        let lower = name.to_ascii_lowercase();
        if RESERVED.contains(&lower.as_str()) || set.contains(&lower.as_str()) {
            problems.refused(
                format!("{field}.name"),
                reason::UNREADABLE,
                format!("{name} is set by Hookswitch itself: remove it here"),
            );
        } else if !seen.insert(lower) {
            problems.refused(
                format!("{field}.name"),
                reason::UNREADABLE,
                format!("{name} is here twice, as upper and lower case are one: remove one"),
            );
        }
        let value = match secret_ref {
            Some(reference) => {
                let field = format!("{field}.secretRef");
                HeaderValue::Secret {
                    prefix: String::new(),
                    secret: context
                        .secrets
                        .resolve(reference, Use::Header, &field, problems),
                }
            }
            None => HeaderValue::Literal(value.clone().unwrap_or_default()),
        };
        Header {
            name: name.clone(),
            value,
        }
    });
    resolved.collect()
}
