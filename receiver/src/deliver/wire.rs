//! Sends one request and reads its answer, within one deadline.
//!
//! What makes an attempt ambiguous is that its bytes may have left. The request's body tells: hyper
//! asks for it only once it has a connection to write to. Before that, a failure or a timeout is no
//! more than a connection that did not come about.

use std::convert::Infallible;
use std::error::Error as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http::{HeaderMap, Method, Response};
use hyper::body::{Body, Frame, SizeHint};
use reqwest::{Client, Url};
use tokio::time::{Instant, timeout_at};

use super::kind::{Fault, Reply, reason};
use super::network::Forbidden;

/// How much of an answer is read whose status tells enough. A connection with more to come is closed.
pub(super) const ANSWER: usize = 64 << 10;

/// How much is read of one that tells in its body what became of the request: of each part of it, and with all
/// of it repeated.
pub(super) const TELLING_ANSWER: usize = 2 << 20;

/// A request, ready to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// How much of the answer is read.
    pub(super) reads: usize,
}

/// Sends requests: over the network, or to a script in tests.
pub(super) trait Wire: Send + Sync + 'static {
    /// Sends the request, and gives what came of it within `timeout`.
    fn send(
        &self,
        client: &Client,
        request: Outgoing,
        timeout: Duration,
    ) -> BoxFuture<'static, Reply>;
}

/// The network.
#[derive(Debug)]
pub(super) struct Network;

impl Wire for Network {
    fn send(
        &self,
        client: &Client,
        request: Outgoing,
        timeout: Duration,
    ) -> BoxFuture<'static, Reply> {
        let left = Arc::new(AtomicBool::new(false));
        let reads = request.reads;
        let body = Watched {
            body: Some(request.body),
            asked_for: Arc::clone(&left),
        };
        let sending = client
            .request(request.method, request.url)
            .headers(request.headers)
            .body(reqwest::Body::wrap(body))
            .send();
        Box::pin(async move {
            let deadline = Instant::now() + timeout;
            match timeout_at(deadline, sending).await {
                Ok(Ok(answer)) => read(answer, deadline, reads).await,
                Ok(Err(error)) => failed(error, left.load(Ordering::Acquire)),
                Err(_) if left.load(Ordering::Acquire) => Reply::NoAnswer(Fault {
                    reason: reason::TIMEOUT,
                    detail: format!("no answer within {timeout:?}"),
                }),
                Err(_) => Reply::NotSent(Fault {
                    reason: reason::CONNECT,
                    detail: format!("no connection within {timeout:?}"),
                }),
            }
        })
    }
}

/// Reads the body, up to the limit and the deadline: the status is known, so what of the body does not
/// come changes nothing.
async fn read(mut answer: reqwest::Response, deadline: Instant, most: usize) -> Reply {
    let mut body = BytesMut::new();
    let mut whole = false;
    while body.len() < most {
        match timeout_at(deadline, answer.chunk()).await {
            Ok(Ok(Some(chunk))) => {
                let room = most - body.len();
                body.extend(chunk.iter().take(room));
            }
            Ok(Ok(None)) => {
                whole = true;
                break;
            }
            Ok(Err(_)) | Err(_) => break,
        }
    }
    let mut response = Response::new(body.freeze());
    *response.status_mut() = answer.status();
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    Reply::Answered {
        answer: response,
        whole,
    }
}

/// Tells what went wrong, and whether the request had left.
fn failed(error: reqwest::Error, left: bool) -> Reply {
    let error = error.without_url();
    let connecting = error.is_connect() || error.is_dns() || error.is_builder();
    let reason = if found::<Forbidden>(&error) {
        reason::ADDRESS
    } else if error.is_dns() {
        reason::DNS
    } else if connecting && found::<rustls::Error>(&error) {
        reason::TLS
    } else if connecting || !left {
        reason::CONNECT
    } else {
        reason::CONNECTION_LOST
    };
    let fault = Fault {
        reason,
        detail: chain(&error),
    };
    if connecting || !left {
        Reply::NotSent(fault)
    } else {
        Reply::NoAnswer(fault)
    }
}

/// Whether an error of that type is among the causes.
fn found<E: std::error::Error + 'static>(error: &reqwest::Error) -> bool {
    let mut next = error.source();
    while let Some(cause) = next {
        if cause.is::<E>() {
            return true;
        }
        // An `io::Error` passes over what it wraps when it is asked for its source.
        let wrapped = cause
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => cause.source(),
        };
    }
    false
}

/// The error with its causes.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// A body that tells when it is first asked for.
struct Watched {
    body: Option<Bytes>,
    asked_for: Arc<AtomicBool>,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.asked_for.store(true, Ordering::Release);
        let body = self.body.take().filter(|body| !body.is_empty());
        Poll::Ready(body.map(|body| Ok(Frame::data(body))))
    }

    fn is_end_stream(&self) -> bool {
        self.asked_for.store(true, Ordering::Release);
        self.body.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        let length = self.body.as_ref().map_or(0, Bytes::len);
        SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
    }
}
