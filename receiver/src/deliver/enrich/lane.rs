//! The runner of a lane's look-ups: takes what waits for them, and hands on what is rendered.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use hookswitch_crds::expression::WordLists;
use hookswitch_crds::snapshot::{self, OnEnrichFailure};
use jiff::Timestamp;
use serde_json::{Map, Value as Json};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::super::awaiting::Awaiting;
use super::super::{Engine, backoff};
use super::look_up::{self, Blame, Failure, LookUps};
use crate::clock::Clock;
use crate::config::{Config, Follow};
use crate::plan::{DeadReason, FrozenBody, Lane, LookUp, Unrendered};
use crate::route;
use crate::store::{Error, LookUpRecord, Render, Rendered, StoredDelivery};

/// Deliveries whose look-ups are under way at once.
const AT_ONCE: usize = 64;
/// Deliveries that are given up at once.
const BATCH: usize = 256;
/// The pause after the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// The time of day is looked at this often at least: it can jump, and tokio's clock does not.
const LONGEST_REST: Duration = Duration::from_mins(1);

/// Works until the lane has nothing that waits for look-ups, or until shutdown.
pub(super) async fn run(
    engine: Arc<Engine>,
    look_ups: Arc<LookUps>,
    lane: Lane,
    wake: Arc<Notify>,
) {
    let config = engine.config.clone();
    let mut runner = Runner {
        engine,
        look_ups,
        lane,
        wake,
        config,
        under_way: HashSet::new(),
        tasks: JoinSet::new(),
        awaiting: Awaiting::default(),
    };
    let shutdown = runner.engine.shutdown.clone();
    shutdown.run_until_cancelled(runner.run()).await;
}

struct Runner {
    engine: Arc<Engine>,
    look_ups: Arc<LookUps>,
    lane: Lane,
    wake: Arc<Notify>,
    config: Follow,
    under_way: HashSet<Uuid>,
    tasks: JoinSet<Ended>,
    /// What waits for another configuration.
    awaiting: Awaiting,
}

/// A delivery whose look-ups have ended.
struct Ended {
    delivery: StoredDelivery,
    look_ups: Vec<LookUpRecord>,
    /// What becomes of it.
    end: Rendered,
}

/// What look-ups have found together.
enum Gathered {
    /// All that is to be had: an object with a member for each.
    Enough(Json),
    /// One failed that the body can't do without, for now.
    Again(Failure),
    /// For good.
    Never(Failure),
}

/// What the runner does next.
enum Pace {
    Rest(Option<Instant>),
    End,
}

impl Runner {
    async fn run(&mut self) {
        loop {
            self.settle().await;
            let config = self.config.borrow_and_update().clone();
            let step = match config {
                None => Ok(Pace::Rest(None)),
                Some(config) => match config.lanes.get(&self.lane) {
                    Some(destination) => self.start(&config, &Arc::clone(destination)).await,
                    None => self.bury(config.sequence).await,
                },
            };
            match step {
                Ok(Pace::End) => return,
                Ok(Pace::Rest(until)) => self.rest(until).await,
                Err(error) => {
                    self.store_failed(&error);
                    sleep(STORE_PAUSE).await;
                }
            }
        }
    }

