//! The snapshot in its Secrets: what they hold, and what must be written.
//!
//! ```text
//! Secrets ─ read ─▶ Stored ─┐
//!                           ├─ plan (pure) ─▶ Plan ─ write, each under its resourceVersion ─▶ Stored
//! compile ─▶ Snapshot ──────┘
//! ```
//!
//! The Secrets are the truth, over restarts and between operators: what is compiled builds on what
//! they hold, and a write that finds them changed fails with a conflict and is planned anew.
//!
//! Invariants:
//! - `sequence` only grows. A Secret that was deleted or can't be read any more leaves its annotation,
//!   or the receivers' Leases, to go on from.
//! - A shard is written only where an entry of it changed, so that a change costs one write.
//! - A shard that grew beyond what a Secret can hold keeps its content, and the other shards go on.
//! - When the number of shards changes, shard 0 is written last: it says how many there are, and
//!   until then the old ones count.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::snapshot::shard::{self, MAX_BYTES, Shard, View};
use hookswitch_crds::snapshot::{Origin, Route, Snapshot, Subscription};

pub mod secrets;

/// What the Secrets hold.
#[derive(Debug)]
pub struct Stored {
    /// What receivers serve, put together; its sequence is the greatest that was ever used.
    pub snapshot: Snapshot,
    /// The Secrets that exist.
    shards: BTreeMap<u32, StoredShard>,
    /// True where receivers loaded, or a damaged Secret held, a later sequence than the Secrets have
    /// now, as after a restore: all is written anew, or receivers would not go back to it.
    behind: bool,
}

/// A Secret.
#[derive(Debug, Clone)]
struct StoredShard {
    /// Its `resourceVersion`.
    version: String,
    /// What it holds; `None` where that is nothing, or can't be read.
    content: Option<Arc<Content>>,
}

/// A shard, as far as later writes need it.
#[derive(Debug, Clone)]
struct Content {
    format: u32,
    count: u32,
    sequence: u64,
    /// Sorted by key; these entries are the snapshot's own.
    subscriptions: Vec<Arc<Subscription>>,
    /// Sorted by key.
    routes: Vec<Arc<Route>>,
}

/// How a snapshot is to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Layout {
    /// How many shards.
    pub count: u32,
    /// The format to write.
    pub format: u32,
}

/// What to write.
#[derive(Debug)]
pub struct Plan {
    /// In order.
    writes: Vec<Write>,
    /// Secrets to delete afterwards.
    surplus: Vec<u32>,
    /// What receivers serve once it is done.
    snapshot: Snapshot,
    /// What became of each entry.
    pub placed: Placements,
    /// The size of each shard that is written, in bytes.
    pub sizes: Vec<(u32, usize)>,
}

/// A Secret to write.
struct Write {
    index: u32,
    bytes: Vec<u8>,
    content: Arc<Content>,
}

impl fmt::Debug for Write {
    /// Without the bytes, which hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            index,
            bytes: _,
            content,
        } = self;
        let mut debug = f.debug_struct("Write");
        debug.field("index", index).field("content", content);
        debug.finish_non_exhaustive()
    }
}

/// Where the entries of a snapshot are kept.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Placements {
    /// In which shards.
    pub layout: Layout,
    /// Every subscription that was compiled.
    pub subscriptions: BTreeMap<ObjectKey, Placed>,
    /// Every route that was.
    pub routes: BTreeMap<ObjectKey, Placed>,
}

/// Where an entry is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The shards that it is in.
    pub shards: Vec<u32>,
    /// The sequence that last changed what it resolves to.
    pub since: u64,
    /// `Some` where it found no room.
    pub full: Option<Full>,
}

/// An entry found no room in its shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// The generation that is served instead, if there is one.
    pub serving: Option<i64>,
}

/// Why nothing can be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Not even what was served before fits.
    #[error(
        "shard {index} of {count} would have {bytes} bytes, and a Secret holds {MAX_BYTES}: use more shards"
    )]
    TooLarge {
        /// The shard.
        index: u32,
        /// How many shards there would be.
        count: u32,
        /// Its size.
        bytes: usize,
    },
    /// It can't be encoded.
    #[error(transparent)]
    Encode(#[from] shard::Error),
}

