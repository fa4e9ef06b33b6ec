use serde_json::json;

use super::*;

fn watch(source: Source) -> Watch {
    Watch {
        source,
        namespace: None,
    }
}

fn subscription(name: &str, generation: i64, spec: &serde_json::Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "hookswitch.dev/v1alpha1",
        "kind": "WebhookSubscription",
        "metadata": {
            "name": name, "namespace": "ns", "uid": format!("uid-{name}"), "generation": generation,
            "resourceVersion": "1", "creationTimestamp": "2026-01-05T10:00:00Z",
            "managedFields": [{"manager": "kubectl"}],
        },
        "spec": spec,
    }))
    .unwrap()
}

fn spec(secret: &str) -> serde_json::Value {
    json!({
        "provider": "TGStaff",
        "verification": {"hmac": {"secretRefs": [{"name": secret, "key": "k"}]}},
    })
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("ns", name)
}

fn version(text: &str) -> Version {
    Version(text.to_owned())
}

fn data(value: &str) -> BTreeMap<String, SecretBytes> {
    BTreeMap::from([("k".to_owned(), SecretBytes::new(value.into()))])
}

#[test]
fn it_is_complete_once_every_watch_has_listed_what_there_is() {
    let sources = [
        Source::Subscriptions,
        Source::Routes,
        Source::Namespaces,
        Source::Secrets,
        Source::ConfigMaps,
    ];
    let mut index = Index::awaiting(sources.map(watch));
    for source in sources {
        assert!(!index.is_complete(), "{source:?}");
        assert_eq!(index.reset(&watch(source), &BTreeSet::new()), Change::Input);
    }
    assert!(index.is_complete());
    assert_eq!(
        index.reset(&watch(Source::Routes), &BTreeSet::new()),
        Change::Nothing,
        "a watch that starts again with nothing new is no change"
    );
}

#[test]
fn an_object_that_cannot_be_read_leaves_the_others_alone() {
    let mut index = Index::default();
    let kind = Kind::WebhookSubscription;
    index.apply(kind, subscription("good", 1, &spec("s")));
    let newer = json!({"provider": "TGStaff", "verification": {"hmac": {"fromTheFuture": 1}}});
    assert_eq!(
        index.apply(kind, subscription("newer", 4, &newer)),
        Change::Input
    );
    let objects = index.objects();
    assert_eq!(objects.subscriptions.len(), 1);
    let [unreadable] = objects.unreadable.as_slice() else {
        panic!("{:?}", objects.unreadable);
    };
    assert_eq!(unreadable.key, key("newer"));
    assert_eq!(unreadable.generation, 4);
    assert_eq!(unreadable.uid, "uid-newer");
    assert!(
        unreadable.message.starts_with("spec.verification.hmac"),
        "{}",
        unreadable.message
    );
    assert!(
        unreadable.message.contains("fromTheFuture"),
        "{}",
        unreadable.message
    );

    index.apply(kind, subscription("newer", 5, &spec("s")));
    assert!(index.objects().unreadable.is_empty());
}

#[test]
fn only_a_new_generation_is_compiled_again() {
    let mut index = Index::default();
    let kind = Kind::WebhookSubscription;
    let object = subscription("a", 1, &spec("s"));
    assert_eq!(index.apply(kind, object.clone()), Change::Input);
    assert_eq!(index.apply(kind, object.clone()), Change::Nothing);

    let mut patched = object;
    patched.data["status"] = json!({"observedGeneration": 1, "fromTheFuture": true});
    assert_eq!(index.apply(kind, patched.clone()), Change::Status);
    assert_eq!(index.apply(kind, patched.clone()), Change::Nothing);
    let (_, entry) = index.subscription_statuses().next().unwrap();
    assert_eq!(entry.status.observed_generation, Some(1));

    patched.metadata.generation = Some(2);
    assert_eq!(index.apply(kind, patched.clone()), Change::Input);
    patched.metadata.uid = Some("another".into());
    assert_eq!(
        index.apply(kind, patched),
        Change::Input,
        "made anew under its name"
    );
    assert_eq!(index.delete(kind, &key("a")), Change::Input);
    assert_eq!(index.delete(kind, &key("a")), Change::Nothing);
}

#[test]
fn a_watch_that_starts_again_forgets_what_is_gone_in_its_own_namespace() {
    let mut index = Index::default();
    let kind = Kind::WebhookSubscription;
    for name in ["a", "b"] {
        index.apply(kind, subscription(name, 1, &spec("s")));
    }
    let mut elsewhere = subscription("c", 1, &spec("s"));
    elsewhere.metadata.namespace = Some("other".into());
    index.apply(kind, elsewhere);

    let scoped = Watch {
        source: Source::Subscriptions,
        namespace: Some("ns".into()),
    };
    assert_eq!(
        index.reset(&scoped, &BTreeSet::from([key("b")])),
        Change::Input
    );
    let left: Vec<String> = index
        .subscription_statuses()
        .map(|(key, _)| key.to_string())
        .collect();
    assert_eq!(left, ["ns/b", "other/c"]);
}

