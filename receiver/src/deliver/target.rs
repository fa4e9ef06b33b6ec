//! A destination made ready: its URL checked, its headers and keys resolved, its client made.
//!
//! Made anew when the destination changes in the configuration, so that each attempt uses the current
//! secrets. What was frozen with the plan (method, content type, body) comes with the delivery.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::future::BoxFuture;
use hookswitch_crds::secret::SecretBytes;
use hookswitch_crds::snapshot::{self, Auth, Credential, ResolvedSecret, SecretEncoding};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use jiff::Timestamp;
use reqwest::{Client, Url};
use zeroize::Zeroizing;

use super::excerpt::Secrets;
use super::kind::{self, Fault, Key, Reply, Verdict, reason};
use super::network::{self, Network};
use super::wire::{Outgoing, Wire};
use super::{cloudevents, sign};
use crate::plan::FrozenBody;
use crate::store::{Answer, StoredDelivery};

pub(super) mod url;

/// What we call ourselves, unless a header of the destination says otherwise.
const USER_AGENT: &str = concat!("hookswitch/", env!("CARGO_PKG_VERSION"));

/// The delivery's id, the same with every attempt
/// (<https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How many Hookswitch receivers an event has passed through, the one that sends included.
const HOPS: HeaderName = HeaderName::from_static("x-hookswitch-hops");

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Headers that frame the message or steer the connection: never a destination's to set.
const FRAMING: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Why nothing is sent to a destination. Its deliveries wait, and use no attempt, until the
/// configuration changes.
#[derive(Debug, thiserror::Error)]
pub(super) enum Held {
    /// A secret is not there.
    #[error("the secret {0} is missing or empty")]
    SecretMissing(String),
    /// A secret can't be a header's value.
    #[error(
        "header {header}: the secret {reference} holds characters that a header can't have, such as a line break"
    )]
    SecretUnusable {
        /// The header.
        header: String,
        /// The secret.
        reference: String,
    },
    /// No signing secret can be used.
    #[error(
        "no signing secret is usable: each must be there, and be whsec_ and base64 ({})", .0.join(", ")
    )]
    SigningSecrets(Vec<String>),
    /// A secret can't be a part of the URL, or be the URL.
    #[error("the secret {0} can't be used in the URL: it is no URL, or no token")]
    SecretInUrl(String),
    /// A header can't be sent.
    #[error("header {0}: the name or the value is not allowed in HTTP")]
    Header(String),
    /// The URL can't be used.
    #[error("the URL is not an absolute http:// or https:// URL")]
    Url,
    /// Plain HTTP without leave.
    #[error("plain http:// needs allowPrivateNetwork: use https://")]
    PlainHttp,
    /// The URL holds an address that may not be reached.
    #[error("the address {0} in the URL is not public, and needs allowPrivateNetwork")]
    Address(IpAddr),
    /// The client can't be made.
    #[error(transparent)]
    Network(#[from] network::Error),
}

/// A destination that can be attempted.
pub(super) struct Target {
    /// As the configuration has it.
    pub(super) spec: Arc<snapshot::Destination>,
    url: Url,
    headers: HeaderMap,
    keys: Vec<SecretBytes>,
    secrets: Secrets,
    client: Client,
    wire: Arc<dyn Wire>,
}

/// What a destination's settings and secrets come to.
struct Resolved {
    url: Url,
    headers: HeaderMap,
    keys: Vec<SecretBytes>,
    secrets: Secrets,
}

impl Resolved {
    fn of(http: &snapshot::Http) -> Result<Self, Held> {
        let mut secrets = Secrets::default();
        let url = url::resolve(http, &mut secrets)?;
        let mut headers = headers(http, &mut secrets)?;
        if let Some(value) = basic(&http.auth, &mut secrets)? {
            headers.insert(header::AUTHORIZATION, value);
        }
        let keys = keys(http, &mut secrets)?;
        Ok(Self {
            url,
            headers,
            keys,
            secrets,
        })
    }
}

