//! A compiler that remembers gives what one gives that does not, and resolves only what changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use hookswitch_crds::snapshot::Snapshot;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::properties::world;
use super::{Objects, ROUTE, SUBSCRIPTION, add, all, edited, settings};
use crate::compile::{Compiler, Settings, Unreadable, compile};

/// Objects as the index keeps them: one whose text is the same is the very same.
#[derive(Default)]
struct Kept(BTreeMap<String, Objects>);

impl Kept {
    fn objects<'a>(&mut self, world: impl IntoIterator<Item = &'a Json>) -> Objects {
        let mut all = Objects::default();
        for json in world {
            let one = self.0.entry(json.to_string()).or_insert_with(|| {
                let mut one = Objects::default();
                add(&mut one, json.clone());
                one
            });
            all.subscriptions.extend(one.subscriptions.iter().cloned());
            all.routes.extend(one.routes.iter().cloned());
            let secrets = one.secrets.iter();
            all.secrets
                .extend(secrets.map(|(key, data)| (key.clone(), Arc::clone(data))));
        }
        all
    }

    fn of_yaml(&mut self, yaml: &str) -> Objects {
        let documents = yaml.split("\n---\n").filter(|it| !it.trim().is_empty());
        let documents: Vec<Json> = documents
            .map(|it| serde_saphyr::from_str(it).unwrap())
            .collect();
        self.objects(&documents)
    }
}

/// What the snapshot comes from that is compiled upon.
#[derive(Debug, Clone, Copy)]
enum Past {
    /// What was compiled last.
    Kept,
    /// The same, read from its Secrets.
    Read,
    /// What was compiled before that: the last one could not be written.
    Older,
    /// Nothing: the Secrets were deleted.
    Lost,
}

fn past() -> impl Strategy<Value = Past> {
    prop_oneof![
        6 => Just(Past::Kept),
        1 => Just(Past::Read),
        1 => Just(Past::Older),
        1 => Just(Past::Lost),
    ]
}

/// Worlds that follow each other: most objects of one stay in the next.
fn worlds() -> impl Strategy<Value = Vec<(Vec<Json>, Past, bool)>> {
    let steps = prop::collection::vec(
        (
            world(),
            prop::collection::vec(any::<u8>(), 24),
            past(),
            0..8_u8,
        ),
        2..7,
    );
    steps.prop_map(|steps| {
        let mut known: BTreeMap<String, Json> = BTreeMap::new();
        let steps = steps.into_iter().map(|(world, dice, past, settings)| {
            for (object, roll) in world.into_iter().zip(dice.iter().cycle()) {
                let name = format!(
                    "{} {} {}",
                    object["kind"], object["metadata"]["namespace"], object["metadata"]["name"]
                );
                match roll % 4 {
                    0 => {
                        known.insert(name, object);
                    }
                    1 if roll % 8 == 1 => {
                        known.remove(&name);
                    }
                    _ => {
                        known.entry(name).or_insert(object);
                    }
                }
            }
            (known.values().cloned().collect(), past, settings == 0)
        });
        steps.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn remembering_changes_nothing(worlds in worlds()) {
        let mut compiler = Compiler::default();
        let mut kept = Kept::default();
        let mut older = Snapshot::empty();
        let mut last = Snapshot::empty();
        for (world, past, others) in &worlds {
            let settings = if *others { Settings::standalone() } else { settings() };
            let mut objects = kept.objects(world);
            // Now and then one can't be read.
            if *others && let Some(lost) = objects.routes.pop() {
                objects.unreadable.push(Unreadable {
                    kind: crate::compile::Kind::EventRoute,
                    key: lost.key.clone(),
                    uid: String::new(),
                    created: None,
                    generation: 9,
                    message: "from the future".to_owned(),
                });
            }
            let previous = match past {
                Past::Kept => last.clone(),
                Past::Read => serde_json::from_str(&serde_json::to_string(&last).unwrap()).unwrap(),
                Past::Older => older.clone(),
                Past::Lost => Snapshot::empty(),
            };
            let incremental = compiler.compile(&objects, &previous, &settings);
            let full = compile(&objects, &previous, &settings);
            prop_assert_eq!(&incremental, &full);
            older = std::mem::replace(&mut last, full.snapshot);
        }
    }
}

/// Two namespaces, each with a subscription and two routes.
fn two_teams() -> String {
    let second = edited(ROUTE, "name: crm,", "name: chat,");
    let one = all(&[SUBSCRIPTION, ROUTE, &second]);
    let other = edited(&one, "namespace: support", "namespace: sales");
    all(&[&one, &other])
}

#[test]
fn only_what_changed_is_resolved_again() {
    let mut compiler = Compiler::default();
    let mut kept = Kept::default();
    let mut snapshot = Snapshot::empty();
    let mut resolved = |yaml: &str| {
        let objects = kept.of_yaml(yaml);
        snapshot = compiler.compile(&objects, &snapshot, &settings()).snapshot;
        compiler.resolved()
    };
    let yaml = two_teams();
    assert_eq!(resolved(&yaml), 6);
    assert_eq!(resolved(&yaml), 0);

    let route = edited(ROUTE, "generation: 1", "generation: 2");
    let route = edited(
        &route,
        "deliver:",
        "when: 'event.type == \"a\"'\n    deliver:",
    );
    let once = yaml.replacen(ROUTE, &route, 1);
    assert_ne!(once, yaml);
    assert_eq!(resolved(&once), 1, "a route's edit is its own affair");
    assert_eq!(resolved(&once), 0);

    let broken = once.replacen("event.type == \"a\"", "event.typo", 1);
    assert_eq!(resolved(&broken), 1);
    assert_eq!(resolved(&broken), 0, "what is last good is remembered too");

    let rotated = broken.replacen("the-signing-key", "the-next-key", 1);
    assert_eq!(resolved(&rotated), 1, "only the subscription refers to it");

    let without = rotated.replacen(&edited(ROUTE, "name: crm,", "name: chat,"), "", 1);
    assert_eq!(resolved(&without), 0, "what is gone takes nothing along");
    assert_eq!(resolved(&rotated), 1, "and comes back as something new");
}

#[test]
fn entries_that_stay_are_shared_with_the_snapshot_before() {
    let mut compiler = Compiler::default();
    let mut kept = Kept::default();
    let objects = kept.of_yaml(&two_teams());
    let first = compiler
        .compile(&objects, &Snapshot::empty(), &settings())
        .snapshot;
    let second = compiler.compile(&objects, &first, &settings()).snapshot;
    let read: Snapshot = serde_json::from_value(json!(second)).unwrap();
    let third = compiler.compile(&objects, &read, &settings()).snapshot;
    for (before, after) in [(&first, &second), (&read, &third)] {
        let mut pairs = before.routes.iter().zip(&after.routes);
        assert!(pairs.all(|(a, b)| Arc::ptr_eq(a, b)));
        let mut pairs = before.subscriptions.iter().zip(&after.subscriptions);
        assert!(pairs.all(|(a, b)| Arc::ptr_eq(a, b)));
    }
}
