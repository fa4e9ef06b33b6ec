//! One run: load, and what is broken meanwhile, until all that was answered has taken effect.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::history::{Effect, History, Verdict};
use super::load::{Load, Pace};
use super::service::Service;
use super::stage::{PATH, Stage};
use crate::destination::{Destination, Received};
use crate::{wait, yaml};

/// What is late: longer than this from the 200 to the effect.
pub const LATE: Duration = Duration::from_secs(5);
/// How long anything may take that has to come.
const LIMIT: Duration = Duration::from_mins(10);
/// Without an effect for so long, what is missing counts as lost.
const PATIENCE: Duration = Duration::from_mins(2);
/// Without a request for so long, nothing is on its way any more.
const QUIET: Duration = Duration::from_secs(2);

/// A run that is under way.
#[derive(Debug)]
pub struct Trial {
    /// Where requests go.
    pub service: Service,
    destination: Arc<Destination>,
    load: Load,
    pace: Pace,
    start: Instant,
    faults: Vec<Range<Duration>>,
    broken: Option<Duration>,
}

impl Trial {
    /// Begins to send at this pace.
    #[must_use]
    pub fn start(stage: &Stage, service: Service, pace: Pace) -> Self {
        Self::start_at(Arc::clone(&stage.destination), service, PATH, pace)
    }

    /// The same to another path than that of files.
    #[must_use]
    pub fn start_at(
        destination: Arc<Destination>,
        service: Service,
        path: &str,
        pace: Pace,
    ) -> Self {
        let start = Instant::now();
        let load = Load::start(service.clone(), path, yaml::SIGNING_KEY, pace, start);
        Self {
            service,
            destination,
            load,
            pace,
            start,
            faults: Vec::new(),
            broken: None,
        }
    }

    /// Something is broken from now on.
    pub fn breaks(&mut self) {
        self.broken.get_or_insert_with(|| self.start.elapsed());
    }

    /// It is mended; gives for how long it was broken.
    pub fn mended(&mut self) -> Duration {
        let now = self.start.elapsed();
        let since = self.broken.take().unwrap_or(now);
        self.faults.push(since..now);
        now.saturating_sub(since)
    }

    /// Waits until so many more events are answered 200.
    pub async fn answered(&self, more: usize) {
        let before = self.load.counts().answered;
        wait::until(
            format!("{more} more events to be answered"),
            LIMIT,
            async || (self.load.counts().answered >= before + more).then_some(()),
        )
        .await;
    }

    /// Waits until so many more attempts are not answered 200.
    pub async fn refused(&self, more: usize) {
        let before = self.load.counts().refused;
        wait::until(format!("{more} more refusals"), LIMIT, async || {
            (self.load.counts().refused >= before + more).then_some(())
        })
        .await;
    }

    /// Waits until as much is sent as is sent in this time.
    pub async fn lasts(&self, time: Duration) {
        let events = time.as_secs_f64() * f64::from(self.pace.per_second);
        let events: usize = format!("{events:.0}").parse().expect("a count");
        let before = self.load.counts().sent;
        wait::until(
            format!("{events} more events to be sent"),
            LIMIT,
            async || (self.load.counts().sent >= before + events).then_some(()),
        )
        .await;
    }

    /// Waits until all has taken effect that was answered 200 so far.
    pub async fn delivered(&self) {
        assert!(self.is_delivered().await, "nothing is delivered any more");
    }

    /// The same; false where nothing takes effect any more.
    pub async fn is_delivered(&self) -> bool {
        let answered = self.load.answered().into_iter().collect();
        missing(&self.destination, answered).await.is_empty()
    }

    /// Sends nothing new, and waits until all that is answered has taken effect, or nothing happens any more.
    pub async fn end(self) -> Verdict {
        self.history().await.judge(LATE)
    }

    async fn history(mut self) -> History {
        if self.broken.is_some() {
            self.mended();
        }
        let sent = self.load.end().await;
        let answered = sent.iter().filter(|(_, sent)| sent.answered().is_some());
        let answered = answered.map(|(number, _)| *number).collect();
        missing(&self.destination, answered).await;
        quiet(&self.destination).await;
        let effects = self.destination.effects().into_iter().map(|effect| Effect {
            number: number(&effect),
            at: effect.at.saturating_duration_since(self.start),
        });
        History {
            sent,
            effects: effects.collect(),
            conflicts: self.destination.conflicts().len(),
            faults: self.faults,
        }
    }
}

/// Waits until these have taken effect, or nothing happens any more; gives those that have not.
async fn missing(destination: &Destination, mut events: HashSet<u64>) -> HashSet<u64> {
    let (mut seen, mut last) = (0, Instant::now());
    wait::until("effects, or their absence", LIMIT, async || {
        let new = destination.effects_after(seen);
        if !new.is_empty() {
            seen += new.len();
            last = Instant::now();
        }
        for effect in &new {
            events.remove(&number(effect));
        }
        (events.is_empty() || last.elapsed() > PATIENCE).then_some(())
    })
    .await;
    events
}

/// Waits until nothing is on its way to the destination.
async fn quiet(destination: &Destination) {
    let (mut requests, mut last) = (destination.requests(), Instant::now());
    wait::until("the destination to be left alone", LIMIT, async || {
        let now = destination.requests();
        if now > requests {
            requests = now;
            last = Instant::now();
        }
        (last.elapsed() > QUIET).then_some(())
    })
    .await;
}

/// The number of the event that an effect is of.
fn number(effect: &Received) -> u64 {
    let number = effect.body.get("number");
    number
        .and_then(serde_json::Value::as_u64)
        .expect("each effect has its number")
}
