//! The machine, without its name: what a reader needs to compare.

use std::cell::Cell;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::Timestamp;

use crate::histogram::Histogram;
use crate::numbers::{float, millis};
use crate::process;

/// Appends that the disk's sync time is measured with.
const SYNCS: u32 = 1000;
/// The share of the machine that others may use in a run that counts.
const QUIET: f64 = 0.05;

/// A line of Markdown that says what the numbers depend on.
pub(crate) fn describe(data: &Path) -> Result<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let field = |name: &str| {
        cpuinfo
            .lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split_once(':'))
            .map_or("unknown", |(_, value)| value.trim())
    };
    let flags = field("flags");
    let sha = if flags.split(' ').any(|flag| flag == "sha_ni") {
        "with SHA instructions"
    } else {
        "without SHA instructions"
    };
    let sync = sync_times(data)?;
    Ok(format!(
        "*Measured on {} at commit {}, in the release profile: {} (family {}, model {}), {} cores{}, {sha}; {:.0} GiB; \
         {}, Linux {}; {}, where an append of 4 KiB with its fdatasync takes {} ms (median; p99 {} ms, p99.9 {} ms); {}.*",
        Timestamp::now().strftime("%-d %B %Y"),
        commit()?,
        field("model name"),
        field("cpu family"),
        field("model\t"),
        thread::available_parallelism()?,
        if flags.split(' ').any(|flag| flag == "hypervisor") {
            " of a virtual machine"
        } else {
            ""
        },
        memory()?,
        system(),
        fs::read_to_string("/proc/sys/kernel/osrelease")?.trim(),
        filesystem(data)?,
        millis(sync.permille(500)),
        millis(sync.permille(990)),
        millis(sync.permille(999)),
        output("rustc", &["--version"])?,
    ))
}

/// The commit that was measured, with a mark where files have been changed since.
fn commit() -> Result<String> {
    let hash = output("git", &["rev-parse", "--short=10", "HEAD"])?;
    let changed = output(
        "git",
        &[
            "status",
            "--porcelain",
            "--untracked-files=no",
            "--",
            ":!docs",
        ],
    )?;
    Ok(if changed.is_empty() {
        hash
    } else {
        format!("{hash} with changes")
    })
}

/// Times of an append with its sync.
fn sync_times(data: &Path) -> Result<Histogram> {
    let path = data.join("sync");
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let block = [7; 4096];
    let mut times = Histogram::default();
    for _ in 0..SYNCS {
        let start = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.add(start.elapsed());
    }
    fs::remove_file(path)?;
    Ok(times)
}

/// Memory in GiB.
fn memory() -> Result<f64> {
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let kibibytes: u64 = meminfo
        .split_whitespace()
        .nth(1)
        .context("an unknown form of meminfo")?
        .parse()?;
    Ok(float(kibibytes) / 1_048_576.0)
}

/// The distribution.
fn system() -> String {
    fs::read_to_string("/etc/os-release")
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or_else(
            || "Linux".to_owned(),
            |name| name.trim_matches('"').to_owned(),
        )
}

/// The kind of file system that holds a folder.
fn filesystem(data: &Path) -> Result<String> {
    output(
        "stat",
        &["--file-system", "--format=%T", &data.to_string_lossy()],
    )
}

fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("running {program}"))?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// How long a bench waits in all for other processes to leave the machine alone. Used up, it measures as
/// things are, and the report says how they were.
#[derive(Debug)]
pub(crate) struct Patience(Cell<Duration>);

impl Patience {
    /// So much of it.
    pub(crate) const fn new(patience: Duration) -> Self {
        Self(Cell::new(patience))
    }

    /// Whether any is left.
    pub(crate) fn has_some(&self) -> bool {
        !self.0.get().is_zero()
    }

    /// Uses some up.
    pub(crate) fn spend(&self, time: Duration) {
        self.0.set(self.0.get().saturating_sub(time));
    }

    /// Waits until other processes use next to nothing, for as long as there is patience.
    pub(crate) fn wait_until_quiet(&self) -> Result<()> {
        while self.has_some() {
            let begin = Instant::now();
            let others = Others::start()?;
            thread::sleep(Duration::from_millis(300));
            if is_quiet(others.share(Duration::ZERO)?) {
                return Ok(());
            }
            self.spend(begin.elapsed());
        }
        Ok(())
    }
}

/// Lets what disturbs pass.
pub(crate) fn pause() {
    thread::sleep(Duration::from_secs(1));
}

/// Measures what processes that are not part of the bench use meanwhile.
pub(crate) struct Others {
    start: Instant,
    machine: Duration,
    own: Duration,
}

impl Others {
    /// Begins.
    pub(crate) fn start() -> Result<Self> {
        Ok(Self {
            start: Instant::now(),
            machine: process::machine_cpu()?,
            own: process::cpu("self")?,
        })
    }

    /// Their share of all cores since then, where `servers` is what the measured servers used.
    pub(crate) fn share(&self, servers: Duration) -> Result<f64> {
        let all = process::machine_cpu()?.saturating_sub(self.machine);
        let own = process::cpu("self")?.saturating_sub(self.own) + servers;
        let cores = u32::try_from(thread::available_parallelism()?.get())?;
        let time = self.start.elapsed() * cores;
        Ok(all.saturating_sub(own).as_secs_f64() / time.as_secs_f64())
    }
}

/// Whether a run can count: others left the machine alone.
pub(crate) fn is_quiet(share: f64) -> bool {
    share < QUIET
}
