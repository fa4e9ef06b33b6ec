//! `hookswitch test`: what the files would make of an event, for CI.

use std::fs;

use serde_json::Value as Json;

use crate::program::{answer, output};

/// A subscription and a route, without the Secret that they name.
const FILES: &str = r#"apiVersion: hookswitch.dev/v1alpha1
kind: WebhookSubscription
metadata: {name: tg-staff, namespace: support}
spec:
  provider: TGStaff
  verification: {hmac: {secretRefs: [{name: tg-staff, key: signing-key}]}}
---
apiVersion: hookswitch.dev/v1alpha1
kind: EventRoute
metadata: {name: crm, namespace: support}
spec:
  subscriptionRefs: [{name: tg-staff}]
  destinations:
  - name: tickets
    http: {url: "https://crm.example.com/tickets"}
  - name: reply
    http: {url: "https://api.example.com/reply"}
    writesBack: true
  rules:
  - name: new
    types: [conversation.created]
    deliver:
    - destination: tickets
      body: {title: "From ${event.data.?username.orValue('unknown')}", id: "${event.data.number}"}
  - name: vip
    when: "event.type == 'conversation.created' && (has(event.data.vip) && event.data.vip)"
    deliver: [{destination: tickets, body: {vip: true}}]
  - name: welcome
    types: [conversation.created]
    deliver: [{destination: reply, body: {text: hello}}]
"#;

const EVENT: &str = r#"{"event_type": "conversation.created", "event_id": "e-1",
  "conversation_id": "c-1", "sender_type": "agent", "username": "alice", "number": 7, "vip": false}"#;

const CASE: &str = "
eventFile: event.json
expect:
  verdicts:
    support/crm/new: fired
    support/crm/vip: when_false
    support/crm/welcome: fired
  deliveries:
  - {to: support/crm/tickets, rule: new, body: {title: From alice, id: 7}}
  suppressed:
  - {to: support/crm/reply, rule: welcome, guard: sender}
";

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let this = Self { dir };
        fs::create_dir(this.dir.path().join("cases")).unwrap();
        this.write("conf.yaml", FILES);
        this.write("cases/event.json", EVENT);
        this.write("cases/new.yaml", CASE);
        this
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn test(&self, arguments: &[&str]) -> (i32, String) {
        answer(&[&["test", "-f", &self.path("conf.yaml")], arguments].concat())
    }
}

#[test]
fn r24_r29_what_would_become_of_an_event_is_told_without_a_server_or_a_secret() {
    let files = Files::new();
    let event = files.path("cases/event.json");
    let (code, text) = files.test(&["--event", &event]);
    assert_eq!(code, 0, "{text}");
    for line in [
        "conversation.created  to support/tg-staff",
        "+ support/crm/new: fired",
        "- support/crm/vip: when_false",
        "      FALSE event.data.vip\n",
        "x support/crm/reply by welcome: stopped by the loop guard (sender)",
        "> support/crm/tickets by new",
        "\"title\": \"From alice\"",
    ] {
        assert!(text.contains(line), "no `{line}` in\n{text}");
    }
    assert!(!text.contains("FALSE has(event.data.vip)"), "{text}");
    let (_, json) = files.test(&["--event", &event, "-o", "json"]);
    let json: Json = serde_json::from_str(&json).unwrap();
    assert_eq!(json["trial"]["deliveries"][0]["body"]["id"], 7);
    assert_eq!(json["trial"]["subject"], "c-1");
}

#[test]
fn what_is_kept_of_one_run_is_what_the_next_expects() {
    let files = Files::new();
    let event = files.path("cases/event.json");
    let (code, expected) = files.test(&["--event", &event, "-o", "expect"]);
    assert_eq!(code, 0);
    files.write("expected.yaml", &expected);
    let expected = files.path("expected.yaml");
    let compare = ["--event", &event, "--expect", &expected];
    let (code, text) = files.test(&compare);
    assert_eq!(code, 0, "{text}");
    assert!(text.ends_with("1 cases, 0 with differences\n"), "{text}");
    files.write(
        "conf.yaml",
        &FILES
            .replace("From $", "Of $")
            .replace("[conversation.created]", "[other]"),
    );
    let (code, text) = files.test(&compare);
    assert_eq!(code, 1);
    assert!(
        text.contains("verdicts support/crm/new: expected fired, got type_not_matched"),
        "{text}"
    );
    assert!(
        text.contains("deliveries support/crm/tickets by new: expected, and not made"),
        "{text}"
    );
}

