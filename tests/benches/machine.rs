//! What else the machine does while something is measured.

use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::process;

/// The share of the machine that others may use in a run that counts.
const QUIET: f64 = 0.05;

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
