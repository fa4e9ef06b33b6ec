//! The snapshot made ready: expressions compiled, paths and lanes indexed.
//!
//! A [`Config`] never changes; a new snapshot makes a new one, which shares what did not change with
//! the one before. Everything that works follows it through [`Follow`], and keeps the one it began
//! with for as long as one event takes.

use std::collections::HashMap;
use std::sync::Arc;

use hookswitch_crds::expression::{self, Expression, Scope, WordLists};
use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::snapshot::{self, JsonText, Snapshot};
use hookswitch_crds::template::{self, Template, UrlTemplate};
use hookswitch_crds::words::{self, Words};
use serde_json::Value as Json;
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::plan::Lane;
use crate::redact::Redactor;

mod awaited;
mod index;
mod memory;

#[cfg(test)]
mod tests;

pub use awaited::Planned;
pub use index::{Index, Place};
pub use memory::{After, Once, Transition, Unless};

/// Follows the current configuration; `None` until there is one.
pub type Follow = watch::Receiver<Option<Arc<Config>>>;

/// Gives out configurations: the one end that the operator's snapshots, or the files of a standalone
/// run, come in at.
#[derive(Debug)]
pub struct Publisher {
    sender: watch::Sender<Option<Arc<Config>>>,
    metrics: Metrics,
}

impl Publisher {
    /// One that has published nothing yet.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self {
            sender: watch::Sender::new(None),
            metrics,
        }
    }

    /// Follows what it publishes.
    #[must_use]
    pub fn follow(&self) -> Follow {
        self.sender.subscribe()
    }

    /// Makes a snapshot ready and publishes it. A snapshot like the current one changes nothing.
    ///
    /// # Errors
    /// Where it can't be used; the one before stays in use.
    pub fn publish(&self, snapshot: Snapshot) -> Result<(), Error> {
        let previous = self.sender.borrow().clone();
        if previous.as_deref().is_some_and(|it| it.is_of(&snapshot)) {
            return Ok(());
        }
        let timer = self.metrics.config_reload_seconds.start_timer();
        let config = Config::load(snapshot, previous.as_deref())?;
        timer.observe_duration();
        self.metrics
            .config_sequence
            .set(i64::try_from(config.sequence).unwrap_or(i64::MAX));
        self.sender.send_replace(Some(Arc::new(config)));
        Ok(())
    }
}

/// Why a snapshot can't be used. The one before stays.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was written by a newer operator.
    #[error(
        "the snapshot has format {found}, and this receiver reads up to {}: upgrade the receiver",
        snapshot::FORMAT
    )]
    Format {
        /// Its format.
        found: u32,
    },
    /// It is older than the one in use.
    #[error("the snapshot has sequence {found}, older than {current} which is in use")]
    Older {
        /// Its sequence.
        found: u64,
        /// The one in use.
        current: u64,
    },
    /// An expression does not compile: the operator and the receiver disagree about the language.
    #[error("route {route}, rule {rule}: {source}")]
    Expression {
        /// The route.
        route: ObjectKey,
        /// The rule, or `loopGuard`.
        rule: String,
        /// What is wrong.
        source: expression::Error,
    },
    /// A body does not compile.
    #[error("route {route}, rule {rule}, body: {}", .errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Template {
        /// The route.
        route: ObjectKey,
        /// The rule.
        rule: String,
        /// What is wrong, each with its leaf.
        errors: Vec<template::Error>,
    },
    /// A word list can't be read: the operator and the receiver disagree about its format.
    #[error("route {route}, word list {list}: {source}")]
    Words {
        /// The route.
        route: ObjectKey,
        /// The list.
        list: String,
        /// What is wrong.
        source: words::Error,
    },
    /// A rule names a destination that its route does not have.
    #[error("route {route}, rule {rule}: no destination `{destination}`")]
    Destination {
        /// The route.
        route: ObjectKey,
        /// The rule.
        rule: String,
        /// The name.
        destination: String,
    },
}

/// The configuration that a receiver works by.
#[derive(Debug, Default)]
pub struct Config {
    /// The snapshot's sequence.
    pub sequence: u64,
    /// Every subscription.
    pub subscriptions: HashMap<ObjectKey, Arc<Subscription>>,
    /// The same by request path.
    pub by_path: HashMap<String, Arc<Subscription>>,
    /// Every route.
    pub routes: HashMap<ObjectKey, Arc<Route>>,
    /// Every destination, by lane.
    pub lanes: HashMap<Arc<Lane>, Arc<snapshot::Destination>>,
}

