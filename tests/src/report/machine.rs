//! The machine, without its name: what a reader needs to compare.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use jiff::Timestamp;

use crate::histogram::Histogram;
use crate::numbers::{float, millis};

/// Appends that the disk's sync time is measured with.
const SYNCS: u32 = 1000;

/// A line of Markdown that says what the numbers depend on; `data` is on the disk that is measured.
///
/// # Errors
/// Where the machine can't be asked.
pub fn describe(data: &Path) -> Result<String> {
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
        "*Measured on {} at commit {}, in the {} profile: {} (family {}, model {}), {} cores{}, {sha}; {:.0} GiB; \
         {}, Linux {}; {}, where an append of 4 KiB with its fdatasync takes {} ms (median; p99 {} ms, p99.9 {} ms); {}.*",
        Timestamp::now().strftime("%-d %B %Y"),
        commit()?,
        if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        },
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
