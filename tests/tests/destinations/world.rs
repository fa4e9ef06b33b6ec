//! `hookswitch run` with a route to one destination, and TG-Staff to send to it.

use std::time::Duration;

use hookswitch_cli::mock::stand_in::{Api, Call, StandIn};
use hookswitch_tests::hookswitch::{Hookswitch, Workspace};
use hookswitch_tests::sender::{Sender, crypto};
use hookswitch_tests::wait;
use jiff::Timestamp;
use serde_json::{Value, json};

/// How long a test waits for what must come.
pub(crate) const LIMIT: Duration = Duration::from_mins(1);
/// The key that TG-Staff signs with.
pub(crate) const SIGNING_KEY: &str = "planted-signing-key-7c1f";
/// Retries that a test can wait for.
const QUICK: &str = "timeout: 2s, backoff: {initial: 50ms, max: 500ms}, circuitBreaker: {failures: 50, openFor: 1s}";

/// A stand-in on a free port.
pub(crate) async fn stand_in<A: Api>(api: A) -> StandIn<A> {
    crypto();
    StandIn::start(api).await.expect("a free port")
}

/// Waits until the stand-in has had so many requests; gives them.
pub(crate) async fn calls<A: Api>(stand_in: &StandIn<A>, count: usize) -> Vec<Call> {
    wait::until(format!("{count} requests"), LIMIT, async || {
        let calls = stand_in.calls();
        (calls.len() >= count).then_some(calls)
    })
    .await
}

/// What a destination of a route is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Target<'a> {
    /// Secrets of the Secret `vendor`.
    pub(crate) secrets: Vec<(&'a str, String)>,
    /// The kind and its settings, in YAML's flow style.
    pub(crate) kind: String,
    /// More of `delivery`, in flow style.
    pub(crate) delivery: &'a str,
    /// The rules, in flow style.
    pub(crate) rules: String,
}

impl Target<'_> {
    fn yaml(&self) -> String {
        // JSON's texts are YAML's: a private key has line breaks.
        let secrets = self.secrets.iter();
        let secrets = secrets.map(|(name, value)| format!("  {name}: {}", json!(value)));
        let secrets = secrets.collect::<Vec<_>>().join("\n");
        format!(
            "apiVersion: v1
kind: Secret
metadata: {{name: tg-staff, namespace: support}}
stringData: {{signing-key: {SIGNING_KEY}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: vendor, namespace: support}}
stringData:
{secrets}
---
apiVersion: hookswitch.dev/v1alpha1
kind: WebhookSubscription
metadata: {{name: support, namespace: support}}
spec:
  provider: TGStaff
  verification: {{hmac: {{secretRefs: [{{name: tg-staff, key: signing-key}}]}}}}
---
apiVersion: hookswitch.dev/v1alpha1
kind: EventRoute
metadata: {{name: vendor, namespace: support}}
spec:
  subscriptionRefs: [{{name: support}}]
  destinations:
  - {{name: target, {}, delivery: {{{QUICK}{}}}}}
  rules: {}
",
            self.kind, self.delivery, self.rules
        )
    }
}