    /// Starts what waits and is not under way.
    async fn start(
        &mut self,
        config: &Arc<Config>,
        destination: &Arc<snapshot::Destination>,
    ) -> Result<Pace, Error> {
        let now = self.engine.clock.now();
        let due = self
            .engine
            .store
            .unrendered(&self.lane, now, AT_ONCE + self.awaiting.hiding())
            .await?;
        self.count_dead(DeadReason::Damaged, due.damaged);
        self.awaiting.look();
        for delivery in due.ready {
            if self.under_way.len() >= AT_ONCE {
                break;
            }
            let fits = delivery.request.kind == destination.kind;
            let (engine, loaded) = (&self.engine, config.sequence);
            let lacks = !fits || (engine.store.is_shared() && !has_look_ups(config, &delivery));
            if lacks && self.awaiting.takes(engine, &delivery, loaded, now) {
                continue;
            }
            if !self.under_way.insert(delivery.id) {
                continue;
            }
            let look_ups = Arc::clone(&self.look_ups);
            let (config, destination) = (Arc::clone(config), Arc::clone(destination));
            let clock = self.engine.clock;
            self.tasks.spawn(async move {
                let (end, look_ups) = if fits {
                    prepare(&look_ups, &config, &destination.delivery, &delivery, clock).await
                } else {
                    (Rendered::Never(DeadReason::DestinationRemoved), Vec::new())
                };
                Ended {
                    delivery,
                    look_ups,
                    end,
                }
            });
        }
        let again = self.awaiting.looked(&self.lane).then_some(now);
        let next = due.next.into_iter().chain(self.awaiting.until());
        let next = next.chain(again).min();
        if self.tasks.is_empty() && due.damaged == 0 {
            return Ok(match next {
                None => Pace::End,
                Some(next) => Pace::Rest(Some(self.instant(next))),
            });
        }
        Ok(Pace::Rest(next.map(|next| self.instant(next))))
    }

    /// The destination is gone: what waits goes to the dead letters, as the lane's other deliveries do. It may be not
    /// here yet.
    async fn bury(&mut self, loaded: u64) -> Result<Pace, Error> {
        let store = Arc::clone(&self.engine.store);
        let limit = BATCH + self.awaiting.hiding();
        let due = store.unrendered(&self.lane, Timestamp::MAX, limit).await?;
        self.count_dead(DeadReason::Damaged, due.damaged);
        let now = self.engine.clock.now();
        self.awaiting.look();
        let mut gone = due.ready;
        gone.retain(|delivery| !self.awaiting.takes(&self.engine, delivery, loaded, now));
        let more = self.awaiting.looked(&self.lane);
        if !gone.is_empty() {
            let dead = gone.into_iter().map(|delivery| Ended {
                delivery,
                look_ups: Vec::new(),
                end: Rendered::Never(DeadReason::DestinationRemoved),
            });
            self.conclude(dead.collect()).await;
        } else if due.damaged == 0 && !more {
            return Ok(match self.awaiting.until() {
                None => Pace::End,
                Some(until) => Pace::Rest(Some(self.instant(until))),
            });
        }
        Ok(Pace::Rest(Some(Instant::now())))
    }

    /// Makes durable what has ended, and wakes the lane.
    async fn settle(&mut self) {
        let mut ended = Vec::new();
        while let Some(one) = self.tasks.try_join_next() {
            match one {
                Ok(one) => ended.push(one),
                Err(error) => {
                    // It is found again: nothing of it was written.
                    tracing::error!(lane = %self.lane, %error, "a look-up was lost; it is made again");
                    self.tasks.abort_all();
                    while self.tasks.join_next().await.is_some() {}
                    self.under_way.clear();
                }
            }
        }
        if !ended.is_empty() {
            self.conclude(ended).await;
        }
    }

    /// Tries for as long as it takes: what is rendered would be asked for again.
    async fn conclude(&mut self, ended: Vec<Ended>) {
        let now = self.engine.clock.now();
        let renders: Vec<Render> = ended
            .into_iter()
            .map(|ended| Render {
                id: ended.delivery.id,
                at: now,
                look_ups: ended.look_ups,
                body: ended.end,
            })
            .collect();
        while let Err(error) = self.write(&renders).await {
            self.store_failed(&error);
            sleep(STORE_PAUSE).await;
        }
        for render in &renders {
            self.under_way.remove(&render.id);
        }
        self.engine.lanes.add([&self.lane]);
    }

    async fn write(&self, renders: &[Render]) -> Result<(), Error> {
        let written = self.engine.store.render(renders.to_vec()).await?;
        let mut counts: HashMap<DeadReason, u64> = HashMap::new();
        for (render, written) in renders.iter().zip(written) {
            if let (Rendered::Never(reason), true) = (&render.body, written) {
                *counts.entry(*reason).or_default() += 1;
                tracing::warn!(id = %render.id, lane = %self.lane, dead = reason.label(), "delivery moved to the dead letters before its body was rendered");
            }
        }
        for (reason, count) in counts {
            self.count_dead(reason, count);
        }
        Ok(())
    }

