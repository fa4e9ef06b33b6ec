//! Senders that behave as TG-Staff does: an event is sent when it happens, whatever became of others; 5 s for
//! the answer; after anything but 200 again, 30 s, 2 min and 5 min later; then it is given up
//! ([its guide](https://tg-staff.com/en/blog/tg-staff-api-webhook-outbound-events/)).
//!
//! Each attempt asks the service where to go, as a load balancer does: an attempt is not passed on to another
//! receiver where the first one fails.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};

use super::history::{Attempt, Sent};
use super::service::Service;
use crate::sender::Sender;

/// How long after an attempt the next one is made.
const PAUSES: [Duration; 3] = [
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(5),
];

/// Subjects, each of which has its order.
const SUBJECTS: u64 = 50;

/// How much is sent.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Events a second.
    pub per_second: u32,
    /// What the pauses between attempts are multiplied by.
    pub scale: f64,
}

/// Senders at work.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    source: JoinHandle<()>,
}

/// What events have in common.
#[derive(Debug)]
struct Shared {
    service: Service,
    sender: Sender,
    path: String,
    pace: Pace,
    start: Instant,
    stop: AtomicBool,
    sent: Mutex<BTreeMap<u64, Sent>>,
}

/// So many events of each kind, so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sent at least once.
    pub sent: usize,
    /// Answered 200.
    pub answered: usize,
    /// Attempts that were not answered 200.
    pub refused: usize,
}

impl Load {
    /// Begins to send to a path. Moments are counted from `start`.
    #[must_use]
    pub fn start(service: Service, path: &str, key: &str, pace: Pace, start: Instant) -> Self {
        let shared = Arc::new(Shared {
            service,
            sender: Sender::new("", key),
            path: path.to_owned(),
            pace,
            start,
            stop: AtomicBool::new(false),
            sent: Mutex::default(),
        });
        let source = tokio::spawn(run(Arc::clone(&shared)));
        Self { shared, source }
    }

    /// How it stands.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let sent = self.shared.sent();
        let answered = sent.values().filter(|sent| sent.answered().is_some());
        let attempts = sent.values().flat_map(|sent| &sent.attempts);
        Counts {
            sent: sent.len(),
            answered: answered.count(),
            refused: attempts
                .filter(|attempt| attempt.answer != Some(200))
                .count(),
        }
    }

    /// The numbers of all that was answered 200 so far.
    #[must_use]
    pub fn answered(&self) -> Vec<u64> {
        let sent = self.shared.sent();
        let answered = sent.iter().filter(|(_, sent)| sent.answered().is_some());
        answered.map(|(number, _)| *number).collect()
    }

    /// Sends nothing new, and gives all that was sent once the last retry is over.
    pub async fn end(self) -> BTreeMap<u64, Sent> {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.source.await.expect("the source ends");
        self.shared.sent().clone()
    }
}

impl Shared {
    fn sent(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Sent>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets an event happen at each tick, until it is told to stop; waits for their senders.
async fn run(shared: Arc<Shared>) {
    let mut tick = tokio::time::interval(Duration::from_secs(1) / shared.pace.per_second);
    let mut events = JoinSet::new();
    for number in 0.. {
        tick.tick().await;
        if shared.stop.load(Ordering::SeqCst) {
            break;
        }
        while events.try_join_next().is_some() {}
        events.spawn(send(Arc::clone(&shared), number));
    }
    events.join_all().await;
}

/// Sends an event until it is answered 200, or given up.
async fn send(shared: Arc<Shared>, number: u64) {
    let event = event(number);
    let pauses = PAUSES.map(|pause| pause.mul_f64(shared.pace.scale));
    for pause in [Duration::ZERO].into_iter().chain(pauses) {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let began = shared.start.elapsed();
        let answer = match shared.service.next() {
            None => None,
            Some(receiver) => {
                let url = format!("http://{receiver}{}", shared.path);
                shared.sender.at(url).send(&event).await
            }
        };
        let attempt = Attempt {
            began,
            ended: shared.start.elapsed(),
            answer,
        };
        let mut sent = shared.sent();
        let sent = sent.entry(number).or_default();
        sent.subject = number % SUBJECTS;
        sent.attempts.push(attempt);
        if answer == Some(200) {
            return;
        }
    }
}

/// An event with its number in it.
fn event(number: u64) -> Value {
    json!({
        "event_type": "conversation.created",
        "event_id": format!("probe-{number}"),
        "conversation_id": format!("conv-{}", number % SUBJECTS),
        "timestamp": "2026-01-05T10:00:00Z",
        "data": {"number": number, "user_id": 1000 + number, "username": "alice", "first_message": "hello"},
    })
}
