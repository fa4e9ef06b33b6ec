use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::secret::SecretBytes;

/// A subscription of the snapshot, in JSON as an operator writes it.
fn subscription(namespace: &str, name: &str, secret: &[u8], since: u64) -> Subscription {
    let value = serde_json::to_value(SecretBytes::new(secret.to_vec())).unwrap();
    serde_json::from_value(json!({
        "origin": origin(namespace, name, since),
        "provider": "TGStaff",
        "path": format!("/{namespace}/{name}"),
        "verification": {
            "hmac": null,
            "headers": [{"name": "Authorization", "secret": {"reference": "a/b", "value": value}}],
            "sourceRanges": ["203.0.113.0/24"],
            "unverified": false,
        },
        "ping": {"allowUnsigned": true, "types": ["ping"]},
        "types": [],
        "fields": {"type": {"Pointer": "/event_type"}, "id": null, "time": null, "subject": null, "sender": null},
        "deduplicationWindow": "24h",
        "limits": {"bodyBytes": 1, "storedBytes": 2, "eventsPerSecond": null, "burst": null},
        "retention": "72h",
        "deadLetterRetention": "720h",
        "suspend": false,
    }))
    .unwrap()
}

fn route(namespace: &str, name: &str, subscriptions: &[ObjectKey], since: u64) -> Route {
    serde_json::from_value(json!({
        "origin": origin(namespace, name, since),
        "subscriptions": subscriptions,
        "destinations": [],
        "rules": [{"name": "all", "types": [], "when": "true", "deliver": []}],
        "loopGuard": {"mode": "Enforce", "senders": [], "echo": null, "maxHops": 4, "perSubject": null},
    }))
    .unwrap()
}

fn origin(namespace: &str, name: &str, since: u64) -> Json {
    json!({
        "key": {"namespace": namespace, "name": name},
        "uid": format!("uid-{name}"),
        "generation": 3,
        "since": since,
        "spec": {"text": name, "number": 1.5, "list": [null, true]},
    })
}

fn snapshots() -> impl Strategy<Value = Snapshot> {
    let names = "[a-z]{1,3}";
    let secret = prop::collection::vec(any::<u8>(), 0..40);
    let subscriptions = prop::collection::btree_map((names, names), (secret, 1..90_u64), 0..12);
    let routes = prop::collection::btree_map(
        (names, names),
        (
            prop::collection::vec(any::<prop::sample::Index>(), 0..4),
            1..90_u64,
        ),
        0..12,
    );
    (subscriptions, routes, 90..1000_u64).prop_map(|(subscriptions, routes, sequence)| {
        let keys: Vec<ObjectKey> = subscriptions
            .keys()
            .map(|(namespace, name)| ObjectKey::new(namespace, name))
            .collect();
        let routes = routes
            .into_iter()
            .map(|((namespace, name), (parents, since))| {
                let parents = parents.iter().filter(|_| !keys.is_empty());
                let parents: BTreeSet<ObjectKey> =
                    parents.map(|index| index.get(&keys).clone()).collect();
                let parents: Vec<ObjectKey> = parents.into_iter().collect();
                Arc::new(route(&namespace, &name, &parents, since))
            });
        let routes = routes.collect();
        let subscriptions = subscriptions
            .into_iter()
            .map(|((namespace, name), (secret, since))| {
                Arc::new(subscription(&namespace, &name, &secret, since))
            })
            .collect();
        Snapshot {
            format: FORMAT,
            sequence,
            subscriptions,
            routes,
        }
    })
}

