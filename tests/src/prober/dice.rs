//! Chance that can be repeated: the same seed gives the same numbers.

use std::time::Duration;

/// A generator of numbers: `SplitMix64` (<https://prng.di.unimi.it/splitmix64.c>).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// One with a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed that was not there before.
    #[must_use]
    pub fn seed() -> u64 {
        uuid::Uuid::now_v7().as_u64_pair().1 % 1_000_000
    }

    /// A number below `end`, which is not 0.
    ///
    /// # Panics
    /// Where there is none.
    pub const fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    /// One of these many, as an index.
    ///
    /// # Panics
    /// Where there are none.
    pub fn index(&mut self, count: usize) -> usize {
        let end = u64::try_from(count).expect("a count");
        usize::try_from(self.below(end)).expect("less than the count")
    }

    /// A time shorter than this, to the millisecond.
    pub fn time(&mut self, end: Duration) -> Duration {
        let millis = u64::try_from(end.as_millis()).expect("a short time");
        Duration::from_millis(self.below(millis.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_and_all_of_them() {
        let numbers = |seed| {
            let mut dice = Dice::new(seed);
            (0..100).map(|_| dice.index(6)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(1), numbers(1));
        assert_ne!(numbers(1), numbers(2));
        assert!((0..6).all(|side| numbers(1).contains(&side)));
    }
}
