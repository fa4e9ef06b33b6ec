//! `sequence` and `since`: only what changed is new.

use super::{ROUTE, SUBSCRIPTION, all, compiled, edited, recompiled};

/// Another subscription, that nothing below touches.
const OTHER: &str = "
kind: WebhookSubscription
metadata: {name: other, namespace: sales}
spec: {provider: Generic, verification: {unverified: true}}
";

#[test]
fn the_same_objects_change_nothing() {
    let yaml = all(&[SUBSCRIPTION, ROUTE, OTHER]);
    let before = compiled(&yaml);
    assert_eq!(before.snapshot.sequence, 1);
    assert_eq!(recompiled(&before, &yaml), before);
}

#[test]
fn an_edit_changes_its_own_entry_alone() {
    let yaml = all(&[SUBSCRIPTION, ROUTE, OTHER]);
    let before = compiled(&yaml);
    let after = recompiled(
        &before,
        &edited(&yaml, "conversation.created", "conversation.closed"),
    );
    assert_eq!(after.snapshot.sequence, 2);
    assert_eq!(after.route_entry("support/crm").unwrap().origin.since, 2);
    assert_eq!(after.snapshot.subscriptions, before.snapshot.subscriptions);
    assert_eq!(after.subscriptions, before.subscriptions);
}

#[test]
fn a_rotated_secret_counts_as_a_change() {
    let yaml = all(&[SUBSCRIPTION, ROUTE, OTHER]);
    let before = compiled(&yaml);
    let after = recompiled(&before, &edited(&yaml, "the-signing-key", "another"));
    assert_eq!(
        after
            .subscription_entry("support/support")
            .unwrap()
            .origin
            .since,
        2
    );
    assert_eq!(
        after
            .subscription_entry("sales/other")
            .unwrap()
            .origin
            .since,
        1
    );
    assert_eq!(after.route_entry("support/crm").unwrap().origin.since, 1);
}

/// The edit is noted, so that a later bad one falls back to it, but receivers have nothing to load
/// for it: Programmed stays.
#[test]
fn an_edit_that_resolves_to_the_same_leaves_since_alone() {
    let yaml = all(&[SUBSCRIPTION, ROUTE]);
    let before = compiled(&yaml);
    let edit = edited(
        &yaml,
        "name: support, namespace: support, generation: 1",
        "name: support, namespace: support, generation: 2",
    );
    let edit = edited(
        &edit,
        "provider: TGStaff",
        "provider: TGStaff\n  path: /support/support",
    );
    let after = recompiled(&before, &edit);
    assert_eq!(after.snapshot.sequence, 2);
    let serving = after.subscription("support/support").serving.unwrap();
    assert_eq!((serving.generation, serving.since), (2, 1));
    let spec = &after
        .subscription_entry("support/support")
        .unwrap()
        .origin
        .spec;
    let spec: serde_json::Value = spec.read().unwrap();
    assert_eq!(spec["path"], "/support/support");
}

#[test]
fn a_secret_that_nobody_refers_to_changes_nothing() {
    let yaml = all(&[SUBSCRIPTION, ROUTE]);
    let before = compiled(&yaml);
    let after = recompiled(
        &before,
        &edited(&yaml, "Bearer the-token", "Bearer another"),
    );
    assert_eq!(after, before);
}

#[test]
fn an_object_that_was_made_anew_is_another_one() {
    let with_uid = |uid: &str| {
        let yaml = all(&[SUBSCRIPTION, ROUTE]);
        edited(&yaml, "name: crm,", &format!("name: crm, uid: {uid},"))
    };
    let before = compiled(&with_uid("a"));
    let after = recompiled(&before, &with_uid("b"));
    assert_eq!(after.route("support/crm").serving.unwrap().since, 2);
}
