//! The embedded engine: one SQLite file, one thread that writes, some that read.
//!
//! ```text
//! accept, plan, claim, finish ──▶ queue ──▶ writer ──▶ store.db-wal ──(checkpoint)──▶ store.db
//! due, unplanned, history, … ───▶ readers ◀──────────────── both ◀────────────────────┘
//! ```
//!
//! The data directory:
//!
//! | file | what it is |
//! |---|---|
//! | `store.db` | the database; `sqlite3 store.db` opens it when something is wrong |
//! | `store.db-wal`, `store.db-shm` | its log, and the log's index; they belong to it, copy them with it |
//! | `lock` | locked by the process that uses the directory; holds its id |
//! | `planning` | the events that are being planned right now |
//!
//! Invariants:
//! - Answers come after the commit that they tell of; a commit is one sync of the log.
//! - What the writer keeps in memory can be read from the file; after a rollback it is.
//! - An event's row is all that `accept` writes. It stands for the dedup entry, the uid and the missing
//!   plan too, until `state` copies those to where they are found without it, every 16,384 events.
//!   Opening reads those rows and no others, so it takes milliseconds however much is pending.
//! - A delivery's key is its event's place and its own place in the plan: what belongs to an event
//!   lies together, in accept order.
//! - Times are microseconds since 1970; finer ones are rounded down.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use hookswitch_crds::key::ObjectKey;
use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use self::accept::{Accept, Ask};
use self::change::{Change, Done};
use self::codec::{int, unsigned};
use self::crumb::Crumb;
use self::damaged::{Damaged, DamagedRow};
use self::lock::Lock;
use self::plan::Append;
use self::read::For;
use self::reader::Readers;
use self::replica::{Common, Follower};
use self::state::{Shared, State, lock};
use self::writer::{Operation, Reply, Writer, closed_error};
use super::{
    Accepted, Claim, Due, Error, Finish, GuardAnswer, GuardQuestion, History, LaneStats, NewEvent,
    Pending, Purged, RemovedTimers, Render, Retention, Store, StoredEvent, TimerStats, TimersDue,
    Waiting,
};
use crate::config::Planned;
use crate::metrics::Metrics;
use crate::plan::{Firing, Lane, MemoryKey, Plan, Recalled, Scope};

pub(in crate::store) mod accept;
mod archive;
pub(in crate::store) mod change;
pub(in crate::store) mod codec;
mod crumb;
pub(in crate::store) mod damaged;
mod dedup;
mod fault;
mod filter;
pub(in crate::store) mod lock;
mod memory;
mod outcome;
pub(in crate::store) mod plan;
pub(in crate::store) mod read;
mod reader;
mod recent;
pub(in crate::store) mod record;
mod remove;
pub(in crate::store) mod replica;
mod revive;
mod schema;
pub(in crate::store) mod state;
pub(in crate::store) mod timer;
pub(in crate::store) mod view;
mod wal;
pub(in crate::store) mod writer;

/// The database's name in the data directory.
pub const FILE: &str = "store.db";

/// What an engine is opened with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The data directory; made where it is missing.
    pub dir: PathBuf,
    /// Where commits are counted.
    pub metrics: Metrics,
}

/// The embedded engine. Dropping it closes it; [`Store::close`] says whether that went well.
#[derive(Debug)]
pub struct Embedded {
    queue: mpsc::Sender<Operation>,
    readers: Option<Readers>,
    writer: Mutex<Option<JoinHandle<()>>>,
    shared: Arc<Shared>,
    crumb: Crumb,
    damaged: Damaged,
}

impl Embedded {
    /// Opens the store in a directory, and makes it where there is none. Deliveries whose attempt was
    /// cut off come back as interrupted. Blocks for some milliseconds, and after a crash for as long as it
    /// takes to copy the log, some tens of megabytes at most.
    ///
    /// # Errors
    /// - [`Error::Open`] where the directory can't be used or another process uses it, and where the
    ///   file is not ours or written by a newer version.
    /// - [`Error::Corrupt`] where the file or its log is damaged.
    /// - [`Error::Full`] where the disk is.
    pub fn open(options: Options) -> Result<Self, Error> {
        let dir = &options.dir;
        std::fs::create_dir_all(dir).map_err(|error| unusable(dir, &error))?;
        let lock = Lock::take(dir)?;
        Self::open_as(options, lock, None).map(|(engine, _)| engine)
    }

