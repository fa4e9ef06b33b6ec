//! What is broken, a function a scenario.
//!
//! Each takes how long and how often from its [`Settings`], so that a short form of the same runs as a test.

mod cluster;
mod destination;
mod edits;
mod machine;
mod receivers;
mod servers;

use std::path::PathBuf;
use std::time::Duration;

use futures::future::LocalBoxFuture;

use super::load::Pace;
use super::outcome::Outcome;

/// How much of it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How often something is broken.
    pub rounds: usize,
    /// For how long, where that is not by chance.
    pub hold: Duration,
    /// How long a receiver may be silent before others take over.
    pub takeover: Duration,
    /// What is sent.
    pub pace: Pace,
    /// What chance begins with.
    pub seed: u64,
    /// The program that is replaced by the one that is built, in [`UPGRADE`].
    pub previous: Option<PathBuf>,
}

/// The scenario that needs an earlier program.
pub const UPGRADE: &str = "upgrade";

/// A scenario.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// What chooses it.
    pub name: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// What is done.
    pub about: &'static str,
    /// How often, and for how many seconds, by `make prober`;
    pub full: (usize, u64),
    /// and as a test.
    pub short: (usize, u64),
    /// Does it.
    pub run: fn(&Settings) -> LocalBoxFuture<'_, Outcome>,
}

/// All of them.
pub const SCENARIOS: [Scenario; 14] = [
    Scenario {
        name: "killed",
        title: "A receiver killed",
        about: "`hookswitch run` with the embedded store, killed by SIGKILL after a random number of answers, one time in five during its start as well.",
        full: (300, 0),
        short: (6, 0),
        run: |settings| Box::pin(receivers::killed(settings)),
    },
    Scenario {
        name: "one-of-three-killed",
        title: "One of three receivers killed",
        about: "Three receivers share the work through three NATS servers, and a random one is killed by SIGKILL. It comes back once all that was answered meanwhile has been delivered by the others; one time in three without its disk.",
        full: (20, 0),
        short: (2, 0),
        run: |settings| Box::pin(receivers::one_of_three_killed(settings)),
    },
    Scenario {
        name: "rolling-restart",
        title: "Receivers replaced one by one",
        about: "Three receivers, as Kubernetes replaces them: the pod is taken out of the Service, which load balancers learn up to 4 s later (by chance); it gets SIGTERM after the chart's `preStopSeconds` (5 s); the next one starts with other settings and takes part once it is ready. Every attempt has to be answered 200.",
        full: (5, 5),
        short: (1, 1),
        run: |settings| Box::pin(receivers::replaced(settings, None)),
    },
    Scenario {
        name: UPGRADE,
        title: "Receivers upgraded one by one",
        about: "As before, and the receivers that go first are an earlier program: each is replaced by the one that is built, and shares the work with the other until then. Every attempt has to be answered 200.",
        full: (1, 5),
        short: (1, 1),
        run: |settings| Box::pin(receivers::upgraded(settings)),
    },
    Scenario {
        name: "nats-killed",
        title: "NATS servers killed",
        about: "Two receivers on three NATS servers, of which a random one is killed by SIGKILL and started again with its disk.",
        full: (15, 5),
        short: (2, 2),
        run: |settings| Box::pin(servers::killed(settings)),
    },
    Scenario {
        name: "nats-partitioned",
        title: "NATS servers cut off",
        about: "The three NATS servers have network namespaces of their own, joined by a bridge. A random one (at first the one that all receivers are connected to) is cut off without a word: by turns from the other two, so that they hear it and it does not hear them, and from all, the receivers included.",
        full: (12, 15),
        short: (3, 4),
        run: |settings| Box::pin(servers::partitioned(settings)),
    },
    Scenario {
        name: "destination-down",
        title: "A destination down for long",
        about: "A destination with the default settings answers 503 to everything, then works again.",
        full: (1, 180),
        short: (1, 4),
        run: |settings| Box::pin(destination::down(settings)),
    },
    Scenario {
        name: "destination-slow",
        title: "A slow destination",
        about: "A destination answers after 300 ms, then later than its timeout of 2 s (the effect is there at once, and nobody is told), then at once again.",
        full: (5, 10),
        short: (1, 3),
        run: |settings| Box::pin(destination::slow(settings)),
    },
    Scenario {
        name: "edits",
        title: "Configuration changed under load",
        about: "The files are edited at once when the last edit is in use: rules renamed, delivery settings, retention, keys added and taken away, files broken, removed and put back. Every attempt has to be answered 200.",
        full: (200, 0),
        short: (14, 0),
        run: |settings| Box::pin(edits::edited(settings)),
    },
    Scenario {
        name: "api-away",
        title: "The API server away",
        about: "The chart on a real control plane. The API server is killed, and by turns etcd stopped; once it is back, a rule is renamed, and waited for until it is in use. Every attempt has to be answered 200.",
        full: (4, 30),
        short: (1, 2),
        run: |settings| Box::pin(cluster::api_away(settings)),
    },
    Scenario {
        name: "disk-full",
        title: "A full disk",
        about: "The data directory's file system is full to the last byte until senders are refused, and for a while longer.",
        full: (10, 5),
        short: (1, 1),
        run: |settings| Box::pin(machine::disk_full(settings)),
    },
    Scenario {
        name: "disk-slow",
        title: "A slow disk",
        about: "Each sync of the disk takes longer, by turns 100 ms, 1 s and 5 s, which is longer than a sender is made to wait. strace holds the sync back in the kernel's stead (and every other system call a little).",
        full: (6, 10),
        short: (3, 3),
        run: |settings| Box::pin(machine::disk_slow(settings)),
    },
    Scenario {
        name: "clock-jumps",
        title: "A clock that jumps",
        about: "The time of day that the receiver sees jumps by libfaketime, by turns up to two hours forward and up to 20 s back, while its destination fails, so that deliveries wait for a time. A clock that is set back delays what waits by as much; it is not lost.",
        full: (20, 5),
        short: (3, 2),
        run: |settings| Box::pin(machine::clock_jumps(settings)),
    },
    Scenario {
        name: "clocks-differ",
        title: "Receivers whose clocks differ",
        about: "Three receivers, one of them 2 s ahead and one 2 s behind, by libfaketime; a random one is killed, and its work taken over by others with another time of day. What one receiver has planned another one delivers when its own clock says so: the difference is a delay, so keep clocks in step.",
        full: (6, 0),
        short: (1, 0),
        run: |settings| Box::pin(machine::clocks_differ(settings)),
    },
];

impl Scenario {
    /// The one with this name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        SCENARIOS.into_iter().find(|it| it.name == name)
    }
}
