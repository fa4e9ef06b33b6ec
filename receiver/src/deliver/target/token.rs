//! The bearer token of a destination (RFC 6749): got when an attempt first needs one, kept until the
//! destination says that it no longer counts. Salesforce does not say how long that is.
//!
//! Attempts that need a new token at once wait for one request: whoever finds the token changed since
//! takes the new one.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use hookswitch_crds::secret::SecretBytes;
use hookswitch_crds::snapshot::{self, Grant, OAuth, ResolvedSecret};
use http::{HeaderMap, HeaderValue, Method, header};
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use reqwest::{Client, Url};
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::Signer;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::super::excerpt::Secrets;
use super::super::kind::{Fault, Reply, reason};
use super::super::wire::{self, Outgoing, Wire};
use super::{Held, reveal, url};

/// How long a JWT counts, in seconds: Salesforce takes none of more than five minutes
/// (<https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_jwt_flow.htm>).
const JWT_SECONDS: i64 = 180;

/// Gets tokens, and keeps the last.
pub(super) struct Tokens {
    url: Url,
    claim: Claim,
    current: Mutex<Option<Arc<Token>>>,
    /// The last that was given, for what answers are cleared of.
    issued: ArcSwapOption<Token>,
}

/// A token, as the value of `Authorization`.
pub(super) struct Token {
    pub(super) header: HeaderValue,
    pub(super) secret: SecretBytes,
}

/// What a token is asked for with.
enum Claim {
    Credentials {
        id: SecretBytes,
        secret: SecretBytes,
    },
    Jwt {
        id: SecretBytes,
        username: String,
        audience: String,
        key: Box<dyn Signer>,
    },
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
}

#[derive(Default, Deserialize)]
struct Denied {
    #[serde(default)]
    error: String,
}

impl Tokens {
    /// Makes ready what tokens are asked for with.
    pub(super) fn prepare(
        oauth: &OAuth,
        http: &snapshot::Http,
        secrets: &mut Secrets,
    ) -> Result<Self, Held> {
        let mut value = |secret: &ResolvedSecret| -> Result<SecretBytes, Held> {
            let value = reveal(secret, secrets)?;
            Ok(SecretBytes::new(value.to_vec()))
        };
        let claim = match &oauth.grant {
            Grant::ClientCredentials {
                client_id,
                client_secret,
            } => Claim::Credentials {
                id: value(client_id)?,
                secret: value(client_secret)?,
            },
            Grant::JwtBearer {
                client_id,
                username,
                audience,
                private_key,
            } => Claim::Jwt {
                id: value(client_id)?,
                username: username.clone(),
                audience: audience.clone(),
                key: signer(&value(private_key)?)
                    .ok_or_else(|| Held::PrivateKey(private_key.reference.clone()))?,
            },
        };
        Ok(Self {
            url: url::allowed(
                Url::parse(&oauth.token_url).map_err(|_| Held::Url)?,
                &http.private_networks,
            )?,
            claim,
            current: Mutex::default(),
            issued: ArcSwapOption::empty(),
        })
    }

    /// The token, but not the one that was found to be stale.
    ///
    /// # Errors
    /// Where none is given.
    pub(super) async fn get(
        &self,
        stale: Option<&Arc<Token>>,
        (wire, client): (&dyn Wire, &Client),
        at: Timestamp,
        deadline: Instant,
    ) -> Result<Arc<Token>, Fault> {
        let mut current = self.current.lock().await;
        if let Some(token) = current.as_ref()
            && stale.is_none_or(|stale| !Arc::ptr_eq(stale, token))
        {
            return Ok(Arc::clone(token));
        }
        *current = None;
        let request = self.request(at)?;
        let timeout = deadline.saturating_duration_since(Instant::now());
        let token = Arc::new(granted(&wire.send(client, request, timeout).await)?);
        *current = Some(Arc::clone(&token));
        self.issued.store(Some(Arc::clone(&token)));
        Ok(token)
    }

    /// The last token that was given.
    pub(super) fn issued(&self) -> Option<Arc<Token>> {
        self.issued.load_full()
    }

