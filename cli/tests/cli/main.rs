//! The program `hookswitch`, as its user calls it.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on fails"
)]

mod docs;
mod lint;
mod mishaps;
mod program;
mod run;
mod send;
