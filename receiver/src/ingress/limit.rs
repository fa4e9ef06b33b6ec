//! Rate limits: of a subscription's events, and of what strangers can cause.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use hookswitch_crds::snapshot::Limits;

use super::Rate;

/// Sources that are remembered at once. One more shares a limit with all others that came too late.
const MOST_SOURCES: usize = 16_384;
/// How many admissions lie between two looks for sources that can be forgotten.
const SWEEP_EVERY: u64 = 1_024;
/// What all sources together may cause.
const ALL_SOURCES: Rate = Rate {
    per_second: NonZeroU32::MIN.saturating_add(99),
    burst: NonZeroU32::MIN.saturating_add(199),
};
/// Bits of an IPv6 address that a client may choose freely.
const IPV6_HOST_BITS: u32 = 64;

/// tokio's clock, so that tests in virtual time move it.
#[derive(Debug, Clone, Copy, Default)]
struct Ticks;

impl Clock for Ticks {
    type Instant = Instant;

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

type Limiter<K, S> = RateLimiter<K, S, Ticks, NoOpMiddleware<Instant>>;

/// A subscription's `eventsPerSecond` and `burst`.
#[derive(Debug)]
pub(super) struct EventLimiter {
    settings: (u32, Option<u32>),
    limiter: Limiter<NotKeyed, InMemoryState>,
}

impl EventLimiter {
    /// `None` where there is no limit.
    pub(super) fn new(limits: &Limits) -> Option<Self> {
        let per_second = limits.events_per_second?;
        let rate = NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
        let burst = limits.burst.and_then(NonZeroU32::new).unwrap_or(rate);
        let quota = Quota::per_second(rate).allow_burst(burst);
        Some(Self {
            settings: (per_second, limits.burst),
            limiter: RateLimiter::new(quota, InMemoryState::default(), Ticks),
        })
    }

    /// Whether it enforces these limits.
    pub(super) fn is_for(&self, limits: &Limits) -> bool {
        limits
            .events_per_second
            .is_some_and(|per_second| self.settings == (per_second, limits.burst))
    }

    /// Charges one event.
    ///
    /// # Errors
    /// With the time to wait, where there is no room.
    pub(super) fn check(&self) -> Result<(), Duration> {
        self.limiter
            .check()
            .map_err(|refused| refused.wait_time_from(Ticks.now()))
    }
}

/// What each source address may cause before it is verified. Its memory is bounded.
pub(super) struct Sources {
    each: Limiter<IpAddr, DashMapStateStore<IpAddr>>,
    late: Limiter<NotKeyed, InMemoryState>,
    all: Limiter<NotKeyed, InMemoryState>,
    admissions: AtomicU64,
    refused: AtomicU64,
}

/// A source has used up its share.
#[derive(Debug)]
pub(super) struct Exhausted;

impl Sources {
    pub(super) fn new(rate: Rate) -> Self {
        let quota = |rate: Rate| Quota::per_second(rate.per_second).allow_burst(rate.burst);
        Self {
            each: RateLimiter::new(quota(rate), DashMapStateStore::default(), Ticks),
            late: RateLimiter::new(quota(rate), InMemoryState::default(), Ticks),
            all: RateLimiter::new(quota(ALL_SOURCES), InMemoryState::default(), Ticks),
            admissions: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Charges a source, and tells how many were refused since the last one that was admitted.
    pub(super) fn admit(&self, source: IpAddr) -> Result<u64, Exhausted> {
        let admitted = self.of(source) && self.all.check().is_ok();
        if admitted {
            Ok(self.refused.swap(0, Ordering::Relaxed))
        } else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            Err(Exhausted)
        }
    }

    fn of(&self, source: IpAddr) -> bool {
        let admissions = self.admissions.fetch_add(1, Ordering::Relaxed);
        if admissions % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.each.retain_recent();
        }
        if self.each.len() < MOST_SOURCES {
            self.each.check_key(&network(source)).is_ok()
        } else {
            self.late.check().is_ok()
        }
    }
}

/// The addresses that one client can choose among.
fn network(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() >> IPV6_HOST_BITS << IPV6_HOST_BITS).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_second: NonZeroU32::MIN,
        burst: NonZeroU32::MIN.saturating_add(1),
    };

    #[tokio::test(start_paused = true)]
    async fn each_source_has_its_own_share_which_comes_back() {
        let sources = Sources::new(RATE);
        let [one, other] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
        let admit = |source| sources.admit(source).ok();
        assert_eq!(
            [admit(one), admit(one), admit(one), admit(one)],
            [Some(0), Some(0), None, None]
        );
        assert_eq!(admit(other), Some(2));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!([admit(one), admit(one)], [Some(0), None]);
        // One IPv6 client has a whole network to choose from.
        let [a, b, c] = ["2001:db8::1", "2001:db8::2:2", "2001:db8:0:1::1"]
            .map(|address| address.parse::<IpAddr>().unwrap());
        assert!([a, b].iter().all(|source| admit(*source).is_some()));
        assert_eq!(admit(a), None);
        assert!(admit(c).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn many_sources_use_bounded_memory_and_are_limited_together() {
        let sources = Sources::new(RATE);
        let admitted = (0..100_000_u32)
            .filter(|bits| {
                sources
                    .admit(std::net::Ipv4Addr::from_bits(*bits).into())
                    .is_ok()
            })
            .count();
        assert_eq!(admitted, 200);
        assert!(sources.each.len() <= MOST_SOURCES);
        tokio::time::advance(Duration::from_mins(1)).await;
        for _ in 0..SWEEP_EVERY {
            drop(sources.admit([192, 0, 2, 1].into()));
        }
        assert!(sources.each.len() <= 1);
    }
}
