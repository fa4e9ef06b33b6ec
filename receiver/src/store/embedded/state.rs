//! What the writer keeps in memory: all of it can be read from the file again, and is after a
//! rollback.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use hookswitch_crds::key::ObjectKey;
use rusqlite::Connection;
use rusqlite::types::Value;

use self::scope::OfScope;
use super::dedup::{self, Dedup};
use super::fault::ReadFault;
use super::recent::{Recent, Waiting};
use crate::event::Event;
use crate::plan::{Lane, Scope};

mod load;
mod scope;

/// Shapes, and lists of verdicts, that are kept once and referred to: most events of a type share
/// theirs. Further ones stand where they are used, so that nothing that comes in fills memory.
const SHARED: usize = 1024;

/// What the writer shares with those who read. It shows what is committed.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Events without a plan that are recent.
    pub(super) recent: Mutex<Recent>,
    /// Why the engine has stopped.
    pub(super) stopped: OnceLock<Arc<str>>,
    /// The last transaction met a full disk.
    pub(super) full: AtomicBool,
    /// Events that the process did not survive planning.
    pub(super) suspects: Mutex<BTreeMap<i64, u32>>,
    /// The file is a replica of a log.
    pub(super) is_replica: bool,
}

/// The writer's memory.
#[derive(Debug)]
pub(super) struct State {
    pub(super) dedup: Dedup,
    pub(super) next_seq: i64,
    /// The last event that is not recent: its dedup entry and its uid's chapter are in the file.
    pub(super) flushed: i64,
    chapter: Option<Chapter>,
    /// The uids of the recent events.
    recent: Stretch,
    subscriptions: Vec<Subscription>,
    by_key: HashMap<ObjectKey, usize>,
    lanes: Vec<LaneCounts>,
    by_lane: HashMap<Lane, usize>,
    rules: HashMap<String, i64>,
    /// By the subscription's row.
    scopes: HashMap<(i64, Scope), i64>,
    /// By a scope's place.
    of_scopes: Vec<OfScope>,
    shapes: HashMap<String, i64>,
    verdicts: HashMap<String, i64>,
    changed_subscriptions: Vec<usize>,
    changed_lanes: Vec<usize>,
    changed_scopes: Vec<i64>,
    /// Suspects that are planned now.
    cleared: Vec<i64>,
    /// It is a copy of what others have too: where a row is damaged, so is the copy and nothing else.
    pub(super) is_replica: bool,
}

#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) key: ObjectKey,
    /// Its row.
    pub(super) id: i64,
    pub(super) planned: i64,
    pub(super) bytes: u64,
    /// Whether events without a plan stand in the backlog.
    pub(super) backlog: bool,
    /// When the configuration was first seen without it.
    pub(super) removed_since: Option<i64>,
    /// Accepted in this transaction.
    fresh: Vec<Waiting>,
    changed: bool,
}

#[derive(Debug, Default)]
struct LaneCounts {
    pending: i64,
    dead: i64,
    changed: bool,
}

/// Some events' uids.
#[derive(Debug, Clone, Copy, Default)]
struct Stretch {
    events: usize,
    min: [u8; 16],
    max: [u8; 16],
}

#[derive(Debug, Clone, Copy)]
struct Chapter {
    first: i64,
    last: i64,
    uids: Stretch,
}

impl Stretch {
    fn add(&mut self, uid: &[u8; 16]) {
        if self.events == 0 {
            (self.min, self.max) = (*uid, *uid);
        }
        self.min = self.min.min(*uid);
        self.max = self.max.max(*uid);
        self.events += 1;
    }
}

impl State {
    /// A subscription, which is written down when it is new.
    pub(super) fn subscription(
        &mut self,
        connection: &Connection,
        key: &ObjectKey,
    ) -> Result<usize, ReadFault> {
        if let Some(at) = self.by_key.get(key) {
            return Ok(*at);
        }
        let at = self.subscriptions.len();
        let id = row_id(at);
        connection
            .prepare_cached(
                "INSERT INTO subscription (id, namespace, name, planned, bytes) VALUES (?, ?, ?, 0, 0)",
            )?
            .execute((id, &key.namespace, &key.name))?;
        self.subscriptions.push(Subscription {
            key: key.clone(),
            id,
            planned: 0,
            bytes: 0,
            backlog: false,
            removed_since: None,
            fresh: Vec::new(),
            changed: false,
        });
        self.by_key.insert(key.clone(), at);
        Ok(at)
    }

