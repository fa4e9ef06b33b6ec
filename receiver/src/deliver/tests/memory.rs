//! A store in memory, for the part of the trait that deliveries need: tests in virtual time can't wait
//! for a disk.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use futures::FutureExt as _;
use jiff::Timestamp;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::plan::{FrozenBody, Lane};
use crate::store::{
    Claim, DeliveryState, Due, Error, Finish, LaneStats, LookUpRecord, Next, Pending, Render,
    Rendered, Store, StoredDelivery,
};

/// The store.
#[derive(Default)]
pub(in crate::deliver) struct Memory {
    rows: Mutex<Vec<Row>>,
    /// Others plan into it too.
    shared: bool,
    /// So many calls of `finish` fail.
    pub(in crate::deliver) failing_finishes: AtomicUsize,
    /// Told when deliveries end or are put off.
    pub(in crate::deliver) changed: Notify,
    /// Calls of `due`.
    pub(in crate::deliver) reads: AtomicUsize,
}

/// A delivery.
#[derive(Clone)]
pub(in crate::deliver) struct Row {
    pub(in crate::deliver) delivery: StoredDelivery,
    pub(in crate::deliver) ordered_by: Option<String>,
    pub(in crate::deliver) state: DeliveryState,
    pub(in crate::deliver) finishes: Vec<Finish>,
    pub(in crate::deliver) look_ups: Vec<LookUpRecord>,
}

impl Row {
    fn is_open(&self) -> bool {
        !matches!(
            self.state,
            DeliveryState::Delivered | DeliveryState::Dead(_)
        )
    }
}

impl Memory {
    /// One that other receivers plan into too.
    pub(in crate::deliver) fn shared() -> Self {
        Self {
            shared: true,
            ..Self::default()
        }
    }

    /// Plans a delivery.
    pub(in crate::deliver) fn add(&self, delivery: StoredDelivery, ordered_by: Option<&str>) {
        let due = delivery.due;
        let state = match delivery.request.body {
            FrozenBody::Unrendered(_) => DeliveryState::Unrendered { due },
            _ => DeliveryState::Pending { due },
        };
        self.rows().push(Row {
            delivery,
            ordered_by: ordered_by.map(str::to_owned),
            state,
            finishes: Vec::new(),
            look_ups: Vec::new(),
        });
    }

    /// A delivery, as it is now.
    pub(in crate::deliver) fn row(&self, id: Uuid) -> Row {
        let rows = self.rows();
        rows.iter()
            .find(|row| row.delivery.id == id)
            .unwrap()
            .clone()
    }

    /// How many deliveries are in a state.
    pub(in crate::deliver) fn count(&self, state: impl Fn(DeliveryState) -> bool) -> usize {
        self.rows().iter().filter(|row| state(row.state)).count()
    }

    fn rows(&self) -> MutexGuard<'_, Vec<Row>> {
        self.rows.lock().unwrap()
    }
}

fn ready<T: Send + 'static>(value: Result<T, Error>) -> Pending<'static, T> {
    std::future::ready(value).boxed()
}

impl Store for Memory {
    fn is_shared(&self) -> bool {
        self.shared
    }

