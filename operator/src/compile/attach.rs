//! Which routes may attach to a subscription: its own namespace's, everyone's, or those of
//! namespaces with certain labels.
//!
//! The subscription decides, since it is its events that are read. A route that is turned away at
//! one subscription still serves its others.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use hookswitch_crds::condition::reason;
use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::subscription::{FromNamespaces, RouteNamespaces};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::context::Version;
use super::problems::Problems;
use super::report::Condition;
use super::versions::Decision;
use super::{advice, route, subscription};

/// The label that Kubernetes gives every namespace: its name.
/// <https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-metadata-name>
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Whose routes may attach to a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Admission {
    /// Those of one namespace.
    Same(String),
    /// Everyone's.
    All,
    /// Those of namespaces whose labels meet every requirement.
    Labels(Vec<Requirement>),
}

/// A subscription that a route names.
#[derive(Debug)]
pub(super) struct Parent {
    /// Its name.
    pub(super) key: ObjectKey,
    /// Why the route is not attached to it, where that is the subscription's affair.
    pub(super) refusal: Option<Condition>,
}

/// What a namespace's labels must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Requirement {
    label: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
}

/// Attaches a route to those of its subscriptions that take it, and tells of each that its current
/// spec names, or the one that is served where the current one can't be read.
///
/// `subscriptions` are all there are, each with what is served of it.
pub(super) fn attach(
    route: &mut Decision<route::Resolved>,
    subscriptions: &HashMap<&ObjectKey, Option<&subscription::Resolved>>,
    labels: NamespaceLabels<'_>,
) -> Vec<Parent> {
    let namespace = &route.key.namespace;
    let mut named = Vec::new();
    let mut attached = Vec::new();
    let mut keys = Vec::new();
    if let Some((version, resolved)) = &mut route.served {
        for (index, key) in resolved.parents.iter().enumerate() {
            let refusal = match subscriptions.get(key) {
                None => Some(Condition::is_false(
                    reason::NO_MATCHING_SUBSCRIPTION,
                    format!("there is no subscription {key}: create it, or correct the name"),
                )),
                Some(None) => Some(Condition::is_false(
                    reason::NO_MATCHING_SUBSCRIPTION,
                    format!("the subscription {key} is not served: correct what is wrong with it"),
                )),
                Some(Some(parent)) if !parent.admission.admits(namespace, labels) => {
                    Some(Condition::is_false(
                        reason::NOT_ALLOWED_BY_SUBSCRIPTION,
                        format!(
                            "the subscription {key} does not take routes of namespace {namespace}: \
                             ask for it in its allowedRoutes"
                        ),
                    ))
                }
                Some(Some(parent)) => {
                    attached.push(parent.entry.as_ref());
                    None
                }
            };
            match &refusal {
                None => keys.push(key.clone()),
                Some(refusal) if *version == Version::Current => route.problems.unresolved(
                    format!("spec.subscriptionRefs[{index}]"),
                    refusal.reason,
                    refusal.message.clone(),
                ),
                Some(_) => {}
            }
            named.push(Parent {
                key: key.clone(),
                refusal: refusal.filter(|_| *version == Version::Current),
            });
        }
        let keys = route::as_entry(keys);
        if resolved.entry.subscriptions != keys {
            Arc::make_mut(&mut resolved.entry).subscriptions = keys;
        }
        if *version == Version::Current {
            advice::warn(&resolved.entry, &attached, &mut route.problems);
        }
    }
    match &route.refused {
        Some(refused) => {
            let parent = |key: &ObjectKey| Parent {
                key: key.clone(),
                refusal: None,
            };
            refused.parents.iter().map(parent).collect()
        }
        None => named,
    }
}

/// The labels of every namespace.
#[derive(Debug, Clone, Copy)]
pub(super) struct NamespaceLabels<'a>(pub(super) &'a BTreeMap<String, BTreeMap<String, String>>);

impl NamespaceLabels<'_> {
    /// A label's value. A namespace always has its name as a label, also where there is no cluster
    /// that would give it one.
    fn get<'a>(&'a self, namespace: &'a str, label: &str) -> Option<&'a str> {
        if label == NAME_LABEL {
            return Some(namespace);
        }
        self.0.get(namespace)?.get(label).map(String::as_str)
    }
}

impl Admission {
    /// Parses a subscription's `allowedRoutes.namespaces`.
    pub(super) fn parse(spec: &RouteNamespaces, namespace: &str, problems: &mut Problems) -> Self {
        let RouteNamespaces { from, selector } = spec;
        match (from, selector) {
            (FromNamespaces::Same, _) => Self::Same(namespace.to_owned()),
            (FromNamespaces::All, _) => Self::All,
            (FromNamespaces::Selector, Some(selector)) => {
                Self::Labels(requirements(selector, problems))
            }
            (FromNamespaces::Selector, None) => {
                problems.refused(
                    "spec.allowedRoutes.namespaces.selector",
                    reason::UNREADABLE,
                    "from is Selector: say which labels a namespace must have",
                );
                Self::Same(namespace.to_owned())
            }
        }
    }

