//! The named kinds: few lines of YAML, and the request that they make.

use hookswitch_crds::duration::Duration;
use hookswitch_crds::expression::{Scope, Variables};
use hookswitch_crds::snapshot::{
    Auth, Credential, Deliver, Destination, DestinationKind, Grant, HeaderValue, OnAmbiguous, Route,
};
use hookswitch_crds::template::Template;
use serde_json::{Value as Json, json};

use super::{SUBSCRIPTION, all, compiled, http, told};

/// Secrets that stand for every vendor's.
pub(super) const SECRETS: &str = r#"
kind: Secret
metadata: {name: vendor, namespace: support}
stringData:
  token: the-token
  url: 'https://hooks.slack.com/services/T1/B1/planted'
  spaced: a token
  pem: '-----BEGIN PRIVATE KEY-----'
  ca: '-----BEGIN CERTIFICATE-----'
  pg: 'postgres://u:planted@db.example/crm'
  plain: 'postgres://u:planted@db.example/crm?sslmode=disable'
  seed: SUAMK4JJ
  creds: "-----BEGIN NATS USER JWT-----\na.b.c\n-----BEGIN USER NKEY SEED-----\nSUAMK4JJ\n"
"#;

/// A route with one destination, and one rule with this body for it.
pub(super) fn route(destination: &str, body: &str) -> String {
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

pub(super) fn entry(destination: &str, body: &str) -> Route {
    let compiled = compiled(&all(&[SUBSCRIPTION, SECRETS, &route(destination, body)]));
    let told = told(&compiled.route("support/crm").problems);
    let entry = compiled.route_entry("support/crm");
    let entry = entry.unwrap_or_else(|| panic!("{destination}: {told}"));
    assert_eq!(told, "", "{destination}");
    entry.clone()
}

pub(super) fn destination(yaml: &str) -> Destination {
    Destination::clone(&entry(yaml, "").destinations[0])
}

pub(super) fn refused(destination: &str, body: &str) -> String {
    let compiled = compiled(&all(&[SUBSCRIPTION, SECRETS, &route(destination, body)]));
    assert!(compiled.route_entry("support/crm").is_none());
    told(&compiled.route("support/crm").problems)
}

/// What a rule's body, or the kind's own, becomes for an event.
pub(super) fn rendered(destination: &str, body: &str, data: &Json) -> Json {
    let mut entry = entry(destination, body);
    let Deliver { body, .. } = entry.rules.remove(0).deliver.remove(0);
    let template = Template::read(&body.unwrap(), Scope::Event).unwrap();
    let event = json!({
        "id": "e-1", "type": "conversation.created", "source": "/support/support",
        "subject": "c-1001", "hops": 0, "data": data,
    });
    template.render(&Variables::new(&event)).unwrap()
}

pub(super) fn created() -> Json {
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

const DINGTALK: &str = "dingtalk: {accessTokenSecretRef: {name: vendor, key: token}, signingSecretRef: {name: vendor, key: token}}";
const CONTACTS: &str = "hubspot: {tokenSecretRef: {name: vendor, key: token}, objectType: contacts, idProperty: tgstaff_user_id, id: '${event.data.user_id}'}";
const TICKETS: &str = "hubspot: {tokenSecretRef: {name: vendor, key: token}, objectType: tickets, associations: [{to: '${event.data.user_id}', typeId: 16}]}";
const LEAD: &str = "salesforce: {instanceUrl: 'https://acme.my.salesforce.com/', object: Lead, externalIdField: TGStaff_User__c, externalId: '${event.data.user_id}', auth: {clientCredentials: {clientIdSecretRef: {name: vendor, key: token}, clientSecretSecretRef: {name: vendor, key: token}}}}";
const FRESHDESK: &str = "freshdesk: {domain: acme, apiKeySecretRef: {name: vendor, key: token}}";
const MIXPANEL: &str = "mixpanel: {projectId: '42', region: EU, serviceAccount: {usernameSecretRef: {name: vendor, key: token}, passwordSecretRef: {name: vendor, key: token}}}";

#[test]
fn r54_the_other_kinds_call_their_own_apis() {
    for (yaml, kind, method, url) in [
        (
            DINGTALK,
            DestinationKind::Dingtalk,
            "POST",
            "https://oapi.dingtalk.com/robot/send",
        ),
        (
            CONTACTS,
            DestinationKind::Hubspot,
            "POST",
            "https://api.hubapi.com/crm/objects/2026-03/contacts/batch/upsert",
        ),
        (
            TICKETS,
            DestinationKind::Hubspot,
            "POST",
            "https://api.hubapi.com/crm/objects/2026-03/tickets/batch/create",
        ),
        (
            LEAD,
            DestinationKind::Salesforce,
            "PATCH",
            "https://acme.my.salesforce.com/services/data/v66.0/sobjects/Lead/TGStaff_User__c",
        ),
        (
            FRESHDESK,
            DestinationKind::Freshdesk,
            "POST",
            "https://acme.freshdesk.com/api/v2/tickets",
        ),
        (
            MIXPANEL,
            DestinationKind::Mixpanel,
            "POST",
            "https://api-eu.mixpanel.com/import?strict=1&project_id=42",
        ),
    ] {
        let destination = destination(yaml);
        assert_eq!(destination.kind, kind);
        assert_eq!(http(&destination).method, method);
        assert_eq!(http(&destination).url, url);
    }
    let token = "mixpanel: {projectId: '42', projectTokenSecretRef: {name: vendor, key: token}}";
    assert_eq!(
        http(&destination(token)).url,
        "https://api.mixpanel.com/import?strict=1"
    );
    let lead = destination(LEAD);
    assert_eq!(lead.address.as_deref(), Some("${event.data.user_id}"));
    let Auth::OAuth(oauth) = http(&lead).auth.clone() else {
        panic!()
    };
    assert_eq!(
        oauth.token_url,
        "https://acme.my.salesforce.com/services/oauth2/token"
    );
    let jwt = "salesforce: {instanceUrl: 'https://acme.my.salesforce.com', object: Lead, externalIdField: X__c, externalId: '1', auth: {jwtBearer: {clientIdSecretRef: {name: vendor, key: token}, username: bot@acme.example, privateKeySecretRef: {name: vendor, key: pem}}}}";
    let Auth::OAuth(oauth) = http(&destination(jwt)).auth.clone() else {
        panic!()
    };
    let Grant::JwtBearer { audience, .. } = oauth.grant else {
        panic!()
    };
    assert_eq!(audience, "https://login.salesforce.com");
    let freshdesk = destination(FRESHDESK).delivery;
    assert_eq!(freshdesk.on_ambiguous, OnAmbiguous::Search);
    let mixpanel = destination(MIXPANEL).delivery;
    assert_eq!(mixpanel.backoff_max, Duration::from_secs(60));
}

#[test]
fn r56_nobody_needs_a_phone_number_or_an_email_address() {
    let user = json!({"user_id": 777_000, "first_message": "<b>Hi</b> & bye"});
    assert_eq!(
        rendered(CONTACTS, "", &user),
        json!({"id": "777000", "idProperty": "tgstaff_user_id", "properties": {"firstname": "unknown"}})
    );
    assert_eq!(
        rendered(LEAD, "", &user),
        json!({"LastName": "unknown", "Company": "Telegram", "Description": "<b>Hi</b> & bye\nUser: 777000"})
    );
    assert_eq!(
        rendered(FRESHDESK, "", &user),
        json!({
            "unique_external_id": "777000", "name": "unknown",
            "subject": "Telegram user unknown new inquiry",
            "description": "&lt;b>Hi&lt;/b> &amp; bye<br>User: 777000",
            "status": 2, "priority": 1,
        })
    );
    assert_eq!(
        rendered(FRESHDESK, "", &Json::Null)["unique_external_id"],
        "c-1001"
    );
}

#[test]
fn r46_a_referrer_of_any_form_reaches_analytics() {
    for referrer in [json!("spring"), json!({"source": "ad"}), Json::Null] {
        let body = rendered(MIXPANEL, "", &json!({"user_id": 7, "referrer": referrer}));
        assert_eq!(
            body,
            json!({"event": "conversation.created", "properties": {
                "distinct_id": "7", "conversation_id": "c-1001", "sender": null, "status": null,
                "referrer": referrer,
            }})
        );
    }
}

#[test]
fn a_ticket_of_hubspot_is_tied_to_its_contact() {
    let ticket = rendered(TICKETS, "", &created());
    assert_eq!(
        ticket["associations"],
        json!([{
            "to": {"id": "777000"},
            "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 16}],
        }])
    );
    assert_eq!(
        ticket["properties"]["subject"],
        "Telegram user alice new inquiry"
    );
    assert_eq!(ticket.get("id"), None);
}

#[test]
fn r47_an_alert_of_dingtalk_may_be_a_line_of_text() {
    assert_eq!(
        rendered(
            DINGTALK,
            ", body: 'Agent ${event.data.user_id} is gone'",
            &created()
        ),
        json!({"msgtype": "text", "text": {"content": "Agent 777000 is gone"}})
    );
    let limit = destination(DINGTALK).delivery.rate_limit.unwrap();
    assert!(limit.per_second * 60.0 + f64::from(limit.burst) <= 20.0);
}

#[test]
fn what_other_apis_would_refuse_is_refused_here() {
    let upsert_with_ties = CONTACTS.replace("}'}", "}', associations: [{to: '1', typeId: 15}]}");
    let unknown = "hubspot: {tokenSecretRef: {name: vendor, key: token}, objectType: deals}";
    let account = LEAD.replace("object: Lead", "object: Account");
    for (yaml, body, remedy) in [
        (CONTACTS, ", body: {firstname: a}", "under properties"),
        (upsert_with_ties.as_str(), "", "remove associations"),
        (unknown, "", "write them"),
        (LEAD, ", body: {TGStaff_User__c: a}", "remove it"),
        (account.as_str(), "", "write them"),
        (FRESHDESK, ", body: {subject: a}", "requester"),
        (FRESHDESK, ", body: {phone: '1'}", "needs a name"),
        (MIXPANEL, ", body: {event: a}", "properties"),
        (DINGTALK, ", body: {text: {content: a}}", "msgtype"),
    ] {
        let told = refused(yaml, body);
        assert!(told.contains("spec.rules[0].deliver[0].body"), "{told}");
        assert!(told.contains(remedy), "{told}");
    }
}

#[test]
fn only_what_can_be_asked_or_repeated_without_harm_is_searched() {
    let search = |yaml: &str| format!("{yaml}, delivery: {{onAmbiguous: Search}}");
    for yaml in [FRESHDESK, LEAD, CONTACTS] {
        let delivery = destination(&search(yaml)).delivery;
        assert_eq!(delivery.on_ambiguous, OnAmbiguous::Search);
    }
    for yaml in [ZENDESK, TICKETS] {
        let told = refused(&search(yaml), "");
        assert!(told.contains("delivery.onAmbiguous"), "{told}");
    }
}

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
        assert_eq!(http(&destination).url, url);
        assert_eq!(http(&destination).method, "POST");
        assert!(!destination.writes_back, "{yaml}");
        assert!(destination.delivery.rate_limit.is_some(), "{yaml}");
    }
}

#[test]
fn each_api_gets_its_credentials_where_it_wants_them() {
    let slack = destination(SLACK);
    let [header] = http(&slack).headers.as_slice() else {
        panic!("{:?}", http(&slack).headers)
    };
    assert_eq!(header.name, "Authorization");
    assert!(matches!(&header.value, HeaderValue::Secret { prefix, .. } if prefix == "Bearer "));
    assert!(matches!(http(&destination(WEBHOOK)).auth, Auth::Url(_)));
    assert!(matches!(http(&destination(TELEGRAM)).auth, Auth::Path(_)));
    let Auth::Basic { username, password } = http(&destination(ZENDESK)).auth.clone() else {
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
        assert_eq!(http(&destination(yaml)).url, url);
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