impl Stored {
    /// What was read: the Secrets that exist, each with what it holds. `floor` is the greatest
    /// sequence that anyone remembers.
    fn new(secrets: Vec<(u32, String, Option<Shard>)>, floor: u64) -> Self {
        let mut shards = BTreeMap::new();
        let mut contents = Vec::new();
        for (index, version, shard) in secrets {
            let content = shard.as_ref().map(|shard| {
                Arc::new(Content {
                    format: shard.format,
                    count: shard.count,
                    sequence: shard.sequence,
                    subscriptions: shard.subscriptions.clone(),
                    routes: shard.routes.clone(),
                })
            });
            shards.insert(index, StoredShard { version, content });
            contents.extend(shard);
        }
        // Shards of another count may be left by a change that was cut short. They hold last good
        // specs, and what is not asked for any more does no harm.
        let mut snapshot = shard::merge(contents);
        let behind = snapshot.sequence < floor;
        snapshot.sequence = snapshot.sequence.max(floor);
        Self {
            snapshot,
            shards,
            behind,
        }
    }

    fn content(&self, index: u32) -> Option<&Arc<Content>> {
        self.shards.get(&index)?.content.as_ref()
    }
}

/// Decides what to write, so that receivers serve `compiled` after `stored`.
///
/// # Errors
/// Where the number of shards changes, and not even what was served before fits in them.
pub fn plan(stored: &Stored, mut compiled: Snapshot, layout: Layout) -> Result<Plan, PlanError> {
    let Layout { count, format } = layout;
    compiled.format = format;
    let mut views = shard::split(&compiled, count);
    let kept = |view: &View<'_>| {
        let content = stored.content(view.index);
        let content = content.filter(|it| it.count == count && it.format == format);
        let content = content.filter(|_| !stored.behind);
        content.filter(|it| it.holds(view))
    };
    let changed = views.iter().any(|view| kept(view).is_none());
    let sequence = if changed {
        compiled.sequence.max(stored.snapshot.sequence + 1)
    } else {
        stored.snapshot.sequence
    };
    let previous = Snapshot {
        format,
        sequence,
        ..stored.snapshot.clone()
    };

    let mut plan = Planned::default();
    for view in &mut views {
        let index = view.index;
        view.sequence = sequence;
        if let Some(content) = kept(view) {
            plan.contents.insert(index, Arc::clone(content));
            continue;
        }
        let bytes = view.encode()?;
        let wanted = bytes.len();
        plan.sizes.push((index, wanted));
        if wanted <= MAX_BYTES {
            plan.write(view, bytes);
            continue;
        }
        plan.full.insert(index);
        if let Some(content) = stored.content(index).filter(|it| it.count == count) {
            plan.contents.insert(index, Arc::clone(content));
            continue;
        }
        // Nothing valid stands there yet: what was served before, if that fits.
        let old = shard::split(&previous, count);
        let Some(view) = old.iter().find(|it| it.index == index) else {
            continue;
        };
        let bytes = view.encode()?;
        if bytes.len() > MAX_BYTES {
            return Err(PlanError::TooLarge {
                index,
                count,
                bytes: wanted,
            });
        }
        plan.write(view, bytes);
    }
    let Planned {
        mut writes,
        contents,
        full,
        sizes,
    } = plan;
    writes.reverse();
    let placed = place(&compiled, layout, &contents, &full);
    compiled.sequence = sequence;
    let snapshot = if full.is_empty() {
        compiled
    } else {
        served(compiled, &previous, &contents, &full, count)
    };
    Ok(Plan {
        writes,
        surplus: stored
            .shards
            .keys()
            .copied()
            .filter(|it| *it >= count)
            .collect(),
        snapshot,
        placed,
        sizes,
    })
}

#[derive(Debug, Default)]
struct Planned {
    writes: Vec<Write>,
    /// What each shard holds in the end.
    contents: BTreeMap<u32, Arc<Content>>,
    /// Those whose new content does not fit.
    full: BTreeSet<u32>,
    sizes: Vec<(u32, usize)>,
}

impl Planned {
    fn write(&mut self, view: &View<'_>, bytes: Vec<u8>) {
        let content = Arc::new(Content::of(view));
        self.contents.insert(view.index, Arc::clone(&content));
        self.writes.push(Write {
            index: view.index,
            bytes,
            content,
        });
    }
}

impl Content {
    fn of(view: &View<'_>) -> Self {
        let View {
            format,
            sequence,
            index: _,
            count,
            subscriptions,
            routes,
        } = view;
        Self {
            format: *format,
            count: *count,
            sequence: *sequence,
            subscriptions: subscriptions.iter().map(|it| Arc::clone(it)).collect(),
            routes: routes.iter().map(|it| Arc::clone(it)).collect(),
        }
    }

    /// Whether it is what a view would write.
    fn holds(&self, view: &View<'_>) -> bool {
        same(&self.subscriptions, &view.subscriptions, |it| &it.origin)
            && same(&self.routes, &view.routes, |it| &it.origin)
    }

    fn subscription(&self, key: &ObjectKey) -> Option<&Origin> {
        find(&self.subscriptions, key, |it| &it.origin)
    }

