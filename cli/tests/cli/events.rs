//! `hookswitch events` and `explain`, and the admin API that they ask.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value as Json;

use crate::program::{Quickstart, Running, Serving, output, until};

/// Two parts of a condition, of which the second is false for what `send` sends.
const WHEN: &str = "types: [conversation.created]\n    when: \"has(event.data.username) && event.data.user_id == '1'\"";

fn explained(serving: &Serving, id: &str) -> Json {
    let (code, text) = serving.ask(&["explain", id, "-o", "json"]);
    assert_eq!(code, 0, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn r16_r20_what_came_in_is_listed_with_what_became_of_it_and_can_be_filtered() {
    let quickstart = Quickstart::new();
    let serving = quickstart.run();
    assert_eq!(
        serving.ask(&["events"]),
        (0, "no such event is kept\n".to_owned())
    );
    assert_eq!(serving.send(&["--id", "evt-1"]).0, 0);
    assert_eq!(
        serving
            .send(&["--type", "message.received", "--id", "evt-2"])
            .0,
        0
    );
    let filter = ["--type", "conversation.created"];
    let uid = serving.event(&filter, "delivered", 1);
    let (_, text) = serving.ask(&["events", "--type", "conversation.created"]);
    assert!(
        text.contains(&uid) && text.contains("1 delivered"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 2, "{text}");

    for (filter, ids) in [
        (vec![], vec!["evt-1", "evt-2"]),
        (vec!["--verdict", "fired"], vec!["evt-1"]),
        (
            vec!["--verdict", "type_not_matched", "--rule", "new-inquiry"],
            vec!["evt-2"],
        ),
        (vec!["--route", "crm", "--verdict", "when_false"], vec![]),
        (
            vec!["--subscription", "tg-staff", "--since", "1h"],
            vec!["evt-1", "evt-2"],
        ),
        (vec!["--until", "1h"], vec![]),
        (vec!["--state", "delivered"], vec!["evt-1"]),
        (vec!["--id", "evt-2"], vec!["evt-2"]),
        (vec!["--limit", "1"], vec!["evt-2"]),
    ] {
        let all = [&["events"], filter.as_slice()].concat();
        let found = until("events to be routed", || {
            let found = serving.objects(&all);
            found
                .iter()
                .all(|event| !event["plan"].is_null())
                .then_some(found)
        });
        let found: Vec<&str> = found
            .iter()
            .map(|event| event["id"].as_str().unwrap())
            .collect();
        assert_eq!(found, ids, "{filter:?}");
    }
    let (_, list) = serving.ask(&["events", "--id", "evt-2"]);
    assert!(list.contains("no rule names its type"), "{list}");
    let (_, text) = serving.ask(&["explain", "evt-2"]);
    let told = "- support/crm/new-inquiry: type_not_matched\n      types: conversation.created\n";
    assert!(text.contains(told), "{text}");
    let wrong = output(&["events", "--verdict", "fried", "--admin", &serving.admin]);
    assert_eq!(wrong.status.code(), Some(2));
    let wrong = String::from_utf8(wrong.stderr).unwrap();
    assert!(wrong.contains("verdict: there is no `fried`"), "{wrong}");
}

#[test]
fn explain_tells_which_part_of_a_condition_is_false_and_what_an_edit_changes() {
    let quickstart = Quickstart::new();
    quickstart.edit("route.yaml", "types: [conversation.created]", WHEN);
    let serving = quickstart.run();
    assert_eq!(serving.send(&["--id", "evt-1"]).0, 0);
    until("the event to be routed", || {
        (!serving.objects(&["events"])[0]["plan"].is_null()).then_some(())
    });
    let (code, text) = serving.ask(&["explain", "evt-1"]);
    assert_eq!(code, 0);
    for line in [
        "- support/crm/new-inquiry: when_false",
        "true  has(event.data.username)",
        "FALSE event.data.user_id == '1'",
        "Next: nothing; nothing was to be delivered",
    ] {
        assert!(text.contains(line), "no `{line}` in\n{text}");
    }
    assert!(
        !text.contains("where is my order"),
        "r57: bodies are told unasked:\n{text}"
    );

    quickstart.edit("route.yaml", "== '1'", "!= '1'");
    serving.program.line(0, "configuration 2 is in use");
    let (_, text) = serving.ask(&["explain", "evt-1"]);
    assert!(text.contains("when_false"), "{text}");
    assert!(
        text.contains("the route was edited since; as it is now: fired"),
        "{text}"
    );
    assert_eq!(serving.ask(&["explain", "nobody"]).0, 1);
}

#[test]
fn explain_tells_attempts_answers_and_bodies_where_they_are_asked_for() {
    let quickstart = Quickstart::with_crm(&["--status", "422"]);
    let serving = quickstart.run();
    assert_eq!(serving.send(&[]).0, 0);
    let uid = serving.event(&[], "dead", 1);
    let (_, text) = serving.ask(&["explain", &uid, "--bodies"]);
    for part in [
        "+ support/crm/new-inquiry: fired",
        "support/crm/tickets by new-inquiry: dead (refused)",
        "attempt 1: refused 422",
        "Telegram user alice new inquiry",
        "where is my order",
        "to try again: hookswitch dead-letters retry ",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    assert!(
        !text.contains("quickstart-crm-token"),
        "r57: a secret in\n{text}"
    );
    let json = explained(&serving, &uid);
    let delivery = &json["events"][0]["deliveries"][0];
    assert_eq!(delivery["attempts"][0]["status"], 422);
    assert_eq!(delivery["request"]["body"], Json::Null);
    let key = delivery["id"].as_str().unwrap();
    assert_eq!(
        explained(&serving, key)["events"][0]["event"]["uid"],
        uid.as_str()
    );
    let (code, log) = serving.program.terminate();
    assert_eq!(code, 0);
    assert!(!log.contains("where is my order"), "r57: text in\n{log}");
}

#[test]
fn explain_tells_what_a_delivery_waits_for() {
    let quickstart = Quickstart::new();
    quickstart.edit("secret.yaml", "  authorization: ", "  another: ");
    let serving = quickstart.run();
    assert_eq!(serving.send(&["--id", "evt-1"]).0, 0);
    serving.event(&[], "pending", 1);
    let (_, text) = serving.ask(&["explain", "evt-1"]);
    for part in [
        "waits until the configuration is corrected: the secret ",
        "is missing or empty",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    assert!(text.contains("Next: 1 pending"), "{text}");
    quickstart.edit("secret.yaml", "  another: ", "  authorization: ");
    serving.event(&["--id", "evt-1"], "delivered", 1);
}

#[test]
fn follow_tells_each_event_once_it_is_routed() {
    let quickstart = Quickstart::new();
    let serving = quickstart.run();
    assert_eq!(serving.send(&["--id", "before"]).0, 0);
    serving.event(&[], "delivered", 1);
    let follow = Running::start(&[
        "events",
        "--follow",
        "-o",
        "json",
        "--admin",
        &serving.admin,
    ]);
    follow.line(0, "\"before\"");
    for id in ["after-1", "after-2"] {
        assert_eq!(serving.send(&["--id", id]).0, 0);
        let line: Json = serde_json::from_str(&follow.line(0, id)).unwrap();
        assert_eq!(line["plan"]["fired"][0], "support/crm/new-inquiry");
    }
    for id in ["before", "after-1", "after-2"] {
        assert_eq!(
            follow.text().matches(&format!("\"{id}\"")).count(),
            1,
            "{id}"
        );
    }
    // A shutdown does not wait for those who follow.
    assert_eq!(serving.program.terminate().0, 0);
}

/// An answer's first line.
fn raw(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        !answer.to_lowercase().contains("access-control-allow"),
        "{answer}"
    );
    answer.lines().next().unwrap().to_owned()
}

#[test]
fn r11_a_page_in_a_browser_gets_nowhere_neither_by_its_own_name_nor_across_sites() {
    let quickstart = Quickstart::new();
    let serving = quickstart.run();
    let address = serving.admin.strip_prefix("http://").unwrap();
    let get = |headers: &str| {
        raw(
            address,
            &format!("GET /v1/events HTTP/1.1\r\nConnection: close\r\n{headers}\r\n"),
        )
    };
    assert_eq!(get(&format!("Host: {address}\r\n")), "HTTP/1.1 200 OK");
    for headers in [
        "Host: rebound.attacker.example\r\n",
        "Host: rebound.attacker.example:9091\r\n",
        "Host: localhost\r\nOrigin: https://attacker.example\r\n",
        "Host: localhost\r\nSec-Fetch-Site: cross-site\r\n",
    ] {
        assert_eq!(get(headers), "HTTP/1.1 403 Forbidden", "{headers}");
    }
    let post = |headers: &str| {
        let body = "{\"all\":true}";
        raw(
            address,
            &format!(
                "POST /v1/dead-letters/drop HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        )
    };
    assert_eq!(
        post("Content-Type: application/json\r\n"),
        "HTTP/1.1 200 OK"
    );
    for headers in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
    ] {
        assert_eq!(
            post(headers),
            "HTTP/1.1 415 Unsupported Media Type",
            "{headers}"
        );
    }
    let elsewhere = output(&["run", "-f", ".", "--admin", "0.0.0.0:9091"]);
    assert_eq!(elsewhere.status.code(), Some(2));
    let said = String::from_utf8(elsewhere.stderr).unwrap();
    assert!(said.contains("loopback only"), "{said}");
}
