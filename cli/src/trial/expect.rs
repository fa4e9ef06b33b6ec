//! What is expected of an event, and how what became of it differs.
//!
//! - A rule that is named must have that verdict. One that is not named must not fire or fail.
//! - `deliveries`, where it is there, is all that is sent, or waits. Of each only what is written is
//!   compared, but for `waits` and `dead`: without them it is sent at once.
//! - `fired`, where it is there, is all rules whose timers have fired.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::outcome::{Delivery, Trial};

/// What is expected.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Expected {
    /// `route`, or why it is not routed, such as `ping`.
    #[serde(skip_serializing_if = "Option::is_none")]
    disposition: Option<String>,
    /// By `namespace/route/rule`.
    verdicts: BTreeMap<String, String>,
    /// All that is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    deliveries: Option<Vec<Sent>>,
    /// All that the loop guard stops.
    #[serde(skip_serializing_if = "Option::is_none")]
    suppressed: Option<Vec<Stopped>>,
    /// All rules whose timers have fired, as often as they have.
    #[serde(skip_serializing_if = "Option::is_none")]
    fired: Option<Vec<String>>,
}

/// A delivery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Sent {
    /// `namespace/route/destination`.
    to: String,
    rule: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    /// The part of the address that depends on the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<Json>,
    /// How long it waits for its timer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    waits: Option<String>,
    /// Why it is a dead letter at once, or would be in the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dead: Option<String>,
}

/// What the loop guard stops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stopped {
    to: String,
    rule: String,
    guard: String,
}

impl Expected {
    /// What is to be expected where all is as it should be.
    pub(super) fn of(trial: &Trial) -> Self {
        let stopped: Vec<Stopped> = stopped(trial);
        Self {
            disposition: trial.event.as_ref().map(|it| it.disposition.clone()),
            verdicts: trial
                .verdicts
                .iter()
                .map(|it| (it.rule.clone(), it.verdict.clone()))
                .collect(),
            deliveries: Some(trial.deliveries.iter().map(sent).collect()),
            suppressed: (!stopped.is_empty()).then_some(stopped),
            fired: (!trial.fired.is_empty()).then(|| trial.fired.clone()),
        }
    }

    /// Each difference in a line.
    pub(super) fn differences(&self, trial: &Trial) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |what: &str, expected: &str, got: &str| {
            if expected != got {
                found.push(format!("{what}: expected {expected}, got {got}"));
            }
        };
        if let Some(disposition) = &self.disposition {
            let got = trial.event.as_ref().map(|it| it.disposition.as_str());
            compare("disposition", disposition, got.unwrap_or("no event"));
        }
        for (rule, expected) in &self.verdicts {
            let got = trial.verdicts.iter().find(|it| it.rule == *rule);
            let got = got.map_or("no such rule", |it| &it.verdict);
            compare(&format!("verdicts {rule}"), expected, got);
        }
        for decided in &trial.verdicts {
            let loud =
                ["fired", "waits", "missing_field", "error"].contains(&decided.verdict.as_str());
            if loud && !self.verdicts.contains_key(&decided.rule) {
                compare(
                    &format!("verdicts {}", decided.rule),
                    "nothing",
                    &decided.verdict,
                );
            }
        }
        if let Some(expected) = &self.fired {
            let sorted = |rules: &[String]| {
                let mut rules = rules.to_vec();
                rules.sort();
                rules.join(", ")
            };
            compare("fired", &sorted(expected), &sorted(&trial.fired));
        }
        if let Some(expected) = &self.deliveries {
            compare_deliveries(expected, &trial.deliveries, &mut found);
        }
        if let Some(expected) = &self.suppressed {
            let got = stopped(trial);
            for (list, other, what) in [(expected, &got, "expected"), (&got, expected, "got")] {
                for one in list.iter().filter(|one| !other.contains(one)) {
                    found.push(format!(
                        "suppressed: {what} {} by {} ({}), and the other side has none",
                        one.to, one.rule, one.guard
                    ));
                }
            }
        }
        found
    }
}

