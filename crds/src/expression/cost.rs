//! Cost: what keeps one evaluation from taking long, or much memory.
//!
//! The CEL library runs an expression as it stands, however long that takes. So an expression is
//! rewritten once it is checked: where a step could take more than a moment, it first pays for what
//! it is going to read, copy or go through, and an evaluation that can't pay ends.
//!
//! ```text
//! a + b                        @cost(a) + @cost(b)
//! event.data.tags.map(t, x)    @steps(event.data.tags, nodes of x).map(t, x)
//! [x, 1]                       [@cost(x), 1]
//! x.matches('^a')              x.@matches('^a', 0)   compiled once: number 0 of the expression's own
//! x.indexOf(y)                 x.@indexOf(y)      our own, since the library's is quadratic
//! ```
//!
//! A unit is about what it takes to evaluate a node, to copy an element, or to read 16 bytes of text:
//! a tenth of a microsecond. What is small by its nature, such as a comparison with a literal, is not
//! paid for beyond its nodes: those of the whole expression are paid at once when it begins, and those
//! of a macro's body once for each element.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use cel::ExecutionError;
use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::common::types::{CelBytes, CelInt, CelList, CelMap, CelMapKey, CelOptional, CelString};
use cel::common::value::{CowVal, Val};
use regex::Regex;

use super::names::{self, FUNCTIONS, STEPS};

#[cfg(test)]
mod tests;

/// What one evaluation may cost.
pub const MAX_COST: usize = 1_000_000;

/// Pays for a value. No expression can spell the name.
pub(super) const COST: &str = "@cost";

/// Bytes of text for a unit.
const TEXT: usize = 16;
/// How often a sort reads its list, as far as it is paid for.
const SORT_PASSES: i64 = 8;

/// Methods that read or copy no more than their result shows: nothing to pay.
const CHEAP: [&str; 20] = [
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "hasValue",
    "value",
    "duration",
    "optional.none",
    "type",
    "dyn",
    "groups",
    "hits",
    "startsWith",
    "endsWith",
];
/// Methods that pay for themselves: they are our own.
const OWN: [&str; 7] = [
    "distinct",
    "indexOf",
    "join",
    "lastIndexOf",
    "matches",
    "replace",
    "split",
];
/// Functions whose result is small, whatever they are given.
const SMALL: [&str; 13] = [
    "bool",
    "contains",
    "double",
    "duration",
    "endsWith",
    "hasValue",
    "indexOf",
    "int",
    "lastIndexOf",
    "size",
    "startsWith",
    "timestamp",
    "uint",
];

thread_local! {
    /// What the evaluation on this thread may still cost.
    static LEFT: Cell<usize> = const { Cell::new(0) };
    /// Its literal regular expressions.
    static REGEXES: RefCell<Arc<[Regex]>> = RefCell::new(Arc::new([]));
}

/// Begins an evaluation on this thread.
pub(super) fn start(nodes: usize, regexes: &Arc<[Regex]>) {
    LEFT.set(MAX_COST.saturating_sub(nodes));
    if !regexes.is_empty() {
        REGEXES.set(Arc::clone(regexes));
    }
}

/// Pays, where the evaluation still can.
pub(super) fn spend(cost: usize) -> Result<(), ExecutionError> {
    let left = LEFT.get().checked_sub(cost);
    let left = left.ok_or_else(|| ExecutionError::function_error(COST, "too much"))?;
    LEFT.set(left);
    Ok(())
}

/// Pays for a text that is read or made.
pub(super) fn spend_text(bytes: usize) -> Result<(), ExecutionError> {
    spend(bytes / TEXT + 1)
}

/// A literal regular expression of the evaluation on this thread.
pub(super) fn regex(number: i64) -> Option<Regex> {
    let number = usize::try_from(number).ok()?;
    REGEXES.with_borrow(|regexes| regexes.get(number).cloned())
}

/// What a value weighs, counted no further than `limit`.
pub(super) fn weight(value: &(dyn Val + '_), limit: usize) -> usize {
    if let Some(text) = value.downcast_ref::<CelString<'_>>() {
        return text.inner().len() / TEXT + 1;
    }
    if let Some(bytes) = value.downcast_ref::<CelBytes<'_>>() {
        return bytes.inner().len() / TEXT + 1;
    }
    let mut sum = 1_usize;
    if let Some(list) = value.downcast_ref::<CelList<'_>>() {
        for element in list.inner() {
            sum = sum.saturating_add(weight(&**element, limit.saturating_sub(sum)));
            if sum > limit {
                break;
            }
        }
    } else if let Some(map) = value.downcast_ref::<CelMap<'_>>() {
        for (key, member) in map.inner() {
            let key = match key {
                CelMapKey::String(text) => text.inner().len() / TEXT,
                CelMapKey::Bool(_) | CelMapKey::Int(_) | CelMapKey::UInt(_) => 0,
            };
            let member = weight(&**member, limit.saturating_sub(sum));
            sum = sum
                .saturating_add(1)
                .saturating_add(key)
                .saturating_add(member);
            if sum > limit {
                break;
            }
        }
    } else if let Some(inner) = value
        .downcast_ref::<CelOptional<'_>>()
        .and_then(CelOptional::option)
    {
        return weight(inner, limit);
    }
    sum
}