#[test]
fn data_is_wanted_of_secrets_that_are_referred_to_and_exist() {
    let mut index = Index::default();
    index.apply(
        Kind::WebhookSubscription,
        subscription("a", 1, &spec("used")),
    );
    assert_eq!(
        index.apply_secret(key("used"), version("1")),
        Change::Nothing,
        "not yet known to be used"
    );
    index.apply_secret(key("unused"), version("1"));
    index.refer(&Snapshot::empty());
    let wanted = index.wanted();
    assert_eq!(wanted.len(), 1);
    assert_eq!(wanted[0].key, key("used"));
    assert!(!wanted[0].known);

    index.fetched(&key("used"), version("1"), version("1"), data("old"));
    assert!(index.wanted().is_empty());
    assert_eq!(*index.objects().secrets[&key("used")], data("old"));

    assert_eq!(
        index.apply_secret(key("unused"), version("2")),
        Change::Nothing
    );
    assert_eq!(
        index.apply_secret(key("used"), version("1")),
        Change::Nothing
    );
    assert_eq!(index.apply_secret(key("used"), version("2")), Change::Input);
    assert!(
        index.wanted()[0].known,
        "the old data serves until the new has come"
    );
    assert_eq!(*index.objects().secrets[&key("used")], data("old"));
    // It changed once more before it was got.
    index.fetched(&key("used"), version("2"), version("3"), data("new"));
    assert!(index.wanted().is_empty());
    assert_eq!(
        index.apply_secret(key("used"), version("3")),
        Change::Nothing
    );
    assert!(index.wanted().is_empty());

    assert_eq!(index.delete_secret(&key("used")), Change::Input);
    index.fetched(&key("used"), version("3"), version("3"), data("late"));
    assert!(
        index.objects().secrets.is_empty(),
        "what was deleted does not come back"
    );
    assert_eq!(
        index.apply_secret(key("used"), version("9")),
        Change::Input,
        "made anew"
    );
}

#[test]
fn what_the_previous_snapshot_serves_is_referred_to() {
    let origin = |spec| json!({"key": {"namespace": "ns", "name": "r"}, "uid": "", "generation": 1, "since": 1, "spec": spec});
    let route = json!({
        "origin": origin(json!({"destinations": [{"http": {"headers": [{"secretRef": {"name": "kept"}}]}}]})),
        "subscriptions": [], "destinations": [], "rules": [],
        "loopGuard": {"mode": "Enforce", "senders": [], "echo": null, "maxHops": 4, "perSubject": null},
    });
    let mut previous = Snapshot::empty();
    previous.routes = vec![Arc::new(serde_json::from_value(route).unwrap())];
    let mut index = Index::default();
    index.apply_secret(key("kept"), version("1"));
    index.refer(&previous);
    assert_eq!(index.wanted()[0].key, key("kept"));
    index.fetched(&key("kept"), version("1"), version("1"), data("x"));

    index.refer(&Snapshot::empty());
    assert!(
        index.objects().secrets.is_empty(),
        "what nobody refers to is forgotten"
    );
}

#[test]
fn labels_that_stay_the_same_are_no_change() {
    let mut index = Index::default();
    let labels = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
    assert_eq!(index.apply_namespace("ns", labels.clone()), Change::Input);
    assert_eq!(index.apply_namespace("ns", labels), Change::Nothing);
    assert_eq!(index.apply_namespace("ns", BTreeMap::new()), Change::Input);
    let listed = BTreeSet::from([ObjectKey::new("", "other")]);
    assert_eq!(
        index.reset(&watch(Source::Namespaces), &listed),
        Change::Input
    );
    assert!(index.objects().namespaces.is_empty());
    assert_eq!(index.delete_namespace("ns"), Change::Nothing);
}

#[test]
fn of_config_maps_only_those_referred_to_are_wanted() {
    let mut index = Index::default();
    for name in ["words", "other"] {
        index.apply_config_map(key(name), version("1"));
        // A Secret of the same name is another thing.
        index.apply_secret(key(name), version("1"));
    }
    let mut route = subscription(
        "qa",
        1,
        &json!({
            "wordLists": [{"name": "risk", "configMapRef": {"name": "words", "key": "k"}}],
        }),
    );
    if let Some(types) = &mut route.types {
        types.kind = "EventRoute".to_owned();
    }
    index.apply(Kind::EventRoute, route);
    index.refer(&Snapshot::empty());
    let wanted = index.wanted();
    assert_eq!(
        wanted,
        [Wanted {
            source: Source::ConfigMaps,
            key: key("words"),
            version: version("1"),
            known: false
        }]
    );
    index.fetched_config_map(&key("words"), version("1"), version("1"), data("refund"));
    assert!(index.wanted().is_empty());
    let objects = index.objects();
    assert_eq!(
        objects.config_maps.keys().collect::<Vec<_>>(),
        [&key("words")]
    );
    assert!(objects.secrets.is_empty());

    assert_eq!(
        index.apply_config_map(key("other"), version("2")),
        Change::Nothing
    );
    assert_eq!(
        index.apply_config_map(key("words"), version("2")),
        Change::Input
    );
    assert!(index.wanted()[0].known);
    assert_eq!(index.delete_config_map(&key("words")), Change::Input);
    assert!(index.objects().config_maps.is_empty());
}
