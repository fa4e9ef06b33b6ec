//! The named kinds: few lines of YAML, and the request that they make.

use hookswitch_crds::expression::{Scope, Variables};
use hookswitch_crds::snapshot::{
    Auth, Credential, Deliver, Destination, DestinationKind, HeaderValue, Route,
};
use hookswitch_crds::template::Template;
use serde_json::{Value as Json, json};

use super::{SUBSCRIPTION, all, compiled, told};

/// Secrets that stand for every vendor's.
const SECRETS: &str = "
kind: Secret
metadata: {name: vendor, namespace: support}
stringData: {token: the-token, url: 'https://hooks.slack.com/services/T1/B1/planted', spaced: a token}
";

/// A route with one destination, and one rule with this body for it.
fn route(destination: &str, body: &str) -> String {
    format!(
        "
kind: EventRoute
metadata: {{name: crm, namespace: support, generation: 1}}
spec:
  subscriptionRefs: [{{name: support}}]
  destinations: [{{name: it, {destination}}}]
  rules:
  - name: all
    deliver: [{{destination: it{body}}}]
"
    )
}

fn entry(destination: &str, body: &str) -> Route {
    let compiled = compiled(&all(&[SUBSCRIPTION, SECRETS, &route(destination, body)]));
    let told = told(&compiled.route("support/crm").problems);
    let entry = compiled.route_entry("support/crm");
    let entry = entry.unwrap_or_else(|| panic!("{destination}: {told}"));
    assert_eq!(told, "", "{destination}");
    entry.clone()
}

fn destination(yaml: &str) -> Destination {
    entry(yaml, "").destinations.remove(0)
}

fn refused(destination: &str, body: &str) -> String {
    let compiled = compiled(&all(&[SUBSCRIPTION, SECRETS, &route(destination, body)]));
    assert!(compiled.route_entry("support/crm").is_none());
    told(&compiled.route("support/crm").problems)
}

/// What a rule's body, or the kind's own, becomes for an event.
fn rendered(destination: &str, body: &str, data: &Json) -> Json {
    let mut entry = entry(destination, body);
    let Deliver { body, .. } = entry.rules.remove(0).deliver.remove(0);
    let template = Template::compile(&body.unwrap(), Scope::Event).unwrap();
    let event = json!({
        "id": "e-1", "type": "conversation.created", "source": "/support/support",
        "subject": "c-1001", "hops": 0, "data": data,
    });
    template.render(&Variables::new(&event)).unwrap()
}

fn created() -> Json {
    json!({
        "user_id": 777_000, "username": "alice", "conversation_id": "c-1001",
        "first_message": "Hello", "conversation_url": "https://app.tg-staff.example/c-1001",
    })
}

const SLACK: &str = "slack: {tokenSecretRef: {name: vendor, key: token}, channel: '#support'}";
const WEBHOOK: &str = "slack: {webhookUrlSecretRef: {name: vendor, key: url}}";
const TELEGRAM: &str =
    "telegram: {tokenSecretRef: {name: vendor, key: token}, chatId: '${event.data.user_id}'}";
const ZENDESK: &str = "zendesk: {subdomain: acme, email: bot@acme.example, tokenSecretRef: {name: vendor, key: token}}";

#[test]
fn r54_each_kind_calls_its_own_api() {
    for (yaml, kind, url) in [
        (
            SLACK,
            DestinationKind::Slack,
            "https://slack.com/api/chat.postMessage",
        ),
        (
            WEBHOOK,
            DestinationKind::SlackWebhook,
            "https://hooks.slack.com/",
        ),
        (
            TELEGRAM,
            DestinationKind::Telegram,
            "https://api.telegram.org/bot{secret}/sendMessage",
        ),
        (
            ZENDESK,
            DestinationKind::Zendesk,
            "https://acme.zendesk.com/api/v2/tickets",
        ),
    ] {
        let destination = destination(yaml);
        assert_eq!(destination.kind, kind);
        assert_eq!(destination.http.url, url);
        assert_eq!(destination.http.method, "POST");
        assert!(!destination.writes_back, "{yaml}");
        assert!(destination.delivery.rate_limit.is_some(), "{yaml}");
    }
}

#[test]
fn each_api_gets_its_credentials_where_it_wants_them() {
    let slack = destination(SLACK);
    let [header] = slack.http.headers.as_slice() else {
        panic!("{:?}", slack.http.headers)
    };
    assert_eq!(header.name, "Authorization");
    assert!(matches!(&header.value, HeaderValue::Secret { prefix, .. } if prefix == "Bearer "));
    assert!(matches!(destination(WEBHOOK).http.auth, Auth::Url(_)));
    assert!(matches!(destination(TELEGRAM).http.auth, Auth::Path(_)));
    let Auth::Basic { username, password } = destination(ZENDESK).http.auth else {
        panic!()
    };
    assert_eq!(
        username,
        Credential::Literal("bot@acme.example/token".to_owned())
    );
    let Credential::Secret(password) = password else {
        panic!()
    };
    assert_eq!(password.usable().unwrap().expose(), b"the-token");
}