/// A subscription and the routes that are attached to it.
#[derive(Debug)]
pub struct Subscription {
    /// The resolved object.
    pub spec: Arc<snapshot::Subscription>,
    /// Sorted by key.
    pub routes: Vec<Arc<Route>>,
    /// Their rules by event type.
    pub index: Index,
}

impl Subscription {
    fn new(spec: Arc<snapshot::Subscription>, routes: Vec<Arc<Route>>) -> Self {
        Self {
            index: Index::new(&routes),
            spec,
            routes,
        }
    }

    /// Its name.
    #[must_use]
    pub fn key(&self) -> &ObjectKey {
        &self.spec.origin.key
    }
}

/// A route with its expressions compiled.
#[derive(Debug)]
pub struct Route {
    /// The resolved object.
    pub spec: Arc<snapshot::Route>,
    /// In the order of `spec.destinations`.
    pub lanes: Vec<Arc<Lane>>,
    /// In the order of `spec.rules`.
    pub rules: Vec<Rule>,
    /// `loopGuard.echo`.
    pub echo: Option<Echo>,
    /// The word lists that its expressions name; `None` where it has none.
    pub words: Option<WordLists>,
    /// Each list's words, by their text: routes with the same words share them.
    prepared: Vec<(Arc<str>, Arc<Words>)>,
}

/// Words that are made ready already, by their text.
type Prepared = HashMap<Arc<str>, Arc<Words>>;

/// A rule with its expressions compiled.
#[derive(Debug)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// Event types; empty matches all.
    pub types: Vec<String>,
    /// The condition.
    pub when: Option<Expression>,
    /// What is fetched for bodies that name it.
    pub enrich: Vec<Enrich>,
    /// States that never go back.
    pub transition: Option<Transition>,
    /// A wait before delivering.
    pub after: Option<After>,
    /// What to send.
    pub deliver: Vec<Deliver>,
}

/// A look-up of a rule.
#[derive(Debug)]
pub struct Enrich {
    /// The resolved object.
    pub spec: Arc<snapshot::Enrich>,
    /// `spec.url`.
    pub url: UrlTemplate,
}

/// A delivery of a rule.
#[derive(Debug)]
pub struct Deliver {
    /// The queue.
    pub lane: Lane,
    /// Where it goes.
    pub destination: Arc<snapshot::Destination>,
    /// The part of the address that depends on the event.
    pub address: Option<Template>,
    /// The body; `None` sends the event's data as it came.
    pub body: Option<Template>,
    /// One effect for each value of a key.
    pub once: Option<Once>,
    /// The body as it is written, where it names look-ups.
    pub enriched: Option<Enriched>,
    /// What the destination must not see.
    pub redact: Option<Arc<Redactor>>,
}

/// A body that can be rendered only once look-ups have ended.
#[derive(Debug)]
pub struct Enriched {
    /// The template as it is written.
    pub source: JsonText,
    /// The look-ups of its rule that it names, by place.
    pub look_ups: Vec<usize>,
}

/// The echo guard's expressions.
#[derive(Debug)]
pub struct Echo {
    /// Of a write-back.
    pub sent: Expression,
    /// Of an event.
    pub received: Expression,
    /// How long a mark waits.
    pub window: hookswitch_crds::duration::Duration,
}

impl Config {
    /// Whether it was made from a snapshot like this one.
    fn is_of(&self, snapshot: &Snapshot) -> bool {
        let same_routes = || {
            snapshot.routes.iter().all(|spec| {
                let loaded = self.routes.get(&spec.origin.key);
                loaded.is_some_and(|loaded| is_same(&loaded.spec, spec))
            })
        };
        let same_subscriptions = || {
            snapshot.subscriptions.iter().all(|spec| {
                let loaded = self.subscriptions.get(&spec.origin.key);
                loaded.is_some_and(|loaded| is_same(&loaded.spec, spec))
            })
        };
        self.sequence == snapshot.sequence
            && self.routes.len() == snapshot.routes.len()
            && self.subscriptions.len() == snapshot.subscriptions.len()
            && same_routes()
            && same_subscriptions()
    }

