//! The rate limit of a lane: governor's leaky bucket on tokio's clock.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use hookswitch_crds::snapshot::RateLimit;
use tokio::time::Instant;

/// The longest that refilling a bucket may take; a slower rate or a larger burst is cut to it, so that
/// no setting overflows governor's 64 bits of nanoseconds.
const LONGEST_REFILL: Duration = Duration::from_hours(30 * 24);

/// Tokio's clock, as the time since the limit was made.
#[derive(Debug, Clone)]
struct TokioClock(Instant);

impl Clock for TokioClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A limit on attempts, with at most one permit put by.
///
/// A permit is taken before it is known whether anything is due, so that nothing is read from the
/// store while the limit is reached; where nothing was due, the permit stays for later.
#[derive(Debug)]
pub(super) struct Limit {
    settings: Option<RateLimit>,
    bucket: Option<Bucket>,
    put_by: bool,
}

#[derive(Debug)]
struct Bucket {
    limiter: RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Duration>>,
    clock: TokioClock,
    refill: Duration,
}

impl Limit {
    /// `None` and a rate that is no rate (zero, negative, not a number) are no limit.
    pub(super) fn new(settings: Option<RateLimit>) -> Self {
        Self {
            settings,
            bucket: settings.and_then(Bucket::new),
            put_by: false,
        }
    }

    /// Starts again where the settings are others; else what is used up stays used up.
    pub(super) fn follow(&mut self, settings: Option<RateLimit>) {
        if self.settings != settings {
            *self = Self::new(settings);
        }
    }

    /// Whether an attempt may start, or when. The permit is put by.
    pub(super) fn ready(&mut self) -> Result<(), Instant> {
        self.put_by = self.put_by || self.check()?;
        Ok(())
    }

    /// Takes the permit for one attempt.
    pub(super) fn take(&mut self) -> bool {
        std::mem::take(&mut self.put_by) || self.check().is_ok()
    }

    /// How long until an empty bucket is full: forgetting the limit earlier would lift it.
    pub(super) fn refill(&self) -> Duration {
        self.bucket
            .as_ref()
            .map_or(Duration::ZERO, |bucket| bucket.refill)
    }

    fn check(&self) -> Result<bool, Instant> {
        let Some(Bucket { limiter, clock, .. }) = &self.bucket else {
            return Ok(true);
        };
        limiter
            .check()
            .map(|()| true)
            .map_err(|wait| Instant::now() + wait.wait_time_from(clock.now()))
    }
}

impl Bucket {
    fn new(settings: RateLimit) -> Option<Self> {
        let period = Duration::try_from_secs_f64(settings.per_second.recip())
            .ok()?
            .min(LONGEST_REFILL);
        let most = LONGEST_REFILL.as_nanos().checked_div(period.as_nanos())?;
        let burst = settings.burst.min(u32::try_from(most).unwrap_or(u32::MAX));
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(period)?.allow_burst(burst);
        let clock = TokioClock(Instant::now());
        Some(Self {
            limiter: RateLimiter::direct_with_clock(quota, clock.clone()),
            clock,
            refill: period.saturating_mul(burst.get()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(per_second: f64, burst: u32) -> Limit {
        Limit::new(Some(RateLimit { per_second, burst }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_at_once_and_then_the_rate_rules() {
        let mut limit = limit(0.5, 3);
        for _ in 0..3 {
            assert_eq!(limit.ready(), Ok(()));
            assert!(limit.take());
        }
        assert!(!limit.take());
        let until = limit.ready().unwrap_err();
        assert_eq!(until - Instant::now(), Duration::from_secs(2));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(limit.ready(), Ok(()));
        assert!(limit.take());
        assert!(!limit.take());
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_that_is_put_by_counts_once() {
        let mut limit = limit(1.0, 2);
        for _ in 0..10 {
            assert_eq!(limit.ready(), Ok(()));
        }
        assert!(limit.take());
        assert!(limit.take());
        assert!(!limit.take());
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_settings_again_lift_nothing() {
        let settings = Some(RateLimit {
            per_second: 1.0,
            burst: 1,
        });
        let mut limit = Limit::new(settings);
        assert!(limit.take());
        limit.follow(settings);
        assert!(!limit.take());
        limit.follow(None);
        assert!(limit.take());
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_that_is_none_does_not_panic() {
        for per_second in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300, 1e-9, 1e-300] {
            for burst in [0, u32::MAX] {
                assert!(limit(per_second, burst).take());
            }
        }
    }
}
