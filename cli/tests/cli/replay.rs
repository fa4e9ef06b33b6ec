//! `hookswitch replay`: events get what they lack, once.

use serde_json::Value as Json;

use crate::program::{Crm, Quickstart, output};

/// A second route to the same CRM.
const SECOND: &str = "\
---
apiVersion: hookswitch.dev/v1alpha1
kind: EventRoute
metadata: {name: copy, namespace: support}
spec:
  subscriptionRefs: [{name: tg-staff}]
  destinations:
  - name: copies
    http: {url: URL/copies, allowPrivateNetwork: true}
  rules:
  - name: everything
    deliver: [{destination: copies}]
";

fn keys(crm: &Crm) -> Vec<String> {
    let mut keys: Vec<String> = crm
        .requests()
        .iter()
        .map(|request| request["idempotencyKey"].as_str().unwrap().to_owned())
        .collect();
    keys.sort();
    keys.dedup();
    keys
}

#[test]
fn r24_events_get_what_a_new_route_would_have_delivered_and_get_it_once() {
    let quickstart = Quickstart::new();
    let serving = quickstart.run();
    for id in ["evt-1", "evt-2"] {
        assert_eq!(serving.send(&["--id", id]).0, 0);
        serving.event(&["--id", id], "delivered", 1);
    }
    let first = keys(&quickstart.crm);
    let text = std::fs::read_to_string(quickstart.file("route.yaml")).unwrap();
    let second = SECOND.replace("URL", &quickstart.crm.url);
    std::fs::write(quickstart.file("route.yaml"), text + &second).unwrap();
    serving.program.line(0, "configuration 2 is in use");
    let (_, explained) = serving.ask(&["explain", "evt-1"]);
    assert!(
        explained.contains("not asked, as they came later: support/copy/everything"),
        "{explained}"
    );

    let replay = ["replay", "--since", "1h"];
    let (_, dry) = serving.ask(&[&replay[..], &["--dry-run"]].concat());
    assert!(
        dry.contains("2 events looked at: 2 deliveries would be made"),
        "{dry}"
    );
    let (code, done) = serving.ask(&replay);
    assert_eq!(code, 0);
    assert!(
        done.contains("2 events looked at: 2 deliveries made, 0 dead"),
        "{done}"
    );
    serving.event(&["--id", "evt-2"], "delivered", 2);
    serving.event(&["--id", "evt-1"], "delivered", 2);
    let (_, again) = serving.ask(&replay);
    assert!(
        again.contains("2 events looked at: 0 deliveries made, 0 dead"),
        "{again}"
    );
    let after = keys(&quickstart.crm);
    assert_eq!(after.len(), 4);
    assert!(first.iter().all(|key| after.contains(key)));

    // A restart finds all as it was.
    let admin_before = serving.objects(&["events"]).len();
    assert_eq!(serving.program.terminate().0, 0);
    let serving = quickstart.run();
    assert_eq!(serving.objects(&["events"]).len(), admin_before);
    serving.event(&["--id", "evt-1"], "delivered", 2);
}

#[test]
fn r30_a_rule_that_failed_delivers_when_it_is_corrected_and_the_event_replayed() {
    let quickstart = Quickstart::new();
    quickstart.edit(
        "route.yaml",
        "\"${event.data.user_id}\"",
        "\"${event.data.nothing}\"",
    );
    let serving = quickstart.run();
    assert_eq!(serving.send(&["--id", "evt-1"]).0, 0);
    let uid = serving.event(&["--verdict", "missing_field"], "dead", 1);
    let dead = serving.objects(&["dead-letters", "list"]);
    assert_eq!(dead[0]["reason"], "rule_error");
    let retry = output(&["dead-letters", "retry", "--all", "--admin", &serving.admin]);
    let said = String::from_utf8(retry.stderr).unwrap();
    assert!(said.contains("it could not be rendered"), "{said}");
    let (_, still) = serving.ask(&["replay", &uid]);
    assert!(still.contains("0 deliveries made"), "{still}");

    quickstart.edit("route.yaml", "event.data.nothing", "event.data.user_id");
    serving.program.line(0, "configuration 2 is in use");
    let (_, done) = serving.ask(&["replay", "--verdict", "missing_field", "--since", "1h"]);
    assert!(
        done.contains("1 events looked at: 1 deliveries made"),
        "{done}"
    );
    assert_eq!(quickstart.crm.tickets(1)[0]["userId"], "777000");
    assert_eq!(keys(&quickstart.crm)[0], dead[0]["id"].as_str().unwrap());
    serving.event(&["--id", "evt-1"], "delivered", 1);
    assert!(serving.objects(&["dead-letters", "list"]).is_empty());
}

#[test]
fn again_delivers_anew_under_new_keys_once_for_each_name() {
    let quickstart = Quickstart::new();
    let serving = quickstart.run();
    assert_eq!(serving.send(&["--id", "evt-1"]).0, 0);
    serving.event(&[], "delivered", 1);
    let name = "--again=019a9994-f84c-778d-8eea-cc32d0acc9e6";
    for made in ["1 deliveries made", "0 deliveries made"] {
        let (_, done) = serving.ask(&["replay", "evt-1", name]);
        assert!(done.contains(made), "{done}");
    }
    serving.event(&[], "delivered", 2);
    let (_, done) = serving.ask(&["replay", "evt-1", "--again"]);
    assert!(done.contains("1 deliveries made"), "{done}");
    serving.event(&[], "delivered", 3);
    assert_eq!(keys(&quickstart.crm).len(), 3);
    let bodies: Vec<Json> = quickstart.crm.tickets(3);
    assert!(bodies.iter().all(|body| *body == bodies[0]));
    let nothing = output(&["replay", "--admin", &serving.admin]);
    assert_eq!(nothing.status.code(), Some(2));
    assert_eq!(serving.ask(&["replay", "nobody"]).0, 1);
}
