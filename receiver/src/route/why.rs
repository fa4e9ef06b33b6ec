//! Why a rule fired or did not: its condition, part by part, for a person who asks afterwards. Nothing
//! of it is done when an event is planned.

use std::cell::OnceCell;
use std::collections::HashSet;

use hookswitch_crds::expression::{EvalError, Expression, Scope, Variables, WordLists, conjuncts};
use hookswitch_crds::key::ObjectKey;
use serde_json::Value as Json;

use super::render;
use crate::config::{Route, Rule, Subscription};
use crate::event::Event;
use crate::plan::{Outcome, Verdict};

/// One part of a condition; all must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// As it is written.
    pub text: String,
    /// What it says of the event; an error's text holds nothing of the event.
    pub value: Result<bool, String>,
}

/// The rules of a subscription that a plan has no verdict of, in their order: they did not name the
/// event's type, or were not there when it was planned.
pub fn unnamed<'a>(
    subscription: &'a Subscription,
    verdicts: &[Verdict],
) -> impl Iterator<Item = (&'a Route, &'a Rule)> {
    let known: HashSet<(&ObjectKey, &str)> = verdicts
        .iter()
        .map(|verdict| (&verdict.route, verdict.rule.as_str()))
        .collect();
    let routes = subscription.routes.iter();
    routes
        .flat_map(|route| route.rules.iter().map(move |rule| (&**route, rule)))
        .filter(move |(route, rule)| !known.contains(&(&route.spec.origin.key, rule.name.as_str())))
}

/// An event, to be asked of several rules.
pub struct Asked<'a> {
    event: &'a Event,
    json: OnceCell<Json>,
}

impl<'a> Asked<'a> {
    /// Parses nothing yet.
    #[must_use]
    pub fn new(event: &'a Event) -> Self {
        Self {
            event,
            json: OnceCell::new(),
        }
    }

    /// What a rule's `types` and `when` say.
    #[must_use]
    pub fn outcome(&self, rule: &Rule, words: Option<&WordLists>) -> Outcome {
        if !rule.types.is_empty() && !rule.types.contains(&self.event.r#type) {
            return Outcome::TypeNotMatched;
        }
        let Some(when) = &rule.when else {
            return Outcome::Fired;
        };
        match when.evaluate_bool(&self.variables(words)) {
            Ok(true) => Outcome::Fired,
            Ok(false) => Outcome::WhenFalse,
            Err(EvalError::MissingField(_)) => Outcome::MissingField,
            Err(_) => Outcome::Error,
        }
    }

    /// The parts of a condition, each with what it says of the event.
    #[must_use]
    pub fn parts(&self, when: &str, words: Option<&WordLists>) -> Vec<Part> {
        let variables = self.variables(words);
        conjuncts(when)
            .into_iter()
            .map(|text| Part {
                text: text.to_owned(),
                value: Expression::compile(text, Scope::Event)
                    .map_err(|error| error.to_string())
                    .and_then(|part| {
                        part.evaluate_bool(&variables)
                            .map_err(|error| error.to_string())
                    }),
            })
            .collect()
    }

    fn variables(&self, words: Option<&WordLists>) -> Variables<'_> {
        let variables = Variables::new(self.json());
        match words {
            Some(words) => variables.with_words(words),
            None => variables,
        }
    }

    fn json(&self) -> &Json {
        self.json
            .get_or_init(|| render::expression_event(self.event))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hookswitch_crds::key::ObjectKey;

    use super::*;
    use crate::event::Disposition;

    fn event(body: &str) -> Event {
        Event {
            uid: uuid::Uuid::nil(),
            subscription: ObjectKey::new("support", "tg-staff"),
            id: "1".to_owned(),
            r#type: "message.received".to_owned(),
            time: None,
            accepted_at: jiff::Timestamp::UNIX_EPOCH,
            subject: None,
            sender: None,
            hops: 0,
            content_type: None,
            disposition: Disposition::Route,
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    #[test]
    fn each_part_of_a_condition_says_what_it_says_whatever_the_others_do() {
        let event = event(r#"{"vip": false, "score": 7, "name": "x"}"#);
        let asked = Asked::new(&event);
        let when = "event.data.score > 3 && event.data.plan == 'gold' && (event.data.vip && event.data.name)";
        let parts = asked.parts(when, None);
        let told: Vec<(&str, Result<bool, &str>)> = parts
            .iter()
            .map(|part| {
                (
                    part.text.as_str(),
                    part.value.as_ref().map(|it| *it).map_err(String::as_str),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("event.data.score > 3", Ok(true)),
                (
                    "event.data.plan == 'gold'",
                    Err("the event has no field `event.data.plan`")
                ),
                ("event.data.vip", Ok(false)),
                (
                    "event.data.name",
                    Err("the value is a string, and a bool is needed")
                ),
            ]
        );
    }
}
