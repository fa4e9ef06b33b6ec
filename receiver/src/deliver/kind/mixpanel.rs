//! Mixpanel (<https://developer.mixpanel.com/reference/import-events>): a 400 is a partial success, of which
//! `failed_records` names the rest. An event is the same again by event, time, `distinct_id` and
//! `$insert_id`, for which a delivery's id has the 36 characters that it may have.
//!
//! 429 and 5xx say no delay: backoff from 2 s to 60 s. 413: fewer at once.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use super::{Api, Batch, Class, Gather, Join, Key, Verdict, http_api, reason};
use crate::store::StoredDelivery;

/// `import`: at most 2,000 events and 10 MB, and 2 MB in earlier documentation.
pub(super) const API: Api = Api {
    batch: Some(Batch {
        most: 2000,
        bytes: 2 << 20,
        gather: Gather::Always,
        join: Some(Join {
            fits: |_| true,
            body: Json::Array,
            each,
        }),
    }),
    ..Api::telling(http_api::judge, Key::Body(stamp))
};

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    failed_records: Vec<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    index: Option<usize>,
    #[serde(rename = "insert_id", alias = "$insert_id")]
    insert_id: Option<String>,
}

fn each(answer: &Response<Bytes>, ids: &[Uuid]) -> Option<Vec<Verdict>> {
    if answer.status() != StatusCode::BAD_REQUEST {
        return None;
    }
    let Answer { failed_records } = serde_json::from_slice(answer.body()).ok()?;
    if failed_records.is_empty() {
        return None;
    }
    let places = ids.iter().enumerate();
    let places: HashMap<String, usize> = places.map(|(at, id)| (id.to_string(), at)).collect();
    let place = |failure: &Failure| {
        let named = failure.insert_id.as_deref().and_then(|id| places.get(id));
        let place = named.copied().or(failure.index);
        place.filter(|place| *place < ids.len())
    };
    // Where one fails of which it is not known which that is, none is known to be there.
    let failed: Option<HashSet<usize>> = failed_records.iter().map(place).collect();
    let failed = failed?;
    let verdict = |place| {
        if failed.contains(&place) {
            Verdict::new(Class::Refused, reason::REFUSED)
        } else {
            Verdict::delivered()
        }
    };
    Some((0..ids.len()).map(verdict).collect())
}

/// The event's own time, or when it was accepted: the same with every attempt.
fn stamp(event: &mut Map<String, Json>, delivery: &StoredDelivery) {
    let Some(Json::Object(properties)) = event.get_mut("properties") else {
        return;
    };
    properties.insert("$insert_id".to_owned(), Json::from(delivery.id.to_string()));
    let event = &delivery.event.event;
    let time = event.time.unwrap_or(event.accepted_at).as_millisecond();
    properties.entry("time").or_insert_with(|| Json::from(time));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::answer;
    use super::*;
    use crate::deliver::tests::bench::delivery;

    #[test]
    fn r43_only_the_events_that_mixpanel_names_are_refused() {
        let ids = [1, 2, 3].map(Uuid::from_u128);
        let body = json!({
            "code": 400, "num_records_imported": 1, "status": "Bad Request",
            "failed_records": [
                {"index": 2, "insert_id": ids[0].to_string(), "field": "properties.time", "message": "..."},
                {"index": 1, "field": "event", "message": "..."},
            ],
        });
        let verdicts = each(&answer(400, &body.to_string()), &ids).unwrap();
        let classes: Vec<_> = verdicts.iter().map(|it| it.class).collect();
        assert_eq!(classes, [Class::Refused, Class::Refused, Class::Delivered]);
        // One that is named otherwise is known by its place, and where that is none each goes alone.
        let failing =
            |failure: Json| answer(400, &json!({"failed_records": [failure]}).to_string());
        let verdicts = each(&failing(json!({"index": 0, "insert_id": "other"})), &ids).unwrap();
        let classes: Vec<_> = verdicts.iter().map(|it| it.class).collect();
        assert_eq!(
            classes,
            [Class::Refused, Class::Delivered, Class::Delivered]
        );
        for whole in [
            failing(json!({"insert_id": "other"})),
            failing(json!({"index": 3})),
            failing(json!({})),
            answer(400, "not JSON"),
            answer(200, "{}"),
            answer(413, "{}"),
        ] {
            assert_eq!(each(&whole, &ids), None);
        }
    }

    #[test]
    fn an_event_has_its_own_time_and_the_deliverys_id() {
        let one = delivery(7, "mixpanel", "2026-05-05T00:00:00Z".parse().unwrap());
        let mut event = Map::from_iter([
            ("event".to_owned(), json!("a")),
            ("properties".to_owned(), json!({"distinct_id": "u"})),
        ]);
        stamp(&mut event, &one);
        let properties = &event["properties"];
        let id = properties["$insert_id"].as_str().unwrap();
        assert_eq!((id.len(), id), (36, one.id.to_string().as_str()));
        // When the fixture's event was accepted.
        assert_eq!(properties["time"], 1_767_323_045_000_i64);
        let mut own = Map::from_iter([("properties".to_owned(), json!({"time": 5}))]);
        stamp(&mut own, &one);
        assert_eq!(own["properties"]["time"], 5);
    }
}