/// Why deliveries to a destination wait until the configuration changes, where they do.
pub(super) fn held(destination: &snapshot::Destination) -> Option<Held> {
    Resolved::of(&destination.http).err()
}

/// An attempt that has ended.
#[derive(Debug)]
pub(super) struct Attempted {
    /// What it means.
    pub(super) verdict: Verdict,
    /// What came back.
    pub(super) answer: Answer,
}

impl Target {
    /// Makes a destination ready.
    ///
    /// # Errors
    /// What must change before anything can be sent to it.
    pub(super) fn prepare(
        spec: &Arc<snapshot::Destination>,
        network: &Network,
        wire: &Arc<dyn Wire>,
    ) -> Result<Self, Held> {
        let Resolved {
            url,
            headers,
            keys,
            secrets,
        } = Resolved::of(&spec.http)?;
        let keep_alive = spec.delivery.on_ambiguous == snapshot::OnAmbiguous::Retry;
        Ok(Self {
            spec: Arc::clone(spec),
            url,
            headers,
            keys,
            secrets,
            client: network.client(&spec.http.private_networks, keep_alive)?,
            wire: Arc::clone(wire),
        })
    }

    /// Attempts a delivery. `at` is the time of the signature.
    ///
    /// Cancellation: the request may have left; the attempt is then ambiguous.
    pub(super) fn attempt(
        &self,
        delivery: &StoredDelivery,
        at: Timestamp,
    ) -> Result<BoxFuture<'static, Reply>, Fault> {
        let request = self.request(delivery, at)?;
        let timeout = self.spec.delivery.timeout.to_std();
        Ok(self.wire.send(&self.client, request, timeout))
    }

    /// Judges what an attempt gave.
    pub(super) fn judge(&self, reply: &Reply, now: Timestamp) -> Attempted {
        let verdict = kind::judge(self.spec.kind, reply, now);
        let (status, excerpt) = match reply {
            Reply::Answered { answer, whole } => (
                Some(answer.status().as_u16()),
                self.secrets.excerpt(answer.body(), *whole),
            ),
            Reply::NotSent(fault) | Reply::NoAnswer(fault) => {
                (None, self.secrets.excerpt(fault.detail.as_bytes(), true))
            }
        };
        Attempted {
            verdict,
            answer: Answer {
                status,
                reason: verdict.reason.to_owned(),
                ambiguous: verdict.class == kind::Class::Ambiguous,
                excerpt,
            },
        }
    }

    /// The request of an attempt: what is frozen, under the current headers and signatures.
    fn request(&self, delivery: &StoredDelivery, at: Timestamp) -> Result<Outgoing, Fault> {
        let (event, frozen) = (&delivery.event.event, &delivery.request);
        let body: Bytes = match &frozen.body {
            FrozenBody::Event => event.body.clone(),
            FrozenBody::Rendered(body) => body.clone(),
            FrozenBody::Unrendered(_) => {
                return Err(Fault {
                    reason: reason::INTERNAL,
                    detail: "the body is not rendered yet".to_owned(),
                });
            }
        };
        let id = delivery.id.to_string();
        let mut headers = self.headers.clone();
        let mut set = |name: HeaderName, value: String| {
            let value = HeaderValue::try_from(value).map_err(|_| Fault {
                reason: reason::INTERNAL,
                detail: format!("{name} can't be sent"),
            })?;
            headers.insert(name, value);
            Ok(())
        };
        set(header::CONTENT_TYPE, frozen.content_type.clone())?;
        if kind::api(self.spec.kind).key == Key::Header {
            set(IDEMPOTENCY_KEY, id.clone())?;
        }
        set(HOPS, event.hops.saturating_add(1).to_string())?;
        if !self.keys.is_empty() {
            set(WEBHOOK_ID, id.clone())?;
            set(WEBHOOK_TIMESTAMP, at.as_second().to_string())?;
            let signatures = sign::signatures(&self.keys, &id, at, &body);
            set(WEBHOOK_SIGNATURE, signatures)?;
        }
        if frozen.cloud_event_headers {
            cloudevents::insert(&mut headers, event);
        }
        Ok(Outgoing {
            method: Method::from_bytes(frozen.method.as_bytes()).map_err(|_| Fault {
                reason: reason::INTERNAL,
                detail: "the method is not allowed in HTTP".to_owned(),
            })?,
            url: match &frozen.address {
                Some(address) => url::with_segment(&self.url, address),
                None => self.url.clone(),
            },
            headers,
            body,
        })
    }
}

