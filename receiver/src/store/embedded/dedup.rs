//! Which ids came before: recent ones in memory, older ones in the file.
//!
//! An index over random ids would write a page of the file for every event. So an event's row is all
//! that `accept` writes: it holds the entry too. Every 16,384 events the entries of those rows are
//! copied into a *run*, which is never touched again but to drop it when all of it has expired:
//!
//! ```text
//! event rows after the last chapter ──▶ recent (memory)     lost at a crash, read again at open
//!            every 16,384 events    ──▶ a run (512 blobs)   a filter in memory says which runs to ask
//! ```
//!
//! Invariant: an event's entry is in memory and in its row, or in a run; a row is removed only in the
//! second case.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use hookswitch_crds::key::ObjectKey;
use rusqlite::{Connection, OptionalExtension};
use sha2::{Digest, Sha256};

use super::fault::{Damage, ReadFault};
use super::filter::{self, Group};

/// The first half of SHA-256 over the subscription and the event's id.
pub(super) type Key = [u8; 16];
/// The first half of the body's SHA-256.
pub(super) type Half = [u8; 16];

/// Entries of a full run.
pub(super) const RUN: usize = 16_384;
/// Bits of a slot number that say which part of the run it is.
const PART_BITS: u32 = 9;
/// Bytes of an entry in the file: key, half digest, expiry.
const ENTRY: usize = 40;

/// What is known about an id and body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// The id did not come within its window.
    Never,
    /// The id came with other bodies only.
    OtherBody,
    /// The id came with this body.
    Same,
}

/// All alive entries.
#[derive(Debug, Default)]
pub(super) struct Dedup {
    /// The first body that came with each recent id, and when the entry expires.
    recent: HashMap<Key, (Half, i64)>,
    /// The other bodies that came with a recent id. Few senders ever do that.
    reused: BTreeMap<(Key, Half), i64>,
    /// A run's place here is its place in the filters.
    runs: Vec<Option<Run>>,
    filters: Vec<Group>,
    next_run: i64,
    /// The last run, while it is not full.
    open: Option<usize>,
}

#[derive(Debug, Clone)]
struct Run {
    number: i64,
    entries: usize,
    until: i64,
}

