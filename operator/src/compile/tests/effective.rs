//! What may be shown of an entry, and that no secret is in it.

use super::{ROUTE, SUBSCRIPTION, all, compiled, edited};
use crate::compile::effective;

const SIGNED: &str = "{url: 'https://crm.example.com/tickets', headers: [{name: X-Team, value: support}, {name: Authorization, secretRef: {name: tg-staff, key: authorization}}, {name: X-None, secretRef: {name: none, key: none}}], sign: {standardWebhooks: {secretRefs: [{name: tg-staff, key: signing-key}]}}}";

#[test]
fn an_entry_is_shown_with_every_default_and_without_secrets() {
    let route = edited(ROUTE, "{url: 'https://crm.example.com/tickets'}", SIGNED);
    let route = edited(
        &route,
        "[{destination: tickets}]",
        "[{destination: tickets, body: {reference: a, value: b}}]",
    );
    let compiled = compiled(&all(&[SUBSCRIPTION, &route]));
    insta::assert_yaml_snapshot!(
        "subscription",
        effective(&compiled.snapshot.subscriptions[0])
    );
    insta::assert_yaml_snapshot!("route", effective(&compiled.snapshot.routes[0]));
}

#[test]
fn r57_no_secret_shows_in_what_is_printed() {
    let route = edited(ROUTE, "{url: 'https://crm.example.com/tickets'}", SIGNED);
    let route = edited(
        &route,
        "conversation.created]",
        "conversation.created]\n    when: event.typo",
    );
    let route = edited(&route, "name: crm,", "name: broken,");
    let good = edited(ROUTE, "{url: 'https://crm.example.com/tickets'}", SIGNED);
    let compiled = compiled(&all(&[SUBSCRIPTION, &route, &good]));
    let mut printed = format!("{compiled:?}");
    for entry in &compiled.snapshot.subscriptions {
        printed += &effective(entry).to_string();
    }
    for entry in &compiled.snapshot.routes {
        printed += &effective(entry).to_string();
    }
    for report in compiled.routes.values() {
        printed += &super::told(&report.problems);
    }
    let bytes = serde_json::to_string(&compiled.snapshot).unwrap();
    for secret in ["the-signing-key", "the-token", "the-api-token"] {
        let encoded = base64(secret);
        assert!(
            !printed.contains(secret) && !printed.contains(&encoded),
            "{secret}"
        );
    }
    assert!(
        bytes.contains(&base64("the-signing-key")),
        "the receiver does get it"
    );
}

/// As the snapshot writes a secret.
fn base64(secret: &str) -> String {
    let bytes = hookswitch_crds::secret::SecretBytes::new(secret.as_bytes().to_vec());
    let json = serde_json::to_value(bytes).unwrap();
    json.as_str().unwrap().to_owned()
}
