//! What happened in a trial, and the verdict. Pure: moments are counted from the trial's beginning.
//!
//! What is promised of an event that was answered 200:
//! - it takes effect; else it is *lost*;
//! - once: a second effect, under whatever key, is *doubled*;
//! - within its subject after all that had been answered before it was sent; else it is *out of order*.
//!
//! *Late* is what took longer than a limit from its 200 to its effect. Time in which something was broken does
//! not count there.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;
use std::time::Duration;

/// One request of a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// When it was sent.
    pub began: Duration,
    /// When it was answered, or given up.
    pub ended: Duration,
    /// The answer's status; `None` where there was none.
    pub answer: Option<u16>,
}

/// An event as its sender knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// What it is about.
    pub subject: u64,
    /// Its attempts so far, in order.
    pub attempts: Vec<Attempt>,
}

/// Something that the destination did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effect {
    /// The event's number.
    pub number: u64,
    /// When.
    pub at: Duration,
}

/// All that happened.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// By number.
    pub sent: BTreeMap<u64, Sent>,
    /// In order.
    pub effects: Vec<Effect>,
    /// How often a key came with another body than before.
    pub conflicts: usize,
    /// When something was broken.
    pub faults: Vec<Range<Duration>>,
}

/// What is to be said of it. Events by their numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How many were answered 200.
    pub answered: usize,
    /// Answered 200, and without an effect.
    pub lost: Vec<u64>,
    /// Each further effect.
    pub doubled: Vec<u64>,
    /// The first took effect after the second, which was sent when the first had been answered.
    pub disordered: Vec<(u64, u64)>,
    /// Later than the limit.
    pub late: Vec<u64>,
    /// Effects of events that were never sent.
    pub unknown: Vec<u64>,
    /// Keys that came with two bodies.
    pub conflicts: usize,
    /// The sender came to the end of its retries, as it would with any receiver that is away.
    pub given_up: Vec<u64>,
    /// Attempts that were not answered 200, by what was answered.
    pub refused: BTreeMap<Option<u16>, usize>,
    /// From an answer to its effect: half of all, and the longest.
    pub delays: (Duration, Duration),
}

impl Sent {
    /// When the first attempt was sent.
    #[must_use]
    pub fn began(&self) -> Option<Duration> {
        self.attempts.first().map(|attempt| attempt.began)
    }

    /// When it was answered 200.
    #[must_use]
    pub fn answered(&self) -> Option<Duration> {
        let good = |attempt: &&Attempt| attempt.answer == Some(200);
        self.attempts.iter().find(good).map(|attempt| attempt.ended)
    }
}

impl History {
    /// What is to be said of it, where an effect may come so much later than its answer.
    #[must_use]
    pub fn judge(&self, limit: Duration) -> Verdict {
        let mut verdict = Verdict {
            conflicts: self.conflicts,
            disordered: self.disordered(),
            ..Verdict::default()
        };
        let mut first: HashMap<u64, Duration> = HashMap::new();
        for Effect { number, at } in &self.effects {
            if !self.sent.contains_key(number) {
                verdict.unknown.push(*number);
            } else if first.contains_key(number) {
                verdict.doubled.push(*number);
            } else {
                first.insert(*number, *at);
            }
        }
        let mut delays = Vec::new();
        for (number, sent) in &self.sent {
            let refused = sent.attempts.iter().map(|attempt| attempt.answer);
            for answer in refused.filter(|answer| *answer != Some(200)) {
                *verdict.refused.entry(answer).or_default() += 1;
            }
            let Some(answered) = sent.answered() else {
                verdict.given_up.push(*number);
                continue;
            };
            verdict.answered += 1;
            let Some(at) = first.get(number) else {
                verdict.lost.push(*number);
                continue;
            };
            let delay = at.saturating_sub(answered);
            delays.push(delay);
            if delay.saturating_sub(self.broken(answered, *at)) > limit {
                verdict.late.push(*number);
            }
        }
        delays.sort_unstable();
        let half = delays.get(delays.len() / 2).copied();
        verdict.delays = (
            half.unwrap_or_default(),
            delays.last().copied().unwrap_or_default(),
        );
        verdict
    }

