//! The snapshot in a cluster: where a receiver gets what it serves.
//!
//! ```text
//! mounted Secrets ─┐
//! its own copy ────┴─ newest ─▶ Set ─ complete ─▶ Publisher ─▶ everything that works
//!                               ▲                    │
//! API server: a watch on each Secret                 ├─▶ own copy, for the next start
//!                                                    └─▶ Lease: what is loaded, for the operator
//! ```
//!
//! Invariants:
//! - It never goes back: of each shard only a newer one counts, whoever offers it.
//! - Shards are put together only where all of them say the same of how many they are; until then
//!   the last whole set is served.
//! - It serves with the API server away, and starts with it away, from the mounted Secrets or its own
//!   copy.
//! - A snapshot that can't be used changes nothing, and is not reported as loaded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::StreamExt as _;
use hookswitch_crds::snapshot::shard::{self, DATA_KEY, Shard, secret_name};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use tokio::sync::watch::Sender;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Publisher};

pub mod copy;
pub mod lease;
mod watch;

use watch::Told;

/// Where the snapshot is found.
#[derive(Clone)]
pub struct Options {
    /// The API server.
    pub client: Client,
    /// The operator's namespace, which is the receiver's own.
    pub namespace: String,
    /// How many Secrets there may be at most.
    pub shards: u32,
    /// Where they are mounted, named as in the copy.
    pub mounted: Option<PathBuf>,
    /// Where the receiver keeps its own copy.
    pub copy: Option<PathBuf>,
}

/// Why a snapshot is not served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A shard can't be read.
    #[error(transparent)]
    Shard(#[from] shard::Error),
    /// The snapshot can't be used.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The loader crashed.
    #[error("loading the snapshot failed: {0}")]
    Load(String),
}

/// Follows the snapshot until `shutdown`: publishes each new one, and tells `loaded` the sequence of
/// each of its shards.
///
/// Cancellation: what was published stays.
pub async fn follow(
    options: Options,
    publisher: Publisher,
    loaded: Sender<Vec<u64>>,
    shutdown: CancellationToken,
) {
    let mut follower = Follower {
        set: Set::default(),
        publisher: Arc::new(publisher),
        copy: options.copy.clone(),
        loaded,
    };
    follower
        .start(options.mounted.as_deref(), options.shards)
        .await;
    let follow = follower.watch(&options);
    // The copy is whole at any time.
    let _: Option<()> = shutdown.run_until_cancelled(follow).await;
}

struct Follower {
    set: Set,
    publisher: Arc<Publisher>,
    copy: Option<PathBuf>,
    loaded: Sender<Vec<u64>>,
}

impl Follower {
    /// Serves what is at hand.
    async fn start(&mut self, mounted: Option<&Path>, shards: u32) {
        let mut sources = Vec::new();
        if let Some(mounted) = mounted {
            sources.push(read("mounted Secret", mounted, shards).await);
        }
        if let Some(copy) = &self.copy {
            sources.push(read("own copy", copy, shards).await);
        }
        self.set = Set::newest(&sources);
        if let Some(shards) = self.set.whole() {
            self.publish(shards).await;
        } else {
            tracing::info!("no snapshot is at hand: waiting for the API server");
        }
    }

    /// Follows the Secrets, for ever.
    async fn watch(&mut self, options: &Options) {
        let api: Api<Secret> = Api::namespaced(options.client.clone(), &options.namespace);
        let watches = (0..options.shards).map(|index| {
            let name = secret_name(index);
            watch::follow(api.clone(), name).boxed()
        });
        let mut watches = futures::stream::select_all(watches);
        while let Some(told) = watches.next().await {
            match told {
                Told::Is(secret) => self.offer(*secret).await,
                // The operator writes it anew.
                Told::Deleted => tracing::warn!(
                    "a Secret of the snapshot was deleted: what it held is served on"
                ),
            }
        }
    }

