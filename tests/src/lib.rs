//! The whole system, driven from outside: real processes, real sockets, real files.
//!
//! - [`hookswitch`] starts, kills and restarts the program under test.
//! - [`sender`] behaves as TG-Staff does: signs, waits 5 s at the most, and repeats what was not
//!   answered 200.
//! - [`destination`] records every effect, once for each idempotency key, as a careful API does.
//! - [`installation`] is the chart installed in a cluster, with its programs as processes.
//! - [`prober`] breaks things under load, and tells what became of every event that was answered 200.
//! - [`proxy`] stands between a client and a server, and loses answers.
//! - [`servers`] finds the real servers and runs them so that none outlives its test; [`cluster`] is
//!   a Kubernetes control plane of them.
//! - [`report`] writes what was measured into a page of the documentation.
//! - [`tgstaff`] is TG-Staff's own API, which fires `message.received` for each message sent to it.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "all of this crate is test code: what fails ends the test"
)]

pub mod cluster;
pub mod destination;
pub mod histogram;
pub mod hookswitch;
pub mod installation;
pub mod numbers;
pub mod prober;
mod programs;
pub mod proxy;
pub mod report;
pub mod sender;
pub mod servers;
pub mod small_disk;
pub mod tgstaff;
pub mod wait;
pub mod yaml;
