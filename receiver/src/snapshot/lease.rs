//! The receiver's Lease: that it lives, and what it has loaded.
//!
//! The operator makes the Lease; the receiver may only write this one. It is held from the first
//! snapshot on: a receiver that serves nothing yet must not make every object look unserved.

use std::time::Duration;

use backon::BackoffBuilder as _;
use hookswitch_crds::receiver_lease::{DURATION_SECONDS, Report};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

/// Who the receiver is to the API server.
const FIELD_MANAGER: &str = "hookswitch-receiver";
/// How often the Lease is renewed: three may be lost before the receiver counts as gone.
const RENEWAL: Duration = Duration::from_secs(DURATION_SECONDS / 3);
/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long giving the Lease back may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Whose Lease it is.
#[derive(Clone)]
pub struct Options {
    /// The API server.
    pub client: Client,
    /// The receiver's namespace.
    pub namespace: String,
    /// The pod's name, which is the Lease's too.
    pub name: String,
    /// This process, told apart from earlier ones of the same name.
    pub identity: String,
    /// The time that is written for people to read; nobody judges by it.
    pub clock: Clock,
}

/// Renews the Lease, and reports what is loaded as soon as it changes, until `shutdown`; then gives
/// it back.
///
/// An API server that is away changes nothing but what the operator knows.
pub async fn hold(
    options: Options,
    mut loaded: watch::Receiver<Vec<u64>>,
    shutdown: CancellationToken,
) {
    let api: Api<Lease> = Api::namespaced(options.client.clone(), &options.namespace);
    let holder = Holder { api, options };
    let renew = async {
        if loaded.wait_for(|loaded| !loaded.is_empty()).await.is_err() {
            std::future::pending::<()>().await;
        }
        let mut waits = Waits::default();
        loop {
            let sequences = loaded.borrow_and_update().clone();
            let pause = match holder.renew(sequences).await {
                Ok(()) => {
                    waits = Waits::default();
                    RENEWAL
                }
                Err(why) => {
                    tracing::warn!(
                        lease = holder.options.name,
                        why,
                        "the Lease can't be renewed"
                    );
                    waits.next().unwrap_or(RENEWAL)
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                Ok(()) = loaded.changed() => {}
            }
        }
    };
    // A renewal that is cut off may have taken effect: the release comes after it.
    let _: Option<()> = shutdown.run_until_cancelled(renew).await;
    if !loaded.borrow().is_empty() {
        holder.release().await;
    }
}

struct Holder {
    api: Api<Lease>,
    options: Options,
}

impl Holder {
    async fn renew(&self, loaded: Vec<u64>) -> Result<(), String> {
        let patch = json!({
            "metadata": {"annotations": Report::of(loaded).annotations()},
            "spec": {
                "holderIdentity": self.options.identity,
                "leaseDurationSeconds": DURATION_SECONDS,
                "renewTime": MicroTime(self.options.clock.now()),
            },
        });
        match timeout(PATIENCE, self.patch(&patch)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the API server does not answer".to_owned()),
        }
    }

    async fn release(&self) {
        let patch = json!({"spec": {"holderIdentity": null}});
        match timeout(FAREWELL, self.patch(&patch)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the Lease could not be given back"),
            Err(_) => tracing::warn!("the Lease could not be given back in time"),
        }
    }

    async fn patch(&self, patch: &serde_json::Value) -> Result<(), kube::Error> {
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(patch);
        let patched = self.api.patch(&self.options.name, &params, &patch).await;
        patched.map(|_| ())
    }
}

/// Waits between attempts at the API server: they double, with jitter, up to ten seconds.
#[derive(Debug)]
pub(super) struct Waits(backon::ExponentialBackoff);

impl Default for Waits {
    fn default() -> Self {
        let builder = backon::ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(10))
            .with_factor(2.0)
            .with_jitter()
            .without_max_times();
        Self(builder.build())
    }
}

impl Iterator for Waits {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next()
    }
}
