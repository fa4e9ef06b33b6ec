//! `examples/qa-risk-words`, as it is but for the addresses.

use std::fs;
use std::path::Path;
use std::time::Duration;

use hookswitch_tests::destination::Destination;
use hookswitch_tests::hookswitch::{Hookswitch, Workspace};
use hookswitch_tests::sender::Sender;
use hookswitch_tests::wait;
use serde_json::{Value, json};

/// The key of the example.
const KEY: &str = "quickstart-signing-key";

fn example(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/qa-risk-words");
    fs::read_to_string(folder.join(name)).expect("a file of the example")
}

async fn reports(reviewer: &Destination, count: usize) -> Vec<Value> {
    wait::until(
        format!("{count} reports"),
        Duration::from_secs(30),
        async || (reviewer.count() >= count).then_some(()),
    )
    .await;
    let effects = reviewer.effects().into_iter();
    effects.map(|effect| effect.body).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r37_r55_the_reviewer_hears_of_risk_words_without_telephone_numbers() {
    let (qa, reviewer) = (Destination::start().await, Destination::start().await);
    let workspace = Workspace::new();
    for name in ["subscription.yaml", "secret.yaml", "words.yaml"] {
        workspace.write(name, &example(name));
    }
    let route = example("route.yaml");
    let (before, after) = route
        .split_once("http://127.0.0.1:8090/tickets")
        .expect("the QA system's address");
    let after = after.replace("http://127.0.0.1:8090/tickets", &reviewer.url());
    workspace.write("route.yaml", &format!("{before}{}{after}", qa.url()));
    let hookswitch = Hookswitch::start(&workspace.config(), &workspace.data()).await;
    let sender = Sender::new(hookswitch.url("/support/tg-staff"), KEY);

    let message: Value = serde_json::from_str(&example("message.json")).expect("JSON");
    assert_eq!(sender.send(&message).await, Some(200));
    let told = reports(&reviewer, 1).await;
    assert_eq!(
        told[0],
        json!({
            "conversation": "c-1001", "agent": "a-7", "flagged": true,
            "text": "No refund! Our lawyer will call you: [phone]",
            "words": ["refund", "lawyer"], "groups": ["money", "legal"],
        })
    );
    // The README shows the same.
    let readme = example("README.md");
    let shown = readme
        .split("```json\n")
        .nth(1)
        .and_then(|it| it.split("```").next());
    assert_eq!(
        serde_json::from_str::<Value>(shown.expect("a report")).ok(),
        Some(told[0].clone())
    );
    // The QA system redacts nothing.
    let seen = reports(&qa, 1).await;
    assert_eq!(seen[0]["text"], message["text"]);

    // Words are edited while it runs; a user's message is nobody's business.
    workspace.write(
        "words.yaml",
        &example("words.yaml").replace("refund\n", "voucher\n"),
    );
    let mut attempt = 0;
    wait::until("the new words", Duration::from_secs(30), async || {
        attempt += 1;
        for (sender_type, text) in [("user", "a voucher"), ("agent", "a voucher"), ("agent", "a refund")] {
            let event = json!({
                "event_type": "message.received", "event_id": format!("{sender_type}-{text}-{attempt}"),
                "conversation_id": "c-2", "sender_type": sender_type, "text": text,
            });
            assert_eq!(sender.send(&event).await, Some(200));
        }
        let effects = reviewer.effects();
        effects.iter().any(|it| it.body["words"] == json!(["voucher"])).then_some(())
    })
    .await;
    hookswitch.terminate().await;
}
