//! `once`: one effect for each value of a key.
//!
//! A key is claimed by the event whose delivery is planned, in the same append, for as long as the
//! window says from when that event was accepted. A later event finds the claim where it was
//! accepted within the window, however late it is planned. What nothing could be rendered for, and what
//! the loop guard stopped, claims nothing.

use hookswitch_crds::duration::Duration;
use hookswitch_crds::expression::{EvalError, Expression, Variables};
use hookswitch_crds::template;
use jiff::Timestamp;
use serde_json::Value as Json;

use crate::config;
use crate::event::Event;
use crate::plan::{Memory, MemoryKey, OnceTerms, Outcome, Remember, Verdict};

use super::{DeliveryDraft, RouteDraft, rules};

/// `once` of a delivery, with its key.
#[derive(Debug)]
pub(super) struct OnceDraft {
    pub(super) key: MemoryKey,
    window: Duration,
    accepted_at: Timestamp,
}

impl OnceDraft {
    /// What is to be remembered where the delivery is planned.
    pub(super) fn claim(&self) -> Remember {
        let until = self.accepted_at.checked_add(self.window.to_std());
        Remember {
            key: self.key.clone(),
            memory: Memory::Claimed,
            until: until.unwrap_or(Timestamp::MAX),
        }
    }

    /// What is asked when a delivery's timer fires.
    pub(super) fn terms(&self, destination: &str) -> OnceTerms {
        OnceTerms {
            destination: destination.to_owned(),
            digest: self.key.digest,
            window: self.window,
        }
    }
}

/// Works out a delivery's key.
pub(super) fn draft<'a, 'v: 'a>(
    event: &Event,
    once: Option<&config::Once>,
    variables: impl FnOnce() -> &'a Variables<'v>,
) -> Result<Option<OnceDraft>, EvalError> {
    let Some(once) = once else {
        return Ok(None);
    };
    let text = key_text(&once.key, variables())?;
    Ok(Some(OnceDraft {
        key: MemoryKey::new(&once.scope, &text),
        window: once.window,
        accepted_at: event.accepted_at,
    }))
}

/// The text of a key. Null is none: events that lack what they are told apart by have nothing in common.
pub(super) fn key_text(key: &Expression, variables: &Variables<'_>) -> Result<String, EvalError> {
    match key.evaluate(variables)? {
        Json::Null => Err(EvalError::Type {
            want: "a value",
            got: "null".to_owned(),
        }),
        value => Ok(template::text(&value).into_owned()),
    }
}

/// Says in the verdicts of a route's rules what `once` left out. A rule of which nothing is left has
/// the outcome [`Outcome::AlreadyDone`].
pub(super) fn note<'a>(
    verdicts: impl Iterator<Item = &'a mut Verdict>,
    route: &RouteDraft,
    done: &[&DeliveryDraft],
) {
    if done.is_empty() {
        return;
    }
    for verdict in verdicts {
        let left_out = || done.iter().filter(|it| it.rule == verdict.rule);
        let all = route.deliveries.iter().filter(|it| it.rule == verdict.rule);
        let count = left_out().count();
        if count == 0 {
            continue;
        }
        let text = left_out()
            .map(|it| format!("{}: once: the key has had its effect", it.lane.destination))
            .collect::<Vec<_>>()
            .join("; ");
        rules::note(&mut verdict.detail, &text);
        if verdict.outcome == Outcome::Fired && count == all.count() {
            verdict.outcome = Outcome::AlreadyDone;
        }
    }
}
