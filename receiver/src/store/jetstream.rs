//! The engine of several receivers: they share a log in NATS `JetStream`, and each makes its state from it.
//!
//! ```text
//!              ┌──────────── one stream: every change, in one order ────────────┐
//! changes ──▶ log ──▶ (replicated, acknowledged)                               follow ──▶ replica (SQLite)
//!              ▲                                                                            │
//!  caller ─────┴──────────────◀── what it came to, once it is applied here ◀────────────────┤
//!                                                                     reads, wakes ◀────────┘
//! ```
//!
//! The log is what is durable; a replica is the embedded engine's file and code, fed from the log
//! (`embedded::replica`). As all apply the same changes in the same order, what the embedded
//! engine checks (duplicates, plans in sequence, one claim of two) holds across receivers.
//!
//! Invariants:
//! - A change is answered when it is in the log and applied here. What was answered with `Ok` survives the
//!   end of any receiver, and of as many NATS servers as the stream's replicas allow.
//! - A subscription's planning and a lane's deliveries have one owner among the members of the view, which
//!   is itself part of the log. To the others they have nothing to do; what an owner that was sends late
//!   does nothing. Who wakes the planner and the lanes is the log, whoever wrote to it.
//! - A receiver that does not speak for [`Settings::takeover`] is taken off the members, and its work goes
//!   to others. Its attempts come back as interrupted.
//! - A row that can't be read ends its receiver, which makes its copy anew; one that can't be read there either is
//!   set aside for all.
//! - A replica that can't go on (a gap, a record of a later version, a damaged file) stops its receiver: it
//!   is never guessed what is in the log.
//!
//! A change that is not answered in time is [`Error::Unavailable`] and may be done later. That is safe: an
//! event then is a duplicate of the sender's next try, a plan a conflict; a claim is given back.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use hookswitch_crds::key::ObjectKey;
use jiff::Timestamp;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::connection::Connection;
use self::log::Log;
use self::members::Members;
use super::embedded::accept::Accept;
use super::embedded::change::{Change, Done};
use super::embedded::lock::Lock;
use super::embedded::plan::Append;
use super::embedded::read::For;
use super::embedded::replica::Common;
use super::embedded::replica::file::{self, Position};
use super::embedded::state::lock;
use super::embedded::{self, Embedded, timer};
use super::{
    Accepted, Claim, Due, Error, Finish, GuardAnswer, GuardQuestion, History, LaneStats, NewEvent,
    Pending, Purged, RemovedTimers, Render, Retention, Store, StoredEvent, TimerStats, TimersDue,
    Waiting,
};
use crate::config::Planned;
use crate::metrics::Metrics;
use crate::plan::{Firing, Lane, MemoryKey, Plan, Recalled, Scope};
use crate::wake::Wake;

mod archive;
mod checkpoint;
mod connection;
mod follow;
mod log;
mod members;
mod news;
mod servers;
mod streams;
mod work;

pub use connection::{Login, Settings};

/// How long a start may wait for the log to be read.
const CAUGHT_UP: Duration = Duration::from_mins(10);
/// How long nothing of a purge goes into the log where nothing is past its retention: what ends by itself,
/// as echo marks do, is removed as often.
const PURGED: Duration = Duration::from_mins(5);
/// How long a start may wait to be a member.
const JOINED: Duration = Duration::from_secs(30);

/// What an engine is opened with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the replica is kept; made where it is missing.
    pub dir: PathBuf,
    /// Where commits are counted.
    pub metrics: Metrics,
    /// The log.
    pub settings: Settings,
    /// Told of subscriptions of ours that have new events.
    pub accepted: Wake<ObjectKey>,
    /// Told of lanes of ours that have something to deliver.
    pub lanes: Wake<Lane>,
    /// Told when other subscriptions may be ours.
    pub moved: Arc<Notify>,
}

/// The engine.
#[derive(Debug)]
pub struct JetStream {
    parts: Arc<Parts>,
    tasks: Mutex<JoinSet<()>>,
    /// When a purge was last in the log, and which subscriptions there were.
    purged: Mutex<Option<(Instant, HashSet<ObjectKey>)>>,
}

