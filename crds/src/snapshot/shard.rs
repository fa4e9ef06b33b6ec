//! The snapshot as it is kept in a cluster: shards, each the whole content of one Secret.
//!
//! ```text
//! Snapshot ─ split ─┬─ View 0 ─ encode ─▶ Secret hookswitch-snapshot-0 ─ decode ─ Shard 0 ─┬─ merge ─▶ Snapshot
//!                   └─ View 1 ─ encode ─▶ Secret hookswitch-snapshot-1 ─ decode ─ Shard 1 ─┘
//! ```
//!
//! The bytes are JSON, compressed by Zstandard (RFC 8878), under one key: a mounted Secret is then
//! read in one piece. A person reads it with `base64 -d | zstd -d | jq`.
//!
//! Invariants:
//! - A subscription is in one shard, which its name alone decides. A route is in the shard of each
//!   of its subscriptions, and one without any is in the shard of its own name: each shard can be
//!   served without the others.
//! - Equal content gives equal bytes.
//! - A shard's `sequence` is the snapshot's when the shard was last written: no entry's `since` is
//!   greater. A route that several shards hold is the one of the newest.
//! - Every shard says how many there are. Shards of different counts are never put together.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{FORMAT, Route, Snapshot, Subscription};
use crate::key::ObjectKey;

/// The formats that this build reads: its own, and the one before.
pub const FORMATS: RangeInclusive<u32> = 1..=FORMAT;
/// The type of the Secrets.
pub const SECRET_TYPE: &str = "hookswitch.dev/snapshot";
/// What the Secrets' names begin with. Objects can't refer to any Secret that is named so.
pub const SECRET_PREFIX: &str = "hookswitch-snapshot";
/// The key of their data.
pub const DATA_KEY: &str = "snapshot.json.zst";
/// The most bytes of an encoded shard; Kubernetes allows 1 MiB in a Secret.
/// <https://kubernetes.io/docs/concepts/configuration/secret/#restriction-data-size>
pub const MAX_BYTES: usize = 1_000_000;
/// The most bytes of a decoded one: more than Zstandard makes of [`MAX_BYTES`] of real objects.
const MAX_DECODED_BYTES: u64 = 256 << 20;
/// Of Zstandard's levels the default: a higher one takes far longer and saves little.
const LEVEL: i32 = 3;

/// The name of a shard's Secret.
#[must_use]
pub fn secret_name(index: u32) -> String {
    format!("{SECRET_PREFIX}-{index}")
}

/// Why a shard can't be encoded or decoded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another version wrote it.
    #[error(
        "the snapshot has format {found}, and this program reads {} to {}: run the same version of the operator and the receivers",
        FORMATS.start(),
        FORMATS.end()
    )]
    Format {
        /// Its format.
        found: u32,
    },
    /// It is not what an operator wrote.
    #[error("the snapshot is damaged: {0}")]
    Damaged(String),
    /// It can't be written at all.
    #[error("the snapshot can't be written: {0}")]
    Unwritable(String),
}

/// A shard, as it was read.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shard {
    /// The format that it was written in; one of [`FORMATS`].
    pub format: u32,
    /// The snapshot's sequence when it was written.
    pub sequence: u64,
    /// Which one it is.
    #[serde(rename = "shard")]
    pub index: u32,
    /// How many there are.
    #[serde(rename = "shards")]
    pub count: u32,
    /// Sorted by key.
    pub subscriptions: Vec<Arc<Subscription>>,
    /// Sorted by key.
    pub routes: Vec<Arc<Route>>,
}

/// A shard of a snapshot, to be written.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View<'a> {
    /// The format to write.
    pub format: u32,
    /// The snapshot's sequence.
    pub sequence: u64,
    /// Which one it is.
    #[serde(rename = "shard")]
    pub index: u32,
    /// How many there are.
    #[serde(rename = "shards")]
    pub count: u32,
    /// Sorted by key.
    pub subscriptions: Vec<&'a Arc<Subscription>>,
    /// Sorted by key.
    pub routes: Vec<&'a Arc<Route>>,
}

impl Shard {
    /// Reads a shard. Fields that this build doesn't know are passed over.
    ///
    /// # Errors
    /// [`Error::Format`] where another version wrote it, else [`Error::Damaged`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let json = decompress(bytes)?;
        let shard: Self =
            serde_json::from_slice(&json).map_err(|error| misread(&json, &error.to_string()))?;
        if !FORMATS.contains(&shard.format) {
            return Err(Error::Format {
                found: shard.format,
            });
        }
        if shard.index >= shard.count {
            return Err(Error::Damaged(format!(
                "it says that it is shard {} of {}",
                shard.index, shard.count
            )));
        }
        Ok(shard)
    }

    /// Takes the entries that are the same from an earlier version of the shard.
    pub fn share(&mut self, earlier: &Self) {
        share(
            &mut self.subscriptions,
            &earlier.subscriptions,
            |it: &Subscription| &it.origin.key,
        );
        share(&mut self.routes, &earlier.routes, |it: &Route| {
            &it.origin.key
        });
    }
}

