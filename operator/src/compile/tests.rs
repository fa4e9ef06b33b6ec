//! The compiler as a whole, through its public face and from YAML, as users meet it.

mod attachment;
mod databases_and_queues;
mod destinations;
mod effective;
mod incremental;
mod last_good;
mod properties;
mod providers;
mod reasons;
mod resolved;
mod since;
mod word_lists;

use std::collections::BTreeMap;
use std::sync::Arc;

use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::secret::SecretBytes;
use hookswitch_crds::snapshot::{Destination, Http, Route, Snapshot, Subscription};
use serde_json::Value as Json;

use super::{
    Compiled, Effect, EventRouteReport, Objects, Settings, WebhookSubscriptionReport, Written,
    compile,
};

/// A subscription that is served, and its Secret.
const SUBSCRIPTION: &str = "
kind: WebhookSubscription
metadata: {name: support, namespace: support, generation: 1}
spec:
  provider: TGStaff
  verification: {hmac: {secretRefs: [{name: tg-staff, key: signing-key}]}}
---
kind: Secret
metadata: {name: tg-staff, namespace: support}
stringData: {signing-key: the-signing-key, authorization: Bearer the-token, api-token: the-api-token, two-lines: \"a\\nb\"}
";

/// A route that is attached to it.
const ROUTE: &str = "
kind: EventRoute
metadata: {name: crm, namespace: support, generation: 1}
spec:
  subscriptionRefs: [{name: support}]
  destinations: [{name: tickets, http: {url: 'https://crm.example.com/tickets'}}]
  rules:
  - name: new-inquiry
    types: [conversation.created]
    deliver: [{destination: tickets}]
";

/// The request of a destination that speaks HTTP.
fn http(destination: &Destination) -> &Http {
    destination.transport.http().unwrap()
}

/// Settings of an operator that grants nothing.
fn settings() -> Settings {
    Settings {
        base_url: Some("https://hooks.example.com".to_owned()),
        ..Settings::default()
    }
}

/// The objects of YAML documents.
fn objects(yaml: &str) -> Objects {
    let mut objects = Objects::default();
    for document in yaml.split("\n---\n").filter(|it| !it.trim().is_empty()) {
        let json: Json = serde_saphyr::from_str(document).unwrap();
        add(&mut objects, json);
    }
    objects
}

fn add(objects: &mut Objects, mut json: Json) {
    let kind = json["kind"].as_str().unwrap().to_owned();
    json["apiVersion"] = "hookswitch.dev/v1alpha1".into();
    let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
    let key = ObjectKey::new(
        text(&json["metadata"]["namespace"]),
        text(&json["metadata"]["name"]),
    );
    match kind.as_str() {
        "WebhookSubscription" => {
            let object = Written::of(&serde_json::from_value(json).unwrap());
            objects.subscriptions.push(Arc::new(object.unwrap()));
        }
        "EventRoute" => {
            let object = Written::of(&serde_json::from_value(json).unwrap());
            objects.routes.push(Arc::new(object.unwrap()));
        }
        "Secret" => {
            let data = json["stringData"].as_object().unwrap().iter();
            let data = data.map(|(key, value)| (key.clone(), text(value)));
            let data = data.map(|(key, value)| (key, SecretBytes::new(value.into_bytes())));
            objects.secrets.insert(key, Arc::new(data.collect()));
        }
        "ConfigMap" => {
            let data = json["data"].as_object().unwrap().iter();
            let data = data.map(|(key, value)| (key.clone(), text(value)));
            let data = data.map(|(key, value)| (key, SecretBytes::new(value.into_bytes())));
            objects.config_maps.insert(key, Arc::new(data.collect()));
        }
        "Namespace" => {
            let labels = serde_json::from_value(json["metadata"]["labels"].clone()).unwrap();
            objects.namespaces.insert(key.name, labels);
        }
        other => panic!("no kind {other}"),
    }
}

/// Compiles YAML for the first time.
fn compiled(yaml: &str) -> Compiled {
    compile(&objects(yaml), &Snapshot::empty(), &settings())
}

/// Compiles YAML after it was something else.
fn recompiled(before: &Compiled, yaml: &str) -> Compiled {
    compile(&objects(yaml), &before.snapshot, &settings())
}

/// The same with one text replaced, which must be there.
fn edited(yaml: &str, from: &str, to: &str) -> String {
    assert!(yaml.contains(from), "no `{from}` in:\n{yaml}");
    yaml.replace(from, to)
}

/// Several documents as one.
fn all(documents: &[&str]) -> String {
    documents.join("\n---\n")
}

fn key(text: &str) -> ObjectKey {
    let (namespace, name) = text.split_once('/').unwrap();
    ObjectKey::new(namespace, name)
}

impl EventRouteReport {
    fn parent(&self, name: &str) -> &super::Conditions {
        let mut parents = self.parents.iter();
        let found = parents.find(|(parent, _)| *parent == key(name));
        &found.unwrap_or_else(|| panic!("no parent {name}")).1
    }
}

impl Compiled {
    fn subscription(&self, name: &str) -> &WebhookSubscriptionReport {
        &self.subscriptions[&key(name)]
    }

    fn route(&self, name: &str) -> &EventRouteReport {
        &self.routes[&key(name)]
    }

    fn subscription_entry(&self, name: &str) -> Option<&Subscription> {
        let mut entries = self.snapshot.subscriptions.iter();
        entries
            .find(|it| it.origin.key == key(name))
            .map(Arc::as_ref)
    }

    fn route_entry(&self, name: &str) -> Option<&Route> {
        let mut entries = self.snapshot.routes.iter();
        entries
            .find(|it| it.origin.key == key(name))
            .map(Arc::as_ref)
    }

    /// The reason why an object is not accepted, and of its references; `None` where they are.
    fn refusals(&self, name: &str) -> (Option<&'static str>, Option<&'static str>) {
        let conditions = match self.routes.get(&key(name)) {
            Some(route) => &route.conditions,
            None => &self.subscription(name).conditions,
        };
        let reason = |it: &super::Condition| (!it.status).then_some(it.reason);
        (
            reason(&conditions.accepted),
            reason(&conditions.resolved_refs),
        )
    }
}

/// Every problem as `effect field: message`, a line each.
fn told(problems: &[super::Problem]) -> String {
    let line = |it: &super::Problem| {
        let effect = match it.effect {
            Effect::Refused => "refused",
            Effect::Unresolved => "unresolved",
            Effect::Warning => "warning",
        };
        format!("{effect} [{}] {it}\n", it.reason)
    };
    problems.iter().map(line).collect()
}

/// The labels of a namespace, for tests that build objects directly.
fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    owned.collect()
}
