//! What look-ups have found, for those who ask the same next: one request at a time for each URL, whoever
//! asks, and its answer is used again for as long as the look-up says. Failures too, mostly for less long.

use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::future::Cache as Moka;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use super::look_up::Failure;

/// What all answers together may take, in bytes of their JSON text.
const CAPACITY: u64 = 32 << 20;
/// What an entry takes beside its answer.
const ENTRY: usize = 256;

/// What was asked for: a look-up with all that it sends, and a URL. A hash, as both hold what is private.
pub(super) type Key = [u8; 32];

/// What came of a request.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// The answer, or why there is none.
    pub(super) result: Result<Arc<Json>, Failure>,
    /// The size of the answer's text.
    pub(super) bytes: usize,
    /// How long to use it again.
    pub(super) keep: Duration,
}

/// The cache; all clones share it.
#[derive(Debug, Clone)]
pub(super) struct Cache(Moka<Key, Found>);

/// Each entry has a life of its own.
struct Keep;

impl Expiry<Key, Found> for Keep {
    fn expire_after_create(&self, _: &Key, found: &Found, _: Instant) -> Option<Duration> {
        Some(found.keep)
    }

    fn expire_after_update(
        &self,
        _: &Key,
        found: &Found,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(found.keep)
    }
}

impl Cache {
    pub(super) fn new() -> Self {
        let weigh = |_: &Key, found: &Found| {
            u32::try_from(found.bytes.saturating_add(ENTRY)).unwrap_or(u32::MAX)
        };
        Self(
            Moka::builder()
                .max_capacity(CAPACITY)
                .weigher(weigh)
                .expire_after(Keep)
                .build(),
        )
    }

    /// What is known, or what `request` gives: run once, however many ask meanwhile. And whether it was run
    /// for this one.
    ///
    /// Cancellation: another one that waits runs its own request.
    pub(super) async fn get(
        &self,
        key: Key,
        request: impl Future<Output = Found>,
    ) -> (Found, bool) {
        let entry = self.0.entry(key).or_insert_with(request).await;
        let fresh = entry.is_fresh();
        (entry.into_value(), fresh)
    }
}

/// The key of a URL, asked for by a look-up with this fingerprint.
pub(super) fn key(fingerprint: &[u8; 32], url: &str) -> Key {
    let mut hash = Sha256::new();
    hash.update(fingerprint);
    hash.update(url.as_bytes());
    hash.finalize().into()
}
