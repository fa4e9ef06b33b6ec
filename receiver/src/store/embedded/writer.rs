//! The one thread that writes.
//!
//! ```text
//! operations ──▶ queue ──▶ BEGIN · all that has queued up · COMMIT (one sync) ──▶ answers
//!                  ▲                                             │
//!                  └──────── meanwhile the next ones queue ◀─────┘
//! ```
//!
//! - An operation checks before it writes: one that fails leaves no trace and its neighbours alone.
//! - Nothing is answered before the commit, a duplicate neither: it shares the first one's outcome.
//! - A full disk rolls the transaction back, and all in it fail. Any other error ends the engine: its
//!   connection is dropped without another sync, and everything is answered with [`Error::Stopped`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use prometheus::Histogram;
use rusqlite::Connection;
use rusqlite::wal::CheckpointMode;
use tokio::sync::{mpsc, oneshot};

use super::accept::{Ask, Insert};
use super::change::{self, Change, Done, split};
use super::fault::{self, Fault};
use super::replica::{Applied, Follower, Message};
use super::schema;
use super::state::{Shared, State};
use crate::store::Error;

/// Operations that wait at most; more wait to be queued.
pub(super) const QUEUE: usize = 1024;
/// Operations in one transaction at most.
const BATCH: usize = 512;
/// Pages in the log that make a checkpoint due: 4 MiB. More at a time is a longer pause.
const CHECKPOINT: i32 = 1000;
/// Pages in the log that make the writer wait for readers, so that it starts over: 64 MiB. Where they
/// do not end in time it tries again after as many more.
pub(super) const TOO_LONG: i32 = 16_384;
/// How long the writer waits for them.
const READERS_END: Duration = Duration::from_millis(100);

/// Where an operation's outcome goes.
pub(in crate::store) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What the writer is asked to do.
pub(super) enum Operation {
    Change(Change, Reply<Done>),
    Seen(Ask, Reply<bool>),
    /// Give the copy up: it is damaged, as this says.
    GiveUp(String, Reply<()>),
    /// Messages of the log that the replica follows.
    Apply(Vec<Message>, Reply<()>),
    /// Do what came before, then end.
    Close(Reply<()>),
}

/// An outcome that waits for the commit.
enum Outcome {
    Change(Reply<Done>, Done),
    Seen(Reply<bool>, bool),
    GiveUp(Reply<()>),
    Apply(Reply<()>, Applied),
}

/// The writer's side of the engine.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) state: State,
    /// Where the changes come from a log.
    pub(super) follower: Option<Follower>,
    pub(super) shared: Arc<Shared>,
    pub(super) commit_seconds: Histogram,
    pub(super) batch_size: Histogram,
    /// The length of the log, in pages, that is the next to be [`TOO_LONG`].
    pub(super) too_long: i32,
}

impl Operation {
    /// Tells that it was not done.
    fn refuse(self, error: &Error) {
        match self {
            Self::Change(_, reply) => answer(reply, Err(error.clone())),
            Self::Seen(_, reply) => answer(reply, Err(error.clone())),
            Self::GiveUp(_, reply) | Self::Apply(_, reply) | Self::Close(reply) => {
                answer(reply, Err(error.clone()));
            }
        }
    }
}

impl Outcome {
    /// Tells what became of it, or why the commit failed.
    fn tell(self, committed: Result<(), &Error>) {
        fn one<T>(reply: Reply<T>, outcome: T, committed: Result<(), &Error>) {
            answer(reply, committed.map_err(Clone::clone).map(|()| outcome));
        }
        match self {
            Self::Change(reply, done) => one(reply, done, committed),
            Self::Seen(reply, outcome) => one(reply, outcome, committed),
            Self::GiveUp(reply) => one(reply, (), committed),
            Self::Apply(reply, applied) => {
                if committed.is_ok() {
                    applied.tell();
                }
                one(reply, (), committed);
            }
        }
    }
}

/// Answers; who no longer waits does not want to know.
fn answer<T>(reply: Reply<T>, outcome: Result<T, Error>) {
    drop(reply.send(outcome));
}

