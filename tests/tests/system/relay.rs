//! Two Hookswitches that deliver to each other: the loop that only `hops` can see.

use std::time::Duration;

use hookswitch_tests::destination::Destination;
use hookswitch_tests::hookswitch::{Hookswitch, Workspace};
use hookswitch_tests::sender::{Sender, conversation_created};
use hookswitch_tests::wait;

use crate::yaml;

const SECRETS: &str = "apiVersion: v1
kind: Secret
metadata: {name: relay, namespace: support}
stringData: {secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw}
---
apiVersion: hookswitch.dev/v1alpha1
kind: WebhookSubscription
metadata: {name: relay, namespace: support}
spec:
  provider: StandardWebhooks
  verification: {hmac: {secretRefs: [{name: relay, key: secret}]}}
  fields: {type: /event_type, subject: /conversation_id}
";

/// Sends all that comes in from `source` on to the other one, signed.
fn relay(name: &str, source: &str, other: &str) -> String {
    format!(
        "apiVersion: hookswitch.dev/v1alpha1
kind: EventRoute
metadata: {{name: {name}, namespace: support}}
spec:
  subscriptionRefs: [{{name: {source}}}]
  destinations:
  - name: other
    http:
      url: {other}
      allowPrivateNetwork: true
      sign: {{standardWebhooks: {{secretRefs: [{{name: relay, key: secret}}]}}}}
    writesBack: true
    delivery: {}
  rules: [{{name: all, deliver: [{{destination: other}}]}}]
  loopGuard: {{mode: Enforce, senders: [], maxHops: 4}}
",
        yaml::QUICK
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r27_the_hops_guard_ends_a_loop_through_another_receiver_and_loses_nothing() {
    let (at_a, at_b) = (Workspace::new(), Workspace::new());
    at_a.write("subscription.yaml", &yaml::subscription(""));
    at_a.write("relay.yaml", SECRETS);
    at_b.write("relay.yaml", SECRETS);
    let witness = Destination::start().await;
    let witnessed = yaml::route(
        "witness",
        "[]",
        &witness.url(),
        "{hops: \"${event.hops}\"}",
        yaml::QUICK,
    );
    at_b.write(
        "witness.yaml",
        &witnessed.replace("{name: support}]", "{name: relay}]"),
    );

    let a = Hookswitch::start(&at_a.config(), &at_a.data()).await;
    let b = Hookswitch::start(&at_b.config(), &at_b.data()).await;
    at_b.write(
        "route.yaml",
        &relay("back", "relay", &a.url("/support/relay")),
    );
    let to_b = b.url("/support/relay");
    at_a.write(
        "route.yaml",
        &(relay("out", "support", &to_b) + "---\n" + &relay("again", "relay", &to_b)),
    );
    for hookswitch in [&a, &b] {
        wait::until(
            "the routes to be in use",
            Duration::from_secs(10),
            async || {
                (hookswitch.metric("hookswitch_config_sequence", &[]).await >= 2).then_some(())
            },
        )
        .await;
    }

    let sender = Sender::new(a.url("/support/support"), yaml::SIGNING_KEY);
    assert_eq!(sender.send(&conversation_created(1)).await, Some(200));
    // A sends to B (1), B to A (2), A to B (3), B to A (4): there it ends.
    wait::until("the loop to end", Duration::from_secs(30), async || {
        (a.metric("hookswitch_loop_suppressed_total", &["reason=\"hops\""])
            .await
            == 1)
            .then_some(())
    })
    .await;
    assert_eq!(
        a.metric("hookswitch_dead_letters", &["destination=\"other\""])
            .await,
        1
    );
    let hops: Vec<_> = witness
        .effects()
        .iter()
        .map(|effect| effect.body["hops"].as_u64())
        .collect();
    assert_eq!(hops, [Some(1), Some(3)]);
}
