//! `hookswitch lint`.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use crate::program::{KEY, answer, answer_to, output};

const QUICKSTART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/quickstart");

/// Every way in which an object can be wrong, each in a place of its own.
const BAD: &str = r#"apiVersion: hookswitch.dev/v1alpha1
kind: WebhookSubscription
metadata: {name: tg-staff, namespace: support}
spec:
  provider: TGStaff
  verification:
    hmac:
      secretRefs:
      - {name: tg-staff, key: signing-key}
---
apiVersion: hookswitch.dev/v1alpha1
kind: WebhookSubscription
metadata: {name: other, namespace: support}
spec:
  provider: TGStaff
  retentoin: 72h
  verification: {unverified: true}
---
apiVersion: hookswitch.dev/v1alpha1
kind: EventRoute
metadata: {name: crm, namespace: support}
spec:
  subscriptionRefs: [{name: tg-staff}]
  destinations:
  - name: tickets
    http:
      url: http://127.0.0.1:8090/tickets
  rules:
  - name: new-inquiry
    when: "evnt.data.status == 'closed'"
    deliver:
    - destination: ticket
      body:
        title: "${event.subjct}"
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
"#;

#[test]
fn the_quickstart_is_good() {
    assert_eq!(
        answer(&["lint", "-f", QUICKSTART]),
        (0, "1 subscription, 1 route: no problems\n".to_owned())
    );
}

#[test]
fn everything_that_is_wrong_is_told_with_its_place_and_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.yaml");
    fs::write(&path, BAD).unwrap();
    let (code, text) = answer(&["lint", "-f", path.to_str().unwrap()]);
    let text = text.replace(&format!("{}/", dir.path().display()), "");
    insta::assert_snapshot!(text);
    assert_eq!(code, 1);
}

#[test]
fn json_is_for_machines() {
    let (code, text) = answer_to(&["lint", "-f", "-", "-o", "json"], BAD);
    assert_eq!(code, 1);
    let json: Json = serde_json::from_str(&text).unwrap();
    let problem = json["problems"]
        .as_array()
        .unwrap()
        .iter()
        .find(|problem| problem["field"] == "spec.rules[0].when")
        .unwrap();
    assert_eq!(problem["file"], "<stdin>");
    assert_eq!(problem["line"], 30);
    assert_eq!(problem["column"], 11);
    assert_eq!(problem["severity"], "error");
    assert_eq!(problem["object"], "EventRoute support/crm");
    assert_eq!(problem["reason"], "InvalidExpression");
}

#[test]
fn r57_what_objects_resolve_to_is_shown_without_secrets() {
    let (code, text) = answer(&["lint", "-f", QUICKSTART, "--effective"]);
    assert_eq!(code, 0);
    for default in [
        "X-TG-Staff-Signature",
        "deduplicationWindow: 24h",
        "timeout: 10s",
    ] {
        assert!(text.contains(default), "no {default} in:\n{text}");
    }
    for secret in [KEY, "quickstart-crm-token"] {
        assert!(!text.contains(secret));
        assert!(!text.contains(&STANDARD.encode(secret)));
    }
    let (_, json) = answer(&["lint", "-f", QUICKSTART, "--effective", "-o", "json"]);
    let json: Json = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json["effective"]["WebhookSubscription support/tg-staff"]["retention"],
        "72h"
    );
    assert!(!json.to_string().contains(&STANDARD.encode(KEY)));
}

#[test]
fn secrets_may_be_kept_elsewhere() {
    let subscription = format!("{QUICKSTART}/subscription.yaml");
    let strict = answer(&["lint", "-f", &subscription]);
    assert_eq!(strict.0, 1, "{}", strict.1);
    assert!(strict.1.contains("(SecretNotFound)"), "{}", strict.1);
    let lenient = answer(&["lint", "-f", &subscription, "--missing-secrets", "warn"]);
    assert_eq!(lenient.0, 0, "{}", lenient.1);
    assert!(lenient.1.contains("warning"), "{}", lenient.1);
}

#[test]
fn the_exit_code_tells_what_could_not_be_tried() {
    assert_eq!(output(&["lint"]).status.code(), Some(2));
    assert_eq!(output(&["lint", "-f", "/nowhere"]).status.code(), Some(1));
    assert_eq!(output(&["run", "-f", "/nowhere"]).status.code(), Some(2));
}
