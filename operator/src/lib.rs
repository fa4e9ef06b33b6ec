//! The operator: compiles `WebhookSubscription`s and `EventRoute`s into the snapshot that receivers
//! follow, and tells in their status what became of them.
//!
//! ```text
//! API server ─ watch ─▶ index ─▶ reconcile: compile ─ apply ─▶ Secrets ─▶ receivers
//!      ▲                            │                                       │
//!      └────────── status ◀─────────┴──────────────── Leases ◀──────────────┘
//! ```
//!
//! [`compile`] is pure and serves the standalone mode and `lint` as well; all else is a shell around
//! it for a cluster.

pub mod apply;
pub mod clock;
pub mod compile;
pub mod health;
pub mod index;
pub mod lease;
pub mod log;
pub mod metrics;
pub mod options;
pub mod receivers;
pub mod reconcile;
pub mod retry;
pub mod run;
pub mod standing;
pub mod status;
mod walk;
pub mod watch;

/// Who the operator is to the API server, always and in every version: what it owns of an object is
/// known by this name.
pub const FIELD_MANAGER: &str = "hookswitch-operator";

/// Of everything that the operator makes.
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/>
fn labels() -> std::collections::BTreeMap<String, String> {
    [
        ("app.kubernetes.io/managed-by", FIELD_MANAGER),
        ("app.kubernetes.io/part-of", "hookswitch"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}
