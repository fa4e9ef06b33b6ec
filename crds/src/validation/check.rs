//! The bounds and rules of a schema, against a value of the right shape.
//!
//! A rule is only evaluated where all below it is sound, as on the API server.

use std::collections::HashSet;
use std::sync::Arc;

use cel::{Context, Env, Value};
use serde_json::{Map, Value as Json};

use super::Violation;
use super::schema::{Node, Range, Schema, Unique};

impl Schema {
    /// The bounds and rules that a spec breaks.
    pub(super) fn broken_rules(&self, spec: &Json) -> Vec<Violation> {
        let mut found = Vec::new();
        self.root.check(&self.env, spec, "spec", &mut found);
        found
    }
}

impl Node {
    fn check(&self, env: &Arc<Env>, value: &Json, field: &str, found: &mut Vec<Violation>) {
        let before = found.len();
        let mut report = |message: String| {
            found.push(Violation {
                field: field.to_owned(),
                message,
            });
        };
        match value {
            Json::String(text) => self.check_text(text, &mut report),
            Json::Number(number) => self.check_number(number.as_f64().unwrap_or(0.0), &mut report),
            Json::Array(entries) => self.check_list(env, entries, field, found),
            Json::Object(members) => self.check_members(env, members, field, found),
            Json::Null | Json::Bool(_) => {}
        }
        if found.len() == before {
            self.check_rules(env, value, field, found);
        }
    }

    fn check_text(&self, text: &str, report: &mut impl FnMut(String)) {
        let length = text.chars().count();
        if let Some(max) = exceeded(self.length.max, length) {
            report(format!(
                "has {length} characters, and at most {max} are allowed: shorten it"
            ));
        } else if let Some(wrong) = self.texts.iter().find(|form| !form.pattern.is_match(text)) {
            report(wrong.message.clone());
        } else if missed(self.length.min, length).is_some() {
            report("is empty: write a value, or leave the field out".to_owned());
        }
    }

    fn check_number(&self, number: f64, report: &mut impl FnMut(String)) {
        let Range { min, above, max } = self.number;
        let low = min.is_some_and(|min| number < min || (above && number <= min));
        if low || max.is_some_and(|max| number > max) {
            let least = min.map(|min| {
                let bound = if above { "above" } else { "of at least" };
                format!(" {bound} {min}")
            });
            let most = max.map(|max| format!(" and at most {max}"));
            report(format!(
                "is {number}: write a number{}{}",
                least.unwrap_or_default(),
                most.unwrap_or_default()
            ));
        }
    }

    fn check_list(
        &self,
        env: &Arc<Env>,
        entries: &[Json],
        field: &str,
        found: &mut Vec<Violation>,
    ) {
        let count = entries.len();
        if let Some(max) = exceeded(self.entries.max, count) {
            found.push(Violation {
                field: field.to_owned(),
                message: format!(
                    "has {count} entries, and at most {max} are allowed: remove some, or split \
                     the object in two"
                ),
            });
            return;
        }
        if let Some(min) = missed(self.entries.min, count) {
            found.push(Violation {
                field: field.to_owned(),
                message: format!("has {count} entries, and at least {min} is needed: add one"),
            });
        }
        let mut seen = HashSet::new();
        for (index, entry) in entries.iter().enumerate() {
            let at = format!("{field}[{index}]");
            if let Some((key, shown)) = self.unique.key(entry)
                && !seen.insert(key)
            {
                found.push(Violation {
                    field: at.clone(),
                    message: format!("{shown} is there already: remove it, or rename one of them"),
                });
            }
            if let Some(items) = &self.items {
                items.check(env, entry, &at, found);
            }
        }
    }

    fn check_members(
        &self,
        env: &Arc<Env>,
        members: &Map<String, Json>,
        field: &str,
        found: &mut Vec<Violation>,
    ) {
        if let Some(max) = exceeded(self.max_properties, members.len()) {
            found.push(Violation {
                field: field.to_owned(),
                message: format!(
                    "has {} members, and at most {max} are allowed: remove some",
                    members.len()
                ),
            });
        }
        for (name, member) in members {
            let below = self.properties.get(name).or(self.additional.as_deref());
            if let Some(below) = below {
                below.check(env, member, &format!("{field}.{name}"), found);
            }
        }
    }

    fn check_rules(&self, env: &Arc<Env>, value: &Json, field: &str, found: &mut Vec<Violation>) {
        if self.rules.is_empty() {
            return;
        }
        let mut context = Context::with_env(Arc::clone(env));
        if context.add_variable("self", value).is_err() {
            return;
        }
        for rule in &self.rules {
            if !matches!(rule.program.execute(&context), Ok(Value::Bool(true))) {
                found.push(Violation {
                    field: field.to_owned(),
                    message: rule.message.clone(),
                });
            }
        }
    }
}

impl Unique {
    /// What may be in a list once, and how a message calls it.
    fn key(&self, entry: &Json) -> Option<(String, String)> {
        match self {
            Self::Any => None,
            Self::Entries => Some((entry.to_string(), entry.to_string())),
            Self::Keys(names) => {
                let values: Vec<(&str, &Json)> = names
                    .iter()
                    .filter_map(|name| Some((name.as_str(), entry.get(name)?)))
                    .collect();
                let shown: Vec<String> = values
                    .iter()
                    .map(|(name, value)| format!("{name} {value}"))
                    .collect();
                let shown = shown.join(", ");
                Some((shown.clone(), shown))
            }
        }
    }
}

/// The bound, where the count is above it.
fn exceeded(max: Option<i64>, count: usize) -> Option<i64> {
    max.filter(|max| i64::try_from(count).is_ok_and(|count| count > *max))
}

/// The bound, where the count is below it.
fn missed(min: Option<i64>, count: usize) -> Option<i64> {
    min.filter(|min| i64::try_from(count).is_ok_and(|count| count < *min))
}
