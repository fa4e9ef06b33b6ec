//! What stands in the statuses of objects, as it is kept of all of them: small, and what others write left out.

use hookswitch_crds::condition::{self, ACCEPTED, PROGRAMMED, RESOLVED_REFS};
use hookswitch_crds::event_route::{EventRouteStatus, RouteParentStatus, SubscriptionRef};
use hookswitch_crds::subscription::WebhookSubscriptionStatus;
use jiff::Timestamp;

/// The conditions that the operator writes, in their order.
pub const TYPES: [&str; 3] = [ACCEPTED, RESOLVED_REFS, PROGRAMMED];

/// In the status of a subscription.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    /// The generation that it is about.
    pub observed_generation: Option<i64>,
    /// The generation that is served.
    pub serving_generation: Option<i64>,
    /// Where senders reach it.
    pub url: Option<Box<str>>,
    /// How many routes are attached.
    pub attached_routes: Option<i32>,
    /// Its conditions.
    pub conditions: Conditions,
}

/// In the status of a route.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// The generation that it is about.
    pub observed_generation: Option<i64>,
    /// The generation that is served.
    pub serving_generation: Option<i64>,
    /// Its subscriptions.
    pub parents: Box<[Parent]>,
    /// Its conditions over all of them.
    pub conditions: Conditions,
}

/// In a route's status, of one subscription.
#[derive(Debug, PartialEq, Eq)]
pub struct Parent {
    /// The subscription's name.
    pub name: Box<str>,
    /// Its namespace, where that is written.
    pub namespace: Option<Box<str>>,
    /// The conditions there.
    pub conditions: Conditions,
}

/// The conditions of an object, those that stand there: of each of [`TYPES`] one.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Conditions([Option<Condition>; TYPES.len()]);

/// A condition.
#[derive(Debug, PartialEq, Eq)]
pub struct Condition {
    /// `None` where it is not known.
    pub status: Option<bool>,
    /// One word.
    pub reason: Box<str>,
    /// For people.
    pub message: Box<str>,
    /// The generation that it is about.
    pub observed_generation: Option<i64>,
    /// Since when its status is what it is.
    pub last_transition_time: Timestamp,
}

impl Conditions {
    /// The conditions of [`TYPES`], in that order.
    pub fn iter(&self) -> impl Iterator<Item = Option<&Condition>> {
        self.0.iter().map(Option::as_ref)
    }

    /// Whether they say that every receiver serves the object.
    #[must_use]
    pub fn are_programmed(&self) -> bool {
        let [.., programmed] = &self.0;
        programmed
            .as_ref()
            .is_some_and(|it| it.status == Some(true))
    }
}

impl From<WebhookSubscriptionStatus> for Subscription {
    fn from(status: WebhookSubscriptionStatus) -> Self {
        let WebhookSubscriptionStatus {
            observed_generation,
            serving_generation,
            url,
            attached_routes,
            conditions,
        } = status;
        Self {
            observed_generation,
            serving_generation,
            url: url.map(String::into_boxed_str),
            attached_routes,
            conditions: conditions.into(),
        }
    }
}

impl From<EventRouteStatus> for Route {
    fn from(status: EventRouteStatus) -> Self {
        let EventRouteStatus {
            observed_generation,
            serving_generation,
            parents,
            conditions,
        } = status;
        Self {
            observed_generation,
            serving_generation,
            parents: parents.into_iter().map(Parent::from).collect(),
            conditions: conditions.into(),
        }
    }
}

impl From<RouteParentStatus> for Parent {
    fn from(status: RouteParentStatus) -> Self {
        let RouteParentStatus {
            subscription_ref: SubscriptionRef { name, namespace },
            conditions,
        } = status;
        Self {
            name: name.into_boxed_str(),
            namespace: namespace.map(String::into_boxed_str),
            conditions: conditions.into(),
        }
    }
}

impl From<Vec<condition::Condition>> for Conditions {
    fn from(conditions: Vec<condition::Condition>) -> Self {
        let mut own = Self::default();
        for condition in conditions {
            let place = TYPES.iter().zip(&mut own.0);
            let mut place = place.filter(|(type_, _)| **type_ == condition.type_);
            if let Some((_, place)) = place.next() {
                *place = Some(condition.into());
            }
        }
        own
    }
}

impl From<condition::Condition> for Condition {
    fn from(condition: condition::Condition) -> Self {
        let condition::Condition {
            type_: _,
            status,
            reason,
            message,
            observed_generation,
            last_transition_time,
        } = condition;
        Self {
            status: match status.as_str() {
                condition::status::TRUE => Some(true),
                condition::status::FALSE => Some(false),
                _ => None,
            },
            reason: reason.into_boxed_str(),
            message: message.into_boxed_str(),
            observed_generation,
            last_transition_time: last_transition_time.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn condition(type_: &str, status: &str) -> serde_json::Value {
        json!({
            "type": type_, "status": status, "reason": "Word", "message": "", "observedGeneration": 3,
            "lastTransitionTime": "2026-01-05T10:00:00Z",
        })
    }

    fn conditions(written: &[serde_json::Value]) -> Conditions {
        let status = json!({"conditions": written});
        let status: WebhookSubscriptionStatus = serde_json::from_value(status).unwrap();
        Subscription::from(status).conditions
    }

    #[test]
    fn conditions_of_others_and_their_order_make_no_difference() {
        let (accepted, programmed) = (condition(ACCEPTED, "True"), condition(PROGRAMMED, "False"));
        let own = conditions(&[accepted.clone(), programmed.clone()]);
        let all = conditions(&[programmed, condition("Theirs", "True"), accepted]);
        assert_eq!(own, all);
        let kept: Vec<Option<Option<bool>>> = own.iter().map(|it| Some(it?.status)).collect();
        assert_eq!(kept, [Some(Some(true)), None, Some(Some(false))]);
        assert!(!own.are_programmed());
    }

    #[test]
    fn only_true_is_programmed() {
        for (status, programmed) in [("True", true), ("False", false), ("Unknown", false)] {
            let own = conditions(&[condition(PROGRAMMED, status)]);
            assert_eq!(own.are_programmed(), programmed, "{status}");
        }
        assert!(!Conditions::default().are_programmed());
    }
}
