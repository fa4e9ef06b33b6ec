//! A machine whose disk is full or slow, and whose clock is wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::destination::Behaviour;
use crate::hookswitch::Hookswitch;
use crate::prober::dice::Dice;
use crate::prober::outcome::{Outcome, spread};
use crate::prober::scenario::Settings;
use crate::prober::scenario::receivers::three_killed;
use crate::prober::service::Service;
use crate::prober::stage::{QUICK, Stage};
use crate::prober::trial::Trial;
use crate::servers::nats::Nats;
use crate::servers::process::{Folder, Process};
use crate::small_disk::SmallDisk;
use crate::wait;

/// How long something may take that takes a moment.
const SOON: Duration = Duration::from_secs(30);

/// No room is left on the data directory's file system, then there is room again.
pub(super) async fn disk_full(settings: &Settings) -> Outcome {
    let stage = Stage::embedded(QUICK).await;
    let disk = SmallDisk::mount(&stage.data(0), "32m");
    let receiver = stage.receiver(0).await;
    let service = Service::new();
    service.add(0, &receiver);
    let mut trial = Trial::start(&stage, service, settings.pace);
    let mut healed = Vec::new();
    for _ in 0..settings.rounds {
        trial.answered(50).await;
        trial.breaks();
        disk.fill();
        trial.refused(1).await;
        trial.lasts(settings.hold).await;
        disk.make_room();
        let begin = std::time::Instant::now();
        trial.answered(1).await;
        healed.push(begin.elapsed());
        trial.delivered().await;
        trial.mended();
    }
    let verdict = trial.end().await;
    receiver.kill().await;
    Outcome::new(verdict)
        .fact("filled", settings.rounds.to_string())
        .fact(
            "from there being room until the next event is answered 200",
            spread(healed),
        )
}

/// Syncs take longer, then no longer.
pub(super) async fn disk_slow(settings: &Settings) -> Outcome {
    let folder = Folder::new("hookswitch-strace-");
    let stage = Stage::embedded(QUICK).await;
    let receiver = stage.receiver(0).await;
    let service = Service::new();
    service.add(0, &receiver);
    let mut trial = Trial::start(&stage, service, settings.pace);
    for delay in [100, 1000, 5000].into_iter().cycle().take(settings.rounds) {
        trial.answered(50).await;
        trial.breaks();
        let slow = SlowSyncs::start(&receiver, Duration::from_millis(delay), &folder).await;
        trial.lasts(settings.hold).await;
        slow.end(&receiver).await;
        trial.delivered().await;
        trial.mended();
    }
    let verdict = trial.end().await;
    Outcome::new(verdict).fact("slow", format!("{} times", settings.rounds))
}

/// Holds back the syncs of a process.
struct SlowSyncs(Process);

impl SlowSyncs {
    async fn start(receiver: &Hookswitch, delay: Duration, folder: &Folder) -> Self {
        let log = folder.path().join("log");
        let arguments = [
            "-f".to_owned(),
            "-qq".to_owned(),
            format!("--attach={}", receiver.pid()),
            "--output=/dev/null".to_owned(),
            "--trace=fsync,fdatasync".to_owned(),
            format!("--inject=fsync,fdatasync:delay_exit={}", delay.as_micros()),
        ];
        // It lets go where it is asked to, and would leave the process stopped where it is killed.
        let mut strace = Process::start_tidy(Path::new("strace"), arguments, &log, "INT");
        wait::until("strace to hold the receiver", SOON, async || {
            if let Some(status) = strace.ended() {
                panic!(
                    "strace ended with {status}: run `make needs`, or install strace, and allow ptrace\n{}",
                    strace.log()
                );
            }
            (tracer(receiver) != 0).then_some(())
        })
        .await;
        Self(strace)
    }

    async fn end(self, receiver: &Hookswitch) {
        let Self(mut strace) = self;
        strace.signal("INT");
        wait::until("strace to let go", SOON, async || {
            strace.ended()?;
            (tracer(receiver) == 0).then_some(())
        })
        .await;
    }
}

/// Who traces a receiver; 0 is nobody (<https://man7.org/linux/man-pages/man5/proc_pid_status.5.html>).
fn tracer(receiver: &Hookswitch) -> u32 {
    let status = fs::read_to_string(format!("/proc/{}/status", receiver.pid()));
    let status = status.expect("the receiver runs");
    let tracer = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.expect("a tracer").trim().parse().expect("a number")
}