/// What its tasks share.
struct Parts {
    engine: Embedded,
    common: Arc<Common>,
    connection: Connection,
    log: Log,
    /// Which stream it is, by when it was made.
    stream: String,
    /// Since when the log could not be followed, where it can't be.
    lost: Mutex<Option<Instant>>,
    /// What was damaged in the copy before this one.
    damaged_before: String,
    dir: PathBuf,
    accepted: Wake<ObjectKey>,
    lanes: Wake<Lane>,
    moved: Arc<Notify>,
    /// Cancelled at the end: nothing new is begun.
    leaving: CancellationToken,
    /// Cancelled when all is told: what follows the log ends.
    stop: CancellationToken,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("me", &self.common.me)
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl JetStream {
    /// Opens the replica in a directory, reads the log to its end, and joins those who share the work.
    /// Stream and bucket are made where they are missing. Takes as long as reading the log does, of which
    /// checkpoints keep the greater part away.
    ///
    /// Cancellation: safe; what was begun ends with the process.
    ///
    /// # Errors
    /// - [`Error::Open`] where the servers can't be reached, or refuse; where the directory can't be used;
    ///   where it follows another log, or has seen more than there is in this one.
    /// - As the embedded engine's for its file; but a damaged one is removed and made anew.
    pub async fn open(options: Options) -> Result<Self, Error> {
        let Options {
            dir,
            metrics,
            settings,
            accepted,
            lanes,
            moved,
        } = options;
        std::fs::create_dir_all(&dir).map_err(|error| {
            Error::Open(format!(
                "the data directory {} can't be used: {error}",
                dir.display()
            ))
        })?;
        // Before anything in it is touched: another process may be at work in it.
        let lock = Lock::take(&dir)?;
        let connection = Connection::open(settings).await?;
        let info = connection.info().await.map_err(Error::Open)?;
        place(&connection, &dir, &info).await?;

        let (me, before) = members::name(&dir)?;
        let (news, heard) = mpsc::unbounded_channel();
        let common = Arc::new(Common::new(me, news));
        let replica = || {
            let settings = embedded::Options {
                dir: dir.clone(),
                metrics: metrics.clone(),
            };
            let stream = info.stream.clone();
            open_replica(settings, lock.clone(), stream, Arc::clone(&common))
        };
        let (engine, left) = match replica().await {
            Err(Error::Corrupt(why)) => {
                tracing::warn!(why, "the copy is damaged: it is made anew");
                file::remove(&dir)?;
                place(&connection, &dir, &info).await?;
                replica().await?
            }
            opened => opened?,
        };
        let (log, queue) = Log::new();
        let parts = Arc::new(Parts {
            engine,
            common,
            connection,
            log,
            stream: info.stream,
            lost: Mutex::default(),
            damaged_before: file::before(&dir),
            dir,
            accepted,
            lanes,
            moved,
            leaving: CancellationToken::new(),
            stop: CancellationToken::new(),
        });
        let mut tasks = JoinSet::new();
        let write = log::write(Arc::clone(&parts), queue);
        tasks.spawn(guarded(Arc::clone(&parts), "writer to the log", write));
        let follow = follow::run(Arc::clone(&parts));
        tasks.spawn(guarded(Arc::clone(&parts), "reader of the log", follow));
        let tell = news::run(Arc::clone(&parts), heard);
        tasks.spawn(guarded(Arc::clone(&parts), "messenger", tell));
        let this = Self {
            parts,
            tasks: Mutex::new(tasks),
            purged: Mutex::default(),
        };
        this.catch_up(info.last).await?;
        if !left.is_empty() {
            this.parts.change(Change::Suspect(left)).await?;
        }
        this.join(before).await?;
        Ok(this)
    }

    /// Waits until the replica holds what the log held at the start.
    async fn catch_up(&self, last: u64) -> Result<(), Error> {
        let until = Instant::now() + CAUGHT_UP;
        while self.parts.common.applied() < last {
            self.parts.engine.works()?;
            if Instant::now() > until {
                return Err(Error::Open(format!(
                    "the log was not read within {CAUGHT_UP:?}: {} of {last} messages",
                    self.parts.common.applied()
                )));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Becomes a member, and begins to take part.
    async fn join(&self, before: Option<Uuid>) -> Result<(), Error> {
        let members = Members::new(Arc::clone(&self.parts), before).await?;
        let checkpoints = checkpoint::run(Arc::clone(&self.parts));
        {
            let mut tasks = lock(&self.tasks);
            let parts = Arc::clone(&self.parts);
            tasks.spawn(guarded(parts, "keeper of the members", members.run()));
            let parts = Arc::clone(&self.parts);
            tasks.spawn(guarded(parts, "maker of checkpoints", checkpoints));
        }
        let until = Instant::now() + JOINED;
        while !self.parts.is_member() {
            self.parts.engine.works()?;
            if Instant::now() > until {
                return Err(Error::Open(format!(
                    "{} accepted nothing within {JOINED:?}",
                    self.parts.connection.name()
                )));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Where the replica stands in the log: for tests, and for who wonders.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.parts.common.applied()
    }

    /// How many receivers share the work, as far as the replica has come.
    #[must_use]
    pub fn members(&self) -> usize {
        self.parts.common.view().members.len()
    }
}

/// A task that none may miss: where it ends before its time, by a panic too, the engine stops.
async fn guarded(parts: Arc<Parts>, name: &'static str, task: impl Future<Output = ()>) {
    let ended = AssertUnwindSafe(task).catch_unwind().await;
    if ended.is_err() || !parts.leaving.is_cancelled() {
        tracing::error!(task = name, "a task of the store has ended");
        parts.engine.stop(&format!("its {name} has ended"));
    }
}

/// Opens the engine on the directory's copy.
async fn open_replica(
    options: embedded::Options,
    lock: Lock,
    stream: String,
    common: Arc<Common>,
) -> Result<(Embedded, Vec<u64>), Error> {
    let opened =
        tokio::task::spawn_blocking(move || Embedded::open_replica(options, lock, &stream, common));
    opened
        .await
        .map_err(|error| Error::Stopped(error.to_string().into()))?
}

/// Sees to it that the directory's copy, where there is one, is of this log, and not older than it begins.
async fn place(connection: &Connection, dir: &Path, info: &connection::Info) -> Result<(), Error> {
    let name = connection.name();
    let too_old = match file::position(dir)? {
        Some(Position { stream, .. }) if stream != info.stream => {
            return Err(Error::Open(format!(
                "{} follows the stream {name} that was made at {stream}, and the one that is there was made at {}: it was deleted, or these are other servers. Connect to the right ones or restore the stream; only where what was pending may be lost, remove the directory of every receiver",
                dir.display(),
                info.stream
            )));
        }
        Some(Position { applied, .. }) if applied > info.last => {
            return Err(Error::Open(format!(
                "{} holds {applied} messages of the stream {name}, which has only {}: its servers have lost some, or it was restored from an older copy. Restore a newer one; only where what was pending may be lost, remove the directory of every receiver",
                dir.display(),
                info.last
            )));
        }
        Some(Position { applied, .. }) => (applied + 1 < info.first).then_some(applied),
        None => Some(0),
    };
    let Some(applied) = too_old else {
        return Ok(());
    };
    match checkpoint::restore(connection, dir, info).await? {
        Some(restored) => tracing::info!(applied, restored, "the copy comes from a checkpoint"),
        None if info.first <= applied + 1 => {}
        None => {
            return Err(Error::Open(format!(
                "the stream {name} begins at {}, and no checkpoint reaches that far: what was before was removed. Restore the bucket {}",
                info.first,
                connection.bucket()
            )));
        }
    }
    Ok(())
}

impl Store for JetStream {
    fn is_shared(&self) -> bool {
        true
    }

    fn accept(&self, event: NewEvent) -> Pending<'_, Accepted> {
        let accept = Box::new(Accept::new(event));
        Box::pin(async { self.parts.change(Change::Accept(accept)).await?.accepted() })
    }

    fn seen(
        &self,
        subscription: &ObjectKey,
        id: &str,
        digest: [u8; 32],
        at: Timestamp,
    ) -> Pending<'_, bool> {
        self.parts.engine.seen(subscription, id, digest, at)
    }

    fn unplanned_subscriptions(&self) -> Pending<'_, Vec<ObjectKey>> {
        Box::pin(async {
            let mut found = self.parts.engine.unplanned_subscriptions().await?;
            found.retain(|subscription| self.parts.plans(subscription));
            Ok(found)
        })
    }

    fn unplanned(
        &self,
        subscription: &ObjectKey,
        limit: usize,
    ) -> Pending<'_, (u64, Vec<StoredEvent>)> {
        if self.parts.plans(subscription) {
            return self.parts.engine.unplanned(subscription, limit);
        }
        let planned = self.parts.engine.planned(subscription.clone());
        Box::pin(async { Ok((planned.await?, Vec::new())) })
    }

    fn waiting(&self) -> Pending<'_, Vec<Waiting>> {
        Box::pin(async {
            let mut waiting = self.parts.engine.waiting().await?;
            waiting.retain(|one| self.parts.plans(&one.subscription));
            Ok(waiting)
        })
    }

    fn guard(&self, questions: Vec<GuardQuestion>) -> Pending<'_, Vec<GuardAnswer>> {
        self.parts.engine.guard(questions)
    }

