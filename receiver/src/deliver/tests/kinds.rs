//! What requests of the named kinds look like on the wire, and what follows from their answers.

use std::time::Duration;

use bytes::Bytes;

use hookswitch_crds::secret::SecretBytes;
use hookswitch_crds::snapshot::{
    Auth, Credential, Destination, DestinationKind, Grant, OAuth, OnAmbiguous, RateLimit,
    ResolvedSecret,
};
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::bench::{AT_ONCE, Bench, Seen, answer, destination, http, no_answer};
use super::settings;
use crate::deliver::kind::reason;
use crate::plan::{DeadReason, FrozenBody, FrozenRequest};
use crate::store::DeliveryState;

fn secret(value: &str) -> ResolvedSecret {
    ResolvedSecret {
        reference: "vendor/secret".to_owned(),
        value: Some(SecretBytes::new(value.as_bytes().to_vec())),
    }
}

/// A destination of a kind at a host.
pub(super) fn vendor(kind: DestinationKind, host: &str, path: &str, auth: Auth) -> Destination {
    let mut destination = destination(host, settings());
    destination.kind = kind;
    http(&mut destination).url = format!("https://{host}{path}");
    http(&mut destination).auth = auth;
    destination
}

/// What the operator's templates render to.
pub(in crate::deliver) fn request(
    kind: DestinationKind,
    address: Option<&str>,
    body: &str,
) -> FrozenRequest {
    FrozenRequest {
        kind,
        method: "POST".to_owned(),
        content_type: "application/json".to_owned(),
        cloud_event_headers: false,
        address: address.map(str::to_owned),
        hidden: crate::redact::Hidden::default(),
        body: FrozenBody::Rendered(Bytes::from(body.to_owned())),
    }
}

fn is_delivered(state: DeliveryState) -> bool {
    state == DeliveryState::Delivered
}