    fn request(&self, at: Timestamp) -> Result<Outgoing, Fault> {
        let encode = |text: &[u8]| percent_encode(text, NON_ALPHANUMERIC).to_string();
        let form = match &self.claim {
            Claim::Credentials { id, secret } => format!(
                "grant_type=client_credentials&client_id={}&client_secret={}",
                encode(id.expose()),
                encode(secret.expose())
            ),
            Claim::Jwt {
                id,
                username,
                audience,
                key,
            } => {
                let claims = json!({
                    "iss": String::from_utf8_lossy(id.expose()),
                    "sub": username,
                    "aud": audience,
                    "exp": at.as_second() + JWT_SECONDS,
                });
                let jwt = sign(&claims, key.as_ref())?;
                format!(
                    "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={jwt}"
                )
            }
        };
        let mut headers = HeaderMap::new();
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, form_type);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(super::http::USER_AGENT),
        );
        Ok(Outgoing {
            method: Method::POST,
            url: self.url.clone(),
            headers,
            body: Bytes::from(form),
            reads: wire::ANSWER,
        })
    }
}

/// The key, where it is one of RSA: RS256 is what is signed with.
fn signer(pem: &SecretBytes) -> Option<Box<dyn Signer>> {
    let der = PrivateKeyDer::from_pem_slice(pem.expose()).ok()?;
    any_supported_type(&der)
        .ok()?
        .choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])
}

