//! The frame of every stand-in: it listens, asks the API what to answer, tells what it got, and goes
//! wrong where it is told to.
//!
//! ```text
//! connection ─ Request ─ fault? ─ Api::answer ─ printed, recorded, remembered ─ delay ─ answer
//!                          └ the API's own way to be over its limit or to fail; or no answer at all
//! ```
//!
//! Invariants:
//! - An [`Api`] sees one request at a time, and no clock: the time is passed in.
//! - A request that was made to fail has no effect, but for [`Fault::Lost`], which has it.
//! - Secrets in headers, paths and queries are not printed, and not recorded.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use serde_json::Value as Json;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::answer::Answer;
use super::limits::Rate;
use super::report::Report;
use super::request::Request;

/// The most bytes of a body.
const BODY_BYTES: usize = 16 * 1024 * 1024;

/// What a stand-in is of: an API's routes and rules.
pub trait Api: Send + 'static {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// What a user has to know to be let in, for the first lines that the program prints.
    fn hint(&self) -> String;

    /// Takes a request.
    fn answer(&mut self, request: &Request, now: Timestamp) -> Answer;

    /// Says in the API's own way that it gets too much, and when to come again.
    fn limited(&mut self, request: &Request, wait: Duration) -> Answer;

    /// Fails in the API's own way, as it does when it is at fault itself.
    fn broken(&mut self, request: &Request) -> Answer;

    /// Sets its limit, in place of the real one.
    fn limit(&mut self, rate: Rate);

    /// Path and query for people: without secrets.
    fn shown(&self, request: &Request) -> String {
        request.target.clone()
    }
}

/// What goes wrong with a request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// It is one too many; the API says to wait this long.
    Limited(Duration),
    /// The API is at fault itself.
    Broken,
    /// It gets this answer.
    Answer(Answer),
    /// It takes effect, and the connection breaks before the answer.
    Lost,
    /// It has no effect, and is never answered.
    Unanswered,
}

impl Fault {
    /// An answer with this status.
    #[must_use]
    pub fn status(status: StatusCode) -> Self {
        let answer = Answer::json(status, &serde_json::json!({"error": "told to refuse this"}));
        Self::Answer(answer.noted("as told to"))
    }
}

/// Faults for users, who tell no single request apart.
#[derive(Debug, Clone, Default)]
pub struct Habits {
    /// The share of requests, from 0 to 1, that are [`Fault::Broken`], spread evenly.
    pub broken: f64,
    /// The share that are [`Fault::Lost`], spread evenly.
    pub lost: f64,
    /// What becomes of every request.
    pub always: Option<Fault>,
    /// How long each answer takes.
    pub delay: Duration,
}

/// A request that came, and what was answered.
#[derive(Debug, Clone)]
pub struct Call {
    /// The request.
    pub request: Request,
    /// The answer; `None` where there was none.
    pub answer: Option<Answer>,
    /// When.
    pub at: Timestamp,
}

impl Call {
    /// The request's body, null where it is not JSON.
    #[must_use]
    pub fn body(&self) -> Json {
        self.request.json().unwrap_or_default()
    }

    /// The answer's status, where there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.answer.as_ref().map(|answer| answer.status.as_u16())
    }
}

/// A running stand-in. It stops when this is dropped.
#[derive(Debug)]
pub struct StandIn<A> {
    address: SocketAddr,
    inner: Arc<Mutex<Inner<A>>>,
    server: JoinHandle<()>,
}

impl<A: Api> StandIn<A> {
    /// Starts one on a free port of loopback that prints nothing.
    ///
    /// # Errors
    /// Where it can't listen.
    pub async fn start(api: A) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        Self::serve(listener, api, Habits::default(), None)
    }

    /// Starts one on a listener.
    ///
    /// # Errors
    /// Where the listener has no address.
    pub(super) fn serve(
        listener: TcpListener,
        api: A,
        habits: Habits,
        report: Option<Report>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let inner = Arc::new(Mutex::new(Inner {
            api,
            habits,
            report,
            next: VecDeque::new(),
            due: (0.0, 0.0),
            calls: Vec::new(),
        }));
        let server = tokio::spawn(accept(listener, Arc::clone(&inner)));
        Ok(Self {
            address,
            inner,
            server,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, without a path.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Looks at the API's state, or changes it.
    pub fn with<T>(&self, look: impl FnOnce(&mut A) -> T) -> T {
        look(&mut self.lock().api)
    }

    /// Every request so far, in order, made to fail or not.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// What becomes of the next requests, one each. Those after them are answered as ever.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.lock().next.extend(faults);
    }

    /// What becomes of every request from now on.
    pub fn fail_always(&self, fault: Option<Fault>) {
        self.lock().habits.always = fault;
    }

    fn lock(&self) -> MutexGuard<'_, Inner<A>> {
        lock(&self.inner)
    }
}

impl<A> Drop for StandIn<A> {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock<A>(inner: &Mutex<Inner<A>>) -> MutexGuard<'_, Inner<A>> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Inner<A> {
    api: A,
    habits: Habits,
    report: Option<Report>,
    next: VecDeque<Fault>,
    /// How much of a broken and of a lost request is due; one is whole.
    due: (f64, f64),
    calls: Vec<Call>,
}

