//! Destinations, resolved: the named kinds are HTTP with their facts filled in.

use hookswitch_crds::condition::reason;
use hookswitch_crds::duration::Duration;
use hookswitch_crds::event_route as spec;
use hookswitch_crds::snapshot::{
    self, DestinationKind, HeaderValue, OnAmbiguous, ResolvedSecret, SecretEncoding,
};
use url::Url;

use super::context::Context;
use super::problems::Problems;
use super::secrets::{self, Use};
use super::{headers, network};

/// The whole of one attempt.
const TIMEOUT: Duration = Duration::from_secs(10);
/// From the plan to the last attempt.
const GIVE_UP_AFTER: Duration = Duration::from_secs(48 * 3600);
/// The first delay.
const BACKOFF_INITIAL: Duration = Duration::from_secs(2);
/// The longest delay.
const BACKOFF_MAX: Duration = Duration::from_secs(600);
/// Failures in a row that open the circuit.
const BREAKER_FAILURES: u32 = 10;
/// How long it stays open.
const BREAKER_OPEN_FOR: Duration = Duration::from_secs(30);

/// The headers of a Standard Webhooks signature.
const SIGNING: [&str; 3] = ["webhook-id", "webhook-signature", "webhook-timestamp"];

/// Resolves a destination; `None` where it is of no kind that this build serves, or has no URL
/// that could be called.
pub(super) fn resolve(
    destination: &spec::Destination,
    field: &str,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<snapshot::Destination> {
    let (kind, http) = if let Some(http) = &destination.http {
        let field = format!("{field}.http");
        (
            DestinationKind::Http,
            self::http(http, &field, context, problems)?,
        )
    } else {
        let field = format!("{field}.tgstaff");
        let tgstaff = destination.tgstaff.as_ref()?;
        (
            DestinationKind::Tgstaff,
            self::tgstaff(tgstaff, &field, context, problems)?,
        )
    };
    let default_writes_back = kind == DestinationKind::Tgstaff;
    Some(snapshot::Destination {
        name: destination.name.clone(),
        kind,
        http,
        writes_back: destination.writes_back.unwrap_or(default_writes_back),
        delivery: delivery(destination.delivery.as_ref()),
    })
}

fn http(
    http: &spec::Http,
    field: &str,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<snapshot::Http> {
    let spec::Http {
        url,
        method,
        headers,
        format,
        sign,
        allow_private_network,
    } = http;
    let allow = allow_private_network.unwrap_or(false);
    let parsed = parse(url, &format!("{field}.url"), problems)?;
    let set = if sign.is_some() { &SIGNING[..] } else { &[] };
    Some(snapshot::Http {
        url: parsed.to_string(),
        method: self::method(*method),
        headers: headers::resolve(headers, set, field, context, problems),
        format: format.map_or(snapshot::Format::Json, self::format),
        signing_secrets: signing_secrets(sign.as_ref(), field, context, problems),
        private_networks: network::resolve(&parsed, allow, field, "url", context, problems),
    })
}

fn tgstaff(
    tgstaff: &spec::Tgstaff,
    field: &str,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<snapshot::Http> {
    let spec::Tgstaff {
        base_url,
        path,
        method,
        token_secret_ref,
        headers,
        allow_private_network,
    } = tgstaff;
    let allow = allow_private_network.unwrap_or(false);
    let url = format!("{}{path}", base_url.trim_end_matches('/'));
    let parsed = parse(&url, &format!("{field}.baseUrl"), problems)?;
    let field_of_token = format!("{field}.tokenSecretRef");
    let token = snapshot::Header {
        name: "Authorization".to_owned(),
        value: HeaderValue::Secret {
            prefix: "Bearer ".to_owned(),
            secret: context.secrets.resolve(
                token_secret_ref,
                Use::Header,
                &field_of_token,
                problems,
            ),
        },
    };
    let others = headers::resolve(headers, &["authorization"], field, context, problems);
    Some(snapshot::Http {
        url: parsed.to_string(),
        method: self::method(*method),
        headers: std::iter::once(token).chain(others).collect(),
        format: snapshot::Format::Json,
        signing_secrets: Vec::new(),
        private_networks: network::resolve(&parsed, allow, field, "baseUrl", context, problems),
    })
}

/// Parses a URL, of which the schema has seen that it is one of HTTP and holds no credentials.
fn parse(url: &str, field: &str, problems: &mut Problems) -> Option<Url> {
    match Url::parse(url) {
        Ok(_) if url.contains("${") => problems.refused(
            field,
            reason::UNREADABLE,
            "expressions are not evaluated in a destination's URL: write it out, and put what \
             changes into the body",
        ),
        Ok(url) => return Some(url),
        Err(error) => problems.refused(field, reason::UNREADABLE, format!("no URL: {error}")),
    }
    None
}

fn signing_secrets(
    sign: Option<&spec::Sign>,
    field: &str,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Vec<ResolvedSecret> {
    let Some(spec::Sign {
        standard_webhooks: spec::StandardWebhooks { secret_refs },
    }) = sign
    else {
        return Vec::new();
    };
    let secrets = secret_refs.iter().enumerate().map(|(index, reference)| {
        let field = format!("{field}.sign.standardWebhooks.secretRefs[{index}]");
        let use_as = Use::Key(SecretEncoding::Whsec);
        context
            .secrets
            .resolve_rotated(reference, use_as, &field, problems)
    });
    let secrets: Vec<ResolvedSecret> = secrets.collect();
    secrets::one_at_least(
        &secrets,
        &format!("{field}.sign.standardWebhooks.secretRefs"),
        "deliveries wait",
        problems,
    );
    secrets
}

fn delivery(delivery: Option<&spec::Delivery>) -> snapshot::Delivery {
    let spec::Delivery {
        timeout,
        give_up_after,
        backoff,
        on_ambiguous,
        rate_limit,
        ordering,
        circuit_breaker,
    } = delivery.cloned().unwrap_or_default();
    let spec::Backoff { initial, max } = backoff.unwrap_or_default();
    let spec::CircuitBreaker { failures, open_for } = circuit_breaker.unwrap_or_default();
    let initial = initial.unwrap_or(BACKOFF_INITIAL);
    snapshot::Delivery {
        timeout: timeout.unwrap_or(TIMEOUT),
        give_up_after: give_up_after.unwrap_or(GIVE_UP_AFTER),
        backoff_initial: initial,
        backoff_max: max.unwrap_or(BACKOFF_MAX).max(initial),
        on_ambiguous: match on_ambiguous {
            Some(spec::OnAmbiguous::DeadLetter) => OnAmbiguous::DeadLetter,
            // Search is refused elsewhere: see the table of what is not served yet.
            Some(spec::OnAmbiguous::Retry | spec::OnAmbiguous::Search) | None => OnAmbiguous::Retry,
        },
        rate_limit: rate_limit.map(
            |spec::RateLimit { per_second, burst }| snapshot::RateLimit {
                per_second,
                burst: burst.unwrap_or(1),
            },
        ),
        ordering: match ordering {
            Some(spec::Ordering::PerSubject) => snapshot::Ordering::PerSubject,
            Some(spec::Ordering::None) | None => snapshot::Ordering::None,
        },
        circuit_breaker: snapshot::CircuitBreaker {
            failures: failures.unwrap_or(BREAKER_FAILURES),
            open_for: open_for.unwrap_or(BREAKER_OPEN_FOR),
        },
    }
}

fn method(method: Option<spec::Method>) -> String {
    match method {
        Some(spec::Method::Get) => "GET",
        Some(spec::Method::Put) => "PUT",
        Some(spec::Method::Patch) => "PATCH",
        Some(spec::Method::Delete) => "DELETE",
        Some(spec::Method::Post) | None => "POST",
    }
    .to_owned()
}

fn format(format: spec::Format) -> snapshot::Format {
    match format {
        spec::Format::Json => snapshot::Format::Json,
        spec::Format::CloudEventsBinary => snapshot::Format::CloudEventsBinary,
        spec::Format::CloudEventsStructured => snapshot::Format::CloudEventsStructured,
    }
}
