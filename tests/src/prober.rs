//! The prober: breaks things under load, and tells what became of every event that was answered 200.
//!
//! ```text
//!  load ────▶ service ────▶ receivers ────▶ destination
//!   │ attempts and answers, numbered          │ effects, by number
//!   └───────────────▶ history ◀───────────────┘
//!                        └─▶ verdict: lost, doubled, out of order, late
//! ```
//!
//! - [`load`] sends numbered, signed events as TG-Staff does, its retries included.
//! - [`service`] knows which receivers are ready, as a Service of Kubernetes does.
//! - [`history`] is pure accounting: what was sent, what came of it, and the verdict.
//! - [`trial`] is one run of these; [`stage`] is what runs under it.
//! - [`scenario`] is what is broken. `make prober` runs all of them into `docs/reliability.md`, and
//!   `tests/tests/prober.rs` a short form of each.

pub mod dice;
pub mod history;
pub mod load;
pub mod outcome;
pub mod scenario;
pub mod service;
pub mod stage;
pub mod trial;
