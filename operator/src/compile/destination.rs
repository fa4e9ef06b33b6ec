//! Destinations, resolved. Most of the named kinds are HTTP with their facts filled in.
//!
//! ```text
//! spec of a kind ── resolve ──▶ URL, authentication, what depends on the event
//!                ── defaults ─▶ how deliveries are attempted, where the route does not say
//! body of a rule ── body ─────▶ a template in the form that the API wants
//! ```
//!
//! All that a request to a kind is stands in the file of the kind, beside the others; what its answers
//! mean stands with the receiver, in `deliver/kind/`. To add a kind: a file in each place, and its
//! line in [`of`].

use hookswitch_crds::condition::reason;
use hookswitch_crds::duration::Duration;
use hookswitch_crds::event_route as spec;
use hookswitch_crds::secret_ref::SecretRef;
use hookswitch_crds::snapshot::{
    self, Auth, DestinationKind, HeaderValue, JsonText, OnAmbiguous, RateLimit, ResolvedSecret,
    Transport,
};
use ipnet::IpNet;
use serde_json::Value as Json;
use url::Url;

use super::context::Context;
use super::network;
use super::problems::Problems;
use super::secrets::Use;

mod dingtalk;
mod freshdesk;
pub(super) mod http;
mod hubspot;
mod mixpanel;
mod nats;
mod postgres;
mod salesforce;
mod slack;
mod telegram;
mod text;
mod zendesk;

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

/// A kind of destination: what a request to it is.
trait Kind {
    /// Where requests go, and how they are authenticated; `None` where there is no URL that could be
    /// called.
    fn resolve(
        &self,
        field: &str,
        context: &Context<'_>,
        problems: &mut Problems,
    ) -> Option<Request>;

    /// How deliveries are attempted, where the route does not say.
    fn defaults(&self) -> Defaults {
        Defaults::default()
    }

    /// Whether what it does can come back as an event, where the route does not say.
    fn writes_back(&self) -> bool {
        false
    }

    /// Whether the API can be asked if a delivery has taken effect, or a repetition has none: what
    /// `onAmbiguous: Search` needs.
    fn searchable(&self) -> bool {
        false
    }

    /// A rule's body in the form that the API wants; without one, a body made from the event. `None`
    /// sends the event's data as it came.
    ///
    /// # Errors
    /// What is wrong with the body, and the remedy.
    fn body(&self, written: Option<&Json>) -> Result<Option<Json>, String> {
        Ok(written.cloned())
    }

    /// Templates of the destination itself, with the fields in which they stand.
    fn templates(&self) -> Vec<(&'static str, &str)> {
        Vec::new()
    }
}

/// A request, but for its body.
struct Request {
    kind: DestinationKind,
    transport: Transport,
    /// See [`snapshot::Destination::address`].
    address: Option<String>,
}

/// How deliveries to a kind are attempted.
#[derive(Debug, Clone, Copy)]
struct Defaults {
    timeout: Duration,
    backoff_max: Duration,
    on_ambiguous: OnAmbiguous,
    rate_limit: Option<RateLimit>,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            timeout: TIMEOUT,
            backoff_max: BACKOFF_MAX,
            on_ambiguous: OnAmbiguous::Retry,
            rate_limit: None,
        }
    }
}

impl Defaults {
    /// With a limit on attempts.
    fn limited(per_second: f64, burst: u32) -> Self {
        Self {
            rate_limit: Some(RateLimit { per_second, burst }),
            ..Self::default()
        }
    }
}

/// The kind of a destination and its field; `None` where it names none.
fn of(destination: &spec::Destination) -> Option<(&'static str, &dyn Kind)> {
    fn kind<'a, K: Kind>(
        field: &'static str,
        kind: Option<&'a K>,
    ) -> Option<(&'static str, &'a dyn Kind)> {
        let kind: &dyn Kind = kind?;
        Some((field, kind))
    }
    let it = destination;
    kind("http", it.http.as_ref())
        .or_else(|| kind("tgstaff", it.tgstaff.as_ref()))
        .or_else(|| kind("dingtalk", it.dingtalk.as_ref()))
        .or_else(|| kind("freshdesk", it.freshdesk.as_ref()))
        .or_else(|| kind("hubspot", it.hubspot.as_ref()))
        .or_else(|| kind("mixpanel", it.mixpanel.as_ref()))
        .or_else(|| kind("nats", it.nats.as_ref()))
        .or_else(|| kind("postgres", it.postgres.as_ref()))
        .or_else(|| kind("salesforce", it.salesforce.as_ref()))
        .or_else(|| kind("slack", it.slack.as_ref()))
        .or_else(|| kind("telegram", it.telegram.as_ref()))
        .or_else(|| kind("zendesk", it.zendesk.as_ref()))
}

