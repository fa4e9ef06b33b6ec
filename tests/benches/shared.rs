//! Several receivers: what the shared store costs beside the embedded one, and how soon the work of a receiver
//! that is killed goes on.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hookswitch_tests::servers::nats::Nats;
use tokio::runtime::Runtime;

use crate::load::{CONNECTIONS, Load};
use crate::numbers::{float, median, median_duration, millis, thousands};
use crate::report::{Aim, Section};
use crate::sink::Sink;
use crate::subject::{Hookswitch, PATH, Setup};
use crate::{Settings, say};

/// Receivers that share the work, where one is killed.
const RECEIVERS: usize = 3;
/// Events a second meanwhile.
const RATE: u32 = 200;
/// How often one is killed.
const KILLS: u32 = 5;
/// How long a receiver may be silent, as it is set where nobody says otherwise.
const TAKEOVER: Duration = Duration::from_secs(6);
/// How long all of a backlog may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// The engines, and how many NATS servers each has.
const ENGINES: [(&str, usize); 3] = [
    ("embedded", 0),
    ("jetstream, one server", 1),
    ("jetstream, three servers", 3),
];

/// What an engine does.
#[derive(Default)]
struct Rates {
    accepted: Vec<f64>,
    p50: Vec<Duration>,
    p99: Vec<Duration>,
    planned: Vec<f64>,
    delivered: Vec<f64>,
    whole_way: Vec<Duration>,
}

/// Measures it.
pub(crate) fn section(settings: &Settings) -> Result<Section> {
    let runtime = Runtime::new()?;
    let mut text = format!(
        "One receiver (`hookswitch run`) on each store, {} rounds by turns, medians. Accepted: a closed loop of {CONNECTIONS} connections, \
         with every event planned. Planned and delivered: what was accepted while the subscription was suspended, {} s of it, \
         is planned by a rule that does not fire, or delivered to one local destination that answers at once; counted from \
         the start of the process, and from the first arrival. The whole way: from sending to the destination, at {RATE} events a second.\n\n\
         | store | accepted/s | p50 ms | p99 ms | planned/s | delivered/s | whole way, p50 ms |\n|---|---|---|---|---|---|---|\n",
        settings.rounds.min(3),
        settings.measure.as_secs(),
    );
    let mut all: Vec<Rates> = ENGINES.iter().map(|_| Rates::default()).collect();
    for _ in 0..settings.rounds.min(3) {
        for ((name, servers), rates) in ENGINES.iter().zip(&mut all) {
            settings.patience.wait_until_quiet()?;
            measure(settings, &runtime, *servers, rates).with_context(|| (*name).to_owned())?;
            say(&format!(
                "{name}: accepted {:?}/s, planned {:?}/s, delivered {:?}/s",
                rates.accepted, rates.planned, rates.delivered
            ))?;
        }
    }
    for ((name, _), rates) in ENGINES.iter().zip(&all) {
        writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {} | {} |",
            thousands(median(rates.accepted.clone())),
            millis(median_duration(rates.p50.clone())),
            millis(median_duration(rates.p99.clone())),
            thousands(median(rates.planned.clone())),
            thousands(median(rates.delivered.clone())),
            millis(median_duration(rates.whole_way.clone())),
        )?;
    }
    let takeovers = takeovers(settings, &runtime)?;
    let longest = takeovers.iter().copied().max().unwrap_or_default();
    writeln!(
        text,
        "\n{RECEIVERS} receivers on three servers; the one that delivers is killed, {KILLS} times, while another one accepts {RATE} events a second. \
         From the kill to the next delivery: {:.1} s (median), {:.1} s at most. A receiver may be silent for {} s before others take over.",
        median_duration(takeovers).as_secs_f64(),
        longest.as_secs_f64(),
        TAKEOVER.as_secs(),
    )?;
    Ok(Section {
        title: "Several receivers",
        text,
        aims: vec![Aim {
            what: "the work of a killed receiver goes on within twice the time that it may be silent",
            found: format!("{:.1} s at most", longest.as_secs_f64()),
            met: longest < TAKEOVER * 2,
        }],
    })
}

/// So many servers that keep streams together.
fn servers(runtime: &Runtime, count: usize) -> Vec<Nats> {
    runtime.block_on(async {
        match count {
            0 => Vec::new(),
            1 => vec![Nats::start().await],
            _ => Nats::cluster().await,
        }
    })
}

fn urls(servers: &[Nats]) -> Vec<String> {
    servers.iter().map(Nats::url).collect()
}