    async fn offer(&mut self, secret: Secret) {
        // One that the operator has not written yet.
        let Some(bytes) = secret.data.and_then(|mut data| data.remove(DATA_KEY)) else {
            return;
        };
        match self.set.offer(bytes.0) {
            Ok(None) => {}
            Ok(Some(shards)) => self.publish(shards).await,
            Err(error) => tracing::error!(
                secret = secret.metadata.name,
                %error,
                "the snapshot can't be read: the one before is served"
            ),
        }
    }

    async fn publish(&mut self, shards: Vec<Shard>) {
        let sequences: Vec<u64> = shards.iter().map(|shard| shard.sequence).collect();
        let publisher = Arc::clone(&self.publisher);
        // Expressions are compiled: the work of a core, away from what must answer.
        let load = move || publisher.publish(shard::merge(shards));
        let ended = tokio::task::spawn_blocking(load).await;
        let ended = ended.map_err(|error| Error::Load(error.to_string()));
        if let Err(error) = ended.and_then(|loaded| loaded.map_err(Error::from)) {
            tracing::error!(%error, "the snapshot can't be used: the one before is served");
            return;
        }
        tracing::info!(?sequences, "the snapshot is served");
        self.loaded.send_replace(sequences);
        if let Some(directory) = &self.copy {
            for (index, kept) in &self.set.shards {
                let written = copy::write(directory, &secret_name(*index), &kept.bytes).await;
                if let Err(error) = written {
                    tracing::warn!(%error, directory = %directory.display(), "a restart would not find its own copy");
                }
            }
        }
    }
}

/// The newest of each shard that was seen.
#[derive(Clone, Default)]
struct Set {
    shards: BTreeMap<u32, Kept>,
}

/// A shard. Its entries are those that are served, so it takes little more than its bytes.
#[derive(Clone)]
struct Kept {
    shard: Shard,
    /// As it came.
    bytes: Vec<u8>,
}

impl Set {
    /// Takes a shard in. Gives all shards where it is newer than the one before, and they are whole.
    fn offer(&mut self, bytes: Vec<u8>) -> Result<Option<Vec<Shard>>, Error> {
        let mut shard = Shard::decode(&bytes)?;
        if let Some(Kept { shard: known, .. }) = self.shards.get(&shard.index) {
            let is_newer = shard.sequence > known.sequence
                || (shard.sequence == known.sequence && shard.count != known.count);
            if !is_newer {
                return Ok(None);
            }
            shard.share(known);
        }
        self.shards.insert(shard.index, Kept { shard, bytes });
        Ok(self.whole())
    }

    /// All shards, where they are whole.
    fn whole(&self) -> Option<Vec<Shard>> {
        let count = self.shards.get(&0)?.shard.count;
        let shards = (0..count).map(|index| {
            let kept = self.shards.get(&index);
            let shard = kept.map(|kept| &kept.shard);
            shard.filter(|shard| shard.count == count).cloned()
        });
        shards.collect()
    }

    /// The sequence of a whole set.
    fn sequence(&self) -> Option<u64> {
        let shards = self.whole()?;
        shards.iter().map(|shard| shard.sequence).max()
    }

    /// The newest of all sources: shard by shard where that makes a whole set, else the source that
    /// is whole and newest.
    fn newest(sources: &[Self]) -> Self {
        let mut mixed = Self::default();
        for (index, kept) in sources.iter().flat_map(|source| &source.shards) {
            let known = mixed.shards.get(index);
            if known.is_none_or(|known| kept.shard.sequence > known.shard.sequence) {
                mixed.shards.insert(*index, kept.clone());
            }
        }
        let whole = sources.iter().chain([&mixed]);
        let newest = whole
            .filter(|set| set.sequence().is_some())
            .max_by_key(|set| set.sequence());
        newest.cloned().unwrap_or(mixed)
    }
}

/// Reads the shards that files hold.
async fn read(what: &str, directory: &Path, shards: u32) -> Set {
    let mut set = Set::default();
    for index in 0..shards {
        let path = copy::file(directory, &secret_name(index));
        match tokio::fs::read(&path).await {
            Ok(bytes) => {
                if let Err(error) = set.offer(bytes) {
                    tracing::warn!(path = %path.display(), %error, "the {what} can't be used");
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the {what} can't be read");
            }
        }
    }
    set
}

#[cfg(test)]
mod tests;
