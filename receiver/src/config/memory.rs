//! The parts of a rule that remember earlier events, with their expressions compiled.

use std::sync::Arc;

use hookswitch_crds::duration::Duration;
use hookswitch_crds::expression::{Expression, Scope};
use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::snapshot;
use sha2::{Digest as _, Sha256};

use super::Error;
use crate::plan::{Part, Scope as MemoryScope};

/// `transition` of a rule.
#[derive(Debug)]
pub struct Transition {
    /// Where it is remembered.
    pub scope: Arc<MemoryScope>,
    /// What has the state.
    pub key: Expression,
    /// The state's rank.
    pub rank: Expression,
    /// Whether it may go back.
    pub reopen_when: Option<Expression>,
}

/// `after` of a rule.
#[derive(Debug)]
pub struct After {
    /// Where it is remembered: a rule that waits for something else remembers elsewhere.
    pub scope: Arc<MemoryScope>,
    /// How long.
    pub wait: Duration,
    /// What is waited for.
    pub key: Expression,
    /// What cancels it.
    pub unless: Option<Unless>,
}

/// `after.unless` of a rule.
#[derive(Debug)]
pub struct Unless {
    /// Event types; empty matches all.
    pub types: Vec<String>,
    /// The condition.
    pub when: Option<Expression>,
    /// Whether it names the first event.
    pub names_first: bool,
}

/// `once` of a delivery.
#[derive(Debug)]
pub struct Once {
    /// Where it is remembered.
    pub scope: Arc<MemoryScope>,
    /// The key.
    pub key: Expression,
    /// How long it is remembered.
    pub window: Duration,
}

/// Compiles an expression of a rule.
type Compile<'a> = dyn Fn(&str, &str, Scope) -> Result<Expression, Error> + 'a;

pub(super) fn transition(
    route: &ObjectKey,
    rule: &snapshot::Rule,
    transition: &snapshot::Transition,
    compile: &Compile<'_>,
) -> Result<Transition, Error> {
    Ok(Transition {
        scope: Arc::new(MemoryScope {
            route: route.clone(),
            rule: rule.name.clone(),
            part: Part::Transition,
        }),
        key: compile(&rule.name, &transition.key, Scope::Event)?,
        rank: compile(&rule.name, &transition.rank, Scope::Event)?,
        reopen_when: transition
            .reopen_when
            .as_ref()
            .map(|when| compile(&rule.name, when, Scope::Event))
            .transpose()?,
    })
}

pub(super) fn after(
    route: &ObjectKey,
    rule: &snapshot::Rule,
    after: &snapshot::After,
    compile: &Compile<'_>,
) -> Result<After, Error> {
    let unless = after.unless.as_ref().map(|unless| {
        let compile = |when| compile(&rule.name, when, Scope::Unless);
        let when = unless.when.as_deref().map(compile).transpose()?;
        Ok::<_, Error>(Unless {
            types: unless.types.clone(),
            names_first: when.as_ref().is_some_and(|when| when.names("first")),
            when,
        })
    });
    Ok(After {
        scope: Arc::new(MemoryScope {
            route: route.clone(),
            rule: rule.name.clone(),
            part: Part::After(version(rule)),
        }),
        wait: after.wait,
        key: compile(&rule.name, &after.key, Scope::Event)?,
        unless: unless.transpose()?,
    })
}

/// What a rule waits for, and when: the same in every process, and another after an edit of that.
fn version(rule: &snapshot::Rule) -> u64 {
    let waits = (&rule.types, &rule.when, &rule.after);
    // Texts and durations: it can't fail.
    let text = serde_json::to_vec(&waits).unwrap_or_default();
    let hash: [u8; 32] = Sha256::digest(text).into();
    u64::from_be_bytes(hash.first_chunk().copied().unwrap_or_default())
}

pub(super) fn once(
    route: &ObjectKey,
    rule: &snapshot::Rule,
    destination: &str,
    once: &snapshot::Once,
    compile: &Compile<'_>,
) -> Result<Once, Error> {
    Ok(Once {
        scope: Arc::new(MemoryScope {
            route: route.clone(),
            rule: rule.name.clone(),
            part: Part::Once(destination.to_owned()),
        }),
        key: compile(&rule.name, &once.key, Scope::Event)?,
        window: once.window,
    })
}