#[test]
fn cases_of_a_folder_differ_or_do_not() {
    let files = Files::new();
    let cases = files.path("cases");
    let (code, text) = files.test(&["--cases", &cases]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("new.yaml") && text.contains("ok"), "{text}");
    files.write(
        "cases/test.yaml",
        "event: {event_type: test}\nexpect: {disposition: ping, deliveries: []}",
    );
    files.write(
        "cases/wrong.yaml",
        &CASE
            .replace("From alice", "From bob")
            .replace("when_false", "fired"),
    );
    let (code, text) = files.test(&["--cases", &cases]);
    assert_eq!(code, 1);
    for line in [
        "3 cases, 1 with differences",
        "verdicts support/crm/vip: expected fired, got when_false",
        "body /title: expected \"From bob\", got \"From alice\"",
    ] {
        assert!(text.contains(line), "no `{line}` in\n{text}");
    }
    files.write("cases/typo.yaml", "event: {}\nexpect: {verdict: {}}");
    let broken = output(&["test", "-f", &files.path("conf.yaml"), "--cases", &cases]);
    assert_eq!(broken.status.code(), Some(2));
    let said = String::from_utf8(broken.stderr).unwrap();
    assert!(
        said.contains("typo.yaml") && said.contains("verdict"),
        "{said}"
    );
}

#[test]
fn files_with_errors_fail_though_the_event_can_be_tried() {
    let files = Files::new();
    let more = "---\napiVersion: hookswitch.dev/v1alpha1\nkind: EventRoute\nmetadata: {name: bad, namespace: support}\n\
        spec: {subscriptionRefs: [{name: tg-staff}], destinations: [{name: a, http: {url: 'https://a.example'}}], rules: [{name: r, when: 'evnt.id == 1', deliver: [{destination: a}]}]}\n";
    files.write("conf.yaml", &format!("{FILES}{more}"));
    let failed = output(&[
        "test",
        "-f",
        &files.path("conf.yaml"),
        "--cases",
        &files.path("cases"),
    ]);
    assert_eq!(failed.status.code(), Some(1));
    let said = String::from_utf8(failed.stderr).unwrap();
    assert!(said.contains("InvalidExpression"), "{said}");
}

/// Rules that know time and what happened before, and ask an API.
const KNOWING: &str = r#"apiVersion: hookswitch.dev/v1alpha1
kind: WebhookSubscription
metadata: {name: tg-staff, namespace: support}
spec:
  provider: TGStaff
  verification: {unverified: true}
---
apiVersion: hookswitch.dev/v1alpha1
kind: EventRoute
metadata: {name: agents, namespace: support}
spec:
  subscriptionRefs: [{name: tg-staff}]
  wordLists: [{name: risk, inline: [fraud]}]
  destinations:
  - name: ops
    http: {url: "https://ops.example.com"}
    redact: {pointers: [/enriched/profile/phone], patterns: [Email]}
  - name: reply
    http: {url: "https://api.example.com/reply"}
    writesBack: true
  rules:
  - name: agent-gone
    types: [agent.status_changed]
    when: event.data.status == 'offline'
    after:
      wait: 30m
      key: event.data.agent_id
      unless: {types: [agent.status_changed], when: event.data.status != 'offline'}
    enrich: [{name: profile, http: {url: "https://api.example.com/${event.data.agent_id}"}}]
    deliver:
    - destination: ops
      body: {who: "${enriched.?profile.?name.orValue(event.data.agent_id)}", profile: "${enriched.?profile}"}
  - name: survey
    types: [conversation.closed]
    enrich:
    - {name: crm, onFailure: DeadLetter, http: {url: "https://crm.example.com/${event.subject}"}}
    deliver:
    - destination: ops
      once: {key: event.subject, window: 720h}
      body: {plan: "${enriched.crm.plan}", words: "${words.risk.hits(enriched.crm)}"}
  - name: answer
    types: [message.received]
    when: event.data.text != ''
    deliver: [{destination: reply, body: {text: "You said: ${event.data.text}"}}]
  loopGuard:
    senders: []
    echo: {sent: request.text, received: event.data.text, window: 5m}
"#;

const STATUS: &str = "event: {event_type: agent.status_changed, agent_id: a-1, status:";

#[test]
fn r47_r48_r50_r55_time_passes_in_a_case_and_look_ups_find_what_it_gives() {
    let files = Files::new();
    files.write("conf.yaml", KNOWING);
    let steps = format!(
        "enriched: {{profile: {{name: Ada, phone: '123', mail: ada@x.example}}}}
steps:
- {STATUS} offline, event_id: '1', timestamp: '2026-03-01T10:00:00Z'}}
  expect:
    verdicts: {{support/agents/agent-gone: waits}}
    deliveries: [{{to: support/agents/ops, rule: agent-gone, waits: 30m}}]
