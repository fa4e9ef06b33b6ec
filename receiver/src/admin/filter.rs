//! Filters, as they are written by people and scripts, and as the store takes them.

use hookswitch_crds::duration::Duration;
use hookswitch_crds::key::ObjectKey;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Error;
use crate::config::Config;
use crate::plan::Outcome;
use crate::store::archive::{DeadQuery, EventQuery, Stage, Unnamed, VerdictQuery};

/// Which events. What is left out matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EventFilter {
    /// `namespace/name`, or a name that is there once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// The sender's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The event type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// The ordering key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// A route that was asked, as `namespace/name`, or a name that is there once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// A rule that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What was decided, such as `fired` or `when_false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// `pending`, `delivered` or `dead`: it has a delivery that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Accepted then or later: a time, or how long ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Accepted before then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// Which dead letters. What is left out matches all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DeadFilter {
    /// Idempotency keys, with commas between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<String>,
    /// Where the event came in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription: Option<String>,
    /// The event, by our uid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Uuid>,
    /// The event type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// The route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// The rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Why, such as `refused` or `gave_up`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Given up then or later: a time, or how long ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Given up before then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

impl EventFilter {
    pub(super) fn query(&self, config: &Config, now: Timestamp) -> Result<EventQuery, Error> {
        let Self {
            subscription,
            id,
            r#type,
            subject,
            route,
            rule,
            verdict,
            state,
            since,
            until,
        } = self;
        Ok(EventQuery {
            subscription: subscription_key(config, subscription.as_deref())?,
            id: id.clone(),
            r#type: r#type.clone(),
            subject: subject.clone(),
            since: time("since", since.as_deref(), now)?,
            until: time("until", until.as_deref(), now)?,
            verdict: verdicts(
                config,
                route_key(config, route.as_deref())?,
                rule.clone(),
                label("verdict", verdict.as_deref())?,
            ),
            state: state.as_deref().map(stage).transpose()?,
        })
    }
}

impl DeadFilter {
    pub(super) fn query(&self, config: &Config, now: Timestamp) -> Result<DeadQuery, Error> {
        let Self {
            ids,
            subscription,
            event,
            r#type,
            route,
            destination,
            rule,
            reason,
            since,
            until,
        } = self;
        let ids = ids.as_deref().map(|ids| {
            ids.split(',')
                .map(|id| {
                    id.trim()
                        .parse()
                        .map_err(|_| Error::Question(format!("`{id}` is not a dead letter's id")))
                })
                .collect()
        });
        Ok(DeadQuery {
            ids: ids.transpose()?,
            subscription: subscription_key(config, subscription.as_deref())?,
            event: *event,
            r#type: r#type.clone(),
            route: route_key(config, route.as_deref())?,
            destination: destination.clone(),
            rule: rule.clone(),
            reason: label("reason", reason.as_deref())?,
            since: time("since", since.as_deref(), now)?,
            until: time("until", until.as_deref(), now)?,
        })
    }
}

/// With the rules that plans know nothing of where they do not name the type: as they are in use now.
fn verdicts(
    config: &Config,
    route: Option<ObjectKey>,
    rule: Option<String>,
    outcome: Option<Outcome>,
) -> VerdictQuery {
    let wanted = outcome == Some(Outcome::TypeNotMatched);
    let routes = config.routes.values().filter(|it| {
        wanted
            && route
                .as_ref()
                .is_none_or(|route| *route == it.spec.origin.key)
    });
    let unnamed = routes
        .flat_map(|route| route.rules.iter().map(move |it| (route, it)))
        .filter(|(_, it)| !it.types.is_empty() && rule.as_ref().is_none_or(|rule| *rule == it.name))
        .map(|(route, it)| Unnamed {
            subscriptions: route.spec.subscriptions.clone(),
            types: it.types.clone(),
            since: route.spec.origin.since,
        });
    VerdictQuery {
        unnamed: unnamed.collect(),
        route,
        rule,
        outcome,
    }
}