    fn due(&self, lane: &Lane, now: Timestamp, limit: usize) -> Pending<'_, Due> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let mut heads = HashSet::new();
        let mut due = Due::default();
        let rows = self.rows();
        for row in rows.iter().filter(|row| row.delivery.lane == *lane) {
            let first = match &row.ordered_by {
                Some(subject) if row.is_open() => heads.insert(subject.clone()),
                _ => true,
            };
            match row.state {
                DeliveryState::Pending { due: at } if first && at <= now => {
                    due.ready.push(row.delivery.clone());
                }
                DeliveryState::Pending { due: at } if first => {
                    due.next = Some(due.next.map_or(at, |next| next.min(at)));
                }
                _ => {}
            }
        }
        due.ready.sort_by_key(|delivery| delivery.due);
        due.ready.truncate(limit);
        ready(Ok(due))
    }

    fn unrendered(&self, lane: &Lane, now: Timestamp, limit: usize) -> Pending<'_, Due> {
        let mut found = Due::default();
        for row in self.rows().iter().filter(|row| row.delivery.lane == *lane) {
            match row.state {
                DeliveryState::Unrendered { due } if due <= now => {
                    found.ready.push(row.delivery.clone());
                }
                DeliveryState::Unrendered { due } => {
                    found.next = Some(found.next.map_or(due, |next| next.min(due)));
                }
                _ => {}
            }
        }
        found.ready.truncate(limit);
        ready(Ok(found))
    }

    fn render(&self, renders: Vec<Render>) -> Pending<'_, Vec<bool>> {
        let mut rows = self.rows();
        let rendered = renders
            .into_iter()
            .map(|render| {
                let row = rows.iter_mut().find(|row| row.delivery.id == render.id);
                let Some(row) =
                    row.filter(|row| matches!(row.state, DeliveryState::Unrendered { .. }))
                else {
                    return false;
                };
                row.look_ups = render.look_ups;
                match render.body {
                    Rendered::Never(reason) => row.state = DeliveryState::Dead(reason),
                    Rendered::Ready { body, .. } => {
                        row.state = DeliveryState::Pending { due: render.at };
                        row.delivery.request.body = FrozenBody::Rendered(body);
                    }
                    Rendered::Again { body, due } => {
                        row.state = DeliveryState::Unrendered { due };
                        row.delivery.request.body = FrozenBody::Unrendered(body);
                    }
                }
                true
            })
            .collect();
        self.changed.notify_waiters();
        ready(Ok(rendered))
    }

    fn claim(&self, claims: Vec<Claim>) -> Pending<'_, Vec<bool>> {
        let mut rows = self.rows();
        let won = claims
            .into_iter()
            .map(|claim| {
                let row = rows.iter_mut().find(|row| row.delivery.id == claim.id);
                row.is_some_and(|row| {
                    let won = row.delivery.attempts == claim.attempts
                        && matches!(row.state, DeliveryState::Pending { .. });
                    if won {
                        row.state = DeliveryState::Claimed;
                        row.delivery.attempts += 1;
                    }
                    won
                })
            })
            .collect();
        ready(Ok(won))
    }

    fn finish(&self, finishes: Vec<Finish>) -> Pending<'_, Vec<bool>> {
        let failing = &self.failing_finishes;
        if failing
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            })
            .is_ok()
        {
            return ready(Err(Error::Full("injected".to_owned())));
        }
        let mut rows = self.rows();
        let current = finishes
            .into_iter()
            .map(|finish| {
                let row = rows.iter_mut().find(|row| row.delivery.id == finish.id);
                row.is_some_and(|row| {
                    let current = row.delivery.attempts == finish.attempts && row.is_open();
                    if current {
                        row.state = match finish.next {
                            Next::Delivered => DeliveryState::Delivered,
                            Next::Dead(reason) => DeliveryState::Dead(reason),
                            Next::RetryAt(due) => DeliveryState::Pending { due },
                        };
                        if let Next::RetryAt(due) = finish.next {
                            row.delivery.due = due;
                        }
                        row.delivery.interrupted = false;
                        row.delivery.doubtful |=
                            finish.answer.as_ref().is_some_and(|it| it.ambiguous);
                        row.finishes.push(finish);
                    }
                    current
                })
            })
            .collect();
        self.changed.notify_waiters();
        ready(Ok(current))
    }

    fn lanes(&self) -> Pending<'_, Vec<LaneStats>> {
        let mut pending: HashMap<Lane, u64> = HashMap::new();
        for row in self.rows().iter().filter(|row| row.is_open()) {
            *pending.entry(row.delivery.lane.clone()).or_default() += 1;
        }
        let lanes = pending.into_iter().map(|(lane, pending)| LaneStats {
            lane,
            pending,
            oldest: None,
            dead: 0,
        });
        ready(Ok(lanes.collect()))
    }

    crate::unused_operations!(
        accept seen unplanned_subscriptions unplanned waiting guard recall plan timers_due fire timers
        remove_timers scan history purge planning suspects health close
    );
}
