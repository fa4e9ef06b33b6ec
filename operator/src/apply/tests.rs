use std::sync::Arc;

use serde_json::json;

use super::*;
use hookswitch_crds::snapshot::{FORMAT, Route, Subscription};

fn origin(name: &str, generation: i64, since: u64, spec: &serde_json::Value) -> serde_json::Value {
    json!({
        "key": {"namespace": "ns", "name": name},
        "uid": "uid", "generation": generation, "since": since, "spec": spec,
    })
}

fn subscription(name: &str, generation: i64, since: u64) -> Subscription {
    sized(name, generation, since, 0)
}

/// With this many bytes that can't be compressed.
fn sized(name: &str, generation: i64, since: u64, bytes: usize) -> Subscription {
    let seed = name.bytes().next().unwrap_or_default();
    let mut state = u64::from(seed);
    let noise = (0..bytes).map(|_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from(
            b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"
                [usize::try_from(state >> 58).unwrap()],
        )
    });
    let noise: String = noise.collect();
    serde_json::from_value(json!({
        "origin": origin(name, generation, since, &json!({"noise": noise})),
        "provider": "Generic", "path": format!("/ns/{name}"),
        "verification": {"hmac": null, "headers": [], "sourceRanges": [], "unverified": true},
        "ping": {"allowUnsigned": false, "types": []}, "types": [],
        "fields": {"type": null, "id": null, "time": null, "subject": null, "sender": null},
        "deduplicationWindow": "24h",
        "limits": {"bodyBytes": 1, "storedBytes": 2, "eventsPerSecond": null, "burst": null},
        "retention": "72h", "deadLetterRetention": "720h", "suspend": false,
    }))
    .unwrap()
}

fn route(name: &str, since: u64, subscriptions: &[&str]) -> Route {
    let keys: Vec<ObjectKey> = subscriptions.iter().map(|name| key(name)).collect();
    serde_json::from_value(json!({
        "origin": origin(name, 1, since, &json!({})),
        "subscriptions": keys, "destinations": [], "rules": [],
        "loopGuard": {"mode": "Enforce", "senders": [], "echo": null, "maxHops": 4, "perSubject": null},
    }))
    .unwrap()
}

fn snapshot(sequence: u64, subscriptions: Vec<Subscription>, routes: Vec<Route>) -> Snapshot {
    Snapshot {
        format: FORMAT,
        sequence,
        subscriptions: subscriptions.into_iter().map(Arc::new).collect(),
        routes: routes.into_iter().map(Arc::new).collect(),
    }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("ns", name)
}

fn layout(count: u32) -> Layout {
    Layout {
        count,
        format: FORMAT,
    }
}

/// The Secrets after a plan, as a later read finds them.
fn written(stored: &Stored, plan: &Plan) -> Stored {
    let kept = stored.shards.iter().filter(|(index, _)| {
        !plan.surplus.contains(index) && plan.writes.iter().all(|it| it.index != **index)
    });
    // What was kept is encoded from what is known of it.
    let mut found: Vec<(u32, String, Option<Shard>)> = kept
        .map(|(index, shard)| {
            let count = shard.content.as_ref().unwrap().count;
            let mut all = stored.snapshot.clone();
            all.sequence = shard.content.as_ref().unwrap().sequence;
            let view = shard::split(&all, count).swap_remove(usize::try_from(*index).unwrap());
            let shard_read = Shard::decode(&view.encode().unwrap()).unwrap();
            (*index, shard.version.clone(), Some(shard_read))
        })
        .collect();
    for write in &plan.writes {
        let shard = Shard::decode(&write.bytes).unwrap();
        found.push((write.index, format!("v{}", shard.sequence), Some(shard)));
    }
    Stored::new(found, 0)
}

fn nothing() -> Stored {
    Stored::new(Vec::new(), 0)
}

fn indices(plan: &Plan) -> Vec<u32> {
    plan.writes.iter().map(|it| it.index).collect()
}

