//! The program `hookswitch`, as its user calls it.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on fails"
)]

mod dead_letters;
mod docs;
mod events;
mod explain;
mod kubectl;
mod lint;
mod mishaps;
mod program;
mod replay;
mod run;
mod send;
mod trial;