fn sent(delivery: &Delivery) -> Sent {
    let Delivery {
        to,
        rule,
        method,
        address,
        content_type,
        body,
        waits,
        dead,
    } = delivery.clone();
    Sent {
        to,
        rule,
        method,
        address,
        content_type,
        body,
        waits,
        dead,
    }
}

fn stopped(trial: &Trial) -> Vec<Stopped> {
    trial
        .suppressed
        .iter()
        .map(|it| Stopped {
            to: it.to.clone(),
            rule: it.rule.clone(),
            guard: it.guard.clone(),
        })
        .collect()
}

fn compare_deliveries(expected: &[Sent], got: &[Delivery], found: &mut Vec<String>) {
    let mut left: Vec<&Delivery> = got.iter().collect();
    for one in expected {
        let name = format!("deliveries {} by {}", one.to, one.rule);
        let at = left
            .iter()
            .position(|it| it.to == one.to && it.rule == one.rule);
        let Some(at) = at else {
            found.push(format!("{name}: expected, and not made"));
            continue;
        };
        let got = left.remove(at);
        for (field, expected, got) in [
            ("method", &one.method, &got.method),
            ("address", &one.address, &got.address),
            ("contentType", &one.content_type, &got.content_type),
        ] {
            if expected.is_some() && expected != got {
                found.push(format!(
                    "{name}: {field}: expected {}, got {}",
                    expected.as_deref().unwrap_or("none"),
                    got.as_deref().unwrap_or("none")
                ));
            }
        }
        for (field, expected, got) in [
            ("waits", &one.waits, &got.waits),
            ("dead", &one.dead, &got.dead),
        ] {
            if expected != got {
                found.push(format!(
                    "{name}: {field}: expected {}, got {}",
                    expected.as_deref().unwrap_or("none"),
                    got.as_deref().unwrap_or("none")
                ));
            }
        }
        if let Some(body) = &one.body {
            let nothing = Json::Null;
            compare_json(
                "",
                body,
                got.body.as_ref().unwrap_or(&nothing),
                &name,
                found,
            );
        }
    }
    for extra in left {
        found.push(format!(
            "deliveries {} by {}: made, and not expected",
            extra.to, extra.rule
        ));
    }
}

/// Each place in which two values differ.
fn compare_json(at: &str, expected: &Json, got: &Json, name: &str, found: &mut Vec<String>) {
    match (expected, got) {
        (Json::Object(left), Json::Object(right)) => {
            let mut keys: Vec<&String> = left.keys().chain(right.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
                match (left.get(key), right.get(key)) {
                    (Some(left), Some(right)) => compare_json(&at, left, right, name, found),
                    (Some(left), None) => {
                        found.push(format!("{name}: body {at}: expected {left}, got nothing"));
                    }
                    (None, right) => found.push(format!(
                        "{name}: body {at}: expected nothing, got {}",
                        right.unwrap_or(&Json::Null)
                    )),
                }
            }
        }
        (Json::Array(left), Json::Array(right)) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                compare_json(&format!("{at}/{index}"), left, right, name, found);
            }
        }
        _ if expected == got => {}
        _ => found.push(format!("{name}: body {at}: expected {expected}, got {got}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bodies_are_compared_place_by_place() {
        let mut found = Vec::new();
        compare_json(
            "",
            &json!({"a": {"b/c": 1, "same": true}, "list": [1, 2], "gone": null}),
            &json!({"a": {"b/c": 2, "same": true}, "list": [1, 3], "more": []}),
            "x",
            &mut found,
        );
        assert_eq!(
            found,
            [
                "x: body /a/b~1c: expected 1, got 2",
                "x: body /gone: expected null, got nothing",
                "x: body /list/1: expected 2, got 3",
                "x: body /more: expected nothing, got []",
            ]
        );
    }
}
