//! Events as senders send them, for trying things out.
//!
//! TG-Staff publishes the names of its events and of a few fields (`event_type`, `sender_type`,
//! `referrer`); the other keys here are Hookswitch's own assumption, the same that the `TGStaff`
//! preset makes. The other providers' events are cut down from their documentation.

use hookswitch_crds::snapshot::{FieldSource, Fields};
use hookswitch_crds::subscription::Provider;
use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};

/// What an event is to be.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Whose event.
    pub provider: Provider,
    /// Its type; the provider's most usual one where there is none.
    pub r#type: Option<&'a str>,
    /// Its id.
    pub id: &'a str,
    /// When it happened.
    pub now: Timestamp,
    /// Where the receiver looks for its attributes.
    pub fields: &'a Fields,
    /// Values to set, by dotted path or JSON pointer.
    pub data: &'a [(String, Json)],
}

/// An event, ready to be signed.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its type.
    pub r#type: String,
    /// The body.
    pub body: Json,
    /// The headers that hold attributes.
    pub headers: Vec<(String, String)>,
}

/// Builds it.
#[must_use]
pub fn event(wanted: &Wanted<'_>) -> Event {
    let r#type = wanted
        .r#type
        .unwrap_or_else(|| default_type(wanted.provider));
    let mut event = Event {
        r#type: r#type.to_owned(),
        body: body(wanted.provider, r#type, wanted.now),
        headers: Vec::new(),
    };
    event.put(wanted.fields.r#type.as_ref(), r#type);
    event.put(wanted.fields.id.as_ref(), wanted.id);
    if wanted
        .fields
        .time
        .as_ref()
        .is_some_and(|time| !event.has(time))
    {
        event.put(wanted.fields.time.as_ref(), &time(wanted.now));
    }
    for (path, value) in wanted.data {
        set(&mut event.body, &steps(path), value.clone());
    }
    event
}

impl Event {
    /// Leaves a value out, by dotted path or JSON pointer.
    pub fn remove(&mut self, path: &str) {
        let mut steps = steps(path);
        let Some(last) = steps.pop() else { return };
        let parent = steps
            .iter()
            .try_fold(&mut self.body, |value, step| match value {
                Json::Array(items) => step
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| items.get_mut(index)),
                value => value.get_mut(step),
            });
        if let Some(Json::Object(object)) = parent {
            object.remove(&last);
        }
    }

    fn has(&self, source: &FieldSource) -> bool {
        match source {
            FieldSource::Pointer(pointer) => self.body.pointer(pointer).is_some(),
            FieldSource::Header(_) => false,
        }
    }

    fn put(&mut self, source: Option<&FieldSource>, text: &str) {
        match source {
            Some(FieldSource::Pointer(pointer)) => {
                // An id that the sender writes as a number stays one.
                let number = self
                    .body
                    .pointer(pointer)
                    .filter(|value| value.is_number())
                    .and_then(|_| text.parse::<u64>().ok());
                let value = number.map_or_else(|| Json::from(text), Json::from);
                set(&mut self.body, &steps(pointer), value);
            }
            Some(FieldSource::Header(name)) => self.headers.push((name.clone(), text.to_owned())),
            None => {}
        }
    }
}

/// An id as the provider would make it, from a number that is never used twice.
#[must_use]
pub fn id(provider: Provider, unique: uuid::Uuid) -> String {
    match provider {
        // https://core.telegram.org/bots/api#update: an integer.
        Provider::Telegram => (unique.as_u128() & u128::from(u32::MAX)).to_string(),
        _ => unique.to_string(),
    }
}

const fn default_type(provider: Provider) -> &'static str {
    match provider {
        Provider::TGStaff => "conversation.created",
        Provider::GitHub => "push",
        Provider::Stripe => "customer.created",
        Provider::Slack | Provider::Telegram => "message",
        Provider::Shopify => "orders/create",
        Provider::Zendesk => "zen:event-type:ticket.created",
        Provider::HubSpot => "contact.creation",
        Provider::Intercom => "conversation.user.created",
        Provider::StandardWebhooks | Provider::Generic => "contact.created",
    }
}