    /// Pairs within a subject whose effects came in the other order than they were accepted in. Accepted
    /// before another is for certain what was answered before the other was sent.
    fn disordered(&self) -> Vec<(u64, u64)> {
        let mut pairs = Vec::new();
        // Of the events that took effect so far, by subject, the one that was sent last.
        let mut latest: HashMap<u64, (Duration, u64)> = HashMap::new();
        let mut seen = std::collections::HashSet::new();
        for Effect { number, .. } in &self.effects {
            let Some(sent) = self.sent.get(number).filter(|_| seen.insert(*number)) else {
                continue;
            };
            let before = latest.get(&sent.subject).copied();
            if let (Some(answered), Some((began, other))) = (sent.answered(), before)
                && answered <= began
            {
                pairs.push((*number, other));
            }
            let this = (sent.began().unwrap_or_default(), *number);
            latest.insert(sent.subject, before.map_or(this, |it| it.max(this)));
        }
        pairs
    }

    /// How much of this time something was broken.
    fn broken(&self, from: Duration, to: Duration) -> Duration {
        let mut faults = self.faults.clone();
        faults.sort_unstable_by_key(|fault| fault.start);
        let (mut sum, mut from) = (Duration::ZERO, from);
        for fault in faults {
            let (start, end) = (fault.start.max(from), fault.end.min(to));
            if let Some(more) = end.checked_sub(start) {
                sum += more;
                from = end;
            }
        }
        sum
    }
}

