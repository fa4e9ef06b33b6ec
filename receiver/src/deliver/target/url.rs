//! The URL of a destination: checked, and with its secrets in it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hookswitch_crds::address;
use hookswitch_crds::snapshot::{self, Auth, ResolvedSecret};
use ipnet::IpNet;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;
use zeroize::Zeroizing;

use super::super::excerpt::Secrets;
use super::super::sign;
use super::{Held, reveal};

/// Where a URL has its secret.
const PLACE: &str = "{secret}";

/// Where a URL has what depends on the event: `{address}`, as it is in a URL that has been parsed.
const ADDRESS: &str = "%7Baddress%7D";

/// What is encoded in a segment of a path: all but RFC 3986's unreserved characters, and the colon of
/// Telegram's tokens.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':');

/// The URL, where it may be used. A name in it is checked when it is resolved.
pub(in crate::deliver) fn resolve(
    http: &snapshot::Http,
    secrets: &mut Secrets,
) -> Result<Url, Held> {
    let url = match &http.auth {
        Auth::Url(secret) => secret_url(secret, secrets)?,
        Auth::Path(secret) => secret_path(&http.url, secret, secrets)?,
        Auth::SignedQuery {
            token,
            signing_secret,
        } => {
            // They are put in at each attempt; here it is seen that they are there.
            for secret in std::iter::once(token).chain(signing_secret) {
                text(secret, secrets)?;
            }
            Url::parse(&http.url).map_err(|_| Held::Url)?
        }
        Auth::None | Auth::Basic { .. } | Auth::OAuth(_) => {
            Url::parse(&http.url).map_err(|_| Held::Url)?
        }
    };
    allowed(url, &http.private_networks)
}

/// A URL that may be used with these private networks.
pub(super) fn allowed(url: Url, private_networks: &[IpNet]) -> Result<Url, Held> {
    match url.scheme() {
        "https" => {}
        "http" if !private_networks.is_empty() => {}
        "http" => return Err(Held::PlainHttp),
        _ => return Err(Held::Url),
    }
    // Every spelling of an IPv4 address (hexadecimal, one number) is normal here already.
    let host = url.host_str().ok_or(Held::Url)?;
    match host.trim_matches(['[', ']']).parse() {
        Ok(address) if !address::allowed(address, private_networks) => Err(Held::Address(address)),
        Ok(_) | Err(_) => Ok(url),
    }
}

/// A URL with what depends on the event, as one segment: where its path has a place for it, else
/// behind the path.
pub(super) fn with_address(url: &Url, address: &str) -> Url {
    let mut url = url.clone();
    let segment = utf8_percent_encode(address, SEGMENT).to_string();
    let path = if url.path().contains(ADDRESS) {
        url.path().replacen(ADDRESS, &segment, 1)
    } else {
        format!("{}/{segment}", url.path().trim_end_matches('/'))
    };
    url.set_path(&path);
    url
}

/// A URL with a token, and with the time and its signature where there is a secret to sign with
/// (<https://help.dingtalk.io/open/development/customize-robot-security-settings>): base64 of
/// HMAC-SHA256 over `{milliseconds}\n{secret}`. It counts for an hour, so each attempt is signed anew.
pub(super) fn signed(mut url: Url, auth: &Auth, at: Timestamp) -> Url {
    let Auth::SignedQuery {
        token,
        signing_secret,
    } = auth
    else {
        return url;
    };
    let value = |secret: &ResolvedSecret| {
        let value = secret.usable().map(|it| it.expose().trim_ascii().to_vec());
        Zeroizing::new(value.unwrap_or_default())
    };
    let mut query = url.query_pairs_mut();
    query.append_pair("access_token", &String::from_utf8_lossy(&value(token)));
    if let Some(secret) = signing_secret {
        let secret = value(secret);
        let time = at.as_millisecond().to_string();
        let message = Zeroizing::new([time.as_bytes(), b"\n", &secret].concat());
        let signature = sign::hmac_sha256(&secret, &message);
        query
            .append_pair("timestamp", &time)
            .append_pair("sign", &STANDARD.encode(signature));
    }
    drop(query);
    url
}

/// A secret that can stand in a URL.
fn text<'a>(secret: &'a ResolvedSecret, secrets: &mut Secrets) -> Result<&'a str, Held> {
    let text = reveal(secret, secrets)?.trim_ascii();
    std::str::from_utf8(text)
        .ok()
        .filter(|text| !text.is_empty() && text.bytes().all(|it| it.is_ascii_graphic()))
        .ok_or_else(|| Held::SecretInUrl(secret.reference.clone()))
}

/// A URL that is a secret itself: so is its path, which an answer may repeat alone.
fn secret_url(secret: &ResolvedSecret, secrets: &mut Secrets) -> Result<Url, Held> {
    let unusable = || Held::SecretInUrl(secret.reference.clone());
    let url = Url::parse(text(secret, secrets)?).map_err(|_| unusable())?;
    secrets.add(url.as_str().as_bytes());
    let path = url.path().trim_matches('/');
    secrets.add(path.as_bytes());
    if let Some((_, last)) = path.rsplit_once('/') {
        secrets.add(last.as_bytes());
    }
    if let Some(query) = url.query() {
        secrets.add(query.as_bytes());
    }
    Ok(url)
}

