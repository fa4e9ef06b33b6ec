//! A store that remembers what it was given, and fails or waits when it is told to.

use std::collections::HashMap;
use std::sync::Mutex;

use hookswitch_crds::key::ObjectKey;
use hookswitch_receiver::plan::{Firing, Lane, MemoryKey, Plan, Recalled, Scope};
use hookswitch_receiver::store::{
    Accepted, Claim, Due, Error, Finish, GuardAnswer, GuardQuestion, History, LaneStats, NewEvent,
    Pending, Purged, RemovedTimers, Render, Retention, Store, StoredEvent, TimerStats, TimersDue,
    Waiting,
};
use jiff::Timestamp;
use tokio::sync::watch;
use uuid::Uuid;

/// What ingress asks of a store; the rest is not for it to call.
pub(crate) struct Recorder {
    events: Mutex<Vec<NewEvent>>,
    known: Mutex<HashMap<(ObjectKey, String), [u8; 32]>>,
    /// How many have come in, committed or not.
    offered: watch::Sender<usize>,
    /// While false, nothing is committed.
    open: watch::Sender<bool>,
    failure: Mutex<Option<Error>>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self {
            events: Mutex::default(),
            known: Mutex::default(),
            offered: watch::Sender::new(0),
            open: watch::Sender::new(true),
            failure: Mutex::default(),
        }
    }

    /// What is durable, in order.
    pub(crate) fn events(&self) -> Vec<NewEvent> {
        self.events.lock().unwrap().clone()
    }

    /// Lets commits through, or not.
    pub(crate) fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }

    /// Makes every append fail, or none.
    pub(crate) fn fail_with(&self, error: Option<Error>) {
        *self.failure.lock().unwrap() = error;
    }

    /// Waits until so many events have come in, committed or not.
    pub(crate) async fn offered(&self, count: usize) {
        let mut offered = self.offered.subscribe();
        offered.wait_for(|offered| *offered >= count).await.unwrap();
    }

    fn commit(&self, new: NewEvent) -> Accepted {
        let key = (new.event.subscription.clone(), new.event.id.clone());
        let before = self.known.lock().unwrap().get(&key).copied();
        if before == Some(new.digest) {
            return Accepted::Duplicate;
        }
        if before.is_none() {
            self.known.lock().unwrap().insert(key, new.digest);
        }
        let mut events = self.events.lock().unwrap();
        events.push(new);
        let seq = u64::try_from(events.len()).unwrap();
        if before.is_none() {
            Accepted::New { seq }
        } else {
            Accepted::IdReused { seq }
        }
    }
}

impl Store for Recorder {
    fn accept(&self, event: NewEvent) -> Pending<'_, Accepted> {
        Box::pin(async move {
            self.offered.send_modify(|offered| *offered += 1);
            let mut open = self.open.subscribe();
            open.wait_for(|open| *open).await.unwrap();
            if let Some(error) = self.failure.lock().unwrap().clone() {
                return Err(error);
            }
            Ok(self.commit(event))
        })
    }

    fn seen(
        &self,
        subscription: &ObjectKey,
        id: &str,
        digest: [u8; 32],
        _: Timestamp,
    ) -> Pending<'_, bool> {
        let key = (subscription.clone(), id.to_owned());
        let seen = self.known.lock().unwrap().get(&key) == Some(&digest);
        Box::pin(async move { Ok(seen) })
    }

    fn unplanned_subscriptions(&self) -> Pending<'_, Vec<ObjectKey>> {
        unimplemented!()
    }

    fn unplanned(&self, _: &ObjectKey, _: usize) -> Pending<'_, (u64, Vec<StoredEvent>)> {
        unimplemented!()
    }

    fn waiting(&self) -> Pending<'_, Vec<Waiting>> {
        unimplemented!()
    }

    fn guard(&self, _: Vec<GuardQuestion>) -> Pending<'_, Vec<GuardAnswer>> {
        unimplemented!()
    }

    fn recall(&self, _: &ObjectKey, _: Vec<MemoryKey>) -> Pending<'_, Vec<Option<Recalled>>> {
        unimplemented!()
    }

    fn timers_due(
        &self,
        _: &ObjectKey,
        _: Timestamp,
        _: Timestamp,
        _: usize,
    ) -> Pending<'_, TimersDue> {
        unimplemented!()
    }

    fn fire(&self, _: &ObjectKey, _: u64, _: Vec<Firing>) -> Pending<'_, ()> {
        unimplemented!()
    }

    fn timers(&self) -> Pending<'_, Vec<TimerStats>> {
        unimplemented!()
    }

    fn remove_timers(&self, _: &ObjectKey, _: &Scope, _: Timestamp) -> Pending<'_, RemovedTimers> {
        unimplemented!()
    }

    fn plan(&self, _: &ObjectKey, _: u64, _: Vec<Plan>) -> Pending<'_, ()> {
        unimplemented!()
    }

    fn due(&self, _: &Lane, _: Timestamp, _: usize) -> Pending<'_, Due> {
        unimplemented!()
    }

    fn unrendered(&self, _: &Lane, _: Timestamp, _: usize) -> Pending<'_, Due> {
        unimplemented!()
    }

    fn render(&self, _: Vec<Render>) -> Pending<'_, Vec<bool>> {
        unimplemented!()
    }

    fn claim(&self, _: Vec<Claim>) -> Pending<'_, Vec<bool>> {
        unimplemented!()
    }

    fn finish(&self, _: Vec<Finish>) -> Pending<'_, Vec<bool>> {
        unimplemented!()
    }

    fn scan(&self, _: u64, _: usize) -> Pending<'_, Vec<History>> {
        unimplemented!()
    }

    fn history(&self, _: Uuid) -> Pending<'_, Option<History>> {
        unimplemented!()
    }

    fn lanes(&self) -> Pending<'_, Vec<LaneStats>> {
        unimplemented!()
    }

    fn purge(
        &self,
        _: Timestamp,
        _: Vec<(ObjectKey, Retention)>,
        _: Retention,
    ) -> Pending<'_, Purged> {
        unimplemented!()
    }

    fn planning(&self, _: &[u64]) -> Result<(), Error> {
        unimplemented!()
    }

    fn suspects(&self) -> Vec<(u64, u32)> {
        unimplemented!()
    }

    fn health(&self) -> Result<(), Error> {
        unimplemented!()
    }

    fn close(&self) -> Pending<'_, ()> {
        unimplemented!()
    }
}
