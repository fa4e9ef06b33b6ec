//! From source to a checked expression: every name is known, and nothing is nested too deeply.

use std::collections::BTreeSet;

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo, operators,
};

use super::names::{self, ATTRIBUTES, FUNCTIONS, MACROS, METHODS, TYPES};
use super::path::Path;
use super::{Compiled, ENV, Error, MAX_DEPTH, MAX_NESTING, Scope, WordListRef, cost, lists, types};

/// Parses and checks.
pub(super) fn compile(source: &str, scope: Scope, condition: bool) -> Result<Compiled, Error> {
    let (mut root, info) = ENV
        .parser()
        .max_recursion_depth(MAX_NESTING)
        .parse_with_source_info(source)
        .map_err(|errors| syntax(source, &errors))?;
    let mut checker = Checker {
        source,
        scope,
        info: &info,
        bound: Vec::new(),
        paths: Vec::new(),
        variables: BTreeSet::new(),
        enriched: Vec::new(),
        word_lists: Vec::new(),
        depth: 0,
    };
    checker.expression(&mut root, 1)?;
    types::check(&root, condition, &|id, message| checker.error(id, message))?;
    let Checker {
        paths,
        word_lists,
        variables,
        enriched,
        ..
    } = checker;
    let cost::Metered {
        nodes,
        depth,
        regexes,
    } = cost::meter(&mut root);
    Ok(Compiled {
        root,
        depth,
        paths,
        variables,
        enriched,
        nodes,
        regexes,
        word_lists,
    })
}

/// The parser's first error in our words: its own list what a grammar would have expected.
fn syntax(source: &str, errors: &cel::ParseErrors) -> Error {
    // The parser goes on behind an error, and may put what follows from it first.
    let first = errors
        .errors
        .iter()
        .find(|error| !error.msg.starts_with("Incomplete"));
    let Some(error) = first.or_else(|| errors.errors.first()) else {
        return Error::new("the expression can't be parsed");
    };
    let line = usize::try_from(error.pos.0).unwrap_or(1).max(1);
    let column = usize::try_from(error.pos.1).unwrap_or(1).max(1);
    let rest: String = source
        .lines()
        .nth(line - 1)
        .unwrap_or_default()
        .chars()
        .skip(column - 1)
        .collect();
    if nesting(source) >= usize::from(MAX_NESTING) {
        return Error::new(format!(
            "brackets are nested more than {MAX_NESTING} deep; split the expression"
        ));
    }
    let message = match rest.trim_start().chars().next() {
        None => "the expression ends too early".to_owned(),
        Some('\'' | '"') if !closes(&rest) => {
            "this text is not closed, or holds an unknown `\\` escape".to_owned()
        }
        Some('=') => "`=` is no operator; compare with `==`".to_owned(),
        Some(first) if first.is_ascii_alphanumeric() || first == '_' => {
            let word: String = rest
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            match word.as_str() {
                "and" => "write `&&` for `and`".to_owned(),
                "or" => "write `||` for `or`".to_owned(),
                "not" => "write `!` for `not`".to_owned(),
                // A macro's complaint about its arguments, a number out of range, a reserved word.
                _ if !error.msg.starts_with("Syntax error") => {
                    format!("at `{word}`: {}", error.msg)
                }
                _ => format!("`{word}` is not expected here"),
            }
        }
        Some(first) => format!("`{first}` is not expected here"),
    };
    Error::at(line, column, &message)
}