    fn recall(
        &self,
        subscription: &ObjectKey,
        keys: Vec<MemoryKey>,
    ) -> Pending<'_, Vec<Option<Recalled>>> {
        self.parts.engine.recall(subscription, keys)
    }

    fn plan(&self, subscription: &ObjectKey, after: u64, plans: Vec<Plan>) -> Pending<'_, ()> {
        let append = Append::new(subscription.clone(), after, plans);
        Box::pin(async { self.parts.change(Change::Plan(append)).await?.planned() })
    }

    fn timers_due(
        &self,
        subscription: &ObjectKey,
        now: Timestamp,
        since: Timestamp,
        limit: usize,
    ) -> Pending<'_, TimersDue> {
        let subscription = subscription.clone();
        Box::pin(async move {
            if !self.parts.plans(&subscription) {
                return Ok(TimersDue::default());
            }
            let found = self
                .parts
                .engine
                .look_for_timers(subscription, (now, since), limit);
            let (due, damaged) = found.await?;
            self.parts.condemn(damaged).await?;
            Ok(due)
        })
    }

    fn fire(&self, subscription: &ObjectKey, after: u64, firings: Vec<Firing>) -> Pending<'_, ()> {
        let fire = timer::Fire::new(subscription.clone(), after, firings);
        Box::pin(async { self.parts.change(Change::Fire(fire)).await?.planned() })
    }

    fn timers(&self) -> Pending<'_, Vec<TimerStats>> {
        Box::pin(async {
            let mut timers = self.parts.engine.timers().await?;
            timers.retain(|stats| self.parts.plans(&stats.subscription));
            Ok(timers)
        })
    }

    fn timers_planned(
        &self,
        subscription: &ObjectKey,
        scope: &Scope,
    ) -> Pending<'_, Option<Planned>> {
        self.parts.engine.timers_planned(subscription, scope)
    }

    fn remove_timers(
        &self,
        subscription: &ObjectKey,
        scope: &Scope,
        at: Timestamp,
    ) -> Pending<'_, RemovedTimers> {
        let remove = timer::Remove::new(subscription.clone(), scope.clone(), at);
        Box::pin(async {
            let done = self.parts.change(Change::RemoveTimers(remove)).await?;
            done.removed_timers()
        })
    }

    fn due(&self, lane: &Lane, now: Timestamp, limit: usize) -> Pending<'_, Due> {
        Box::pin(
            self.parts
                .waiting_in(For::Attempt, lane.clone(), now, limit),
        )
    }

    fn unrendered(&self, lane: &Lane, now: Timestamp, limit: usize) -> Pending<'_, Due> {
        Box::pin(
            self.parts
                .waiting_in(For::LookUps, lane.clone(), now, limit),
        )
    }

    fn render(&self, renders: Vec<Render>) -> Pending<'_, Vec<bool>> {
        Box::pin(async { self.parts.change(Change::Render(renders)).await?.each() })
    }

    fn claim(&self, claims: Vec<Claim>) -> Pending<'_, Vec<bool>> {
        Box::pin(self.parts.claim(claims))
    }

    fn finish(&self, finishes: Vec<Finish>) -> Pending<'_, Vec<bool>> {
        Box::pin(async { self.parts.change(Change::Finish(finishes)).await?.each() })
    }

    fn scan(&self, after: u64, limit: usize) -> Pending<'_, Vec<History>> {
        self.parts.engine.scan(after, limit)
    }

    fn history(&self, uid: Uuid) -> Pending<'_, Option<History>> {
        self.parts.engine.history(uid)
    }

    fn lanes(&self) -> Pending<'_, Vec<LaneStats>> {
        Box::pin(async {
            let mut lanes = self.parts.engine.lanes().await?;
            lanes.retain(|stats| self.parts.delivers(&stats.lane));
            Ok(lanes)
        })
    }

    fn purge(
        &self,
        now: Timestamp,
        retentions: Vec<(ObjectKey, Retention)>,
        default: Retention,
    ) -> Pending<'_, Purged> {
        Box::pin(async move {
            if !self.parts.leads() {
                return Ok(Purged::default());
            }
            let mut victims = self.parts.engine.victims(now, retentions, default).await?;
            let present = victims.present.take().unwrap_or_default();
            let told = lock(&self.purged)
                .as_ref()
                .is_some_and(|(at, before)| at.elapsed() < PURGED && *before == present);
            if told && victims.is_empty() {
                return Ok(Purged::default());
            }
            victims.present = (!told).then(|| present.clone());
            let purged = self.parts.change(Change::Remove(victims)).await?.purged()?;
            if !told {
                *lock(&self.purged) = Some((Instant::now(), present));
            }
            Ok(purged)
        })
    }

    fn planning(&self, seqs: &[u64]) -> Result<(), Error> {
        self.parts.engine.planning(seqs)
    }

    fn suspects(&self) -> Vec<(u64, u32)> {
        self.parts.engine.suspects()
    }

    fn health(&self) -> Result<(), Error> {
        self.parts.engine.health()?;
        self.parts.connection.health()
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async {
            self.parts.leaving.cancel();
            // The members' task leaves first, while the log is followed still.
            let mut tasks = std::mem::take(&mut *lock(&self.tasks));
            members::left(&self.parts).await;
            self.parts.stop.cancel();
            while tasks.join_next().await.is_some() {}
            self.parts.engine.close().await
        })
    }
}

impl Drop for JetStream {
    fn drop(&mut self) {
        self.parts.leaving.cancel();
        self.parts.stop.cancel();
    }
}
