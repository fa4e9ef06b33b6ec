//! The URL of a destination: checked, and with its secrets in it.

use hookswitch_crds::address;
use hookswitch_crds::snapshot::{self, Auth, ResolvedSecret};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;

use super::super::excerpt::Secrets;
use super::{Held, reveal};

/// Where a URL has its secret.
const PLACE: &str = "{secret}";

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
        Auth::None | Auth::Basic { .. } => Url::parse(&http.url).map_err(|_| Held::Url)?,
    };
    match url.scheme() {
        "https" => {}
        "http" if !http.private_networks.is_empty() => {}
        "http" => return Err(Held::PlainHttp),
        _ => return Err(Held::Url),
    }
    // Every spelling of an IPv4 address (hexadecimal, one number) is normal here already.
    let host = url.host_str().ok_or(Held::Url)?;
    match host.trim_matches(['[', ']']).parse() {
        Ok(address) if !address::allowed(address, &http.private_networks) => {
            Err(Held::Address(address))
        }
        Ok(_) | Err(_) => Ok(url),
    }
}

/// A URL with one more segment in its path.
pub(super) fn with_segment(url: &Url, segment: &str) -> Url {
    let mut url = url.clone();
    let path = url.path().trim_end_matches('/');
    let path = format!("{path}/{}", utf8_percent_encode(segment, SEGMENT));
    url.set_path(&path);
    url
}

/// A URL that is a secret itself: so is its path, which an answer may repeat alone.
fn secret_url(secret: &ResolvedSecret, secrets: &mut Secrets) -> Result<Url, Held> {
    let unusable = || Held::SecretInUrl(secret.reference.clone());
    let text = reveal(secret, secrets)?.trim_ascii();
    let text = std::str::from_utf8(text).map_err(|_| unusable())?;
    let url = Url::parse(text).map_err(|_| unusable())?;
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
    let text = reveal(secret, secrets)?.trim_ascii();
    let text = std::str::from_utf8(text).map_err(|_| unusable())?;
    if text.is_empty() || text.contains(|c: char| !c.is_ascii_graphic()) {
        return Err(unusable());
    }
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
    fn a_record_is_one_segment_whatever_its_id_holds() {
        let url = Url::parse("https://acme.my.salesforce.com/sobjects/Lead/Id__c").unwrap();
        assert_eq!(
            with_segment(&url, "a/b?c#ü%").as_str(),
            "https://acme.my.salesforce.com/sobjects/Lead/Id__c/a%2Fb%3Fc%23%C3%BC%25"
        );
    }
}
