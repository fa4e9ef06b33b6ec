//! The servers as processes, and what the kernel says about them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// The kernel's unit of CPU time in `/proc`: `USER_HZ`, which is 100 on every Linux
/// (<https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>).
const TICK: Duration = Duration::from_millis(10);

/// The first argument of this program as a baseline.
pub(crate) const SERVE: &str = "serve";
/// The first argument of this program as one who fills a store,
pub(crate) const FILL: &str = "fill";
/// and what it says when it has.
pub(crate) const FILLED: &str = "filled";

/// A server that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts a program.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let child = command
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        Ok(Self { child })
    }

    /// Starts one of this program's own servers, and says where it listens.
    pub(crate) fn serve(kind: &str, data: &Path) -> Result<(Self, SocketAddr)> {
        let (process, line) = Self::again(
            Command::new(std::env::current_exe()?)
                .arg(SERVE)
                .arg(kind)
                .arg(data),
        )?;
        let address = line
            .parse()
            .with_context(|| format!("{kind} did not say where it listens"))?;
        Ok((process, address))
    }

    /// Starts a process that fills the store of a folder, and waits until it has.
    pub(crate) fn fill(folder: &Path, events: u64, lanes: usize) -> Result<Self> {
        Self::fill_shared(folder, events, lanes, None)
    }

    /// The same with the shared store, where there is a NATS server.
    pub(crate) fn fill_shared(
        folder: &Path,
        events: u64,
        lanes: usize,
        nats: Option<&str>,
    ) -> Result<Self> {
        let (process, line) = Self::again(
            Command::new(std::env::current_exe()?)
                .arg(FILL)
                .arg(folder)
                .arg(events.to_string())
                .arg(lanes.to_string())
                .args(nats),
        )?;
        ensure!(line == FILLED, "the store was not filled: {line}");
        Ok(process)
    }

    /// Starts this program for another purpose, and waits for its first line.
    fn again(command: &mut Command) -> Result<(Self, String)> {
        let mut process = Self::start(command.stdout(Stdio::piped()))?;
        let out = process.child.stdout.take().context("no standard output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        Ok((process, line.trim().to_owned()))
    }

    /// CPU time used so far, in user and kernel mode.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu(&self.child.id().to_string())
    }

    /// Resident memory now, in bytes.
    pub(crate) fn resident(&self) -> Result<u64> {
        resident(self.child.id())
    }

    /// Of the resident memory, what is the process's own and not a page of a file, in bytes.
    pub(crate) fn own(&self) -> Result<u64> {
        status(self.child.id(), "RssAnon:")
    }

    /// The most resident memory so far, in bytes.
    pub(crate) fn peak(&self) -> Result<u64> {
        peak(self.child.id())
    }
}

/// Resident memory of a process now, in bytes.
pub(crate) fn resident(process: u32) -> Result<u64> {
    status(process, "VmRSS:")
}

/// The most resident memory of a process so far, in bytes.
pub(crate) fn peak(process: u32) -> Result<u64> {
    status(process, "VmHWM:")
}

fn status(process: u32, field: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let kibibytes: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .with_context(|| format!("no {field} of the process"))?
        .parse()?;
    Ok(kibibytes * 1024)
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended already is no error.
        self.child.kill().unwrap_or_default();
        drop(self.child.wait());
    }
}

/// CPU time of a process by its name in `/proc`, `self` included.
pub(crate) fn cpu(process: &str) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The second field is the program's name in parentheses, and may hold spaces.
    let (_, fields) = stat.rsplit_once(')').context("an unknown form of stat")?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || -> Result<u32> { Ok(fields.next().context("stat is short")?.parse()?) };
    Ok(TICK * (ticks()? + ticks()?))
}

/// CPU time of the whole machine, interrupts and what the hypervisor took included: all but idle
/// time and waiting for disks.
pub(crate) fn machine_cpu() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("an empty stat")?;
    let mut sum = 0;
    // user nice system idle iowait irq softirq steal; what follows is part of user and nice.
    for (index, field) in line.split_whitespace().skip(1).take(8).enumerate() {
        if index != 3 && index != 4 {
            sum += field.parse::<u32>()?;
        }
    }
    Ok(TICK * sum)
}
