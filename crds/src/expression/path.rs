//! The fields that an expression names without `?`, kept to say which one an event lacks.

use std::fmt::Write as _;

use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators};
use cel::common::types::{CelInt, CelString};
use cel::common::value::{CowVal, Val};

use super::value::Variables;

/// A variable and the fields selected on it, as far as they are written out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Path {
    /// The variable's node.
    pub(super) id: u64,
    variable: String,
    segments: Vec<Segment>,
}

#[derive(Debug, PartialEq, Eq)]
enum Segment {
    Field(String),
    Index(i64),
}

impl Path {
    /// The path that an expression spells; `None` where it is anything else.
    pub(super) fn of(expression: &IdedExpr) -> Option<Self> {
        match &expression.expr {
            Expr::Ident(name) => Some(Self {
                id: expression.id,
                variable: name.clone(),
                segments: Vec::new(),
            }),
            Expr::Select(select) if !select.test => {
                let mut path = Self::of(&select.operand)?;
                path.segments.push(Segment::Field(select.field.clone()));
                Some(path)
            }
            Expr::Call(call) if call.func_name == operators::INDEX => {
                let [operand, index] = call.args.as_slice() else {
                    return None;
                };
                let segment = match &index.expr {
                    Expr::Literal(LiteralValue::String(name)) => {
                        Segment::Field(name.inner().to_owned())
                    }
                    Expr::Literal(LiteralValue::Int(index)) => Segment::Index(*index.inner()),
                    _ => return None,
                };
                let mut path = Self::of(operand)?;
                path.segments.push(segment);
                Some(path)
            }
            _ => None,
        }
    }

    pub(super) fn variable(&self) -> &str {
        &self.variable
    }

    /// The path where it is fields alone, joined by dots.
    pub(super) fn dotted(&self) -> String {
        let fields = self.segments.iter().map(|segment| match segment {
            Segment::Field(name) => name.as_str(),
            Segment::Index(_) => "[]",
        });
        std::iter::once(self.variable.as_str())
            .chain(fields)
            .collect::<Vec<_>>()
            .join(".")
    }

    /// The first field selected.
    pub(super) fn attribute(&self) -> Option<&str> {
        match self.segments.first()? {
            Segment::Field(name) => Some(name),
            Segment::Index(_) => None,
        }
    }

    /// How many nodes it is deep.
    pub(super) fn depth(&self) -> usize {
        self.segments.len() + 1
    }

    /// The path as far as the first field that is not there.
    pub(super) fn missing(&self, variables: &Variables<'_>) -> Option<String> {
        let mut value = CowVal::Borrowed(variables.get(&self.variable)?);
        let mut written = self.variable.clone();
        for segment in &self.segments {
            let key: Box<dyn Val + '_> = match segment {
                Segment::Field(name) => {
                    written.push('.');
                    written.push_str(name);
                    Box::new(CelString::from(name.as_str()))
                }
                Segment::Index(index) => {
                    write!(written, "[{index}]").ok()?;
                    Box::new(CelInt::from(*index))
                }
            };
            let CowVal::Borrowed(container) = value else {
                return None;
            };
            match container.as_indexer().map(|indexer| indexer.get(&*key)) {
                Some(Ok(inner)) => value = inner,
                Some(Err(_)) | None => return Some(written),
            }
        }
        None
    }
}
