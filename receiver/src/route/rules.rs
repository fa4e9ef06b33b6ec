//! Rules: which fire, and what they send.

use std::cell::OnceCell;
use std::sync::Arc;

use hookswitch_crds::expression::{EvalError, Expression, Variables};
use hookswitch_crds::snapshot::{Fields, Format};
use hookswitch_crds::template;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use crate::config::{self, Subscription};
use crate::event::Event;
use crate::plan::{
    EchoMark, FrozenBody, FrozenRequest, Lane, LookUp, Outcome, Unrendered, UnrenderedEcho, Verdict,
};
use crate::redact::Hidden;
use crate::store::StoredEvent;

use super::stateful::Stateful;
use super::{DeliveryDraft, Draft, RouteDraft, once, render, timer};

/// An event whose body is parsed when the first expression wants it.
struct Facts<'a> {
    event: &'a Event,
    /// Where the subscription reads the event's attributes.
    fields: &'a Fields,
    json: &'a OnceCell<Json>,
    variables: OnceCell<Variables<'a>>,
}

impl<'a> Facts<'a> {
    fn new(event: &'a Event, fields: &'a Fields, json: &'a OnceCell<Json>) -> Self {
        Self {
            event,
            fields,
            json,
            variables: OnceCell::new(),
        }
    }

    fn json(&self) -> &'a Json {
        self.json
            .get_or_init(|| render::expression_event(self.event))
    }

    /// As a route's expressions see them. The event is converted once for all routes.
    fn variables(&self, route: &config::Route) -> Variables<'a> {
        let variables = self.variables.get_or_init(|| Variables::new(self.json()));
        match &route.words {
            Some(words) => variables.with_words(words),
            None => variables.clone(),
        }
    }
}