fn decoded(snapshot: &Snapshot, count: u32) -> Vec<Shard> {
    let views = split(snapshot, count);
    let shards = views.iter().map(|view| view.encode().unwrap());
    shards.map(|bytes| Shard::decode(&bytes).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_snapshot_comes_back_from_any_number_of_shards(snapshot in snapshots(), count in 1..6_u32) {
        let shards = decoded(&snapshot, count);
        prop_assert_eq!(shards.len(), usize::try_from(count).unwrap());
        prop_assert_eq!(&merge(shards.iter().cloned().rev()), &snapshot);
        prop_assert_eq!(merge(shards), snapshot);
    }

    #[test]
    fn each_shard_can_be_served_alone(snapshot in snapshots(), count in 1..6_u32) {
        let shards = decoded(&snapshot, count);
        let subscriptions: usize = shards.iter().map(|shard| shard.subscriptions.len()).sum();
        prop_assert_eq!(subscriptions, snapshot.subscriptions.len());
        for shard in &shards {
            for subscription in &shard.subscriptions {
                let key = &subscription.origin.key;
                let wanted = snapshot.routes.iter().filter(|route| route.subscriptions.contains(key));
                for route in wanted {
                    prop_assert!(shard.routes.contains(route), "{key} lacks {}", route.origin.key);
                }
            }
        }
    }

    #[test]
    fn equal_content_gives_equal_bytes(snapshot in snapshots()) {
        let bytes = |snapshot: &Snapshot| split(snapshot, 1).first().unwrap().encode().unwrap();
        prop_assert_eq!(bytes(&merge(decoded(&snapshot, 3))), bytes(&snapshot));
    }
}

#[test]
fn the_shard_of_a_name_never_changes() {
    let of = |name: &str| shard_of(&ObjectKey::new("support", name), 4);
    assert_eq!(
        ["support", "sales", "billing", "a", "b"].map(of),
        [2, 0, 0, 1, 2],
        "receivers and operators of other versions would look elsewhere"
    );
}

fn compressed(json: &Json) -> Vec<u8> {
    zstd::bulk::compress(json.to_string().as_bytes(), LEVEL).unwrap()
}

fn empty_shard() -> Json {
    json!({"format": 1, "sequence": 7, "shard": 0, "shards": 1, "subscriptions": [], "routes": []})
}

#[test]
fn what_a_newer_operator_adds_is_passed_over() {
    let mut entry = serde_json::to_value(subscription("a", "b", b"s", 1)).unwrap();
    entry["addedLater"] = json!({"deep": [1]});
    entry["verification"]["addedLater"] = json!(1);
    let mut shard = empty_shard();
    shard["addedLater"] = json!(true);
    shard["subscriptions"] = json!([entry]);
    let shard = Shard::decode(&compressed(&shard)).unwrap();
    assert_eq!(
        shard.subscriptions,
        [subscription("a", "b", b"s", 1).into()]
    );
}

#[test]
fn every_format_down_to_the_one_before_is_read() {
    for format in FORMATS {
        let mut shard = empty_shard();
        shard["format"] = json!(format);
        assert_eq!(Shard::decode(&compressed(&shard)).unwrap().format, format);
    }
    assert!(
        FORMAT - FORMATS.start() <= 1,
        "older formats need no reader"
    );
}

#[test]
fn another_format_is_told_apart_from_damage() {
    let mut shard = empty_shard();
    shard["format"] = json!(FORMAT + 1);
    let unlike = json!({"format": FORMAT + 1, "everything": "else"});
    for json in [shard, unlike] {
        let error = Shard::decode(&compressed(&json)).unwrap_err();
        assert!(
            matches!(error, Error::Format { found } if found == FORMAT + 1),
            "{error}"
        );
    }
    let mut beyond = empty_shard();
    beyond["shard"] = json!(1);
    for bytes in [
        Vec::new(),
        b"plain".to_vec(),
        compressed(&json!({})),
        compressed(&beyond),
    ] {
        let error = Shard::decode(&bytes).unwrap_err();
        assert!(matches!(error, Error::Damaged(_)), "{error}");
    }
    let whole = compressed(&empty_shard());
    let half = whole.get(..whole.len() / 2).unwrap();
    assert!(matches!(Shard::decode(half), Err(Error::Damaged(_))));
}

#[test]
fn r57_an_error_quotes_nothing_of_the_snapshot() {
    let mut entry = serde_json::to_value(subscription("a", "b", b"s", 1)).unwrap();
    entry["suspend"] = json!("planted-secret");
    let mut shard = empty_shard();
    shard["subscriptions"] = json!([entry]);
    let error = Shard::decode(&compressed(&shard)).unwrap_err();
    assert!(
        !format!("{error} {error:?}").contains("planted-secret"),
        "{error:?}"
    );
}

#[test]
fn of_two_versions_of_a_route_the_newest_shard_has_the_say() {
    let mut names = ('a'..='z').map(|name| ObjectKey::new("n", name.to_string()));
    let first = names.next().unwrap();
    let second = names
        .find(|it| shard_of(it, 2) != shard_of(&first, 2))
        .unwrap();
    let mut snapshot = Snapshot::empty();
    snapshot.sequence = 5;
    snapshot.subscriptions = [&first, &second]
        .map(|key| Arc::new(subscription(&key.namespace, &key.name, b"", 5)))
        .to_vec();
    snapshot.routes = vec![route("n", "route", &[first.clone(), second.clone()], 5).into()];
    let old = decoded(&snapshot, 2);
    assert!(old.iter().all(|shard| shard.routes.len() == 1));

    snapshot.sequence = 6;
    snapshot.routes = vec![route("n", "route", std::slice::from_ref(&second), 6).into()];
    let new = decoded(&snapshot, 2);
    // The first one's shard was not written.
    let kept = usize::try_from(shard_of(&first, 2)).unwrap();
    let mut mixed = new;
    mixed[kept] = old[kept].clone();
    assert_eq!(merge(mixed), snapshot);
}
