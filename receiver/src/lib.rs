//! Receives, verifies, keeps, routes and delivers webhooks.
//!
//! ```text
//! request ─ ingress ─ verify ─ store.accept ─ 200
//!                                   │
//!              planner ─ route ─ store.plan
//!                                   │
//!              deliver ─ store.claim ─ send ─ store.finish
//! ```

pub mod admin;
pub mod clock;
pub mod config;
pub mod deliver;
pub mod event;
pub mod extract;
pub mod ingress;
pub mod janitor;
pub mod log;
pub mod metrics;
pub mod observe;
pub mod options;
pub mod plan;
pub mod planner;
pub mod redact;
pub mod route;
pub mod run;
pub mod serve;
pub mod snapshot;
pub mod store;
pub mod tls;
pub mod verify;
pub mod wake;