    /// Opens the copy of a log in a directory that is locked, and makes it where there is none; the events
    /// that the last process was planning come with it. Nothing but [`Self::apply`] changes it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(in crate::store) fn open_replica(
        options: Options,
        lock: Lock,
        stream: &str,
        common: Arc<Common>,
    ) -> Result<(Self, Vec<u64>), Error> {
        Self::open_as(options, lock, Some((stream, common)))
    }

    fn open_as(
        options: Options,
        lock: Lock,
        replica: Option<(&str, Arc<Common>)>,
    ) -> Result<(Self, Vec<u64>), Error> {
        let Options { dir, metrics } = options;
        let path = dir.join(FILE);
        let connection = schema::open_writer(&path)?;
        let (crumb, left) = Crumb::open(&dir).map_err(|error| unusable(&dir, &error))?;
        // The last process may not have lived to sync what it wrote, and a failed sync may have left it
        // in the system's memory only: nothing may be answered from there.
        schema::empty_log(&connection).map_err(|error| fault::at_open(&path, &error))?;
        let follower = if let Some((stream, common)) = replica {
            Some(Follower::open(&connection, &dir, stream, common)?)
        } else {
            let at_open = |error: rusqlite::Error| fault::at_open(&path, &error);
            if replica::file::is_replica(&connection).map_err(at_open)? {
                return Err(Error::Open(format!(
                    "{} is a copy of what several receivers share: run with --store jetstream, or choose another data directory",
                    path.display()
                )));
            }
            resume(&connection, &left).map_err(at_open)?;
            None
        };
        crumb.write(&[]).map_err(|error| unusable(&dir, &error))?;

        let shared = Arc::new(Shared {
            is_replica: follower.is_some(),
            ..Shared::default()
        });
        let state = State::load(&connection, &shared)?;
        let readers = Readers::start(&path)?;
        let writer = Writer {
            connection,
            state,
            follower,
            shared: Arc::clone(&shared),
            commit_seconds: metrics.store_commit_seconds,
            batch_size: metrics.store_batch_size,
            too_long: writer::TOO_LONG,
        };
        let (queue, operations) = mpsc::channel(writer::QUEUE);
        let writer = std::thread::Builder::new()
            .name("store-write".to_owned())
            .spawn(move || {
                let ended = Ended(Arc::clone(&writer.shared));
                writer.run(operations);
                // Another process may have the directory only now.
                drop((ended, lock));
            })
            .map_err(|error| unusable(&dir, &error))?;
        let engine = Self {
            queue,
            readers: Some(readers),
            writer: Mutex::new(Some(writer)),
            shared,
            crumb,
            damaged: Damaged::new(&metrics.store_damaged_rows),
        };
        Ok((engine, left))
    }

    /// Reads every page of the store in a directory and reports the first thing that is wrong. Takes
    /// seconds for each gigabyte; no process may be using the store.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn check(dir: &Path) -> Result<(), Error> {
        let _lock = Lock::take(dir)?;
        let path = dir.join(FILE);
        let connection = schema::open_writer(&path)?;
        schema::check(&connection, &path)
    }

    async fn change(&self, change: Change) -> Result<Done, Error> {
        self.ask(|reply| Operation::Change(change, reply)).await
    }

    async fn ask<T>(&self, operation: impl FnOnce(Reply<T>) -> Operation) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.queue
            .send(operation(reply))
            .await
            .map_err(|_| self.ended())?;
        answer.await.map_err(|_| self.ended())?
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, fault::ReadFault> + Send + 'static,
    ) -> Result<T, Error> {
        self.works()?;
        match &self.readers {
            Some(readers) => readers.read(read).await,
            None => Err(self.ended()),
        }
    }

    /// What is damaged is set aside, so that nothing waits behind it.
    async fn condemn(&self, damaged: Vec<DamagedRow>) -> Result<(), Error> {
        if !damaged.is_empty() {
            self.change(Change::Condemn(damaged)).await?;
        }
        Ok(())
    }

    async fn waiting_in(
        &self,
        what: For,
        lane: Lane,
        now: Timestamp,
        limit: usize,
    ) -> Result<Due, Error> {
        let (due, damaged) = self.look(what, lane, now, limit).await?;
        self.condemn(damaged).await?;
        Ok(due)
    }

    pub(in crate::store) fn works(&self) -> Result<(), Error> {
        match self.shared.stopped.get() {
            None => Ok(()),
            Some(why) => Err(Error::Stopped(Arc::clone(why))),
        }
    }

    fn ended(&self) -> Error {
        self.works().err().unwrap_or_else(closed_error)
    }
}

