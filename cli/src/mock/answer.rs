//! What a stand-in answers.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::Value as Json;

/// An answer, with a word for the person who watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers but for the content type.
    pub headers: Vec<(&'static str, String)>,
    /// Its body's type.
    pub content_type: &'static str,
    /// Its body.
    pub body: String,
    /// What happened, in a few words.
    pub note: String,
}

impl Answer {
    /// One with a body of JSON.
    #[must_use]
    pub fn json(status: StatusCode, body: &Json) -> Self {
        Self::new(status, "application/json; charset=utf-8", body.to_string())
    }

    /// One with a body of plain text.
    #[must_use]
    pub fn text(status: StatusCode, body: impl Into<String>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body.into())
    }

    /// One without a body.
    #[must_use]
    pub fn empty(status: StatusCode) -> Self {
        Self::new(status, "", String::new())
    }

    fn new(status: StatusCode, content_type: &'static str, body: String) -> Self {
        Self {
            status,
            headers: Vec::new(),
            content_type,
            note: if status.is_success() {
                String::new()
            } else {
                format!("refused: {body}")
            },
            body,
        }
    }

    /// The same with a header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same with this said to the person who watches.
    #[must_use]
    pub fn noted(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// The answer on its way.
    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if !self.content_type.is_empty() {
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static(self.content_type),
            );
        }
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.append(name, value);
            }
        }
        response
    }
}