#[test]
fn a_proxy_or_a_stand_in_may_take_the_vendors_place() {
    for (yaml, url) in [
        (
            "slack: {tokenSecretRef: {name: vendor, key: token}, channel: c, baseUrl: 'https://proxy.example/slack/'}",
            "https://proxy.example/slack/api/chat.postMessage",
        ),
        (
            "telegram: {tokenSecretRef: {name: vendor, key: token}, chatId: '1', baseUrl: 'https://bots.example'}",
            "https://bots.example/bot{secret}/sendMessage",
        ),
        (
            "zendesk: {subdomain: acme, email: b@c.de, tokenSecretRef: {name: vendor, key: token}, baseUrl: 'https://desk.example'}",
            "https://desk.example/api/v2/tickets",
        ),
    ] {
        assert_eq!(destination(yaml).http.url, url);
    }
}

#[test]
fn r31_r32_r33_a_ticket_needs_no_body_in_the_route() {
    let ticket = rendered(ZENDESK, "", &created());
    assert_eq!(
        ticket,
        json!({"ticket": {
            "subject": "Telegram user alice new inquiry",
            "external_id": "c-1001",
            "comment": {"body": "Hello\nUser: 777000\nConversation: c-1001\nLink: https://app.tg-staff.example/c-1001"},
        }})
    );
    let nameless = rendered(ZENDESK, "", &json!({"username": null}));
    assert_eq!(
        nameless["ticket"]["subject"],
        "Telegram user unknown new inquiry"
    );
    assert_eq!(
        nameless["ticket"]["comment"]["body"],
        "conversation.created"
    );
}

#[test]
fn a_message_needs_no_body_in_the_route_and_may_be_a_line_of_text() {
    let line = "conversation.created c-1001: Hello";
    assert_eq!(
        rendered(SLACK, "", &created()),
        json!({"channel": "#support", "text": line})
    );
    assert_eq!(rendered(WEBHOOK, "", &created()), json!({"text": line}));
    assert_eq!(
        rendered(TELEGRAM, "", &created()),
        json!({"chat_id": 777_000, "text": line})
    );
    assert_eq!(
        rendered(SLACK, ", body: 'New: ${event.data.username}'", &created()),
        json!({"channel": "#support", "text": "New: alice"})
    );
    assert_eq!(
        rendered(
            TELEGRAM,
            ", body: {chat_id: 5, text: Hi, parse_mode: HTML}",
            &created()
        ),
        json!({"chat_id": 5, "text": "Hi", "parse_mode": "HTML"})
    );
    // An event without data at all is a line too.
    assert_eq!(
        rendered(WEBHOOK, "", &Json::Null),
        json!({"text": "conversation.created c-1001"})
    );
}

#[test]
fn a_channel_is_no_template() {
    let yaml = "slack: {tokenSecretRef: {name: vendor, key: token}, channel: 'C${x}'}";
    assert_eq!(rendered(yaml, "", &created())["channel"], "C${x}");
}

#[test]
fn a_body_that_the_api_would_refuse_is_refused_here() {
    for (yaml, body, remedy) in [
        (
            "slack: {tokenSecretRef: {name: vendor, key: token}}",
            ", body: {text: Hi}",
            "slack.channel",
        ),
        (
            "telegram: {tokenSecretRef: {name: vendor, key: token}}",
            ", body: Hi",
            "telegram.chatId",
        ),
        (ZENDESK, ", body: {subject: Hi}", "under ticket"),
        (SLACK, ", body: [1]", "leave the body out"),
    ] {
        let told = refused(yaml, body);
        assert!(told.contains("spec.rules[0].deliver[0].body"), "{told}");
        assert!(told.contains(remedy), "{told}");
    }
    let told = refused(
        "telegram: {tokenSecretRef: {name: vendor, key: token}, chatId: '${event.dat.x}'}",
        "",
    );
    assert!(
        told.contains("spec.destinations[0].telegram.chatId"),
        "{told}"
    );
}

#[test]
fn a_secret_that_can_be_no_url_or_token_is_told() {
    for (yaml, field) in [
        (
            "slack: {webhookUrlSecretRef: {name: vendor, key: token}}",
            "spec.destinations[0].slack.webhookUrlSecretRef",
        ),
        (
            "telegram: {tokenSecretRef: {name: vendor, key: spaced}, chatId: '1'}",
            "spec.destinations[0].telegram.tokenSecretRef",
        ),
    ] {
        let compiled = compiled(&all(&[SUBSCRIPTION, SECRETS, &route(yaml, "")]));
        let told = told(&compiled.route("support/crm").problems);
        assert!(told.starts_with("unresolved [SecretInvalid]"), "{told}");
        assert!(told.contains(field), "{told}");
        assert!(
            !told.contains("planted") && !told.contains("a token"),
            "{told}"
        );
    }
}