impl Store for Embedded {
    fn accept(&self, event: NewEvent) -> Pending<'_, Accepted> {
        let accept = Box::new(Accept::new(event));
        Box::pin(async { self.change(Change::Accept(accept)).await?.accepted() })
    }

    fn seen(
        &self,
        subscription: &ObjectKey,
        id: &str,
        digest: [u8; 32],
        at: Timestamp,
    ) -> Pending<'_, bool> {
        let ask = Ask::new(subscription, id, &digest, at);
        Box::pin(self.ask(|reply| Operation::Seen(ask, reply)))
    }

    fn unplanned_subscriptions(&self) -> Pending<'_, Vec<ObjectKey>> {
        Box::pin(async {
            let mut keys: Vec<ObjectKey> =
                lock(&self.shared.recent).subscriptions().cloned().collect();
            keys.extend(self.read(read::backlog).await?);
            keys.sort();
            keys.dedup();
            Ok(keys)
        })
    }

    fn unplanned(
        &self,
        subscription: &ObjectKey,
        limit: usize,
    ) -> Pending<'_, (u64, Vec<StoredEvent>)> {
        let subscription = subscription.clone();
        Box::pin(async move {
            self.health()?;
            // Memory first, then the file: what moves to the backlog in between is in both.
            let recent = {
                let mut recent = lock(&self.shared.recent);
                if let Some(next) = recent.take(&subscription, limit) {
                    return Ok(next);
                }
                recent.seqs(&subscription).take(limit).collect()
            };
            self.read(move |connection| read::unplanned(connection, &subscription, recent, limit))
                .await
        })
    }

    fn waiting(&self) -> Pending<'_, Vec<Waiting>> {
        Box::pin(async {
            let recent = lock(&self.shared.recent).all();
            self.read(move |connection| read::waiting(connection, &recent))
                .await
        })
    }

    fn guard(&self, questions: Vec<GuardQuestion>) -> Pending<'_, Vec<GuardAnswer>> {
        Box::pin(self.read(move |connection| read::guard(connection, &questions)))
    }

    fn recall(
        &self,
        subscription: &ObjectKey,
        keys: Vec<MemoryKey>,
    ) -> Pending<'_, Vec<Option<Recalled>>> {
        let subscription = subscription.clone();
        Box::pin(async move {
            let read =
                self.read(move |connection| memory::recall(connection, &subscription, &keys));
            let (recalled, damaged) = read.await?;
            self.damaged.memories.inc_by(damaged);
            Ok(recalled)
        })
    }

    fn plan(&self, subscription: &ObjectKey, after: u64, plans: Vec<Plan>) -> Pending<'_, ()> {
        let append = Append::new(subscription.clone(), after, plans);
        Box::pin(async { self.change(Change::Plan(append)).await?.planned() })
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
            let found = self.look_for_timers(subscription, (now, since), limit);
            let (due, damaged) = found.await?;
            self.condemn(damaged).await?;
            Ok(due)
        })
    }

    fn fire(&self, subscription: &ObjectKey, after: u64, firings: Vec<Firing>) -> Pending<'_, ()> {
        let fire = timer::Fire::new(subscription.clone(), after, firings);
        Box::pin(async { self.change(Change::Fire(fire)).await?.planned() })
    }

    fn timers(&self) -> Pending<'_, Vec<TimerStats>> {
        Box::pin(self.read(timer::stats))
    }

    fn timers_planned(
        &self,
        subscription: &ObjectKey,
        scope: &Scope,
    ) -> Pending<'_, Option<Planned>> {
        let (subscription, scope) = (subscription.clone(), scope.clone());
        Box::pin(self.read(move |connection| timer::planned(connection, &subscription, &scope)))
    }

    fn remove_timers(
        &self,
        subscription: &ObjectKey,
        scope: &Scope,
        at: Timestamp,
    ) -> Pending<'_, RemovedTimers> {
        let remove = timer::Remove::new(subscription.clone(), scope.clone(), at);
        Box::pin(async {
            let done = self.change(Change::RemoveTimers(remove)).await?;
            done.removed_timers()
        })
    }

    fn due(&self, lane: &Lane, now: Timestamp, limit: usize) -> Pending<'_, Due> {
        Box::pin(self.waiting_in(For::Attempt, lane.clone(), now, limit))
    }

    fn unrendered(&self, lane: &Lane, now: Timestamp, limit: usize) -> Pending<'_, Due> {
        Box::pin(self.waiting_in(For::LookUps, lane.clone(), now, limit))
    }

    fn render(&self, renders: Vec<Render>) -> Pending<'_, Vec<bool>> {
        Box::pin(async { self.change(Change::Render(renders)).await?.each() })
    }

    fn claim(&self, claims: Vec<Claim>) -> Pending<'_, Vec<bool>> {
        Box::pin(async { self.change(Change::Claim(claims)).await?.each() })
    }

    fn finish(&self, finishes: Vec<Finish>) -> Pending<'_, Vec<bool>> {
        Box::pin(async { self.change(Change::Finish(finishes)).await?.each() })
    }

    fn scan(&self, after: u64, limit: usize) -> Pending<'_, Vec<History>> {
        Box::pin(async move {
            let read = self.read(move |connection| read::scan(connection, after, limit));
            let found = read.await?;
            self.damaged.note_histories(&found);
            Ok(found)
        })
    }

    fn history(&self, uid: Uuid) -> Pending<'_, Option<History>> {
        Box::pin(async move {
            let read = self.read(move |connection| read::history(connection, uid));
            let found = read.await?;
            self.damaged.note_histories(&found);
            Ok(found)
        })
    }

    fn lanes(&self) -> Pending<'_, Vec<LaneStats>> {
        Box::pin(self.read(read::lanes))
    }

    fn purge(
        &self,
        now: Timestamp,
        retentions: Vec<(ObjectKey, Retention)>,
        default: Retention,
    ) -> Pending<'_, Purged> {
        Box::pin(async move {
            let victims = self.victims(now, retentions, default).await?;
            self.change(Change::Remove(victims)).await?.purged()
        })
    }

    fn planning(&self, seqs: &[u64]) -> Result<(), Error> {
        self.crumb
            .write(seqs)
            .map_err(|error| Error::Read(format!("the planning mark can't be written: {error}")))
    }

    fn suspects(&self) -> Vec<(u64, u32)> {
        lock(&self.shared.suspects)
            .iter()
            .map(|(seq, times)| (unsigned(*seq), *times))
            .collect()
    }

    fn health(&self) -> Result<(), Error> {
        self.works()?;
        if self.shared.full.load(Ordering::Relaxed) {
            return Err(Error::Full(
                "events are refused until there is room".to_owned(),
            ));
        }
        Ok(())
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async {
            let closed = self.ask(Operation::Close).await;
            if let Some(readers) = &self.readers {
                readers.close().await;
            }
            let threads = self.take_threads();
            // Each has been told to end; this waits for its last step only.
            tokio::task::spawn_blocking(move || join(threads))
                .await
                .map_err(|error| Error::Stopped(error.to_string().into()))?;
            closed
        })
    }
}