    /// A subscription that has been seen before.
    pub(super) fn find_subscription(&self, key: &ObjectKey) -> Option<usize> {
        self.by_key.get(key).copied()
    }

    /// To look at.
    pub(super) fn subscription_at(&self, at: usize) -> Option<&Subscription> {
        self.subscriptions.get(at)
    }

    /// To change: it is written down with the transaction.
    pub(super) fn change_subscription(&mut self, at: usize) -> Option<&mut Subscription> {
        let subscription = self.subscriptions.get_mut(at)?;
        if !subscription.changed {
            subscription.changed = true;
            self.changed_subscriptions.push(at);
        }
        Some(subscription)
    }

    /// Counts bytes for a subscription, by its row.
    pub(super) fn add_bytes(&mut self, id: i64, bytes: u64) {
        if let Some(subscription) = place(id).and_then(|at| self.change_subscription(at)) {
            subscription.bytes = subscription.bytes.saturating_add(bytes);
        }
    }

    /// Notes which subscriptions the configuration has, and since when it lacks the others.
    pub(super) fn note_removed(&mut self, present: &HashSet<ObjectKey>, now: i64) {
        let removed = |subscription: &Subscription| {
            (!present.contains(&subscription.key))
                .then(|| subscription.removed_since.unwrap_or(now))
        };
        let changed: Vec<(usize, Option<i64>)> = self
            .subscriptions
            .iter()
            .enumerate()
            .filter(|(_, subscription)| subscription.removed_since != removed(subscription))
            .map(|(at, subscription)| (at, removed(subscription)))
            .collect();
        for (at, removed_since) in changed {
            if let Some(subscription) = self.change_subscription(at) {
                subscription.removed_since = removed_since;
            }
        }
    }

    /// Takes bytes off a subscription, by its row.
    pub(super) fn release_bytes(&mut self, id: i64, bytes: u64) {
        if let Some(subscription) = place(id).and_then(|at| self.change_subscription(at)) {
            subscription.bytes = subscription.bytes.saturating_sub(bytes);
        }
    }

    /// Notes a new event.
    pub(super) fn accepted(&mut self, at: usize, seq: i64, event: Event, bytes: u64) {
        self.next_seq = seq + 1;
        self.recent.add(event.uid.as_bytes());
        if let Some(subscription) = self.change_subscription(at) {
            subscription.bytes = subscription.bytes.saturating_add(bytes);
            subscription.fresh.push(Waiting {
                seq,
                event: Some(event),
            });
        }
    }

    /// Whether there are as many recent events as memory should hold.
    pub(super) fn is_full(&self) -> bool {
        self.recent.events >= dedup::RUN
    }

    /// The row of a lane, which is written down when it is new.
    pub(super) fn lane(&mut self, connection: &Connection, lane: &Lane) -> Result<i64, ReadFault> {
        if let Some(at) = self.by_lane.get(lane) {
            return Ok(row_id(*at));
        }
        let at = self.lanes.len();
        connection
            .prepare_cached(
                "INSERT INTO lane (id, namespace, route, destination, pending, dead) VALUES (?, ?, ?, ?, 0, 0)",
            )?
            .execute((
                row_id(at),
                &lane.route.namespace,
                &lane.route.name,
                &lane.destination,
            ))?;
        self.lanes.push(LaneCounts::default());
        self.by_lane.insert(lane.clone(), at);
        Ok(row_id(at))
    }

    /// Changes the counts of a lane, by its row.
    pub(super) fn count(&mut self, lane: i64, pending: i64, dead: i64) {
        if let Some(at) = place(lane)
            && let Some(counts) = self.lanes.get_mut(at)
        {
            counts.pending += pending;
            counts.dead += dead;
            if !counts.changed {
                counts.changed = true;
                self.changed_lanes.push(at);
            }
        }
    }

    /// The row of a rule's name.
    pub(super) fn rule(&mut self, connection: &Connection, name: &str) -> Result<i64, ReadFault> {
        intern(
            connection,
            &mut self.rules,
            "INSERT INTO rule (id, name) VALUES (?, ?)",
            name,
        )
    }

