//! The receivers' Leases: made here, since a receiver may only write its own, and watched.

use futures::StreamExt as _;
use hookswitch_crds::receiver_lease::LABEL;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client};
use prometheus::IntGauge;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Fleet, Receivers};
use crate::FIELD_MANAGER;
use crate::retry::{self, Category};

/// The receivers' Leases: `<name>-0` and so on, as a `StatefulSet` names its pods.
#[derive(Debug, Clone)]
pub struct Leases {
    api: Api<Lease>,
    /// What their names begin with.
    name: String,
    /// How many there may be.
    count: u32,
}

impl Leases {
    /// Those of `count` receivers in a namespace.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str, count: u32) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            count,
        }
    }

    /// Makes those that are not there.
    ///
    /// # Errors
    /// The first of the API server's, after all were tried.
    pub async fn make(&self) -> Result<(), kube::Error> {
        let mut made = Ok(());
        for index in 0..self.count {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(format!("{}-{index}", self.name)),
                    labels: Some([(LABEL.to_owned(), self.name.clone())].into()),
                    ..ObjectMeta::default()
                },
                spec: None,
            };
            let params = PostParams {
                field_manager: Some(FIELD_MANAGER.to_owned()),
                ..PostParams::default()
            };
            match self.api.create(&params, &lease).await {
                Err(error) if Category::of(&error) != Category::Conflict => {
                    made = made.and(Err(error));
                }
                Ok(_) | Err(_) => {}
            }
        }
        made
    }

    /// Follows them until `shutdown`, and tells `fleet` what changes in it: a receiver that comes,
    /// loads another snapshot, leaves or dies. `None` until all were listed. `live` counts them.
    pub async fn follow(
        self,
        fleet: watch::Sender<Option<Fleet>>,
        live: IntGauge,
        shutdown: CancellationToken,
    ) {
        let leases = watcher(self.api.clone(), watcher::Config::default());
        let mut leases = std::pin::pin!(leases.backoff(retry::watching()));
        let mut receivers = Receivers::default();
        let mut listed = Vec::new();
        let mut complete = false;
        loop {
            let now = Instant::now();
            fleet.send_if_modified(|known| {
                let found = complete.then(|| receivers.fleet(now));
                let count = found.as_ref().map_or(0, |it| it.live.len());
                live.set(i64::try_from(count).unwrap_or(i64::MAX));
                let changed = *known != found;
                *known = found;
                changed
            });
            let death = receivers.next_death(now);
            let death = async {
                match death {
                    Some(death) => sleep_until(death).await,
                    None => std::future::pending().await,
                }
            };
            let event = tokio::select! {
                () = shutdown.cancelled() => return,
                () = death => continue,
                event = leases.next() => event,
            };
            match event {
                Some(Ok(watcher::Event::Init)) => listed.clear(),
                Some(Ok(watcher::Event::InitApply(lease))) => {
                    if let Some(name) = self.receiver(&lease) {
                        receivers.observe(name, &lease, Instant::now());
                        listed.push(name.to_owned());
                    }
                }
                Some(Ok(watcher::Event::InitDone)) => {
                    receivers.retain(|name| listed.iter().any(|it| it == name));
                    complete = true;
                }
                Some(Ok(watcher::Event::Apply(lease))) => {
                    if let Some(name) = self.receiver(&lease) {
                        receivers.observe(name, &lease, Instant::now());
                    }
                }
                Some(Ok(watcher::Event::Delete(lease))) => {
                    if let Some(name) = self.receiver(&lease) {
                        receivers.forget(name);
                    }
                }
                Some(Err(error)) => tracing::warn!(%error, "watching the receivers' Leases failed"),
                None => return,
            }
        }
    }

    /// The name of a Lease, where it is a receiver's.
    fn receiver<'a>(&self, lease: &'a Lease) -> Option<&'a str> {
        let name = lease.metadata.name.as_deref()?;
        let index = name.strip_prefix(&self.name)?.strip_prefix('-')?;
        index.parse::<u32>().ok().map(|_| name)
    }
}