/// Jumps to and fro, while deliveries wait.
pub(super) async fn clock_jumps(settings: &Settings) -> Outcome {
    let mut dice = Dice::new(settings.seed);
    let mut stage = Stage::embedded(QUICK).await;
    let clock = FakeClock::new();
    stage.start.environment = clock.environment();
    let receiver = stage.receiver(0).await;
    let service = Service::new();
    service.add(0, &receiver);
    let mut trial = Trial::start(&stage, service, settings.pace);
    let mut offset = 0;
    for round in 0..settings.rounds {
        trial.answered(20).await;
        trial.breaks();
        stage.destination.behave(Behaviour::Fails(503));
        trial.lasts(settings.hold / 2).await;
        // By turns up to two hours forward, and up to 20 seconds back.
        offset += if round % 2 == 0 {
            i64::try_from(dice.below(2 * 3600)).expect("hours")
        } else {
            -i64::try_from(dice.below(20)).expect("seconds")
        };
        clock.set(offset);
        trial.lasts(settings.hold / 2).await;
        stage.destination.behave(Behaviour::Works);
        trial.mended();
    }
    let verdict = trial.end().await;
    Outcome::new(verdict).fact("jumps", settings.rounds.to_string())
}

/// Three receivers, each with a time of day of its own.
pub(super) async fn clocks_differ(settings: &Settings) -> Outcome {
    let servers = Nats::cluster().await;
    let clocks = [0, 2, -2].map(|offset| {
        let clock = FakeClock::new();
        clock.set(offset);
        clock
    });
    // One workspace and one destination: only the clocks differ.
    let stage = Stage::shared(QUICK, &servers, settings.takeover).await;
    let [right, ahead, behind] = clocks
        .each_ref()
        .map(|clock| stage.with(clock.environment()));
    three_killed(settings, &[&right, &ahead, &behind]).await
}

/// A time of day that is moved while it is read, by libfaketime.
struct FakeClock {
    file: PathBuf,
    _folder: TempDir,
}

impl FakeClock {
    /// One that is right.
    fn new() -> Self {
        let folder = TempDir::with_prefix("hookswitch-clock-").expect("a temporary directory");
        let this = Self {
            file: folder.path().join("offset"),
            _folder: folder,
        };
        this.set(0);
        this
    }

    /// Sets how many seconds it is ahead.
    fn set(&self, offset: i64) {
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{offset:+}\n")).expect("the clock can be set");
        fs::rename(new, &self.file).expect("the clock can be set");
    }

    /// What a process needs to read it: <https://github.com/wolfcw/libfaketime>.
    fn environment(&self) -> Vec<(String, String)> {
        let file = self.file.display().to_string();
        let library = library().display().to_string();
        let variables = [
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", file.as_str()),
            // It is looked at again each second.
            ("FAKETIME_CACHE_DURATION", "1"),
            // A clock that is set moves the time of day only.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        variables.to_vec()
    }
}

/// Where Debian and others put it.
fn library() -> PathBuf {
    let name = "faketime/libfaketimeMT.so.1";
    let here = [PathBuf::from("/usr/lib"), PathBuf::from("/usr/lib64")];
    let folders = fs::read_dir("/usr/lib").into_iter().flatten();
    let folders = folders.filter_map(Result::ok).map(|entry| entry.path());
    let found = here
        .into_iter()
        .chain(folders)
        .map(|folder| folder.join(name));
    let mut found = found.filter(|library| library.exists());
    found
        .next()
        .expect("libfaketime is there: run `make needs`, or install faketime")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_time_of_day_is_moved() {
        let clock = FakeClock::new();
        let year = |offset: i64| {
            clock.set(offset);
            let date = Command::new("date")
                .args(["-u", "+%Y"])
                .envs(clock.environment())
                .output();
            let year = String::from_utf8(date.expect("there is date").stdout).expect("a text");
            year.trim().parse::<i64>().expect("a year")
        };
        let day = 24 * 3600;
        assert_eq!(year(3660 * day) - year(0), 10);
        assert_eq!(year(0) - year(-3660 * day), 10);
    }
}
