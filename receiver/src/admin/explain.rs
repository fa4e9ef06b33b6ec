//! One event's history, told: why each rule fired or did not, what was sent, what came back, and what
//! comes next.
//!
//! A verdict is what the plan holds. Why it is so is found by asking the rule again as it is in use
//! now, which is the reason where its route has not changed since the plan, and else what a replay
//! would find. A plan holds nothing of rules that do not name the event's type: that they do not is
//! found by asking them as well.

use bytes::Bytes;
use hookswitch_crds::snapshot;

use super::{Options, events, view};
use crate::config::{self, Config};
use crate::deliver;
use crate::event::Disposition;
use crate::plan::{FrozenBody, FrozenRequest, Lane, Outcome, Verdict};
use crate::route::why::{self, Asked};
use crate::store::archive::{EventHead, EventSummary};
use crate::store::{
    AttemptRecord, DeliveryRecord, DeliveryState, History, PlanRecord, StoredEvent, TimerRecord,
    TimerState,
};

/// Bytes of a body that are told.
const BODY: usize = 64 * 1024;

/// All that is known of an event.
pub(super) fn explanation(options: &Options, history: &History, bodies: bool) -> view::Explanation {
    let config = options.current();
    let event = &history.event.event;
    let subscription = config.subscriptions.get(&event.subscription);
    let waits_for = match (&history.plan, subscription) {
        (Some(_), _) => None,
        (None, None) => Some("the subscription is gone".to_owned()),
        (None, Some(it)) if it.spec.suspend => Some("the subscription is suspended".to_owned()),
        (None, Some(_)) => Some("it is about to be routed".to_owned()),
    };
    let deliveries = history
        .deliveries
        .iter()
        .map(|record| delivery(options, &config, record, &history.event, bodies))
        .collect();
    let (rules, new_rules) = rules(&config, subscription.map(AsRef::as_ref), history);
    view::Explanation {
        event: events::summary(&summary(history)),
        time: event.time,
        hops: event.hops,
        content_type: event.content_type.clone(),
        body: bodies.then(|| body(&event.body)),
        now: options.clock.now(),
        current_sequence: config.sequence,
        waits_for,
        rules,
        new_rules,
        deliveries,
    }
}

/// A history as it stands in a list.
pub(super) fn summary(history: &History) -> EventSummary {
    let StoredEvent { seq, event } = &history.event;
    let count = |is: fn(DeliveryState) -> bool| {
        let count = history.deliveries.iter().filter(|it| is(it.state)).count();
        u64::try_from(count).unwrap_or(u64::MAX)
    };
    EventSummary {
        head: EventHead {
            seq: *seq,
            uid: event.uid,
            subscription: event.subscription.clone(),
            id: event.id.clone(),
            r#type: event.r#type.clone(),
            accepted_at: event.accepted_at,
            subject: event.subject.clone(),
            sender: event.sender.clone(),
            disposition: event.disposition,
            bytes: u64::try_from(event.body.len()).unwrap_or(u64::MAX),
        },
        plan: history.plan.clone(),
        pending: count(|state| !matches!(state, DeliveryState::Delivered | DeliveryState::Dead(_))),
        delivered: count(|state| state == DeliveryState::Delivered),
        dead: count(|state| matches!(state, DeliveryState::Dead(_))),
    }
}