impl<A: Api> Inner<A> {
    fn take(&mut self, request: Request, now: Timestamp) -> Result<Answer, Silence> {
        let fault = self.fault();
        let answer = match fault {
            None | Some(Fault::Lost) => Some(self.api.answer(&request, now)),
            Some(Fault::Limited(wait)) => Some(self.api.limited(&request, wait)),
            Some(Fault::Broken) => Some(self.api.broken(&request)),
            Some(Fault::Answer(ref answer)) => Some(answer.clone()),
            Some(Fault::Unanswered) => None,
        };
        if let Some(report) = &mut self.report {
            let note = match (&fault, &answer) {
                (Some(Fault::Lost), Some(answer)) => {
                    format!("no answer, though: {}", answer.note)
                }
                (_, Some(answer)) => format!("{}, {}", answer.status.as_u16(), answer.note),
                (_, None) => "no answer, and nothing done".to_owned(),
            };
            report.tell(&self.api.shown(&request), &request, answer.as_ref(), &note);
        }
        let (answer, result) = match (fault, answer) {
            (Some(Fault::Lost), _) => (None, Err(Silence::Broken)),
            (_, Some(answer)) => (Some(answer.clone()), Ok(answer)),
            (_, None) => (None, Err(Silence::Endless)),
        };
        self.calls.push(Call {
            request,
            answer,
            at: now,
        });
        result
    }

    fn fault(&mut self) -> Option<Fault> {
        if let Some(fault) = self.next.pop_front() {
            return Some(fault);
        }
        if let Some(fault) = &self.habits.always {
            return Some(fault.clone());
        }
        let (broken, lost) = &mut self.due;
        *broken += self.habits.broken;
        *lost += self.habits.lost;
        for (due, fault) in [(broken, Fault::Broken), (lost, Fault::Lost)] {
            if *due >= 1.0 {
                *due -= 1.0;
                return Some(fault);
            }
        }
        None
    }
}

/// Why there is no answer.
enum Silence {
    /// The connection breaks.
    Broken,
    /// The client may wait.
    Endless,
}

async fn accept<A: Api>(listener: TcpListener, inner: Arc<Mutex<Inner<A>>>) {
    // Connections end with this task.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // No sockets left, perhaps: there will be some when connections end.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        let inner = Arc::clone(&inner);
        connections.spawn(async move {
            let service = service_fn(|request| take(Arc::clone(&inner), request));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            // A client that goes away, and a connection that was told to break, are no failures.
            drop(connection.await);
        });
    }
}

/// An answer; an error breaks the connection.
async fn take<A: Api>(
    inner: Arc<Mutex<Inner<A>>>,
    request: hyper::Request<Incoming>,
) -> Result<Response<Body>, io::Error> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_BYTES).collect().await else {
        let answer = Answer::text(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
        return Ok(answer.into_response());
    };
    let request = Request::new(head.method, &head.uri, head.headers, body.to_bytes());
    let (result, delay) = {
        let mut inner = lock(&inner);
        let result = inner.take(request, Timestamp::now());
        (result, inner.habits.delay)
    };
    tokio::time::sleep(delay).await;
    match result {
        Ok(answer) => Ok(answer.into_response()),
        Err(Silence::Broken) => Err(io::ErrorKind::ConnectionAborted.into()),
        Err(Silence::Endless) => {
            let never: Infallible = std::future::pending().await;
            match never {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::crm::Crm;

    async fn post(url: &str) -> Option<u16> {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let sent = client.post(url).body("{}").send().await;
        sent.ok().map(|answer| answer.status().as_u16())
    }

    #[tokio::test]
    async fn it_goes_wrong_as_it_is_told_and_only_a_lost_answer_has_an_effect() {
        drop(rustls::crypto::ring::default_provider().install_default());
        let crm = StandIn::start(Crm::default()).await.unwrap();
        crm.fail_next([
            Fault::Broken,
            Fault::Limited(Duration::from_secs(7)),
            Fault::status(StatusCode::GONE),
            Fault::Lost,
        ]);
        let url = crm.url();
        let mut answers = Vec::new();
        for _ in 0..5 {
            answers.push(post(&url).await);
        }
        assert_eq!(answers, [Some(503), Some(429), Some(410), None, Some(201)]);
        assert_eq!(crm.with(|crm| crm.tickets()), 2);
        assert_eq!(crm.calls().len(), 5);
        let wait = crm.calls().remove(1).answer.unwrap().headers;
        assert_eq!(wait, [("retry-after", "7".to_owned())]);
    }

    #[tokio::test]
    async fn it_is_gone_when_it_is_dropped() {
        drop(rustls::crypto::ring::default_provider().install_default());
        let crm = StandIn::start(Crm::default()).await.unwrap();
        let url = crm.url();
        assert_eq!(post(&url).await, Some(201));
        drop(crm);
        while post(&url).await.is_some() {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn failures_are_spread_evenly_and_have_no_effect() {
        let mut inner = Inner {
            api: Crm::default(),
            habits: Habits {
                broken: 0.25,
                ..Habits::default()
            },
            report: None,
            next: VecDeque::new(),
            due: (0.0, 0.0),
            calls: Vec::new(),
        };
        for _ in 0..100 {
            let request = super::super::request::tests::request("POST", "/", "", &Json::Null);
            drop(inner.take(request, Timestamp::UNIX_EPOCH));
        }
        let failed = inner.calls.iter().filter(|call| call.status() == Some(503));
        assert_eq!(failed.count(), 25);
        assert_eq!(inner.api.tickets(), 75);
    }
}