    fn count_dead(&self, reason: DeadReason, count: u64) {
        if count > 0 {
            let route = self.lane.route.to_string();
            self.engine
                .metrics
                .deliveries
                .with_label_values(&[route.as_str(), &self.lane.destination, reason.label()])
                .inc_by(count);
        }
    }

    /// Waits until then, or until something happens.
    async fn rest(&mut self, until: Option<Instant>) {
        let latest = Instant::now() + LONGEST_REST;
        let until = until.map_or(latest, |until| until.min(latest));
        tokio::select! {
            Some(ended) = self.tasks.join_next() => match ended {
                Ok(ended) => self.conclude(vec![ended]).await,
                Err(error) => {
                    tracing::error!(lane = %self.lane, %error, "a look-up was lost; it is made again");
                    self.tasks.abort_all();
                    while self.tasks.join_next().await.is_some() {}
                    self.under_way.clear();
                }
            },
            () = self.wake.notified() => {}
            Ok(()) = self.config.changed() => {}
            () = sleep_until(until) => {}
        }
    }

    fn store_failed(&self, error: &Error) {
        tracing::warn!(lane = %self.lane, category = error.category(), %error, "look-ups wait for the store");
    }

    /// The moment of tokio's clock at a time of day.
    fn instant(&self, at: Timestamp) -> Instant {
        let wait = at.duration_since(self.engine.clock.now());
        Instant::now() + Duration::try_from(wait).unwrap_or(Duration::ZERO)
    }
}

/// Whether the configuration has all look-ups of a delivery.
fn has_look_ups(config: &Config, delivery: &StoredDelivery) -> bool {
    let FrozenBody::Unrendered(body) = &delivery.request.body else {
        return true;
    };
    // What can't be read is not waited for.
    let Ok(unrendered) = serde_json::from_slice::<Unrendered>(body) else {
        return true;
    };
    let mut named = unrendered.look_ups.into_iter();
    named.all(|look_up| look_up::is_here(config, &place(delivery, &look_up)))
}

fn place(delivery: &StoredDelivery, look_up: &LookUp) -> look_up::Place {
    let (route, rule) = (delivery.lane.route.clone(), delivery.rule.clone());
    (route, rule, look_up.name.clone())
}

/// Makes a delivery's look-ups, and renders its body.
async fn prepare(
    look_ups: &LookUps,
    config: &Config,
    settings: &snapshot::Delivery,
    delivery: &StoredDelivery,
    clock: Clock,
) -> (Rendered, Vec<LookUpRecord>) {
    let damaged = || (Rendered::Never(DeadReason::Damaged), Vec::new());
    let FrozenBody::Unrendered(body) = &delivery.request.body else {
        return damaged();
    };
    let Ok(unrendered) = serde_json::from_slice::<Unrendered>(body) else {
        tracing::error!(id = %delivery.id, lane = %delivery.lane, "the body of a delivery can't be read");
        return damaged();
    };
    let (gathered, records) = gather(look_ups, config, delivery, &unrendered.look_ups).await;
    let end = match gathered {
        Gathered::Enough(enriched) => {
            let route = config.routes.get(&delivery.lane.route);
            let words = route.and_then(|route| route.words.clone());
            render(delivery, unrendered, enriched, words).await
        }
        Gathered::Never(failure) => {
            tracing::warn!(id = %delivery.id, lane = %delivery.lane, reason = failure.reason, "a look-up failed that the delivery can't go on without");
            Rendered::Never(DeadReason::LookUpFailed)
        }
        Gathered::Again(failure) => again(settings, delivery, unrendered, failure, clock.now()),
    };
    (end, records)
}