/// A ticket's text, made without a body being written, tells what the first [`inquiry`] has.
pub(crate) fn assert_tells_inquiry(text: &str) {
    for part in [
        "where is my order?",
        "777000",
        "c-1",
        "https://app.tg-staff.example/conversations/c-1",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

/// A rule without a body, for new conversations.
pub(crate) const DEFAULT_BODY: &str =
    "[{name: all, types: [conversation.created], deliver: [{destination: target}]}]";

/// A rule for new conversations with this body, in flow style.
pub(crate) fn created(body: &str) -> String {
    format!(
        "[{{name: all, types: [conversation.created], deliver: [{{destination: target, body: {body}}}]}}]"
    )
}

/// A rule that sends the text of messages.
pub(crate) const TEXT: &str = "[{name: all, types: [message.received], deliver: [{destination: target, \
                               body: \"${event.data.text}\"}]}]";

/// A new conversation of the user `alice`, as `hookswitch send` makes it.
pub(crate) fn inquiry(number: usize) -> Value {
    json!({
        "event_type": "conversation.created",
        "event_id": format!("e-{number}"),
        "timestamp": "2026-01-05T10:00:00Z",
        "conversation_id": format!("c-{number}"),
        "conversation_url": format!("https://app.tg-staff.example/conversations/c-{number}"),
        "user_id": "777000",
        "username": "alice",
        "first_message": "where is my order?",
    })
}

/// The same with another value.
pub(crate) fn with(mut event: Value, name: &str, value: impl Into<Value>) -> Value {
    event[name] = value.into();
    event
}

/// The program, with a destination named `target`.
pub(crate) struct World {
    pub(crate) hookswitch: Hookswitch,
    sender: Sender,
    workspace: Workspace,
}

impl World {
    pub(crate) async fn start(target: &Target<'_>) -> Self {
        let workspace = Workspace::new();
        workspace.write("route.yaml", &target.yaml());
        let hookswitch = Hookswitch::start(&workspace.config(), &workspace.data()).await;
        let sender = Sender::new(hookswitch.url("/support/support"), SIGNING_KEY);
        Self {
            hookswitch,
            sender,
            workspace,
        }
    }

    /// Edits the files, and waits until they are in use.
    pub(crate) async fn edit(&self, target: &Target<'_>) {
        let name = "hookswitch_config_sequence";
        let before = self.hookswitch.metric(name, &[]).await;
        self.workspace.write("route.yaml", &target.yaml());
        wait::until("the edit to be in use", LIMIT, async || {
            (self.hookswitch.metric(name, &[]).await > before).then_some(())
        })
        .await;
    }

    /// Sends an event, which is accepted.
    pub(crate) async fn send(&self, event: &Value) {
        assert_eq!(self.sender.send(event).await, Some(200));
    }

    /// Waits until so many deliveries have ended in this way, and none in another.
    pub(crate) async fn ended(&self, outcome: &str, count: u64) {
        self.all_ended(&[(outcome, count)]).await;
    }

    /// Waits until deliveries have ended in these ways, and none in another.
    pub(crate) async fn all_ended(&self, wanted: &[(&str, u64)]) {
        let name = "hookswitch_deliveries_total";
        for (outcome, count) in wanted {
            let label = format!("outcome=\"{outcome}\"");
            wait::until(format!("{count} deliveries {outcome}"), LIMIT, async || {
                let ended = self.hookswitch.metric(name, &[&label]).await;
                (ended >= *count).then_some(())
            })
            .await;
        }
        let all = self.hookswitch.metric(name, &[]).await;
        let count: u64 = wanted.iter().map(|(_, count)| count).sum();
        assert_eq!(all, count, "{}", self.hookswitch.output());
    }

    /// Waits until so many deliveries are neither delivered nor dead.
    pub(crate) async fn pending(&self, count: u64) {
        wait::until(format!("{count} to be pending"), LIMIT, async || {
            let name = "hookswitch_queue_depth";
            (self.hookswitch.metric(name, &[]).await == count).then_some(())
        })
        .await;
    }

    /// Waits until an attempt has failed for this reason and will be repeated; gives when.
    pub(crate) async fn repeated_at(&self, reason: &str) -> Timestamp {
        wait::until(
            format!("an attempt that failed: {reason}"),
            LIMIT,
            async || {
                self.hookswitch.output().lines().find_map(|line| {
                    let line: Value = serde_json::from_str(line).ok()?;
                    let said = line["message"] == "attempt failed: will be repeated";
                    let at = (said && line["reason"] == reason).then(|| line["at"].as_str())??;
                    at.parse().ok()
                })
            },
        )
        .await
    }
}

/// The time between two requests.
pub(crate) fn between(one: &Call, other: &Call) -> Duration {
    Duration::try_from(other.at.duration_since(one.at)).expect("they are in order")
}

/// Asserts that a wait was about so many seconds, from a request on: the backoff's first step is added.
pub(crate) fn assert_wait(call: &Call, until: Timestamp, seconds: i64) {
    let waited = until.duration_since(call.at).as_secs();
    assert!(
        (seconds..=seconds + 5).contains(&waited),
        "waits {waited} s and not {seconds}"
    );
}