- after: 29m
  {STATUS} online, event_id: '2', timestamp: '2026-03-01T10:29:00Z'}}
  expect: {{verdicts: {{support/agents/agent-gone: when_false}}, fired: [], deliveries: []}}
- after: 1h
  expect: {{fired: [], deliveries: []}}
- {STATUS} offline, event_id: '3', timestamp: '2026-03-01T11:29:00Z'}}
- after: 29m59s
  expect: {{fired: []}}
- after: 1s
  expect:
    fired: [support/agents/agent-gone]
    deliveries:
    - to: support/agents/ops
      rule: agent-gone
      body: {{who: Ada, profile: {{name: Ada, phone: '[redacted]', mail: '[email]'}}}}
"
    );
    files.write("story/gone.yaml", &steps);
    // Where the API does not answer, the alert comes without it.
    let without = steps.replace(
        "{profile: {name: Ada, phone: '123', mail: ada@x.example}}",
        "{}",
    );
    let without = without.replace(
        "who: Ada, profile: {name: Ada, phone: '[redacted]', mail: '[email]'}",
        "who: a-1, profile: null",
    );
    files.write("story/without.yaml", &without);
    let story = files.path("story");
    let (code, text) = files.test(&["--cases", &story]);
    assert_eq!(
        (code, text.lines().last()),
        (0, Some("2 cases, 0 with differences")),
        "{text}"
    );

    files.write("story/without.yaml", &without.replace("29m59s", "30m"));
    let (code, text) = files.test(&["--cases", &story]);
    assert_eq!(code, 1);
    assert!(
        text.contains("step 5: fired: expected , got support/agents/agent-gone"),
        "{text}"
    );
    files.write(
        "story/without.yaml",
        &steps.replace("{profile:", "{profil:"),
    );
    let wrong = output(&["test", "-f", &files.path("conf.yaml"), "--cases", &story]);
    assert_eq!(wrong.status.code(), Some(2));
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(said.contains("no rule has a look-up profil"), "{said}");
}

#[test]
fn r27_r41_a_case_remembers_what_was_done_and_what_was_sent() {
    let files = Files::new();
    files.write("conf.yaml", KNOWING);
    files.write(
        "story/survey.yaml",
        "enriched: {support/agents/survey/crm: {plan: gold, note: Fraud?}}
steps:
- event: {event_type: conversation.closed, event_id: '1', conversation_id: c-1}
  expect:
    deliveries: [{to: support/agents/ops, rule: survey, body: {plan: gold, words: [fraud]}}]
    verdicts: {support/agents/survey: fired}
- event: {event_type: conversation.closed, event_id: '1', conversation_id: c-1}
  expect: {disposition: duplicate, deliveries: []}
- event: {event_type: conversation.closed, event_id: '2', conversation_id: c-1}
  expect: {verdicts: {support/agents/survey: already_done}, deliveries: []}
- after: 721h
  event: {event_type: conversation.closed, event_id: '3', conversation_id: c-1}
  enriched: {}
  expect:
    verdicts: {support/agents/survey: fired}
    deliveries: [{to: support/agents/ops, rule: survey, dead: look_up_failed}]
",
    );
    files.write(
        "story/echo.yaml",
        "steps:
- event: {event_type: message.received, event_id: '1', text: hi}
  expect:
    verdicts: {support/agents/answer: fired}
    deliveries: [{to: support/agents/reply, rule: answer}]
- event: {event_type: message.received, event_id: '2', text: 'You said: hi'}
  expect:
    verdicts: {support/agents/answer: fired}
    deliveries: []
    suppressed: [{to: support/agents/reply, rule: answer, guard: echo}]
",
    );
    let (code, text) = files.test(&["--cases", &files.path("story")]);
    assert_eq!(code, 0, "{text}");
    assert!(text.ends_with("2 cases, 0 with differences\n"), "{text}");
    // By hand, a step at a time, and of one event with a file of what is found.
    files.write(
        "event.json",
        r#"{"event_type": "conversation.closed", "event_id": "1", "conversation_id": "c-1"}"#,
    );
    files.write("found.yaml", "crm: {plan: silver}");
    let (event, found) = (files.path("event.json"), files.path("found.yaml"));
    let (code, text) = files.test(&["--event", &event, "--enriched", &found]);
    assert_eq!(code, 0);
    assert!(text.contains("\"plan\": \"silver\""), "{text}");
    let (_, text) = files.test(&["--event", &event]);
    assert!(text.contains("a dead letter (look_up_failed)"), "{text}");
}
