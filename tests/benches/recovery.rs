//! Recovery and delivery: a receiver was killed with much pending, and is started again.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::numbers::{float, mebibytes, median, median_duration, millis, thousands};
use crate::process::Process;
use crate::report::{Aim, Section};
use crate::sink::Sink;
use crate::subject::{Hookswitch, Setup, data};
use crate::{Settings, say};

/// What is pending when the receiver starts.
const PENDING: u64 = 1_000_000;
/// How long its deliveries are counted.
const COUNTED: Duration = Duration::from_secs(10);
/// How often it is started.
const STARTS: u32 = 3;

/// One start.
struct Start {
    ready: Duration,
    first: Duration,
    per_second: f64,
    resident: u64,
}

/// Measures it.
pub(crate) fn section(settings: &Settings) -> Result<Section> {
    let mut text = format!(
        "A store is filled with {} events, the process that did it is killed with SIGKILL, and `hookswitch run` is started on the data, {STARTS} times each, on a copy. The disk's cache is warm. Times count from the start of the process; deliveries are counted for {} s and go to a local destination that answers at once.\n\n\
         | pending | until ready ms | until the first delivery ms | deliveries/s | memory then MiB | on disk MiB |\n|---|---|---|---|---|---|\n",
        thousands(float(PENDING)),
        COUNTED.as_secs(),
    );
    let mut worst = Duration::ZERO;
    for (what, lanes, setup) in [
        ("planned, 1 lane", 1, 1),
        ("planned, 100 lanes", 100, 100),
        ("accepted, not yet planned", 0, 1),
    ] {
        let filled = settings.folder()?;
        let process = Process::fill(filled.path(), PENDING, lanes)?;
        drop(process);
        let size = size_of(&data(filled.path()))?;
        let mut starts = Vec::new();
        for _ in 0..STARTS {
            let folder = settings.folder()?;
            copy(&data(filled.path()), &data(folder.path()))?;
            let start = start(folder.path(), setup)?;
            say(&format!(
                "recovery, {what}: ready {} ms, first delivery {} ms, {}/s",
                millis(start.ready),
                millis(start.first),
                thousands(start.per_second)
            ))?;
            starts.push(start);
        }
        let first = median_duration(starts.iter().map(|start| start.first));
        worst = worst.max(first);
        writeln!(
            text,
            "| {what} | {} | {} | {} | {} | {} |",
            millis(median_duration(starts.iter().map(|start| start.ready))),
            millis(first),
            thousands(median(starts.iter().map(|start| start.per_second))),
            mebibytes(starts.iter().map(|start| start.resident).max().unwrap_or(0)),
            mebibytes(size),
        )?;
    }
    Ok(Section {
        title: "Recovery",
        text,
        aims: vec![Aim {
            what: "first delivery within 1 s of a start with a million pending",
            found: format!("{} ms at worst", millis(worst)),
            met: worst <= Duration::from_secs(1),
        }],
    })
}

fn start(folder: &Path, lanes: usize) -> Result<Start> {
    let sink = Sink::start()?;
    let hookswitch = Hookswitch::start(
        folder,
        &Setup {
            lanes,
            sink: Some(sink.address),
            ..Setup::default()
        },
    )?;
    let ready = hookswitch.started.elapsed();
    let first = sink.wait_for(1)?.first.context("no first delivery")?;
    let begin = Instant::now();
    let before = sink.arrivals().count;
    thread::sleep(COUNTED);
    let count = sink.arrivals().count - before;
    Ok(Start {
        ready,
        first: first - hookswitch.started,
        per_second: float(count) / begin.elapsed().as_secs_f64(),
        resident: hookswitch.process.resident()?,
    })
}

/// The bytes of all files in a folder.
pub(crate) fn size_of(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        sum += entry?.metadata()?.len();
    }
    Ok(sum)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