impl Writer {
    /// Runs until it is told to close, or all who could ask are gone.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Operation>) {
        let mut batch = Vec::with_capacity(BATCH);
        while queue.blocking_recv_many(&mut batch, BATCH) > 0 {
            let mut closing = None;
            let mut operations = batch.drain(..);
            let before_close = operations
                .by_ref()
                .map_while(|operation| match operation {
                    Operation::Close(reply) => {
                        closing = Some(reply);
                        None
                    }
                    other => Some(other),
                })
                .collect();
            self.commit(before_close);
            let late: Vec<_> = operations.collect();
            if let Some(reply) = closing {
                let closed = self.close();
                queue.close();
                let why = closed_error();
                for late in late {
                    late.refuse(&why);
                }
                while let Some(late) = queue.blocking_recv() {
                    late.refuse(&why);
                }
                answer(reply, closed);
                return;
            }
            self.checkpoint();
        }
        if let Err(error) = self.close() {
            tracing::error!(%error, "the store could not be closed");
        }
    }

    /// Does all operations in one transaction, and answers them.
    fn commit(&mut self, operations: Vec<Operation>) {
        if let Some(why) = self.shared.stopped.get() {
            let error = Error::Stopped(Arc::clone(why));
            for operation in operations {
                operation.refuse(&error);
            }
            return;
        }
        if operations.is_empty() {
            return;
        }
        let began = Instant::now();
        let size = u32::try_from(operations.len()).unwrap_or(u32::MAX);
        let mut operations = operations.into_iter();
        let mut outcomes = Vec::with_capacity(operations.len());
        match self.transaction(&mut operations, &mut outcomes) {
            Ok(()) => {
                self.commit_seconds.observe(began.elapsed().as_secs_f64());
                self.batch_size.observe(f64::from(size));
                for outcome in outcomes {
                    outcome.tell(Ok(()));
                }
            }
            Err(fault) => {
                let error = self.recover(&fault);
                for outcome in outcomes {
                    outcome.tell(Err(&error));
                }
                for operation in operations {
                    operation.refuse(&error);
                }
            }
        }
    }

    fn transaction(
        &mut self,
        operations: &mut impl Iterator<Item = Operation>,
        outcomes: &mut Vec<Outcome>,
    ) -> Result<(), Fault> {
        let Self {
            connection,
            state,
            follower,
            shared,
            ..
        } = self;
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute(())?;
        if shared.full.load(Ordering::Relaxed) {
            // Some operations write nothing. This always does: its success means that there is room.
            schema::probe(connection)?;
        }
        let mut insert = Insert::new();
        for operation in operations {
            let follower = follower.as_mut();
            let (outcome, failed) =
                apply(operation, connection, &mut insert, shared, state, follower);
            outcomes.extend(outcome);
            // The outcome is noted first and the fault returned after, so that nobody is left without
            // an answer.
            failed.map_or(Ok(()), Err)?;
        }
        state.write_changes(connection)?;
        if let Some(follower) = follower {
            follower.write_changes(connection)?;
        }
        connection.prepare_cached("COMMIT")?.execute(())?;
        state.publish(shared);
        if shared.full.swap(false, Ordering::Relaxed) {
            tracing::info!("the store's disk has room again");
        }
        Ok(())
    }

    /// After a failed transaction: back to what is committed, or to an end.
    fn recover(&mut self, fault: &Fault) -> Error {
        if let Fault::Full(text) = fault {
            match self.roll_back() {
                Ok(()) => {
                    if !self.shared.full.swap(true, Ordering::Relaxed) {
                        tracing::warn!(error = text, "the store's disk is full");
                    }
                    return fault.error();
                }
                Err(worse) => return self.stop(&worse),
            }
        }
        self.stop(fault)
    }

    fn roll_back(&mut self) -> Result<(), Fault> {
        // SQLite has rolled back by itself after some errors.
        if !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        self.state = State::load(&self.connection, &self.shared)?;
        if let Some(follower) = &mut self.follower {
            follower.load(&self.connection)?;
        }
        Ok(())
    }

    /// Ends the engine for good.
    fn stop(&mut self, fault: &Fault) -> Error {
        let error = fault.error();
        tracing::error!(%error, "the store has stopped");
        let why = match &error {
            Error::Stopped(why) => Arc::clone(why),
            other => other.to_string().into(),
        };
        if let (Fault::Corrupt(what), Some(follower)) = (fault, &self.follower) {
            follower.give_up(what);
        }
        // The first reason stays.
        drop(self.shared.stopped.set(why));
        error
    }

    /// Copies the log into the file when it is long. A failed sync ends the engine here too.
    fn checkpoint(&mut self) {
        if self.shared.stopped.get().is_some() {
            return;
        }
        if let Err(error) = self.try_checkpoint() {
            self.after_checkpoint(error);
        }
    }

    fn try_checkpoint(&mut self) -> rusqlite::Result<()> {
        let main = Some(rusqlite::MAIN_DB);
        let (log, copied) = self
            .connection
            .wal_checkpoint_v2(main, CheckpointMode::NOOP)?;
        if log < TOO_LONG {
            self.too_long = TOO_LONG;
        }
        if log >= self.too_long {
            self.too_long = log.saturating_add(TOO_LONG);
            self.connection.busy_timeout(READERS_END)?;
            let done = self
                .connection
                .wal_checkpoint_v2(main, CheckpointMode::TRUNCATE);
            self.connection.busy_timeout(schema::BUSY)?;
            done?;
        } else if log - copied >= CHECKPOINT {
            self.connection
                .wal_checkpoint_v2(main, CheckpointMode::PASSIVE)?;
        }
        Ok(())
    }

    fn after_checkpoint(&mut self, error: rusqlite::Error) {
        if fault::is_busy(&error) {
            return;
        }
        match Fault::from(error) {
            // The log holds everything; it is copied when there is space again.
            Fault::Full(text) => tracing::warn!(error = text, "the store's disk is full"),
            fault => {
                self.stop(&fault);
            }
        }
    }

    /// Copies the log into the file, and leaves it empty.
    fn close(&mut self) -> Result<(), Error> {
        if let Some(why) = self.shared.stopped.get() {
            return Err(Error::Stopped(Arc::clone(why)));
        }
        let closed = schema::empty_log(&self.connection);
        if let Error::Stopped(why) = closed_error() {
            drop(self.shared.stopped.set(why));
        }
        closed.map_err(|error| Fault::from(error).error())
    }
}

