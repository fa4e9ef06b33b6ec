//! Tells what happens now and then from what goes on and on.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// More than this within [`WINDOW`] goes on.
const NOW_AND_THEN: u32 = 5;
/// What is looked at together.
const WINDOW: Duration = Duration::from_mins(10);

/// Counts what happens.
#[derive(Debug, Default)]
pub(super) struct Often {
    /// Since when, and how often.
    counted: Mutex<Option<(Instant, u32)>>,
}

impl Often {
    /// It has happened again: true where it goes on.
    pub(super) fn again(&self, now: Instant) -> bool {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = counted
            .filter(|(since, _)| now.duration_since(*since) < WINDOW)
            .unwrap_or((now, 0));
        let count = count.saturating_add(1);
        *counted = Some((since, count));
        count > NOW_AND_THEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_happens_now_and_then_does_not_go_on() {
        let often = Often::default();
        let start = Instant::now();
        let seconds = |seconds| start + Duration::from_secs(seconds);
        let told: Vec<bool> = (0..7).map(|at| often.again(seconds(at))).collect();
        assert_eq!(told, [false, false, false, false, false, true, true]);
        assert!(!often.again(seconds(600)));
    }
}
