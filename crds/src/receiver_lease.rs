//! What a receiver says of itself in its Lease, and the operator reads there.
//!
//! The Lease's own fields say whether the receiver is live; these annotations say what it serves and
//! what it could read.

use std::collections::BTreeMap;

use crate::snapshot::shard::FORMATS;

/// On the Lease of a receiver: the name of the receivers, all of them.
pub const LABEL: &str = "hookswitch.dev/receiver";
/// The sequence of each shard that is served, in order: `12` or `12,9`.
pub const LOADED: &str = "hookswitch.dev/loaded";
/// The formats of the snapshot that the receiver reads: `1` or `1,2`.
pub const FORMATS_READ: &str = "hookswitch.dev/formats";

/// How long after its last renewal a receiver counts as live, in seconds.
pub const DURATION_SECONDS: u64 = 30;

/// What a receiver says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The sequence of each shard that it serves; empty before the first.
    pub loaded: Vec<u64>,
    /// The formats that it reads; empty where it does not say.
    pub formats: Vec<u32>,
}

impl Report {
    /// Of a receiver of this build.
    #[must_use]
    pub fn of(loaded: Vec<u64>) -> Self {
        Self {
            loaded,
            formats: FORMATS.collect(),
        }
    }

    /// As annotations.
    #[must_use]
    pub fn annotations(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (LOADED.to_owned(), list(&self.loaded)),
            (FORMATS_READ.to_owned(), list(&self.formats)),
        ])
    }

    /// From annotations; what can't be read counts as not said.
    #[must_use]
    pub fn read(annotations: &BTreeMap<String, String>) -> Self {
        Self {
            loaded: parse(annotations.get(LOADED)),
            formats: parse(annotations.get(FORMATS_READ)),
        }
    }
}

fn list<T: ToString>(numbers: &[T]) -> String {
    let numbers: Vec<String> = numbers.iter().map(T::to_string).collect();
    numbers.join(",")
}

/// All of the numbers, or none where one is not a number: half a list would name other shards.
fn parse<T: std::str::FromStr>(text: Option<&String>) -> Vec<T> {
    let numbers = text.map(|text| text.split(',').map(|it| it.trim().parse().ok()).collect());
    numbers.flatten().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_comes_back_as_it_was() {
        for loaded in [vec![], vec![12], vec![12, 9]] {
            let report = Report::of(loaded);
            assert_eq!(Report::read(&report.annotations()), report);
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_said() {
        let annotations = |text: &str| BTreeMap::from([(LOADED.to_owned(), text.to_owned())]);
        for text in ["", "x", "12,", "12,x"] {
            assert_eq!(
                Report::read(&annotations(text)),
                Report::default(),
                "{text}"
            );
        }
        assert_eq!(Report::read(&annotations("12, 9")).loaded, [12, 9]);
    }
}
