//! A `WebhookSubscription`'s spec, resolved: its own settings over its provider's.
//!
//! What depends on other subscriptions, that is whether the path is free, is decided later.

use std::fmt::Display;
use std::sync::Arc;

use hookswitch_crds::condition::reason;
use hookswitch_crds::duration::Duration;
use hookswitch_crds::quantity::Quantity;
use hookswitch_crds::snapshot::{self, Origin};
use hookswitch_crds::subscription::{
    AllowedRoutes, Deduplication, FieldSource, Fields, Limits, Ping, Provider, Unsigned,
    WebhookSubscriptionSpec,
};

use super::attach::Admission;
use super::context::Context;
use super::preset::Preset;
use super::problems::Problems;
use super::verification;

/// How long an event's id is remembered: far longer than any sender retries.
const DEDUPLICATION_WINDOW: Duration = hours(24);
/// How long a body's hash stands in for an id: twice the time that TG-Staff retries for.
pub(super) const HASH_WINDOW: Duration = Duration::from_secs(15 * 60);
/// The largest body.
const BODY_BYTES: u64 = 1 << 20;
/// The most that is kept.
const STORED_BYTES: Quantity = Quantity::from_bytes(1 << 30);
/// How long a finished event is kept.
const RETENTION: Duration = hours(72);
/// How long a dead letter is kept.
const DEAD_LETTER_RETENTION: Duration = hours(30 * 24);

const fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600)
}

/// A resolved spec.
#[derive(Debug, Clone)]
pub(super) struct Resolved {
    /// What the snapshot gets.
    pub(super) entry: Arc<snapshot::Subscription>,
    /// Which routes may attach.
    pub(super) admission: Admission,
}

/// Resolves a spec. What can't be served as it is written is among the problems.
pub(super) fn resolve(
    spec: &WebhookSubscriptionSpec,
    origin: Origin,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Resolved {
    problems.broken_rules(spec.validate());
    let WebhookSubscriptionSpec {
        provider,
        path,
        verification,
        ping,
        types,
        fields,
        deduplication,
        limits,
        retention,
        allowed_routes: AllowedRoutes { namespaces },
        suspend,
    } = spec;
    let preset = Preset::of(*provider);
    let entry = snapshot::Subscription {
        provider: name(*provider),
        path: self::path(path.as_deref(), &origin, context, problems),
        verification: verification::resolve(
            verification,
            *provider,
            preset.hmac,
            context,
            problems,
        ),
        ping: self::ping(ping.as_ref(), preset.ping),
        types: types.clone(),
        fields: self::fields(fields.as_ref(), preset.fields, problems),
        deduplication_window: bounded(
            deduplication
                .as_ref()
                .and_then(|Deduplication { window }| *window),
            DEDUPLICATION_WINDOW,
            context.settings.ceilings.deduplication_window,
            "spec.deduplication.window",
            problems,
        ),
        limits: self::limits(limits.as_ref(), context, problems),
        retention: bounded(
            *retention,
            RETENTION,
            context.settings.ceilings.retention,
            "spec.retention",
            problems,
        ),
        dead_letter_retention: DEAD_LETTER_RETENTION,
        suspend: *suspend,
        origin,
    };
    Resolved {
        entry: Arc::new(entry),
        admission: Admission::parse(namespaces, context.namespace, problems),
    }
}

/// The preset's name, as it is written in YAML.
fn name(provider: Provider) -> String {
    format!("{provider:?}")
}

fn path(
    path: Option<&str>,
    origin: &Origin,
    context: &Context<'_>,
    problems: &mut Problems,
) -> String {
    let path = path.map_or_else(|| format!("/{}", origin.key), str::to_owned);
    let namespace = context.namespace;
    if !context.settings.allows_path(namespace, &path) {
        problems.refused(
            "spec.path",
            reason::PATH_NOT_ALLOWED,
            format!(
                "{path} lies outside of /{namespace}/: choose a path under it, or ask for a path \
                 grant in the operator's settings"
            ),
        );
    }
    path
}

fn ping(ping: Option<&Ping>, preset: snapshot::Ping) -> snapshot::Ping {
    let Some(Ping { unsigned, types }) = ping else {
        return preset;
    };
    snapshot::Ping {
        allow_unsigned: unsigned.map_or(preset.allow_unsigned, |it| it == Unsigned::Allow),
        types: types.clone().unwrap_or(preset.types),
    }
}

fn fields(
    fields: Option<&Fields>,
    preset: snapshot::Fields,
    problems: &mut Problems,
) -> snapshot::Fields {
    let Fields {
        r#type,
        id,
        time,
        subject,
        sender,
    } = fields.cloned().unwrap_or_default();
    let fields = snapshot::Fields {
        r#type: r#type.map(source).or(preset.r#type),
        id: id.map(source).or(preset.id),
        time: time.map(source).or(preset.time),
        subject: subject.map(source).or(preset.subject),
        sender: sender.map(source).or(preset.sender),
    };
    if fields.id.is_none() {
        problems.warning(
            "spec.fields.id",
            format!(
                "no place of an event's id is set: the SHA-256 of the body stands in for it, and is \
                 remembered for {HASH_WINDOW}"
            ),
        );
    }
    fields
}

fn source(source: FieldSource) -> snapshot::FieldSource {
    match source {
        FieldSource::Pointer(pointer) => snapshot::FieldSource::Pointer(pointer),
        FieldSource::Header(name) => snapshot::FieldSource::Header(name),
    }
}

fn limits(
    limits: Option<&Limits>,
    context: &Context<'_>,
    problems: &mut Problems,
) -> snapshot::Limits {
    let Limits {
        body_bytes,
        stored_bytes,
        events_per_second,
        burst,
    } = limits.cloned().unwrap_or_default();
    let ceilings = &context.settings.ceilings;
    let body_bytes = bounded(
        body_bytes.map(u64::from),
        BODY_BYTES,
        ceilings.body_bytes,
        "spec.limits.bodyBytes",
        problems,
    );
    let stored_bytes = bounded(
        stored_bytes,
        STORED_BYTES,
        Quantity::from_bytes(ceilings.stored_bytes),
        "spec.limits.storedBytes",
        problems,
    );
    let events_per_second = match ceilings.events_per_second {
        Some(ceiling) => Some(bounded(
            events_per_second,
            ceiling,
            ceiling,
            "spec.limits.eventsPerSecond",
            problems,
        )),
        None => events_per_second,
    };
    snapshot::Limits {
        body_bytes,
        stored_bytes: stored_bytes.bytes(),
        events_per_second,
        burst: events_per_second.map(|rate| burst.unwrap_or(rate).max(1)),
    }
}

/// What is asked for, or else the default, and no more than the ceiling either way.
fn bounded<T: Copy + Ord + Display>(
    asked: Option<T>,
    default: T,
    ceiling: T,
    field: &str,
    problems: &mut Problems,
) -> T {
    if let Some(asked) = asked.filter(|asked| *asked > ceiling) {
        problems.warning(
            field,
            format!("{asked} is more than the operator's ceiling: {ceiling} is served"),
        );
    }
    asked.unwrap_or(default).min(ceiling)
}
