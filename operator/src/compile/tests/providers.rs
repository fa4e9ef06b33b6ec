//! What each provider's name fills in, as `lint --effective` shows it.

use super::{compiled, edited};
use crate::compile::effective;

const PROVIDED: &str = "
kind: WebhookSubscription
metadata: {name: hooks, namespace: team}
spec:
  provider: PROVIDER
  verification: {hmac: {secretRefs: [{name: keys, key: signing}]}}
---
kind: Secret
metadata: {name: keys, namespace: team}
stringData: {signing: c2VjcmV0}
";

#[test]
fn each_provider_fills_in_how_it_signs_pings_and_writes_events() {
    for provider in [
        "TGStaff",
        "StandardWebhooks",
        "GitHub",
        "Stripe",
        "Slack",
        "Shopify",
        "Zendesk",
        "HubSpot",
        "Intercom",
    ] {
        let compiled = compiled(&edited(PROVIDED, "PROVIDER", provider));
        let entry = compiled.subscription_entry("team/hooks").unwrap();
        assert_eq!(entry.provider, provider);
        let mut shown = effective(entry);
        let shown = serde_json::json!({
            "fields": shown["fields"].take(),
            "hmac": shown["verification"]["hmac"].take(),
            "ping": shown["ping"].take(),
        });
        insta::assert_yaml_snapshot!(provider, shown);
    }
}

#[test]
fn a_providers_facts_may_be_set_one_by_one() {
    let yaml = edited(PROVIDED, "PROVIDER", "StandardWebhooks");
    let yaml = edited(
        &yaml,
        "{hmac: {",
        "{hmac: {header: svix-signature, idHeader: svix-id, timestampHeader: svix-timestamp, ",
    );
    let yaml = edited(
        &yaml,
        "  verification",
        "  fields: {id: {header: svix-id}}\n  verification",
    );
    let compiled = compiled(&yaml);
    let entry = compiled.subscription_entry("team/hooks").unwrap();
    let hmac = entry.verification.hmac.as_ref().unwrap();
    assert_eq!(hmac.header, "svix-signature");
    assert_eq!(hmac.id_header.as_deref(), Some("svix-id"));
    assert_eq!(hmac.prefix.as_deref(), Some("v1,"), "the rest stays");
    let shown = effective(entry);
    assert_eq!(
        shown["fields"]["id"],
        serde_json::json!({"Header": "svix-id"})
    );
    assert_eq!(
        shown["fields"]["type"],
        serde_json::json!({"Pointer": "/type"})
    );
}

/// Telegram signs nothing and sends a token.
#[test]
fn telegram_is_verified_by_its_token() {
    let yaml = edited(PROVIDED, "PROVIDER", "Telegram");
    let yaml = edited(
        &yaml,
        "{hmac: {secretRefs: [{name: keys, key: signing}]}}",
        "{headers: [{name: X-Telegram-Bot-Api-Secret-Token, secretRef: {name: keys, key: signing}}]}",
    );
    let compiled = compiled(&yaml);
    assert_eq!(compiled.refusals("team/hooks"), (None, None));
}

/// A sender that signs the URL signs the one that it calls.
#[test]
fn a_signed_url_is_the_public_one() {
    let public_url = |yaml: &str| {
        let compiled = compiled(yaml);
        let entry = compiled.subscription_entry("team/hooks").unwrap();
        entry
            .verification
            .hmac
            .as_ref()
            .unwrap()
            .public_url
            .clone()
            .unwrap()
    };
    let hubspot = edited(PROVIDED, "PROVIDER", "HubSpot");
    assert_eq!(public_url(&hubspot), "https://hooks.example.com");
    let own = edited(
        &hubspot,
        "{hmac: {",
        "{hmac: {publicUrl: 'https://own.example.com', ",
    );
    assert_eq!(public_url(&own), "https://own.example.com");
    let objects = super::objects(&hubspot);
    let unknown = crate::compile::compile(
        &objects,
        &hookswitch_crds::snapshot::Snapshot::empty(),
        &crate::compile::Settings::default(),
    );
    let problems = &unknown.subscription("team/hooks").problems;
    assert_eq!(problems[0].field, "spec.verification.hmac.publicUrl");
}