    /// True where a namespace's routes may attach.
    pub(super) fn admits(&self, namespace: &str, labels: NamespaceLabels<'_>) -> bool {
        match self {
            Self::Same(own) => own == namespace,
            Self::All => true,
            Self::Labels(requirements) => requirements.iter().all(|requirement| {
                let value = labels.get(namespace, &requirement.label);
                requirement.test.passes(value)
            }),
        }
    }
}

impl Test {
    /// As Kubernetes has it: a label that is absent is not in any set of values.
    fn passes(&self, value: Option<&str>) -> bool {
        let is_in = |values: &[String]| value.is_some_and(|it| values.iter().any(|one| one == it));
        match self {
            Self::In(values) => is_in(values),
            Self::NotIn(values) => !is_in(values),
            Self::Exists => value.is_some(),
            Self::DoesNotExist => value.is_none(),
        }
    }
}

fn requirements(selector: &LabelSelector, problems: &mut Problems) -> Vec<Requirement> {
    let LabelSelector {
        match_expressions,
        match_labels,
    } = selector;
    let labels = match_labels
        .iter()
        .flatten()
        .map(|(label, value)| Requirement {
            label: label.clone(),
            test: Test::In(vec![value.clone()]),
        });
    let expressions = match_expressions.iter().flatten().enumerate();
    let expressions = expressions.filter_map(|(index, expression)| {
        let LabelSelectorRequirement {
            key,
            operator,
            values,
        } = expression;
        let field = format!("spec.allowedRoutes.namespaces.selector.matchExpressions[{index}]");
        let values = values.clone().unwrap_or_default();
        let test = match (operator.as_str(), values.is_empty()) {
            ("In", false) => Test::In(values),
            ("NotIn", false) => Test::NotIn(values),
            ("Exists", true) => Test::Exists,
            ("DoesNotExist", true) => Test::DoesNotExist,
            _ => {
                problems.refused(
                    field,
                    reason::UNREADABLE,
                    "write operator In or NotIn with values, or Exists or DoesNotExist without",
                );
                return None;
            }
        };
        Some(Requirement {
            label: key.clone(),
            test,
        })
    });
    labels.chain(expressions.collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(yaml: &str) -> Admission {
        let mut problems = Problems::default();
        let admission = Admission::parse(
            &serde_saphyr::from_str(yaml).unwrap(),
            "support",
            &mut problems,
        );
        assert_eq!(problems, Problems::default());
        admission
    }

    #[test]
    fn selectors_choose_namespaces_as_kubernetes_does() {
        let labels = BTreeMap::from([
            (
                "support".to_owned(),
                BTreeMap::from([("team".to_owned(), "a".to_owned())]),
            ),
            (
                "sales".to_owned(),
                BTreeMap::from([("team".to_owned(), "b".to_owned())]),
            ),
            ("bare".to_owned(), BTreeMap::new()),
        ]);
        for (yaml, admitted) in [
            ("{from: Same}", vec!["support"]),
            ("{from: All}", vec!["support", "sales", "bare", "unknown"]),
            (
                "{from: Selector, selector: {matchLabels: {team: a}}}",
                vec!["support"],
            ),
            (
                "{from: Selector, selector: {}}",
                vec!["support", "sales", "bare", "unknown"],
            ),
            (
                "{from: Selector, selector: {matchExpressions: [{key: team, operator: Exists}]}}",
                vec!["support", "sales"],
            ),
            (
                "{from: Selector, selector: {matchExpressions: [{key: team, operator: DoesNotExist}]}}",
                vec!["bare", "unknown"],
            ),
            (
                "{from: Selector, selector: {matchExpressions: [{key: team, operator: NotIn, values: [a]}]}}",
                vec!["sales", "bare", "unknown"],
            ),
            (
                "{from: Selector, selector: {matchLabels: {team: b}, matchExpressions: [{key: team, operator: In, values: [a, b]}]}}",
                vec!["sales"],
            ),
            (
                "{from: Selector, selector: {matchLabels: {kubernetes.io/metadata.name: unknown}}}",
                vec!["unknown"],
            ),
        ] {
            let admission = admission(yaml);
            let found: Vec<&str> = ["support", "sales", "bare", "unknown"]
                .into_iter()
                .filter(|namespace| admission.admits(namespace, NamespaceLabels(&labels)))
                .collect();
            assert_eq!(found, admitted, "{yaml}");
        }
    }

    #[test]
    fn a_selector_that_says_nothing_sure_is_refused() {
        for yaml in [
            "{from: Selector}",
            "{from: Selector, selector: {matchExpressions: [{key: team, operator: In}]}}",
            "{from: Selector, selector: {matchExpressions: [{key: team, operator: Like, values: [a]}]}}",
        ] {
            let mut problems = Problems::default();
            Admission::parse(
                &serde_saphyr::from_str(yaml).unwrap(),
                "support",
                &mut problems,
            );
            assert!(!problems.none_refused(), "{yaml}");
        }
    }
}
