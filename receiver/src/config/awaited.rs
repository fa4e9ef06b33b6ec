//! Whether what the configuration lacks is gone, or only not here yet.
//!
//! Receivers that share a store load a new configuration each at its own moment. What one of them plans by it
//! another one meets that has the one before, in which a destination or a rule may be missing. So nothing is given up
//! before the configuration that planned it has had time to come.
//!
//! A sequence may go back: where the snapshot's Secrets were lost with everything that knew of them, and in a
//! standalone run, which counts its own edits. So a newer one is waited for, but not for ever, and only by what would
//! be given up otherwise: what the configuration has goes on whatever planned it.

use jiff::{SignedDuration, Timestamp};

/// How long what a newer configuration planned waits for it: as long as deliveries are tried by default.
const NEWER: SignedDuration = SignedDuration::from_hours(48);
/// How long anything does. The sequence says little of what was planned just now: the snapshot's shards come one after
/// the other, and what is replayed or retried has its plan's sequence.
const JUST_PLANNED: SignedDuration = SignedDuration::from_mins(1);

/// What planned something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// The sequence of the snapshot.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
}

impl Planned {
    /// Until when what the configuration of this sequence lacks may still come; `None` where it is gone.
    #[must_use]
    pub fn awaits(self, loaded: u64, now: Timestamp) -> Option<Timestamp> {
        let patience = if self.sequence > loaded {
            NEWER
        } else {
            JUST_PLANNED
        };
        let until = self.at.saturating_add(patience).unwrap_or(Timestamp::MAX);
        (now < until).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_configuration_is_waited_for_and_an_older_one_hardly() {
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        let planned = Planned { sequence: 7, at };
        let after = |time| at.saturating_add(time).unwrap();
        for (loaded, patience) in [(6, NEWER), (7, JUST_PLANNED), (8, JUST_PLANNED)] {
            let until = Some(after(patience));
            let second = SignedDuration::from_secs(1);
            assert_eq!(planned.awaits(loaded, at), until);
            assert_eq!(planned.awaits(loaded, after(patience - second)), until);
            assert_eq!(planned.awaits(loaded, after(patience)), None);
        }
        let ever = Planned {
            sequence: 7,
            at: Timestamp::MAX,
        };
        assert_eq!(ever.awaits(7, at), Some(Timestamp::MAX));
    }
}