/// The key of an id.
pub(super) fn key(subscription: &ObjectKey, id: &str) -> Key {
    let mut hash = Sha256::new();
    for part in [&subscription.namespace, &subscription.name] {
        // A name can't hold a zero byte, so no two keys share their bytes.
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.update(id.as_bytes());
    half(&hash.finalize().into())
}

/// The first half of a hash.
pub(super) fn half(hash: &[u8; 32]) -> Half {
    let (first, _) = hash.split_first_chunk().unwrap_or((&[0; 16], &[]));
    *first
}

impl Dedup {
    /// Reads which runs there are.
    pub(super) fn load(connection: &Connection) -> Result<Self, ReadFault> {
        let mut dedup = Self::default();
        let mut statement = connection
            .prepare_cached("SELECT run, entries, until, filter FROM dedup_run ORDER BY run")?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            let number = row.get(0)?;
            let bytes: &[u8; filter::BYTES] = row
                .get_ref(3)?
                .as_blob()
                .ok()
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or_else(|| Damage(format!("the filter of dedup run {number} is cut short")))?;
            let run = Run {
                number,
                entries: usize::try_from(row.get::<_, u32>(1)?).unwrap_or(RUN),
                until: row.get(2)?,
            };
            let slot = dedup.place(run);
            let (group, bit) = split(slot);
            if let Some(group) = dedup.filters.get_mut(group) {
                group.load(bit, bytes);
            }
            dedup.next_run = number + 1;
            dedup.open = Some(slot);
        }
        Ok(dedup)
    }

    /// What is known about the id and body at that time.
    pub(super) fn look_up(
        &self,
        connection: &Connection,
        key: &Key,
        digest: &Half,
        now: i64,
    ) -> Result<Seen, ReadFault> {
        let mut seen = Seen::Never;
        let mut meet = |other: &[u8], until: i64| {
            if until > now {
                seen = match seen {
                    Seen::Same => Seen::Same,
                    _ if other == digest => Seen::Same,
                    _ => Seen::OtherBody,
                };
            }
        };
        if let Some((other, until)) = self.recent.get(key) {
            meet(other, *until);
            for ((_, other), until) in self.reused.range((*key, [0; 16])..=(*key, [0xff; 16])) {
                meet(other, *until);
            }
        }
        for (place, group) in self.filters.iter().enumerate() {
            let mut runs = group.runs_with(key);
            while runs != 0 {
                let bit = runs.trailing_zeros();
                runs &= runs - 1;
                let Some(Some(run)) = self.runs.get(join(place, bit)) else {
                    continue;
                };
                if run.until <= now {
                    continue;
                }
                for (entry, other, until) in entries(&part(connection, run.number, key)?)? {
                    if entry == key {
                        meet(other, until);
                    }
                }
            }
        }
        Ok(seen)
    }

    /// Remembers an entry. Its event's row must be written in the same transaction.
    pub(super) fn remember(&mut self, key: Key, digest: Half, until: i64) {
        let kept = match self.recent.entry(key) {
            Entry::Vacant(free) => &mut free.insert((digest, until)).1,
            Entry::Occupied(taken) if taken.get().0 == digest => &mut taken.into_mut().1,
            Entry::Occupied(_) => self.reused.entry((key, digest)).or_insert(until),
        };
        *kept = until.max(*kept);
    }

    /// Copies all recent entries into runs. Part of the transaction that moves the chapter's end.
    pub(super) fn flush(&mut self, connection: &Connection) -> Result<(), ReadFault> {
        let first = self
            .recent
            .drain()
            .map(|(key, (digest, until))| (key, digest, until));
        let mut recent: Vec<(Key, Half, i64)> = first.collect();
        let reused = std::mem::take(&mut self.reused);
        recent.extend(
            reused
                .into_iter()
                .map(|((key, digest), until)| (key, digest, until)),
        );
        recent.sort_unstable();
        let Some(until) = recent.iter().map(|(_, _, until)| *until).max() else {
            return Ok(());
        };
        let slot = self.run_for(recent.len());
        let Some(Some(run)) = self.runs.get_mut(slot) else {
            return Ok(());
        };
        run.entries += recent.len();
        run.until = run.until.max(until);
        let run = run.clone();
        let (group, bit) = split(slot);
        let Some(filter) = self.filters.get_mut(group) else {
            return Ok(());
        };

        let size = u32::try_from(run.entries).unwrap_or(u32::MAX);
        let mut write = connection
            .prepare_cached("INSERT OR REPLACE INTO dedup (slot, entries) VALUES (?, ?)")?;
        let mut entries = recent.iter().peekable();
        while let Some((first, _, _)) = entries.peek() {
            let slot = slot_of(run.number, first);
            let mut blob = part(connection, run.number, first)?;
            while let Some((key, digest, until)) =
                entries.next_if(|(key, _, _)| slot_of(run.number, key) == slot)
            {
                filter.add(bit, key);
                blob.extend_from_slice(key);
                blob.extend_from_slice(digest);
                blob.extend_from_slice(&until.to_le_bytes());
            }
            write.execute((slot, blob))?;
        }
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO dedup_run (run, entries, until, filter) VALUES (?, ?, ?, ?)",
            )?
            .execute((run.number, size, run.until, filter.to_bytes(bit)))?;
        Ok(())
    }

    /// Drops one run that has expired as a whole, and says whether there was one.
    pub(super) fn expire(&mut self, connection: &Connection, now: i64) -> Result<bool, ReadFault> {
        let expired = self.runs.iter().enumerate().filter_map(|(slot, run)| {
            run.as_ref()
                .filter(|run| run.until <= now)
                .map(|run| (run.number, slot))
        });
        let Some((number, slot)) = expired.min() else {
            return Ok(false);
        };
        connection
            .prepare_cached("DELETE FROM dedup WHERE slot >= ? AND slot < ?")?
            .execute((number << PART_BITS, (number + 1) << PART_BITS))?;
        connection
            .prepare_cached("DELETE FROM dedup_run WHERE run = ?")?
            .execute([number])?;
        if let Some(run) = self.runs.get_mut(slot) {
            *run = None;
        }
        let (group, bit) = split(slot);
        if let Some(group) = self.filters.get_mut(group) {
            group.clear(bit);
        }
        self.look_for_last();
        Ok(true)
    }

    /// Finds the last run, as [`Self::load`] does: a process that has just started must write the same
    /// as one that goes on.
    fn look_for_last(&mut self) {
        let runs = self.runs.iter().enumerate();
        let last = runs
            .filter_map(|(slot, run)| run.as_ref().map(|run| (run.number, slot)))
            .max();
        self.open = last.map(|(_, slot)| slot);
        self.next_run = last.map_or(0, |(number, _)| number + 1);
    }

    /// The open run where so many entries fit, or a new one.
    fn run_for(&mut self, entries: usize) -> usize {
        let open = self.open.filter(|slot| {
            self.runs
                .get(*slot)
                .and_then(Option::as_ref)
                .is_some_and(|run| run.entries + entries <= RUN)
        });
        let slot = open.unwrap_or_else(|| {
            let number = self.next_run;
            self.next_run += 1;
            self.place(Run {
                number,
                entries: 0,
                until: i64::MIN,
            })
        });
        self.open = Some(slot);
        slot
    }

    /// Puts a run where there is room.
    fn place(&mut self, run: Run) -> usize {
        let slot = self
            .runs
            .iter()
            .position(Option::is_none)
            .unwrap_or(self.runs.len());
        if slot == self.runs.len() {
            self.runs.push(None);
        }
        if let Some(place) = self.runs.get_mut(slot) {
            *place = Some(run);
        }
        let (group, _) = split(slot);
        if group == self.filters.len() {
            self.filters.push(Group::default());
        }
        slot
    }
}