/// The destination's own headers, with the values of their secrets.
pub(super) fn headers(http: &snapshot::Http, secrets: &mut Secrets) -> Result<HeaderMap, Held> {
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    for snapshot::Header { name, value } in &http.headers {
        let invalid = || Held::Header(name.clone());
        let header = HeaderName::try_from(name).map_err(|_| invalid())?;
        let value = match value {
            snapshot::HeaderValue::Literal(text) => {
                HeaderValue::from_str(text).map_err(|_| invalid())?
            }
            snapshot::HeaderValue::Secret { prefix, secret } => {
                let text = reveal(secret, secrets)?;
                let bytes = [prefix.as_bytes(), text].concat();
                let mut value = HeaderValue::try_from(bytes).map_err(|_| Held::SecretUnusable {
                    header: name.clone(),
                    reference: secret.reference.clone(),
                })?;
                value.set_sensitive(true);
                value
            }
        };
        if FRAMING.contains(&header.as_str()) {
            tracing::warn!(
                header = name,
                "a header that frames the request is not sent"
            );
        } else {
            headers.insert(header, value);
        }
    }
    Ok(headers)
}

/// A secret's value, which answers are cleared of from now on. One made from a file often ends with a
/// line break, which belongs to no token.
fn reveal<'a>(secret: &'a ResolvedSecret, secrets: &mut Secrets) -> Result<&'a [u8], Held> {
    let found = secret
        .usable()
        .ok_or_else(|| Held::SecretMissing(secret.reference.clone()))?;
    secrets.add(found.expose());
    Ok(found.expose().trim_ascii_end())
}

/// The value of `Authorization` in the Basic scheme (RFC 7617), where that is the authentication.
fn basic(auth: &Auth, secrets: &mut Secrets) -> Result<Option<HeaderValue>, Held> {
    let Auth::Basic { username, password } = auth else {
        return Ok(None);
    };
    let mut part = |credential: &Credential| match credential {
        Credential::Literal(text) => Ok(text.as_bytes().to_vec()),
        Credential::Secret(secret) => reveal(secret, secrets).map(<[u8]>::to_vec),
    };
    let pair = Zeroizing::new([part(username)?, part(password)?].join(&b':'));
    let encoded = Zeroizing::new(STANDARD.encode(&*pair));
    secrets.add(encoded.as_bytes());
    let mut value = HeaderValue::try_from(format!("Basic {}", *encoded))
        .map_err(|_| Held::Header("authorization".to_owned()))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// The keys of the signing secrets that can be used: one at least, where there are any.
fn keys(http: &snapshot::Http, secrets: &mut Secrets) -> Result<Vec<SecretBytes>, Held> {
    let mut keys = Vec::new();
    for secret in http.signing_secrets.iter().filter_map(|one| one.usable()) {
        secrets.add(secret.expose());
        keys.extend(secret.key(SecretEncoding::Whsec));
    }
    if keys.is_empty() && !http.signing_secrets.is_empty() {
        let references = http.signing_secrets.iter();
        return Err(Held::SigningSecrets(
            references.map(|secret| secret.reference.clone()).collect(),
        ));
    }
    Ok(keys)
}
