//! What came of a scenario, as a person reads it.

use std::fmt::Write as _;
use std::time::Duration;

use super::history::Verdict;
use crate::numbers::{float, thousands};
use crate::report::Section;

/// What came of a scenario.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// What became of the events.
    pub verdict: Verdict,
    /// Every attempt had to be answered 200.
    pub all_answered: bool,
    /// What else is worth telling: what, and how much.
    pub facts: Vec<(String, String)>,
}

impl Outcome {
    /// Of a verdict.
    #[must_use]
    pub const fn new(verdict: Verdict) -> Self {
        Self {
            verdict,
            all_answered: false,
            facts: Vec::new(),
        }
    }

    /// Every attempt had to be answered 200.
    #[must_use]
    pub fn all_answered(mut self) -> Self {
        self.all_answered = true;
        self
    }

    /// Tells one more thing.
    #[must_use]
    pub fn fact(mut self, what: impl Into<String>, much: impl Into<String>) -> Self {
        self.facts.push((what.into(), much.into()));
        self
    }

    /// Whether all that is promised was kept.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let answered = !self.all_answered || self.verdict.refusals() == 0;
        self.verdict.is_good() && answered
    }

    /// A section of the page.
    ///
    /// # Panics
    /// Never: text can be written.
    #[must_use]
    pub fn section(&self, title: &'static str, about: &str) -> Section {
        let verdict = &self.verdict;
        let mut text = format!(
            "{about}\n\n| answered 200 | lost | second effects | out of order | late | from 200 to effect: half, all | attempts not answered 200 | given up by the sender |\n\
             |---|---|---|---|---|---|---|---|\n"
        );
        let row = [
            count(verdict.answered),
            count(verdict.lost.len()),
            count(verdict.doubled.len() + verdict.conflicts + verdict.unknown.len()),
            count(verdict.disordered.len()),
            count(verdict.late.len()),
            format!("{}, {}", time(verdict.delays.0), time(verdict.delays.1)),
            refused(verdict),
            count(verdict.given_up.len()),
        ];
        writeln!(text, "| {} |", row.join(" | ")).expect("text can be written");
        if !self.is_good() {
            text.push_str("\n**A promise was broken.**\n");
        }
        if !self.facts.is_empty() {
            text.push_str("\n| | |\n|---|---|\n");
        }
        for (what, much) in &self.facts {
            writeln!(text, "| {what} | {much} |").expect("text can be written");
        }
        Section {
            title,
            text,
            aims: Vec::new(),
        }
    }
}

/// How many attempts were not answered 200, and with what.
fn refused(verdict: &Verdict) -> String {
    let kinds = verdict.refused.iter().map(|(answer, attempts)| {
        let answer = answer.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
        format!("{answer}: {}", count(*attempts))
    });
    let kinds: Vec<String> = kinds.collect();
    match kinds.as_slice() {
        [] => "0".to_owned(),
        kinds => kinds.join(", "),
    }
}

/// A count with commas.
#[must_use]
pub fn count(count: usize) -> String {
    thousands(float(u64::try_from(count).unwrap_or(u64::MAX)))
}

/// A time as people write it.
#[must_use]
pub fn time(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

/// Half of these are no longer than the first, and all no longer than the second.
#[must_use]
pub fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let half = times.get(times.len() / 2).copied().unwrap_or_default();
    let longest = times.last().copied().unwrap_or_default();
    format!(
        "half within {}, all within {}",
        self::time(half),
        self::time(longest)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Verdict {
        Verdict {
            answered: 1_234,
            ..Verdict::default()
        }
    }

    #[test]
    fn a_broken_promise_is_bad_and_is_said() {
        assert!(Outcome::new(good()).is_good());
        let lost = Outcome::new(Verdict {
            lost: vec![7],
            ..good()
        });
        assert!(!lost.is_good());
        assert!(lost.section("A", "b").text.contains("A promise was broken"));
        let refused = Outcome::new(Verdict {
            refused: [(Some(503), 2), (None, 1)].into(),
            ..good()
        });
        assert!(refused.is_good());
        let text = refused.section("A", "b").text;
        assert!(text.contains("| 1,234 | 0 | 0 | 0 | 0 |"), "{text}");
        assert!(text.contains("no answer: 1, 503: 2"), "{text}");
        assert!(!text.contains("broken"), "{text}");
        assert!(!refused.all_answered().is_good());
    }
}