/// Each rule that the plan knows, or that does not name the event's type, in the order of their
/// routes; and rules that a replay would ask besides.
fn rules(
    config: &Config,
    subscription: Option<&config::Subscription>,
    history: &History,
) -> (Vec<view::Rule>, Vec<String>) {
    let Some(plan) = &history.plan else {
        return (Vec::new(), Vec::new());
    };
    let asked = Asked::new(&history.event.event);
    let mut rules: Vec<_> = plan
        .verdicts
        .iter()
        .map(|verdict| told(config, verdict, history, plan, &asked))
        .collect();
    let mut new = Vec::new();
    let routed = history.event.event.disposition == Disposition::Route;
    for (route, rule) in subscription
        .into_iter()
        .flat_map(|it| why::unnamed(it, &plan.verdicts))
    {
        let key = &route.spec.origin.key;
        if routed && !rule.types.is_empty() && !rule.types.contains(&history.event.event.r#type) {
            let verdict = Verdict {
                route: key.clone(),
                rule: rule.name.clone(),
                outcome: Outcome::TypeNotMatched,
                detail: None,
            };
            rules.push(told(config, &verdict, history, plan, &asked));
        } else {
            new.push(format!("{key}/{}", rule.name));
        }
    }
    let place = |rule: &view::Rule| {
        let mut all = subscription.into_iter().flat_map(|it| &it.routes);
        let route = all.position(|it| it.spec.origin.key.to_string() == rule.route);
        let of = route.and_then(|at| subscription?.routes.get(at));
        let rule = of.and_then(|it| it.rules.iter().position(|one| one.name == rule.rule));
        (route.is_none(), route, rule.is_none(), rule)
    };
    // Those that are gone come last.
    rules.sort_by_cached_key(place);
    (rules, new)
}

fn told(
    config: &Config,
    verdict: &Verdict,
    history: &History,
    plan: &PlanRecord,
    asked: &Asked<'_>,
) -> view::Rule {
    let mut timers = history.timers.iter();
    let timer = timers.find(|it| it.route == verdict.route && it.rule == verdict.rule);
    let suppressed = plan
        .suppressions
        .iter()
        .filter(|it| it.lane.route == verdict.route && it.rule == verdict.rule)
        .map(|it| view::Suppressed {
            destination: it.lane.destination.clone(),
            guard: it.guard.label().to_owned(),
            enforced: it.enforced,
        });
    view::Rule {
        route: verdict.route.to_string(),
        rule: verdict.rule.clone(),
        verdict: verdict.outcome.label().to_owned(),
        detail: verdict.detail.clone(),
        now: now(config, verdict, plan.sequence, asked),
        suppressed: suppressed.collect(),
        timer: timer.map(self::timer),
    }
}

fn timer(record: &TimerRecord) -> view::Timer {
    let (state, ended_at, cancelled_by) = match record.state {
        TimerState::Waits => ("waits", None, None),
        TimerState::Fired { at } => ("fired", Some(at), None),
        TimerState::Cancelled { at, by } => ("cancelled", Some(at), by),
        TimerState::Removed { at } => ("removed", Some(at), None),
    };
    view::Timer {
        began_at: record.at,
        due: record.due,
        state: state.to_owned(),
        ended_at,
        cancelled_by,
    }
}

/// What the rule says of the event as it is in use now.
fn now(config: &Config, verdict: &Verdict, sequence: u64, asked: &Asked<'_>) -> Option<view::Now> {
    let route = config.routes.get(&verdict.route)?;
    let (rule, spec) = rule(route, &verdict.rule)?;
    let outcome = asked.outcome(rule, route.words.as_ref());
    let when = match (&spec.when, outcome) {
        (Some(when), outcome) if outcome != Outcome::TypeNotMatched => asked
            .parts(when, route.words.as_ref())
            .into_iter()
            .map(|part| view::Condition {
                text: part.text,
                error: part.value.as_ref().err().cloned(),
                value: part.value.ok(),
            })
            .collect(),
        _ => Vec::new(),
    };
    Some(view::Now {
        unchanged: route.spec.origin.since <= sequence,
        verdict: outcome.label().to_owned(),
        types: rule.types.clone(),
        when,
    })
}

fn rule<'a>(
    route: &'a config::Route,
    name: &str,
) -> Option<(&'a config::Rule, &'a snapshot::Rule)> {
    let rule = route.rules.iter().find(|rule| rule.name == name)?;
    let spec = route.spec.rules.iter().find(|rule| rule.name == name)?;
    Some((rule, spec))
}

