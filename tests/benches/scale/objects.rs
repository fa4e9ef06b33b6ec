//! The objects of a large cluster: teams, each with a namespace, a Secret, subscriptions and routes.

use serde_json::{Value, json};

/// Subscriptions of a team.
const SUBSCRIPTIONS: usize = 10;

/// An object, and where it is made.
#[derive(Debug, Clone)]
pub(super) struct Object {
    /// The collection's path at the API server.
    pub(super) collection: String,
    /// The object.
    pub(super) json: Value,
}

/// The name of a team's namespace.
pub(super) fn namespace(team: usize) -> String {
    format!("team-{team:04}")
}

/// The namespace and the name of a route.
pub(super) fn route_name(number: usize, teams: usize) -> (String, String) {
    (namespace(number % teams), format!("route-{number:06}"))
}

/// How many teams have this many subscriptions.
pub(super) const fn teams(subscriptions: usize) -> usize {
    subscriptions.div_ceil(SUBSCRIPTIONS)
}

/// The namespaces and their Secrets.
pub(super) fn tenants(teams: usize) -> [Vec<Object>; 2] {
    let namespaces = (0..teams).map(|team| Object {
        collection: "/api/v1/namespaces".to_owned(),
        json: json!({"metadata": {"name": namespace(team)}}),
    });
    let secrets = (0..teams).map(|team| Object {
        collection: format!("/api/v1/namespaces/{}/secrets", namespace(team)),
        json: json!({
            "metadata": {"name": "keys"},
            "stringData": {
                "signing-key": format!("the-signing-key-of-team-{team}"),
                "token": format!("Bearer the-token-of-team-{team}"),
            },
        }),
    });
    [namespaces.collect(), secrets.collect()]
}

/// The subscriptions.
pub(super) fn subscriptions(teams: usize) -> Vec<Object> {
    let all = (0..teams * SUBSCRIPTIONS).map(|number| {
        let namespace = namespace(number % teams);
        Object {
            collection: collection(&namespace, "webhooksubscriptions"),
            json: json!({
                "apiVersion": "hookswitch.dev/v1alpha1",
                "kind": "WebhookSubscription",
                "metadata": {"name": subscription(number / teams)},
                "spec": {
                    "provider": "TGStaff",
                    "verification": {"hmac": {"secretRefs": [{"name": "keys", "key": "signing-key"}]}},
                },
            }),
        }
    });
    all.collect()
}

/// The routes: three rules, two destinations, bodies as people write them.
pub(super) fn routes(count: usize, teams: usize) -> Vec<Object> {
    let all = (0..count).map(|number| {
        let (namespace, name) = route_name(number, teams);
        Object {
            collection: collection(&namespace, "eventroutes"),
            json: json!({
                "apiVersion": "hookswitch.dev/v1alpha1",
                "kind": "EventRoute",
                "metadata": {"name": name},
                "spec": spec(number, number / teams),
            }),
        }
    });
    all.collect()
}

fn spec(number: usize, nth: usize) -> Value {
    let header = json!({"name": "Authorization", "secretRef": {"name": "keys", "key": "token"}});
    json!({
        "subscriptionRefs": [{"name": subscription(nth % SUBSCRIPTIONS)}],
        "destinations": [
            {"name": "tickets", "http": {
                "url": format!("https://crm-{number}.example.com/tickets"),
                "headers": [header],
            }},
            {"name": "audit", "http": {"url": format!("https://audit-{}.example.com/events", number % 100)}},
        ],
        "rules": [
            {
                "name": "new-inquiry",
                "types": ["conversation.created"],
                "when": "!has(event.data.test)",
                "deliver": [{"destination": "tickets", "body": {"ticket": {
                    "subject": "Telegram user ${event.data.?username.orValue('unknown')} new inquiry",
                    "external_id": "${event.subject}",
                    "queue": format!("queue-{number}"),
                    "comment": {"body": "${event.data.?first_message.orValue('')}"},
                }}}],
            },
            {
                "name": "closed",
                "types": ["conversation.status_changed"],
                "when": "event.data.status == 'closed'",
                "deliver": [{"destination": "tickets", "body": {"id": "${event.subject}", "status": "solved"}}],
            },
            {"name": "all", "deliver": [{"destination": "audit"}]},
        ],
    })
}

/// An edit of a route that changes what it resolves to.
pub(super) fn edit(round: usize) -> Value {
    json!({"spec": {"loopGuard": {"maxHops": round % 8 + 5}}})
}

fn subscription(nth: usize) -> String {
    format!("subscription-{nth}")
}

fn collection(namespace: &str, plural: &str) -> String {
    format!("/apis/hookswitch.dev/v1alpha1/namespaces/{namespace}/{plural}")
}
