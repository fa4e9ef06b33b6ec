//! What holds for any objects, in any order, after any past.

use std::collections::BTreeSet;

use hookswitch_crds::snapshot::Snapshot;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value as Json, json};

use super::{Compiled, Objects, add, key, settings};
use crate::compile::{Settings, compile};

/// Namespaces of two tenants who have nothing to do with each other.
const TENANTS: [&str; 2] = ["a", "b"];

/// Objects as JSON: what two tenants may write, right and wrong.
pub(super) fn world() -> impl Strategy<Value = Vec<Json>> {
    let tenant = |namespace: &'static str| {
        (
            prop::collection::vec(subscription(namespace), 0..4),
            prop::collection::vec(route(namespace), 0..4),
            secret(namespace),
        )
            .prop_map(|(subscriptions, routes, secret)| {
                let mut all = named(subscriptions, "s");
                all.extend(named(routes, "r"));
                all.push(secret);
                all
            })
    };
    (tenant(TENANTS[0]), tenant(TENANTS[1])).prop_map(|(a, b)| [a, b].concat())
}

/// Gives the objects of a list their names.
fn named(objects: Vec<Json>, prefix: &str) -> Vec<Json> {
    let named = objects.into_iter().enumerate().map(|(index, mut object)| {
        object["metadata"]["name"] = format!("{prefix}{index}").into();
        object
    });
    named.collect()
}

