//! Latencies, counted in buckets that are at most 1.6 % wide.
//!
//! Up to 128 ns each nanosecond has its bucket; from there on each power of two is cut into 64. A
//! sample costs an index and an addition, so measuring does not disturb what is measured.

use std::time::Duration;

/// Each power of two is cut into `1 << BITS` buckets.
const BITS: u32 = 6;

/// Counts of latencies.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: Duration,
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, latency: Duration) {
        let index = bucket(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
        if index >= self.buckets.len() {
            self.buckets.resize(index + 1, 0);
        }
        if let Some(bucket) = self.buckets.get_mut(index) {
            *bucket += 1;
        }
        self.count += 1;
        self.max = self.max.max(latency);
    }

    /// Counts all that another one counted.
    pub fn merge(&mut self, other: &Self) {
        if other.buckets.len() > self.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// How many were counted.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The latency that this many of a thousand do not exceed; zero where nothing was counted.
    #[must_use]
    pub fn permille(&self, permille: u64) -> Duration {
        let rank = (self.count * permille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(upper(index)).min(self.max);
            }
        }
        Duration::ZERO
    }
}

/// The bucket of a number of nanoseconds.
fn bucket(nanos: u64) -> usize {
    let exponent = (u64::BITS - 1).saturating_sub(nanos.leading_zeros());
    let shift = exponent.saturating_sub(BITS);
    let index = (u64::from(shift) << BITS) + (nanos >> shift);
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// The largest number of nanoseconds in a bucket.
fn upper(index: usize) -> u64 {
    let index = u64::try_from(index).unwrap_or(u64::MAX);
    let shift = (index >> BITS).saturating_sub(1);
    ((index - (shift << BITS) + 1) << shift) - 1
}