/// Resolves a destination; `None` where it names no kind, or has no URL that could be called.
pub(super) fn resolve(
    destination: &spec::Destination,
    field: &str,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<snapshot::Destination> {
    let (name, kind) = of(destination)?;
    let on_ambiguous = destination.delivery.as_ref().and_then(|it| it.on_ambiguous);
    if on_ambiguous == Some(spec::OnAmbiguous::Search) && !kind.searchable() {
        problems.refused(
            format!("{field}.delivery.onAmbiguous"),
            reason::UNREADABLE,
            "this destination can't be asked whether it has a delivery: use Retry or DeadLetter",
        );
    }
    let field = format!("{field}.{name}");
    for (name, template) in kind.templates() {
        text::check(template, &format!("{field}.{name}"), problems);
    }
    let Request {
        kind: resolved,
        transport,
        address,
    } = kind.resolve(&field, context, problems)?;
    Some(snapshot::Destination {
        name: destination.name.clone(),
        kind: resolved,
        transport,
        address,
        writes_back: destination
            .writes_back
            .unwrap_or_else(|| kind.writes_back()),
        delivery: delivery(destination.delivery.as_ref(), kind.defaults()),
        redact: destination.redact.as_ref().map(redact),
    })
}

fn redact(redact: &spec::Redact) -> snapshot::Redact {
    let spec::Redact { pointers, patterns } = redact;
    let pattern = |it: &spec::Pattern| match it {
        spec::Pattern::Phone => snapshot::Pattern::Phone,
        spec::Pattern::Email => snapshot::Pattern::Email,
        spec::Pattern::Card => snapshot::Pattern::Card,
    };
    snapshot::Redact {
        pointers: pointers.clone(),
        patterns: patterns.iter().map(pattern).collect(),
    }
}

/// A rule's body, or a destination's own, in the form that the destination wants. `field` is the
/// rule's entry.
pub(super) fn body(
    destination: &spec::Destination,
    written: Option<&Json>,
    field: &str,
    problems: &mut Problems,
) -> Option<JsonText> {
    let body = match of(destination) {
        None => Ok(written.cloned()),
        Some((_, kind)) => kind.body(written),
    };
    let kept = body.and_then(|body| {
        let text = body.as_ref().map(JsonText::of);
        text.transpose().map_err(|error| error.to_string())
    });
    kept.unwrap_or_else(|message| {
        problems.refused(format!("{field}.body"), reason::UNREADABLE, message);
        None
    })
}

/// The URL of a vendor's API, and the private networks that it may be on.
struct Vendor {
    url: Url,
    private_networks: Vec<IpNet>,
}

impl Vendor {
    /// A path at the vendor's own address, or at the one that the route names.
    fn at(
        (base_url, own): (Option<&str>, &str),
        path: &str,
        allow_private_network: Option<bool>,
        field: &str,
        context: &Context<'_>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let base = base_url.unwrap_or(own).trim_end_matches('/');
        let url = parse(
            &format!("{base}{path}"),
            &format!("{field}.baseUrl"),
            problems,
        )?;
        let allow = allow_private_network.unwrap_or(false);
        Some(Self {
            private_networks: network::resolve(&url, allow, field, "baseUrl", context, problems),
            url,
        })
    }

    /// A call of the API that sends JSON.
    fn call(self, method: &str, auth: Auth, headers: Vec<snapshot::Header>) -> snapshot::Http {
        snapshot::Http {
            url: self.url.to_string(),
            method: method.to_owned(),
            headers,
            format: snapshot::Format::Json,
            auth,
            signing_secrets: Vec::new(),
            private_networks: self.private_networks,
        }
    }
}

/// `Authorization: Bearer` and a token.
fn bearer(
    token: &SecretRef,
    field: &str,
    context: &Context<'_>,
    problems: &mut Problems,
) -> snapshot::Header {
    snapshot::Header {
        name: "Authorization".to_owned(),
        value: HeaderValue::Secret {
            prefix: "Bearer ".to_owned(),
            secret: context.secrets.resolve(token, Use::Header, field, problems),
        },
    }
}

/// Certificates that a server's own is signed with.
fn ca(
    reference: &SecretRef,
    field: &str,
    context: &Context<'_>,
    problems: &mut Problems,
) -> ResolvedSecret {
    let field = format!("{field}.caSecretRef");
    context
        .secrets
        .resolve(reference, Use::Certificates, &field, problems)
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

fn delivery(delivery: Option<&spec::Delivery>, defaults: Defaults) -> snapshot::Delivery {
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
        timeout: timeout.unwrap_or(defaults.timeout),
        give_up_after: give_up_after.unwrap_or(GIVE_UP_AFTER),
        backoff_initial: initial,
        backoff_max: max.unwrap_or(defaults.backoff_max).max(initial),
        on_ambiguous: match on_ambiguous {
            Some(spec::OnAmbiguous::DeadLetter) => OnAmbiguous::DeadLetter,
            Some(spec::OnAmbiguous::Retry) => OnAmbiguous::Retry,
            Some(spec::OnAmbiguous::Search) => OnAmbiguous::Search,
            None => defaults.on_ambiguous,
        },
        rate_limit: rate_limit.map(self::rate_limit).or(defaults.rate_limit),
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

pub(super) fn rate_limit(limit: spec::RateLimit) -> snapshot::RateLimit {
    let spec::RateLimit { per_second, burst } = limit;
    snapshot::RateLimit {
        per_second,
        burst: burst.unwrap_or(1),
    }
}
