//! The operator and the receivers on a real Kubernetes API server, installed by the chart.

#[path = "operator/cost.rs"]
mod cost;
#[path = "operator/faults.rs"]
mod faults;
#[path = "operator/lifecycle.rs"]
mod lifecycle;
#[path = "operator/platform.rs"]
mod platform;
#[path = "operator/programmed.rs"]
mod programmed;
#[path = "operator/receivers.rs"]
mod receivers;
#[path = "operator/restarts.rs"]
mod restarts;
#[path = "operator/shared.rs"]
mod shared;
#[path = "operator/writers.rs"]
mod writers;

use hookswitch_tests::destination::Destination;
use hookswitch_tests::installation::Installation;

/// The signing key of [`SUBSCRIPTION`].
const KEY: &str = "the-signing-key";

/// A subscription and its Secret.
const SUBSCRIPTION: &str = "
apiVersion: hookswitch.dev/v1alpha1
kind: WebhookSubscription
metadata: {name: support}
spec:
  provider: TGStaff
  verification:
    hmac:
      secretRefs:
      - {name: tg-staff, key: signing-key}
      - {name: tg-staff, key: previous-signing-key, optional: true}
---
apiVersion: v1
kind: Secret
metadata: {name: tg-staff}
stringData: {signing-key: the-signing-key}
";

/// A route of it to a destination.
fn route(name: &str, url: &str, when: &str) -> String {
    format!(
        "
apiVersion: hookswitch.dev/v1alpha1
kind: EventRoute
metadata: {{name: {name}}}
spec:
  subscriptionRefs: [{{name: support}}]
  destinations:
  - name: crm
    http: {{url: '{url}', allowPrivateNetwork: true}}
  rules:
  - name: all
    when: \"{when}\"
    deliver: [{{destination: crm}}]
"
    )
}

/// Applies the subscription with the route `crm` to a destination, and waits until both are served.
async fn serve(installation: &Installation) -> Destination {
    let destination = Destination::start().await;
    let crm = route("crm", &destination.url(), "true");
    let objects = format!("{SUBSCRIPTION}---{crm}");
    installation.namespace.apply(&objects).await.ok();
    for object in ["whsub/support", "evroute/crm"] {
        installation
            .condition(object, "Programmed", "True", "Programmed")
            .await;
    }
    destination
}

/// Edits the subscription's retention, so that what it resolves to changes.
async fn retain(installation: &Installation, retention: &str) {
    let patch = format!(r#"{{"spec":{{"retention":"{retention}"}}}}"#);
    let edit = ["patch", "whsub", "support", "--type=merge", "-p", &patch];
    installation.namespace.kubectl(&edit).await.ok();
}

/// The path of a subscription.
fn path(installation: &Installation, name: &str) -> String {
    format!("/{}/{name}", installation.namespace.name())
}
