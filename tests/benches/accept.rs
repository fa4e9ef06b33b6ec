//! Accept: how many requests a second are answered 200, and how fast.
//!
//! All servers take turns, several rounds of it, and the median of each is compared. A run that other
//! processes disturbed is repeated.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::certificate::Certificate;
use crate::load::{CONNECTIONS, Load, Tally};
use crate::machine::{self, Others};
use crate::numbers::{float, median, median_duration, millis, thousands};
use crate::process::Process;
use crate::report::{Aim, Section};
use crate::request::BODY_BYTES;
use crate::sink::Sink;
use crate::subject::{Hookswitch, PATH, Setup};
use crate::{Settings, baseline, say};

/// A run that was disturbed is repeated up to this often.
const REPEATS: u32 = 4;

/// One server, to be started anew for each of its runs.
struct Contestant {
    /// What the table calls it.
    name: &'static str,
    /// Starts it with an empty data directory.
    start: fn(&Path) -> Result<Target>,
}

/// A server that runs; it ends when this is dropped.
enum Server {
    Baseline(Process),
    Hookswitch(Hookswitch),
}

/// A server with what to send to it.
struct Target {
    server: Server,
    /// What to send to it; the time is filled in.
    load: Load,
    /// Where it delivers to.
    sink: Option<Sink>,
}

impl Server {
    fn process(&self) -> &Process {
        match self {
            Self::Baseline(process) | Self::Hookswitch(Hookswitch { process, .. }) => process,
        }
    }

    /// Events accepted so far, and those of them that were planned and fired no rule.
    fn counts(&self) -> Result<Option<(f64, f64)>> {
        match self {
            Self::Baseline(_) => Ok(None),
            Self::Hookswitch(hookswitch) => Ok(Some((
                hookswitch.metric("hookswitch_events_total")?,
                hookswitch.metric("hookswitch_events_unmatched_total")?,
            ))),
        }
    }
}

/// What one run measured.
struct Run {
    tally: Tally,
    cpu: Duration,
    /// Events that were planned, of those that were accepted.
    planned: Option<f64>,
    peak: u64,
    others: f64,
}

/// The runs of one server.
struct Runs {
    name: &'static str,
    runs: Vec<Run>,
}

impl Runs {
    /// Median requests a second.
    fn per_second(&self) -> f64 {
        median(self.runs.iter().map(|run| run.tally.per_second))
    }

    /// Median of a quantile.
    fn latency(&self, permille: u64) -> Duration {
        median_duration(
            self.runs
                .iter()
                .map(|run| run.tally.latency.permille(permille)),
        )
    }

    /// Median CPU time of the server for one request, in microseconds.
    fn cpu_micros(&self) -> f64 {
        median(
            self.runs
                .iter()
                .map(|run| run.cpu.as_secs_f64() * 1e6 / float(run.tally.latency.count().max(1))),
        )
    }

    /// Median of the most memory used.
    fn peak(&self) -> f64 {
        median(self.runs.iter().map(|run| float(run.peak)))
    }

    /// Median share of events that were planned before the run ended.
    fn planned(&self) -> Option<f64> {
        let shares: Option<Vec<f64>> = self.runs.iter().map(|run| run.planned).collect();
        shares.map(median)
    }

    /// The largest share that other processes took.
    fn others(&self) -> f64 {
        self.runs.iter().map(|run| run.others).fold(0.0, f64::max)
    }
}

/// A baseline as a contestant's start.
fn start_baseline(kind: &str, data: &Path) -> Result<Target> {
    let (process, address) = Process::serve(kind, data)?;
    Ok(Target {
        server: Server::Baseline(process),
        load: Load::to(address, "/"),
        sink: None,
    })
}

/// Hookswitch as a contestant's start.
fn start_hookswitch(folder: &Path, mut setup: Setup, tls: bool) -> Result<Target> {
    let sink = (setup.lanes > 0).then(Sink::start).transpose()?;
    setup.sink = sink.as_ref().map(|sink| sink.address);
    let mut client = None;
    if tls {
        let certificate = Certificate::make()?;
        setup.tls = Some(certificate.write(folder)?);
        client = Some(certificate.client()?);
    }
    let hookswitch = Hookswitch::start(folder, &setup)?;
    let mut load = Load::to(hookswitch.hooks, PATH);
    load.tls = client;
    Ok(Target {
        server: Server::Hookswitch(hookswitch),
        load,
        sink,
    })
}

