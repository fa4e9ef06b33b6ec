//! The shape of a value: its types, the names of its fields, what must be there.
//!
//! A null is a field that is left out, as the API server has it.

use serde_json::{Map, Value as Json};

use super::Violation;
use super::schema::{Node, Schema};
use crate::expression::nearest;

impl Schema {
    /// Removes nulls from a spec, and gives what keeps it from being read into its type.
    pub(super) fn prepare(&self, spec: &mut Json) -> Vec<Violation> {
        let mut found = Vec::new();
        self.root.prune(spec);
        self.root.shape(spec, "spec", &mut found);
        found
    }
}

impl Node {
    fn prune(&self, value: &mut Json) {
        match value {
            Json::Array(entries) => {
                for entry in entries {
                    if let Some(items) = &self.items {
                        items.prune(entry);
                    }
                }
            }
            Json::Object(members) => {
                if self.is_open() {
                    return;
                }
                members.retain(|_, member| !member.is_null());
                for (name, member) in members {
                    if let Some(below) = self.properties.get(name).or(self.additional.as_deref()) {
                        below.prune(member);
                    }
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        }
    }

    /// True for a value that is kept as it is, whatever it holds.
    fn is_open(&self) -> bool {
        self.properties.is_empty() && self.additional.is_none()
    }

    fn shape(&self, value: &Json, field: &str, found: &mut Vec<Violation>) {
        let mut report = |message: String| {
            found.push(Violation {
                field: field.to_owned(),
                message,
            });
        };
        if let Some(wanted) = self.wanted(value) {
            report(format!("is {}: write {wanted}", described(value)));
            return;
        }
        if !self.allowed.is_empty() && !self.allowed.contains(value) {
            report(self.not_allowed(value));
        }
        match value {
            Json::Array(entries) => {
                for (index, entry) in entries.iter().enumerate() {
                    if let Some(items) = &self.items {
                        items.shape(entry, &format!("{field}[{index}]"), found);
                    }
                }
            }
            Json::Object(members) => self.members(members, field, found),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
        }
    }

    /// What the value should be, where it is of another type.
    fn wanted(&self, value: &Json) -> Option<&'static str> {
        let (fits, wanted) = match self.type_of.as_deref()? {
            "string" => (
                value.is_string(),
                "a text, in quotes where it looks like another type",
            ),
            "boolean" => (value.is_boolean(), "true or false"),
            "integer" => (value.is_i64() || value.is_u64(), "a whole number"),
            "number" => (value.is_number(), "a number"),
            "array" => (
                value.is_array(),
                "a list, each entry after a dash or all in [ ]",
            ),
            _ => (value.is_object(), "fields below it, or all in { }"),
        };
        (!fits).then_some(wanted)
    }

    fn not_allowed(&self, value: &Json) -> String {
        let allowed: Vec<&str> = self.allowed.iter().filter_map(Json::as_str).collect();
        let written = value.as_str().unwrap_or_default();
        let all = allowed.join(", ");
        match nearest(written, allowed) {
            Some(near) => format!("`{written}` is not known: did you mean {near}? There are {all}"),
            None => format!("`{written}` is not known: write one of {all}"),
        }
    }

    fn members(&self, members: &Map<String, Json>, field: &str, found: &mut Vec<Violation>) {
        let names = || self.properties.keys().map(String::as_str);
        // A field that is missing because its name is misspelt is one mistake, not two.
        let mut meant = Vec::new();
        for (name, member) in members {
            let at = format!("{field}.{name}");
            if let Some(below) = self.properties.get(name).or(self.additional.as_deref()) {
                below.shape(member, &at, found);
            } else if !self.is_open() {
                let free = names().filter(|known| !members.contains_key(*known));
                let message = if let Some(near) = nearest(name, free) {
                    meant.push(near);
                    format!("unknown field: did you mean `{near}`?")
                } else {
                    let all = names().collect::<Vec<_>>().join(", ");
                    format!("unknown field: use one of {all}")
                };
                found.push(Violation { field: at, message });
            }
        }
        for name in &self.required {
            if !members.contains_key(name) && !meant.contains(&name.as_str()) {
                found.push(Violation {
                    field: format!("{field}.{name}"),
                    message: "is required: write it".to_owned(),
                });
            }
        }
    }
}

/// What a value is, without its content.
fn described(value: &Json) -> &'static str {
    match value {
        Json::Null => "empty",
        Json::Bool(_) => "true or false",
        Json::Number(number) if number.is_f64() => "a number with a decimal point",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "a group of fields",
    }
}
