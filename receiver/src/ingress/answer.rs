//! The answers: each outcome's status, and what it says.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::header::{ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode, Version};

use crate::metrics::outcome;

/// What a request is answered.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// The label of `hookswitch_requests_total`.
    pub(super) outcome: &'static str,
    status: StatusCode,
    text: Cow<'static, str>,
    /// What the log says beyond that.
    detail: Option<String>,
    /// Seconds.
    retry_after: Option<u64>,
    /// The rest of the request is not read, so the connection is of no more use.
    close: bool,
}

impl Answer {
    pub(super) const ACCEPTED: Self = Self::ok(outcome::ACCEPTED, "accepted\n");
    pub(super) const DUPLICATE: Self = Self::ok(outcome::DUPLICATE, "accepted before\n");
    pub(super) const ID_REUSED: Self = Self::ok(
        outcome::ID_REUSED,
        "accepted, but its id came before with another body: kept, not routed\n",
    );
    pub(super) const PING: Self = Self::ok(outcome::PING, "pong\n");

    pub(super) const NO_SUCH_PATH: Self = Self::refusal(
        StatusCode::NOT_FOUND,
        outcome::NO_SUCH_PATH,
        "no subscription has this path\n",
    );
    pub(super) const METHOD: Self = Self::refusal(
        StatusCode::METHOD_NOT_ALLOWED,
        outcome::METHOD,
        "webhooks are sent with POST\n",
    );
    pub(super) const ENCODING: Self = Self::refusal(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        outcome::ENCODING,
        "compressed bodies are not accepted\n",
    );
    pub(super) const TOO_LARGE: Self = Self::refusal(
        StatusCode::PAYLOAD_TOO_LARGE,
        outcome::TOO_LARGE,
        "the body is larger than the subscription's limits.bodyBytes\n",
    )
    .closing();
    pub(super) const TIMEOUT: Self = Self::refusal(
        StatusCode::REQUEST_TIMEOUT,
        outcome::TIMEOUT,
        "the body did not arrive in time\n",
    )
    .closing();
    pub(super) const INCOMPLETE: Self = Self::refusal(
        StatusCode::BAD_REQUEST,
        outcome::INCOMPLETE,
        "the body ended early or is malformed\n",
    )
    .closing();

    pub(super) const QUOTA: Self = Self::later(
        outcome::QUOTA,
        60,
        "the subscription's limits.storedBytes is used up\n",
    );
    pub(super) const STORE: Self =
        Self::later(outcome::STORE, 10, "the event could not be made durable\n");
    pub(super) const SECRET_MISSING: Self = Self::later(
        outcome::SECRET_MISSING,
        30,
        "the subscription has no usable secret to verify with\n",
    );
    pub(super) const NO_CONFIG: Self = Self::later(outcome::NO_CONFIG, 5, "no configuration yet\n");
    pub(super) const DRAINING: Self =
        Self::later(outcome::DRAINING, 5, "shutting down\n").closing();
    pub(super) const OVERLOADED: Self =
        Self::later(outcome::OVERLOADED, 10, "too many requests at once\n");

    /// A sender's challenge, given back.
    pub(super) fn challenge(challenge: String) -> Self {
        let mut answer = Self::PING;
        answer.text = Cow::Owned(challenge);
        answer
    }

    /// Verification failed, for the reason of that category.
    pub(super) fn unauthorized(category: &'static str) -> Self {
        Self::refusal(StatusCode::UNAUTHORIZED, category, "verification failed: ")
    }

    /// Over the subscription's `limits.eventsPerSecond`; room again after `wait`.
    pub(super) fn rate_limited(wait: Duration) -> Self {
        Self::later(
            outcome::RATE_LIMITED,
            wait.as_secs().saturating_add(1),
            "over the subscription's limits.eventsPerSecond\n",
        )
    }

    const fn ok(outcome: &'static str, text: &'static str) -> Self {
        Self::refusal(StatusCode::OK, outcome, text)
    }

    const fn later(outcome: &'static str, seconds: u64, text: &'static str) -> Self {
        let mut answer = Self::refusal(StatusCode::SERVICE_UNAVAILABLE, outcome, text);
        answer.retry_after = Some(seconds);
        answer
    }

    const fn refusal(status: StatusCode, outcome: &'static str, text: &'static str) -> Self {
        Self {
            outcome,
            status,
            text: Cow::Borrowed(text),
            detail: None,
            retry_after: None,
            close: false,
        }
    }

    const fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// With what the log is to say beyond the answer's own text.
    pub(super) fn because(mut self, reason: &impl ToString) -> Self {
        self.detail = Some(reason.to_string());
        self
    }

    /// Why, for the log.
    pub(super) fn reason(&self) -> &str {
        self.detail
            .as_deref()
            .unwrap_or(&self.text)
            .trim_ascii_end()
    }

    /// Whether the sender could do better; otherwise it is for us to.
    pub(super) fn is_the_senders(&self) -> bool {
        self.status.is_client_error()
    }

    /// The answer as it is sent to a request of that version.
    pub(super) fn into_response(self, version: Version) -> Response {
        let body = if self.status == StatusCode::UNAUTHORIZED {
            Body::from(format!("{}{}\n", self.text, self.outcome))
        } else {
            match self.text {
                Cow::Borrowed(text) => Body::from(text),
                Cow::Owned(text) => Body::from(text),
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        if self.status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        // HTTP/2 has no such header: a stream ends without its connection.
        if self.close && version < Version::HTTP_2 {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
