//! A bad edit changes nothing for receivers: the last good spec stays, with today's rights.

use std::sync::Arc;

use hookswitch_crds::condition::reason;
use hookswitch_crds::snapshot::{JsonText, Snapshot};
use jiff::Timestamp;

use super::{ROUTE, SUBSCRIPTION, all, compiled, edited, key, objects, recompiled, settings};
use crate::compile::{
    Kind, Namespaces, Objects, PathGrant, PrivateGrant, Settings, Unreadable, compile,
};

/// The second generation of the route, broken.
fn broken_route() -> String {
    let route = edited(ROUTE, "generation: 1", "generation: 2");
    edited(&route, "types: [conversation.created]", "when: event.typo")
}

#[test]
fn a_bad_edit_keeps_the_last_good_spec() {
    let before = compiled(&all(&[SUBSCRIPTION, ROUTE]));
    let after = recompiled(&before, &all(&[SUBSCRIPTION, &broken_route()]));
    assert_eq!(after.snapshot, before.snapshot, "receivers notice nothing");
    let report = after.route("support/crm");
    assert_eq!(report.generation, 2);
    assert_eq!(report.serving.unwrap().generation, 1);
    assert_eq!(
        report.conditions.accepted.reason,
        reason::INVALID_EXPRESSION
    );
    let programmed = report.conditions.programmed.as_ref().unwrap();
    assert_eq!(programmed.reason, reason::LAST_GOOD_KEPT);
    assert!(programmed.message.contains("generation 1 is served"));
    assert_eq!(*report.parent("support/support"), report.conditions);
}

#[test]
fn a_repaired_edit_is_served_again() {
    let before = compiled(&all(&[SUBSCRIPTION, ROUTE]));
    let broken = recompiled(&before, &all(&[SUBSCRIPTION, &broken_route()]));
    let route = edited(ROUTE, "generation: 1", "generation: 3");
    let route = edited(&route, "conversation.created", "conversation.closed");
    let after = recompiled(&broken, &all(&[SUBSCRIPTION, &route]));
    let report = after.route("support/crm");
    assert_eq!(report.conditions.programmed, None);
    let serving = report.serving.unwrap();
    assert_eq!(
        (serving.generation, serving.since),
        (3, before.snapshot.sequence + 1)
    );
}

#[test]
fn what_was_never_good_is_not_served() {
    let compiled = compiled(&all(&[SUBSCRIPTION, &broken_route()]));
    assert!(compiled.route_entry("support/crm").is_none());
    let report = compiled.route("support/crm");
    assert_eq!(report.serving, None);
    assert_eq!(
        report.conditions.programmed.as_ref().unwrap().reason,
        reason::PENDING
    );
}

#[test]
fn deletion_is_immediate() {
    let before = compiled(&all(&[SUBSCRIPTION, ROUTE]));
    let after = recompiled(&before, SUBSCRIPTION);
    assert!(after.route_entry("support/crm").is_none());
    assert!(!after.routes.contains_key(&key("support/crm")));
    assert_eq!(after.snapshot.sequence, before.snapshot.sequence + 1);
}

/// Deleted and made anew, between two compiles: the new object has no past.
#[test]
fn a_new_object_does_not_inherit_from_its_name() {
    let first = edited(ROUTE, "name: crm,", "name: crm, uid: a,");
    let second = edited(&broken_route(), "name: crm,", "name: crm, uid: b,");
    let before = compiled(&all(&[SUBSCRIPTION, &first]));
    let after = recompiled(&before, &all(&[SUBSCRIPTION, &second]));
    assert!(after.route_entry("support/crm").is_none());
}

