//! From accept to delivered: planning, delivering, and the whole way at a steady rate.

use std::fmt::Write;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::certificate::Certificate;
use crate::load::Load;
use crate::numbers::{float, mebibytes, median, median_duration, millis, thousands};
use crate::process::Process;
use crate::report::{Aim, Section};
use crate::sink::Sink;
use crate::subject::{Hookswitch, PATH, Setup};
use crate::{Settings, say};

/// Events that wait to be planned, or delivered.
const EVENTS: u64 = 100_000;
/// Events a second on the whole way.
const RATES: [u32; 3] = [10, 1_000, 5_000];

/// Measures how fast events are planned.
pub(crate) fn planning(settings: &Settings) -> Result<Section> {
    let mut text = format!(
        "{} events wait without a plan when `hookswitch run` starts; counted until the last one is planned, the start included. Each rule is a CEL condition on a field of the body and is false, so every rule is evaluated for every event.\n\n\
         | rules | events/s | conditions/s |\n|---|---|---|\n",
        thousands(float(EVENTS)),
    );
    for rules in [1_usize, 10, 100] {
        let mut rates = Vec::new();
        for _ in 0..settings.rounds.min(3) {
            let folder = settings.folder()?;
            drop(Process::fill(folder.path(), EVENTS, 0)?);
            settings.patience.wait_until_quiet()?;
            let hookswitch = Hookswitch::start(
                folder.path(),
                &Setup {
                    silent_rules: rules,
                    ..Setup::default()
                },
            )?;
            let verdicts = float(EVENTS * u64::try_from(rules)?);
            while hookswitch.metric("hookswitch_rule_verdicts_total")? < verdicts {
                ensure!(
                    hookswitch.started.elapsed() < Duration::from_mins(5),
                    "not all events were planned"
                );
                thread::sleep(Duration::from_millis(5));
            }
            rates.push(float(EVENTS) / hookswitch.started.elapsed().as_secs_f64());
        }
        let rate = median(rates);
        say(&format!("planning, {rules} rules: {}/s", thousands(rate)))?;
        writeln!(
            text,
            "| {rules} | {} | {} |",
            thousands(rate),
            thousands(rate * float(u64::try_from(rules)?))
        )?;
    }
    Ok(Section {
        title: "Routing",
        text,
        aims: Vec::new(),
    })
}

/// Measures how fast planned deliveries are made.
pub(crate) fn delivering(settings: &Settings) -> Result<Section> {
    let mut text = format!(
        "{} planned deliveries wait when `hookswitch run` starts, each a request of 600 bytes to a local destination that answers at once. Each is claimed durably before its bytes leave and finished durably after. Counted from the first arrival to the last.\n\n\
         | lanes | deliveries/s |\n|---|---|\n",
        thousands(float(EVENTS)),
    );
    for lanes in [1_usize, 100] {
        let mut rates = Vec::new();
        for _ in 0..settings.rounds.min(3) {
            let folder = settings.folder()?;
            drop(Process::fill(folder.path(), EVENTS, lanes)?);
            settings.patience.wait_until_quiet()?;
            let sink = Sink::start()?;
            let hookswitch = Hookswitch::start(folder.path(), &with_sink(&sink, lanes))?;
            let arrivals = sink.wait_for(EVENTS)?;
            let first = arrivals.first.context("no first delivery")?;
            let last = arrivals.last.context("no last delivery")?;
            rates.push(float(EVENTS) / (last - first).as_secs_f64());
            drop(hookswitch);
        }
        let rate = median(rates);
        say(&format!("delivering, {lanes} lanes: {}/s", thousands(rate)))?;
        writeln!(text, "| {lanes} | {} |", thousands(rate))?;
    }
    Ok(Section {
        title: "Delivery",
        text,
        aims: Vec::new(),
    })
}