/// The deepest nesting of brackets, those in texts included.
fn nesting(source: &str) -> usize {
    let mut depth = 0_usize;
    let mut deepest = 0;
    for c in source.chars() {
        match c {
            '(' | '[' | '{' | '?' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Whether a text that begins here ends here.
fn closes(rest: &str) -> bool {
    let mut chars = rest.chars();
    let quote = chars.next();
    let mut escaped = false;
    chars.any(|c| {
        let end = !escaped && Some(c) == quote;
        escaped = !escaped && c == '\\';
        end
    }) && !rest.contains('\\')
}

struct Checker<'a> {
    source: &'a str,
    scope: Scope,
    info: &'a SourceInfo,
    /// Variables of the macros around.
    bound: Vec<String>,
    paths: Vec<Path>,
    variables: BTreeSet<String>,
    enriched: Vec<Option<String>>,
    word_lists: Vec<WordListRef>,
    depth: usize,
}

impl Checker<'_> {
    fn error(&self, id: u64, message: &str) -> Error {
        let (line, column) = self.place(id);
        Error::at(line, column, message)
    }

    /// Line and column of a node, counted from 1.
    fn place(&self, id: u64) -> (usize, usize) {
        let offset = self
            .info
            .offset_for(id)
            .and_then(|(start, _)| usize::try_from(start).ok())
            .unwrap_or_default();
        let before: String = self.source.chars().take(offset).collect();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        (line, column)
    }

    fn expression(&mut self, node: &mut IdedExpr, depth: usize) -> Result<(), Error> {
        let id = node.id;
        self.deepen(id, depth)?;
        if let Some(path) = Path::of(node) {
            return self.path(path, depth);
        }
        match &mut node.expr {
            Expr::Unspecified => Err(self.error(id, "an expression is missing here")),
            Expr::Literal(_) | Expr::Ident(_) => Ok(()),
            Expr::Select(select) => {
                let mut named = None;
                if let (true, Expr::Ident(name)) = (select.test, &select.operand.expr) {
                    self.attribute(select.operand.id, name, &select.field)?;
                    named = Some(self.enriched.len());
                }
                let computed = Path::of(&select.operand).is_none();
                self.expression(&mut select.operand, depth + 2)?;
                // The variable behind `has()` does not stand alone.
                self.enriched.truncate(named.unwrap_or(usize::MAX));
                if computed {
                    wrap(&mut select.operand, names::PRESENT);
                }
                Ok(())
            }
            Expr::Call(call) => self.call(id, call, depth),
            Expr::List(list) => self.all(&mut list.elements, depth),
            Expr::Map(map) => map
                .entries
                .iter_mut()
                .try_for_each(|entry| match &mut entry.expr {
                    EntryExpr::MapEntry(entry) => {
                        self.expression(&mut entry.key, depth + 1)?;
                        self.expression(&mut entry.value, depth + 1)
                    }
                    EntryExpr::StructField(field) => self.expression(&mut field.value, depth + 1),
                }),
            Expr::Struct(message) => {
                let message = format!(
                    "there is no type `{}` to make; write a map: {{'key': value}}",
                    message.type_name
                );
                Err(self.error(id, &message))
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension, depth),
        }
    }

    fn deepen(&mut self, id: u64, depth: usize) -> Result<(), Error> {
        self.depth = self.depth.max(depth);
        if depth > MAX_DEPTH {
            return Err(self.error(id, "operations are nested too deeply; split the expression"));
        }
        Ok(())
    }

    fn all(&mut self, nodes: &mut [IdedExpr], depth: usize) -> Result<(), Error> {
        nodes
            .iter_mut()
            .try_for_each(|node| self.expression(node, depth + 1))
    }

    /// A variable, with the fields selected on it.
    fn path(&mut self, path: Path, depth: usize) -> Result<(), Error> {
        let id = path.id;
        self.deepen(id, depth + path.depth())?;
        if self.bound.iter().any(|name| name == path.variable()) {
            return Ok(());
        }
        if TYPES.contains(&path.dotted().as_str()) {
            return Ok(());
        }
        self.variable(id, path.variable())?;
        if let Some(attribute) = path.attribute() {
            self.attribute(id, path.variable(), attribute)?;
        } else if path.variable() == "enriched" {
            self.enriched.push(None);
        }
        if path.variable() == lists::VARIABLE {
            let (line, column) = self.place(id);
            self.word_lists.push(WordListRef {
                name: path.attribute().map(str::to_owned),
                line,
                column,
            });
        }
        self.paths.push(path);
        Ok(())
    }

    fn variable(&mut self, id: u64, name: &str) -> Result<(), Error> {
        self.variables.insert(name.to_owned());
        match (name, self.scope) {
            ("event" | lists::VARIABLE, _)
            | ("request", Scope::Sent)
            | ("first", Scope::Unless)
            | ("enriched", Scope::Enriched) => {
                return Ok(());
            }
            ("first", _) => {
                return Err(self.error(id, "`first` is known in `after.unless.when` only"));
            }
            ("enriched", _) => {
                return Err(self.error(
                    id,
                    "`enriched` is known in the bodies of a rule that has `enrich`: look-ups are made once the rule has fired",
                ));
            }
            ("request", _) => {
                return Err(self.error(id, "`request` is known in `loopGuard.echo.sent` only"));
            }
            // The parser's own, such as a macro's accumulator.
            _ if name.starts_with('@') => return Ok(()),
            _ => {}
        }
        let meant = if ATTRIBUTES.contains(&name) {
            format!("event.{name}")
        } else if names::nearest(name, ["event"]).is_some() {
            "event".to_owned()
        } else {
            format!("event.data.{name}")
        };
        Err(self.error(
            id,
            &format!("unknown variable `{name}`; did you mean `{meant}`?"),
        ))
    }

    /// A field of `event` itself must be one of its attributes.
    fn attribute(&mut self, id: u64, variable: &str, attribute: &str) -> Result<(), Error> {
        if variable == "enriched" && !self.bound.iter().any(|name| name == variable) {
            self.enriched.push(Some(attribute.to_owned()));
            return Ok(());
        }
        if !matches!(variable, "event" | "first")
            || ATTRIBUTES.contains(&attribute)
            || self.bound.iter().any(|name| name == variable)
        {
            return Ok(());
        }
        let meant = names::nearest(attribute, ATTRIBUTES).map_or_else(
            || format!("{variable}.data.{attribute}"),
            |near| format!("{variable}.{near}"),
        );
        Err(self.error(
            id,
            &format!(
                "`{variable}` has no attribute `{attribute}`; did you mean `{meant}`? What the sender wrote is in `{variable}.data`"
            ),
        ))
    }

    fn call(&mut self, id: u64, call: &mut CallExpr, depth: usize) -> Result<(), Error> {
        if let (operators::OPT_SELECT | operators::OPT_INDEX, [operand, field]) =
            (call.func_name.as_str(), call.args.as_slice())
            && let (Expr::Ident(name), Expr::Literal(LiteralValue::String(field))) =
                (&operand.expr, &field.expr)
        {
            let (name, field) = (name.clone(), field.inner().to_owned());
            self.attribute(operand.id, &name, &field)?;
            if name == "enriched" && !self.bound.contains(&name) {
                // The variable itself is looked at below, as if it stood alone.
                let before = self.enriched.len();
                self.all(&mut call.args, depth)?;
                self.enriched.truncate(before);
                return Ok(());
            }
        }
        // The parser's own functions have signs in their names that no expression can spell.
        let spelled = call
            .func_name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_');
        match &mut call.target {
            None if spelled => self.function(id, &call.func_name, "", &FUNCTIONS)?,
            None => {}
            Some(target) => {
                let namespaced = match &target.expr {
                    Expr::Ident(namespace) if !self.bound.contains(namespace) => {
                        Some(format!("{namespace}.{}", call.func_name)).filter(|_| {
                            FUNCTIONS.iter().any(|known| in_namespace(known, namespace))
                        })
                    }
                    _ => None,
                };
                if let Some(name) = namespaced {
                    self.function(id, &name, "", &FUNCTIONS)?;
                } else {
                    if spelled {
                        self.function(id, &call.func_name, ".", &METHODS)?;
                    }
                    self.expression(target, depth + 2)?;
                    if matches!(call.func_name.as_str(), "or" | "orValue" | "hasValue") {
                        wrap(target, names::PRESENT);
                    }
                }
            }
        }
        self.all(&mut call.args, depth)
    }

    fn function(&self, id: u64, name: &str, dot: &str, known: &[&str]) -> Result<(), Error> {
        if known.contains(&name) {
            return Ok(());
        }
        if let Some((_, usage)) = MACROS.iter().find(|(known, _)| *known == name) {
            return Err(self.error(id, &format!("`{name}` is written `{usage}`")));
        }
        let meant = match names::nearest(name, known.iter().copied()) {
            Some(near) => format!("; did you mean `{dot}{near}()`?"),
            None if METHODS.contains(&name) => format!("; write it as `x.{name}()`"),
            None if FUNCTIONS.contains(&name) => format!("; write it as `{name}(x)`"),
            None => String::new(),
        };
        Err(self.error(id, &format!("unknown function `{name}`{meant}")))
    }

    fn comprehension(&mut self, node: &mut ComprehensionExpr, depth: usize) -> Result<(), Error> {
        self.expression(&mut node.iter_range, depth + 2)?;
        self.expression(&mut node.accu_init, depth + 1)?;
        let outer = self.bound.len();
        self.bound.push(node.iter_var.clone());
        self.bound.push(node.accu_var.clone());
        self.bound.extend(node.iter_var2.clone());
        for part in [&mut node.loop_cond, &mut node.loop_step, &mut node.result] {
            self.expression(part, depth + 1)?;
        }
        self.bound.truncate(outer);
        wrap(&mut node.iter_range, names::STEPS);
        Ok(())
    }
}

fn in_namespace(function: &str, namespace: &str) -> bool {
    function
        .split_once('.')
        .is_some_and(|(known, _)| known == namespace)
}

/// Makes `x` into `function(x)`.
fn wrap(node: &mut IdedExpr, function: &str) {
    let inner = std::mem::take(node);
    node.id = inner.id;
    node.expr = Expr::Call(CallExpr {
        func_name: function.to_owned(),
        target: None,
        args: vec![inner],
    });
}
