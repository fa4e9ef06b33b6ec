//! How long to wait before the next attempt.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use hookswitch_crds::snapshot::Delivery;

/// The most that a `Retry-After` is followed for, unless `backoff.max` is longer: a destination
/// can't put a delivery off for ever.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// The delay after attempt number `attempts`, chosen at random from zero to the exponential one:
/// with full jitter, those that failed together do not come back together.
pub(super) fn delay(settings: &Delivery, attempts: u32) -> Duration {
    jitter(ceiling(settings, attempts))
}

/// The delay after an answer that said how long to wait: not before that, and spread over
/// `backoff.initial` after it.
pub(super) fn delay_after(settings: &Delivery, retry_after: Duration) -> Duration {
    let longest = MAX_RETRY_AFTER.max(settings.backoff_max.to_std());
    retry_after.min(longest) + jitter(settings.backoff_initial.to_std())
}

/// The longest delay after attempt number `attempts`.
fn ceiling(settings: &Delivery, attempts: u32) -> Duration {
    let (initial, max) = (
        settings.backoff_initial.to_std(),
        settings.backoff_max.to_std(),
    );
    // 2^63 ms is for ever: more doublings change nothing.
    let doublings = usize::try_from(attempts.saturating_sub(1).min(63)).unwrap_or(63);
    ExponentialBuilder::new()
        .with_min_delay(initial)
        .with_max_delay(max)
        .without_max_times()
        .build()
        .nth(doublings)
        .unwrap_or(max)
        .min(max)
}

fn jitter(ceiling: Duration) -> Duration {
    rand::random_range(Duration::ZERO..=ceiling)
}

#[cfg(test)]
mod tests {
    use hookswitch_crds::duration::Duration as Span;
    use proptest::prelude::*;

    use super::*;
    use crate::deliver::tests::settings;

    fn backoff(initial: Duration, max: Duration) -> Delivery {
        let millis =
            |span: Duration| Span::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
        Delivery {
            backoff_initial: millis(initial),
            backoff_max: millis(max),
            ..settings()
        }
    }

    proptest! {
        #[test]
        fn the_delay_is_never_longer_than_the_exponential_one_or_the_maximum(
            attempts in 0_u32..100_000,
            initial in 0_u64..100_000,
            max in 0_u64..10_000_000,
        ) {
            let settings = backoff(Duration::from_millis(initial), Duration::from_millis(max));
            let doubled = 2_u64.saturating_pow(attempts.saturating_sub(1)).saturating_mul(initial);
            prop_assert!(delay(&settings, attempts) <= Duration::from_millis(doubled.min(max)));
        }

        #[test]
        fn a_retry_after_is_kept_and_bounded(seconds in 0_u64..1_000_000_000) {
            let settings = backoff(Duration::from_secs(2), Duration::from_mins(10));
            let delay = delay_after(&settings, Duration::from_secs(seconds));
            let kept = Duration::from_secs(seconds).min(MAX_RETRY_AFTER);
            prop_assert!(delay >= kept && delay <= kept + Duration::from_secs(2));
        }
    }

    #[test]
    fn jitter_is_full_it_reaches_both_ends_of_the_range() {
        let settings = backoff(Duration::from_secs(1), Duration::from_mins(10));
        let delays: Vec<_> = (0..2000).map(|_| delay(&settings, 4)).collect();
        let low = delays.iter().filter(|delay| delay.as_secs() < 2).count();
        let high = delays.iter().filter(|delay| delay.as_secs() >= 6).count();
        assert!(
            (300..700).contains(&low),
            "{low} of 2000 in the first quarter"
        );
        assert!(
            (300..700).contains(&high),
            "{high} of 2000 in the last quarter"
        );
    }
}