impl Verdict {
    /// Whether all that is promised was kept.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.answered > 0
            && self.lost.is_empty()
            && self.doubled.is_empty()
            && self.disordered.is_empty()
            && self.unknown.is_empty()
            && self.conflicts == 0
    }

    /// How many attempts were not answered 200.
    #[must_use]
    pub fn refusals(&self) -> usize {
        self.refused.values().sum()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let few = |numbers: &[u64]| match numbers {
            [] => "0".to_owned(),
            _ => format!(
                "{} ({:?})",
                numbers.len(),
                numbers.get(..numbers.len().min(10)).unwrap_or_default()
            ),
        };
        write!(
            f,
            "{} answered 200, lost {}, doubled {}, out of order {} ({:?}), late {}, unknown {}, conflicts {}, \
             given up by the sender {}, not 200 {:?}, half of the effects within {:?}, all within {:?}",
            self.answered,
            few(&self.lost),
            few(&self.doubled),
            self.disordered.len(),
            self.disordered
                .get(..self.disordered.len().min(10))
                .unwrap_or_default(),
            few(&self.late),
            few(&self.unknown),
            self.conflicts,
            few(&self.given_up),
            self.refused,
            self.delays.0,
            self.delays.1,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    /// An event with an attempt for each of these: when it was sent, and what was answered a second later.
    fn sent(subject: u64, attempts: &[(u64, Option<u16>)]) -> Sent {
        let attempts = attempts.iter().map(|(began, answer)| Attempt {
            began: at(*began),
            ended: at(began + 1),
            answer: *answer,
        });
        Sent {
            subject,
            attempts: attempts.collect(),
        }
    }

    fn history(sent: Vec<Sent>, effects: &[(u64, u64)]) -> History {
        let effects = effects.iter().map(|(number, second)| Effect {
            number: *number,
            at: at(*second),
        });
        History {
            sent: (0..).zip(sent).collect(),
            effects: effects.collect(),
            ..History::default()
        }
    }

    const OK: Option<u16> = Some(200);

    #[test]
    fn what_is_as_it_should_be_is_good() {
        let history = history(
            vec![
                sent(1, &[(0, OK)]),
                sent(1, &[(2, OK)]),
                sent(2, &[(2, OK)]),
            ],
            &[(0, 1), (2, 3), (1, 4)],
        );
        let verdict = history.judge(at(5));
        assert!(verdict.is_good(), "{verdict}");
        assert_eq!((verdict.answered, verdict.refusals()), (3, 0));
        assert_eq!(verdict.delays, (at(0), at(1)));
    }

    #[test]
    fn nothing_that_was_answered_is_no_success() {
        assert!(!history(Vec::new(), &[]).judge(at(5)).is_good());
        let history = history(vec![sent(1, &[(0, Some(503))])], &[]);
        assert!(!history.judge(at(5)).is_good());
    }

    #[test]
    fn an_answered_event_without_an_effect_is_lost() {
        let history = history(
            vec![sent(1, &[(0, OK)]), sent(2, &[(0, None), (30, OK)])],
            &[(0, 1)],
        );
        let verdict = history.judge(at(5));
        assert_eq!(verdict.lost, [1]);
        assert!(!verdict.is_good());
    }

    #[test]
    fn an_event_that_was_never_answered_may_have_an_effect_or_none() {
        let history = history(
            vec![
                sent(1, &[(0, None), (30, Some(503))]),
                sent(2, &[(0, None), (30, Some(503))]),
                sent(3, &[(0, OK)]),
            ],
            &[(0, 1), (2, 2)],
        );
        let verdict = history.judge(at(5));
        assert!(verdict.is_good(), "{verdict}");
        assert_eq!(verdict.given_up, [0, 1]);
        let refused = BTreeMap::from([(None, 2), (Some(503), 2)]);
        assert_eq!((verdict.answered, verdict.refused), (1, refused));
    }

    #[test]
    fn a_second_effect_is_doubled_whether_answered_or_not() {
        let history = history(
            vec![sent(1, &[(0, OK)]), sent(2, &[(0, None)])],
            &[(0, 1), (1, 1), (0, 2), (1, 2), (1, 3)],
        );
        let verdict = history.judge(at(5));
        assert_eq!(verdict.doubled, [0, 1, 1]);
        assert!(!verdict.is_good());
    }

    #[test]
    fn effects_in_the_other_order_than_accepted_are_told_by_pair() {
        let history = history(
            vec![
                sent(1, &[(0, OK)]),
                sent(1, &[(1, OK)]),
                sent(1, &[(5, OK)]),
                sent(2, &[(0, OK)]),
            ],
            &[(1, 6), (3, 6), (2, 6), (0, 7)],
        );
        let verdict = history.judge(at(60));
        assert_eq!(verdict.disordered, [(0, 2)]);
        assert!(!verdict.is_good());
    }

    #[test]
    fn what_was_under_way_at_the_same_time_has_no_order() {
        let events = vec![
            // Answered when the second had been sent; the third is repeated, and was sent first.
            sent(1, &[(0, OK)]),
            sent(1, &[(0, OK)]),
            sent(1, &[(0, None), (30, OK)]),
        ];
        let history = history(events, &[(2, 1), (1, 31), (0, 31)]);
        assert!(history.judge(at(60)).is_good());
    }

    #[test]
    fn a_second_effect_is_no_second_place_in_the_order() {
        let events = vec![sent(1, &[(0, OK)]), sent(1, &[(2, OK)])];
        let history = history(events, &[(0, 1), (1, 3), (0, 4)]);
        let verdict = history.judge(at(60));
        assert_eq!(verdict.disordered, []);
        assert_eq!(verdict.doubled, [0]);
    }

    #[test]
    fn late_is_what_took_longer_while_nothing_was_broken() {
        let events = vec![
            sent(1, &[(0, OK)]),
            sent(2, &[(0, OK)]),
            sent(3, &[(9, OK)]),
        ];
        let mut history = history(events, &[(0, 6), (1, 12), (2, 21)]);
        assert_eq!(history.judge(at(5)).late, [1, 2]);
        // Faults that overlap are not counted twice: 5 and 6 seconds are broken.
        history.faults = vec![at(4)..at(8), at(6)..at(9), at(14)..at(20), at(30)..at(40)];
        assert_eq!(history.judge(at(5)).late, [1]);
        let verdict = history.judge(at(5));
        assert!(verdict.is_good(), "late is told, and breaks no promise");
        assert_eq!(verdict.delays, (at(11), at(11)));
    }

    #[test]
    fn what_was_never_sent_and_keys_with_two_bodies_are_told() {
        let mut history = history(vec![sent(1, &[(0, OK)])], &[(0, 1), (7, 1)]);
        assert_eq!(history.judge(at(5)).unknown, [7]);
        assert!(!history.judge(at(5)).is_good());
        history.effects.pop();
        assert!(history.judge(at(5)).is_good());
        history.conflicts = 1;
        assert!(!history.judge(at(5)).is_good());
    }
}