    /// What stands for a request's shape: its row, or itself.
    pub(super) fn shape(
        &mut self,
        connection: &Connection,
        shape: &str,
    ) -> Result<Value, ReadFault> {
        share(
            connection,
            &mut self.shapes,
            "INSERT INTO shape (id, shape) VALUES (?, ?)",
            shape,
        )
    }

    /// What stands for a list of verdicts: its row, or itself.
    pub(super) fn verdicts(
        &mut self,
        connection: &Connection,
        list: &str,
    ) -> Result<Value, ReadFault> {
        share(
            connection,
            &mut self.verdicts,
            "INSERT INTO verdicts (id, list) VALUES (?, ?)",
            list,
        )
    }

    /// The next events of a subscription that have no plan, at most `limit`.
    pub(super) fn unplanned(
        &self,
        connection: &Connection,
        shared: &Shared,
        at: usize,
        limit: usize,
    ) -> Result<Vec<i64>, ReadFault> {
        let Some(subscription) = self.subscriptions.get(at) else {
            return Ok(Vec::new());
        };
        let recent = lock(&shared.recent);
        // Those of this transaction too: it makes no difference where one ends.
        let fresh = subscription.fresh.iter().map(|waiting| waiting.seq);
        let recent = recent.seqs(&subscription.key).chain(fresh);
        unplanned(
            connection,
            subscription.id,
            subscription.planned,
            recent,
            limit,
        )
    }

    /// The first event of a subscription that has no plan, those of this transaction included.
    pub(super) fn oldest_unplanned(
        &self,
        connection: &Connection,
        shared: &Shared,
        at: usize,
    ) -> Result<Option<i64>, ReadFault> {
        Ok(self.unplanned(connection, shared, at, 1)?.first().copied())
    }

    /// Writes the dedup entries, uids and missing plans of the recent events to the file, so that
    /// their rows can be removed and memory stays small.
    pub(super) fn flush(
        &mut self,
        connection: &Connection,
        shared: &Shared,
    ) -> Result<(), ReadFault> {
        let last = self.next_seq - 1;
        if self.recent.events == 0 || last <= self.flushed {
            return Ok(());
        }
        self.dedup.flush(connection)?;
        let mut chapter = Chapter {
            first: self.flushed + 1,
            last,
            uids: self.recent,
        };
        if let Some(before) = self
            .chapter
            .filter(|before| before.uids.events + chapter.uids.events <= dedup::RUN)
        {
            chapter.first = before.first;
            chapter.uids.min = before.uids.min.min(chapter.uids.min);
            chapter.uids.max = before.uids.max.max(chapter.uids.max);
            chapter.uids.events += before.uids.events;
        }
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO chapter (first, last, min, max) VALUES (?, ?, ?, ?)",
            )?
            .execute((chapter.first, last, chapter.uids.min, chapter.uids.max))?;