/// One round of an engine.
fn measure(settings: &Settings, runtime: &Runtime, count: usize, rates: &mut Rates) -> Result<()> {
    // Each part has servers and a folder of its own.
    let folder = settings.folder()?;
    let nats = servers(runtime, count);
    let setup = Setup {
        nats: urls(&nats),
        ..Setup::default()
    };
    let hookswitch = Hookswitch::start(folder.path(), &setup)?;
    let mut load = Load::to(hookswitch.hooks, PATH);
    load.time = settings.warm_up;
    load.run()?;
    load.time = settings.measure;
    let tally = load.run()?;
    rates.accepted.push(tally.per_second);
    rates.p50.push(tally.latency.permille(500));
    rates.p99.push(tally.latency.permille(990));
    drop(hookswitch);

    let folder = settings.folder()?;
    let nats = servers(runtime, count);
    let setup = Setup {
        nats: urls(&nats),
        silent_rules: 1,
        ..Setup::default()
    };
    let events = accept_only(settings, folder.path(), &setup)?;
    let hookswitch = Hookswitch::start(folder.path(), &setup)?;
    while hookswitch.metric("hookswitch_rule_verdicts_total")? < events {
        ensure!(
            hookswitch.started.elapsed() < PATIENCE,
            "not all events were planned"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let planned = events / hookswitch.started.elapsed().as_secs_f64();
    rates.planned.push(planned);
    drop(hookswitch);

    let folder = settings.folder()?;
    let nats = servers(runtime, count);
    let sink = Sink::start()?;
    let setup = Setup {
        nats: urls(&nats),
        lanes: 1,
        sink: Some(sink.address),
        ..Setup::default()
    };
    let events = accept_only(settings, folder.path(), &setup)?;
    let hookswitch = Hookswitch::start(folder.path(), &setup)?;
    let arrivals = sink.wait_for(format!("{events:.0}").parse()?)?;
    let first = arrivals.first.context("no first delivery")?;
    let last = arrivals.last.context("no last delivery")?;
    let delivered = events / (last - first).as_secs_f64();
    rates.delivered.push(delivered);

    sink.reset();
    let mut load = Load::to(hookswitch.hooks, PATH);
    load.rate = Some(RATE);
    load.time = settings.measure;
    let sent = load.run()?.latency.count();
    let arrivals = sink.wait_for(sent)?;
    rates.whole_way.push(arrivals.latency.permille(500));
    Ok(())
}

/// Accepts for a while and plans nothing; gives how many events wait then.
fn accept_only(settings: &Settings, folder: &Path, setup: &Setup) -> Result<f64> {
    let setup = Setup {
        suspended: true,
        ..setup.clone()
    };
    let hookswitch = Hookswitch::start(folder, &setup)?;
    let mut load = Load::to(hookswitch.hooks, PATH);
    load.time = settings.measure;
    load.run()?;
    hookswitch.metric("hookswitch_events_total")
}

/// How long nothing is delivered when the one that delivers is killed.
fn takeovers(settings: &Settings, runtime: &Runtime) -> Result<Vec<Duration>> {
    let nats = servers(runtime, 3);
    let sink = Sink::start()?;
    let setup = Setup {
        nats: urls(&nats),
        lanes: 1,
        sink: Some(sink.address),
        ..Setup::default()
    };
    let mut receivers = Vec::new();
    for _ in 0..RECEIVERS {
        receivers.push(start(settings, &setup)?);
    }
    let mut takeovers = Vec::new();
    for _ in 0..KILLS {
        // Who delivers is seen by what is delivered.
        let (_, first) = receivers.first().context("a receiver")?;
        let before = delivered(&receivers)?;
        let mut load = Load::to(first.hooks, PATH);
        load.rate = Some(RATE);
        load.time = settings.warm_up;
        let sent = load.run()?.latency.count();
        wait_delivered(&receivers, before.iter().sum::<f64>() + float(sent))?;
        let after = delivered(&receivers)?;
        let owner = after
            .iter()
            .zip(&before)
            .position(|(after, before)| after > before);
        let killed = receivers.remove(owner.context("nobody delivers")?);
        let (_, other) = receivers.first().context("a receiver")?;
        load.address = other.hooks;
        load.time = TAKEOVER * 3;
        let loading = std::thread::spawn(move || load.run());
        std::thread::sleep(settings.warm_up);
        drop(killed);
        let at = Instant::now();
        sink.reset();
        let next = sink.wait_for(1)?.first.context("no delivery")?;
        takeovers.push(next.saturating_duration_since(at));
        say(&format!("taken over after {:?}", takeovers.last()))?;
        let loaded = loading.join();
        loaded.map_err(|_| anyhow::anyhow!("the load panicked"))??;
        receivers.push(start(settings, &setup)?);
    }
    Ok(takeovers)
}

/// A receiver with a folder of its own, which goes with it.
fn start(settings: &Settings, setup: &Setup) -> Result<(tempfile::TempDir, Hookswitch)> {
    let folder = settings.folder()?;
    let hookswitch = Hookswitch::start(folder.path(), setup)?;
    Ok((folder, hookswitch))
}

/// What each has delivered.
fn delivered(receivers: &[(tempfile::TempDir, Hookswitch)]) -> Result<Vec<f64>> {
    let receivers = receivers.iter();
    let delivered = receivers.map(|(_, receiver)| receiver.metric("hookswitch_deliveries_total"));
    delivered.collect()
}

/// Waits until they have delivered so many.
fn wait_delivered(receivers: &[(tempfile::TempDir, Hookswitch)], count: f64) -> Result<()> {
    let begin = Instant::now();
    while delivered(receivers)?.iter().sum::<f64>() < count {
        ensure!(begin.elapsed() < PATIENCE, "not all was delivered");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
