//! The operator and the receivers on a real Kubernetes API server, installed by the chart.

#[path = "operator/lifecycle.rs"]
mod lifecycle;
#[path = "operator/programmed.rs"]
mod programmed;
#[path = "operator/restarts.rs"]
mod restarts;

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

/// The path of a subscription.
fn path(installation: &Installation, name: &str) -> String {
    format!("/{}/{name}", installation.namespace.name())
}
