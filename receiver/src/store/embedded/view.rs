//! Who shares the work, and which part of it is whose.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The members of a moment of the log. All replicas have the same ones at the same place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::store) struct View {
    /// Grows with each change of the members.
    pub(in crate::store) number: u64,
    /// Sorted: a process each, by a name that it gave itself at its start.
    pub(in crate::store) members: Vec<Uuid>,
}

impl View {
    /// Whether one is a member.
    pub(in crate::store) fn has(&self, member: &Uuid) -> bool {
        self.members.binary_search(member).is_ok()
    }

    /// Whose a piece of work is: the member whose hash with its name is the largest, so that a change of
    /// the members moves as little work as can be (rendezvous hashing).
    pub(in crate::store) fn owner(&self, work: &str) -> Option<&Uuid> {
        self.members.iter().max_by_key(|member| {
            let mut hash = Sha256::new();
            hash.update(member.as_bytes());
            hash.update(work.as_bytes());
            let hash: [u8; 32] = hash.finalize().into();
            hash
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_leaves_moves_its_own_work_only() {
        let members: Vec<Uuid> = (1..=3).map(Uuid::from_u128).collect();
        let all = View { number: 1, members };
        let mut less = all.clone();
        let gone = less.members.remove(1);
        let mut moved = 0;
        for work in (0..300).map(|number| format!("lane {number}")) {
            let (before, after) = (all.owner(&work), less.owner(&work));
            if before == Some(&gone) {
                moved += 1;
            } else {
                assert_eq!(before, after);
            }
        }
        assert!((60..140).contains(&moved), "{moved} of 300");
        assert_eq!(View::default().owner("lane"), None);
    }
}