/// Who takes part: the baselines from the least to the most, then Hookswitch from the least to the most.
const CONTESTANTS: [Contestant; 10] = [
    Contestant {
        name: "bare axum: reads the body, answers 200",
        start: |data| start_baseline(baseline::BARE, data),
    },
    Contestant {
        name: "+ HMAC-SHA256",
        start: |data| start_baseline(baseline::HMAC, data),
    },
    Contestant {
        name: "+ plain file, one fdatasync a batch: **the floor**",
        start: |data| start_baseline(baseline::FLOOR, data),
    },
    Contestant {
        name: "+ the event's attributes, read from its JSON",
        start: |data| start_baseline(baseline::FIELDS, data),
    },
    Contestant {
        name: "hookswitch run, suspended: keeps and does not plan; without its log",
        start: |folder| {
            let setup = Setup {
                suspended: true,
                quiet: true,
                ..Setup::default()
            };
            start_hookswitch(folder, setup, false)
        },
    },
    Contestant {
        name: "hookswitch run, suspended: keeps and does not plan",
        start: |folder| {
            let setup = Setup {
                suspended: true,
                ..Setup::default()
            };
            start_hookswitch(folder, setup, false)
        },
    },
    Contestant {
        name: "**hookswitch run**, no route: plans every event too",
        start: |folder| start_hookswitch(folder, Setup::default(), false),
    },
    Contestant {
        name: "hookswitch run, one rule that does not fire",
        start: |folder| {
            let setup = Setup {
                silent_rules: 1,
                ..Setup::default()
            };
            start_hookswitch(folder, setup, false)
        },
    },
    Contestant {
        name: "hookswitch run, every event delivered",
        start: |folder| {
            let setup = Setup {
                lanes: 1,
                ..Setup::default()
            };
            start_hookswitch(folder, setup, false)
        },
    },
    Contestant {
        name: "hookswitch run, TLS, no route",
        start: |folder| start_hookswitch(folder, Setup::default(), true),
    },
];

/// Measures it.
pub(crate) fn section(settings: &Settings) -> Result<Section> {
    let all = rounds(settings, &CONTESTANTS)?;
    let [_, _, floor, fields, silent, suspended, hookswitch, ..] = all.as_slice() else {
        bail!("a contestant is missing");
    };
    let ratio = hookswitch.per_second() / floor.per_second();
    let kept = suspended.per_second() / floor.per_second();
    let p99 = hookswitch.latency(990);
    Ok(Section {
        title: "Accept",
        text: format!(
            "{CONNECTIONS} keep-alive connections, each with one request in flight; {BODY_BYTES} bytes of JSON, an id and a signature of its own each; {} rounds of {} s, medians.\n\n{}\n{}",
            settings.rounds,
            settings.measure.as_secs(),
            table(&all)?,
            gap(floor, [fields, silent, suspended, hookswitch])?,
        ),
        aims: vec![
            Aim {
                what: "durable accept at 0.95 or more of the floor's throughput",
                found: format!("{ratio:.2} with every event planned as well, {kept:.2} kept only"),
                met: ratio >= 0.95,
            },
            Aim {
                what: "p99 under 5 ms at 64 connections",
                found: format!("{} ms", millis(p99)),
                met: p99 < Duration::from_millis(5),
            },
        ],
    })
}

/// Lets all contestants take turns.
fn rounds(settings: &Settings, contestants: &[Contestant]) -> Result<Vec<Runs>> {
    let mut all: Vec<Runs> = contestants
        .iter()
        .map(|contestant| Runs {
            name: contestant.name,
            runs: Vec::new(),
        })
        .collect();
    for round in 1..=settings.rounds {
        for (contestant, runs) in contestants.iter().zip(&mut all) {
            let run = run(settings, contestant)
                .with_context(|| format!("round {round} of {}", contestant.name))?;
            say(&format!(
                "round {round}: {:>9}/s  p50 {:>6} ms  p99 {:>6} ms  others {:>4.1} %  {}",
                thousands(run.tally.per_second),
                millis(run.tally.latency.permille(500)),
                millis(run.tally.latency.permille(990)),
                run.others * 100.0,
                contestant.name,
            ))?;
            runs.runs.push(run);
        }
    }
    Ok(all)
}