pub(super) fn subscription_key(
    config: &Config,
    name: Option<&str>,
) -> Result<Option<ObjectKey>, Error> {
    name.map(|name| key("subscription", name, config.subscriptions.keys()))
        .transpose()
}

fn route_key(config: &Config, name: Option<&str>) -> Result<Option<ObjectKey>, Error> {
    name.map(|name| key("route", name, config.routes.keys()))
        .transpose()
}

/// `namespace/name`, or the one object of that name.
fn key<'a>(
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'a ObjectKey>,
) -> Result<ObjectKey, Error> {
    if let Some((namespace, name)) = name.split_once('/') {
        return Ok(ObjectKey::new(namespace, name));
    }
    let mut found: Vec<&ObjectKey> = known.filter(|key| key.name == name).collect();
    found.sort();
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(Error::Question(format!(
            "there is no {what} `{name}`; of one that is gone write namespace/name"
        ))),
        several => {
            let names: Vec<String> = several.iter().map(ToString::to_string).collect();
            Err(Error::Question(format!(
                "which {what} `{name}`? There are {}",
                names.join(", ")
            )))
        }
    }
}

/// A variant by its label: `when_false` is `WhenFalse`.
fn label<T: DeserializeOwned>(what: &str, text: Option<&str>) -> Result<Option<T>, Error> {
    let Some(text) = text else {
        return Ok(None);
    };
    let mut name = String::new();
    for word in text.split('_') {
        let mut letters = word.chars();
        name.extend(letters.next().into_iter().flat_map(char::to_uppercase));
        name.push_str(letters.as_str());
    }
    serde_json::from_value(name.into())
        .map(Some)
        .map_err(|_| Error::Question(format!("{what}: there is no `{text}`")))
}

fn stage(text: &str) -> Result<Stage, Error> {
    match text {
        "pending" => Ok(Stage::Pending),
        "delivered" => Ok(Stage::Delivered),
        "dead" => Ok(Stage::Dead),
        other => Err(Error::Question(format!(
            "state: `{other}` is none of pending, delivered and dead"
        ))),
    }
}

/// A time, or how long ago it was.
fn time(what: &str, text: Option<&str>, now: Timestamp) -> Result<Option<Timestamp>, Error> {
    let Some(text) = text else {
        return Ok(None);
    };
    let ago = |ago: Duration| now.checked_sub(ago.to_std()).ok();
    text.parse()
        .ok()
        .or_else(|| text.parse().ok().and_then(ago))
        .map(Some)
        .ok_or_else(|| {
            Error::Question(format!(
                "{what}: `{text}` is neither a time such as 2026-01-31T08:00:00Z nor a duration such as 90m"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::DeadReason;

    #[test]
    fn labels_are_those_of_the_metrics() {
        for outcome in [
            Outcome::Fired,
            Outcome::TypeNotMatched,
            Outcome::WhenFalse,
            Outcome::MissingField,
            Outcome::Error,
        ] {
            let read: Option<Outcome> = label("verdict", Some(outcome.label())).ok().flatten();
            assert_eq!(read, Some(outcome));
        }
        for reason in [
            DeadReason::Refused,
            DeadReason::GaveUp,
            DeadReason::DestinationRemoved,
            DeadReason::LoopHops,
        ] {
            let read: Option<DeadReason> = label("reason", Some(reason.label())).ok().flatten();
            assert_eq!(read, Some(reason));
        }
        assert!(label::<Outcome>("verdict", Some("nonsense")).is_err());
    }

    #[test]
    fn a_time_may_be_so_long_ago() {
        let now: Timestamp = "2026-01-31T08:00:00Z".parse().unwrap();
        let read = |text| {
            time("since", Some(text), now)
                .ok()
                .flatten()
                .map(|it| it.to_string())
        };
        assert_eq!(read("1h30m").as_deref(), Some("2026-01-31T06:30:00Z"));
        assert_eq!(
            read("2026-01-01T00:00:00Z").as_deref(),
            Some("2026-01-01T00:00:00Z")
        );
        assert!(time("since", Some("yesterday"), now).is_err());
    }
}
