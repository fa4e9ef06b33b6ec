//! Receivers' stores on one NATS server, and what their files hold.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hookswitch_receiver::metrics::Metrics;
use hookswitch_receiver::plan::Lane;
use hookswitch_receiver::store::embedded::FILE;
use hookswitch_receiver::store::jetstream::{JetStream, Options, Settings};
use hookswitch_receiver::store::{Error, Store as _};
use hookswitch_receiver::wake::Wake;
use hookswitch_tests::servers::nats::Nats;
use hookswitch_tests::wait;
use tempfile::TempDir;

/// How long anything may take here.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Settings for tests: others take over soon.
pub(crate) fn settings(nats: &Nats, prefix: &str) -> Settings {
    Settings {
        prefix: prefix.to_owned(),
        takeover: Duration::from_secs(1),
        ..Settings::new(vec![nats.url()])
    }
}

fn options(settings: &Settings, dir: &Path) -> Options {
    Options {
        dir: dir.to_owned(),
        metrics: Metrics::new().unwrap(),
        settings: settings.clone(),
        accepted: Wake::default(),
        lanes: Wake::default(),
        moved: Arc::default(),
    }
}

/// A receiver's store, in a directory that goes with it.
pub(crate) struct Replica {
    store: Option<JetStream>,
    pub(crate) dir: TempDir,
    settings: Settings,
    pub(crate) lanes: Wake<Lane>,
}

impl Replica {
    /// One with an empty directory.
    pub(crate) async fn start(settings: &Settings) -> Self {
        let dir = TempDir::with_prefix("hookswitch-replica-").unwrap();
        Self::start_in(settings, dir).await.unwrap()
    }

    /// One that goes on in a directory.
    pub(crate) async fn start_in(settings: &Settings, dir: TempDir) -> Result<Self, Error> {
        let mut this = Self {
            store: None,
            dir,
            settings: settings.clone(),
            lanes: Wake::default(),
        };
        this.open().await?;
        Ok(this)
    }

    /// Opens the store, which is closed.
    pub(crate) async fn open(&mut self) -> Result<(), Error> {
        let options = Options {
            lanes: self.lanes.clone(),
            ..options(&self.settings, self.dir.path())
        };
        self.store = Some(Box::pin(JetStream::open(options)).await?);
        Ok(())
    }

    /// Opens a store in a directory that is not its own.
    pub(crate) async fn try_open(settings: &Settings, dir: &Path) -> Result<JetStream, Error> {
        Box::pin(JetStream::open(options(settings, dir))).await
    }

    pub(crate) fn store(&self) -> &JetStream {
        self.store.as_ref().unwrap()
    }

    /// Ends it in order.
    pub(crate) async fn close(&mut self) {
        self.store.take().unwrap().close().await.unwrap();
    }

    /// Ends it as SIGKILL does: it says nothing more, and its directory is as it was at that moment.
    pub(crate) async fn kill(&mut self) {
        self.kill_with(&[]).await;
    }

    /// The same, where it has left files beside the usual ones.
    pub(crate) async fn kill_with(&mut self, more: &[&str]) {
        let left = TempDir::with_prefix("hookswitch-replica-").unwrap();
        for file in [
            FILE.to_owned(),
            format!("{FILE}-wal"),
            "planning".to_owned(),
            "member".to_owned(),
        ]
        .into_iter()
        .chain(more.iter().map(|file| (*file).to_owned()))
        {
            let from = self.dir.path().join(&file);
            if from.exists() {
                std::fs::copy(from, left.path().join(&file)).unwrap();
            }
        }
        self.store = None;
        // What is dropped ends when the runtime comes round to it.
        tokio::task::yield_now().await;
        self.dir = left;
    }

    /// Loses its disk; the store must be closed or killed.
    pub(crate) fn wipe(&mut self) {
        self.dir = TempDir::with_prefix("hookswitch-replica-").unwrap();
    }

    /// Waits until so many receivers share the work.
    pub(crate) async fn members(&self, count: usize) {
        wait::until("the members", SOON, async || {
            (self.store().members() == count).then_some(())
        })
        .await;
    }
}

/// Waits until all have applied the same.
pub(crate) async fn level(replicas: &[&Replica]) {
    wait::until("the replicas to be level", SOON, async || {
        let applied = replicas.iter().map(|replica| replica.store().applied());
        let (least, most) = (applied.clone().min(), applied.max());
        (least == most).then_some(())
    })
    .await;
}

/// Every row of every table, by table.
pub(crate) fn dump(dir: &Path) -> BTreeMap<String, Vec<String>> {
    let file = rusqlite::Connection::open(dir.join(FILE)).unwrap();
    let mut names = file
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        .unwrap();
    let names: Vec<String> = names
        .query_map((), |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let rows = |table: &str| {
        let mut all = file.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = all.column_count();
        let rows = all.query_map((), |row| {
            let values = (0..columns).map(|column| row.get::<_, rusqlite::types::Value>(column));
            Ok(format!("{:?}", values.collect::<Result<Vec<_>, _>>()?))
        });
        let mut rows: Vec<String> = rows.unwrap().collect::<Result<_, _>>().unwrap();
        rows.sort();
        rows
    };
    names
        .into_iter()
        .map(|name| (name.clone(), rows(&name)))
        .collect()
}

/// Both files hold the same, row by row.
pub(crate) fn assert_same(one: &Path, other: &Path) {
    let (one, other) = (dump(one), dump(other));
    assert!(one.keys().eq(other.keys()));
    for (table, rows) in &one {
        let others = &other[table];
        if rows != others {
            let differs = rows.iter().zip(others).find(|(a, b)| a != b);
            panic!(
                "{table}: {} and {} rows; {differs:#?}",
                rows.len(),
                others.len()
            );
        }
    }
}