#[test]
fn a_plan_that_was_carried_out_leaves_nothing_to_do() {
    let compiled = snapshot(
        1,
        vec![subscription("a", 1, 1)],
        vec![route("r", 1, &["a"])],
    );
    for count in 1..4 {
        let first = plan(&nothing(), compiled.clone(), layout(count)).unwrap();
        assert_eq!(
            first.writes.len(),
            usize::try_from(count).unwrap(),
            "empty shards too"
        );
        let stored = written(&nothing(), &first);
        assert_eq!(stored.snapshot, compiled);
        assert_eq!(stored.snapshot, first.snapshot);
        let second = plan(&stored, compiled.clone(), layout(count)).unwrap();
        assert!(second.is_empty());
        assert_eq!(second.snapshot, compiled);
    }
}

#[test]
fn a_change_writes_its_own_shard_only() {
    let names: Vec<String> = ('a'..='z').map(String::from).collect();
    let all = |since: u64| {
        let subscriptions = names
            .iter()
            .map(|name| subscription(name, 1, if name == "k" { since } else { 1 }));
        snapshot(since, subscriptions.collect(), Vec::new())
    };
    let first = plan(&nothing(), all(1), layout(4)).unwrap();
    let stored = written(&nothing(), &first);
    let second = plan(&stored, all(2), layout(4)).unwrap();
    assert_eq!(indices(&second), [shard::shard_of(&key("k"), 4)]);
    assert_eq!(second.writes[0].content.sequence, 2);
    assert_eq!(written(&stored, &second).snapshot, all(2));
}

#[test]
fn the_sequence_only_grows_even_when_the_secrets_were_lost() {
    let compiled = snapshot(1, vec![subscription("a", 1, 1)], Vec::new());
    let remembered = Stored::new(Vec::new(), 57);
    assert_eq!(remembered.snapshot.sequence, 57);
    let first = plan(&remembered, compiled, layout(1)).unwrap();
    assert_eq!(first.writes[0].content.sequence, 58);
    assert_eq!(first.snapshot.sequence, 58);
}

#[test]
fn secrets_that_were_restored_from_a_backup_are_written_ahead_of_what_receivers_loaded() {
    let compiled = snapshot(1, vec![subscription("a", 1, 1)], Vec::new());
    let stored = written(
        &nothing(),
        &plan(&nothing(), compiled.clone(), layout(2)).unwrap(),
    );
    let found = stored.shards.iter().map(|(index, it)| {
        let view = &shard::split(&stored.snapshot, 2)[usize::try_from(*index).unwrap()];
        let shard = Shard::decode(&view.encode().unwrap()).unwrap();
        (*index, it.version.clone(), Some(shard))
    });
    let behind = Stored::new(found.collect(), 57);
    let again = plan(&behind, compiled, layout(2)).unwrap();
    assert_eq!(indices(&again), [1, 0]);
    assert!(again.writes.iter().all(|it| it.content.sequence == 58));
}