#[tokio::test(start_paused = true)]
async fn r54_zendesk_is_called_with_the_agents_token_and_the_deliverys_key() {
    let auth = Auth::Basic {
        username: Credential::Literal("bot@acme.example/token".to_owned()),
        password: Credential::Secret(secret("planted\n")),
    };
    let kind = DestinationKind::Zendesk;
    let mut bench = Bench::new(vec![vendor(
        kind,
        "acme.zendesk.com",
        "/api/v2/tickets",
        auth,
    )]);
    bench.script.on("acme.zendesk.com", |nth| match nth {
        0 => (AT_ONCE, answer(503, &[], "")),
        _ => (AT_ONCE, answer(201, &[], r#"{"ticket":{"id":1}}"#)),
    });
    let body = r#"{"ticket":{"subject":"Hi"}}"#;
    let id = bench.plan_request("acme.zendesk.com", request(kind, None, body));
    bench.until(id, is_delivered).await;
    let seen = bench.script.seen("acme.zendesk.com");
    assert_eq!(seen.len(), 2);
    for seen in seen {
        // printf 'bot@acme.example/token:planted' | base64
        assert_eq!(
            seen.header("authorization"),
            Some("Basic Ym90QGFjbWUuZXhhbXBsZS90b2tlbjpwbGFudGVk")
        );
        assert_eq!(seen.header("idempotency-key"), Some(&*id.to_string()));
        assert_eq!(seen.request.body, body);
    }
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn r57_a_token_in_the_url_shows_in_nothing_that_is_kept() {
    let kind = DestinationKind::Telegram;
    let auth = Auth::Path(secret("123:planted"));
    let host = "api.telegram.org";
    let mut bench = Bench::new(vec![vendor(kind, host, "/bot{secret}/sendMessage", auth)]);
    bench.script.on(host, |_| {
        let body = r#"{"ok":false,"error_code":403,"description":"bot123:planted was blocked"}"#;
        (AT_ONCE, answer(403, &[], body))
    });
    let id = bench.plan_request(host, request(kind, None, r#"{"chat_id":1,"text":"Hi"}"#));
    bench
        .until(id, |state| {
            state == DeliveryState::Dead(DeadReason::Refused)
        })
        .await;
    let seen = bench.script.seen(host);
    assert_eq!(seen[0].request.url.path(), "/bot123:planted/sendMessage");
    assert_eq!(seen[0].header("idempotency-key"), None);
    let row = bench.store.row(id);
    let excerpt = row.finishes[0].answer.as_ref().unwrap().excerpt.clone();
    assert_eq!(
        excerpt.unwrap(),
        r#"{"ok":false,"error_code":403,"description":"bot[redacted] was blocked"}"#
    );
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn r54_slack_says_in_a_200_that_it_took_nothing() {
    let kind = DestinationKind::Slack;
    let to = vendor(kind, "slack.com", "/api/chat.postMessage", Auth::None);
    let mut bench = Bench::new(vec![to]);
    bench.script.on("slack.com", |nth| match nth {
        0 => (
            AT_ONCE,
            answer(200, &[], r#"{"ok":false,"error":"service_unavailable"}"#),
        ),
        1 => (AT_ONCE, answer(200, &[], r#"{"ok":true}"#)),
        _ => (
            AT_ONCE,
            answer(200, &[], r#"{"ok":false,"error":"channel_not_found"}"#),
        ),
    });
    let body = r##"{"channel":"#a","text":"Hi"}"##;
    let first = bench.plan_request("slack.com", request(kind, None, body));
    bench.until(first, is_delivered).await;
    let second = bench.plan_request("slack.com", request(kind, None, body));
    bench
        .until(second, |state| {
            state == DeliveryState::Dead(DeadReason::Refused)
        })
        .await;
    assert_eq!(bench.script.seen("slack.com").len(), 3);
    bench.stop().await;
}

fn body(seen: &Seen) -> Json {
    serde_json::from_slice(&seen.request.body).unwrap()
}

fn salesforce() -> Destination {
    let host = "acme.my.salesforce.com";
    let oauth = OAuth {
        token_url: format!("https://{host}/services/oauth2/token"),
        grant: Grant::ClientCredentials {
            client_id: secret("key"),
            client_secret: secret("planted&secret"),
        },
    };
    vendor(
        DestinationKind::Salesforce,
        host,
        "/services/data/v66.0/sobjects/Lead/Id__c",
        Auth::OAuth(Box::new(oauth)),
    )
}

#[tokio::test(start_paused = true)]
async fn r54_a_token_of_salesforce_is_got_once_and_anew_on_401() {
    let mut bench = Bench::new(vec![salesforce()]);
    let host = "acme.my.salesforce.com";
    bench.script.on(host, |nth| {
        let token = |token: &str| answer(200, &[], &format!(r#"{{"access_token":"{token}"}}"#));
        let reply = match nth {
            0 => token("one"),
            1 | 2 => answer(204, &[], ""),
            3 => answer(401, &[], r#"[{"errorCode":"INVALID_SESSION_ID"}]"#),
            4 => token("two"),
            _ => answer(201, &[], r#"{"by":"two"}"#),
        };
        (AT_ONCE, reply)
    });
    let kind = DestinationKind::Salesforce;
    for _ in 0..3 {
        let request = FrozenRequest {
            method: "PATCH".to_owned(),
            ..request(kind, Some("777/000"), r#"{"LastName":"a"}"#)
        };
        let id = bench.plan_request(host, request);
        bench.until(id, is_delivered).await;
    }
    let seen = bench.script.seen(host);
    let calls: Vec<_> = seen
        .iter()
        .map(|it| (it.request.url.path(), it.header("authorization")))
        .collect();
    let token = ("/services/oauth2/token", None);
    let lead = |bearer| {
        let path = "/services/data/v66.0/sobjects/Lead/Id__c/777%2F000";
        (path, Some(bearer))
    };
    assert_eq!(
        calls,
        [
            token,
            lead("Bearer one"),
            lead("Bearer one"),
            lead("Bearer one"),
            token,
            lead("Bearer two"),
        ]
    );
    assert_eq!(
        seen[0].request.body,
        "grant_type=client_credentials&client_id=key&client_secret=planted%26secret"
    );
    let last = bench.store.row(Uuid::from_u128(3)).finishes.remove(0);
    assert_eq!(
        last.answer.unwrap().excerpt.unwrap(),
        r#"{"by":"[redacted]"}"#
    );
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_token_deliveries_wait_and_none_is_lost() {
    let mut bench = Bench::new(vec![salesforce()]);
    let host = "acme.my.salesforce.com";
    bench.script.on(host, |nth| match nth {
        0 => (AT_ONCE, answer(400, &[], r#"{"error":"invalid_client"}"#)),
        1 => (AT_ONCE, answer(200, &[], r#"{"access_token":"one"}"#)),
        _ => (AT_ONCE, answer(201, &[], "{}")),
    });
    let request = request(DestinationKind::Salesforce, Some("7"), "{}");
    let id = bench.plan_request(host, request);
    bench.until(id, is_delivered).await;
    let row = bench.store.row(id);
    let first = row.finishes[0].answer.as_ref().unwrap();
    assert_eq!(first.reason, reason::TOKEN);
    assert_eq!(
        first.excerpt.as_deref(),
        Some("no token: 400 invalid_client")
    );
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn r54_freshdesk_is_asked_for_the_ticket_before_it_is_made_again() {
    for (is_there, made) in [(true, 1), (false, 2)] {
        let auth = Auth::Basic {
            username: Credential::Secret(secret("planted")),
            password: Credential::Literal("X".to_owned()),
        };
        let kind = DestinationKind::Freshdesk;
        let host = "acme.freshdesk.com";
        let mut to = vendor(kind, host, "/api/v2/tickets", auth);
        to.delivery.on_ambiguous = OnAmbiguous::Search;
        let mut bench = Bench::new(vec![to]);
        let tag = format!(
            "hookswitch-{}",
            &Uuid::from_u128(1).simple().to_string()[..21]
        );
        let listed = if is_there {
            json!([{"id": 1, "tags": [tag]}]).to_string()
        } else {
            "[]".to_owned()
        };
        bench.script.on(host, move |nth| match nth {
            0 => (AT_ONCE, no_answer(reason::TIMEOUT)),
            1 => (AT_ONCE, answer(200, &[], &listed)),
            _ => (AT_ONCE, answer(201, &[], "{}")),
        });
        let id = bench.plan_request(host, request(kind, None, r#"{"subject":"Hi"}"#));
        bench.until(id, is_delivered).await;
        let seen = bench.script.seen(host);
        let posts: Vec<_> = seen
            .iter()
            .filter(|it| it.request.method == "POST")
            .collect();
        assert_eq!(posts.len(), made);
        let tags = json!({"subject": "Hi", "tags": [format!("hookswitch-{}", &id.simple().to_string()[..21])]});
        assert!(posts.iter().all(|post| body(post) == tags));
        assert_eq!(seen[1].request.method, "GET");
        assert!(seen[1].request.body.is_empty());
        bench.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn r43_what_is_due_together_goes_together_and_only_what_failed_is_dead() {
    let kind = DestinationKind::Mixpanel;
    let host = "api.mixpanel.com";
    let mut bench = Bench::new(vec![vendor(kind, host, "/import?strict=1", Auth::None)]);
    bench.script.on(host, |_| {
        let body = r#"{"code":400,"failed_records":[{"index":1,"field":"properties.time"}]}"#;
        (AT_ONCE, answer(400, &[], body))
    });
    let event = r#"{"event":"a","properties":{"distinct_id":"u"}}"#;
    let ids: Vec<_> = (0..3)
        .map(|_| bench.plan_request(host, request(kind, None, event)))
        .collect();
    bench.pass(Duration::from_secs(1)).await;
    let seen = bench.script.seen(host);
    assert_eq!(seen.len(), 1);
    let sent = body(&seen[0]);
    let keys: Vec<_> = sent
        .as_array()
        .unwrap()
        .iter()
        .map(|event| {
            event["properties"]["$insert_id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(keys, ids.iter().map(Uuid::to_string).collect::<Vec<_>>());
    let states: Vec<_> = ids.iter().map(|id| bench.store.row(*id).state).collect();
    assert_eq!(
        states,
        [
            DeliveryState::Delivered,
            DeliveryState::Dead(DeadReason::Refused),
            DeliveryState::Delivered,
        ]
    );
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_bad_input_takes_no_others_with_it() {
    let kind = DestinationKind::Hubspot;
    let host = "api.hubapi.com";
    let mut bench = Bench::new(vec![vendor(kind, host, "/batch/upsert", Auth::None)]);
    // All of them at first; then each alone, and the second is bad.
    bench.script.on(host, |nth| match nth {
        0 | 2 => (
            AT_ONCE,
            answer(400, &[], r#"{"category":"VALIDATION_ERROR"}"#),
        ),
        _ => (
            AT_ONCE,
            answer(200, &[], r#"{"status":"COMPLETE","results":[{}]}"#),
        ),
    });
    let ids: Vec<_> = (0..3)
        .map(|_| bench.plan_request(host, request(kind, None, r#"{"properties":{}}"#)))
        .collect();
    bench.pass(Duration::from_secs(1)).await;
    let seen = bench.script.seen(host);
    let sizes: Vec<_> = seen
        .iter()
        .map(|seen| body(seen)["inputs"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [3, 1, 1, 1]);
    let dead = |state| state == DeliveryState::Dead(DeadReason::Refused);
    assert_eq!(bench.store.count(dead), 1);
    assert_eq!(bench.store.count(is_delivered), 2);
    let row = bench.store.row(ids[0]);
    let first = row.finishes[0].answer.as_ref().unwrap();
    assert_eq!(first.reason, reason::BATCH_REFUSED);
    bench.stop().await;
}

#[tokio::test(start_paused = true)]
async fn r47_beyond_dingtalks_limit_messages_are_gathered_and_never_lost() {
    let kind = DestinationKind::Dingtalk;
    let host = "oapi.dingtalk.com";
    let auth = Auth::SignedQuery {
        token: secret("planted"),
        signing_secret: Some(secret("SEC")),
    };
    let mut to = vendor(kind, host, "/robot/send", auth);
    to.delivery.rate_limit = Some(RateLimit {
        per_second: 0.25,
        burst: 3,
    });
    let mut bench = Bench::new(vec![to]);
    bench
        .script
        .on(host, |_| (AT_ONCE, answer(200, &[], r#"{"errcode":0}"#)));
    for number in 0..10 {
        let text = format!(r#"{{"msgtype":"text","text":{{"content":"alert {number}"}}}}"#);
        bench.plan_request(host, request(kind, None, &text));
    }
    bench.pass(Duration::from_secs(30)).await;
    assert_eq!(bench.store.count(is_delivered), 10);
    let seen = bench.script.seen(host);
    assert!(seen.len() <= 4, "{} messages", seen.len());
    let all: String = seen
        .iter()
        .map(|seen| body(seen)["text"]["content"].as_str().unwrap().to_owned())
        .collect::<Vec<_>>()
        .join("\n\n");
    let want: Vec<_> = (0..10).map(|number| format!("alert {number}")).collect();
    assert_eq!(all, want.join("\n\n"));
    for seen in seen {
        let query = seen.request.url.query().unwrap();
        assert!(
            query.starts_with("access_token=planted&timestamp="),
            "{query}"
        );
        assert!(body(&seen)["msgUuid"].is_string());
    }
    bench.stop().await;
}
