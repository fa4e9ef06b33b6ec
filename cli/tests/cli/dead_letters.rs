//! `hookswitch dead-letters`: what was given up, and what is done about it.

use crate::program::{Crm, Quickstart, output};

#[test]
fn r26_dead_letters_are_delivered_once_their_destination_works_again() {
    let quickstart = Quickstart::with_crm(&["--status", "422"]);
    let serving = quickstart.run();
    for id in ["evt-1", "evt-2", "evt-3"] {
        assert_eq!(serving.send(&["--id", id]).0, 0);
        serving.event(&["--id", id], "dead", 1);
    }
    let dead = serving.objects(&["dead-letters", "list", "--reason", "refused"]);
    assert_eq!(dead.len(), 3);
    let key = |at: usize| dead[at]["id"].as_str().unwrap();
    let (_, list) = serving.ask(&["dead-letters", "list"]);
    assert!(
        list.contains(key(0)) && list.contains("support/crm/tickets"),
        "{list}"
    );
    let (_, shown) = serving.ask(&["dead-letters", "show", key(0)]);
    assert!(shown.contains("attempt 1: refused 422"), "{shown}");

    let other = tempfile::tempdir().unwrap();
    let working = Crm::start(other.path(), &[]);
    quickstart.edit("route.yaml", &quickstart.crm.url, &working.url);
    serving.program.line(0, "configuration 2 is in use");

    // Nothing says which, and nothing is done.
    let all = output(&["dead-letters", "retry", "--admin", &serving.admin]);
    assert_eq!(all.status.code(), Some(2));
    let retry = ["dead-letters", "retry", "--destination", "tickets"];
    let (_, dry) = serving.ask(&[&retry[..], &["--dry-run"]].concat());
    assert!(
        dry.contains("3 dead letters would be attempted again, 0 passed over"),
        "{dry}"
    );
    assert_eq!(serving.objects(&["dead-letters", "list"]).len(), 3);

    let (_, one) = serving.ask(&["dead-letters", "drop", key(2)]);
    assert!(one.contains("1 dead letters are removed"), "{one}");
    let (_, done) = serving.ask(&retry);
    assert!(
        done.contains("2 dead letters are attempted again, 0 passed over"),
        "{done}"
    );
    working.tickets(2);
    let keys: Vec<String> = working
        .requests()
        .iter()
        .map(|request| request["idempotencyKey"].as_str().unwrap().to_owned())
        .collect();
    let mut expected = vec![key(0), key(1)];
    expected.sort_unstable();
    let mut got: Vec<&str> = keys.iter().map(String::as_str).collect();
    got.sort_unstable();
    assert_eq!(got, expected, "a retried dead letter keeps its key");

    // What was done is not done again.
    let (code, again) = serving.ask(&retry);
    assert_eq!(code, 0);
    assert!(
        again.contains("0 dead letters are attempted again"),
        "{again}"
    );
    let (code, gone) = serving.ask(&["dead-letters", "drop", key(2)]);
    assert_eq!(code, 1, "{gone}");
    serving.event(&["--id", "evt-1"], "delivered", 1);
    let (_, explained) = serving.ask(&["explain", "evt-1"]);
    assert!(explained.contains("attempt 1: refused 422"), "{explained}");
    assert!(
        explained.contains("attempt 2: delivered 201"),
        "{explained}"
    );
}

#[test]
fn what_has_no_way_to_go_is_passed_over_and_told() {
    let quickstart = Quickstart::with_crm(&["--status", "422"]);
    let serving = quickstart.run();
    assert_eq!(serving.send(&[]).0, 0);
    serving.event(&[], "dead", 1);
    quickstart.edit("route.yaml", "name: tickets", "name: cases");
    quickstart.edit("route.yaml", "destination: tickets", "destination: cases");
    serving.program.line(0, "configuration 2 is in use");
    let retry = output(&["dead-letters", "retry", "--all", "--admin", &serving.admin]);
    let said = String::from_utf8(retry.stderr).unwrap();
    assert!(said.contains("its destination is gone"), "{said}");
    assert_eq!(serving.objects(&["dead-letters", "list"]).len(), 1);
    let (_, dropped) = serving.ask(&["dead-letters", "drop", "--destination", "tickets"]);
    assert!(dropped.contains("1 dead letters are removed"), "{dropped}");
    let (_, none) = serving.ask(&["dead-letters", "list"]);
    assert_eq!(none, "no dead letters\n");
}
