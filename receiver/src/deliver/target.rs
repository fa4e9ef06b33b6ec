//! A destination made ready: its URL checked, its headers and keys resolved, its client made.
//!
//! Made anew when the destination changes in the configuration, so that each attempt uses the current
//! secrets. What was frozen with the plan (method, content type, body) comes with the delivery.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hookswitch_crds::secret::SecretBytes;
use hookswitch_crds::snapshot::{self, Auth, Credential, ResolvedSecret, SecretEncoding};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use reqwest::{Client, Url};
use zeroize::Zeroizing;

use self::token::Tokens;
use super::excerpt::Secrets;
use super::kind::{self, Api, Reply, Verdict};
use super::network::{self, Network};
use super::wire::Wire;
use crate::store::{Answer, StoredDelivery};

mod attempt;
mod token;
pub(super) mod url;

/// What we call ourselves, unless a header of the destination says otherwise.
const USER_AGENT: &str = concat!("hookswitch/", env!("CARGO_PKG_VERSION"));

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
    /// A private key can't be read.
    #[error("the secret {0} is no RSA key in PEM")]
    PrivateKey(String),
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
    tokens: Option<Tokens>,
    secrets: Secrets,
    client: Client,
    wire: Arc<dyn Wire>,
}

/// What a destination's settings and secrets come to.
struct Resolved {
    url: Url,
    headers: HeaderMap,
    keys: Vec<SecretBytes>,
    tokens: Option<Tokens>,
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
        let tokens = match &http.auth {
            Auth::OAuth(oauth) => Some(Tokens::prepare(oauth, http, &mut secrets)?),
            _ => None,
        };
        Ok(Self {
            url,
            headers,
            keys,
            tokens,
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
pub(super) struct Judged {
    /// What it says of the destination.
    pub(super) lane: Verdict,
    /// What it means for each of its deliveries.
    pub(super) each: Vec<Attempted>,
}

/// What an attempt means for a delivery.
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
            tokens,
            secrets,
        } = Resolved::of(&spec.http)?;
        let keep_alive = spec.delivery.on_ambiguous != snapshot::OnAmbiguous::DeadLetter;
        Ok(Self {
            spec: Arc::clone(spec),
            url,
            headers,
            keys,
            tokens,
            secrets,
            client: network.client(&spec.http.private_networks, keep_alive)?,
            wire: Arc::clone(wire),
        })
    }

    /// What is peculiar to its API.
    pub(super) fn api(&self) -> &'static Api {
        kind::api(self.spec.kind)
    }

    /// Judges what an attempt gave, for each of its deliveries.
    pub(super) fn judge(
        &self,
        deliveries: &[StoredDelivery],
        reply: &Reply,
        now: Timestamp,
    ) -> Judged {
        let ids: Vec<_> = deliveries.iter().map(|delivery| delivery.id).collect();
        let verdicts = kind::judge(self.spec.kind, reply, &ids, now);
        let (status, said) = match reply {
            Reply::Answered { answer, whole } => (
                Some(answer.status().as_u16()),
                self.excerpt(answer.body(), *whole),
            ),
            Reply::NotSent(fault) | Reply::NoAnswer(fault) => {
                (None, self.excerpt(fault.detail.as_bytes(), true))
            }
            Reply::Found => (None, None),
        };
        let works = |it: &&Verdict| !it.is_failure();
        let lane = verdicts.iter().find(works).or_else(|| verdicts.first());
        Judged {
            lane: lane.copied().unwrap_or_else(Verdict::interrupted),
            each: verdicts
                .iter()
                .map(|verdict| Attempted {
                    verdict: *verdict,
                    answer: Answer {
                        status,
                        reason: verdict.reason.to_owned(),
                        ambiguous: verdict.class == kind::Class::Ambiguous,
                        // What is said of many that arrived is said for none of them.
                        excerpt: said
                            .clone()
                            .filter(|_| ids.len() == 1 || verdict.class != kind::Class::Delivered),
                    },
                })
                .collect(),
        }
    }

    /// The beginning of what was said, without secrets.
    fn excerpt(&self, said: &[u8], whole: bool) -> Option<String> {
        let Some(token) = self.tokens.as_ref().and_then(Tokens::issued) else {
            return self.secrets.excerpt(said, whole);
        };
        let mut issued = Secrets::default();
        issued.add(token.secret.expose());
        let said = issued.clear(String::from_utf8_lossy(said).into_owned());
        self.secrets.excerpt(said.as_bytes(), whole)
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