/// `@cost(x)` and `@cost(x, times)`: pays for the value, and gives it back.
pub(super) fn cost<'b, 'v>(
    arguments: Vec<CowVal<'b, 'v>>,
) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (value, times) = with_number(arguments)?;
    spend(weight(&*value, LEFT.get()).saturating_mul(times))?;
    Ok(value)
}

/// `@steps(x, nodes)`: pays for what a macro is to go through, and gives it back.
pub(super) fn steps<'b, 'v>(
    arguments: Vec<CowVal<'b, 'v>>,
) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (range, nodes) = with_number(arguments)?;
    let size = range.as_sizer().map_or(0, |sizer| *sizer.size().inner());
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let own = weight(&*range, LEFT.get());
    spend(size.saturating_mul(nodes).saturating_add(own))?;
    Ok(range)
}

fn with_number<'b, 'v>(
    arguments: Vec<CowVal<'b, 'v>>,
) -> Result<(CowVal<'b, 'v>, usize), ExecutionError> {
    let mut arguments = arguments.into_iter();
    let value = arguments.next();
    let value = value.ok_or_else(ExecutionError::missing_argument_or_target)?;
    let number = arguments
        .next()
        .and_then(|it| it.downcast_ref::<CelInt>().map(|it| *it.inner()))
        .and_then(|it| usize::try_from(it).ok());
    Ok((value, number.unwrap_or(1)))
}

/// An expression that pays.
#[derive(Debug)]
pub(super) struct Metered {
    /// All nodes.
    pub(super) nodes: usize,
    /// Nodes from the root to the deepest leaf.
    pub(super) depth: usize,
    /// The literals that are regular expressions.
    pub(super) regexes: Arc<[Regex]>,
}

/// Makes a checked expression pay for what it does.
pub(super) fn meter(root: &mut IdedExpr) -> Metered {
    let mut regexes = Vec::new();
    rewrite(root, &mut regexes);
    Metered {
        nodes: nodes(root),
        depth: depth(root),
        regexes: regexes.into(),
    }
}

fn rewrite(node: &mut IdedExpr, regexes: &mut Vec<Regex>) {
    for child in children_mut(node) {
        rewrite(child, regexes);
    }
    match &mut node.expr {
        Expr::List(list) => list.elements.iter_mut().for_each(pay),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    pay(&mut entry.key);
                    pay(&mut entry.value);
                }
            }
        }
        Expr::Comprehension(comprehension) => {
            let body = [
                &comprehension.loop_cond,
                &comprehension.loop_step,
                &comprehension.result,
            ];
            let body = body.map(nodes).iter().sum::<usize>();
            if let Expr::Call(call) = &mut comprehension.iter_range.expr
                && call.func_name == STEPS
                && call.args.len() == 1
            {
                call.args.push(number(body));
            }
        }
        Expr::Call(call) => {
            if matches!(
                call.func_name.as_str(),
                operators::OPT_SELECT | operators::OPT_INDEX
            ) {
                // What is taken out is copied: it is paid for when it is there.
                wrap(node, 1);
            } else {
                rewrite_call(call, regexes);
            }
        }
        Expr::Unspecified
        | Expr::Literal(_)
        | Expr::Ident(_)
        | Expr::Select(_)
        | Expr::Struct(_) => {}
    }
}

fn rewrite_call(call: &mut CallExpr, regexes: &mut Vec<Regex>) {
    let name = call.func_name.as_str();
    match name {
        // A macro's own step adds to what only it can see.
        operators::ADD => {
            if !call.args.first().is_some_and(is_accumulator) {
                call.args.iter_mut().for_each(pay);
            }
            return;
        }
        operators::EQUALS
        | operators::NOT_EQUALS
        | operators::LESS
        | operators::LESS_EQUALS
        | operators::GREATER
        | operators::GREATER_EQUALS => {
            if !call.args.iter().any(is_small) {
                call.args.iter_mut().for_each(pay);
            }
            return;
        }
        operators::IN => {
            if let Some(container) = call.args.last_mut()
                && !matches!(container.expr, Expr::List(_))
            {
                pay(container);
            }
            return;
        }
        _ => {}
    }
    if !is_spelled(name) && !name.starts_with("@sort") {
        return;
    }
    let namespaced = namespaced(call);
    let full = namespaced.as_deref().unwrap_or(name);
    if CHEAP.contains(&full) || full.starts_with("math.") {
        return;
    }
    if namespaced.is_none() && call.target.is_some() && OWN.contains(&name) {
        if name == "matches" {
            literal_regex(&mut call.args, regexes);
        }
        call.func_name.insert(0, '@');
        return;
    }
    let times = if full.contains("sort") {
        SORT_PASSES
    } else {
        1
    };
    if let Some(target) = call.target.as_mut().filter(|_| namespaced.is_none()) {
        pay_times(target, times);
    }
    call.args.iter_mut().for_each(|it| pay_times(it, times));
}

