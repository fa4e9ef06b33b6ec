//! An `EventRoute`'s spec, resolved.
//!
//! What depends on subscriptions, that is whether they let the route attach, is decided later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hookswitch_crds::condition::reason;
use hookswitch_crds::duration::Duration;
use hookswitch_crds::event_route::{self as spec, EventRouteSpec};
use hookswitch_crds::expression::{self, Expression, Scope};
use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::snapshot::{self, GuardMode, Origin, SubjectLimit};
use hookswitch_crds::template::Template;

use super::context::Context;
use super::problems::Problems;
use super::{destination, enrich, word_lists};

/// Senders whose events a write-back would only echo.
const GUARDED_SENDERS: [&str; 2] = ["agent", "system"];
/// The most receivers that an event may have passed through.
const MAX_HOPS: u32 = 4;
/// The most write-backs of one subject.
const PER_SUBJECT: SubjectLimit = SubjectLimit {
    limit: 20,
    window: Duration::from_secs(60),
};
/// How long a mark waits for its echo.
const ECHO_WINDOW: Duration = Duration::from_secs(300);

/// A resolved spec.
#[derive(Debug, Clone)]
pub(super) struct Resolved {
    /// What the snapshot gets; what it is attached to is decided later.
    pub(super) entry: Arc<snapshot::Route>,
    /// The subscriptions that the spec names, in its order.
    pub(super) parents: Vec<ObjectKey>,
}

