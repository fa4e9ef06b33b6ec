//! Says which of many queues has something new, without a queue of its own.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// A set of keys that want attention. All clones share it.
#[derive(Debug)]
pub struct Wake<K>(Arc<Shared<K>>);

#[derive(Debug)]
struct Shared<K> {
    keys: Mutex<HashSet<K>>,
    notify: Notify,
}

impl<K> Clone for Wake<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Eq + Hash> Default for Wake<K> {
    fn default() -> Self {
        Self(Arc::new(Shared {
            keys: Mutex::new(HashSet::new()),
            notify: Notify::new(),
        }))
    }
}

impl<K: Eq + Hash + Clone> Wake<K> {
    /// Adds keys, and wakes the one who takes them.
    pub fn add<'a>(&self, keys: impl IntoIterator<Item = &'a K>)
    where
        K: 'a,
    {
        let mut set = self.0.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let before = set.len();
        for key in keys {
            if !set.contains(key) {
                set.insert(key.clone());
            }
        }
        let grown = set.len() > before;
        drop(set);
        if grown {
            self.0.notify.notify_one();
        }
    }

    /// Waits until there are keys, and takes them all. For one taker; cancelling loses nothing.
    pub async fn take(&self) -> HashSet<K> {
        loop {
            let taken =
                std::mem::take(&mut *self.0.keys.lock().unwrap_or_else(PoisonError::into_inner));
            if !taken.is_empty() {
                return taken;
            }
            self.0.notify.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_added_before_or_during_the_wait_is_taken_once() {
        let wake = Wake::default();
        wake.add([&1, &2, &1]);
        assert_eq!(wake.take().await, HashSet::from([1, 2]));
        let taker = tokio::spawn({
            let wake = wake.clone();
            async move { wake.take().await }
        });
        wake.add([&3]);
        assert_eq!(taker.await.unwrap(), HashSet::from([3]));
    }
}