#[test]
fn the_last_good_spec_is_resolved_with_todays_secrets() {
    let before = compiled(SUBSCRIPTION);
    let broken = edited(SUBSCRIPTION, "generation: 1", "generation: 2");
    let broken = edited(&broken, "provider: TGStaff", "provider: Generic");
    let rotated = edited(&broken, "the-signing-key", "another-key");
    let after = recompiled(&before, &rotated);
    let entry = after.subscription_entry("support/support").unwrap();
    assert_eq!(entry.provider, "TGStaff");
    let secret = entry.verification.hmac.as_ref().unwrap().secrets[0]
        .usable()
        .unwrap();
    assert_eq!(secret.expose(), b"another-key");
    assert_eq!(entry.origin.since, after.snapshot.sequence);
}

#[test]
fn the_last_good_spec_keeps_no_path_that_an_older_subscription_wants() {
    let mine = edited(
        SUBSCRIPTION,
        "generation: 1",
        "generation: 1, creationTimestamp: '2026-01-02T00:00:00Z'",
    );
    let mine = edited(
        &mine,
        "provider: TGStaff",
        "provider: TGStaff\n  path: /support/shared",
    );
    let before = compiled(&mine);
    assert!(before.subscription_entry("support/support").is_some());
    let broken = edited(&mine, "provider: TGStaff", "provider: Generic");
    let older = "
kind: WebhookSubscription
metadata: {name: older, namespace: support, creationTimestamp: '2026-01-01T00:00:00Z'}
spec: {provider: Generic, path: /support/shared, verification: {unverified: true}}
";
    let after = recompiled(&before, &all(&[&broken, older]));
    assert!(after.subscription_entry("support/support").is_none());
    assert!(after.subscription_entry("support/older").is_some());
}

#[test]
fn the_last_good_spec_keeps_no_path_whose_grant_is_gone() {
    let yaml = edited(
        SUBSCRIPTION,
        "provider: TGStaff",
        "provider: TGStaff\n  path: /hooks/support",
    );
    let granted = Settings {
        path_grants: vec![PathGrant {
            namespaces: Namespaces::All,
            prefix: "/hooks".to_owned(),
        }],
        ..settings()
    };
    let before = compile(&objects(&yaml), &Snapshot::empty(), &granted);
    assert!(before.subscription_entry("support/support").is_some());
    let after = recompiled(&before, &yaml);
    assert!(after.subscription_entry("support/support").is_none());
    assert_eq!(
        after.refusals("support/support").0,
        Some(reason::PATH_NOT_ALLOWED)
    );
}

/// What needs the grant fails alone: the route's other destinations go on.
#[test]
fn the_last_good_spec_loses_private_addresses_with_the_grant() {
    let route = edited(
        ROUTE,
        "destinations: [",
        "destinations: [{name: near, http: {url: 'http://10.0.0.1', allowPrivateNetwork: true}}, ",
    );
    let yaml = all(&[SUBSCRIPTION, &route]);
    let granted = Settings {
        private_networks: vec![PrivateGrant {
            namespaces: ["support"].into_iter().collect(),
            cidrs: vec!["10.0.0.0/8".parse().unwrap()],
        }],
        ..settings()
    };
    let before = compile(&objects(&yaml), &Snapshot::empty(), &granted);
    let networks = |compiled: &super::Compiled| {
        let entry = compiled.route_entry("support/crm").unwrap();
        super::http(&entry.destinations[0]).private_networks.len()
    };
    assert_eq!(before.refusals("support/crm"), (None, None));
    assert_eq!(networks(&before), 1);
    let after = recompiled(&before, &yaml);
    assert_eq!(networks(&after), 0);
    assert_eq!(
        after.refusals("support/crm").0,
        Some(reason::NETWORK_NOT_ALLOWED)
    );
    let programmed = after
        .route("support/crm")
        .conditions
        .programmed
        .clone()
        .unwrap();
    assert!(
        programmed
            .message
            .contains("without what it may not have any more")
    );
    assert_eq!(
        after.route_entry("support/crm").unwrap().destinations.len(),
        2
    );
}

