//! Wakes up when a file may have changed.
//!
//! ```text
//! notify (inotify, FSEvents, ...) ─┐
//!                                  ├─ quiet for a moment ─ changed() returns
//! a look at sizes and times ───────┘
//! ```
//!
//! Editors write a file in several steps, and `kubectl`'s mounted volumes swap a symbolic link: one
//! edit is many events, and reading in between would see half of it. So it waits until nothing has
//! happened for [`QUIET`], but never longer than [`PATIENCE`].
//!
//! Some file systems (network mounts, directories shared with a virtual machine) report nothing; for
//! those, sizes and times are looked at every [`LOOK`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use crate::files::find::Fingerprint;

/// How long nothing must happen before an edit counts as done.
const QUIET: Duration = Duration::from_millis(100);
/// How long an edit may take before it is looked at all the same.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often sizes and times are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Watches directories.
pub(crate) struct Watch {
    watcher: RecommendedWatcher,
    directories: BTreeSet<PathBuf>,
    happened: Arc<Notify>,
}

impl Watch {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// Where the system has no watch to give (on Linux, see `fs.inotify.max_user_instances`).
    pub(crate) fn new() -> notify::Result<Self> {
        let happened = Arc::new(Notify::new());
        let waker = Arc::clone(&happened);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // An error may hide an event: look as well.
            if event.map_or(true, |event| matters(event.kind)) {
                waker.notify_one();
            }
        })?;
        Ok(Self {
            watcher,
            directories: BTreeSet::new(),
            happened,
        })
    }

    /// Watches these directories from now on, and no others. A directory that was replaced by
    /// another of the same name is watched anew. True where one is watched that was not before: what
    /// changed in it until now went unseen.
    pub(crate) fn follow(&mut self, directories: &[PathBuf]) -> bool {
        let wanted: BTreeSet<PathBuf> = directories.iter().cloned().collect();
        for gone in self.directories.difference(&wanted) {
            // Its watch went with it.
            let _gone_already = self.watcher.unwatch(gone);
        }
        let mut fresh = false;
        let mut watched = BTreeSet::new();
        for directory in wanted {
            match self.watcher.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    fresh |= !self.directories.contains(&directory);
                    watched.insert(directory);
                }
                // That a directory is gone is told where its files are looked for.
                Err(error) if directory.exists() => report(&directory, &error),
                Err(_) => {}
            }
        }
        self.directories = watched;
        fresh
    }

    /// Waits until something has happened and is over, or until `look` gives another answer than
    /// before.
    ///
    /// Dropping it loses no change: the next call returns for it.
    pub(crate) async fn changed(&self, look: impl Fn() -> Fingerprint) {
        let before = look();
        while timeout(LOOK, self.happened.notified()).await.is_err() {
            if look() != before {
                return;
            }
        }
        let end = Instant::now() + PATIENCE;
        loop {
            let quiet = end.min(Instant::now() + QUIET);
            if timeout_at(quiet, self.happened.notified()).await.is_err() {
                return;
            }
        }
    }
}

/// Reading is no change, or reading the files would never end.
const fn matters(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

fn report(directory: &Path, error: &notify::Error) {
    tracing::warn!(
        directory = %directory.display(),
        %error,
        "can't watch this directory: edits in it are seen within {} s",
        LOOK.as_secs()
    );
}
