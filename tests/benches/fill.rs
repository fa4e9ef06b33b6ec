//! Puts events straight into a store, as a receiver would have left them.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use bytes::Bytes;
use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::snapshot::DestinationKind;
use hookswitch_receiver::event::{Disposition, Event};
use hookswitch_receiver::metrics::Metrics;
use hookswitch_receiver::plan::{FrozenBody, FrozenRequest, Lane, NewDelivery, Plan};
use hookswitch_receiver::redact::Hidden;
use hookswitch_receiver::store::embedded::{self, Embedded};
use hookswitch_receiver::store::jetstream::{self, JetStream};
use hookswitch_receiver::store::{NewEvent, Store, StoredEvent};
use hookswitch_receiver::wake::Wake;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::request::Request;
use crate::{process, subject};

/// Appends that are offered at once.
const AT_ONCE: u64 = 512;
/// Events that are planned in one append.
const PLANNED_AT_ONCE: usize = 512;

/// The subscription that everything comes in at.
pub(crate) fn subscription() -> ObjectKey {
    ObjectKey::new("bench", "hooks")
}

/// Keeps this many events; with lanes, plans a delivery of each, to the lanes by turns.
pub(crate) async fn fill(store: Arc<dyn Store>, events: u64, lanes: usize) -> Result<()> {
    let now = Timestamp::now();
    let mut tasks = JoinSet::new();
    for worker in 0..AT_ONCE {
        let store = Arc::clone(&store);
        let share = events / AT_ONCE + u64::from(worker < events % AT_ONCE);
        tasks.spawn(async move {
            let mut source = Source::new()?;
            for _ in 0..share {
                store.accept(source.next(now)?).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.context("a filling task")??;
    }
    if lanes == 0 {
        return Ok(());
    }
    let subscription = subscription();
    loop {
        let (after, events) = store.unplanned(&subscription, PLANNED_AT_ONCE).await?;
        if events.is_empty() {
            return Ok(());
        }
        let plans = events.iter().map(|event| plan(event, lanes, now)).collect();
        store.plan(&subscription, after, plans).await?;
    }
}

/// Makes events.
pub(crate) struct Source(Request);

impl Source {
    /// One with its own buffer.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(Request::new(subject::PATH)?))
    }

    /// The next event, accepted at this time and remembered for a minute and a half.
    pub(crate) fn next(&mut self, now: Timestamp) -> Result<NewEvent> {
        self.0.next(Instant::now());
        let body = Bytes::copy_from_slice(self.0.body());
        let digest = Sha256::digest(&body);
        Ok(NewEvent {
            event: Event {
                uid: Uuid::now_v7(),
                subscription: subscription(),
                id: hex::encode(digest.first_chunk::<16>().context("a short digest")?),
                r#type: "message.received".to_owned(),
                time: Some(now),
                accepted_at: now,
                subject: Some(self.0.subject().to_owned()),
                sender: Some("user".to_owned()),
                hops: 0,
                content_type: Some("application/json".to_owned()),
                disposition: Disposition::Route,
                body,
            },
            digest: digest.into(),
            remember_until: now + SignedDuration::from_secs(90),
            quota: u64::MAX / 4,
        })
    }
}

/// The plan of an event that has one delivery.
pub(crate) fn plan(event: &StoredEvent, lanes: usize, now: Timestamp) -> Plan {
    let count = u64::try_from(lanes.max(1)).unwrap_or(1);
    let lane = usize::try_from(event.seq % count).unwrap_or_default();
    Plan {
        remember: Vec::new(),
        timers: Vec::new(),
        cancelled: Vec::new(),
        seq: event.seq,
        sequence: 1,
        planned_at: now,
        verdicts: Vec::new(),
        suppressions: Vec::new(),
        deliveries: vec![NewDelivery {
            id: Uuid::from_u64_pair(event.seq, 1),
            lane: lane_of(lane),
            rule: "first".to_owned(),
            request: Some(FrozenRequest {
                kind: DestinationKind::Http,
                method: "POST".to_owned(),
                content_type: "application/json".to_owned(),
                cloud_event_headers: false,
                address: None,
                hidden: Hidden::default(),
                body: FrozenBody::Event,
            }),
            ordered_by: None,
            echo: None,
            write_back: None,
            dead: None,
            waits_until: None,
        }],
        marks_consumed: Vec::new(),
        set_aside: None,
    }
}

/// A lane by its number, as [`subject::Setup`] names them.
pub(crate) fn lane_of(number: usize) -> Lane {
    let (route, lane) = subject::lane_name(number);
    Lane {
        route: ObjectKey::new("bench", &route),
        destination: lane,
    }
}

/// Fills the store of a folder in this process, says so, and waits to be killed. With a NATS server, the shared
/// store.
pub(crate) fn serve(folder: &Path, events: u64, lanes: usize, nats: Option<&str>) -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let store = match nats {
            None => open(folder)?,
            Some(url) => open_shared(folder, url).await?,
        };
        fill(store, events, lanes).await?;
        crate::say(process::FILLED)?;
        std::future::pending().await
    })
}

/// Opens the store of a folder.
pub(crate) fn open(folder: &Path) -> Result<Arc<dyn Store>> {
    let options = embedded::Options {
        dir: subject::data(folder),
        metrics: Metrics::new()?,
    };
    Ok(Arc::new(Embedded::open(options)?))
}

/// Opens the shared store of a folder, on a NATS server.
async fn open_shared(folder: &Path, url: &str) -> Result<Arc<dyn Store>> {
    let options = jetstream::Options {
        dir: subject::data(folder),
        metrics: Metrics::new()?,
        settings: jetstream::Settings::new(vec![url.to_owned()]),
        accepted: Wake::default(),
        lanes: Wake::default(),
        moved: Arc::default(),
    };
    Ok(Arc::new(Box::pin(JetStream::open(options)).await?))
}