fn subscription(namespace: &'static str) -> impl Strategy<Value = Json> {
    let path = select(vec![
        None,
        Some(format!("/{namespace}/one")),
        Some(format!("/{namespace}/two")),
        Some("/elsewhere".to_owned()),
    ]);
    let provider = select(vec!["TGStaff", "GitHub", "Generic"]);
    let key = select(vec!["present", "absent"]);
    let created = select(vec!["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]);
    (path, provider, key, created, 1..4_i64).prop_map(
        move |(path, provider, key, created, generation)| {
            let mut object = json!({
                "kind": "WebhookSubscription",
                "metadata": {
                    "namespace": namespace,
                    "generation": generation,
                    "creationTimestamp": created,
                },
                "spec": {
                    "provider": provider,
                    "verification": {"hmac": {"secretRefs": [{"name": "keys", "key": key}]}},
                },
            });
            if let Some(path) = path {
                object["spec"]["path"] = path.into();
            }
            object
        },
    )
}

fn route(namespace: &'static str) -> impl Strategy<Value = Json> {
    let parents = prop::collection::vec(select(vec!["s0", "s1", "s9"]), 1..3);
    let url = select(vec!["https://crm.example.com", "https://10.0.0.1"]);
    let when = select(vec!["true", "event.type == 'a'", "event.typo"]);
    let destination = select(vec!["crm", "crm", "other"]);
    (parents, url, when, destination, 1..4_i64).prop_map(
        move |(parents, url, when, destination, generation)| {
            let parents: Vec<Json> = parents.iter().map(|name| json!({"name": name})).collect();
            json!({
                "kind": "EventRoute",
                "metadata": {"namespace": namespace, "generation": generation},
                "spec": {
                    "subscriptionRefs": parents,
                    "destinations": [{"name": "crm", "http": {"url": url}}],
                    "rules": [{
                        "name": "rule",
                        "when": when,
                        "deliver": [{"destination": destination}],
                    }],
                },
            })
        },
    )
}

fn secret(namespace: &'static str) -> impl Strategy<Value = Json> {
    select(vec!["one", "two"]).prop_map(move |value| {
        json!({
            "kind": "Secret",
            "metadata": {"name": "keys", "namespace": namespace},
            "stringData": {"present": value},
        })
    })
}

/// A later generation of an object, which can't be served.
fn broken(mut object: Json, generation: i64) -> Json {
    let (field, bad) = match object["kind"].as_str() {
        Some("WebhookSubscription") => ("/spec/provider", "Telegram"),
        Some("EventRoute") => ("/spec/rules/0/when", "event.typo"),
        _ => return object,
    };
    object["metadata"]["generation"] = generation.into();
    *object.pointer_mut(field).unwrap() = bad.into();
    object
}

fn objects(world: &[Json]) -> Objects {
    let mut objects = Objects::default();
    for json in world {
        add(&mut objects, json.clone());
    }
    objects
}

fn compiled(world: &[Json], previous: &Snapshot) -> Compiled {
    compile(&objects(world), previous, &settings())
}

/// Where no grant crosses namespaces, an object is of one tenant.
fn of_tenant(compiled: &Compiled, namespace: &str) -> String {
    let Compiled {
        snapshot,
        subscriptions,
        routes,
    } = compiled;
    let entries: Vec<_> = snapshot
        .subscriptions
        .iter()
        .map(|it| format!("{it:?}"))
        .chain(snapshot.routes.iter().map(|it| format!("{it:?}")))
        .filter(|it| it.contains(&format!("namespace: {namespace:?}")))
        .collect();
    let reports: Vec<_> = subscriptions
        .iter()
        .map(|(key, report)| (key, format!("{report:?}")))
        .chain(
            routes
                .iter()
                .map(|(key, report)| (key, format!("{report:?}"))),
        )
        .filter(|(key, _)| key.namespace == namespace)
        .collect();
    format!("{entries:#?}\n{reports:#?}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn order_makes_no_difference(
        past in world(),
        (now, shuffled) in world().prop_flat_map(|it| (Just(it.clone()), Just(it).prop_shuffle())),
    ) {
        let past = compiled(&past, &Snapshot::empty()).snapshot;
        let one = compiled(&now, &past);
        let other = compiled(&shuffled, &past);
        prop_assert_eq!(
            serde_json::to_vec(&one.snapshot).unwrap(),
            serde_json::to_vec(&other.snapshot).unwrap()
        );
        prop_assert_eq!(one, other);
    }

    #[test]
    fn compiling_again_changes_nothing(past in world(), now in world()) {
        let past = compiled(&past, &Snapshot::empty()).snapshot;
        let once = compiled(&now, &past);
        prop_assert_eq!(&compiled(&now, &once.snapshot), &once);
    }

    /// Whatever was served goes on being served, byte for byte.
    #[test]
    fn bad_edits_change_nothing(now in world(), generation in 5..9_i64) {
        let before = compiled(&now, &Snapshot::empty());
        let broken: Vec<Json> = now.iter().cloned().map(|it| broken(it, generation)).collect();
        let after = compiled(&broken, &before.snapshot);
        prop_assert_eq!(&after.snapshot, &before.snapshot);
        let reports = after.subscriptions.values().map(|it| &it.conditions);
        for conditions in reports.chain(after.routes.values().map(|it| &it.conditions)) {
            prop_assert!(!conditions.accepted.status);
            prop_assert!(conditions.programmed.is_some());
        }
    }

    /// A snapshot travels as JSON: what comes back is the same.
    #[test]
    fn the_snapshot_survives_its_journey(now in world()) {
        let snapshot = compiled(&now, &Snapshot::empty()).snapshot;
        let read: Snapshot =
            serde_json::from_slice(&serde_json::to_vec(&snapshot).unwrap()).unwrap();
        prop_assert_eq!(&read, &snapshot);
        prop_assert_eq!(&compiled(&now, &read).snapshot, &snapshot);
    }

    #[test]
    fn a_tenant_changes_nothing_of_anothers(mine in world(), past in world(), theirs in world()) {
        let is_mine = |it: &&Json| it["metadata"]["namespace"] == TENANTS[0];
        let mixed = |mine: &[Json], theirs: &[Json]| -> Vec<Json> {
            let theirs = theirs.iter().filter(|it| !is_mine(it));
            mine.iter().filter(is_mine).chain(theirs).cloned().collect()
        };
        let before = compiled(&mixed(&mine, &past), &Snapshot::empty());
        let after = compiled(&mixed(&mine, &theirs), &before.snapshot);
        prop_assert_eq!(of_tenant(&after, TENANTS[0]), of_tenant(&before, TENANTS[0]));
    }

    /// A route is nobody else's affair but for the count at its subscriptions.
    #[test]
    fn a_route_changes_nothing_of_another(now in world(), edit in route("a"), at in any::<Index>()) {
        let before = compiled(&now, &Snapshot::empty());
        let routes: Vec<usize> = (0..now.len()).filter(|it| now[*it]["kind"] == "EventRoute").collect();
        prop_assume!(!routes.is_empty());
        let mut edited = now;
        let place = &mut edited[*at.get(&routes)];
        place["spec"] = edit["spec"].clone();
        let name = key(&format!(
            "{}/{}",
            place["metadata"]["namespace"].as_str().unwrap(),
            place["metadata"]["name"].as_str().unwrap()
        ));
        let mut after = compiled(&edited, &before.snapshot);
        let mut before = before;
        for compiled in [&mut before, &mut after] {
            compiled.routes.remove(&name);
            compiled.snapshot.routes.retain(|it| it.origin.key != name);
            compiled.subscriptions.values_mut().for_each(|it| it.attached_routes = 0);
        }
        prop_assert_eq!(&after.routes, &before.routes);
        prop_assert_eq!(&after.subscriptions, &before.subscriptions);
        prop_assert_eq!(&after.snapshot.routes, &before.snapshot.routes);
        prop_assert_eq!(&after.snapshot.subscriptions, &before.snapshot.subscriptions);
    }

    /// What a receiver relies on.
    #[test]
    fn the_snapshot_holds_what_receivers_rely_on(past in world(), now in world()) {
        let past = compiled(&past, &Snapshot::empty()).snapshot;
        let Compiled { snapshot, subscriptions, routes } = compiled(&now, &past);
        prop_assert!(snapshot.subscriptions.is_sorted_by_key(|it| it.origin.key.clone()));
        prop_assert!(snapshot.routes.is_sorted_by_key(|it| it.origin.key.clone()));
        prop_assert!(snapshot.sequence == past.sequence || snapshot.sequence == past.sequence + 1);
        prop_assert_eq!(snapshot.sequence == past.sequence, snapshot == past);
        let paths: BTreeSet<&str> = snapshot.subscriptions.iter().map(|it| it.path.as_str()).collect();
        prop_assert_eq!(paths.len(), snapshot.subscriptions.len());
        let served: BTreeSet<_> = snapshot.subscriptions.iter().map(|it| &it.origin.key).collect();
        for route in &snapshot.routes {
            prop_assert!(route.origin.since <= snapshot.sequence);
            prop_assert!(route.subscriptions.iter().all(|it| served.contains(it)));
            for deliver in route.rules.iter().flat_map(|it| &it.deliver) {
                prop_assert!(route.destinations.iter().any(|it| it.name == deliver.destination));
            }
        }
        for (key, report) in &subscriptions {
            let entry = snapshot.subscriptions.iter().find(|it| it.origin.key == *key);
            prop_assert_eq!(report.serving.map(|it| it.since), entry.map(|it| it.origin.since));
            prop_assert!(report.conditions.accepted.status || report.conditions.programmed.is_some());
        }
        for (key, report) in &routes {
            let entry = snapshot.routes.iter().find(|it| it.origin.key == *key);
            prop_assert_eq!(report.serving.map(|it| it.generation), entry.map(|it| it.origin.generation));
        }
    }
}

#[test]
fn nothing_compiles_to_nothing() {
    let compiled = compile(
        &Objects::default(),
        &Snapshot::empty(),
        &Settings::standalone(),
    );
    assert_eq!(compiled.snapshot, Snapshot::empty());
}
