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
        fs::write(self.dir.path().join(name), text).unwrap();
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
