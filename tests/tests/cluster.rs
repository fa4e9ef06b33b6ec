//! Hookswitch's resources on a real Kubernetes API server, and the control plane itself.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "all of this is test code: what fails ends the test"
)]

#[path = "cluster/control_plane.rs"]
mod control_plane;
#[path = "cluster/corpus.rs"]
mod corpus;
#[path = "cluster/definitions.rs"]
mod definitions;
#[path = "cluster/faults.rs"]
mod faults;
