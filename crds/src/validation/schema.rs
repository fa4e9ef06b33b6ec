//! A structural schema and its CEL rules, compiled once and checked many times.
//!
//! Types, required and unknown fields are not looked at: a value that was read into its type has
//! passed them. A rule is only evaluated where all below it is sound, as on the API server.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use cel::{Context, Env, Program, Value};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaPropsOrArray;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaPropsOrBool;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, ValidationRule,
};
use regex::Regex;
use serde_json::{Map, Value as Json};

use super::Violation;

/// Why a schema can't be checked.
#[derive(Debug, thiserror::Error)]
#[error("the rule or pattern `{rule}` does not compile: {message}")]
pub(super) struct Error {
    rule: String,
    message: String,
}

/// A schema, ready to check values.
pub(super) struct Schema {
    env: Arc<Env>,
    root: Node,
}

/// The schema of one value.
#[derive(Default)]
struct Node {
    texts: Vec<Text>,
    rules: Vec<Rule>,
    allowed: Vec<Json>,
    length: Bounds,
    number: (Option<f64>, Option<f64>),
    entries: Bounds,
    unique: Unique,
    max_properties: Option<i64>,
    properties: BTreeMap<String, Node>,
    items: Option<Box<Node>>,
    additional: Option<Box<Node>>,
}

/// Least and most.
#[derive(Default, Clone, Copy)]
struct Bounds {
    min: Option<i64>,
    max: Option<i64>,
}

/// What a text must look like.
struct Text {
    pattern: Regex,
    message: String,
}

/// A CEL rule over a value.
struct Rule {
    program: Arc<Program>,
    message: String,
}

/// What may not be twice in a list.
#[derive(Default)]
enum Unique {
    /// Nothing.
    #[default]
    Any,
    /// An entry.
    Entries,
    /// Entries with equal values of these members.
    Keys(Vec<String>),
}

/// Compiles each pattern and each rule once, however often it stands in the schema.
struct Compiler {
    env: Arc<Env>,
    patterns: HashMap<String, Regex>,
    programs: HashMap<String, Arc<Program>>,
}

impl Schema {
    /// Compiles the schema's patterns and rules.
    pub(super) fn compile(props: &JSONSchemaProps) -> Result<Self, Error> {
        let env = Arc::new(Env::stdlib());
        let mut compiler = Compiler {
            env: Arc::clone(&env),
            patterns: HashMap::new(),
            programs: HashMap::new(),
        };
        Ok(Self {
            env,
            root: compiler.node(props)?,
        })
    }

    /// Adds what is wrong with the value at `field`.
    pub(super) fn check(&self, value: &Json, field: &str, violations: &mut Vec<Violation>) {
        self.root.check(&self.env, value, field, violations);
    }
}

impl Compiler {
    fn node(&mut self, props: &JSONSchemaProps) -> Result<Node, Error> {
        let mut node = Node {
            allowed: props
                .enum_
                .iter()
                .flatten()
                .map(|json| json.0.clone())
                .collect(),
            length: Bounds {
                min: props.min_length,
                max: props.max_length,
            },
            number: (props.minimum, props.maximum),
            entries: Bounds {
                min: props.min_items,
                max: props.max_items,
            },
            unique: match props.x_kubernetes_list_type.as_deref() {
                Some("set") => Unique::Entries,
                Some("map") => {
                    Unique::Keys(props.x_kubernetes_list_map_keys.clone().unwrap_or_default())
                }
                _ => Unique::Any,
            },
            max_properties: props.max_properties,
            ..Node::default()
        };
        if let Some(pattern) = &props.pattern {
            node.texts.push(Text {
                pattern: self.pattern(pattern)?,
                message: format!("must match {pattern}"),
            });
        }
        for rule in props.x_kubernetes_validations.iter().flatten() {
            self.rule(rule, &mut node)?;
        }
        for (name, below) in props.properties.iter().flatten() {
            node.properties.insert(name.clone(), self.node(below)?);
        }
        if let Some(JSONSchemaPropsOrArray::Schema(below)) = &props.items {
            node.items = Some(Box::new(self.node(below)?));
        }
        if let Some(JSONSchemaPropsOrBool::Schema(below)) = &props.additional_properties {
            node.additional = Some(Box::new(self.node(below)?));
        }
        Ok(node)
    }

    /// Most rules are about what a text looks like: those need no interpreter.
    fn rule(&mut self, rule: &ValidationRule, node: &mut Node) -> Result<(), Error> {
        let message = rule
            .message
            .clone()
            .unwrap_or_else(|| format!("breaks the rule {}", rule.rule));
        let pattern = rule
            .rule
            .strip_prefix("self.matches(r'")
            .and_then(|rest| rest.strip_suffix("')"))
            .filter(|pattern| !pattern.contains('\''));
        if let Some(pattern) = pattern {
            node.texts.push(Text {
                pattern: self.pattern(pattern)?,
                message,
            });
        } else {
            node.rules.push(Rule {
                program: self.program(&rule.rule)?,
                message,
            });
        }
        Ok(())
    }

    fn pattern(&mut self, source: &str) -> Result<Regex, Error> {
        if let Some(pattern) = self.patterns.get(source) {
            return Ok(pattern.clone());
        }
        let pattern = Regex::new(source).map_err(|error| Error {
            rule: source.to_owned(),
            message: error.to_string(),
        })?;
        self.patterns.insert(source.to_owned(), pattern.clone());
        Ok(pattern)
    }

    fn program(&mut self, source: &str) -> Result<Arc<Program>, Error> {
        if let Some(program) = self.programs.get(source) {
            return Ok(Arc::clone(program));
        }
        // Kubernetes writes a field that has a reserved word's name with underscores.
        let program = self
            .env
            .compile(&source.replace("__namespace__", "namespace"))
            .map_err(|error| Error {
                rule: source.to_owned(),
                message: error.to_string(),
            })?;
        let program = Arc::new(program);
        self.programs
            .insert(source.to_owned(), Arc::clone(&program));
        Ok(program)
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
        if !self.allowed.is_empty() && !self.allowed.contains(value) {
            let allowed: Vec<String> = self.allowed.iter().map(Json::to_string).collect();
            report(format!("is {value}: write one of {}", allowed.join(", ")));
        }
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
        let (min, max) = self.number;
        if min.is_some_and(|min| number < min) || max.is_some_and(|max| number > max) {
            let write = match (min, max) {
                (Some(min), Some(max)) => format!("from {min} to {max}"),
                (Some(min), None) => format!("of at least {min}"),
                (None, _) => format!("of at most {}", max.unwrap_or(f64::MAX)),
            };
            report(format!("is {number}: write a number {write}"));
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
