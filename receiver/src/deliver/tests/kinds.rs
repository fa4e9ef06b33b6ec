//! What requests of the named kinds look like on the wire, and what follows from their answers.

use bytes::Bytes;
use hookswitch_crds::secret::SecretBytes;
use hookswitch_crds::snapshot::{Auth, Credential, Destination, DestinationKind, ResolvedSecret};

use super::bench::{AT_ONCE, Bench, answer, destination};
use super::settings;
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
    destination.http.url = format!("https://{host}{path}");
    destination.http.auth = auth;
    destination
}

/// What the operator's templates render to.
pub(super) fn request(kind: DestinationKind, address: Option<&str>, body: &str) -> FrozenRequest {
    FrozenRequest {
        kind,
        method: "POST".to_owned(),
        content_type: "application/json".to_owned(),
        cloud_event_headers: false,
        address: address.map(str::to_owned),
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
