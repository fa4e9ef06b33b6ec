//! A destination that speaks HTTP: its URL, headers and keys, and the client that calls it.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hookswitch_crds::secret::SecretBytes;
use hookswitch_crds::snapshot::{
    self, Auth, Credential, DestinationKind, OnAmbiguous, SecretEncoding,
};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use reqwest::{Client, Url};
use zeroize::Zeroizing;

use super::super::excerpt::Secrets;
use super::super::kind::{self, Api};
use super::super::network::Network;
use super::super::wire::Wire;
use super::token::{Token, Tokens};
use super::{Held, reveal, url};

/// What we call ourselves, unless a header of the destination says otherwise.
pub(super) const USER_AGENT: &str = concat!("hookswitch/", env!("CARGO_PKG_VERSION"));

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

/// Calls a destination.
pub(super) struct Caller {
    kind: DestinationKind,
    pub(super) on_ambiguous: OnAmbiguous,
    pub(super) auth: Auth,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) keys: Vec<SecretBytes>,
    pub(super) tokens: Option<Tokens>,
    pub(super) client: Client,
    pub(super) wire: Arc<dyn Wire>,
}

/// What a destination's settings and secrets come to.
struct Resolved {
    url: Url,
    headers: HeaderMap,
    keys: Vec<SecretBytes>,
    tokens: Option<Tokens>,
}

impl Resolved {
    fn of(http: &snapshot::Http, secrets: &mut Secrets) -> Result<Self, Held> {
        let url = url::resolve(http, secrets)?;
        let mut headers = headers(http, secrets)?;
        if let Some(value) = basic(&http.auth, secrets)? {
            headers.insert(header::AUTHORIZATION, value);
        }
        let keys = keys(http, secrets)?;
        let tokens = match &http.auth {
            Auth::OAuth(oauth) => Some(Tokens::prepare(oauth, http, secrets)?),
            _ => None,
        };
        Ok(Self {
            url,
            headers,
            keys,
            tokens,
        })
    }
}

/// Why nothing can be called, where nothing can.
pub(super) fn held(http: &snapshot::Http) -> Option<Held> {
    Resolved::of(http, &mut Secrets::default()).err()
}

impl Caller {
    /// Makes an endpoint ready.
    ///
    /// # Errors
    /// What must change before anything can be sent to it.
    pub(super) fn prepare(
        http: &snapshot::Http,
        destination: &snapshot::Destination,
        network: &Network,
        wire: &Arc<dyn Wire>,
        secrets: &mut Secrets,
    ) -> Result<Self, Held> {
        let Resolved {
            url,
            headers,
            keys,
            tokens,
        } = Resolved::of(http, secrets)?;
        let on_ambiguous = destination.delivery.on_ambiguous;
        let keep_alive = on_ambiguous != OnAmbiguous::DeadLetter;
        Ok(Self {
            kind: destination.kind,
            on_ambiguous,
            auth: http.auth.clone(),
            url,
            headers,
            keys,
            tokens,
            client: network.client(&http.private_networks, keep_alive)?,
            wire: Arc::clone(wire),
        })
    }

    /// What is peculiar to its API.
    pub(super) fn api(&self) -> &'static Api {
        kind::api(self.kind)
    }

    /// The token that it works with, where it has one.
    pub(super) fn issued(&self) -> Option<Arc<Token>> {
        self.tokens.as_ref().and_then(Tokens::issued)
    }
}

/// The destination's own headers, with the values of their secrets.
pub(in crate::deliver) fn headers(
    http: &snapshot::Http,
    secrets: &mut Secrets,
) -> Result<HeaderMap, Held> {
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