impl View<'_> {
    /// Writes the shard. The bytes may be more than [`MAX_BYTES`]: that is the caller's to judge.
    ///
    /// # Errors
    /// [`Error::Unwritable`]; not for any snapshot that was compiled.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let unwritable = |why: String| Error::Unwritable(why);
        let json = serde_json::to_vec(self).map_err(|error| unwritable(error.to_string()))?;
        zstd::bulk::compress(&Zeroizing::new(json), LEVEL)
            .map_err(|error| unwritable(error.to_string()))
    }
}

/// Replaces each entry by the earlier one where they are the same; both are sorted.
fn share<T: PartialEq>(entries: &mut [Arc<T>], earlier: &[Arc<T>], key: impl Fn(&T) -> &ObjectKey) {
    for entry in entries {
        let found = earlier.binary_search_by(|it| key(it).cmp(key(entry)));
        if let Some(before) = found.ok().and_then(|index| earlier.get(index))
            && **before == **entry
        {
            *entry = Arc::clone(before);
        }
    }
}

/// The shard of a name: the same in every version and on every machine.
#[must_use]
pub fn shard_of(key: &ObjectKey, count: u32) -> u32 {
    let hash = Sha256::digest(key.to_string());
    let head = hash.first_chunk().copied().unwrap_or_default();
    let index = u64::from_be_bytes(head) % u64::from(count.max(1));
    u32::try_from(index).unwrap_or_default()
}

/// The shards that a route is in.
#[must_use]
pub fn shards_of_route(route: &Route, count: u32) -> BTreeSet<u32> {
    if route.subscriptions.is_empty() {
        return BTreeSet::from([shard_of(&route.origin.key, count)]);
    }
    let subscriptions = route.subscriptions.iter();
    subscriptions.map(|key| shard_of(key, count)).collect()
}

/// Parts a snapshot into `count` shards, at least one.
#[must_use]
pub fn split(snapshot: &Snapshot, count: u32) -> Vec<View<'_>> {
    let count = count.max(1);
    let view = |index| View {
        format: snapshot.format,
        sequence: snapshot.sequence,
        index,
        count,
        subscriptions: Vec::new(),
        routes: Vec::new(),
    };
    let mut views: BTreeMap<u32, View<'_>> = (0..count).map(|index| (index, view(index))).collect();
    for subscription in &snapshot.subscriptions {
        if let Some(view) = views.get_mut(&shard_of(&subscription.origin.key, count)) {
            view.subscriptions.push(subscription);
        }
    }
    for route in &snapshot.routes {
        for index in shards_of_route(route, count) {
            if let Some(view) = views.get_mut(&index) {
                view.routes.push(route);
            }
        }
    }
    views.into_values().collect()
}

/// Puts shards together again. An entry that several hold is that of the newest one.
#[must_use]
pub fn merge(shards: impl IntoIterator<Item = Shard>) -> Snapshot {
    let mut shards: Vec<Shard> = shards.into_iter().collect();
    shards.sort_by_key(|shard| shard.sequence);
    let mut merged = Snapshot::empty();
    let mut subscriptions = BTreeMap::new();
    let mut routes = BTreeMap::new();
    for shard in shards {
        merged.format = shard.format;
        merged.sequence = shard.sequence;
        let entries = shard.subscriptions.into_iter();
        subscriptions.extend(entries.map(|it| (it.origin.key.clone(), it)));
        let entries = shard.routes.into_iter();
        routes.extend(entries.map(|it| (it.origin.key.clone(), it)));
    }
    merged.subscriptions = subscriptions.into_values().collect();
    merged.routes = routes.into_values().collect();
    merged
}

fn decompress(bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let damaged = |error: std::io::Error| Error::Damaged(error.to_string());
    let decoder = zstd::stream::read::Decoder::new(bytes).map_err(damaged)?;
    let mut json = Zeroizing::new(Vec::new());
    let read = decoder
        .take(MAX_DECODED_BYTES)
        .read_to_end(&mut json)
        .map_err(damaged)?;
    if u64::try_from(read).unwrap_or(u64::MAX) >= MAX_DECODED_BYTES {
        return Err(Error::Damaged(format!(
            "it is over {MAX_DECODED_BYTES} bytes long"
        )));
    }
    Ok(json)
}

/// Why JSON is no shard: another format, or damage. `error` does not quote what it was read from,
/// which holds secrets.
fn misread(json: &[u8], error: &str) -> Error {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    match serde_json::from_slice::<Head>(json) {
        Ok(Head { format }) if !FORMATS.contains(&format) => Error::Format { found: format },
        _ => {
            let place = error
                .rsplit_once(" at line ")
                .map_or("", |(_, place)| place);
            Error::Damaged(format!("it can't be read at line {place}"))
        }
    }
}

#[cfg(test)]
mod tests;