/// Measures the whole way of an event.
pub(crate) fn whole_way(settings: &Settings) -> Result<Section> {
    let mut text = String::from(
        "Events come at a steady rate over 64 connections, one rule with a template sends each to a local destination. A latency counts from the moment a request was due to be sent: to its 200, and to its arrival at the destination.\n\n\
         | events/s | to the 200: p50 ms | p99 ms | p99.9 ms | to the destination: p50 ms | p99 ms | p99.9 ms |\n|---|---|---|---|---|---|---|\n",
    );
    for rate in RATES {
        let mut acks = Vec::new();
        let mut deliveries = Vec::new();
        for _ in 0..settings.rounds.min(3) {
            settings.patience.wait_until_quiet()?;
            let folder = settings.folder()?;
            let sink = Sink::start()?;
            let hookswitch = Hookswitch::start(folder.path(), &with_sink(&sink, 1))?;
            let mut load = Load::to(hookswitch.hooks, PATH);
            load.rate = Some(rate);
            load.time = settings.warm_up;
            let warm = load.run()?.latency.count();
            sink.wait_for(warm)?;
            sink.reset();
            // Few events need longer.
            load.time = settings.measure.max(
                Duration::from_secs(10_000 / u64::from(rate).min(1_000))
                    .min(Duration::from_secs(20)),
            );
            let ack = load.run()?.latency;
            let arrivals = sink.wait_for(ack.count())?;
            acks.push(ack);
            deliveries.push(arrivals.latency);
        }
        let row: Vec<String> = [&acks, &deliveries]
            .into_iter()
            .flat_map(|runs| {
                [500, 990, 999].map(|permille| {
                    millis(median_duration(
                        runs.iter().map(|run| run.permille(permille)),
                    ))
                })
            })
            .collect();
        say(&format!("whole way at {rate}/s: {}", row.join("  ")))?;
        writeln!(text, "| {} | {} |", thousands(rate.into()), row.join(" | "))?;
    }
    Ok(Section {
        title: "From accept to delivered",
        text,
        aims: Vec::new(),
    })
}

fn with_sink(sink: &Sink, lanes: usize) -> Setup {
    Setup {
        lanes,
        sink: Some(sink.address),
        ..Setup::default()
    }
}

/// Measures memory at rest and under load.
pub(crate) fn memory(settings: &Settings) -> Result<Section> {
    let mut text = String::from(
        "Resident memory of `hookswitch run`, in MiB: idle is five seconds after the start with one subscription and one route, the rest is around a closed loop on 64 connections with deliveries on. \
         What is not the process's own are pages of the program's file, which the kernel maps as it likes, shares between processes and takes back at need.\n\n\
         | | idle | of it the process's own | most under load | five seconds later |\n|---|---|---|---|---|\n",
    );
    let certificate = Certificate::make()?;
    let mut aim = None;
    for (name, tls) in [("plain HTTP", false), ("TLS", true)] {
        let folder = settings.folder()?;
        let sink = Sink::start()?;
        let mut setup = with_sink(&sink, 1);
        if tls {
            setup.tls = Some(certificate.write(folder.path())?);
        }
        let hookswitch = Hookswitch::start(folder.path(), &setup)?;
        settle();
        let idle = hookswitch.process.resident()?;
        let own = hookswitch.process.own()?;
        let mut load = Load::to(hookswitch.hooks, PATH);
        load.tls = tls.then(|| certificate.client()).transpose()?;
        load.time = settings.measure;
        load.run()?;
        let peak = hookswitch.process.peak()?;
        settle();
        let after = hookswitch.process.resident()?;
        let row = [idle, own, peak, after].map(mebibytes).join(" | ");
        say(&format!("memory, {name}: {row}"))?;
        writeln!(text, "| {name} | {row} |")?;
        aim.get_or_insert_with(|| Aim {
            what: "idle memory under 20 MiB",
            found: format!(
                "{} MiB, {} of them the process's own",
                mebibytes(idle),
                mebibytes(own)
            ),
            met: idle < 20 << 20,
        });
    }
    Ok(Section {
        title: "Memory",
        text,
        aims: aim.into_iter().collect(),
    })
}

/// Lets the process come to rest.
fn settle() {
    thread::sleep(Duration::from_secs(5));
}
