//! What is signed here is what the receiver verifies, for every provider; and published vectors.

use axum::http::request::Parts;
use bytes::Bytes;
use hookswitch_crds::snapshot::{ResolvedSecret, Subscription};
use hookswitch_crds::subscription::Provider;
use hookswitch_receiver::verify::{self, Verifier};

use super::*;
use crate::project::Project;
use crate::provider;

const URL: &str = "https://hooks.example.com/default/a?x=1";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A provider's subscription, as the compiler resolves it.
fn subscription(provider: Provider, hmac: &str) -> Subscription {
    let text = format!(
        "apiVersion: hookswitch.dev/v1alpha1\n\
         kind: WebhookSubscription\n\
         metadata: {{name: a}}\n\
         spec:\n  provider: {}\n  verification:\n    hmac: {{{hmac}secretRefs: [{{name: a, key: key}}]}}\n\
         ---\n\
         apiVersion: v1\nkind: Secret\nmetadata: {{name: a}}\nstringData: {{key: {SECRET}}}\n",
        provider::name(provider),
    );
    let compiled = Project::of_text(text).compile();
    let subscription = compiled.snapshot.subscriptions.into_iter().next();
    let subscription = subscription.unwrap_or_else(|| panic!("{:?}", compiled.problems));
    std::sync::Arc::unwrap_or_clone(subscription)
}

fn request<'a>(body: &'a [u8], now: &str) -> Request<'a> {
    Request {
        method: "POST",
        url: URL,
        body,
        id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
        now: now.parse().unwrap(),
    }
}

fn head(headers: &[(String, String)]) -> Parts {
    let mut request = axum::http::Request::post("/default/a?x=1");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body(()).unwrap().into_parts().0
}

fn check(
    subscription: &Subscription,
    headers: &[(String, String)],
    body: &'static [u8],
    now: Timestamp,
) -> Result<(), verify::Error> {
    let source = "192.0.2.1".parse().unwrap();
    verify::Request::new(head(headers), Bytes::from_static(body), source)
        .verify(&Verifier::new(&subscription.verification), now)
        .map(|_| ())
        .map_err(|refused| refused.error)
}

#[test]
fn r10_the_receiver_verifies_what_is_signed_here_for_every_provider() {
    let body = b"{\"type\":\"a\"}";
    for (provider, hmac) in [
        (Provider::TGStaff, ""),
        (Provider::TGStaff, "algorithm: SHA512, "),
        (Provider::TGStaff, "encoding: Base64, prefix: sha256=, "),
        (Provider::StandardWebhooks, ""),
        (Provider::GitHub, ""),
        (Provider::Stripe, ""),
        (Provider::Slack, ""),
        (Provider::Shopify, ""),
        (Provider::Zendesk, ""),
        (Provider::HubSpot, "publicUrl: https://hooks.example.com, "),
        (Provider::Intercom, ""),
        (Provider::Generic, "header: X-Signature, "),
    ] {
        let subscription = subscription(provider, hmac);
        let scheme = subscription.verification.hmac.as_ref().unwrap();
        let secret = scheme.secrets[0].usable().unwrap();
        let request = request(body, "2026-01-02T03:04:05.678Z");
        let headers = headers(scheme, secret, &request).unwrap();
        let name = format!("{provider:?} {hmac}");
        assert_eq!(
            check(&subscription, &headers, body, request.now),
            Ok(()),
            "{name}"
        );
        let forged = check(&subscription, &headers, b"{\"type\":\"b\"}", request.now);
        assert!(
            matches!(forged, Err(verify::Error::SignatureMismatch(_))),
            "{name}: {forged:?}"
        );
    }
}

#[test]
fn published_vectors() {
    // https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    let github = subscription(Provider::GitHub, "")
        .verification
        .hmac
        .unwrap();
    let secret = SecretBytes::new(b"It's a Secret to Everybody".to_vec());
    let headers_of = |scheme: &Hmac, secret: &SecretBytes, body: &[u8], now: &str| {
        headers(scheme, secret, &request(body, now)).unwrap()
    };
    assert_eq!(
        headers_of(&github, &secret, b"Hello, World!", "2026-01-01T00:00:00Z")[0].1,
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    );
    // https://github.com/standard-webhooks/standard-webhooks, the libraries' tests
    let standard = subscription(Provider::StandardWebhooks, "")
        .verification
        .hmac
        .unwrap();
    let headers = headers_of(
        &standard,
        &SecretBytes::new(SECRET.into()),
        b"{\"test\": 2432232314}",
        "2021-02-25T15:02:10Z",
    );
    assert_eq!(
        headers[0].1,
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    );
    assert!(headers.contains(&("webhook-timestamp".into(), "1614265330".into())));
}

#[test]
fn a_secret_that_can_not_be_used_is_told() {
    let mut scheme = subscription(Provider::StandardWebhooks, "")
        .verification
        .hmac
        .unwrap();
    scheme.secrets = Vec::<ResolvedSecret>::new();
    let request = request(b"", "2026-01-01T00:00:00Z");
    for (secret, error) in [("whsec_!", Error::SecretEncoding), ("", Error::EmptySecret)] {
        let secret = SecretBytes::new(secret.into());
        assert_eq!(headers(&scheme, &secret, &request), Err(error));
    }
}