    fn route(&self, key: &ObjectKey) -> Option<&Origin> {
        find(&self.routes, key, |it| &it.origin)
    }
}

/// How an entry of a kind is found in a shard.
type Find = for<'a> fn(&'a Content, &ObjectKey) -> Option<&'a Origin>;

/// Whether entries are the same.
fn same<T>(some: &[Arc<T>], others: &[&Arc<T>], origin: impl Fn(&T) -> &Origin) -> bool {
    let mut pairs = some.iter().zip(others);
    some.len() == others.len()
        && pairs.all(|(one, other)| Arc::ptr_eq(one, other) || is_same(origin(one), origin(other)))
}

/// Whether two entries are the same content: `since` moves with all that an entry resolves to, and the generation
/// with its spec.
fn is_same(one: &Origin, other: &Origin) -> bool {
    let Origin {
        key,
        uid,
        generation,
        since,
        spec: _,
    } = one;
    *key == other.key
        && *uid == other.uid
        && *generation == other.generation
        && *since == other.since
}

fn find<'a, T>(
    entries: &'a [Arc<T>],
    key: &ObjectKey,
    origin: impl Fn(&'a T) -> &'a Origin,
) -> Option<&'a Origin> {
    let found = entries.binary_search_by(|it| origin(it).key.cmp(key));
    entries.get(found.ok()?).map(|it| origin(it))
}

impl Plan {
    /// True where there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.surplus.is_empty()
    }
}

/// Tells of each compiled entry where it is kept, and whether it is.
fn place(
    compiled: &Snapshot,
    layout: Layout,
    contents: &BTreeMap<u32, Arc<Content>>,
    full: &BTreeSet<u32>,
) -> Placements {
    let placed = |origin: &Origin, shards: Vec<u32>, find: Find| {
        let full = shards.iter().filter(|it| full.contains(it));
        let mut full = full.filter_map(|shard| {
            let found = find(contents.get(shard)?, &origin.key);
            let stands = found.is_some_and(|found| is_same(found, origin));
            (!stands).then(|| Full {
                serving: found.map(|it| it.generation),
            })
        });
        let full = full.next();
        let placed = Placed {
            since: origin.since,
            full,
            shards,
        };
        (origin.key.clone(), placed)
    };
    let subscriptions = compiled.subscriptions.iter().map(|it| {
        let shard = shard::shard_of(&it.origin.key, layout.count);
        placed(&it.origin, vec![shard], Content::subscription)
    });
    let routes = compiled.routes.iter().map(|it| {
        let shards = shard::shards_of_route(it, layout.count);
        placed(&it.origin, shards.into_iter().collect(), Content::route)
    });
    Placements {
        layout,
        subscriptions: subscriptions.collect(),
        routes: routes.collect(),
    }
}

/// What receivers serve where some shards keep their old content.
fn served(
    compiled: Snapshot,
    previous: &Snapshot,
    contents: &BTreeMap<u32, Arc<Content>>,
    full: &BTreeSet<u32>,
    count: u32,
) -> Snapshot {
    let kept = contents.iter().filter(|(index, _)| full.contains(index));
    let is_kept = |origin: &Origin, find: Find| {
        let mut kept = kept.clone();
        kept.any(|(_, content)| find(content, &origin.key).is_some())
    };
    let mut snapshot = Snapshot {
        format: compiled.format,
        sequence: contents
            .values()
            .map(|it| it.sequence)
            .max()
            .unwrap_or_default(),
        ..Snapshot::empty()
    };
    let old = previous.subscriptions.iter();
    let old = old
        .filter(|it| is_kept(&it.origin, Content::subscription))
        .cloned();
    let new = compiled.subscriptions.into_iter();
    let new = new.filter(|it| !full.contains(&shard::shard_of(&it.origin.key, count)));
    snapshot.subscriptions = by_key(old.chain(new), |it| &it.origin);
    let old = previous.routes.iter();
    let old = old
        .filter(|it| is_kept(&it.origin, Content::route))
        .cloned();
    let new = compiled.routes.into_iter();
    let new = new.filter(|it| !shard::shards_of_route(it, count).is_subset(full));
    snapshot.routes = by_key(old.chain(new), |it| &it.origin);
    snapshot
}

/// Sorted by key; of two entries with one key the later one.
fn by_key<T>(entries: impl Iterator<Item = Arc<T>>, origin: impl Fn(&T) -> &Origin) -> Vec<Arc<T>> {
    let entries = entries.map(|entry| (origin(&entry).key.clone(), entry));
    let entries: BTreeMap<ObjectKey, Arc<T>> = entries.collect();
    entries.into_values().collect()
}

#[cfg(test)]
mod tests;