/// One run, repeated where it was disturbed and there is patience left; the least disturbed one counts.
fn run(settings: &Settings, contestant: &Contestant) -> Result<Run> {
    settings.patience.wait_until_quiet()?;
    let mut best = attempt(settings, contestant)?;
    for _ in 1..REPEATS {
        if machine::is_quiet(best.others) || !settings.patience.has_some() {
            break;
        }
        let begin = Instant::now();
        machine::pause();
        let again = attempt(settings, contestant)?;
        settings.patience.spend(begin.elapsed());
        if again.others < best.others {
            best = again;
        }
    }
    Ok(best)
}

fn attempt(settings: &Settings, contestant: &Contestant) -> Result<Run> {
    let data = settings.folder()?;
    let Target {
        server,
        mut load,
        sink: _sink,
    } = (contestant.start)(data.path())?;
    let process = server.process();
    load.time = settings.warm_up;
    load.run()?;
    load.time = settings.measure;
    let counted = server.counts()?;
    let others = Others::start()?;
    let before = process.cpu()?;
    let tally = load.run()?;
    let cpu = process.cpu()?.saturating_sub(before);
    let others = others.share(cpu)?;
    let planned = counted
        .zip(server.counts()?)
        .map(|(before, after)| (after.1 - before.1) / (after.0 - before.0).max(1.0));
    Ok(Run {
        tally,
        cpu,
        planned,
        peak: process.peak()?,
        others,
    })
}

/// What the CPU time is spent on that a request takes beyond the floor's. CPU time tells more than
/// throughput here: waiting for the disk is not in it, and other processes hardly change it.
fn gap(floor: &Runs, steps: [&Runs; 4]) -> Result<String> {
    let [_, _, _, whole] = steps;
    let all = whole.cpu_micros() - floor.cpu_micros();
    let mut out = format!(
        "One request costs the server {all:.1} µs of CPU time more than the floor. Of this\n\n| | µs | share |\n|---|---|---|\n"
    );
    let mut before = floor.cpu_micros();
    for (what, step) in [
        "reading the attributes from the JSON",
        "the limits and answers of the contract, metrics, deduplication, SQLite",
        "the line in the log",
        "planning: deciding and keeping what becomes of the event",
    ]
    .into_iter()
    .zip(steps)
    {
        let micros = step.cpu_micros() - before;
        before = step.cpu_micros();
        writeln!(
            out,
            "| {what} | {micros:.1} | {:.0} % |",
            micros / all * 100.0
        )?;
    }
    if let Some(planned) = whole.planned() {
        writeln!(
            out,
            "\nWhile the load lasted, {:.0} % of the events were planned as they came.",
            planned * 100.0
        )?;
    }
    Ok(out)
}

/// The table, with ratios to the first row and to the floor.
fn table(all: &[Runs]) -> Result<String> {
    let mut out = String::from(
        "| server | requests/s | of bare | of the floor | p50 ms | p99 ms | p99.9 ms | server's CPU µs a request | memory MiB |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    let bare = all.first().map_or(1.0, Runs::per_second);
    let floor = all.get(2).map_or(1.0, Runs::per_second);
    for runs in all {
        writeln!(
            out,
            "| {} | {} | {:.2} | {:.2} | {} | {} | {} | {:.1} | {:.1} |",
            runs.name,
            thousands(runs.per_second()),
            runs.per_second() / bare,
            runs.per_second() / floor,
            millis(runs.latency(500)),
            millis(runs.latency(990)),
            millis(runs.latency(999)),
            runs.cpu_micros(),
            runs.peak() / 1_048_576.0,
        )?;
    }
    let others = all.iter().map(Runs::others).fold(0.0, f64::max);
    writeln!(
        out,
        "\nOther processes used at most {:.1} % of the machine in a run that counts.",
        others * 100.0
    )?;
    Ok(out)
}
