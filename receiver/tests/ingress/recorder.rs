//! A store that remembers what it was given, and fails or waits when it is told to.

use std::collections::HashMap;
use std::sync::Mutex;

use hookswitch_crds::key::ObjectKey;
use hookswitch_receiver::store::{Accepted, Error, NewEvent, Pending, Store};
use jiff::Timestamp;
use tokio::sync::watch;

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

    hookswitch_receiver::unused_operations!(
        unplanned_subscriptions unplanned waiting guard recall plan timers_due fire timers remove_timers
        due unrendered render claim finish scan history lanes purge planning suspects health close
    );
}