/// Which group of filters a run is in, and which bit of it.
fn split(slot: usize) -> (usize, u32) {
    (slot / 64, u32::try_from(slot % 64).unwrap_or(0))
}

fn join(group: usize, bit: u32) -> usize {
    group * 64 + usize::try_from(bit).unwrap_or(0)
}

/// Where a key's entries of a run are kept.
fn slot_of(run: i64, key: &Key) -> i64 {
    let [first, second, ..] = *key;
    let part = u16::from_be_bytes([first, second]) >> (16 - PART_BITS);
    (run << PART_BITS) | i64::from(part)
}

/// The entries of a run that share the key's first bits.
fn part(connection: &Connection, run: i64, key: &Key) -> rusqlite::Result<Vec<u8>> {
    Ok(connection
        .prepare_cached("SELECT entries FROM dedup WHERE slot = ?")?
        .query_row([slot_of(run, key)], |row| row.get(0))
        .optional()?
        .unwrap_or_default())
}

/// Reads entries: key, half digest, expiry.
fn entries(blob: &[u8]) -> Result<impl Iterator<Item = (&[u8], &[u8], i64)>, Damage> {
    if !blob.len().is_multiple_of(ENTRY) {
        return Err(Damage("a part of a dedup run is cut short".to_owned()));
    }
    Ok(blob.chunks_exact(ENTRY).filter_map(|entry| {
        let (key, rest) = entry.split_at_checked(16)?;
        let (digest, until) = rest.split_at_checked(16)?;
        Some((key, digest, i64::from_le_bytes(until.try_into().ok()?)))
    }))
}
