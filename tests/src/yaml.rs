//! The objects that tests apply: one subscription of TG-Staff's, and routes of it.

/// The key that the tests' sender signs with.
pub const SIGNING_KEY: &str = "planted-signing-key-7c1f";

/// A Secret and a `WebhookSubscription` for TG-Staff named `support`, with more of the spec in `more`
/// (indented by two).
#[must_use]
pub fn subscription(more: &str) -> String {
    format!(
        "apiVersion: v1
kind: Secret
metadata: {{name: tg-staff, namespace: support}}
stringData: {{signing-key: {SIGNING_KEY}, api-token: planted-api-token-41aa}}
---
apiVersion: hookswitch.dev/v1alpha1
kind: WebhookSubscription
metadata: {{name: support, namespace: support}}
spec:
  provider: TGStaff
  verification:
    hmac:
      secretRefs: [{{name: tg-staff, key: signing-key}}]
{more}"
    )
}

/// A route named `name` that sends all of `types` to `url` with `body` (YAML in flow style).
#[must_use]
pub fn route(name: &str, types: &str, url: &str, body: &str, delivery: &str) -> String {
    format!(
        "apiVersion: hookswitch.dev/v1alpha1
kind: EventRoute
metadata: {{name: {name}, namespace: support}}
spec:
  subscriptionRefs: [{{name: support}}]
  destinations:
  - name: target
    http: {{url: \"{url}\", allowPrivateNetwork: true}}
    delivery: {delivery}
  rules:
  - name: all
    types: {types}
    deliver: [{{destination: target, body: {body}}}]
"
    )
}

/// A route named `crm` that sends each new conversation's number.
#[must_use]
pub fn crm(url: &str) -> String {
    let body = "{number: \"${event.data.data.number}\"}";
    route("crm", "[conversation.created]", url, body, QUICK)
}

/// Retries that a test can wait for.
pub const QUICK: &str = "{timeout: 2s, backoff: {initial: 50ms, max: 500ms}, circuitBreaker: {failures: 5, openFor: 200ms}}";
