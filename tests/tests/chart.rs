//! The Helm chart: what it makes of values, what an API server says to it, and what its rights allow.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "all of this is test code: what fails ends the test"
)]

#[path = "chart/arguments.rs"]
mod arguments;
#[path = "chart/files.rs"]
mod files;
#[path = "chart/image.rs"]
mod image;
#[path = "chart/install.rs"]
mod install;
#[path = "chart/monitoring.rs"]
mod monitoring;
#[path = "chart/oldest.rs"]
mod oldest;
#[path = "chart/rights.rs"]
mod rights;
#[path = "chart/values.rs"]
mod values;
