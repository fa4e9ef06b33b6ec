//! What a configuration makes of what happens.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use hookswitch_crds::duration::Duration;
use hookswitch_receiver::config::{Config, Subscription};
use hookswitch_receiver::event::{Disposition, Event};
use hookswitch_receiver::extract::Extractor;
use hookswitch_receiver::ingress::attributes;
use hookswitch_receiver::plan::{FrozenBody, NewDelivery, Outcome, Plan};
use hookswitch_receiver::route::why::{self, Asked, Part};
use jiff::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::Value as Json;
use uuid::Uuid;

use super::case::{Case, Step};
use super::look_up;
use super::world::World;

/// What became of a step.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Trial {
    pub(super) subscription: String,
    /// Nothing where only time has passed.
    #[serde(flatten)]
    pub(super) event: Option<Happened>,
    /// Rules whose timers have fired meanwhile, as `namespace/route/rule`.
    pub(super) fired: Vec<String>,
    pub(super) verdicts: Vec<Decided>,
    pub(super) suppressed: Vec<Stopped>,
    pub(super) deliveries: Vec<Delivery>,
}

/// An event.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Happened {
    pub(super) id: String,
    pub(super) r#type: String,
    pub(super) time: Option<Timestamp>,
    pub(super) subject: Option<String>,
    pub(super) sender: Option<String>,
    /// `route`, `duplicate`, or why it is not routed.
    pub(super) disposition: String,
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
    /// How long it waits for its timer.
    pub(super) waits: Option<String>,
    /// Why it is a dead letter at once, or would be in the end.
    pub(super) dead: Option<String>,
}

/// An event that came before.
const DUPLICATE: &str = "duplicate";

impl Trial {
    /// Tries the steps of a case, one after the other.
    pub(super) fn all(config: &Config, case: &Case) -> anyhow::Result<Vec<Self>> {
        let subscription = choose(config, case.subscription.as_deref())?;
        let mut world = World::at(begin(subscription, case)?);
        let steps = case.steps.iter();
        steps
            .map(|step| {
                look_up::check(config, &step.enriched)?;
                Self::step(config, subscription, &mut world, step)
            })
            .collect()
    }

    fn step(
        config: &Config,
        subscription: &Subscription,
        world: &mut World,
        step: &Step,
    ) -> anyhow::Result<Self> {
        let mut trial = Self {
            subscription: subscription.key().to_string(),
            event: None,
            fired: Vec::new(),
            verdicts: Vec::new(),
            suppressed: Vec::new(),
            deliveries: Vec::new(),
        };
        for fired in world.pass(subscription, step.after.to_std()) {
            let scope = &fired.timer.scope;
            trial.fired.push(format!("{}/{}", scope.route, scope.rule));
            let event = &fired.event.event;
            for delivery in &fired.deliveries {
                let told = delivery_of(subscription, world, step, delivery, event);
                trial.deliveries.push(told);
            }
        }
        let Some(body) = &step.body else {
            return Ok(trial);
        };
        let event = event(subscription, step, body, world)?;
        let mut happened = Happened {
            id: event.id.clone(),
            r#type: event.r#type.clone(),
            time: event.time,
            subject: event.subject.clone(),
            sender: event.sender.clone(),
            disposition: DUPLICATE.to_owned(),
        };
        if let Some((stored, plan)) = world.take(subscription, event, config.sequence) {
            let event = &stored.event;
            event
                .disposition
                .label()
                .clone_into(&mut happened.disposition);
            trial.verdicts = verdicts(subscription, event, &plan);
            trial.suppressed = suppressed(&plan);
            for delivery in &plan.deliveries {
                let told = delivery_of(subscription, world, step, delivery, event);
                trial.deliveries.push(told);
            }
        }
        trial.event = Some(happened);
        Ok(trial)
    }
}

/// The time of the first event, by its own account where it has one: a case says the same at any time.
fn begin(subscription: &Subscription, case: &Case) -> anyhow::Result<Timestamp> {
    let mut bodies = case
        .steps
        .iter()
        .filter_map(|step| Some((step, step.body.as_ref()?)));
    let Some((step, body)) = bodies.next() else {
        return Ok(Timestamp::now());
    };
    let now = World::at(Timestamp::now());
    let first = event(subscription, step, body, &now)?;
    Ok(first.time.unwrap_or_else(|| now.now()))
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

fn event(
    subscription: &Subscription,
    step: &Step,
    body: &[u8],
    world: &World,
) -> anyhow::Result<Event> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in &step.headers {
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
        &Bytes::copy_from_slice(body),
        Uuid::from_u128(world.next().into()),
        world.now(),
    );
    Ok(read.event)
}

/// Each rule's verdict, in the order of the rules.
fn verdicts(subscription: &Subscription, event: &Event, plan: &Plan) -> Vec<Decided> {
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
    verdicts
}

fn suppressed(plan: &Plan) -> Vec<Stopped> {
    let enforced = plan.suppressions.iter().filter(|it| it.enforced);
    enforced
        .map(|it| Stopped {
            to: it.lane.to_string(),
            rule: it.rule.clone(),
            guard: it.guard.label().to_owned(),
        })
        .collect()
}

fn fails(part: Part) -> Option<String> {
    match part.value {
        Ok(true) => None,
        Ok(false) => Some(part.text),
        Err(error) => Some(format!("{} ({error})", part.text)),
    }
}

/// A delivery, which is sent at once where it neither waits nor is dead.
fn delivery_of(
    subscription: &Subscription,
    world: &mut World,
    step: &Step,
    planned: &NewDelivery,
    event: &Event,
) -> Delivery {
    let request = planned.request.as_ref();
    let mut dead = planned.dead;
    let mut echo = planned.echo;
    let body = request.and_then(|request| match &request.body {
        FrozenBody::Event => Some(event.body.to_vec()),
        FrozenBody::Rendered(body) => Some(body.to_vec()),
        // Its look-ups are made once its timer has fired.
        FrozenBody::Unrendered(_) if planned.waits_until.is_some() => None,
        FrozenBody::Unrendered(body) => {
            let late = (request.hidden, body.as_ref());
            match look_up::render(subscription, &step.enriched, planned, event, late) {
                Ok((body, mark)) => {
                    echo = mark;
                    Some(body)
                }
                Err(reason) => {
                    dead = dead.or(Some(reason));
                    None
                }
            }
        }
    });
    if dead.is_none() && planned.waits_until.is_none() {
        world.sent(planned, echo);
    }
    let waits = planned.waits_until.map(|due| {
        let wait = due.duration_since(world.now()).as_millis();
        Duration::from_millis(u64::try_from(wait).unwrap_or(0)).to_string()
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
        waits,
        dead: dead.map(|reason| reason.label().to_owned()),
    }
}
