//! The circuit breaker of a lane: stops asking a destination that fails, and comes back gently.
//!
//! ```text
//!           `failures` in a row                  `open_for` passed, nothing in flight
//!  closed ───────────────────────▶ open ───────────────────────────────▶ one attempt
//!    ▲                              ▲                                        │
//!    │                              └───────────── fails ────────────────────┤
//!    └──────────── any success; the window starts again at 1 ────────────────┘
//! ```
//!
//! Half open needs no state of its own: once `open_for` has passed there is room for one attempt
//! while nothing is in flight, and that attempt's end closes the circuit or opens it anew.
//!
//! The window is how many attempts may be in flight. It starts small, grows by one with each success
//! (so doubles with each round) and falls to 1 when the circuit opens: a destination that comes back
//! is not met by all that has queued up, and one that hangs holds few connections.

use hookswitch_crds::snapshot::CircuitBreaker;
use tokio::time::Instant;

/// The most attempts in flight at once to one destination.
pub(super) const MAX_IN_FLIGHT: usize = 32;

/// How many at first, before the destination has answered.
const FIRST_WINDOW: usize = 4;

/// The state of one lane's circuit.
#[derive(Debug)]
pub(super) struct Breaker {
    failures: u32,
    open_until: Option<Instant>,
    window: usize,
}

impl Breaker {
    pub(super) fn new() -> Self {
        Self {
            failures: 0,
            open_until: None,
            window: FIRST_WINDOW,
        }
    }

    /// How many attempts may start now; where the circuit is open, from when one may.
    pub(super) fn room(&self, in_flight: usize, now: Instant) -> Result<usize, Instant> {
        match self.open_until {
            Some(until) if now < until => Err(until),
            Some(_) => Ok(usize::from(in_flight == 0)),
            None => Ok(self.window.saturating_sub(in_flight)),
        }
    }

    /// Whether the circuit is open or half open.
    pub(super) fn is_open(&self) -> bool {
        self.open_until.is_some()
    }

    /// The destination works: it took an attempt, or refused it for what it held.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.open_until = None;
        self.window = MAX_IN_FLIGHT.min(self.window + 1);
    }

    /// The destination failed. Those that were in flight when the circuit opened change nothing.
    pub(super) fn failed(&mut self, settings: CircuitBreaker, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let open = self.open_until.is_some_and(|until| now < until);
        if !open && (self.open_until.is_some() || self.failures >= settings.failures) {
            self.open_until = Some(now + settings.open_for.to_std());
            self.window = 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hookswitch_crds::duration::Duration;

    const SETTINGS: CircuitBreaker = CircuitBreaker {
        failures: 3,
        open_for: Duration::from_secs(30),
    };

    fn after(start: Instant, seconds: u64) -> Instant {
        start + std::time::Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_open_it_and_a_success_between_them_does_not() {
        let start = Instant::now();
        let mut breaker = Breaker::new();
        breaker.failed(SETTINGS, start);
        breaker.failed(SETTINGS, start);
        breaker.succeeded();
        breaker.failed(SETTINGS, start);
        breaker.failed(SETTINGS, start);
        assert!(!breaker.is_open());
        breaker.failed(SETTINGS, start);
        assert_eq!(breaker.room(0, start), Err(after(start, 30)));
    }

    #[tokio::test(start_paused = true)]
    async fn half_open_lets_exactly_one_through_and_its_failure_opens_it_anew() {
        let start = Instant::now();
        let mut breaker = Breaker::new();
        for _ in 0..5 {
            breaker.failed(SETTINGS, start);
        }
        assert_eq!(breaker.room(2, after(start, 29)), Err(after(start, 30)));
        let probe = after(start, 30);
        assert_eq!(breaker.room(1, probe), Ok(0), "an old attempt is in flight");
        assert_eq!(breaker.room(0, probe), Ok(1));
        breaker.failed(SETTINGS, after(start, 31));
        assert_eq!(breaker.room(0, after(start, 31)), Err(after(start, 61)));
    }

    #[tokio::test(start_paused = true)]
    async fn after_an_outage_the_window_opens_step_by_step() {
        let start = Instant::now();
        let mut breaker = Breaker::new();
        for _ in 0..3 {
            breaker.failed(SETTINGS, start);
        }
        breaker.succeeded();
        assert_eq!(breaker.room(0, start), Ok(2));
        for _ in 0..100 {
            breaker.succeeded();
        }
        assert_eq!(breaker.room(0, start), Ok(MAX_IN_FLIGHT));
        assert_eq!(breaker.room(MAX_IN_FLIGHT, start), Ok(0));
    }
}
