//! `transition`: states that never go back.
//!
//! Of each key the last state is remembered: its rank, when it came about, and when the key was last
//! reopened. An event goes forward with a higher rank, or with the same rank and no earlier time.
//! `reopenWhen` lets it go back as well, where it is no earlier than the last state. What is earlier
//! than the last reopening belongs to what was closed then, and is late whatever its rank.
//!
//! ```text
//! waiting 0 ─▶ assigned 1 ─▶ in progress 2 ─▶ closed 3 ── reopened, later ─▶ waiting 0 ─▶ ...
//!                 ◀── late, or out of order: not delivered ──┘                   ▲
//!                          anything from before the reopening: not delivered ────┘
//! ```

use hookswitch_crds::expression::{EvalError, Variables};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;

use crate::config;
use crate::event::Event;
use crate::plan::{Memory, MemoryKey, Recalled, Remember};

use super::once;

/// How long a state is remembered after the event that brought it: much longer than an event can be
/// late, as [`Event::occurred_at`] takes no older time for true.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A state that an event is about to bring.
#[derive(Debug)]
pub(super) struct TransitionDraft {
    pub(super) key: MemoryKey,
    rank: i64,
    reopens: bool,
    /// When it came about.
    at: Timestamp,
    accepted_at: Timestamp,
}

/// Which expression failed, and why.
pub(super) type Failure = (&'static str, EvalError);

/// Evaluates a rule's `transition`.
pub(super) fn draft(
    transition: &config::Transition,
    event: &Event,
    variables: &Variables<'_>,
) -> Result<TransitionDraft, Failure> {
    let text =
        once::key_text(&transition.key, variables).map_err(|error| ("transition.key", error))?;
    let rank = transition
        .rank
        .evaluate(variables)
        .and_then(|value| rank_of(&value))
        .map_err(|error| ("transition.rank", error))?;
    let reopens = transition.reopen_when.as_ref().map_or(Ok(false), |when| {
        match when.evaluate_bool(variables) {
            Err(EvalError::MissingField(_)) => Ok(false),
            other => other,
        }
    });
    Ok(TransitionDraft {
        key: MemoryKey::new(&transition.scope, &text),
        rank,
        reopens: reopens.map_err(|error| ("transition.reopenWhen", error))?,
        at: event.occurred_at(),
        accepted_at: event.accepted_at,
    })
}

/// A whole number, or a time: its microseconds.
fn rank_of(value: &Json) -> Result<i64, EvalError> {
    let time = |text: &str| {
        text.parse()
            .ok()
            .map(|time: Timestamp| time.as_microsecond())
    };
    let rank = match value {
        Json::Number(number) => number.as_i64(),
        Json::String(text) => time(text),
        _ => None,
    };
    rank.ok_or_else(|| EvalError::Type {
        want: "a whole number or a time",
        got: match value {
            Json::Null => "null",
            Json::Bool(_) => "a bool",
            Json::Number(_) => "another number",
            Json::String(_) => "a string",
            Json::Array(_) => "a list",
            Json::Object(_) => "a map",
        }
        .to_owned(),
    })
}

impl TransitionDraft {
    /// What is remembered from now on, or why the event would move the state back.
    pub(super) fn step(&self, known: Option<&Recalled>) -> Result<Remember, &'static str> {
        let last = match known.map(|recalled| recalled.memory) {
            Some(Memory::State { rank, at, reopened }) => Some((rank, at, reopened)),
            Some(Memory::Claimed | Memory::Wait { .. }) | None => None,
        };
        let mut reopened = None;
        if let Some((rank, at, before)) = last {
            if before.is_some_and(|before| self.at < before) {
                return Err("transition: it is from before the reopening");
            }
            reopened = before;
            if self.rank == rank && self.at < at {
                return Err("transition: the state has been brought by a later event");
            }
            if self.rank < rank {
                if !self.reopens {
                    return Err("transition: the state is further on");
                }
                if self.at < at {
                    return Err("transition: the reopening is from before the last state");
                }
                reopened = Some(self.at);
            }
        }
        let until = self.accepted_at.checked_add(REMEMBERED);
        Ok(Remember {
            key: self.key.clone(),
            memory: Memory::State {
                rank: self.rank,
                at: self.at,
                reopened,
            },
            until: until.unwrap_or(Timestamp::MAX),
        })
    }
}
