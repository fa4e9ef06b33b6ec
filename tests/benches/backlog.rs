//! What it costs that deliveries wait, as they do while a destination is away.

use std::fmt::Write;
use std::time::Duration;

use anyhow::Result;
use hookswitch_tests::servers::nats::Nats;
use tokio::runtime::Runtime;

use crate::load::{CONNECTIONS, Load};
use crate::numbers::{float, mebibytes, millis, thousands};
use crate::process::Process;
use crate::recovery::size_of;
use crate::report::{Aim, Section};
use crate::subject::{Hookswitch, PATH, Setup, data};
use crate::{Settings, say};

/// Deliveries that wait.
const WAITING: [u64; 3] = [1_000, 100_000, 1_000_000];
/// What is aimed at: accepting with a million that wait, as a share of accepting with a thousand.
const AIM: f64 = 0.8;

/// What they cost.
struct Cost {
    disk: u64,
    ready: Duration,
    /// With an empty disk, where others keep the log.
    anew: Option<Duration>,
    memory: u64,
    own: u64,
    accepted: f64,
    p99: Duration,
}

/// Measures it.
pub(crate) fn section(settings: &Settings) -> Result<Section> {
    let runtime = Runtime::new()?;
    let mut text = format!(
        "So many deliveries wait for a destination that refuses connections; `hookswitch run` is started with them. \
         Memory is what it has once it is ready, and of that what is no page of a file. Then events come in by a closed loop of \
         {CONNECTIONS} connections, are planned, and wait as well. With the shared store, a receiver is started with an empty disk too, and makes its copy from \
         a checkpoint and the log.\n\n\
         | store | waiting | on disk MiB | ready after ms | with an empty disk ms | memory MiB | its own MiB | accepted/s | p99 ms |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut aims = Vec::new();
    for (store, shared) in [("embedded", false), ("jetstream, one server", true)] {
        let mut rates = Vec::new();
        for waiting in WAITING {
            settings.patience.wait_until_quiet()?;
            let cost = cost(settings, &runtime, waiting, shared)?;
            say(&format!(
                "{store}, {waiting} wait: ready after {:?}, {}/s",
                cost.ready,
                thousands(cost.accepted)
            ))?;
            let anew = cost.anew.map_or_else(|| "-".to_owned(), millis);
            writeln!(
                text,
                "| {store} | {} | {} | {} | {anew} | {} | {} | {} | {} |",
                thousands(float(waiting)),
                mebibytes(cost.disk),
                millis(cost.ready),
                mebibytes(cost.memory),
                mebibytes(cost.own),
                thousands(cost.accepted),
                millis(cost.p99),
            )?;
            rates.push(cost.accepted);
        }
        let few = rates.first().copied().unwrap_or_default();
        let many = rates.last().copied().unwrap_or_default();
        aims.push(Aim {
            what: if shared {
                "with a million that wait, the shared store accepts 0.8 or more of what it does with a thousand"
            } else {
                "with a million that wait, the embedded store accepts 0.8 or more of what it does with a thousand"
            },
            found: format!("{:.2}", many / few),
            met: many / few >= AIM,
        });
    }
    Ok(Section {
        title: "What waits",
        text,
        aims,
    })
}

fn cost(settings: &Settings, runtime: &Runtime, waiting: u64, shared: bool) -> Result<Cost> {
    let folder = settings.folder()?;
    let nats = shared.then(|| runtime.block_on(Nats::start()));
    let url = nats.as_ref().map(Nats::url);
    drop(Process::fill_shared(
        folder.path(),
        waiting,
        1,
        url.as_deref(),
    )?);
    let disk = size_of(&data(folder.path()))?;
    let setup = Setup {
        lanes: 1,
        nats: url.into_iter().collect(),
        ..Setup::default()
    };
    let hookswitch = Hookswitch::start(folder.path(), &setup)?;
    let ready = hookswitch.started.elapsed();
    let (memory, own) = (hookswitch.process.resident()?, hookswitch.process.own()?);
    let mut load = Load::to(hookswitch.hooks, PATH);
    load.time = settings.warm_up;
    load.run()?;
    load.time = settings.measure;
    let tally = load.run()?;
    let anew = if shared {
        let empty = settings.folder()?;
        let another = Hookswitch::start(empty.path(), &setup)?;
        Some(another.started.elapsed())
    } else {
        None
    };
    Ok(Cost {
        disk,
        ready,
        anew,
        memory,
        own,
        accepted: tally.per_second,
        p99: tally.latency.permille(990),
    })
}