/// Does one operation. Where it meets a fault, it is told with the rest of the transaction.
fn apply<'a>(
    operation: Operation,
    connection: &'a Connection,
    insert: &mut Insert<'a>,
    shared: &Shared,
    state: &mut State,
    follower: Option<&mut Follower>,
) -> (Option<Outcome>, Option<Fault>) {
    let (outcome, failed) = match operation {
        Operation::Change(change, reply) => {
            let (done, fault) = change::apply(change, connection, insert, shared, state);
            (Outcome::Change(reply, done), fault)
        }
        Operation::Seen(ask, reply) => {
            let result = state.seen(connection, &ask).map_err(Fault::from);
            let (outcome, fault) = split(result, false);
            (Outcome::Seen(reply, outcome), fault)
        }
        Operation::GiveUp(why, reply) => (Outcome::GiveUp(reply), Some(Fault::Corrupt(why))),
        Operation::Apply(messages, reply) => {
            let result = match follower {
                Some(follower) => follower.apply(connection, insert, shared, state, &messages),
                None => Ok(Applied::default()),
            };
            let (applied, fault) = split(result, Applied::default());
            (Outcome::Apply(reply, applied), fault)
        }
        // Taken out before.
        Operation::Close(reply) => {
            answer(reply, Ok(()));
            return (None, None);
        }
    };
    (Some(outcome), failed)
}

/// What those are told who come after the end.
pub(super) fn closed_error() -> Error {
    Error::Stopped("it is closed".into())
}
