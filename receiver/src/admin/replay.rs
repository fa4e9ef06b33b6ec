//! Replay: an event is routed again by what is in use now, and gets the deliveries that it lacks.
//!
//! ```text
//! events of a page ─ Draft (again, now) ─ the loop guard ─┬─ ids that are not there ─ store.replay
//!                                                         └─ dead letters ─────────── store.retry
//! ```
//!
//! - What was delivered is left alone, and so is what waits. A dead letter is attempted again with its
//!   bytes; one that could not be rendered is rendered now.
//! - The loop guard stands: what it stopped when the event was planned stays stopped, and what it would
//!   stop now is not made. Echo marks are not asked for again: those of today belong to other events.
//! - What rules remember counts: what `once` has had its effect for is not made, and no event moves a
//!   state back. No timer is started.
//! - With `again`, everything is rendered anew under keys made of its name, besides what is there.

use std::collections::HashSet;

use super::filter::EventFilter;
use super::{Error, Options, view};
use crate::config::{Config, Subscription};
use crate::event::Disposition;
use crate::plan::{DeadReason, Lane, Memory, NewDelivery, Plan};
use crate::route::{self, Draft, Overlay};
use crate::store::archive::{DeadChange, EventQuery, EventSummary, From, Page, Replay};
use crate::store::{DeliveryState, History};

/// Events on a page, at most.
const PAGE: usize = 50;

/// `POST /v1/replay`: one page.
pub(super) async fn replay(
    options: &Options,
    asked: view::Replay,
) -> Result<view::Replayed, Error> {
    let config = options.current();
    let now = options.clock.now();
    if asked.filter == EventFilter::default() && asked.event.is_none() && !asked.all {
        return Err(Error::Question(
            "the filter matches every event: say which, or that all are meant".to_owned(),
        ));
    }
    let query = asked.filter.query(&config, now)?;
    let page = page(options, &asked, query).await?;
    let mut replayed = view::Replayed {
        events: Vec::new(),
        examined: 0,
        skipped: Vec::new(),
        reached: page.reached,
        more: page.more,
    };
    let mut work = Work::default();
    let mut overlay = Overlay::default();
    for summary in page.found {
        let place = summary.head.seq.saturating_sub(1);
        let found = options.store.scan(place, 1).await?.pop();
        let Some(history) = found.filter(|it| it.event.seq == summary.head.seq) else {
            continue;
        };
        replayed.examined += 1;
        let subscription = match routed(&config, &history) {
            Ok(subscription) => subscription,
            Err(why) => {
                replayed.skipped.push(view::Skipped {
                    id: summary.head.uid,
                    why: why.to_owned(),
                });
                continue;
            }
        };
        let plan = decide(options, &config, subscription, &history, &mut overlay).await?;
        let event = work.take(&config, &history, plan, &asked, now, &mut replayed.skipped);
        replayed.events.extend(event);
    }
    if !asked.dry_run {
        work.do_it(options).await?;
    }
    Ok(replayed)
}

/// The events of the page.
async fn page(
    options: &Options,
    asked: &view::Replay,
    query: EventQuery,
) -> Result<Page<EventSummary>, Error> {
    let limit = asked.limit.unwrap_or(PAGE).clamp(1, PAGE);
    if let Some(uid) = asked.event {
        let history = options.store.history(uid).await?;
        let history = history
            .ok_or_else(|| Error::NotFound(format!("no event is kept that we call {uid}")))?;
        let found = vec![super::explain::summary(&history)];
        let reached = history.event.seq;
        return Ok(Page {
            found,
            reached,
            more: false,
        });
    }
    let mut page = options
        .store
        .events(query, From::After(asked.after), limit)
        .await?;
    if let Some(last) = asked.up_to {
        page.found.retain(|event| event.head.seq <= last);
        page.more &= page.reached < last;
    }
    Ok(page)
}

/// The subscription by which an event is routed again, or why it is not.
fn routed<'a>(
    config: &'a Config,
    history: &History,
) -> Result<&'a std::sync::Arc<Subscription>, &'static str> {
    let event = &history.event.event;
    let subscription = config
        .subscriptions
        .get(&event.subscription)
        .ok_or("its subscription is gone")?;
    if subscription.spec.suspend {
        return Err("its subscription is suspended");
    }
    if history.plan.is_none() {
        return Err("it waits to be routed for the first time");
    }
    let types = &subscription.spec.types;
    match event.disposition {
        // One that was gone for too long is there again.
        Disposition::Route | Disposition::SubscriptionRemoved => Ok(subscription),
        // The subscription may have been taught the type.
        Disposition::TypeNotAccepted if types.is_empty() || types.contains(&event.r#type) => {
            Ok(subscription)
        }
        Disposition::TypeNotAccepted => Err("its subscription does not accept the type"),
        Disposition::Ping => Err("it is a test of the sender's"),
        Disposition::Unparseable => Err("its body is not JSON"),
        Disposition::IdReused => Err("its id is that of another event"),
        Disposition::Quarantined => Err("routing it ended the process: it is quarantined"),
        Disposition::Damaged => Err("its row in the store is damaged"),
    }
}