/// Fills the draft in: verdicts, deliveries and what the guard is to be asked. Rules that the event's type
/// does not concern are not looked at.
pub(super) fn decide(subscription: &Subscription, stored: &StoredEvent, draft: &mut Draft) {
    let event = &stored.event;
    let mut needs_event = false;
    let json = OnceCell::new();
    let facts = Facts::new(event, &subscription.spec.fields, &json);
    let mut places = subscription.index.concerned(&event.r#type).peekable();
    while let Some(at) = places.peek().map(|place| place.route) {
        let Some(route) = subscription.routes.get(at) else {
            break;
        };
        let mut decided = RouteDraft {
            route: Arc::clone(route),
            echo_key: None,
            deliveries: Vec::new(),
            stateful: Vec::new(),
            asked: Vec::new(),
        };
        let begin = draft.verdicts.len();
        let of_route = OnceCell::new();
        while let Some(place) = places.next_if(|place| place.route == at) {
            let Some((place, rule)) = place
                .rule
                .and_then(|place| Some((place, route.rules.get(place)?)))
            else {
                continue;
            };
            let mut stateful = Stateful::of(place);
            let mut verdict =
                decide_rule(route, rule, &facts, &mut decided.deliveries, &mut stateful);
            if let Some(after) = &rule.after {
                match timer::stop(after, event, || {
                    of_route.get_or_init(|| facts.variables(route))
                }) {
                    Ok(stop) => stateful.stop = stop,
                    Err((what, error)) => note(&mut verdict.detail, &format!("{what}: {error}")),
                }
            }
            draft.verdicts.push(verdict);
            needs_event |= stateful.needs_event(rule);
            decided.stateful.extend(stateful.some());
        }
        let failed = ask(&facts, &mut decided);
        if let Some(detail) = failed {
            let verdicts = draft.verdicts.iter_mut().skip(begin);
            for verdict in verdicts.filter(|verdict| verdict.outcome == Outcome::Fired) {
                note(&mut verdict.detail, &detail);
            }
        }
        if !decided.deliveries.is_empty()
            || !decided.asked.is_empty()
            || !decided.stateful.is_empty()
        {
            draft.routes.push(decided);
        }
    }
    if needs_event {
        draft.event = Some(Arc::new(stored.clone()));
    }
}

fn decide_rule(
    route: &config::Route,
    rule: &config::Rule,
    facts: &Facts<'_>,
    deliveries: &mut Vec<DeliveryDraft>,
    stateful: &mut Stateful,
) -> Verdict {
    let mut verdict = Verdict {
        route: route.spec.origin.key.clone(),
        rule: rule.name.clone(),
        outcome: Outcome::Fired,
        detail: None,
    };
    if !rule.types.is_empty() && !rule.types.contains(&facts.event.r#type) {
        verdict.outcome = Outcome::TypeNotMatched;
        return verdict;
    }
    let when = rule
        .when
        .as_ref()
        .map_or(Ok(true), |when| when.evaluate_bool(&facts.variables(route)));
    match when {
        Ok(true) => {}
        Ok(false) => {
            verdict.outcome = Outcome::WhenFalse;
            return verdict;
        }
        Err(error) => {
            verdict.outcome = outcome_of(&error);
            verdict.detail = Some(format!("when: {error}"));
            if verdict.outcome == Outcome::Error {
                let broken = rule.deliver.iter();
                deliveries.extend(broken.map(|entry| broken_draft(facts, rule, entry)));
            }
            return verdict;
        }
    }
    let of_route = OnceCell::new();
    let variables = || of_route.get_or_init(|| facts.variables(route));
    if let Err((what, error)) = stateful.evaluate(rule, facts.event, variables) {
        verdict.outcome = outcome_of(&error);
        verdict.detail = Some(format!("{what}: {error}"));
        let broken = rule.deliver.iter();
        deliveries.extend(broken.map(|entry| broken_draft(facts, rule, entry)));
        return verdict;
    }
    for entry in &rule.deliver {
        let destination = &entry.destination;
        let claim = match once::draft(facts.event, entry.once.as_ref(), variables) {
            Ok(claim) => claim,
            Err(error) => {
                verdict.outcome = worse(verdict.outcome, &error);
                note(
                    &mut verdict.detail,
                    &format!("{}: once.key: {error}", destination.name),
                );
                deliveries.push(broken_draft(facts, rule, entry));
                continue;
            }
        };
        if let Some(enriched) = &entry.enriched {
            let mut draft = broken_draft(facts, rule, entry);
            let place = (route, rule, entry);
            match freeze_late(place, enriched, facts, &mut verdict.detail) {
                Ok(request) => {
                    draft.request = Some(request);
                    draft.once = claim;
                }
                Err(error) => {
                    verdict.outcome = worse(verdict.outcome, &error);
                    note(
                        &mut verdict.detail,
                        &format!("{}: address: {error}", destination.name),
                    );
                }
            }
            deliveries.push(draft);
            continue;
        }
        match render_entry(route, entry, facts) {
            Ok((request, echo)) => {
                let echo = echo.unwrap_or_else(|error| {
                    note(
                        &mut verdict.detail,
                        &format!("{}: loopGuard.echo.sent: {error}", destination.name),
                    );
                    None
                });
                let mut draft = broken_draft(facts, rule, entry);
                draft.request = Some(request);
                draft.echo = echo;
                draft.once = claim;
                deliveries.push(draft);
            }
            Err(error) => {
                verdict.outcome = worse(verdict.outcome, &error);
                note(
                    &mut verdict.detail,
                    &format!("{}: body: {error}", destination.name),
                );
                deliveries.push(broken_draft(facts, rule, entry));
            }
        }
    }
    verdict
}

fn outcome_of(error: &EvalError) -> Outcome {
    match error {
        EvalError::MissingField(_) => Outcome::MissingField,
        EvalError::Type { .. } | EvalError::Failed(_) => Outcome::Error,
    }
}

/// The worse of a rule's outcomes is its verdict.
fn worse(before: Outcome, error: &EvalError) -> Outcome {
    if before == Outcome::Error {
        before
    } else {
        outcome_of(error)
    }
}

pub(super) fn note(detail: &mut Option<String>, text: &str) {
    match detail {
        None => *detail = Some(text.to_owned()),
        Some(detail) => {
            detail.push_str("; ");
            detail.push_str(text);
        }
    }
}

/// A delivery with nothing to send.
fn broken_draft(facts: &Facts<'_>, rule: &config::Rule, entry: &config::Deliver) -> DeliveryDraft {
    DeliveryDraft {
        id: render::delivery_id(facts.event.uid, &entry.lane, &rule.name),
        lane: entry.lane.clone(),
        rule: rule.name.clone(),
        destination: Arc::clone(&entry.destination),
        request: None,
        echo: None,
        once: None,
    }
}

/// A delivery of a rule.
type Place<'a> = (&'a config::Route, &'a config::Rule, &'a config::Deliver);

/// A request whose body is rendered once its look-ups have ended.
fn freeze_late(
    place: Place<'_>,
    enriched: &config::Enriched,
    facts: &Facts<'_>,
    detail: &mut Option<String>,
) -> Result<FrozenRequest, EvalError> {
    let (route, _, entry) = place;
    let (address, hidden) = match &entry.redact {
        None => (address(route, entry, facts)?, Hidden::default()),
        Some(redactor) => {
            let (event, hidden) = redactor.event(facts.event, facts.fields);
            let json = OnceCell::new();
            let seen = Facts::new(&event, facts.fields, &json);
            (address(route, entry, &seen)?, hidden)
        }
    };
    let body = unrendered(place, enriched, facts, detail);
    let destination = &entry.destination;
    Ok(render::unrendered(destination, address, hidden, &body))
}

