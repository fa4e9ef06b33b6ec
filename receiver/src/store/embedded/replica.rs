//! A replica: the engine's file made from a log, message by message, and who waits for which message.
//!
//! ```text
//! log ──▶ Replica::apply ──▶ writer ── BEGIN · changes · place in the log · COMMIT ──▶ answers, news
//! ```
//!
//! - What the file holds is what the messages up to `log.applied` say; both change in one transaction. The last
//!   of them is known again by its digest, so that it is seen whether the log is still the same.
//! - The file is not what makes a change durable, the log is: so a commit is not synced. SQLite's log keeps
//!   it whole all the same, and after a loss of power it is some messages behind.
//! - A claim is told as won only where its member is one still when it is told, as far as the replica has come.
//! - Only members of the view plan, fire, render and claim: what one that has left sent late does nothing.
//!   A claim is its member's until it is finished or the member leaves; then it was interrupted.
//! - A file whose rows are damaged is given up, and made anew at the next start. A row that is damaged in the new
//!   copy too is so for all: it is set aside by a change.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hookswitch_crds::key::ObjectKey;
use rusqlite::{Connection, OptionalExtension as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::accept::Insert;
use super::change::{self, Change, Done};
use super::codec::{int, unsigned};
use super::fault::{self, Fault, ReadFault};
use super::record;
use super::state::{Shared, State, lock};
use super::view::View;
use super::writer::Reply;
use super::{FILE, codec};
use crate::plan::Lane;
use crate::store::{Claim, Error, RemovedTimers};

mod engine;
pub(in crate::store) mod file;

#[cfg(test)]
mod tests;

/// What a replica's file has besides the engine's tables.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS log (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    stream TEXT NOT NULL,                -- which one, by when it was made
    applied INTEGER NOT NULL,            -- the last message that is in here
    view INTEGER NOT NULL                -- the number of the members below
) STRICT;
-- By which the last message that is in here is known again.
CREATE TABLE IF NOT EXISTS tail (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    sequence INTEGER NOT NULL,
    digest BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS member (id BLOB PRIMARY KEY) WITHOUT ROWID, STRICT;
-- Whose attempt a claimed delivery is.
CREATE TABLE IF NOT EXISTS claimant (delivery BLOB PRIMARY KEY, member BLOB NOT NULL) WITHOUT ROWID, STRICT;
-- Parts of batches that are not complete.
CREATE TABLE IF NOT EXISTS part (
    member BLOB NOT NULL,
    batch INTEGER NOT NULL,
    number INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (member, batch, number)
) STRICT;
PRAGMA synchronous = NORMAL;
";
/// A part whose batch is not complete after so many messages never will be.
const PARTS_KEPT: u64 = 1_000_000;
/// How long after a change of the members work may still end that was begun by the one before.
const HANDOVER: Duration = Duration::from_mins(15);

/// A message of the log.
#[derive(Debug, Clone)]
pub(in crate::store) struct Message {
    /// Its place.
    pub(in crate::store) sequence: u64,
    /// What was written.
    pub(in crate::store) payload: Bytes,
}

/// What has happened in the log that somebody may have been waiting for.
#[derive(Debug, Default)]
pub(in crate::store) struct News {
    /// Subscriptions that have new events.
    pub(in crate::store) accepted: HashSet<ObjectKey>,
    /// Lanes that have new deliveries.
    pub(in crate::store) lanes: HashSet<Lane>,
    /// Any lane may have something to do.
    pub(in crate::store) all_lanes: bool,
    /// The members are others.
    pub(in crate::store) view: bool,
    /// Claims of ours that were won, and nobody waited for.
    pub(in crate::store) unwanted: Vec<Claim>,
}

/// By which a message is known again.
pub(in crate::store) type Digest = [u8; 32];

/// The digest of what a message holds.
pub(in crate::store) fn digest(payload: &[u8]) -> Digest {
    Sha256::digest(payload).into()
}

/// Who waits for which of our batches.
#[derive(Default)]
pub(in crate::store) struct Waiters(Mutex<HashMap<u64, Vec<Reply<Done>>>>);

impl Waiters {
    /// Notes who waits. Before the batch is written.
    pub(in crate::store) fn add(&self, batch: u64, replies: Vec<Reply<Done>>) {
        lock(&self.0).insert(batch, replies);
    }

    /// Whether somebody does.
    pub(in crate::store) fn has(&self, batch: u64) -> bool {
        lock(&self.0).contains_key(&batch)
    }

    /// Tells them that it can't be known, or that it was not written.
    pub(in crate::store) fn fail(&self, batch: u64, error: &Error) {
        for reply in self.take(batch) {
            drop(reply.send(Err(error.clone())));
        }
    }

    fn take(&self, batch: u64) -> Vec<Reply<Done>> {
        lock(&self.0).remove(&batch).unwrap_or_default()
    }
}

/// What the writer and the rest of a replica share.
pub(in crate::store) struct Common {
    /// What this process is called in the log.
    pub(in crate::store) me: Uuid,
    /// Who waits.
    pub(in crate::store) waiters: Waiters,
    /// What is committed of the members.
    view: Mutex<Arc<View>>,
    /// The last message that is committed.
    applied: AtomicU64,
    /// What it was known by.
    tail: Mutex<Option<(u64, Digest)>>,
    news: mpsc::UnboundedSender<News>,
}

impl Common {
    pub(in crate::store) fn new(me: Uuid, news: mpsc::UnboundedSender<News>) -> Self {
        Self {
            me,
            waiters: Waiters::default(),
            view: Mutex::default(),
            applied: AtomicU64::new(0),
            tail: Mutex::default(),
            news,
        }
    }

    /// Who shares the work.
    pub(in crate::store) fn view(&self) -> Arc<View> {
        Arc::clone(&lock(&self.view))
    }

    /// The last message that is applied.
    pub(in crate::store) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// The last message that is applied, and its digest; a file of an earlier version has none.
    pub(in crate::store) fn tail(&self) -> (u64, Option<Digest>) {
        let tail = *lock(&self.tail);
        match tail {
            Some((sequence, digest)) => (sequence, Some(digest)),
            None => (self.applied(), None),
        }
    }

    fn set_place(&self, applied: u64, tail: Option<Digest>) {
        *lock(&self.tail) = tail.map(|digest| (applied, digest));
        self.applied.store(applied, Ordering::Release);
    }
}

/// The writer's side.
pub(super) struct Follower {
    common: Arc<Common>,
    dir: PathBuf,
    applied: u64,
    /// The digest of that message.
    tail: Option<Digest>,
    view: Arc<View>,
    changed: bool,
    /// When the members changed, by our clock: only for who is to be woken.
    viewed: Instant,
}

/// What a piece of the log did, to be told after the commit.
#[derive(Default)]
pub(super) struct Applied {
    common: Option<Arc<Common>>,
    own: Vec<Own>,
    news: News,
    last: u64,
    tail: Option<Digest>,
    view: Arc<View>,
}

/// What came of a batch of ours: of each change, and what it claims.
struct Own {
    batch: u64,
    done: Vec<(Done, Vec<Claim>)>,
}

/// Takes back that claims were won.
fn lose((done, claims): &mut (Done, Vec<Claim>)) {
    if !claims.is_empty() {
        *done = Done::Each(vec![false; claims.len()]);
    }
}

impl Applied {
    pub(super) fn tell(self) {
        let Self {
            common,
            own,
            mut news,
            last,
            tail,
            view,
        } = self;
        let Some(common) = common else { return };
        *lock(&common.view) = view;
        common.set_place(last, tail);
        for Own { batch, done } in own {
            let mut replies = common.waiters.take(batch).into_iter();
            for (done, claims) in done {
                let unheard = match replies.next() {
                    Some(reply) => reply.send(Ok(done)).err().and_then(Result::ok),
                    None => Some(done),
                };
                if let Some(Done::Each(won)) = unheard {
                    let won = claims.into_iter().zip(won).filter(|(_, won)| *won);
                    news.unwanted.extend(won.map(|(claim, _)| claim));
                }
            }
        }
        // At the end nobody listens any more.
        drop(common.news.send(news));
    }
}

impl Follower {
    /// Makes the file follow a log: one that is new follows `stream` from its beginning.
    pub(super) fn open(
        connection: &Connection,
        dir: &Path,
        stream: &str,
        common: Arc<Common>,
    ) -> Result<Self, Error> {
        let wrong = |error: rusqlite::Error| fault::at_open(&dir.join(FILE), &error);
        connection.execute_batch(TABLES).map_err(wrong)?;
        connection
            .execute(
                "INSERT OR IGNORE INTO log (one, stream, applied, view) VALUES (1, ?, 0, 0)",
                [stream],
            )
            .map_err(wrong)?;
        let mut follower = Self {
            common,
            dir: dir.to_owned(),
            applied: 0,
            tail: None,
            view: Arc::default(),
            changed: false,
            viewed: Instant::now(),
        };
        follower.load(connection)?;
        *lock(&follower.common.view) = Arc::clone(&follower.view);
        follower.common.set_place(follower.applied, follower.tail);
        Ok(follower)
    }

    /// Reads what the file says of the log.
    pub(super) fn load(&mut self, connection: &Connection) -> Result<(), ReadFault> {
        let (applied, number): (i64, i64) = connection
            .prepare_cached("SELECT applied, view FROM log")?
            .query_row((), |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut members = connection.prepare_cached("SELECT id FROM member ORDER BY id")?;
        let members = members
            .query_map((), |row| row.get::<_, [u8; 16]>(0))?
            .map(|id| id.map(Uuid::from_bytes))
            .collect::<Result<Vec<_>, _>>()?;
        self.applied = unsigned(applied);
        self.tail = connection
            .prepare_cached("SELECT digest FROM tail WHERE sequence = ?")?
            .query_row([applied], |row| row.get(0))
            .optional()?;
        self.view = Arc::new(View {
            number: unsigned(number),
            members,
        });
        self.changed = false;
        Ok(())
    }

    /// Writes down how far it has come. Part of the transaction.
    pub(super) fn write_changes(&mut self, connection: &Connection) -> Result<(), ReadFault> {
        if std::mem::take(&mut self.changed) {
            connection
                .prepare_cached("UPDATE log SET applied = ?, view = ?")?
                .execute((int(self.applied), int(self.view.number)))?;
            connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO tail (one, sequence, digest) VALUES (1, ?, ?)",
                )?
                .execute((int(self.applied), self.tail))?;
        }
        Ok(())
    }

    /// Says that the file is not to be used any more.
    pub(super) fn give_up(&self, why: &str) {
        if let Err(error) = std::fs::write(self.dir.join(file::GIVEN_UP), why) {
            tracing::error!(%error, dir = %self.dir.display(), "the copy is damaged, and can't be marked as such: remove the directory");
        }
    }

    /// Applies messages in their order.
    pub(super) fn apply<'a>(
        &mut self,
        connection: &'a Connection,
        insert: &mut Insert<'a>,
        shared: &Shared,
        state: &mut State,
        messages: &[Message],
    ) -> Result<Applied, Fault> {
        let mut applied = Applied {
            common: Some(Arc::clone(&self.common)),
            ..Applied::default()
        };
        for message in messages {
            if message.sequence <= self.applied {
                continue;
            }
            if message.sequence != self.applied + 1 {
                return Err(Fault::Fatal(format!(
                    "the log goes on at {}, and this copy ends at {}: what is between was removed; the next start takes a newer copy",
                    message.sequence, self.applied
                )));
            }
            self.applied = message.sequence;
            self.changed = true;
            let (header, bytes) = record::read(&message.payload).map_err(Fault::Fatal)?;
            let joined;
            let bytes = match header.part {
                None => bytes,
                Some(part) => match self.join(connection, header, part, bytes)? {
                    Some(all) => {
                        joined = all;
                        joined.as_slice()
                    }
                    None => continue,
                },
            };
            let mut own: Vec<(Done, Vec<Claim>)> = Vec::new();
            for change in record::changes(bytes).map_err(Fault::Fatal)? {
                let claims = match &change {
                    Change::Claim(claims) if header.by == self.common.me => claims.clone(),
                    _ => Vec::new(),
                };
                let by = header.by;
                let view = self.view.number;
                let news = &mut applied.news;
                let done = self.one(connection, insert, shared, state, (by, change), news)?;
                own.push((done, claims));
                if self.view.number != view && !self.view.has(&self.common.me) {
                    // What was claimed up to here is anybody's again, and nobody was told of it yet.
                    let before = applied.own.iter_mut().flat_map(|own| &mut own.done);
                    before.chain(&mut own).for_each(lose);
                }
            }
            if header.by == self.common.me {
                applied.own.push(Own {
                    batch: header.batch,
                    done: own,
                });
            }
        }
        if let Some(last) = messages.last().filter(|last| last.sequence == self.applied) {
            self.tail = Some(digest(&last.payload));
        }
        applied.last = self.applied;
        applied.tail = self.tail;
        applied.view = Arc::clone(&self.view);
        Ok(applied)
    }

    /// Keeps a part, and gives the whole where that was the last one to come.
    fn join(
        &self,
        connection: &Connection,
        header: record::Header,
        (number, of): (u32, u32),
        bytes: &[u8],
    ) -> Result<Option<Vec<u8>>, ReadFault> {
        let batch = (header.by.as_bytes(), int(header.batch));
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO part (member, batch, number, sequence, bytes) VALUES (?, ?, ?, ?, ?)",
            )?
            .execute((batch.0, batch.1, number, int(self.applied), bytes))?;
        let parts = connection
            .prepare_cached(
                "SELECT bytes FROM part WHERE member = ? AND batch = ? ORDER BY number",
            )?
            .query_map(batch, |row| row.get(0))?
            .collect::<Result<Vec<Vec<u8>>, _>>()?;
        if codec::counted(parts.len()) < u64::from(of) {
            return Ok(None);
        }
        connection
            .prepare_cached("DELETE FROM part WHERE member = ? AND batch = ?")?
            .execute(batch)?;
        Ok(Some(parts.concat()))
    }

    fn one<'a>(
        &mut self,
        connection: &'a Connection,
        insert: &mut Insert<'a>,
        shared: &Shared,
        state: &mut State,
        (by, change): (Uuid, Change),
        news: &mut News,
    ) -> Result<Done, Fault> {
        self.note(&by, &change, news);
        match &change {
            Change::View { after, members } => {
                let next = *after == self.view.number;
                if next {
                    self.set_view(connection, members)?;
                    news.view = true;
                }
                return Ok(Done::Each(vec![next]));
            }
            Change::Suspect(seqs) => {
                for seq in seqs {
                    suspect(connection, shared, int(*seq))?;
                }
                return Ok(Done::Each(vec![true]));
            }
            _ if self.view.has(&by) => {}
            Change::Plan(_) | Change::Fire(_) => return Ok(Done::Plan(Err(Error::Conflict))),
            Change::RemoveTimers(_) => return Ok(Done::RemoveTimers(RemovedTimers::default())),
            Change::Claim(claims) => return Ok(Done::Each(vec![false; claims.len()])),
            Change::Render(renders) => return Ok(Done::Each(vec![false; renders.len()])),
            _ => {}
        }
        // Whose the attempts are that begin, and those that end.
        let (mut begin, mut end) = (Vec::new(), Vec::new());
        match &change {
            Change::Claim(claims) => begin.extend(claims.iter().map(|claim| claim.id)),
            Change::Finish(finishes) => end.extend(finishes.iter().map(|finish| finish.id)),
            Change::Remove(_) => {
                connection
                    .prepare_cached("DELETE FROM part WHERE sequence < ?")?
                    .execute([int(self.applied.saturating_sub(PARTS_KEPT))])?;
            }
            _ => {}
        }
        let (done, fault) = change::apply(change, connection, insert, shared, state);
        fault.map_or(Ok(()), Err)?;
        if let Done::Each(done) = &done {
            let mut take = connection.prepare_cached(
                "INSERT OR REPLACE INTO claimant (delivery, member) VALUES (?, ?)",
            )?;
            for (id, _) in begin.iter().zip(done).filter(|(_, done)| **done) {
                take.execute((id.as_bytes(), by.as_bytes()))?;
            }
            // One that was not current says nothing of the attempt that is.
            let mut leave = connection.prepare_cached("DELETE FROM claimant WHERE delivery = ?")?;
            for (id, _) in end.iter().zip(done).filter(|(_, done)| **done) {
                leave.execute([id.as_bytes()])?;
            }
        }
        Ok(done)
    }

    /// Notes whom a change may concern.
    fn note(&self, by: &Uuid, change: &Change, news: &mut News) {
        match change {
            Change::Accept(accept) => {
                news.accepted.insert(accept.subscription().clone());
            }
            Change::Plan(append) => {
                let deliveries = append.plans().flat_map(|plan| &plan.deliveries);
                let queued = deliveries
                    .filter(|delivery| delivery.dead.is_none() && delivery.waits_until.is_none());
                for delivery in queued {
                    if !news.lanes.contains(&delivery.lane) {
                        news.lanes.insert(delivery.lane.clone());
                    }
                }
            }
            // What a lane's owner ends it looks at itself; but it may have been its owner before.
            Change::Finish(_) | Change::Render(_) | Change::Condemn(_) => {
                news.all_lanes |= *by != self.common.me && self.viewed.elapsed() < HANDOVER;
            }
            Change::Fire(_) | Change::Retry(_) | Change::Replay(_) | Change::View { .. } => {
                news.all_lanes = true;
            }
            Change::RemoveTimers(_)
            | Change::Claim(_)
            | Change::Remove(_)
            | Change::Discard(_)
            | Change::Suspect(_) => {}
        }
    }

    /// Replaces the members. Attempts of those that are gone were interrupted.
    fn set_view(&mut self, connection: &Connection, members: &[Uuid]) -> Result<(), ReadFault> {
        let mut members = members.to_vec();
        members.sort_unstable();
        members.dedup();
        connection.execute("DELETE FROM member", ())?;
        let mut insert = connection.prepare_cached("INSERT INTO member (id) VALUES (?)")?;
        for member in &members {
            insert.execute([member.as_bytes()])?;
        }
        connection.execute(
            "UPDATE delivery INDEXED BY delivery_claimed SET state = 0, interrupted = 1 WHERE state = 2 AND \
             NOT EXISTS (SELECT 1 FROM claimant c JOIN member m ON m.id = c.member WHERE c.delivery = delivery.id)",
            (),
        )?;
        connection.execute(
            "DELETE FROM claimant WHERE member NOT IN (SELECT id FROM member)",
            (),
        )?;
        self.view = Arc::new(View {
            number: self.view.number + 1,
            members,
        });
        self.viewed = Instant::now();
        Ok(())
    }
}

/// Counts that a process did not survive planning an event; one that is planned did not kill anybody.
fn suspect(connection: &Connection, shared: &Shared, seq: i64) -> Result<(), ReadFault> {
    connection
        .prepare_cached(
            "INSERT INTO suspect (seq, times) SELECT seq, 1 FROM event \
             WHERE seq = ?1 AND NOT EXISTS (SELECT 1 FROM plan WHERE plan.seq = ?1) \
             ON CONFLICT (seq) DO UPDATE SET times = times + 1",
        )?
        .execute([seq])?;
    let times: Option<u32> = connection
        .prepare_cached("SELECT times FROM suspect WHERE seq = ?")?
        .query_row([seq], |row| row.get(0))
        .optional()?;
    if let Some(times) = times {
        lock(&shared.suspects).insert(seq, times);
    }
    Ok(())
}
