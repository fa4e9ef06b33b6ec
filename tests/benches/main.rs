//! `make bench`: what Hookswitch costs, next to what the same machine can do at best.
//!
//! Everything is measured in one run, by turns, and what is reported are ratios: only those carry
//! over to another machine. Nothing here is a test, and no time fails a build.
//!
//! `cargo bench -p hookswitch-tests --bench system [-- SECTION...]` runs some sections; without a
//! name all of them run and `docs/benchmarks.md` is written.

mod accept;
mod baseline;
mod histogram;
mod load;
mod machine;
mod numbers;
mod process;
mod request;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

/// How long and how often to measure.
pub(crate) struct Settings {
    /// Rounds in which all servers take their turns.
    pub(crate) rounds: u32,
    /// Before each measured run, not counted.
    pub(crate) warm_up: Duration,
    /// Each measured run.
    pub(crate) measure: Duration,
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
            measure: Duration::from_secs(number("HOOKSWITCH_BENCH_SECONDS", 5)?.into()),
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

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [serve, kind, data] = arguments.as_slice()
        && serve == "serve"
    {
        return baseline::serve(kind, Path::new(data));
    }
    // `cargo test --all-targets` starts benches too, without this.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return say("this measures: run it with `make bench`");
    }
    let settings = Settings::from_env()?;
    let folder = settings.folder()?;
    say(&machine::describe(folder.path())?)?;
    say(&machine::commit()?)?;
    let all = accept::rounds(&settings, &accept::BASELINES)?;
    say(&accept::table(&all)?)
}
