//! An append that ends, whoever waits for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use hookswitch_crds::key::ObjectKey;
use prometheus::IntCounter;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::body::Reserved;
use super::printable::Printable;
use super::site::Site;
use crate::event::{Disposition, Event};
use crate::metrics::outcome;
use crate::store::{self, Accepted, NewEvent, Store};
use crate::wake::Wake;

/// An event on its way into the store, and what is to be done once it is there.
///
/// Dropped before its end, since its client has gone or its time is up, it goes on as one of `tasks`:
/// the store may have the event already, and it must be planned.
pub(super) struct Append {
    work: Option<BoxFuture<'static, Result<Accepted, store::Error>>>,
    tasks: TaskTracker,
}

impl Append {
    pub(super) fn begin(
        store: Arc<dyn Store>,
        event: NewEvent,
        reserved: Reserved,
        receipt: Receipt,
        tasks: TaskTracker,
    ) -> Self {
        let work = async move {
            let result = store.accept(event).await;
            if let Ok(accepted) = result {
                receipt.hand_over(accepted);
            }
            drop(reserved);
            result
        };
        Self {
            work: Some(Box::pin(work)),
            tasks,
        }
    }
}

impl Future for Append {
    type Output = Result<Accepted, store::Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.work else {
            return Poll::Pending;
        };
        let poll = work.as_mut().poll(context);
        if poll.is_ready() {
            self.work = None;
        }
        poll
    }
}

impl Drop for Append {
    fn drop(&mut self) {
        // Without a runtime the process is at its end, and the event is planned at the next start.
        if let Some((work, runtime)) = self.work.take().zip(Handle::try_current().ok()) {
            self.tasks.spawn_on(work, &runtime);
        }
    }
}

/// What is done about an event once it is durable: counted, logged, and handed to the planner.
pub(super) struct Receipt {
    site: Arc<Site>,
    accepted: Wake<ObjectKey>,
    events: IntCounter,
    uid: Uuid,
    disposition: &'static str,
    /// The sender gave it no id.
    without_id: bool,
    /// Its id and type, where lines are logged at all.
    named: Option<(String, String)>,
}

impl Receipt {
    pub(super) fn new(
        site: &Arc<Site>,
        event: &Event,
        without_id: bool,
        accepted: Wake<ObjectKey>,
    ) -> Self {
        Self {
            events: site.events(&event.r#type).clone(),
            uid: event.uid,
            disposition: match event.disposition {
                Disposition::Route => outcome::ACCEPTED,
                other => other.label(),
            },
            without_id,
            named: tracing::enabled!(tracing::Level::INFO)
                .then(|| (event.id.clone(), event.r#type.clone())),
            site: Arc::clone(site),
            accepted,
        }
    }

    fn hand_over(self, accepted: Accepted) {
        let outcome = match accepted {
            Accepted::New { .. } => self.disposition,
            Accepted::IdReused { .. } => Disposition::IdReused.label(),
            Accepted::Duplicate => outcome::DUPLICATE,
        };
        if let Some((id, r#type)) = &self.named {
            tracing::info!(
                subscription = self.site.name(),
                id = %Printable(id),
                r#type = %Printable(r#type),
                uid = %self.uid,
                outcome,
                "event accepted"
            );
        }
        if !matches!(accepted, Accepted::Duplicate) {
            self.events.inc();
            if self.without_id {
                self.site.events_without_id().inc();
            }
            self.accepted.add([self.site.key()]);
        }
    }
}
