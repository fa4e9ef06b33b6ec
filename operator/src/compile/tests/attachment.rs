//! Routes and subscriptions: across namespaces, with several parents, and who may.

use hookswitch_crds::condition::reason;

use super::{
    ROUTE, SUBSCRIPTION, all, compiled, edited, key, labels, objects, recompiled, settings,
};
use crate::compile::compile;
use hookswitch_crds::snapshot::Snapshot;

/// The route, of another namespace.
fn sales_route() -> String {
    let route = edited(ROUTE, "namespace: support", "namespace: sales");
    edited(
        &route,
        "[{name: support}]",
        "[{name: support, namespace: support}]",
    )
}

fn open_to(from: &str) -> String {
    let to = format!("provider: TGStaff\n  allowedRoutes: {{namespaces: {from}}}");
    edited(SUBSCRIPTION, "provider: TGStaff", &to)
}

#[test]
fn a_subscription_takes_only_its_own_namespaces_routes_unless_it_says_so() {
    let compiled = compiled(&all(&[SUBSCRIPTION, &sales_route()]));
    assert_eq!(
        compiled.refusals("sales/crm").0,
        Some(reason::NOT_ALLOWED_BY_SUBSCRIPTION)
    );
    let report = compiled.route("sales/crm");
    assert!(report.conditions.accepted.message.contains("allowedRoutes"));
    assert_eq!(
        report.conditions.programmed.as_ref().unwrap().reason,
        reason::PENDING
    );
    assert_eq!(compiled.route_entry("sales/crm").unwrap().subscriptions, []);
    assert_eq!(compiled.subscription("support/support").attached_routes, 0);
}

#[test]
fn a_subscription_may_take_every_namespaces_routes() {
    let compiled = compiled(&all(&[&open_to("{from: All}"), &sales_route()]));
    assert_eq!(compiled.refusals("sales/crm"), (None, None));
    let entry = compiled.route_entry("sales/crm").unwrap();
    assert_eq!(entry.subscriptions, [key("support/support")]);
}

#[test]
fn a_subscription_may_choose_by_the_labels_of_namespaces() {
    let yaml = all(&[
        &open_to("{from: Selector, selector: {matchLabels: {team: crm}}}"),
        &sales_route(),
    ]);
    let mut objects = objects(&yaml);
    let before = compile(&objects, &Snapshot::empty(), &settings());
    assert_eq!(
        before.refusals("sales/crm").0,
        Some(reason::NOT_ALLOWED_BY_SUBSCRIPTION)
    );
    objects
        .namespaces
        .insert("sales".to_owned(), labels(&[("team", "crm")]));
    let after = compile(&objects, &before.snapshot, &settings());
    assert_eq!(after.refusals("sales/crm"), (None, None));
    assert_eq!(
        after.snapshot.routes[0].origin.since,
        after.snapshot.sequence
    );
    assert_eq!(after.snapshot.subscriptions, before.snapshot.subscriptions);
}

#[test]
fn a_route_has_conditions_at_each_parent_and_over_all() {
    let route = edited(
        ROUTE,
        "[{name: support}]",
        "[{name: support}, {name: sales, namespace: sales}, {name: support, namespace: support}]",
    );
    let compiled = compiled(&all(&[SUBSCRIPTION, &route]));
    let report = compiled.route("support/crm");
    assert_eq!(report.parents.len(), 2, "one for each subscription");
    let good = report.parent("support/support");
    assert!(good.accepted.status);
    assert_eq!(good.programmed, None);
    let bad = report.parent("sales/sales");
    assert_eq!(bad.accepted.reason, reason::NO_MATCHING_SUBSCRIPTION);
    assert_eq!(bad.programmed.as_ref().unwrap().reason, reason::PENDING);
    assert_eq!(
        report.conditions.accepted.reason,
        reason::NO_MATCHING_SUBSCRIPTION
    );
    assert!(report.conditions.accepted.message.contains("sales/sales"));
    assert_eq!(
        report.conditions.programmed, None,
        "it is served where it is attached"
    );
    let entry = compiled.route_entry("support/crm").unwrap();
    assert_eq!(entry.subscriptions, [key("support/support")]);
    assert_eq!(compiled.subscription("support/support").attached_routes, 1);
}

