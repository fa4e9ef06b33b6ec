//! `hookswitch run` with one subscription, a Secret and a route, as tests of destinations start it.

use std::time::Duration;

use hookswitch_tests::hookswitch::{Hookswitch, Workspace};
use hookswitch_tests::sender::Sender;
use hookswitch_tests::wait;
use serde_json::Value;

use crate::yaml;

const LIMIT: Duration = Duration::from_mins(1);

/// Hookswitch with a route.
pub(crate) struct System {
    pub(crate) workspace: Workspace,
    pub(crate) hookswitch: Hookswitch,
    sender: Sender,
}

impl System {
    pub(crate) async fn start(route: &str, secret: &str) -> Self {
        let workspace = Workspace::new();
        workspace.write("subscription.yaml", &yaml::subscription(""));
        workspace.write("secret.yaml", secret);
        workspace.write("route.yaml", route);
        let hookswitch = Hookswitch::start(&workspace.config(), &workspace.data()).await;
        let sender = Sender::new(hookswitch.url("/support/support"), yaml::SIGNING_KEY);
        Self {
            workspace,
            hookswitch,
            sender,
        }
    }

    pub(crate) async fn send(&self, event: &Value) {
        assert_eq!(self.sender.send(event).await, Some(200));
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
