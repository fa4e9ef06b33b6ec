//! A request as the stand-ins see it: whole, with what they look at taken apart.

use axum::http::{HeaderMap, Method, Uri, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde_json::Value as Json;
use url::form_urlencoded;

/// A whole request.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Path and query as they came; they may hold secrets.
    pub target: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    segments: Vec<String>,
    query: Vec<(String, String)>,
}

impl Request {
    /// Takes a request apart.
    #[must_use]
    pub fn new(method: Method, uri: &Uri, headers: HeaderMap, body: Bytes) -> Self {
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        Self {
            method,
            target: uri.to_string(),
            headers,
            body,
            segments: uri
                .path()
                .split('/')
                .filter(|segment| !segment.is_empty())
                .map(decode)
                .collect(),
            query: pairs(uri.query().unwrap_or_default().as_bytes()),
        }
    }

    /// The method, then the path's parts, decoded: to be matched with a pattern.
    #[must_use]
    pub fn route(&self) -> Vec<&str> {
        std::iter::once(self.method.as_str())
            .chain(self.segments.iter().map(String::as_str))
            .collect()
    }

    /// A parameter of the query, decoded.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        find(&self.query, name)
    }

    /// All parameters of the query, decoded.
    #[must_use]
    pub fn query_pairs(&self) -> Vec<(String, String)> {
        self.query.clone()
    }

    /// A header that is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether the content type is this one, whatever its parameters.
    #[must_use]
    pub fn is(&self, content_type: &str) -> bool {
        self.header(header::CONTENT_TYPE.as_str())
            .and_then(|value| value.split(';').next())
            .is_some_and(|value| value.trim().eq_ignore_ascii_case(content_type))
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Option<Json> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The body as a form.
    #[must_use]
    pub fn form(&self) -> Vec<(String, String)> {
        pairs(&self.body)
    }

    /// The token of `Authorization: Bearer`.
    #[must_use]
    pub fn bearer(&self) -> Option<&str> {
        self.authorization("Bearer")
    }

    /// User and password of `Authorization: Basic`.
    #[must_use]
    pub fn basic(&self) -> Option<(String, String)> {
        let bytes = BASE64_STANDARD.decode(self.authorization("Basic")?).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (user, password) = text.split_once(':')?;
        Some((user.to_owned(), password.to_owned()))
    }

    fn authorization(&self, wanted: &str) -> Option<&str> {
        let (scheme, value) = self
            .header(header::AUTHORIZATION.as_str())?
            .split_once(' ')?;
        scheme.eq_ignore_ascii_case(wanted).then(|| value.trim())
    }
}

/// The pairs of a query or a form, decoded.
fn pairs(text: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(text).into_owned().collect()
}

/// The first value of that name.
pub(super) fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs
        .iter()
        .find(|(one, _)| one == name)
        .map(|(_, value)| value.as_str())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A request with a JSON body, and `Authorization` where there is one.
    pub(in crate::mock) fn request(
        method: &str,
        target: &str,
        authorization: &str,
        body: &Json,
    ) -> Request {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
        if !authorization.is_empty() {
            headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        }
        let body = if body.is_null() {
            Bytes::new()
        } else {
            body.to_string().into()
        };
        Request::new(
            method.parse().unwrap(),
            &target.parse().unwrap(),
            headers,
            body,
        )
    }

    #[test]
    fn path_and_query_are_decoded_after_they_are_split() {
        let request = request("GET", "/a%2Fb//c%20d?e=f%26g+h", "", &Json::Null);
        assert_eq!(request.route(), ["GET", "a/b", "c d"]);
        assert_eq!(request.query("e"), Some("f&g h"));
    }

    #[test]
    fn credentials_are_read_whatever_the_case_of_the_scheme() {
        let bearer = request("GET", "/", "bearer t", &Json::Null);
        assert_eq!(bearer.bearer(), Some("t"));
        assert_eq!(bearer.basic(), None);
        let basic = format!("Basic {}", BASE64_STANDARD.encode("user:pass:word"));
        let basic = request("GET", "/", &basic, &Json::Null).basic().unwrap();
        assert_eq!(basic, ("user".to_owned(), "pass:word".to_owned()));
    }
}
