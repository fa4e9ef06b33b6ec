use hookswitch_crds::key::ObjectKey;
use serde_json::json;

use super::*;
use crate::route::tests::{destination, key, route_of, rule, subscription_of, write_back};

fn route(name: &str, when: &str) -> snapshot::Route {
    let deliver = json!([{"destination": "d", "body": {"id": "${event.id}"}}]);
    let rules = json!([rule("first", &[], Some(when), &deliver)]);
    route_of(name, &key(), &json!([destination("d")]), &rules)
}

fn snapshot(sequence: u64, routes: Vec<snapshot::Route>) -> Snapshot {
    Snapshot {
        format: snapshot::FORMAT,
        sequence,
        subscriptions: vec![subscription_of(&key()).into()],
        routes: routes.into_iter().map(Arc::new).collect(),
    }
}

fn refused(snapshot: Snapshot, previous: Option<&Config>) -> String {
    Config::load(snapshot, previous).unwrap_err().to_string()
}

#[test]
fn subscriptions_routes_and_lanes_are_found_by_their_names() {
    let routes = vec![route("a", "true"), route("b", "true")];
    let config = Config::load(snapshot(1, routes), None).unwrap();
    let subscription = &config.subscriptions[&key()];
    assert!(Arc::ptr_eq(
        subscription,
        &config.by_path["/support/support"]
    ));
    let names: Vec<_> = subscription
        .routes
        .iter()
        .map(|route| route.spec.origin.key.name.as_str())
        .collect();
    assert_eq!(names, ["a", "b"]);
    let lane = Lane {
        route: ObjectKey::new("support", "a"),
        destination: "d".to_owned(),
    };
    assert_eq!(config.lanes[&lane].name, "d");
    assert_eq!(config.lanes.len(), 2);
}

#[test]
fn a_route_that_did_not_change_is_not_compiled_again() {
    let first = snapshot(1, vec![route("a", "true"), route("b", "true")]);
    let second = snapshot(2, vec![route("a", "true"), route("b", "false")]);
    let first = Config::load(first, None).unwrap();
    let second = Config::load(second, Some(&first)).unwrap();
    let same = |name: &str| {
        let key = ObjectKey::new("support", name);
        Arc::ptr_eq(&first.routes[&key], &second.routes[&key])
    };
    assert!(same("a") && !same("b"));
}

#[test]
fn a_route_of_a_subscription_that_is_not_there_is_left_unattached() {
    let mut stray = route("a", "true");
    stray.subscriptions = vec![ObjectKey::new("gone", "gone")];
    let config = Config::load(snapshot(1, vec![stray]), None).unwrap();
    assert!(config.subscriptions[&key()].routes.is_empty());
    assert_eq!(config.subscriptions.len(), 1);
}

#[test]
fn what_cannot_be_used_is_refused_with_its_place() {
    let mut newer = snapshot(1, vec![]);
    newer.format = snapshot::FORMAT + 1;
    assert_eq!(
        refused(newer, None),
        "the snapshot has format 2, and this receiver reads up to 1: upgrade the receiver"
    );

    let current = Config::load(snapshot(5, vec![]), None).unwrap();
    assert_eq!(
        refused(snapshot(4, vec![]), Some(&current)),
        "the snapshot has sequence 4, older than 5 which is in use"
    );

    assert_eq!(
        refused(snapshot(1, vec![route("a", "event.foo")]), None),
        "route support/a, rule first: line 1, column 1: `event` has no attribute `foo`; did you mean \
         `event.data.foo`? What the sender wrote is in `event.data`"
    );

    let mut body = route("a", "true");
    body.rules[0].deliver[0].body = JsonText::of(&json!({"a": ["${1 +}"]})).ok();
    assert_eq!(
        refused(snapshot(1, vec![body]), None),
        "route support/a, rule first, body: /a/0: line 1, column 4: the expression ends too early"
    );

    let mut gone = route("a", "true");
    gone.rules[0].deliver[0].destination = "gone".to_owned();
    assert_eq!(
        refused(snapshot(1, vec![gone]), None),
        "route support/a, rule first: no destination `gone`"
    );

    let mut echo = route("a", "true");
    echo.loop_guard.echo = Some(snapshot::Echo {
        sent: "request.text".to_owned(),
        received: "request.text".to_owned(),
        window: hookswitch_crds::duration::Duration::from_secs(300),
    });
    assert_eq!(
        refused(snapshot(1, vec![echo]), None),
        "route support/a, rule loopGuard: line 1, column 1: `request` is known in \
         `loopGuard.echo.sent` only"
    );
}