impl Embedded {
    fn take_threads(&self) -> Vec<JoinHandle<()>> {
        let mut threads = self
            .readers
            .as_ref()
            .map(Readers::threads)
            .unwrap_or_default();
        threads.extend(lock(&self.writer).take());
        threads
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        let threads = self.take_threads();
        // Closing the queues lets the threads end.
        self.readers = None;
        let (closed, _) = mpsc::channel(1);
        self.queue = closed;
        join(threads);
    }
}

/// Says that the engine has stopped when the writer's thread ends, by a panic too.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.stopped.get_or_init(|| "its writer has ended".into());
    }
}

fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a thread of the store panicked");
        }
    }
}

/// After a restart: attempts that were cut off come back, and events that the process may have died
/// of are counted.
fn resume(connection: &Connection, planning: &[u64]) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    transaction.execute(
        "UPDATE delivery INDEXED BY delivery_claimed SET state = 0, interrupted = 1 WHERE state = 2",
        (),
    )?;
    // One that is planned did not kill anybody.
    let mut count = transaction.prepare(
        "INSERT INTO suspect (seq, times) SELECT seq, 1 FROM event \
         WHERE seq = ?1 AND NOT EXISTS (SELECT 1 FROM plan WHERE plan.seq = ?1) \
         ON CONFLICT (seq) DO UPDATE SET times = times + 1",
    )?;
    for seq in planning {
        count.execute([int(*seq)])?;
    }
    drop(count);
    transaction.commit()
}

fn unusable(dir: &Path, error: &std::io::Error) -> Error {
    Error::Open(format!(
        "the data directory {} can't be used: {error}",
        dir.display()
    ))
}