/// Subscriptions as an entry names them: sorted, each once.
pub(super) fn as_entry(mut keys: Vec<ObjectKey>) -> Vec<ObjectKey> {
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The subscriptions that a spec names, in the order in which it does.
fn parents(spec: &EventRouteSpec, namespace: &str) -> Vec<ObjectKey> {
    let key = |it: &spec::SubscriptionRef| {
        ObjectKey::new(
            it.namespace.as_deref().unwrap_or(namespace),
            it.name.as_str(),
        )
    };
    spec.subscription_refs.iter().map(key).collect()
}

/// Resolves a spec. What can't be served as it is written is among the problems.
pub(super) fn resolve(
    spec: &EventRouteSpec,
    origin: Origin,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Resolved {
    problems.broken_rules(spec.validate());
    let EventRouteSpec {
        subscription_refs: _,
        word_lists,
        destinations,
        rules,
        loop_guard,
    } = spec;
    let destinations = destinations.iter().enumerate().filter_map(|(index, it)| {
        destination::resolve(
            it,
            &format!("spec.destinations[{index}]"),
            context,
            problems,
        )
    });
    let destinations: Vec<Arc<snapshot::Destination>> = destinations.map(Arc::new).collect();
    let named = spec
        .destinations
        .iter()
        .map(|it| (it.name.as_str(), it))
        .collect();
    let rules = rules.iter().enumerate();
    let rules = rules.map(|(index, it)| {
        let field = format!("spec.rules[{index}]");
        rule(it, &field, &named, context, problems)
    });
    let parents = parents(spec, context.namespace);
    let entry = snapshot::Route {
        origin,
        // As they are where all of them take it, which is the rule.
        subscriptions: as_entry(parents.clone()),
        rules: rules.collect(),
        loop_guard: self::loop_guard(loop_guard.as_ref(), &destinations, problems),
        destinations,
        word_lists: word_lists::resolve(word_lists, context, problems),
    };
    word_lists::check_names(spec, problems);
    Resolved {
        entry: Arc::new(entry),
        parents,
    }
}

fn rule(
    rule: &spec::Rule,
    field: &str,
    destinations: &BTreeMap<&str, &spec::Destination>,
    context: &Context<'_>,
    problems: &mut Problems,
) -> snapshot::Rule {
    let spec::Rule {
        name,
        types,
        when,
        enrich,
        transition,
        after,
        deliver,
    } = rule;
    if let Some(when) = when {
        condition(when, Scope::Event, &format!("{field}.when"), problems);
    }
    let transition = transition.as_ref();
    let transition = transition.map(|it| self::transition(it, field, problems));
    let after = after.as_ref().map(|it| self::after(it, field, problems));
    let mut named = BTreeSet::new();
    let resolved_deliver = deliver.iter().enumerate().map(|(index, it)| {
        let field = format!("{field}.deliver[{index}]");
        named.extend(body(it.body.as_ref(), enrich, &field, problems));
        self::deliver(it, &field, destinations, problems)
    });
    let deliver = resolved_deliver.collect();
    let named = named.iter().map(String::as_str).collect();
    enrich::unused(enrich, &named, field, problems);
    snapshot::Rule {
        name: name.clone(),
        types: types.clone(),
        when: when.clone(),
        enrich: enrich::resolve(enrich, field, context, problems),
        transition,
        after,
        deliver,
    }
}

/// Compiles a body, to know that receivers can; gives the look-ups that it names.
fn body(
    body: Option<&serde_json::Value>,
    enrich: &[spec::Enrich],
    field: &str,
    problems: &mut Problems,
) -> BTreeSet<String> {
    match body.map(|it| Template::compile(it, Scope::Enriched)) {
        None => BTreeSet::new(),
        Some(Ok(template)) => {
            let named = enrich::named(&template, enrich, &format!("{field}.body"), problems);
            named.into_iter().map(str::to_owned).collect()
        }
        Some(Err(errors)) => {
            for error in errors {
                problems.refused(
                    format!("{field}.body{}", path(&error.pointer)),
                    reason::INVALID_EXPRESSION,
                    error.source.message,
                );
            }
            BTreeSet::new()
        }
    }
}

fn transition(
    transition: &spec::Transition,
    field: &str,
    problems: &mut Problems,
) -> snapshot::Transition {
    let spec::Transition {
        key,
        rank,
        reopen_when,
    } = transition;
    let field = format!("{field}.transition");
    expression(key, Scope::Event, &format!("{field}.key"), problems);
    expression(rank, Scope::Event, &format!("{field}.rank"), problems);
    if let Some(when) = reopen_when {
        condition(when, Scope::Event, &format!("{field}.reopenWhen"), problems);
    }
    snapshot::Transition {
        key: key.clone(),
        rank: rank.clone(),
        reopen_when: reopen_when.clone(),
    }
}

fn after(after: &spec::After, field: &str, problems: &mut Problems) -> snapshot::After {
    let spec::After { wait, key, unless } = after;
    let field = format!("{field}.after");
    expression(key, Scope::Event, &format!("{field}.key"), problems);
    let unless = unless.as_ref().map(|spec::Unless { types, when }| {
        if let Some(when) = when {
            condition(
                when,
                Scope::Unless,
                &format!("{field}.unless.when"),
                problems,
            );
        }
        snapshot::Unless {
            types: types.clone(),
            when: when.clone(),
        }
    });
    snapshot::After {
        wait: *wait,
        key: key.clone(),
        unless,
    }
}

fn deliver(
    deliver: &spec::Deliver,
    field: &str,
    destinations: &BTreeMap<&str, &spec::Destination>,
    problems: &mut Problems,
) -> snapshot::Deliver {
    let spec::Deliver {
        destination,
        once,
        body,
    } = deliver;
    let named = destinations.get(destination.as_str());
    if named.is_none() {
        let known: Vec<&str> = destinations.keys().copied().collect();
        problems.refused(
            format!("{field}.destination"),
            reason::DESTINATION_NOT_FOUND,
            format!(
                "this route has no destination {destination}: use one of {}, or add it",
                known.join(", ")
            ),
        );
    }
    let once = once.as_ref().map(|spec::Once { key, window }| {
        expression(key, Scope::Event, &format!("{field}.once.key"), problems);
        snapshot::Once {
            key: key.clone(),
            window: *window,
        }
    });
    snapshot::Deliver {
        destination: destination.clone(),
        body: named.and_then(|it| destination::body(it, body.as_ref(), field, problems)),
        once,
    }
}

fn loop_guard(
    guard: Option<&spec::LoopGuard>,
    destinations: &[Arc<snapshot::Destination>],
    problems: &mut Problems,
) -> snapshot::LoopGuard {
    if guard.is_some() && !destinations.iter().any(|it| it.writes_back) {
        problems.warning(
            "spec.loopGuard",
            "no destination of this route writes back, so it guards nothing: set writesBack: true \
             where what a destination does comes back as an event",
        );
    }
    let spec::LoopGuard {
        mode,
        senders,
        echo,
        max_hops,
        per_subject,
    } = guard.cloned().unwrap_or_default();
    snapshot::LoopGuard {
        mode: match mode {
            Some(spec::GuardMode::Observe) => GuardMode::Observe,
            Some(spec::GuardMode::Enforce) | None => GuardMode::Enforce,
        },
        senders: senders.unwrap_or_else(|| GUARDED_SENDERS.map(str::to_owned).to_vec()),
        echo: echo.map(|it| self::echo(it, problems)),
        max_hops: max_hops.unwrap_or(MAX_HOPS),
        per_subject: Some(
            per_subject.map_or(PER_SUBJECT, |spec::SubjectLimit { limit, window }| {
                SubjectLimit { limit, window }
            }),
        ),
    }
}

fn echo(echo: spec::Echo, problems: &mut Problems) -> snapshot::Echo {
    let spec::Echo {
        sent,
        received,
        window,
    } = echo;
    expression(&sent, Scope::Sent, "spec.loopGuard.echo.sent", problems);
    expression(
        &received,
        Scope::Event,
        "spec.loopGuard.echo.received",
        problems,
    );
    snapshot::Echo {
        sent,
        received,
        window: window.unwrap_or(ECHO_WINDOW),
    }
}

/// Compiles an expression, to know that receivers can.
fn expression(source: &str, scope: Scope, field: &str, problems: &mut Problems) {
    compiled(Expression::compile(source, scope), field, problems);
}

/// The same for one that must be a bool.
fn condition(source: &str, scope: Scope, field: &str, problems: &mut Problems) {
    compiled(
        Expression::compile_condition(source, scope),
        field,
        problems,
    );
}

fn compiled(result: Result<Expression, expression::Error>, field: &str, problems: &mut Problems) {
    if let Err(error) = result {
        problems.refused(field, reason::INVALID_EXPRESSION, error.message);
    }
}

/// A JSON pointer as the rest of a field's path: `/ticket/tags/0` is `.ticket.tags[0]`.
pub(super) fn path(pointer: &str) -> String {
    let is_identifier = |key: &str| {
        key.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && key
                .chars()
                .all(|it| it.is_ascii_alphanumeric() || matches!(it, '_' | '-'))
    };
    let segment = |key: &str| {
        let key = key.replace("~1", "/").replace("~0", "~");
        match key.parse::<usize>() {
            Ok(index) => format!("[{index}]"),
            Err(_) if is_identifier(&key) => format!(".{key}"),
            Err(_) => format!("[{key:?}]"),
        }
    };
    pointer.split('/').skip(1).map(segment).collect()
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn a_leaf_of_a_body_is_named_as_the_rest_of_the_field() {
        for (pointer, field) in [
            ("", ""),
            ("/ticket/subject", ".ticket.subject"),
            ("/tags/0", ".tags[0]"),
            ("/a.b/c~1d", r#"["a.b"]["c/d"]"#),
        ] {
            assert_eq!(path(pointer), field);
        }
    }
}
