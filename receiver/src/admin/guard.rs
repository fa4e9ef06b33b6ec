//! Keeps browsers out. A page that a person opens can make their browser send requests to loopback:
//! across sites, or by a name of the page's own that it lets point to 127.0.0.1 (DNS rebinding).
//!
//! - The `Host` is an address or `localhost`: a page's own name never is.
//! - Nothing comes from another page: there is no `Origin`, and `Sec-Fetch-Site` is `none` where a
//!   browser says it. There are no CORS headers, so no page could read an answer either.
//! - A change is JSON by its `Content-Type`: no form can send that, and a script has to ask first,
//!   with an `OPTIONS` that is refused.

use std::net::IpAddr;

use axum::Json;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, uri::Authority};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::view::Failure;

/// Said by browsers: where a request comes from
/// (<https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header>).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Lets a request through that no page of another site can have made.
pub(super) async fn check(request: Request, next: Next) -> Response {
    let authority = request.uri().authority().cloned();
    let mut response = match refused(request.method(), authority.as_ref(), request.headers()) {
        None => next.run(request).await,
        Some((status, why)) => {
            let error = why.to_owned();
            (status, Json(Failure { error })).into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Why a request is refused.
fn refused(
    method: &Method,
    authority: Option<&Authority>,
    headers: &HeaderMap,
) -> Option<(StatusCode, &'static str)> {
    let named = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    if !authority.into_iter().chain(&named).all(is_local)
        || (authority.is_none() && named.is_none())
    {
        return Some((
            StatusCode::FORBIDDEN,
            "the Host must be an address or localhost",
        ));
    }
    let elsewhere = |site: &HeaderValue| site != "none";
    if headers.contains_key(ORIGIN) || headers.get(SEC_FETCH_SITE).is_some_and(elsewhere) {
        return Some((StatusCode::FORBIDDEN, "pages have no business here"));
    }
    if method == Method::POST && !headers.get(CONTENT_TYPE).is_some_and(is_json) {
        return Some((
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the Content-Type must be application/json",
        ));
    }
    None
}

/// Whether a host is an address, or the one name that every machine keeps for itself.
fn is_local(authority: &Authority) -> bool {
    let host = authority.host();
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

fn is_json(value: &HeaderValue) -> bool {
    value.to_str().is_ok_and(|text| {
        let essence = text.split(';').next().unwrap_or_default();
        essence.trim().eq_ignore_ascii_case("application/json")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &Method, headers: &[(HeaderName, &'static str)]) -> Option<u16> {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect();
        refused(method, None, &headers).map(|(status, _)| status.as_u16())
    }

    #[test]
    fn only_what_no_page_can_send_is_let_through() {
        let json = (CONTENT_TYPE, "application/json; charset=utf-8");
        for host in [
            "localhost:9091",
            "127.0.0.1:9091",
            "[::1]:9091",
            "LOCALHOST",
            "10.0.0.1",
        ] {
            assert_eq!(ask(&Method::GET, &[(HOST, host)]), None, "{host}");
            assert_eq!(ask(&Method::POST, &[(HOST, host), json.clone()]), None);
        }
        for host in [
            "evil.example",
            "localhost.evil.example:9091",
            "127.0.0.1.nip.io",
            "a@b@c",
            "",
        ] {
            assert_eq!(ask(&Method::GET, &[(HOST, host)]), Some(403), "{host}");
        }
        let host = (HOST, "127.0.0.1:9091");
        assert_eq!(ask(&Method::GET, &[]), Some(403));
        assert_eq!(
            ask(&Method::GET, &[host.clone(), (ORIGIN, "null")]),
            Some(403)
        );
        assert_eq!(
            ask(
                &Method::GET,
                &[host.clone(), (SEC_FETCH_SITE, "cross-site")]
            ),
            Some(403)
        );
        assert_eq!(
            ask(&Method::GET, &[host.clone(), (SEC_FETCH_SITE, "none")]),
            None
        );
        assert_eq!(ask(&Method::POST, std::slice::from_ref(&host)), Some(415));
        assert_eq!(
            ask(&Method::POST, &[host.clone(), (CONTENT_TYPE, "text/plain")]),
            Some(415)
        );
        let authority: Authority = "evil.example".parse().unwrap();
        let headers = [(HOST, HeaderValue::from_static("localhost"))]
            .into_iter()
            .collect();
        assert!(refused(&Method::GET, Some(&authority), &headers).is_some());
    }
}
