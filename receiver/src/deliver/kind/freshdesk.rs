//! Freshdesk (<https://developers.freshdesk.com/api/#error>): no idempotency key, so a ticket carries the
//! delivery's in a tag, and is looked for by it where an attempt may have taken effect.
//!
//! Tickets are listed, not searched: a search finds a new ticket only minutes later
//! (<https://developers.freshdesk.com/api/#list_all_tickets>, `#filter_tickets`).

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::{Api, Found, Key, Search, Verdict, http_api};
use crate::store::StoredDelivery;

/// A new ticket.
pub(super) const API: Api = Api {
    search: Some(Search { url, found }),
    ..Api::new(judge, Key::Body(stamp))
};

/// Tickets in a page, the most.
const PAGE: usize = 100;

/// Clocks differ.
const EARLIER: Duration = Duration::from_mins(5);

#[derive(Deserialize)]
struct Ticket {
    #[serde(default)]
    tags: Vec<String>,
}

fn judge(answer: &Response<Bytes>, now: Timestamp) -> Verdict {
    http_api::judge(answer, now)
}

/// The tag of a delivery: a tag has 32 characters at most.
fn tag(delivery: &StoredDelivery) -> String {
    let id: String = delivery.id.simple().to_string().chars().take(21).collect();
    format!("hookswitch-{id}")
}

fn stamp(body: &mut Map<String, Json>, delivery: &StoredDelivery) {
    let tags = body
        .entry("tags")
        .or_insert_with(|| Json::Array(Vec::new()));
    if let Json::Array(tags) = tags {
        tags.push(Json::from(tag(delivery)));
    }
}

fn url(tickets: &Url, delivery: &StoredDelivery, page: usize) -> Option<Url> {
    let since = delivery.planned_at.checked_sub(EARLIER).ok()?;
    let mut url = tickets.clone();
    url.query_pairs_mut()
        .append_pair("updated_since", &format!("{since:.0}"))
        .append_pair("order_by", "created_at")
        .append_pair("order_type", "asc")
        .append_pair("per_page", &PAGE.to_string())
        .append_pair("page", &page.to_string());
    Some(url)
}

fn found(answer: &[u8], delivery: &StoredDelivery) -> Option<Found> {
    let tickets: Vec<Ticket> = serde_json::from_slice(answer).ok()?;
    let tag = tag(delivery);
    Some(if tickets.iter().any(|it| it.tags.contains(&tag)) {
        Found::Yes
    } else if tickets.len() < PAGE {
        Found::No
    } else {
        Found::PerhapsBehind
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::deliver::tests::bench::delivery;

    #[test]
    fn r54_a_ticket_is_found_by_the_tag_that_it_was_made_with() {
        let at = "2026-01-02T03:04:05Z".parse().unwrap();
        let one = delivery(7, "desk", at);
        let mut body = Map::from_iter([("tags".to_owned(), json!(["vip"]))]);
        stamp(&mut body, &one);
        let tags = body["tags"].as_array().unwrap();
        assert_eq!(tags.len(), 2);
        assert_eq!(tags[1].as_str().unwrap().len(), 32);
        let listed = json!([{"id": 1, "tags": ["vip"]}, {"id": 2, "tags": tags}]).to_string();
        assert_eq!(found(listed.as_bytes(), &one), Some(Found::Yes));
        assert_eq!(
            found(listed.as_bytes(), &delivery(1 << 80, "desk", at)),
            Some(Found::No)
        );
        assert_eq!(found(b"<html>", &one), None);
        let full = json!(vec![json!({"id": 1}); PAGE]).to_string();
        assert_eq!(found(full.as_bytes(), &one), Some(Found::PerhapsBehind));
        let tickets = "https://acme.freshdesk.com/api/v2/tickets".parse().unwrap();
        let url = url(&tickets, &one, 2).unwrap();
        let query = url.query().unwrap();
        assert!(
            query.starts_with("updated_since=2026-01-02T02%3A59%3A05Z&"),
            "{query}"
        );
        assert!(query.ends_with("per_page=100&page=2"), "{query}");
    }
}
