//! Random operations on the embedded engine.

use std::path::Path;

use hookswitch_receiver::store::Store;
use hookswitch_receiver::store::archive::Archive;
use hookswitch_receiver::store::embedded::{Embedded, FILE};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::random::{Engine, Run, step};
use crate::support;

struct Dir {
    store: Option<Embedded>,
    dir: TempDir,
}

impl Dir {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            store: Some(support::open(dir.path())),
            dir,
        }
    }
}

impl Engine for Dir {
    fn store(&self) -> &dyn Archive {
        self.store.as_ref().unwrap()
    }

    async fn restart(&mut self, crash: bool) {
        if crash {
            // What the files hold at this moment is what a killed process leaves behind.
            let left = tempfile::tempdir().unwrap();
            copy(self.dir.path(), left.path());
            self.store = None;
            self.dir = left;
        } else if let Some(store) = self.store.take() {
            store.close().await.unwrap();
        }
        self.store = Some(support::open(self.dir.path()));
    }
}

/// Copies a data directory, but for what a crash loses.
pub(crate) fn copy(from: &Path, to: &Path) {
    for file in [
        FILE.to_owned(),
        format!("{FILE}-wal"),
        "planning".to_owned(),
    ] {
        if from.join(&file).exists() {
            std::fs::copy(from.join(&file), to.join(&file)).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn r14_random_operations_with_crashes_leave_what_the_model_says(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut run = Run::new(Dir::new());
            for step in steps {
                run.step(step).await;
            }
        });
    }
}