#[test]
fn a_conflicting_edit_keeps_the_old_path() {
    let other = "
kind: WebhookSubscription
metadata: {name: another, namespace: support}
spec: {provider: Generic, verification: {unverified: true}}
";
    let before = compiled(&all(&[SUBSCRIPTION, other]));
    let edit = edited(
        SUBSCRIPTION,
        "provider: TGStaff",
        "provider: TGStaff\n  path: /support/another",
    );
    let after = recompiled(&before, &all(&[&edit, other]));
    assert_eq!(
        after.subscription_entry("support/support").unwrap().path,
        "/support/support"
    );
    let report = after.subscription("support/support");
    assert_eq!(report.conditions.accepted.reason, reason::PATH_CONFLICT);
    assert!(
        report
            .conditions
            .accepted
            .message
            .contains("support/another")
    );
    assert_eq!(
        report.conditions.programmed.as_ref().unwrap().reason,
        reason::LAST_GOOD_KEPT
    );
}

fn unreadable(kind: Kind, name: &str) -> Unreadable {
    Unreadable {
        kind,
        key: key(name),
        uid: String::new(),
        created: None,
        generation: 7,
        message: "unknown field `pathh`: did you mean `path`?".to_owned(),
    }
}

#[test]
fn objects_that_cant_be_read_keep_what_was_served_of_them() {
    let before = compiled(&all(&[SUBSCRIPTION, ROUTE]));
    let unreadable = Objects {
        subscriptions: Vec::new(),
        routes: Vec::new(),
        unreadable: vec![
            unreadable(Kind::WebhookSubscription, "support/support"),
            unreadable(Kind::EventRoute, "support/crm"),
            unreadable(Kind::EventRoute, "support/new"),
        ],
        ..objects(SUBSCRIPTION)
    };
    let after = compile(&unreadable, &before.snapshot, &settings());
    assert_eq!(after.snapshot, before.snapshot);
    for report in after.routes.values() {
        assert_eq!(report.conditions.accepted.reason, reason::UNREADABLE);
        assert_eq!(report.generation, 7);
        assert!(report.problems[0].message.contains("did you mean `path`?"));
    }
    assert_eq!(after.route("support/crm").serving.unwrap().generation, 1);
    assert!(
        after
            .route("support/crm")
            .parents
            .iter()
            .any(|(parent, _)| *parent == key("support/support"))
    );
    assert_eq!(after.route("support/new").serving, None);
    assert_eq!(after.subscription("support/support").attached_routes, 1);
}

/// An unreadable object still has its age: no younger one takes its path.
#[test]
fn an_unreadable_subscription_keeps_its_path() {
    let before = compiled(SUBSCRIPTION);
    let rival = "
kind: WebhookSubscription
metadata: {name: rival, namespace: support, creationTimestamp: '2026-01-02T00:00:00Z'}
spec: {provider: Generic, path: /support/support, verification: {unverified: true}}
";
    let after = Objects {
        unreadable: vec![Unreadable {
            created: Some("2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap()),
            ..unreadable(Kind::WebhookSubscription, "support/support")
        }],
        ..objects(rival)
    };
    let after = compile(&after, &before.snapshot, &settings());
    assert!(after.subscription_entry("support/support").is_some());
    assert_eq!(
        after.refusals("support/rival").0,
        Some(reason::PATH_CONFLICT)
    );
}

/// A snapshot of another build may hold a spec that this one can't read: the object is not served,
/// and nothing else suffers.
#[test]
fn a_last_good_spec_of_another_build_may_be_unreadable_too() {
    let mut before = compiled(&all(&[SUBSCRIPTION, ROUTE]));
    let entry = Arc::make_mut(&mut before.snapshot.routes[0]);
    entry.origin.spec = JsonText::of(&serde_json::json!({"from": "the future"})).unwrap();
    let after = recompiled(&before, &all(&[SUBSCRIPTION, &broken_route()]));
    assert!(after.route_entry("support/crm").is_none());
    assert!(after.subscription_entry("support/support").is_some());
}