        let recent = lock(&shared.recent);
        let mut spill = connection
            .prepare_cached("INSERT OR IGNORE INTO backlog (subscription, seq) VALUES (?, ?)")?;
        for at in 0..self.subscriptions.len() {
            let Some(subscription) = self.subscriptions.get(at) else {
                continue;
            };
            let known = recent.seqs(&subscription.key);
            let fresh = subscription.fresh.iter().map(|waiting| waiting.seq);
            let mut spilled = false;
            for seq in known.chain(fresh) {
                if seq > subscription.planned && seq > self.flushed {
                    spill.execute((subscription.id, seq))?;
                    spilled = true;
                }
            }
            if spilled && let Some(subscription) = self.change_subscription(at) {
                subscription.backlog = true;
            }
        }
        self.chapter = Some(chapter);
        self.recent = Stretch::default();
        self.flushed = last;
        Ok(())
    }

    /// Writes down what has changed. The last step of a transaction.
    pub(super) fn write_changes(&mut self, connection: &Connection) -> Result<(), ReadFault> {
        let mut update = connection.prepare_cached(
            "UPDATE subscription SET planned = ?, bytes = ?, removed_since = ? WHERE id = ?",
        )?;
        for at in &self.changed_subscriptions {
            if let Some(subscription) = self.subscriptions.get(*at) {
                let bytes = i64::try_from(subscription.bytes).unwrap_or(i64::MAX);
                update.execute((
                    subscription.planned,
                    bytes,
                    subscription.removed_since,
                    subscription.id,
                ))?;
            }
        }
        let mut update =
            connection.prepare_cached("UPDATE lane SET pending = ?, dead = ? WHERE id = ?")?;
        for at in self.changed_lanes.drain(..) {
            if let Some(counts) = self.lanes.get_mut(at) {
                counts.changed = false;
                update.execute((counts.pending, counts.dead, row_id(at)))?;
            }
        }
        let mut update = connection.prepare_cached("UPDATE scope SET timers = ? WHERE id = ?")?;
        for scope in self.changed_scopes.drain(..) {
            if let Some(of) = place(scope).and_then(|at| self.of_scopes.get_mut(at)) {
                of.changed = false;
                update.execute((of.timers, scope))?;
            }
        }
        Ok(())
    }

    /// Forgets that an event is suspected: it is planned.
    pub(super) fn clear_suspect(
        &mut self,
        connection: &Connection,
        shared: &Shared,
        seq: i64,
    ) -> Result<(), ReadFault> {
        if lock(&shared.suspects).contains_key(&seq) {
            connection
                .prepare_cached("DELETE FROM suspect WHERE seq = ?")?
                .execute([seq])?;
            self.cleared.push(seq);
        }
        Ok(())
    }

    /// Shows those who read what the transaction did. After the commit.
    pub(super) fn publish(&mut self, shared: &Shared) {
        for seq in self.cleared.drain(..) {
            lock(&shared.suspects).remove(&seq);
        }
        if self.changed_subscriptions.is_empty() {
            return;
        }
        let mut recent = lock(&shared.recent);
        for at in self.changed_subscriptions.drain(..) {
            let Some(subscription) = self.subscriptions.get_mut(at) else {
                continue;
            };
            subscription.changed = false;
            subscription.show(&mut recent, self.flushed);
        }
    }
}

impl Subscription {
    /// Shows its events to those who read.
    fn show(&mut self, recent: &mut Recent, flushed: i64) {
        recent.update(
            &self.key,
            self.planned,
            self.backlog,
            flushed.max(self.planned),
            self.fresh.drain(..),
        );
    }
}

/// The next events of a subscription that have no plan: the backlog's, then the recent ones.
pub(super) fn unplanned(
    connection: &Connection,
    subscription: i64,
    planned: i64,
    recent: impl Iterator<Item = i64>,
    limit: usize,
) -> Result<Vec<i64>, ReadFault> {
    let mut seqs = connection
        .prepare_cached(
            "SELECT seq FROM backlog WHERE subscription = ? AND seq > ? ORDER BY seq LIMIT ?",
        )?
        .query_map(
            (
                subscription,
                planned,
                i64::try_from(limit).unwrap_or(i64::MAX),
            ),
            |row| row.get(0),
        )?
        .collect::<Result<Vec<i64>, _>>()?;
    // An event that was just moved to the backlog may be in both.
    let last = seqs.last().copied().unwrap_or(0).max(planned);
    seqs.extend(recent.filter(|seq| *seq > last));
    seqs.truncate(limit);
    Ok(seqs)
}

/// Locks, also after a panic elsewhere: what is shared is whole between statements.
pub(in crate::store) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Rows are numbered from 1, places in memory from 0.
fn row_id(at: usize) -> i64 {
    i64::try_from(at).map_or(i64::MAX, |at| at + 1)
}

fn place(id: i64) -> Option<usize> {
    usize::try_from(id - 1).ok()
}

fn share(
    connection: &Connection,
    texts: &mut HashMap<String, i64>,
    insert: &str,
    text: &str,
) -> Result<Value, ReadFault> {
    if texts.len() >= SHARED && !texts.contains_key(text) {
        return Ok(Value::Text(text.to_owned()));
    }
    intern(connection, texts, insert, text).map(Value::Integer)
}

fn intern(
    connection: &Connection,
    names: &mut HashMap<String, i64>,
    insert: &str,
    name: &str,
) -> Result<i64, ReadFault> {
    if let Some(id) = names.get(name) {
        return Ok(*id);
    }
    let id = row_id(names.len());
    connection.prepare_cached(insert)?.execute((id, name))?;
    names.insert(name.to_owned(), id);
    Ok(id)
}