    /// Makes a snapshot ready. What has not changed since `previous` is taken over from it.
    ///
    /// # Errors
    /// Where it can't be used as a whole; the caller keeps the one before.
    pub fn load(snapshot: Snapshot, previous: Option<&Self>) -> Result<Self, Error> {
        if snapshot.format > snapshot::FORMAT {
            return Err(Error::Format {
                found: snapshot.format,
            });
        }
        if let Some(current) = previous
            .map(|previous| previous.sequence)
            .filter(|current| *current > snapshot.sequence)
        {
            return Err(Error::Older {
                found: snapshot.sequence,
                current,
            });
        }
        let mut config = Self {
            sequence: snapshot.sequence,
            ..Self::default()
        };
        let mut attached: HashMap<ObjectKey, Vec<Arc<Route>>> = HashMap::new();
        let routes = previous.into_iter().flat_map(|it| it.routes.values());
        let mut prepared: Prepared = routes.flat_map(|it| it.prepared.iter().cloned()).collect();
        for spec in snapshot.routes {
            let key = spec.origin.key.clone();
            let kept = previous
                .and_then(|previous| previous.routes.get(&key))
                .filter(|route| is_same(&route.spec, &spec));
            let route = match kept {
                Some(route) => Arc::clone(route),
                None => Arc::new(Route::load(spec, &mut prepared)?),
            };
            for subscription in &route.spec.subscriptions {
                attached
                    .entry(subscription.clone())
                    .or_default()
                    .push(Arc::clone(&route));
            }
            let lanes = route.lanes.iter().zip(&route.spec.destinations);
            let lanes = lanes.map(|(lane, it)| (Arc::clone(lane), Arc::clone(it)));
            config.lanes.extend(lanes);
            config.routes.insert(key, route);
        }
        for spec in snapshot.subscriptions {
            let key = spec.origin.key.clone();
            let routes = attached.remove(&key).unwrap_or_default();
            let kept = previous
                .and_then(|previous| previous.subscriptions.get(&key))
                .filter(|it| is_same(&it.spec, &spec) && are_same(&it.routes, &routes));
            let subscription = match kept {
                Some(subscription) => Arc::clone(subscription),
                None => Arc::new(Subscription::new(spec, routes)),
            };
            config
                .by_path
                .insert(subscription.spec.path.clone(), Arc::clone(&subscription));
            config.subscriptions.insert(key, subscription);
        }
        Ok(config)
    }
}