/// What was planned for a route's destinations is still delivered when its subscription goes.
#[test]
fn a_route_outlives_its_subscription() {
    let before = compiled(&all(&[SUBSCRIPTION, ROUTE]));
    let after = recompiled(&before, ROUTE);
    assert_eq!(
        after.refusals("support/crm").0,
        Some(reason::NO_MATCHING_SUBSCRIPTION)
    );
    let entry = after.route_entry("support/crm").unwrap();
    assert_eq!(entry.subscriptions, []);
    assert_eq!(entry.destinations.len(), 1);
}

#[test]
fn r25_many_projects_have_an_endpoint_each() {
    let sales = SUBSCRIPTION.replace("namespace: support", "namespace: sales");
    let compiled = compiled(&all(&[SUBSCRIPTION, &sales]));
    let paths: Vec<&str> = compiled
        .snapshot
        .subscriptions
        .iter()
        .map(|it| it.path.as_str())
        .collect();
    assert_eq!(paths, ["/sales/support", "/support/support"]);
}

#[test]
fn a_path_has_one_subscription_and_the_oldest_wins() {
    let subscription = |name: &str, created: &str| {
        format!(
            "
kind: WebhookSubscription
metadata: {{name: {name}, namespace: support, creationTimestamp: '{created}'}}
spec: {{provider: Generic, path: /support/shared, verification: {{unverified: true}}}}
"
        )
    };
    let young = subscription("a", "2026-01-02T00:00:00Z");
    let old = subscription("b", "2026-01-01T00:00:00Z");
    let as_old = subscription("c", "2026-01-01T00:00:00Z");
    let compiled = compiled(&all(&[&young, &old, &as_old]));
    assert_eq!(compiled.refusals("support/b"), (None, None));
    for name in ["support/a", "support/c"] {
        assert_eq!(compiled.refusals(name).0, Some(reason::PATH_CONFLICT));
        let message = &compiled.subscription(name).conditions.accepted.message;
        assert!(
            message.contains("belongs to the subscription support/b"),
            "{message}"
        );
        assert!(compiled.subscription_entry(name).is_none());
    }
}

#[test]
fn r23_a_rule_that_needs_a_type_that_nobody_subscribed_to_is_told_of() {
    let narrow = edited(
        SUBSCRIPTION,
        "provider: TGStaff",
        "provider: TGStaff\n  types: [a, b]",
    );
    let told = |types: &str| {
        let route = edited(ROUTE, "[conversation.created]", types);
        let compiled = compiled(&all(&[&narrow, &route]));
        assert_eq!(
            compiled.refusals("support/crm"),
            (None, None),
            "it is served all the same"
        );
        super::told(&compiled.route("support/crm").problems)
    };
    assert_eq!(told("[]"), "");
    assert_eq!(told("[b, c]"), "", "one of them comes");
    assert!(told("[c, d]").contains("no subscription of this route accepts c or d"));
}

#[test]
fn a_write_back_whose_loops_nobody_sees_is_told_of() {
    let shopify = edited(SUBSCRIPTION, "provider: TGStaff", "provider: Shopify");
    let route = edited(
        ROUTE,
        "{name: tickets,",
        "{name: tickets, writesBack: true,",
    );
    let told = |subscription: &str, route: &str| {
        let compiled = compiled(&all(&[subscription, route]));
        super::told(&compiled.route("support/crm").problems)
    };
    assert_eq!(told(SUBSCRIPTION, &route), "");
    assert!(
        told(&shopify, &route).contains("spec.loopGuard.senders: the subscription support/support")
    );
    let echo = edited(
        &route,
        "  rules:",
        "  loopGuard: {echo: {sent: event.subject, received: event.subject}}\n  rules:",
    );
    assert_eq!(told(&shopify, &echo), "");
}