/// A body whose look-ups are still to be made. A URL that the event has no value for
/// is a failed look-up, and is noted. What is asked is asked about the event as it came: redaction is of
/// what the destination sees.
fn unrendered(
    (route, rule, entry): Place<'_>,
    enriched: &config::Enriched,
    facts: &Facts<'_>,
    detail: &mut Option<String>,
) -> Unrendered {
    let look_ups = enriched.look_ups.iter().filter_map(|place| {
        let config::Enrich { spec, url } = rule.enrich.get(*place)?;
        let url = url.render(&facts.variables(route));
        if let Err(error) = &url {
            note(detail, &format!("enrich {}: url: {error}", spec.name));
        }
        Some(LookUp {
            name: spec.name.clone(),
            url: url.ok(),
            on_failure: spec.on_failure,
        })
    });
    let echo = route.spec.loop_guard.echo.as_ref();
    let echo = echo.filter(|_| entry.destination.writes_back);
    Unrendered {
        body: enriched.source.clone(),
        enveloped: entry.destination.transport.format() == Format::CloudEventsStructured,
        look_ups: look_ups.collect(),
        echo: echo.map(|echo| UnrenderedEcho {
            sent: echo.sent.clone(),
            window: echo.window,
        }),
        redact: entry.destination.redact.clone(),
        tries: 0,
    }
}

/// A request, and the mark that it leaves where it is a write-back.
type Rendered = (FrozenRequest, Result<Option<EchoMark>, EvalError>);

/// Renders for a destination what it may see of the event.
fn render_entry(
    route: &config::Route,
    entry: &config::Deliver,
    facts: &Facts<'_>,
) -> Result<Rendered, EvalError> {
    let Some(redactor) = &entry.redact else {
        return render_seen(route, entry, facts, facts.event);
    };
    let (event, hidden) = redactor.event(facts.event, facts.fields);
    let json = OnceCell::new();
    let seen = Facts::new(&event, facts.fields, &json);
    let (mut request, echo) = render_seen(route, entry, &seen, facts.event)?;
    request.hidden = hidden;
    if request.body == FrozenBody::Event {
        request.body = FrozenBody::Rendered(event.body.clone());
    }
    Ok((request, echo))
}

/// `seen` is the event as the destination may see it, `original` as it came.
fn render_seen(
    route: &config::Route,
    entry: &config::Deliver,
    seen: &Facts<'_>,
    original: &Event,
) -> Result<Rendered, EvalError> {
    let body = entry
        .body
        .as_ref()
        .map(|body| body.render(&seen.variables(route)))
        .transpose()?;
    let address = address(route, entry, seen)?;
    let request = render::request(seen.event, &entry.destination, address, body.as_ref());
    let echo = route.echo.as_ref();
    let echo = echo.filter(|_| entry.destination.writes_back);
    let mark = echo.map(|echo| sent_mark(route, echo, seen, original, body.as_ref()));
    Ok((request, mark.transpose()))
}

/// The part of the address that depends on the event, where there is one.
fn address(
    route: &config::Route,
    entry: &config::Deliver,
    facts: &Facts<'_>,
) -> Result<Option<String>, EvalError> {
    entry
        .address
        .as_ref()
        .map(|address| render::address(address, &facts.variables(route)))
        .transpose()
}

/// The mark that a write-back leaves; `request` is its body, or the event's data. The event that it
/// causes has the data that was sent, redacted or not, and attributes that are never sent: so has the
/// event that the mark is made of.
fn sent_mark(
    route: &config::Route,
    echo: &config::Echo,
    seen: &Facts<'_>,
    original: &Event,
    body: Option<&Json>,
) -> Result<EchoMark, EvalError> {
    let data = seen.json().get("data");
    let request = body.or(data).unwrap_or(&Json::Null);
    let key = if std::ptr::eq(seen.event, original) {
        digest(&echo.sent, &seen.variables(route).with_request(request))?
    } else {
        let json = OnceCell::from(render::marked_event(original, data));
        let marked = Facts::new(original, seen.fields, &json);
        digest(&echo.sent, &marked.variables(route).with_request(request))?
    };
    Ok(EchoMark {
        key,
        window: echo.window,
    })
}

/// SHA-256 of an expression's text.
pub(super) fn digest(
    expression: &Expression,
    variables: &Variables<'_>,
) -> Result<[u8; 32], EvalError> {
    let value = expression.evaluate(variables)?;
    Ok(Sha256::digest(template::text(&value).as_bytes()).into())
}

/// Works out what the guard is to be asked; gives why `echo.received` failed, where it did. A field
/// that is missing is no failure: such an event is nobody's echo.
fn ask(facts: &Facts<'_>, decided: &mut RouteDraft) -> Option<String> {
    let spec = &decided.route.spec;
    if !spec.destinations.iter().any(|it| it.writes_back) {
        return None;
    }
    let mut failed = None;
    if let Some(echo) = &decided.route.echo {
        match digest(&echo.received, &facts.variables(&decided.route)) {
            Ok(key) => decided.echo_key = Some(key),
            Err(EvalError::MissingField(_)) => {}
            Err(error) => failed = Some(format!("loopGuard.echo.received: {error}")),
        }
    }
    let fired = |name: &str| {
        decided
            .deliveries
            .iter()
            .any(|delivery| delivery.request.is_some() && delivery.destination.name == name)
    };
    decided.asked = spec
        .destinations
        .iter()
        .filter(|destination| destination.writes_back)
        .filter(|destination| {
            decided.echo_key.is_some()
                || (spec.loop_guard.per_subject.is_some() && fired(&destination.name))
        })
        .map(|destination| Lane {
            route: spec.origin.key.clone(),
            destination: destination.name.clone(),
        })
        .collect();
    failed
}