/// Compiles a literal regular expression, and puts its number beside it.
fn literal_regex(arguments: &mut Vec<IdedExpr>, regexes: &mut Vec<Regex>) {
    let [argument] = arguments.as_slice() else {
        return;
    };
    if let Expr::Literal(LiteralValue::String(text)) = &argument.expr
        && let Ok(regex) = names::regex(text.inner())
    {
        arguments.push(number(regexes.len()));
        regexes.push(regex);
    }
}

/// `base64.encode` of a call that is written so.
fn namespaced(call: &CallExpr) -> Option<String> {
    let Expr::Ident(namespace) = &call.target.as_ref()?.expr else {
        return None;
    };
    let full = format!("{namespace}.{}", call.func_name);
    FUNCTIONS.contains(&full.as_str()).then_some(full)
}

fn is_spelled(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.starts_with('_')
}

/// A macro's accumulator, which no expression can name.
fn is_accumulator(node: &IdedExpr) -> bool {
    matches!(&node.expr, Expr::Ident(name) if name.starts_with('@'))
}

/// Whether its value is small whatever the event: a literal, a number, a bool.
fn is_small(node: &IdedExpr) -> bool {
    match &node.expr {
        Expr::Literal(_) => true,
        Expr::Select(select) => select.test,
        Expr::Call(call) => match call.func_name.as_str() {
            COST
            | operators::EQUALS
            | operators::NOT_EQUALS
            | operators::LESS
            | operators::LESS_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS
            | operators::IN
            | operators::LOGICAL_AND
            | operators::LOGICAL_OR
            | operators::LOGICAL_NOT
            | operators::NOT_STRICTLY_FALSE
            | operators::NEGATE
            | operators::SUBSTRACT
            | operators::MULTIPLY
            | operators::DIVIDE
            | operators::MODULO => true,
            name => {
                let name = name.trim_start_matches('@');
                SMALL.contains(&name) || name == "matches" || name.starts_with("get")
            }
        },
        Expr::Unspecified
        | Expr::Ident(_)
        | Expr::List(_)
        | Expr::Map(_)
        | Expr::Struct(_)
        | Expr::Comprehension(_) => false,
    }
}

fn pay(node: &mut IdedExpr) {
    pay_times(node, 1);
}

fn pay_times(node: &mut IdedExpr, times: i64) {
    if !is_small(node) {
        wrap(node, times);
    }
}

fn wrap(node: &mut IdedExpr, times: i64) {
    let inner = std::mem::take(node);
    node.id = inner.id;
    let mut args = vec![inner];
    if times != 1 {
        args.push(literal(times));
    }
    node.expr = Expr::Call(CallExpr {
        func_name: COST.to_owned(),
        target: None,
        args,
    });
}

fn number(number: usize) -> IdedExpr {
    literal(i64::try_from(number).unwrap_or(i64::MAX))
}

fn literal(number: i64) -> IdedExpr {
    IdedExpr {
        id: 0,
        expr: Expr::Literal(LiteralValue::Int(CelInt::from(number))),
    }
}

fn nodes(node: &IdedExpr) -> usize {
    children(node).into_iter().map(nodes).sum::<usize>() + 1
}

fn depth(node: &IdedExpr) -> usize {
    children(node).into_iter().map(depth).max().unwrap_or(0) + 1
}

/// The nodes right below. In front of a function's dot stands a name that is no value.
fn children(node: &IdedExpr) -> Vec<&IdedExpr> {
    match &node.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) | Expr::Struct(_) => Vec::new(),
        Expr::Select(select) => vec![&*select.operand],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Call(call) => {
            let target = call.target.iter().map(|it| &**it);
            target.chain(&call.args).collect()
        }
        Expr::Map(map) => {
            let entries = map.entries.iter().filter_map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => Some([&entry.key, &entry.value]),
                EntryExpr::StructField(_) => None,
            });
            entries.flatten().collect()
        }
        Expr::Comprehension(it) => vec![
            &it.iter_range,
            &it.accu_init,
            &it.loop_cond,
            &it.loop_step,
            &it.result,
        ],
    }
}

/// The same, to be changed.
fn children_mut(node: &mut IdedExpr) -> Vec<&mut IdedExpr> {
    match &mut node.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) | Expr::Struct(_) => Vec::new(),
        Expr::Select(select) => vec![&mut *select.operand],
        Expr::List(list) => list.elements.iter_mut().collect(),
        Expr::Call(call) => {
            let target = call.target.iter_mut().map(|it| &mut **it);
            target.chain(&mut call.args).collect()
        }
        Expr::Map(map) => {
            let entries = map.entries.iter_mut();
            let entries = entries.filter_map(|entry| match &mut entry.expr {
                EntryExpr::MapEntry(entry) => Some([&mut entry.key, &mut entry.value]),
                EntryExpr::StructField(_) => None,
            });
            entries.flatten().collect()
        }
        Expr::Comprehension(it) => vec![
            &mut it.iter_range,
            &mut it.accu_init,
            &mut it.loop_cond,
            &mut it.loop_step,
            &mut it.result,
        ],
    }
}
