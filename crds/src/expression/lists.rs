//! Word lists in expressions: `words.risk.matches(event.data.text)`.
//!
//! A list takes any value: a text, an optional, or a list or map whose texts are all looked at. What
//! holds no text has no hits, so a message without one needs no `has()`.

#![expect(
    clippy::needless_pass_by_value,
    clippy::unnecessary_wraps,
    reason = "a function of the CEL library takes its arguments, and may fail"
)]

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use cel::common::types::{self, CelBool, CelList, CelMap, CelMapKey, CelOptional, CelString, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::{DeclarationError, Env, ExecutionError};

use super::cost::{spend, spend_text};
use crate::words::{self, Hit, Words};

/// The variable that holds them.
pub(super) const VARIABLE: &str = "words";
/// Blamed where a list is named that is not there.
pub(super) const MISSING: &str = "@words";

static TYPE: LazyLock<Type> = LazyLock::new(list_type);

fn list_type() -> Type {
    Type::new_opaque_type("words")
}

/// The lists of a route, by name; made once and shared.
#[derive(Debug, Clone)]
pub struct WordLists(Arc<CelMap<'static>>);

impl WordLists {
    /// These lists; `None` for one whose source is not there, which fails where it is asked.
    pub fn new(lists: impl IntoIterator<Item = (String, Option<Arc<Words>>)>) -> Self {
        let lists = lists.into_iter().map(|(name, words)| {
            let list: Box<dyn Val> = Box::new(WordList {
                name: Arc::from(name.as_str()),
                words,
            });
            (CelMapKey::String(CelString::from(name)), list)
        });
        Self(Arc::new(CelMap::from(lists.collect::<HashMap<_, _>>())))
    }

    pub(super) fn value(&self) -> &(dyn Val + 'static) {
        &*self.0
    }
}

/// A list as a value.
#[derive(Debug, Clone)]
struct WordList {
    name: Arc<str>,
    words: Option<Arc<Words>>,
}

impl Val for WordList {
    fn get_type(&self) -> &Type {
        &TYPE
    }

    fn cel_type() -> &'static Type {
        &TYPE
    }

    fn equals(&self, other: &dyn Val) -> bool {
        other
            .downcast_ref::<Self>()
            .is_some_and(|other| self.name == other.name)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for WordList {}

/// Declares what lists can do.
pub(super) fn declare(env: &mut Env) -> Result<(), DeclarationError> {
    let list = list_type;
    let any = || types::DYN_TYPE;
    env.add_member_overload(
        "@matches",
        "words.@matches(dyn)",
        list(),
        vec![any()],
        matches,
    )?;
    // A literal comes with the number of a regular expression, which it is not.
    env.add_member_overload(
        "@matches",
        "words.@matches(dyn,int)",
        list(),
        vec![any(), types::INT_TYPE],
        matches,
    )?;
    env.add_member_overload("hits", "words.hits(dyn)", list(), vec![any()], hits)?;
    env.add_member_overload("groups", "words.groups(dyn)", list(), vec![any()], groups)
}

type Given<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

fn matches<'b, 'v>(values: Vec<CowVal<'b, 'v>>) -> Given<'b, 'v> {
    let mut found = false;
    search(&values, |_| {
        found = true;
        false
    })?;
    Ok(CowVal::owned(CelBool::from(found)))
}

/// The words that hit, as they are written in the list, in the order in which they are found.
fn hits<'b, 'v>(values: Vec<CowVal<'b, 'v>>) -> Given<'b, 'v> {
    let mut found: Vec<String> = Vec::new();
    search(&values, |hit| {
        if !found.iter().any(|it| it == hit.word) {
            found.push(hit.word.to_owned());
        }
        true
    })?;
    texts(found)
}

/// The groups that hit, in the order of the list.
fn groups<'b, 'v>(values: Vec<CowVal<'b, 'v>>) -> Given<'b, 'v> {
    let mut found: Vec<(usize, String)> = Vec::new();
    search(&values, |hit| {
        let new = !found.iter().any(|(place, _)| *place == hit.group_place);
        if new && !hit.group.is_empty() {
            found.push((hit.group_place, hit.group.to_owned()));
        }
        true
    })?;
    found.sort_unstable();
    texts(found.into_iter().map(|(_, group)| group).collect())
}

fn texts<'b, 'v>(texts: Vec<String>) -> Given<'b, 'v> {
    let texts = texts.into_iter();
    let texts = texts.map(|text| -> Box<dyn Val> { Box::new(CelString::from(text)) });
    Ok(CowVal::owned(CelList::from(texts.collect::<Vec<_>>())))
}

/// Gives each hit to `take` until it wants no more.
fn search(
    values: &[CowVal<'_, '_>],
    mut take: impl FnMut(Hit<'_>) -> bool,
) -> Result<(), ExecutionError> {
    let missing = ExecutionError::missing_argument_or_target;
    let list = values.first().ok_or_else(missing)?;
    let list = list.downcast_ref::<WordList>().ok_or_else(missing)?;
    let words = list
        .words
        .as_ref()
        .ok_or_else(|| ExecutionError::function_error(MISSING, &*list.name))?;
    let value = values.get(1).ok_or_else(missing)?;
    look(&**value, words, &mut take).map(drop)
}

/// Whether there may be more to find.
fn look(
    value: &(dyn Val + '_),
    list: &Words,
    take: &mut impl FnMut(Hit<'_>) -> bool,
) -> Result<bool, ExecutionError> {
    spend(1)?;
    if let Some(text) = value.downcast_ref::<CelString<'_>>() {
        // It is folded, and then read.
        spend_text(text.inner().len().saturating_mul(2))?;
        let folded = words::fold(text.inner());
        for hits in list.search(&folded) {
            spend(1)?;
            if !hits.into_iter().all(&mut *take) {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    if let Some(elements) = value.downcast_ref::<CelList<'_>>() {
        for element in elements.inner() {
            if !look(&**element, list, take)? {
                return Ok(false);
            }
        }
    } else if let Some(members) = value.downcast_ref::<CelMap<'_>>() {
        // By name: a map has no order of its own, and what hits must come in the same order each time.
        let mut members: Vec<_> = members.inner().iter().collect();
        members.sort_by(|(one, _), (other, _)| name(one).cmp(&name(other)));
        for (_, member) in members {
            if !look(&**member, list, take)? {
                return Ok(false);
            }
        }
    } else if let Some(inner) = value
        .downcast_ref::<CelOptional<'_>>()
        .and_then(CelOptional::option)
    {
        return look(inner, list, take);
    }
    Ok(true)
}

/// The name of a member, where it has one.
fn name<'a>(key: &'a CelMapKey<'_>) -> Option<&'a str> {
    match key {
        CelMapKey::String(name) => Some(name.inner()),
        _ => None,
    }
}