/// A delivery with its attempts.
pub(super) fn delivery(
    options: &Options,
    config: &Config,
    record: &DeliveryRecord,
    event: &StoredEvent,
    bodies: bool,
) -> view::Delivery {
    let DeliveryRecord {
        id,
        lane,
        rule,
        request,
        planned_at,
        state,
        look_ups,
        attempts,
    } = record;
    let (name, due, reason) = match state {
        DeliveryState::Pending { due } => ("pending", Some(*due), None),
        DeliveryState::Waits { due } => ("waits", Some(*due), None),
        DeliveryState::Unrendered { due } => ("unrendered", Some(*due), None),
        DeliveryState::Blocked => ("blocked", None, None),
        DeliveryState::Claimed => ("claimed", None, None),
        DeliveryState::Delivered => ("delivered", None, None),
        DeliveryState::Dead(reason) => ("dead", None, Some(reason.label().to_owned())),
    };
    let waits = matches!(
        state,
        DeliveryState::Pending { .. } | DeliveryState::Blocked
    );
    let destination = config.lanes.get(lane).filter(|_| waits);
    let held = destination.and_then(|destination| deliver::held(destination));
    view::Delivery {
        id: *id,
        route: lane.route.to_string(),
        destination: lane.destination.clone(),
        rule: rule.clone(),
        planned_at: *planned_at,
        state: name.to_owned(),
        due,
        reason,
        waits_for: waits_for(options, config, lane, *state, held.is_some()).map(ToOwned::to_owned),
        held,
        request: request
            .as_ref()
            .map(|request| self::request(request, event, bodies)),
        look_ups: look_ups
            .iter()
            .map(|it| view::LookUp {
                name: it.name.clone(),
                failed: it.failed.clone(),
            })
            .collect(),
        attempts: attempts.iter().map(attempt).collect(),
    }
}

/// What a delivery waits for, besides its time.
fn waits_for(
    options: &Options,
    config: &Config,
    lane: &Lane,
    state: DeliveryState,
    held: bool,
) -> Option<&'static str> {
    if held || options.config.borrow().is_none() {
        return Some("configuration");
    }
    let circuit = || {
        let route = lane.route.to_string();
        let labels = [route.as_str(), &lane.destination];
        options
            .metrics
            .circuit_open
            .with_label_values(&labels)
            .get()
            == 1
    };
    match state {
        DeliveryState::Waits { .. } => Some("timer"),
        DeliveryState::Unrendered { .. } => Some("look_ups"),
        DeliveryState::Blocked => Some("earlier"),
        DeliveryState::Pending { .. } if !config.lanes.contains_key(lane) => Some("destination"),
        DeliveryState::Pending { .. } => circuit().then_some("circuit"),
        DeliveryState::Claimed | DeliveryState::Delivered | DeliveryState::Dead(_) => None,
    }
}

fn request(request: &FrozenRequest, event: &StoredEvent, bodies: bool) -> view::Request {
    let unrendered = matches!(request.body, FrozenBody::Unrendered(_));
    let none = Bytes::new();
    let (bytes, is_event) = match &request.body {
        FrozenBody::Event => (&event.event.body, true),
        FrozenBody::Rendered(bytes) => (bytes, false),
        // A template, which nobody is sent.
        FrozenBody::Unrendered(_) => (&none, false),
    };
    view::Request {
        method: request.method.clone(),
        address: request.address.clone(),
        content_type: request.content_type.clone(),
        bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        is_event,
        unrendered,
        body: bodies.then(|| body(bytes)).filter(|_| !unrendered),
    }
}

fn body(bytes: &[u8]) -> view::Body {
    let kept = bytes.get(..BODY).unwrap_or(bytes);
    view::Body {
        text: String::from_utf8_lossy(kept).into_owned(),
        truncated: kept.len() < bytes.len(),
    }
}

fn attempt(record: &AttemptRecord) -> view::Attempt {
    let answer = record.answer.as_ref();
    view::Attempt {
        number: record.number,
        started_at: record.started_at,
        finished_at: record.finished_at,
        status: answer.and_then(|answer| answer.status),
        reason: answer.map(|answer| answer.reason.clone()),
        ambiguous: answer.is_some_and(|answer| answer.ambiguous),
        answer: answer.and_then(|answer| answer.excerpt.clone()),
    }
}
