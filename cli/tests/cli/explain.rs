//! `hookswitch explain` of rules that know time and ask APIs.

use crate::program::{Quickstart, Serving, until};

/// A look-up that its API refuses.
const REFUSED: &str = "types: [conversation.created]
    enrich:
    - name: profile
      http:
        url: http://127.0.0.1:1/v1/events
        allowPrivateNetwork: true
        headers: [{name: Origin, value: 'https://other.example'}]
      onFailure: Continue";

/// An agent who is offline for an hour.
const GONE: &str = "types: [agent.status_changed]
    when: event.data.status == 'offline'
    after:
      wait: 1h
      key: event.data.agent_id
      unless: {types: [agent.status_changed], when: event.data.status != 'offline'}";

const TITLE: &str = "conversationId: \"${event.subject}\"";
const TYPES: &str = "types: [conversation.created]";

/// Waits until an event is told so.
fn told(serving: &Serving, id: &str, part: &str) -> String {
    until(&format!("`{part}` of {id}"), || {
        let (_, text) = serving.ask(&["explain", id, "--bodies"]);
        text.contains(part).then_some(text)
    })
}

#[test]
fn r51_explain_tells_which_look_up_failed_and_a_replay_makes_it_again() {
    let quickstart = Quickstart::new();
    quickstart.edit("route.yaml", TYPES, REFUSED);
    let with = format!("{TITLE}\n        profile: \"${{enriched.?profile}}\"");
    quickstart.edit("route.yaml", TITLE, &with);
    let serving = quickstart.run();
    // An API that answers with JSON, but to no page of another site.
    quickstart.edit("route.yaml", "http://127.0.0.1:1", &serving.admin);
    serving.program.line(0, "configuration 2 is in use");
    assert_eq!(serving.send(&["--id", "without"]).0, 0);
    serving.event(&["--id", "without"], "delivered", 1);
    let text = told(&serving, "without", "looked up: profile FAILED (");
    assert!(text.contains("\"profile\": null"), "{text}");

    quickstart.edit("route.yaml", "onFailure: Continue", "onFailure: DeadLetter");
    serving.program.line(0, "configuration 3 is in use");
    assert_eq!(serving.send(&["--id", "dead"]).0, 0);
    serving.event(&["--id", "dead"], "dead", 1);
    let text = told(&serving, "dead", "dead (look_up_failed)");
    for part in [
        "POST application/json, not rendered; key ",
        "looked up: profile FAILED (",
        "to try again: hookswitch dead-letters retry ",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    assert!(!text.contains("${"), "a template is told:\n{text}");

    // Headers are the current configuration's: what is asked again may be answered now.
    quickstart.edit("route.yaml", "{name: Origin,", "{name: X-Origin,");
    serving.program.line(0, "configuration 4 is in use");
    let (code, replayed) = serving.ask(&["replay", "--state", "dead"]);
    assert_eq!(code, 0, "{replayed}");
    serving.event(&["--id", "dead"], "delivered", 1);
    let text = told(&serving, "dead", "looked up: profile found");
    assert!(text.contains("\"reached\""), "what was found:\n{text}");
}

#[test]
fn r48_explain_tells_what_became_of_a_timer_and_which_event_cancelled_it() {
    let quickstart = Quickstart::new();
    quickstart.edit("route.yaml", TYPES, GONE);
    // An agent's change of status has no conversation.
    quickstart.edit("route.yaml", TITLE, "agent: \"${event.data.agent_id}\"");
    let serving = quickstart.run();
    let send = |id: &str, status: &str| {
        let status = format!("status={status}");
        let send = ["--type", "agent.status_changed", "--id", id];
        let data = [
            "--data",
            &status,
            "--data",
            "agent_id=a-1",
            "--data",
            "user_id=7",
        ];
        assert_eq!(serving.send(&[&send[..], &data].concat()).0, 0);
    };
    send("gone", "offline");
    let text = told(&serving, "gone", "new-inquiry: waits");
    assert!(
        text.contains("      timer from ") && text.contains(": waits\n"),
        "{text}"
    );
    assert!(
        text.contains("waits for its timer, which fires at "),
        "{text}"
    );
    send("back", "online");
    let text = told(&serving, "gone", ": cancelled at ");
    let back = serving.objects(&["events", "--id", "back"]).remove(0);
    let by = format!(" by event {}", back["uid"].as_str().unwrap());
    assert!(text.contains(&by), "no `{by}` in\n{text}");
    let (_, list) = serving.ask(&["events", "--id", "gone"]);
    assert!(list.contains("wait cancelled"), "{list}");
    assert!(
        text.contains("Next: nothing; nothing was to be delivered"),
        "{text}"
    );
    let text = told(&serving, "back", "after: the wait is cancelled");
    assert!(
        text.contains("FALSE event.data.status == 'offline'"),
        "{text}"
    );

    // A rule that is edited takes its timers along.
    send("gone-again", "offline");
    told(&serving, "gone-again", ": waits\n");
    quickstart.edit("route.yaml", "wait: 1h", "wait: 2h");
    let text = told(
        &serving,
        "gone-again",
        "cancelled, as its rule was removed or edited, at ",
    );
    assert!(text.contains("the route was edited since"), "{text}");
}