#[test]
fn what_is_published_is_followed_and_a_bad_snapshot_leaves_the_last_good_one() {
    let publisher = Publisher::new(Metrics::new().unwrap());
    let mut follow = publisher.follow();
    let sequence = |follow: &Follow| follow.borrow().as_ref().map(|config| config.sequence);
    assert_eq!(sequence(&follow), None);

    publisher
        .publish(snapshot(1, vec![route("a", "true")]))
        .unwrap();
    assert!(follow.has_changed().unwrap());
    follow.mark_unchanged();

    publisher
        .publish(snapshot(1, vec![route("a", "true")]))
        .unwrap();
    assert!(!follow.has_changed().unwrap(), "nothing is new");

    publisher
        .publish(snapshot(2, vec![route("a", "nonsense")]))
        .unwrap_err();
    assert!(!follow.has_changed().unwrap());
    assert_eq!(sequence(&follow), Some(1));

    // The same sequence with other content is no error; it is what there is.
    publisher.publish(snapshot(1, vec![])).unwrap();
    assert!(follow.has_changed().unwrap());
    assert!(follow.borrow().as_ref().unwrap().routes.is_empty());
}

/// Rules in two routes, and by hand what an event of each type concerns.
#[test]
fn an_event_concerns_the_rules_that_name_its_type_or_none_and_those_whose_wait_it_may_end() {
    let deliver = json!([{"destination": "d"}]);
    let plain = |name: &str, types: &[&str]| rule(name, types, None, &deliver);
    let waits = |name: &str, types: &[&str], ends: Option<&[&str]>| {
        let mut rule = plain(name, types);
        let unless = ends.map(|ends| json!({"types": ends, "when": null}));
        rule["after"] = json!({"wait": "5m", "key": "event.subject", "unless": unless});
        rule
    };
    let first = json!([
        plain("all", &[]),
        plain("a", &["a"]),
        plain("a-and-b", &["a", "b", "a"]),
        waits("a-not-b", &["a"], Some(&["b", "a"])),
    ]);
    let second = json!([
        waits("c", &["c"], None),
        waits("c-until-anything", &["c"], Some(&[])),
        plain("b", &["b"]),
    ]);
    let mut echoes = route_of("two", &key(), &json!([write_back("d")]), &second);
    echoes.loop_guard.echo = Some(snapshot::Echo {
        sent: "request".to_owned(),
        received: "event.data.text".to_owned(),
        window: hookswitch_crds::duration::Duration::from_secs(1),
    });
    let routes = vec![
        route_of("one", &key(), &json!([destination("d")]), &first),
        echoes,
    ];
    let config = Config::load(snapshot(1, routes), None).unwrap();
    let subscription = &config.subscriptions[&key()];
    for (kind, expected) in [
        ("a", "all a a-and-b a-not-b echo c-until-anything"),
        ("b", "all a-and-b a-not-b echo c-until-anything b"),
        ("c", "all echo c c-until-anything"),
        ("other", "all echo c-until-anything"),
        ("", "all echo c-until-anything"),
    ] {
        let found = subscription.index.concerned(kind).map(|place| {
            let route = &subscription.routes[place.route];
            let rule = place.rule.map(|at| route.rules[at].name.as_str());
            rule.unwrap_or("echo")
        });
        assert_eq!(found.collect::<Vec<_>>().join(" "), expected, "{kind}");
    }
}
