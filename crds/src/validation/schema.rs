//! A structural schema and its CEL rules, compiled once and checked many times.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cel::{Env, Program};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaPropsOrArray;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaPropsOrBool;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, ValidationRule,
};
use regex::Regex;
use serde_json::Value as Json;

use crate::subscription::{HEADER, POINTER};
use crate::{duration, quantity};

/// Why a schema can't be checked.
#[derive(Debug, thiserror::Error)]
#[error("the rule or pattern `{rule}` does not compile: {message}")]
pub(super) struct Error {
    rule: String,
    message: String,
}

/// A schema, ready to check values.
pub(super) struct Schema {
    pub(super) env: Arc<Env>,
    pub(super) root: Node,
}

/// The schema of one value.
#[derive(Default)]
pub(super) struct Node {
    /// The JSON type; `None` where the schema leaves it open.
    pub(super) type_of: Option<String>,
    pub(super) allowed: Vec<Json>,
    pub(super) required: Vec<String>,
    pub(super) texts: Vec<Text>,
    pub(super) rules: Vec<Rule>,
    pub(super) length: Bounds,
    pub(super) number: Range,
    pub(super) entries: Bounds,
    pub(super) unique: Unique,
    pub(super) max_properties: Option<i64>,
    pub(super) properties: BTreeMap<String, Node>,
    pub(super) items: Option<Box<Node>>,
    pub(super) additional: Option<Box<Node>>,
}

/// Least and most.
#[derive(Default, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) min: Option<i64>,
    pub(super) max: Option<i64>,
}

/// Least and most of a number.
#[derive(Default, Clone, Copy)]
pub(super) struct Range {
    pub(super) min: Option<f64>,
    /// The least itself is too little.
    pub(super) above: bool,
    pub(super) max: Option<f64>,
}

/// What a text must look like.
pub(super) struct Text {
    pub(super) pattern: Regex,
    pub(super) message: String,
}

/// A CEL rule over a value.
pub(super) struct Rule {
    pub(super) program: Arc<Program>,
    pub(super) message: String,
}

/// What may not be twice in a list.
#[derive(Default)]
pub(super) enum Unique {
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
}

impl Compiler {
    fn node(&mut self, props: &JSONSchemaProps) -> Result<Node, Error> {
        let mut node = Node {
            type_of: props.type_.clone(),
            required: props.required.clone().unwrap_or_default(),
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
            number: Range {
                min: props.minimum,
                above: props.exclusive_minimum.unwrap_or(false),
                max: props.maximum,
            },
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
                message: remedy(pattern),
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

/// What to write where a pattern does not match: patterns themselves have no message.
fn remedy(pattern: &str) -> String {
    match pattern {
        duration::PATTERN => {
            "write a number and a unit (h, m, s, ms), as in 30s, 10m or 1h30m".to_owned()
        }
        quantity::PATTERN => {
            "write a whole number of bytes, perhaps with Ki, Mi, Gi or Ti, as in 500Mi".to_owned()
        }
        POINTER => "write a JSON pointer, as in /event_type, or {header: Name}".to_owned(),
        HEADER => "write a header's name without its colon, as in X-GitHub-Event".to_owned(),
        other => format!("must match {other}"),
    }
}