/// Makes all look-ups at once. Gives what came of each, too.
async fn gather(
    look_ups: &LookUps,
    config: &Config,
    delivery: &StoredDelivery,
    named: &[LookUp],
) -> (Gathered, Vec<LookUpRecord>) {
    let asked = named.iter().map(|look_up| {
        let place = place(delivery, look_up);
        async move { look_ups.get(config, &place, look_up.url.as_deref()).await }
    });
    let results = join_all(asked).await;
    let mut found = Map::new();
    let mut records = Vec::new();
    let mut again: Option<Failure> = None;
    let mut never: Option<Failure> = None;
    for (look_up, result) in named.iter().zip(results) {
        records.push(LookUpRecord {
            name: look_up.name.clone(),
            failed: result.as_ref().err().map(|it| it.reason.to_owned()),
        });
        match (result, look_up.on_failure) {
            (Ok(answer), _) => {
                found.insert(look_up.name.clone(), Json::clone(&answer));
            }
            (Err(failure), OnEnrichFailure::Continue) => {
                tracing::info!(id = %delivery.id, lane = %delivery.lane, look_up = look_up.name, reason = failure.reason, "a look-up failed: the delivery goes on without it");
            }
            (Err(failure), on_failure) => {
                let waits = match failure.blame {
                    Blame::Held => true,
                    Blame::Failed => on_failure == OnEnrichFailure::Retry,
                    Blame::Refused => false,
                };
                if !waits {
                    never.get_or_insert(failure);
                    continue;
                }
                let longer = again.is_none_or(|other| failure.retry_after > other.retry_after);
                again = if longer { Some(failure) } else { again };
            }
        }
    }
    let gathered = match (never, again) {
        (Some(failure), _) => Gathered::Never(failure),
        (None, Some(failure)) => Gathered::Again(failure),
        (None, None) => Gathered::Enough(Json::Object(found)),
    };
    (gathered, records)
}

/// The body is rendered on a thread of its own: it can take some milliseconds.
async fn render(
    delivery: &StoredDelivery,
    unrendered: Unrendered,
    enriched: Json,
    words: Option<WordLists>,
) -> Rendered {
    let event = Arc::clone(&delivery.event);
    let hidden = delivery.request.hidden;
    let rendered = tokio::task::spawn_blocking(move || {
        route::render_late(&event.event, &unrendered, hidden, &enriched, words.as_ref())
    });
    match rendered.await {
        Ok(Ok(late)) => {
            if let Some(error) = late.no_mark {
                tracing::warn!(id = %delivery.id, lane = %delivery.lane, %error, "loopGuard.echo.sent failed: the write-back leaves no mark");
            }
            Rendered::Ready {
                body: late.body,
                echo: late.echo,
            }
        }
        Ok(Err(error)) => {
            tracing::warn!(id = %delivery.id, lane = %delivery.lane, rule = delivery.rule, %error, "a body can't be rendered");
            Rendered::Never(DeadReason::RuleError)
        }
        Err(error) => {
            tracing::error!(id = %delivery.id, lane = %delivery.lane, %error, "rendering a body panicked");
            Rendered::Never(DeadReason::RuleError)
        }
    }
}

/// Tries again later, as a delivery is tried, until `giveUpAfter`.
fn again(
    settings: &snapshot::Delivery,
    delivery: &StoredDelivery,
    mut unrendered: Unrendered,
    failure: Failure,
    now: Timestamp,
) -> Rendered {
    let waited = now.duration_since(delivery.planned_at).unsigned_abs();
    if now > delivery.planned_at && waited >= settings.give_up_after.to_std() {
        return Rendered::Never(DeadReason::GaveUp);
    }
    unrendered.tries = unrendered.tries.saturating_add(1);
    let delay = match failure.retry_after {
        Some(wait) => backoff::delay_after(settings, wait),
        None => backoff::delay(settings, unrendered.tries),
    };
    tracing::info!(id = %delivery.id, lane = %delivery.lane, reason = failure.reason, tries = unrendered.tries, ?delay, "a look-up failed: it is made again");
    // Texts, numbers and flags: it can't fail.
    let body = serde_json::to_vec(&unrendered).unwrap_or_default();
    Rendered::Again {
        body: Bytes::from(body),
        due: now.checked_add(delay).unwrap_or(now),
    }
}
