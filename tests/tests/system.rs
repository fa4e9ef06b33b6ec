//! The whole system on one machine, as a user runs it: `hookswitch run -f DIR`.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "all of this is test code: what fails ends the test"
)]

#[path = "system/disk.rs"]
mod disk;
#[path = "system/durability.rs"]
mod durability;
#[path = "system/isolation.rs"]
mod isolation;
#[path = "system/loop_guard.rs"]
mod loop_guard;
#[path = "system/metrics.rs"]
mod metrics;
#[path = "system/nats.rs"]
mod nats;
#[path = "system/postgres.rs"]
mod postgres;
#[path = "system/privacy.rs"]
mod privacy;
#[path = "system/relay.rs"]
mod relay;
#[path = "system/scenarios.rs"]
mod scenarios;
#[path = "system/serving.rs"]
mod serving;
#[path = "system/setup.rs"]
mod setup;
#[path = "system/shared.rs"]
mod shared;
#[path = "system/timers.rs"]
mod timers;

use hookswitch_tests::yaml;