fn body(provider: Provider, r#type: &str, now: Timestamp) -> Json {
    let seconds = now.as_second();
    match provider {
        Provider::TGStaff => tg_staff(r#type, now),
        Provider::GitHub => json!({
            "ref": "refs/heads/main",
            "repository": {"full_name": "acme/site"},
            "sender": {"login": "octocat", "type": "User"},
        }),
        Provider::Stripe => json!({
            "object": "event",
            "created": seconds,
            "data": {"object": {"id": "cus_1001", "object": "customer"}},
        }),
        Provider::Slack => json!({
            "type": "event_callback",
            "event_time": seconds,
            "event": {"channel": "C1001", "user": "U1001", "text": "Hello"},
        }),
        Provider::Shopify => json!({
            "id": 1001,
            "admin_graphql_api_id": "gid://shopify/Order/1001",
            "total_price": "20.00",
        }),
        Provider::Zendesk => json!({
            "subject": "zen:ticket:1001",
            "time": time(now),
            "detail": {"id": "1001", "subject": "Hello", "status": "NEW"},
            "event": {},
        }),
        Provider::HubSpot => json!([{
            "eventId": 1001,
            "subscriptionType": r#type,
            "objectId": 1001,
            "occurredAt": now.as_millisecond(),
        }]),
        Provider::Intercom => json!({
            "type": "notification_event",
            "created_at": seconds,
            "data": {"item": {"type": "conversation", "id": "1001"}},
        }),
        Provider::Telegram => json!({
            "update_id": 0,
            "message": {
                "message_id": 1,
                "date": seconds,
                "chat": {"id": 1001, "type": "private"},
                "from": {"id": 1001, "is_bot": false, "first_name": "Alice"},
                "text": "Hello",
            },
        }),
        Provider::StandardWebhooks => json!({
            "timestamp": time(now),
            "data": {"id": "1001"},
        }),
        Provider::Generic => json!({"data": {"id": "1001"}}),
    }
}

/// RFC 3339 with milliseconds, as most senders write it.
fn time(now: Timestamp) -> String {
    format!("{now:.3}")
}

/// TG-Staff's four events.
fn tg_staff(r#type: &str, now: Timestamp) -> Json {
    let mut body = json!({
        "timestamp": time(now),
        "project_id": "p-1",
    });
    let details = match r#type {
        "message.received" => json!({
            "conversation_id": "c-1001",
            "message_id": "m-1",
            "user_id": "777000",
            "username": "alice",
            "sender_type": "user",
            "text": "Is my order on its way?",
        }),
        "conversation.status_changed" => json!({
            "conversation_id": "c-1001",
            "user_id": "777000",
            "username": "alice",
            "sender_type": "system",
            "status": "closed",
        }),
        "agent.status_changed" => json!({
            "agent_id": "a-7",
            "agent_name": "Bob",
            "sender_type": "system",
            "status": "offline",
        }),
        "conversation.created" => json!({
            "conversation_id": "c-1001",
            "conversation_url": "https://app.tg-staff.example/conversations/c-1001",
            "user_id": "777000",
            "username": "alice",
            "first_message": "Hello, where is my order?",
            "referrer": "spring-campaign",
        }),
        _ => json!({}),
    };
    if let (Some(body), Json::Object(details)) = (body.as_object_mut(), details) {
        body.extend(details);
    }
    body
}

/// `a.b` and `/a/b` alike.
fn steps(path: &str) -> Vec<String> {
    match path.strip_prefix('/') {
        Some(pointer) => pointer
            .split('/')
            .map(|step| step.replace("~1", "/").replace("~0", "~"))
            .collect(),
        None => path.split('.').map(ToOwned::to_owned).collect(),
    }
}

/// Sets a value, making the objects on the way. What was no object or list becomes an object.
fn set(target: &mut Json, steps: &[String], value: Json) {
    let Some((step, rest)) = steps.split_first() else {
        *target = value;
        return;
    };
    if let Json::Array(items) = target
        && let Some(item) = step
            .parse::<usize>()
            .ok()
            .and_then(|index| items.get_mut(index))
    {
        set(item, rest, value);
        return;
    }
    if !target.is_object() {
        *target = Json::Object(Map::new());
    }
    if let Some(object) = target.as_object_mut() {
        set(object.entry(step).or_insert(Json::Null), rest, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointer(pointer: &str) -> FieldSource {
        FieldSource::Pointer(pointer.to_owned())
    }

    #[test]
    fn attributes_are_where_the_subscription_looks_for_them() {
        let fields = Fields {
            r#type: Some(pointer("/meta/kind")),
            id: Some(FieldSource::Header("X-Event-Id".into())),
            time: Some(pointer("/meta/at")),
            subject: None,
            sender: None,
        };
        let event = event(&Wanted {
            provider: Provider::Generic,
            r#type: Some("order.paid"),
            id: "e-1",
            now: Timestamp::UNIX_EPOCH,
            fields: &fields,
            data: &[
                ("data.id".into(), json!(7)),
                ("/meta/tags".into(), json!(["a"])),
            ],
        });
        assert_eq!(event.headers, [("X-Event-Id".into(), "e-1".into())]);
        assert_eq!(
            event.body,
            json!({
                "data": {"id": 7},
                "meta": {"kind": "order.paid", "at": "1970-01-01T00:00:00.000Z", "tags": ["a"]},
            })
        );
    }

    #[test]
    fn a_number_stays_a_number_and_a_list_a_list() {
        let mut event = Event {
            r#type: String::new(),
            body: json!({"update_id": 0, "items": [{"a": 1}]}),
            headers: Vec::new(),
        };
        event.put(Some(&pointer("/update_id")), "12");
        set(&mut event.body, &steps("items.0.a"), json!(2));
        assert_eq!(event.body, json!({"update_id": 12, "items": [{"a": 2}]}));
    }
}
