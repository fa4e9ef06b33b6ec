//! What a configuration makes of one event.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use hookswitch_receiver::config::{Config, Subscription};
use hookswitch_receiver::event::{Disposition, Event};
use hookswitch_receiver::extract::Extractor;
use hookswitch_receiver::ingress::attributes;
use hookswitch_receiver::plan::{FrozenBody, NewDelivery, Outcome, Plan, Unrendered};
use hookswitch_receiver::redact::Hidden;
use hookswitch_receiver::route::why::{self, Asked, Part};
use hookswitch_receiver::route::{self, Draft, Overlay};
use hookswitch_receiver::store::{GuardAnswer, StoredEvent};
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use super::case::Case;

/// What became of an event.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Trial {
    pub(super) subscription: String,
    pub(super) id: String,
    pub(super) r#type: String,
    pub(super) time: Option<Timestamp>,
    pub(super) subject: Option<String>,
    pub(super) sender: Option<String>,
    /// `route`, or why it is not routed.
    pub(super) disposition: String,
    pub(super) verdicts: Vec<Decided>,
    pub(super) suppressed: Vec<Stopped>,
    pub(super) deliveries: Vec<Delivery>,
}

/// A rule's verdict.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Decided {
    /// `namespace/route/rule`.
    pub(super) rule: String,
    pub(super) verdict: String,
    pub(super) detail: Option<String>,
    /// The parts of the condition that do not hold.
    pub(super) not: Vec<String>,
}

/// What the loop guard stops.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stopped {
    /// `namespace/route/destination`.
    pub(super) to: String,
    pub(super) rule: String,
    pub(super) guard: String,
}

/// What is sent.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Delivery {
    /// `namespace/route/destination`.
    pub(super) to: String,
    pub(super) rule: String,
    pub(super) method: Option<String>,
    /// The part of the address that depends on the event.
    pub(super) address: Option<String>,
    pub(super) content_type: Option<String>,
    /// As JSON, where it is JSON.
    pub(super) body: Option<Json>,
    /// Why it is a dead letter at once.
    pub(super) dead: Option<String>,
}

impl Trial {
    /// Tries it.
    pub(super) fn of(config: &Config, case: &Case) -> anyhow::Result<Self> {
        let subscription = choose(config, case.subscription.as_deref())?;
        let event = event(subscription, case)?;
        let now = event.accepted_at;
        let stored = StoredEvent { seq: 1, event };
        let draft = Draft::new(subscription, &stored);
        let answers: Vec<GuardAnswer> = draft
            .questions(now)
            .iter()
            .map(|_| GuardAnswer::default())
            .collect();
        let plan = draft.plan(&answers, &mut Overlay::default(), now, config.sequence);
        Ok(told(subscription, &stored.event, &plan))
    }
}

fn choose<'a>(config: &'a Config, wanted: Option<&str>) -> anyhow::Result<&'a Arc<Subscription>> {
    let mut found: Vec<_> = config
        .subscriptions
        .values()
        .filter(|it| {
            let key = it.key();
            wanted.is_none_or(|wanted| wanted == key.to_string() || wanted == key.name)
        })
        .collect();
    found.sort_by_key(|it| it.key());
    match found.as_slice() {
        [one] => Ok(one),
        [] if config.subscriptions.is_empty() => {
            bail!("the files hold no WebhookSubscription that can be used")
        }
        [] => bail!(
            "the files hold no subscription {}",
            wanted.unwrap_or_default()
        ),
        several => {
            let names: Vec<String> = several.iter().map(|it| it.key().to_string()).collect();
            bail!("say which subscription: {}", names.join(", "))
        }
    }
}

fn event(subscription: &Subscription, case: &Case) -> anyhow::Result<Event> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in &case.headers {
        let wrong = || format!("the header {name} can't be one");
        headers.insert(
            HeaderName::try_from(name).with_context(wrong)?,
            HeaderValue::try_from(value).with_context(wrong)?,
        );
    }
    let read = attributes::read(
        &subscription.spec,
        &Extractor::new(&subscription.spec.fields),
        &headers,
        &Bytes::copy_from_slice(&case.body),
        Uuid::nil(),
        Timestamp::now(),
    );
    Ok(read.event)
}

