//! `hookswitch run` with one subscription and its routes, as most tests start it.

use std::time::Duration;

use hookswitch_tests::hookswitch::{Hookswitch, Workspace};
use hookswitch_tests::sender::Sender;
use hookswitch_tests::wait;
use serde_json::Value;

use crate::yaml;

const LIMIT: Duration = Duration::from_mins(1);

/// Hookswitch with routes, and who sends to it.
pub(crate) struct System {
    pub(crate) workspace: Workspace,
    pub(crate) hookswitch: Hookswitch,
    pub(crate) sender: Sender,
}

/// The files of the subscription `support` and of these routes, in `route.yaml`.
pub(crate) fn workspace(routes: &str) -> Workspace {
    let workspace = Workspace::new();
    workspace.write("subscription.yaml", &yaml::subscription(""));
    workspace.write("route.yaml", routes);
    workspace
}

impl System {
    pub(crate) async fn start(routes: &str) -> Self {
        Self::of(workspace(routes)).await
    }

    /// With a Secret besides, in `secret.yaml`.
    pub(crate) async fn with_secret(routes: &str, secret: &str) -> Self {
        let workspace = workspace(routes);
        workspace.write("secret.yaml", secret);
        Self::of(workspace).await
    }

    /// With the files of a workspace.
    pub(crate) async fn of(workspace: Workspace) -> Self {
        let hookswitch = Hookswitch::start(&workspace.config(), &workspace.data()).await;
        let sender = Sender::new(hookswitch.url("/support/support"), yaml::SIGNING_KEY);
        Self {
            workspace,
            hookswitch,
            sender,
        }
    }

    /// Kills it, and starts it again with what it has kept.
    pub(crate) async fn restart(self) -> Self {
        self.hookswitch.kill().await;
        Self::of(self.workspace).await
    }

    pub(crate) async fn send(&self, event: &Value) {
        assert_eq!(self.sender.send(event).await, Some(200));
    }

    /// How many requests of senders have ended so.
    pub(crate) async fn requests(&self, outcome: &str) -> u64 {
        let label = format!("outcome=\"{outcome}\"");
        let name = "hookswitch_requests_total";
        self.hookswitch.metric(name, &[&label]).await
    }

    /// Waits until so many have ended so.
    pub(crate) async fn ended(&self, outcome: &str, count: u64) {
        let label = format!("outcome=\"{outcome}\"");
        wait::until(format!("{count} {outcome}"), LIMIT, async || {
            let name = "hookswitch_deliveries_total";
            let ended = self.hookswitch.metric(name, &[&label]).await;
            (ended == count).then_some(())
        })
        .await;
    }

    /// Waits until an attempt has failed for this reason.
    pub(crate) async fn failed(&self, reason: &str) {
        let label = format!("reason=\"{reason}\"");
        wait::until(format!("a failure by {reason}"), LIMIT, async || {
            let name = "hookswitch_delivery_retries_total";
            (self.hookswitch.metric(name, &[&label]).await > 0).then_some(())
        })
        .await;
    }
}
