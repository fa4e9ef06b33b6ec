//! Which of many runs may hold a key: a Bloom filter for each run, laid out so that one look
//! answers for 64 runs.
//!
//! ```text
//!              run 0  run 1  ...  run 63
//! position 0     1      0           0      one u64
//! position 1     0      0           1      one u64
//!    ...
//! ```
//!
//! A key has six positions; the words there, and-ed, name the runs that may hold it. With 16,384 keys
//! a run one run in a thousand is named wrongly. 64 runs, a million keys, take 2 MiB.

use super::dedup::Key;

/// Positions, a power of two: 16 for each key of a full run.
const POSITIONS: usize = 1 << 18;
/// Bytes of one run's filter in the file.
pub(super) const BYTES: usize = POSITIONS / 8;

/// The filters of up to 64 runs.
#[derive(Debug)]
pub(super) struct Group(Vec<u64>);

impl Default for Group {
    fn default() -> Self {
        Self(vec![0; POSITIONS])
    }
}

impl Group {
    /// The runs that may hold the key, a bit each.
    pub(super) fn runs_with(&self, key: &Key) -> u64 {
        positions(key).fold(u64::MAX, |runs, position| {
            runs & self.0.get(position).copied().unwrap_or(0)
        })
    }

    /// Adds a key to a run's filter.
    pub(super) fn add(&mut self, bit: u32, key: &Key) {
        for position in positions(key) {
            if let Some(word) = self.0.get_mut(position) {
                *word |= 1 << bit;
            }
        }
    }

    /// Empties a run's filter.
    pub(super) fn clear(&mut self, bit: u32) {
        for word in &mut self.0 {
            *word &= !(1 << bit);
        }
    }

    /// A run's filter as it is kept in the file.
    pub(super) fn to_bytes(&self, bit: u32) -> Vec<u8> {
        self.0
            .chunks(8)
            .map(|words| {
                words.iter().rev().fold(0, |byte, word| {
                    (byte << 1) | u8::from((word >> bit) & 1 == 1)
                })
            })
            .collect()
    }

    /// Takes a run's filter from the file.
    pub(super) fn load(&mut self, bit: u32, bytes: &[u8; BYTES]) {
        for (words, byte) in self.0.chunks_mut(8).zip(bytes) {
            if *byte != 0 {
                for (place, word) in words.iter_mut().enumerate() {
                    *word |= u64::from((byte >> place) & 1) << bit;
                }
            }
        }
    }
}

/// A key is a piece of a SHA-256, so parts of it are as good as hashes.
fn positions(key: &Key) -> impl Iterator<Item = usize> {
    let half = |range: std::ops::Range<usize>| {
        key.get(range)
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(0, u64::from_le_bytes)
    };
    let (a, b) = (half(0..8), half(8..16) | 1);
    (0..6_u64).map(move |n| {
        let hash = a.wrapping_add(n.wrapping_mul(b)) >> 20;
        usize::try_from(hash).unwrap_or(0) % POSITIONS
    })
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    fn key(n: u32) -> Key {
        Sha256::digest(n.to_le_bytes())[..16].try_into().unwrap()
    }

    #[test]
    fn names_the_runs_that_hold_a_key_and_few_others() {
        let mut group = Group::default();
        for n in 0..16_384 {
            group.add(3, &key(n));
        }
        for n in 0..1000 {
            group.add(63, &key(n));
        }
        assert!((0..16_384).all(|n| group.runs_with(&key(n)) & (1 << 3) != 0));
        assert!((0..1000).all(|n| group.runs_with(&key(n)) & (1 << 63) != 0));
        let wrong = (20_000..120_000)
            .filter(|n| group.runs_with(&key(*n)) != 0)
            .count();
        assert!(wrong < 400, "{wrong} of 100,000 named wrongly");

        let bytes = group.to_bytes(3);
        group.clear(3);
        assert_eq!(group.runs_with(&key(5000)), 0);
        assert_ne!(group.runs_with(&key(500)), 0, "the other run is untouched");
        group.load(9, bytes.as_slice().try_into().unwrap());
        assert!((0..16_384).all(|n| group.runs_with(&key(n)) & (1 << 9) != 0));
    }
}
