//! How much a stand-in takes in a time. Pure: the time is passed in.

use std::collections::{HashMap, VecDeque};
use std::str::FromStr;
use std::time::Duration;

use hookswitch_crds::duration;
use jiff::Timestamp;

/// So many in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: usize,
    /// In which time.
    pub window: Duration,
}

impl Rate {
    /// `count` in each `window`.
    #[must_use]
    pub const fn new(count: usize, window: Duration) -> Self {
        Self { count, window }
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rate = || {
            let (count, window) = text.split_once('/')?;
            let window: duration::Duration = window.trim().parse().ok()?;
            let rate = Self::new(count.trim().parse().ok()?, window.to_std());
            (rate.count > 0 && !rate.window.is_zero()).then_some(rate)
        };
        rate().ok_or_else(|| "write a number and a time, such as 20/1m".to_owned())
    }
}

/// A limit for each key, such as a channel, over a window that slides. What is over it is refused,
/// and does not count.
#[derive(Debug, Clone)]
pub struct Limits {
    rate: Rate,
    taken: HashMap<String, VecDeque<Timestamp>>,
}

impl Limits {
    /// None taken yet.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            taken: HashMap::new(),
        }
    }

    /// The limit in force.
    #[must_use]
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// Another limit from now on.
    pub const fn set(&mut self, rate: Rate) {
        self.rate = rate;
    }

    /// Takes one.
    ///
    /// # Errors
    /// How long to wait, in whole seconds and at least one, where the limit is reached.
    pub fn take(&mut self, key: &str, now: Timestamp) -> Result<(), Duration> {
        let taken = self.taken.entry(key.to_owned()).or_default();
        let start = now
            .saturating_sub(self.rate.window)
            .unwrap_or(Timestamp::MIN);
        while taken.front().is_some_and(|at| *at <= start) {
            taken.pop_front();
        }
        if taken.len() < self.rate.count {
            taken.push_back(now);
            return Ok(());
        }
        let left = taken
            .front()
            .and_then(|oldest| Duration::try_from(oldest.duration_since(start)).ok())
            .unwrap_or_default();
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        Err(Duration::from_secs(seconds.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    #[test]
    fn a_limit_slides_and_tells_how_long_to_wait() {
        let mut limits = Limits::new(Rate::new(2, Duration::from_secs(10)));
        assert_eq!(limits.take("a", at(0)), Ok(()));
        assert_eq!(limits.take("a", at(4000)), Ok(()));
        assert_eq!(limits.take("a", at(4500)), Err(Duration::from_secs(6)));
        assert_eq!(limits.take("b", at(4500)), Ok(()));
        assert_eq!(limits.take("a", at(10_000)), Ok(()));
        assert_eq!(limits.take("a", at(10_001)), Err(Duration::from_secs(4)));
    }

    #[test]
    fn a_rate_is_a_number_and_a_time() {
        assert_eq!("20/1m".parse(), Ok(Rate::new(20, Duration::from_mins(1))));
        for wrong in ["20", "0/1m", "x/1m", "20/x", "20/0s", ""] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
