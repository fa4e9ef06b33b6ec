//! `hookswitch send`, against a receiver that verifies and a stand-in that records.

use std::fs;

use crate::program::{Crm, KEY, Quickstart, Running, answer, hookswitch};

const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn subscription(provider: &str, verification: &str) -> String {
    format!(
        "apiVersion: hookswitch.dev/v1alpha1\nkind: WebhookSubscription\n\
         metadata: {{name: {}}}\nspec:\n  provider: {provider}\n  verification:\n    {verification}\n",
        provider.to_lowercase()
    )
}

#[test]
fn r10_r12_every_provider_is_signed_as_the_receiver_wants_it() {
    let dir = tempfile::tempdir().unwrap();
    let providers = [
        ("TGStaff", ""),
        ("StandardWebhooks", ""),
        ("GitHub", ""),
        ("Stripe", ""),
        ("Slack", ""),
        ("Shopify", ""),
        ("Zendesk", ""),
        ("HubSpot", "publicUrl: 'https://hooks.example.com', "),
        ("Intercom", ""),
        (
            "Generic",
            "header: X-Signature, message: [Timestamp, Body], timestampHeader: X-Time, tolerance: 5m, ",
        ),
    ];
    let mut documents: Vec<String> = providers
        .iter()
        .map(|(provider, hmac)| {
            subscription(
                provider,
                &format!("hmac: {{{hmac}secretRefs: [{{name: s, key: key}}]}}"),
            )
        })
        .collect();
    documents.push(subscription(
        "Telegram",
        "headers: [{name: X-Telegram-Bot-Api-Secret-Token, secretRef: {name: s, key: key}}]",
    ));
    documents.push(format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{key: {WHSEC}}}\n"
    ));
    let file = dir.path().join("all.yaml");
    fs::write(&file, documents.join("---\n")).unwrap();
    let (file, data) = (file.to_str().unwrap(), dir.path().join("data"));
    let server = Running::start(&[
        "run",
        "-f",
        file,
        "--data",
        data.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
        "--metrics",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--log-format",
        "text",
    ]);
    let base = server
        .line(0, "  webhooks ")
        .rsplit(' ')
        .next()
        .unwrap()
        .to_owned();
    for provider in providers
        .map(|(provider, _)| provider)
        .into_iter()
        .chain(["Telegram"])
    {
        let name = provider.to_lowercase();
        let url = format!("{base}/default/{name}");
        let (code, text) = answer(&["send", "-f", file, "--provider", provider, "--url", &url]);
        assert_eq!(code, 0, "{provider}: {text}");
        assert!(
            text.contains("200 OK") && text.contains("accepted"),
            "{provider}: {text}"
        );
        if provider != "HubSpot" && provider != "Generic" {
            // The same without files, and with a secret that is another.
            for (secret, status) in [(WHSEC, "200 OK"), ("whsec_AAAA", "401 Unauthorized")] {
                let output = hookswitch(&["send", "--provider", provider, "--url", &url])
                    .env("HOOKSWITCH_SECRET", secret)
                    .output()
                    .unwrap();
                let text = String::from_utf8(output.stdout).unwrap();
                assert!(text.starts_with(status), "{provider}, {secret}: {text}");
                assert_eq!(output.status.success(), status == "200 OK", "{provider}");
            }
        }
    }
    assert!(!server.text().contains("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
}

#[test]
fn an_event_of_the_users_own_goes_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let crm = Crm::start(dir.path(), &[]);
    let event = dir.path().join("event.json");
    let secret = dir.path().join("secret");
    // Not as any serializer would write it.
    fs::write(&event, "{\"b\" : 1,\n \"a\":2 }").unwrap();
    fs::write(&secret, format!("{KEY}\n")).unwrap();
    let (code, text) = answer(&[
        "send",
        "--provider",
        "TGStaff",
        "--url",
        &crm.url,
        "--event",
        event.to_str().unwrap(),
        "--secret-file",
        secret.to_str().unwrap(),
    ]);
    // The stand-in answers 201, which is no success for a webhook.
    assert_eq!(code, 1, "{text}");
    // printf '{"b" : 1,\n "a":2 }' | openssl dgst -sha256 -hmac quickstart-signing-key
    crm.program.line(0, "x-tg-staff-signature: ");
    let said = crm.program.text();
    assert!(said.contains(SIGNATURE), "{said}");
}

const SIGNATURE: &str = "94def90ed52c15d7bf651584f6ead4498f9dd7eb3938a5c3335965bc0ef12a8c";

#[test]
fn values_can_be_set_and_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let crm = Crm::start(dir.path(), &[]);
    answer(&[
        "send",
        "--provider",
        "TGStaff",
        "--url",
        &crm.url,
        "--unsigned",
        "--type",
        "message.received",
        "--id",
        "e-1",
        "--data",
        "text=Hi",
        "--data",
        "user.age=42",
        "--without",
        "username",
        "--header",
        "X-Team: support",
    ]);
    let tickets = crm.tickets(1);
    let body = &tickets[0];
    assert_eq!(body["event_type"], "message.received");
    assert_eq!(body["event_id"], "e-1");
    assert_eq!(body["text"], "Hi");
    assert_eq!(body["user"]["age"], 42);
    assert_eq!(body.get("username"), None);
    crm.program.line(0, "x-team: support");
    assert!(!crm.program.text().contains("signature"));
}

#[test]
fn r14_a_sender_that_retries_has_one_effect() {
    let quickstart = Quickstart::new();
    let serving = quickstart.run();
    let (code, text) = serving.send(&["--count", "3", "--repeat-id"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(text.matches("accepted before").count(), 2, "{text}");
    assert!(text.ends_with("3 sent, 3 answered with 200\n"), "{text}");
    serving.send(&["--id", "another"]);
    assert_eq!(quickstart.crm.tickets(2).len(), 2);
}

#[test]
fn what_is_wrong_with_the_command_is_told() {
    for (arguments, code, remedy) in [
        (vec!["send"], 2, "--provider"),
        (
            vec![
                "send",
                "--provider",
                "TGStaff",
                "--url",
                "http://127.0.0.1:1/",
            ],
            2,
            "HOOKSWITCH_SECRET",
        ),
        (
            vec![
                "send",
                "--provider",
                "GitHob",
                "--url",
                "http://127.0.0.1:1/",
            ],
            2,
            "GitHub",
        ),
        (
            vec![
                "send",
                "--provider",
                "TGStaff",
                "--unsigned",
                "--url",
                "http://127.0.0.1:1/",
            ],
            1,
            "is `hookswitch run` running",
        ),
    ] {
        let output = hookswitch(&arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(remedy), "{arguments:?}: {said}");
    }
}