/// What would be planned for the event now.
async fn decide(
    options: &Options,
    config: &Config,
    subscription: &std::sync::Arc<Subscription>,
    history: &History,
    overlay: &mut Overlay,
) -> Result<Plan, Error> {
    let now = options.clock.now();
    let mut event = history.event.clone();
    event.event.disposition = Disposition::Route;
    let subscription = std::sync::Arc::clone(subscription);
    let draft = tokio::task::spawn_blocking(move || Draft::new(&subscription, &event))
        .await
        .map_err(|_| Error::Question("routing the event crashed: see the log".to_owned()))?;
    let mut questions = draft.questions(now);
    for question in &mut questions {
        question.echo_key = None;
    }
    let answers = if questions.is_empty() {
        Vec::new()
    } else {
        options.store.guard(questions).await?
    };
    let keys: Vec<_> = draft.memories().filter(|key| !overlay.knows(key)).collect();
    let keys: Vec<_> = keys.into_iter().cloned().collect();
    if !keys.is_empty() {
        let subscription = &history.event.event.subscription;
        let recalled = options.store.recall(subscription, keys.clone()).await?;
        overlay.learn(keys.into_iter().zip(recalled));
    }
    Ok(draft.plan(&answers, overlay, now, config.sequence))
}

/// What a page comes to.
#[derive(Default)]
struct Work {
    replays: Vec<Replay>,
    retries: Vec<DeadChange>,
    lanes: HashSet<Lane>,
}

impl Work {
    /// What an event lacks; `None` where that is nothing.
    fn take(
        &mut self,
        config: &Config,
        history: &History,
        plan: Plan,
        asked: &view::Replay,
        now: jiff::Timestamp,
        skipped: &mut Vec<view::Skipped>,
    ) -> Option<view::ReplayedEvent> {
        let event = &history.event.event;
        let mut told = view::ReplayedEvent {
            uid: event.uid,
            r#type: event.r#type.clone(),
            made: Vec::new(),
            retried: Vec::new(),
        };
        let mut missing: Vec<NewDelivery> = Vec::new();
        let claims = plan.remember.into_iter();
        let claims = claims.filter(|it| it.memory == Memory::Claimed).collect();
        for mut delivery in plan.deliveries {
            if let Some(name) = asked.again {
                delivery.id = route::again(delivery.id, name);
            }
            let broken = |state| matches!(state, DeliveryState::Dead(_));
            let there = history.deliveries.iter().any(|record| {
                record.id == delivery.id && (record.request.is_some() || !broken(record.state))
            });
            if there || was_stopped(history, &delivery) {
                continue;
            }
            if delivery.waits_until.is_some() {
                skipped.push(view::Skipped {
                    id: delivery.id,
                    why: format!(
                        "{}: it waits for a timer, and a replay starts none",
                        delivery.lane
                    ),
                });
                continue;
            }
            if let Some(reason) = delivery.dead {
                skipped.push(view::Skipped {
                    id: delivery.id,
                    why: format!("{}: {}", delivery.lane, reason.label()),
                });
                continue;
            }
            told.made.push(delivery.lane.to_string());
            self.lanes.insert(delivery.lane.clone());
            missing.push(delivery);
        }
        if !missing.is_empty() {
            self.replays.push(Replay {
                seq: history.event.seq,
                at: now,
                deliveries: missing,
                claims,
            });
        }
        for record in history.deliveries.iter().filter(|_| asked.again.is_none()) {
            let DeliveryState::Dead(reason) = record.state else {
                continue;
            };
            // A person lets these go by `dead-letters retry`.
            let guarded = matches!(reason, DeadReason::LoopHops | DeadReason::LoopRate);
            if record.request.is_none() || guarded || !config.lanes.contains_key(&record.lane) {
                continue;
            }
            told.retried.push(record.lane.to_string());
            self.lanes.insert(record.lane.clone());
            self.retries.push(DeadChange {
                id: record.id,
                attempts: record.attempts.last().map_or(0, |attempt| attempt.number),
                at: now,
            });
        }
        (!told.made.is_empty() || !told.retried.is_empty()).then_some(told)
    }

    async fn do_it(self, options: &Options) -> Result<(), Error> {
        let mut made = 0;
        let mut retried = 0;
        if !self.replays.is_empty() {
            let counts = options.store.replay(self.replays).await?;
            made = counts.into_iter().sum::<u64>();
        }
        if !self.retries.is_empty() {
            let done = options.store.retry(self.retries).await?;
            retried = done.into_iter().filter(|done| *done).count();
        }
        if made > 0 || retried > 0 {
            options.lanes.add(&self.lanes);
            tracing::info!(made, retried, "events are replayed, as asked");
        }
        Ok(())
    }
}

/// Whether the loop guard stopped the delivery when the event was planned.
fn was_stopped(history: &History, delivery: &NewDelivery) -> bool {
    history.plan.as_ref().is_some_and(|plan| {
        plan.suppressions.iter().any(|suppression| {
            suppression.enforced
                && suppression.lane == delivery.lane
                && suppression.rule == delivery.rule
        })
    })
}