/// A URL with a secret in its path.
fn secret_path(url: &str, secret: &ResolvedSecret, secrets: &mut Secrets) -> Result<Url, Held> {
    let unusable = || Held::SecretInUrl(secret.reference.clone());
    let text = text(secret, secrets)?;
    let encoded = utf8_percent_encode(text, SEGMENT).to_string();
    secrets.add(encoded.as_bytes());
    Url::parse(&url.replace(PLACE, &encoded)).map_err(|_| unusable())
}

#[cfg(test)]
mod tests {
    use hookswitch_crds::secret::SecretBytes;
    use hookswitch_crds::snapshot::Format;

    use super::*;

    fn http(url: &str, auth: Auth) -> snapshot::Http {
        snapshot::Http {
            url: url.to_owned(),
            method: "POST".to_owned(),
            headers: Vec::new(),
            format: Format::Json,
            auth,
            signing_secrets: Vec::new(),
            private_networks: Vec::new(),
        }
    }

    fn secret(value: &str) -> ResolvedSecret {
        ResolvedSecret {
            reference: "chat/secret".to_owned(),
            value: Some(SecretBytes::new(value.as_bytes().to_vec())),
        }
    }

    #[test]
    fn a_token_stands_in_the_path_and_can_name_no_other_path() {
        let url = "https://api.telegram.org/bot{secret}/sendMessage";
        let resolved = |token: &str| {
            resolve(
                &http(url, Auth::Path(secret(token))),
                &mut Secrets::default(),
            )
        };
        assert_eq!(
            resolved("123:AA-b_c\n").unwrap().as_str(),
            "https://api.telegram.org/bot123:AA-b_c/sendMessage"
        );
        assert_eq!(
            resolved("1/../x?y#z").unwrap().path(),
            "/bot1%2F..%2Fx%3Fy%23z/sendMessage"
        );
        assert!(matches!(resolved("a b"), Err(Held::SecretInUrl(_))));
        assert!(matches!(resolved(""), Err(Held::SecretMissing(_))));
    }

    #[test]
    fn r57_a_secret_url_is_cleared_from_answers_in_whole_and_in_part() {
        let mut secrets = Secrets::default();
        let auth = Auth::Url(secret("https://hooks.slack.com/services/T1/B1/planted\n"));
        let url = resolve(&http("https://hooks.slack.com", auth), &mut secrets).unwrap();
        assert_eq!(
            url.as_str(),
            "https://hooks.slack.com/services/T1/B1/planted"
        );
        for answer in [
            "POST https://hooks.slack.com/services/T1/B1/planted",
            "no service services/T1/B1/planted",
            "no webhook planted",
        ] {
            let excerpt = secrets.excerpt(answer.as_bytes(), true).unwrap();
            assert!(!excerpt.contains("planted"), "{excerpt}");
        }
    }

    #[test]
    fn a_secret_url_may_reach_no_more_than_a_written_one() {
        let resolved = |url: &str| {
            let auth = Auth::Url(secret(url));
            resolve(
                &http("https://hooks.slack.com", auth),
                &mut Secrets::default(),
            )
        };
        assert!(matches!(
            resolved("http://hooks.slack.com/x"),
            Err(Held::PlainHttp)
        ));
        assert!(matches!(
            resolved("https://127.0.0.1/x"),
            Err(Held::Address(_))
        ));
        assert!(matches!(resolved("not a url"), Err(Held::SecretInUrl(_))));
    }

    #[test]
    fn each_attempt_is_signed_with_its_own_time() {
        let auth = Auth::SignedQuery {
            token: secret("t0ken"),
            signing_secret: Some(secret("SEC42\n")),
        };
        let http = http("https://oapi.dingtalk.com/robot/send", auth.clone());
        let url = resolve(&http, &mut Secrets::default()).unwrap();
        let at = "2026-01-02T03:04:05Z".parse().unwrap();
        // printf '1767323045000\nSEC42' | openssl dgst -sha256 -hmac SEC42 -binary | base64
        assert_eq!(
            signed(url.clone(), &auth, at).query().unwrap(),
            "access_token=t0ken&timestamp=1767323045000&sign=B%2Fo3vmk%2FayljJTC0pNeerkw6Zp2wHZlPhuibNRaQjO4%3D"
        );
        let later = at + std::time::Duration::from_secs(1);
        assert_ne!(signed(url.clone(), &auth, later), signed(url, &auth, at));
    }

    #[test]
    fn a_record_is_one_segment_whatever_its_id_holds() {
        let url = Url::parse("https://acme.my.salesforce.com/sobjects/Lead/Id__c").unwrap();
        assert_eq!(
            with_address(&url, "a/b?c#ü%").as_str(),
            "https://acme.my.salesforce.com/sobjects/Lead/Id__c/a%2Fb%3Fc%23%C3%BC%25"
        );
        let url = Url::parse("https://api.tg-staff.example/users/{address}/tags").unwrap();
        assert_eq!(
            with_address(&url, "7/../8").as_str(),
            "https://api.tg-staff.example/users/7%2F..%2F8/tags"
        );
    }
}
