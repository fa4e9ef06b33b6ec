//! Looking up in the order of the names.

use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;

/// Looks up in a map by keys in their order: each costs a step, and not a search.
pub(crate) struct Walk<'a, K, V>(Peekable<btree_map::Iter<'a, K, V>>);

impl<'a, K: Ord, V> Walk<'a, K, V> {
    /// From the first one on.
    pub(crate) fn of(map: &'a BTreeMap<K, V>) -> Self {
        Self(map.iter().peekable())
    }

    /// What stands under a key that no earlier one was greater than.
    pub(crate) fn find(&mut self, key: &K) -> Option<&'a V> {
        while self.0.next_if(|(next, _)| *next < key).is_some() {}
        let found = self.0.peek().filter(|(next, _)| *next == key);
        found.map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_what_is_there_and_passes_over_the_rest() {
        let map = BTreeMap::from([(1, 'a'), (3, 'c'), (4, 'd'), (9, 'i')]);
        let mut walk = Walk::of(&map);
        let found = [0, 1, 1, 2, 4, 5, 9, 10].map(|key| walk.find(&key).copied());
        let expected = [
            None,
            Some('a'),
            Some('a'),
            None,
            Some('d'),
            None,
            Some('i'),
            None,
        ];
        assert_eq!(found, expected);
    }
}