/// A JWT (RFC 7519) in its compact form.
fn sign(claims: &serde_json::Value, key: &dyn Signer) -> Result<String, Fault> {
    let part = |json: String| URL_SAFE_NO_PAD.encode(json);
    let message = format!(
        "{}.{}",
        part(json!({"alg": "RS256", "typ": "JWT"}).to_string()),
        part(claims.to_string())
    );
    let signature = key.sign(message.as_bytes()).map_err(|_| Fault {
        reason: reason::INTERNAL,
        detail: "the JWT can't be signed".to_owned(),
    })?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn granted(reply: &Reply) -> Result<Token, Fault> {
    let fault = |detail: String| Fault {
        reason: reason::TOKEN,
        detail: format!("no token: {detail}"),
    };
    let answer = match reply {
        Reply::Answered { answer, .. } => answer,
        Reply::NotSent(failed) | Reply::NoAnswer(failed) => {
            return Err(fault(failed.detail.clone()));
        }
        Reply::Found | Reply::Each(_) => return Err(fault("no answer".to_owned())),
    };
    if !answer.status().is_success() {
        let Denied { error } = serde_json::from_slice(answer.body()).unwrap_or_default();
        return Err(fault(format!("{} {error}", answer.status().as_u16())));
    }
    let Granted { access_token } = serde_json::from_slice(answer.body())
        .map_err(|_| fault("the answer holds none".to_owned()))?;
    let mut header = HeaderValue::try_from(format!("Bearer {access_token}"))
        .map_err(|_| fault("it can't be a header".to_owned()))?;
    header.set_sensitive(true);
    Ok(Token {
        header,
        secret: SecretBytes::new(access_token.into_bytes()),
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};

    use super::*;

    #[test]
    fn only_an_rsa_key_in_pem_signs() {
        let elliptic = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        for pem in [
            elliptic.serialize_pem(),
            "-----BEGIN PRIVATE KEY-----".to_owned(),
        ] {
            assert!(signer(&SecretBytes::new(pem.into_bytes())).is_none());
        }
        assert!(signer(&SecretBytes::new(RSA.as_bytes().to_vec())).is_some());
    }

    #[test]
    fn a_jwt_is_signed_by_rs256_over_header_and_claims() {
        let key = signer(&SecretBytes::new(RSA.as_bytes().to_vec())).unwrap();
        let jwt = sign(&json!({"iss": "key", "exp": 180}), key.as_ref()).unwrap();
        // printf '%s' "$header.$claims" | openssl dgst -sha256 -sign key.pem | base64 -w0 | tr '+/' '-_' | tr -d '='
        assert_eq!(
            jwt,
            concat!(
                "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE4MCwiaXNzIjoia2V5In0.iBW94CcAiBlHQKqPdpyrj",
                "t9ZxKXXs7fwhkWtxsuwdYp59z9mA1Vje6inWHLvpCUiCq0EMb10F_N0AZ2YZcI8OvBEDeEIXKQ4trWudRBTGOISVy1",
                "y28sdTGNOc9Fu_09qqBY5o9VG1bZfe0_98UMwC0TViQbCgmmq5LEsd10ujjnT5fZ0613IIUCRLTaoYeMwqkLNx8sdD",
                "rqu4919zO_uLslS0tgFlU3VZv21yWVE_mOrlXiznO9AMFKzQW53reZAuI_I-b5wcbb2O46r6z2C_TAkkUY01KrcRoS",
                "aiL1cObIs31cjSCKEKwZtRTqMw7P_JF4j3_APRZen39bBmEnpgw",
            )
        );
    }

    /// Made for this test: `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048`.
    const RSA: &str = "-----BEGIN PRIVATE KEY-----\n\
MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQC9L84Peum0k1XX\n\
2lZMC5igYncQnPZyGfmCkN8YPmdlj5hUXFhWwUhuD+FUYG3ODaH2qcGTCNlHR/Jv\n\
wa8iJHa0dS/YaTMojDkl/dBTd/0rVw55A5XNcfi3y3zzl7pOsjBNbpDCnMs97iFo\n\
iZDKE3KNEL4UmutIejhEQ9Re0jk6uK87uhzegeX5AWQkAFAo4Md8BG0XnvMPuUWf\n\
wwROUyKr7d8l+LYcvuFCr/a0+/5T8qB5jgOG96IME0I6QR6QvIyPW+x556FAPhmT\n\
s5J2rE/OJNtdF/wzWkCpCX0F3cDLj4yL7IlnkRh5V7K/4CQRtGXhgpRhnMwTJQDc\n\
CIggBNLxAgMBAAECgf9qanl+O6U57aZbxHTGUb+Id9qBfckiZXnz94mGGZQPjLYi\n\
vc7y/cXAIy6cR6F8Ri7UkKhSDKgrcEzukAPzMI+U8lX3ZTVhmX6L4DlOui+uMUny\n\
yBF7fqBowg2G99HUcma5J3hF/+xS6Z/hLYBEKqxErSY+cOXn3tfHjl/m9lk6ra3x\n\
oWKd78KTIz7E29aX7pB5QrVuiC4jg2ro0ikG0HEaBJ1F3yRd3uYX+GTQIGQ6MFp0\n\
Ckw8SlM58xZzcHFCMKtUGSwIOilCmee+gVUyE9+eidaq2cfjsNkigRYmUWZ2l50K\n\
8pUclacKJtwnQNbXSJrwesHVNMrMnNDnEW1b0EECgYEA/KqadfysP1vZX03kHCEv\n\
i+W+36LkLkhle9HTwC2qG+P1b6Ba3UUQQtr4lm7/UlAVd4IP1FYI2tVq9kUbDId+\n\
pLtacAjQjsOGeoOky3YNRUBD79XUCEPwkZF9Mp1j9wYHWavW1EF9nwfZsZiq7JMI\n\
GUOjzInwWYVFh4H7y8DTLI8CgYEAv67LguMKUF8drB0JWI82SRaVOnKGIAffPmLY\n\
B/RC3EOY8MhO4xXhs81ISYwsTvEN59M82V4cAPYrSz7g7T1zXgRrQ1IogZ7q4gEb\n\
FcGrXN7sjPC07xBaJoNdrM0XCGH9ZU1PQ0QAVo5I2X/lOuICnf9/UfQu5FJ8mjaz\n\
QrluyH8CgYEArenoQ8pV7Y6VQspkdxBIn+zVwy1mDo16fQ3iyOclrejs6ZbgtGlz\n\
VfFPJozkZY4GGKqHpspJcgdwhm7uvWMOQulKyM7obzwadn3iksGBROeFW7I9LitF\n\
jY0tNger5T5bFNf5GUSy6SIIL/w7undCHdG3D3Tq4VOgljNcU9U4BfUCgYEAvBRV\n\
6fK+nwgFRGklT3kOKf73o+bVhj5TJZK1KHDa3eeR/Mh+50EEOnl1sXzRyQ+rtknF\n\
zf8SeTsSVf23k/EU7y5k1SSbTDxTejjdi6aBb1npP42760rfOiTx2GlQbVBA45JM\n\
8NKbhlKMVqWwletH6CHXmuF+1Ve+nU6I7DKo6h8CgYB68KZkpeUy8J/5Oc1KKc4F\n\
sKs3Iqyg3Ar9aygjh62Bsq0/qYVPcx8SRENcg5f5s5w6BMTdG60cy1eYupHYgpb5\n\
kwji1Y1KhcqCUWiFx3TnKsllc618mlwvYLvygjmL9rdBA4xuoRmLJVJTxp8uTAOe\n\
se02QW5Q0lE8fr9jbG0UTg==\n\
-----END PRIVATE KEY-----\n\
";
}
