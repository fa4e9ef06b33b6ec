//! Templates: YAML whose texts hold `${...}` expressions.
//!
//! - A text that is one `${...}` and nothing else keeps the expression's type: a number stays a
//!   number. In any other text the values are joined, as [`text`] writes them.
//! - `$${` is a literal `${`. A `$` without a brace behind it is itself.
//! - `${null}` is null. Keys of maps are texts as they stand, never templates.
//! - The brace that ends an expression is found through CEL's own texts (quoted, triple-quoted and
//!   raw) and the braces of its maps.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use crate::expression::{self, EvalError, Expression, MAX_VALUE, Scope, Variables};
use crate::snapshot::JsonText;

mod scan;
mod url;

#[cfg(test)]
mod tests;

pub use url::UrlTemplate;

/// A compiled template.
#[derive(Debug)]
pub struct Template {
    root: Node,
}

/// Why a value is not a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {source}")]
pub struct Error {
    /// The leaf, as a JSON pointer into the template; empty for the root.
    pub pointer: String,
    /// What is wrong with it.
    pub source: expression::Error,
}

#[derive(Debug)]
enum Node {
    /// Holds no expression.
    Constant(Json),
    /// One expression, which keeps its type.
    Expression(Expression),
    /// Joined as text.
    Text(Vec<Part>),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

#[derive(Debug)]
enum Part {
    Literal(String),
    Expression(Expression),
}

impl Template {
    /// Compiles every leaf.
    ///
    /// # Errors
    /// All that is wrong, each with its leaf.
    pub fn compile(template: &Json, scope: Scope) -> Result<Self, Vec<Error>> {
        let mut errors = Vec::new();
        let root = compile(template, scope, &mut String::new(), &mut errors);
        if errors.is_empty() {
            Ok(Self { root })
        } else {
            Err(errors)
        }
    }

    /// Compiles a template that was kept as text.
    ///
    /// # Errors
    /// As [`Template::compile`].
    pub fn read(template: &JsonText, scope: Scope) -> Result<Self, Vec<Error>> {
        let template = template.read().map_err(|error| {
            let source = expression::Error {
                message: error.to_string(),
            };
            vec![Error {
                pointer: String::new(),
                source,
            }]
        })?;
        Self::compile(&template, scope)
    }

    /// The look-ups that its expressions name; `None` among them stands for all.
    #[must_use]
    pub fn enriched(&self) -> BTreeSet<Option<&str>> {
        let mut names = BTreeSet::new();
        self.root.enriched(&mut names);
        names
    }

    /// Checks that the word lists that it names are among these.
    ///
    /// # Errors
    /// That of the first expression that names another.
    pub fn check_word_lists(&self, known: &[&str]) -> Result<(), expression::Error> {
        self.root.check_word_lists(known)
    }

    /// Renders it for an event.
    ///
    /// # Errors
    /// Those of the first leaf that has no value, or no room: all leaves share [`MAX_VALUE`].
    pub fn render(&self, variables: &Variables<'_>) -> Result<Json, EvalError> {
        let mut room = MAX_VALUE;
        self.root.render(variables, &mut room)
    }
}

/// A value in a text: texts as they are, null as nothing, all else as JSON.
#[must_use]
pub fn text(value: &Json) -> Cow<'_, str> {
    match value {
        Json::String(text) => Cow::Borrowed(text),
        Json::Null => Cow::Borrowed(""),
        value => Cow::Owned(value.to_string()),
    }
}

fn compile(template: &Json, scope: Scope, pointer: &mut String, errors: &mut Vec<Error>) -> Node {
    let mut child = |step: &str, value: &Json, errors: &mut Vec<Error>| {
        let length = pointer.len();
        pointer.push('/');
        pointer.push_str(&step.replace('~', "~0").replace('/', "~1"));
        let node = compile(value, scope, pointer, errors);
        pointer.truncate(length);
        node
    };
    match template {
        Json::String(source) => compile_text(source, scope).unwrap_or_else(|source| {
            errors.push(Error {
                pointer: pointer.clone(),
                source,
            });
            Node::Constant(Json::Null)
        }),
        Json::Array(elements) => Node::List(
            elements
                .iter()
                .enumerate()
                .map(|(index, value)| child(&index.to_string(), value, errors))
                .collect(),
        ),
        Json::Object(members) => Node::Map(
            members
                .iter()
                .map(|(name, value)| (name.clone(), child(name, value, errors)))
                .collect(),
        ),
        constant => Node::Constant(constant.clone()),
    }
}

fn compile_text(source: &str, scope: Scope) -> Result<Node, expression::Error> {
    let mut parts = scan::pieces(source)?
        .into_iter()
        .map(|piece| match piece {
            scan::Piece::Literal(text) => Ok(Part::Literal(text)),
            scan::Piece::Expression(source) => {
                Expression::compile(source, scope).map(Part::Expression)
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(match (parts.pop(), parts.is_empty()) {
        (None, _) => Node::Constant(Json::from("")),
        (Some(Part::Literal(text)), true) => Node::Constant(Json::String(text)),
        (Some(Part::Expression(expression)), true) => Node::Expression(expression),
        (Some(last), false) => {
            parts.push(last);
            Node::Text(parts)
        }
    })
}

impl Node {
    fn enriched<'a>(&'a self, names: &mut BTreeSet<Option<&'a str>>) {
        match self {
            Self::Constant(_) => {}
            Self::Expression(expression) => names.extend(expression.enriched()),
            Self::Text(parts) => names.extend(
                parts
                    .iter()
                    .filter_map(|part| match part {
                        Part::Literal(_) => None,
                        Part::Expression(expression) => Some(expression),
                    })
                    .flat_map(Expression::enriched),
            ),
            Self::List(nodes) => nodes.iter().for_each(|node| node.enriched(names)),
            Self::Map(members) => members.iter().for_each(|(_, node)| node.enriched(names)),
        }
    }

    fn check_word_lists(&self, known: &[&str]) -> Result<(), expression::Error> {
        match self {
            Self::Constant(_) => Ok(()),
            Self::Expression(expression) => expression.check_word_lists(known),
            Self::Text(parts) => parts.iter().try_for_each(|part| match part {
                Part::Literal(_) => Ok(()),
                Part::Expression(expression) => expression.check_word_lists(known),
            }),
            Self::List(nodes) => nodes.iter().try_for_each(|it| it.check_word_lists(known)),
            Self::Map(members) => members
                .iter()
                .try_for_each(|(_, it)| it.check_word_lists(known)),
        }
    }

    fn render(&self, variables: &Variables<'_>, room: &mut usize) -> Result<Json, EvalError> {
        match self {
            Self::Constant(value) => Ok(value.clone()),
            Self::Expression(expression) => expression.evaluate_within(variables, room),
            Self::Text(parts) => {
                let mut joined = String::new();
                for part in parts {
                    match part {
                        Part::Literal(literal) => joined.push_str(literal),
                        Part::Expression(expression) => {
                            let value = expression.evaluate_within(variables, room)?;
                            joined.push_str(&text(&value));
                        }
                    }
                }
                Ok(Json::String(joined))
            }
            Self::List(nodes) => nodes
                .iter()
                .map(|node| node.render(variables, room))
                .collect(),
            Self::Map(members) => members
                .iter()
                .map(|(name, node)| Ok((name.clone(), node.render(variables, room)?)))
                .collect::<Result<Map<_, _>, _>>()
                .map(Json::Object),
        }
    }
}
