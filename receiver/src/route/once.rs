//! `once`: one effect for each value of a key.
//!
//! A key is claimed by the event whose delivery is planned, in the same append, for as long as the
//! window says from when that event was accepted. A later event finds the claim where it was
//! accepted within the window, however late it is planned. What nothing could be rendered for, and what
//! the loop guard stopped, claims nothing.

use hookswitch_crds::expression::{EvalError, Expression, Variables};
use hookswitch_crds::template;
use jiff::Timestamp;
use serde_json::Value as Json;

use crate::config;
use crate::event::Event;
use crate::plan::{Memory, MemoryKey, Outcome, Remember, Verdict};

use super::{DeliveryDraft, RouteDraft, rules};

/// What is to be remembered where the delivery is planned.
pub(super) fn claim<'a, 'v: 'a>(
    event: &Event,
    once: Option<&config::Once>,
    variables: impl FnOnce() -> &'a Variables<'v>,
) -> Result<Option<Remember>, EvalError> {
    let Some(once) = once else {
        return Ok(None);
    };
    let text = key_text(&once.key, variables())?;
    let until = event.accepted_at.checked_add(once.window.to_std());
    Ok(Some(Remember {
        key: MemoryKey::new(&once.scope, &text),
        memory: Memory::Claimed,
        until: until.unwrap_or(Timestamp::MAX),
    }))
}

/// The text of a key. Null is none: events that lack what they are told apart by have nothing in common.
fn key_text(key: &Expression, variables: &Variables<'_>) -> Result<String, EvalError> {
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