#[test]
fn a_shard_that_is_full_keeps_its_content_and_the_others_go_on() {
    let (here, there) = (
        shard::shard_of(&key("a"), 2),
        1 - shard::shard_of(&key("a"), 2),
    );
    let other = ('b'..='z')
        .map(String::from)
        .find(|it| shard::shard_of(&key(it), 2) == there);
    let other = other.unwrap();
    let neighbour = ('b'..='z')
        .map(String::from)
        .find(|it| shard::shard_of(&key(it), 2) == here);
    let neighbour = neighbour.unwrap();
    let mut before = vec![
        subscription("a", 1, 1),
        subscription(&neighbour, 1, 1),
        subscription(&other, 1, 1),
    ];
    before.sort_by(|a, b| a.origin.key.cmp(&b.origin.key));
    let before = snapshot(1, before, vec![route("r", 1, &["a", &other])]);
    let first = plan(&nothing(), before.clone(), layout(2)).unwrap();
    let stored = written(&nothing(), &first);

    let mut after = before;
    after.sequence = 2;
    for entry in &mut after.subscriptions {
        if entry.origin.key.name == "a" {
            *entry = sized("a", 2, 2, 2 * MAX_BYTES).into();
        } else if entry.origin.key.name == other {
            *entry = subscription(&other, 2, 2).into();
        }
    }
    after.routes = vec![route("r", 2, &["a", &other]).into()];
    let second = plan(&stored, after.clone(), layout(2)).unwrap();
    assert_eq!(indices(&second), [there]);
    let placed = |name: &str| &second.placed.subscriptions[&key(name)];
    assert_eq!(
        placed("a").full,
        Some(Full { serving: Some(1) }),
        "generation 1 is served"
    );
    assert_eq!(placed(&neighbour).full, None, "it did not change");
    assert_eq!(placed(&other).full, None);
    assert_eq!(placed(&other).since, 2);
    assert_eq!(
        second.placed.routes[&key("r")].full,
        Some(Full { serving: Some(1) })
    );

    // What receivers put together is what is compiled upon next.
    let read = written(&stored, &second);
    assert_eq!(read.snapshot, second.snapshot);
    assert_eq!(
        read.snapshot.routes[0].origin.since, 2,
        "the newer shard has the say"
    );
    let generation = |name: &str| {
        let mut entries = read.snapshot.subscriptions.iter();
        entries
            .find(|it| it.origin.key.name == name)
            .unwrap()
            .origin
            .generation
    };
    assert_eq!(generation("a"), 1);
    assert_eq!(generation(&other), 2);
    assert!(
        plan(&read, after, layout(2)).unwrap().is_empty(),
        "no write again and again"
    );
}

#[test]
fn more_shards_make_room_and_shard_0_is_written_last() {
    let subscriptions = |since| {
        let names = ('a'..='h').map(String::from);
        names
            .map(|name| sized(&name, 1, since, MAX_BYTES / 5))
            .collect()
    };
    let small = snapshot(1, vec![subscription("a", 1, 1)], Vec::new());
    let first = plan(&nothing(), small, layout(1)).unwrap();
    let stored = written(&nothing(), &first);
    let large = snapshot(2, subscriptions(2), Vec::new());
    let full = plan(&stored, large.clone(), layout(1)).unwrap();
    assert!(full.is_empty());
    assert_eq!(full.snapshot, stored.snapshot);
    assert_eq!(
        full.placed.subscriptions[&key("b")].full,
        Some(Full { serving: None })
    );

    let more = plan(&stored, large.clone(), layout(4)).unwrap();
    assert_eq!(indices(&more), [3, 2, 1, 0]);
    let stored = written(&stored, &more);
    assert_eq!(stored.snapshot, large);

    let fewer = plan(
        &stored,
        snapshot(3, vec![subscription("a", 2, 3)], Vec::new()),
        layout(1),
    )
    .unwrap();
    assert_eq!(indices(&fewer), [0]);
    assert_eq!(fewer.surplus, [1, 2, 3]);
}

#[test]
fn the_first_content_that_does_not_fit_leaves_an_empty_shard_for_the_others() {
    let compiled = snapshot(1, vec![sized("a", 1, 1, 2 * MAX_BYTES)], Vec::new());
    let first = plan(&nothing(), compiled, layout(1)).unwrap();
    assert_eq!(indices(&first), [0]);
    assert!(first.snapshot.subscriptions.is_empty());
    assert_eq!(
        first.placed.subscriptions[&key("a")].full,
        Some(Full { serving: None })
    );
}

#[test]
fn fewer_shards_than_hold_what_is_served_are_refused() {
    let subscriptions = ('a'..='h')
        .map(String::from)
        .map(|name| sized(&name, 1, 1, MAX_BYTES / 5));
    let large = snapshot(1, subscriptions.collect(), Vec::new());
    let stored = written(
        &nothing(),
        &plan(&nothing(), large.clone(), layout(4)).unwrap(),
    );
    let error = plan(&stored, large, layout(1)).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("use more shards"), "{error}");
}