/// Whether two entries are one; mostly they are the very same.
fn is_same<T: PartialEq>(one: &Arc<T>, other: &Arc<T>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

/// Whether two lists hold the very same routes.
fn are_same(one: &[Arc<Route>], other: &[Arc<Route>]) -> bool {
    let mut pairs = one.iter().zip(other);
    one.len() == other.len() && pairs.all(|(one, other)| Arc::ptr_eq(one, other))
}

/// A route's lists by name, made ready; nothing for one whose source is missing.
type Lists = Vec<(String, Option<(Arc<str>, Arc<Words>)>)>;

fn lists(spec: &snapshot::Route, prepared: &mut Prepared) -> Result<Lists, Error> {
    let lists = spec.word_lists.iter().map(|list| {
        let Some(text) = list.words.as_deref() else {
            return Ok((list.name.clone(), None));
        };
        let known = prepared.get_key_value(text);
        let known = known.map(|(text, words)| (Arc::clone(text), Arc::clone(words)));
        if let Some(known) = known {
            return Ok((list.name.clone(), Some(known)));
        }
        let words = Words::parse(text).map_err(|source| Error::Words {
            route: spec.origin.key.clone(),
            list: list.name.clone(),
            source,
        })?;
        let made: (Arc<str>, Arc<Words>) = (Arc::from(text), Arc::new(words));
        prepared.insert(Arc::clone(&made.0), Arc::clone(&made.1));
        Ok((list.name.clone(), Some(made)))
    });
    lists.collect()
}

impl Route {
    /// Its words, made ready.
    #[cfg(test)]
    pub(crate) fn prepared(&self) -> Vec<Arc<Words>> {
        let prepared = self.prepared.iter();
        prepared.map(|(_, words)| Arc::clone(words)).collect()
    }

    fn load(spec: Arc<snapshot::Route>, prepared: &mut Prepared) -> Result<Self, Error> {
        let key = &spec.origin.key;
        let compile = |rule: &str, source: &str, scope| {
            Expression::compile(source, scope).map_err(|source| Error::Expression {
                route: key.clone(),
                rule: rule.to_owned(),
                source,
            })
        };
        let destination = |name: &str| spec.destinations.iter().find(|it| it.name == name);
        let lanes = lanes(&spec);
        let redactors = redactors(&spec.destinations);
        let mut rules = Vec::with_capacity(spec.rules.len());
        for rule in &spec.rules {
            let enrich = rule.enrich.iter().map(|it| Enrich::load(key, rule, it));
            let enrich = enrich.collect::<Result<_, Error>>()?;
            let mut deliver = Vec::with_capacity(rule.deliver.len());
            for entry in &rule.deliver {
                let destination =
                    destination(&entry.destination).ok_or_else(|| Error::Destination {
                        route: key.clone(),
                        rule: rule.name.clone(),
                        destination: entry.destination.clone(),
                    })?;
                let refused = |errors| Error::Template {
                    route: key.clone(),
                    rule: rule.name.clone(),
                    errors,
                };
                let address = destination.address.as_deref().map(Json::from);
                let once = entry.once.as_ref();
                let once = once.map(|it| memory::once(key, rule, &entry.destination, it, &compile));
                let address = address
                    .as_ref()
                    .map(|it| Template::compile(it, Scope::Event));
                let address = address.transpose().map_err(refused)?;
                let body = entry.body.as_ref();
                let body = body.map(|it| Template::read(it, Scope::Enriched));
                let body = body.transpose().map_err(refused)?;
                deliver.push(Deliver {
                    enriched: Enriched::of(body.as_ref(), entry, &rule.enrich),
                    lane: Lane {
                        route: key.clone(),
                        destination: entry.destination.clone(),
                    },
                    destination: Arc::clone(destination),
                    address,
                    body,
                    once: once.transpose()?,
                    redact: redactors.get(entry.destination.as_str()).cloned(),
                });
            }
            rules.push(Rule {
                name: rule.name.clone(),
                types: rule.types.clone(),
                when: rule
                    .when
                    .as_ref()
                    .map(|when| compile(&rule.name, when, Scope::Event))
                    .transpose()?,
                enrich,
                transition: rule
                    .transition
                    .as_ref()
                    .map(|it| memory::transition(key, rule, it, &compile))
                    .transpose()?,
                after: rule
                    .after
                    .as_ref()
                    .map(|it| memory::after(key, rule, it, &compile))
                    .transpose()?,
                deliver,
            });
        }
        let echo = spec
            .loop_guard
            .echo
            .as_ref()
            .map(|echo| {
                Ok::<_, Error>(Echo {
                    sent: compile("loopGuard", &echo.sent, Scope::Sent)?,
                    received: compile("loopGuard", &echo.received, Scope::Event)?,
                    window: echo.window,
                })
            })
            .transpose()?;
        let lists = lists(&spec, prepared)?;
        let named = lists.iter().map(|(name, words)| {
            let words = words.as_ref().map(|(_, words)| Arc::clone(words));
            (name.clone(), words)
        });
        let words = (!lists.is_empty()).then(|| WordLists::new(named));
        Ok(Self {
            words,
            prepared: lists.into_iter().filter_map(|(_, words)| words).collect(),
            spec,
            lanes,
            rules,
            echo,
        })
    }
}

/// The lanes of a route's destinations, in their order.
fn lanes(route: &snapshot::Route) -> Vec<Arc<Lane>> {
    let lanes = route.destinations.iter().map(|destination| Lane {
        route: route.origin.key.clone(),
        destination: destination.name.clone(),
    });
    lanes.map(Arc::new).collect()
}

/// What each destination that redacts must not see, by its name.
fn redactors(destinations: &[Arc<snapshot::Destination>]) -> HashMap<&str, Arc<Redactor>> {
    destinations
        .iter()
        .filter_map(|it| Some((it.name.as_str(), it.redact.as_ref()?)))
        .map(|(name, redact)| (name, Arc::new(Redactor::new(redact))))
        .collect()
}

impl Enrich {
    fn load(
        route: &ObjectKey,
        rule: &snapshot::Rule,
        spec: &snapshot::Enrich,
    ) -> Result<Self, Error> {
        let url = UrlTemplate::compile(&spec.url).map_err(|source| Error::Expression {
            route: route.clone(),
            rule: rule.name.clone(),
            source,
        })?;
        Ok(Self {
            spec: Arc::new(spec.clone()),
            url,
        })
    }
}

impl Enriched {
    /// What it takes to render a body later, where it names look-ups.
    fn of(
        body: Option<&Template>,
        entry: &snapshot::Deliver,
        enrich: &[snapshot::Enrich],
    ) -> Option<Self> {
        let named = body?.enriched();
        if named.is_empty() {
            return None;
        }
        let all = named.contains(&None);
        let look_ups = enrich
            .iter()
            .enumerate()
            .filter(|(_, look_up)| all || named.contains(&Some(look_up.name.as_str())))
            .map(|(place, _)| place)
            .collect();
        Some(Self {
            source: entry.body.clone()?,
            look_ups,
        })
    }
}