fn told(subscription: &Subscription, event: &Event, plan: &Plan) -> Trial {
    let asked = Asked::new(event);
    let verdicts = plan.verdicts.iter().map(|verdict| {
        let route = subscription
            .routes
            .iter()
            .find(|route| route.spec.origin.key == verdict.route);
        let words = route.and_then(|route| route.words.as_ref());
        let when = route
            .and_then(|route| route.spec.rules.iter().find(|it| it.name == verdict.rule))
            .and_then(|rule| rule.when.as_deref())
            .filter(|_| verdict.outcome == Outcome::WhenFalse);
        let not = when
            .map(|when| asked.parts(when, words))
            .unwrap_or_default();
        Decided {
            rule: format!("{}/{}", verdict.route, verdict.rule),
            verdict: verdict.outcome.label().to_owned(),
            detail: verdict.detail.clone(),
            not: not.into_iter().filter_map(fails).collect(),
        }
    });
    let routed = event.disposition == Disposition::Route;
    let unnamed = why::unnamed(subscription, &plan.verdicts).filter(|_| routed);
    let unnamed = unnamed.map(|(route, rule)| Decided {
        rule: format!("{}/{}", route.spec.origin.key, rule.name),
        verdict: Outcome::TypeNotMatched.label().to_owned(),
        detail: None,
        not: Vec::new(),
    });
    let mut verdicts: Vec<Decided> = verdicts.chain(unnamed).collect();
    let rules: Vec<String> = subscription
        .routes
        .iter()
        .flat_map(|route| route.rules.iter().map(move |rule| (route, rule)))
        .map(|(route, rule)| format!("{}/{}", route.spec.origin.key, rule.name))
        .collect();
    verdicts.sort_by_cached_key(|it| rules.iter().position(|rule| *rule == it.rule));
    let suppressed = plan
        .suppressions
        .iter()
        .filter(|it| it.enforced)
        .map(|it| Stopped {
            to: it.lane.to_string(),
            rule: it.rule.clone(),
            guard: it.guard.label().to_owned(),
        });
    Trial {
        subscription: event.subscription.to_string(),
        id: event.id.clone(),
        r#type: event.r#type.clone(),
        time: event.time,
        subject: event.subject.clone(),
        sender: event.sender.clone(),
        disposition: event.disposition.label().to_owned(),
        verdicts,
        suppressed: suppressed.collect(),
        deliveries: plan
            .deliveries
            .iter()
            .map(|it| delivery(subscription, it, event))
            .collect(),
    }
}

fn fails(part: Part) -> Option<String> {
    match part.value {
        Ok(true) => None,
        Ok(false) => Some(part.text),
        Err(error) => Some(format!("{} ({error})", part.text)),
    }
}

/// A body as it is sent where none of its look-ups finds anything: nothing is asked here.
fn without_look_ups(
    subscription: &Subscription,
    planned: &NewDelivery,
    event: &Event,
    hidden: Hidden,
    unrendered: &Bytes,
) -> Bytes {
    let nothing = Json::Object(Map::new());
    let mut routes = subscription.routes.iter();
    let route = routes.find(|it| it.spec.origin.key == planned.lane.route);
    let words = route.and_then(|it| it.words.as_ref());
    serde_json::from_slice::<Unrendered>(unrendered)
        .ok()
        .and_then(|it| route::render_late(event, &it, hidden, &nothing, words).ok())
        .map_or_else(|| unrendered.clone(), |late| late.body)
}

fn delivery(subscription: &Subscription, planned: &NewDelivery, event: &Event) -> Delivery {
    let request = planned.request.as_ref();
    let body = request.map(|request| match &request.body {
        FrozenBody::Event => event.body.clone(),
        FrozenBody::Rendered(body) => body.clone(),
        FrozenBody::Unrendered(body) => {
            without_look_ups(subscription, planned, event, request.hidden, body)
        }
    });
    Delivery {
        to: planned.lane.to_string(),
        rule: planned.rule.clone(),
        method: request.map(|request| request.method.clone()),
        address: request.and_then(|request| request.address.clone()),
        content_type: request.map(|request| request.content_type.clone()),
        body: body.map(|body| {
            serde_json::from_slice(&body)
                .unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into())
        }),
        dead: planned.dead.map(|reason| reason.label().to_owned()),
    }
}
