//! `make bench`: what Hookswitch costs, next to what the same machine can do at best.
//!
//! Everything is measured in one run, by turns, and what is reported are ratios: only those carry
//! over to another machine. Nothing here is a test, and no time fails a build.
//!
//! `cargo bench -p hookswitch-tests --bench system [-- SECTION...]` runs some sections, or all without a
//! name, and writes what it found into their parts of `docs/benchmarks.md`.

mod accept;
mod backlog;
mod baseline;
mod certificate;
mod cycles;
mod fill;
mod flow;
mod load;
mod machine;
mod process;
mod recovery;
mod request;
mod rules;
mod scale;
mod shared;
mod sink;
mod subject;
mod timers;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use hookswitch_tests::{histogram, numbers, report};

use machine::Patience;
use report::Section;

/// How long and how often to measure.
pub(crate) struct Settings {
    /// Rounds in which all servers take their turns.
    pub(crate) rounds: u32,
    /// Before each measured run, not counted.
    pub(crate) warm_up: Duration,
    /// Each measured run.
    pub(crate) measure: Duration,
    /// For other processes to leave the machine alone.
    pub(crate) patience: Patience,
    /// Measure what takes many minutes too.
    pub(crate) full: bool,
    /// On the disk that is measured.
    scratch: PathBuf,
}

impl Settings {
    fn from_env() -> Result<Self> {
        let number = |name: &str, default: u32| -> Result<u32> {
            std::env::var(name).map_or(Ok(default), |value| {
                value.parse().with_context(|| format!("{name}={value}"))
            })
        };
        Ok(Self {
            rounds: number("HOOKSWITCH_BENCH_ROUNDS", 5)?,
            warm_up: Duration::from_secs(1),
            measure: Duration::from_secs(number("HOOKSWITCH_BENCH_SECONDS", 4)?.into()),
            patience: Patience::new(Duration::from_secs(
                number("HOOKSWITCH_BENCH_PATIENCE", 180)?.into(),
            )),
            full: number("HOOKSWITCH_BENCH_FULL", 0)? != 0,
            scratch: PathBuf::from(env!("CARGO_TARGET_TMPDIR")),
        })
    }

    /// An empty folder on the disk that is measured; removed when dropped.
    pub(crate) fn folder(&self) -> Result<tempfile::TempDir> {
        tempfile::tempdir_in(&self.scratch).context("making a folder for data")
    }
}

/// Writes a line for who watches.
pub(crate) fn say(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

/// Who writes the report.
const BY: &str = "make bench";

/// A part of the bench.
type Measure = fn(&Settings) -> Result<Section>;

/// All parts by the names that choose them.
const SECTIONS: [(&str, Measure); 12] = [
    ("accept", accept::section),
    ("rules", rules::section),
    ("planning", flow::planning),
    ("delivering", flow::delivering),
    ("whole-way", flow::whole_way),
    ("memory", flow::memory),
    ("recovery", recovery::section),
    ("shared", shared::section),
    ("backlog", backlog::section),
    ("cycles", cycles::section),
    ("timers", timers::section),
    ("scale", scale::section),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [process::SERVE, kind, data] => baseline::serve(kind, Path::new(data)),
        [process::FILL, folder, events, lanes, nats @ ..] => fill::serve(
            Path::new(folder),
            events.parse()?,
            lanes.parse()?,
            nats.first().copied(),
        ),
        words if words.contains(&"--bench") => measure(words),
        // `cargo test --all-targets` starts benches too, without the word.
        _ => say("this measures: run it with `make bench`"),
    }
}

/// Measures the sections that are named, or all of them where none is, and writes each into the report.
fn measure(words: &[&str]) -> Result<()> {
    let settings = Settings::from_env()?;
    let named = |name: &str| words.contains(&name);
    let all = !SECTIONS.iter().any(|(name, _)| named(name));
    let machine = report::machine::describe(settings.folder()?.path())?;
    say(&machine)?;
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks.md");
    for (name, measure) in SECTIONS.iter().filter(|(name, _)| all || named(name)) {
        let measured = measure(&settings)?.render(&machine)?;
        say(&measured)?;
        report::write(&page, BY, name, &measured)?;
    }
    Ok(())
}
