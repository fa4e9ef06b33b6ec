//! Whose turn it is: subscriptions in round robin, and those that wait after an error.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use hookswitch_crds::key::ObjectKey;
use tokio::time::Instant;

/// The first wait after an error; the next ones double, with jitter.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Subscriptions with events to plan. Each is in it at most once.
#[derive(Debug, Default)]
pub(super) struct Queue {
    order: VecDeque<ObjectKey>,
    queued: HashSet<ObjectKey>,
    waiting: HashMap<ObjectKey, Wait>,
    all: All,
}

/// Whether the store is to be asked for every subscription with events to plan.
#[derive(Debug, Default)]
enum All {
    #[default]
    Known,
    Wanted,
    Waiting(Wait),
}

/// An error that has come up at least once.
#[derive(Debug)]
struct Wait {
    backoff: ExponentialBackoff,
    until: Instant,
    /// It has been tried again, and is not yet known to go well.
    trying: bool,
}

impl Wait {
    fn begin() -> Self {
        let backoff = ExponentialBuilder::new()
            .with_min_delay(FIRST_WAIT)
            .with_max_delay(LONGEST_WAIT)
            .without_max_times()
            .with_jitter_seed(rand::random())
            .with_jitter()
            .build();
        let mut wait = Self {
            backoff,
            until: Instant::now(),
            trying: false,
        };
        wait.again();
        wait
    }

    fn again(&mut self) {
        // The jitter adds up to the delay itself.
        let delay = self.backoff.next().unwrap_or(LONGEST_WAIT);
        self.until = Instant::now() + delay;
        self.trying = false;
    }

    fn is_due(&self) -> bool {
        !self.trying && self.until <= Instant::now()
    }
}

impl Queue {
    /// Adds to the end, but for those that wait after an error.
    pub(super) fn extend(&mut self, subscriptions: impl IntoIterator<Item = ObjectKey>) {
        for subscription in subscriptions {
            let waits = self
                .waiting
                .get(&subscription)
                .is_some_and(|wait| !wait.trying && !wait.is_due());
            if !waits && self.queued.insert(subscription.clone()) {
                self.order.push_back(subscription);
            }
        }
    }

    /// The next one, taken out.
    pub(super) fn next(&mut self) -> Option<ObjectKey> {
        let due: Vec<_> = self
            .waiting
            .iter_mut()
            .filter(|(_, wait)| wait.is_due())
            .map(|(subscription, wait)| {
                wait.trying = true;
                subscription.clone()
            })
            .collect();
        self.extend(due);
        let subscription = self.order.pop_front()?;
        self.queued.remove(&subscription);
        Some(subscription)
    }

    /// It waits for nothing any more: it went well, or there is nothing to do.
    pub(super) fn forget(&mut self, subscription: &ObjectKey) {
        self.waiting.remove(subscription);
    }

    /// Lets it wait, longer each time.
    pub(super) fn failed(&mut self, subscription: ObjectKey) {
        self.waiting
            .entry(subscription)
            .and_modify(Wait::again)
            .or_insert_with(Wait::begin);
    }

    pub(super) fn look_for_all(&mut self) {
        self.all = All::Wanted;
    }

    pub(super) fn looks_for_all(&self) -> bool {
        match &self.all {
            All::Known => false,
            All::Wanted => true,
            All::Waiting(wait) => wait.is_due(),
        }
    }

    pub(super) fn found_all(&mut self, subscriptions: Vec<ObjectKey>) {
        self.all = All::Known;
        self.extend(subscriptions);
    }

    pub(super) fn all_failed(&mut self) {
        self.all = match std::mem::take(&mut self.all) {
            All::Waiting(mut wait) => {
                wait.again();
                All::Waiting(wait)
            }
            All::Known | All::Wanted => All::Waiting(Wait::begin()),
        };
    }

    /// Ends when something that waits after an error is due; never where nothing does.
    pub(super) async fn retry_due(&self) {
        let all = match &self.all {
            All::Waiting(wait) => Some(wait.until),
            All::Known | All::Wanted => None,
        };
        let next = self
            .waiting
            .values()
            .map(|wait| wait.until)
            .chain(all)
            .min();
        match next {
            Some(next) => tokio::time::sleep_until(next).await,
            None => std::future::pending().await,
        }
    }
}
