//! The server: connections in, requests to the service.
//!
//! ```text
//! accept ─ slot ─ TLS handshake ─ HTTP/1.1 or HTTP/2 ─ service
//!           │          │                  │
//!   connections    handshake     first_request, then idle
//! ```
//!
//! Invariants:
//! - What a client holds is bounded: connections, streams of each, the size of a head, and the time
//!   without a request. The time that a request takes is the service's to bound.
//! - Nothing outlives [`serve`]: connections and HTTP/2 streams are its tasks.
//! - Nothing is timed per request: one timer a connection looks whether a request came.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;

use crate::tls::Tls;

/// The most bytes of a request's head. A longer one gets 431 from hyper.
const HEAD_BYTES: u32 = 64 * 1024;
/// Bytes that an HTTP/2 client may send ahead on one stream, and on all of a connection.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// HTTP/2 streams that a client has opened and reset before they were looked at, and resets that its
/// mistakes have made us send: past these the connection ends (CVE-2023-44487, CVE-2025-8671).
const PENDING_RESETS: usize = 20;
const LOCAL_RESETS: usize = 128;
/// How long a client has to end a connection that it was asked to end.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long to wait when the machine has no more sockets to give.
const ACCEPT_RETRY: Duration = Duration::from_millis(500);

/// Bounds on clients.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once; further ones wait in the kernel.
    pub connections: usize,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// From the connection, or the end of the handshake, to the end of the first request's head.
    pub first_request: Duration,
    /// Without a request after the first. A connection ends after one to two times this, and not
    /// before `first_request` has passed; longer than what proxies keep unused ones for, or they
    /// meet a closed connection now and then.
    pub idle: Duration,
    /// Streams at once on one HTTP/2 connection.
    pub streams: u32,
    /// From the shutdown to the end of requests that are still being answered.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 8192,
            handshake: Duration::from_secs(5),
            first_request: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            streams: 128,
            drain: Duration::from_secs(10),
        }
    }
}

/// Answers requests.
pub trait Service: Clone + Send + Sync + 'static {
    /// The answer to a request, given the address that it came from.
    fn answer(
        self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response> + Send + 'static;
}

/// The client's address reaches handlers as `ConnectInfo<SocketAddr>`.
impl Service for Router {
    fn answer(
        mut self,
        mut request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response> + Send + 'static {
        request.extensions_mut().insert(ConnectInfo(peer));
        let response = self.call(request.map(Body::new));
        async move {
            match response.await {
                Ok(response) => response,
            }
        }
    }
}

/// Serves until `shutdown` is cancelled, then stops accepting, lets requests end, and returns at
/// the latest after [`Limits::drain`].
///
/// Follows the certificate's files while it runs.
///
/// Cancellation: dropping the future ends every connection at once.
pub async fn serve(
    listener: TcpListener,
    service: impl Service,
    tls: Option<Tls>,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let kill = CancellationToken::new();
    let _kill_on_drop = kill.clone().drop_guard();
    let tasks = TaskTracker::new();
    let acceptor = tls.as_ref().map(Tls::acceptor);
    if let Some(tls) = tls {
        let shutdown = shutdown.clone();
        tasks.spawn(async move { tls.follow(shutdown).await });
    }
    let slots = Arc::new(Semaphore::new(limits.connections));
    let server = Arc::new(Server {
        http: http(&limits, &tasks, &kill),
        service,
        acceptor,
        limits,
        shutdown,
        kill,
    });
    while let Some((stream, peer, slot)) = server.accept(&listener, &slots).await {
        tasks.spawn(Arc::clone(&server).connection(stream, peer, slot));
    }
    drop(listener);
    tasks.close();
    if timeout(server.limits.drain, tasks.wait()).await.is_err() {
        tracing::warn!(
            open = tasks.len(),
            "connections did not end in time and are cut off"
        );
        server.kill.cancel();
        tasks.wait().await;
    }
}

/// What every connection needs.
struct Server<S> {
    http: Builder<Tracked>,
    service: S,
    acceptor: Option<TlsAcceptor>,
    limits: Limits,
    shutdown: CancellationToken,
    kill: CancellationToken,
}

impl<S: Service> Server<S> {
    /// The next connection, once there is room for it; `None` at the shutdown.
    async fn accept(
        &self,
        listener: &TcpListener,
        slots: &Arc<Semaphore>,
    ) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let next = async {
            let slot = Arc::clone(slots).acquire_owned().await.ok()?;
            loop {
                match listener.accept().await {
                    Ok((stream, peer)) => return Some((stream, peer, slot)),
                    Err(error) if is_the_clients(&error) => {}
                    Err(error) => {
                        tracing::error!(%error, "accepting a connection failed");
                        sleep(ACCEPT_RETRY).await;
                    }
                }
            }
        };
        self.shutdown.run_until_cancelled(next).await.flatten()
    }

    /// One connection, to its end.
    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        _slot: OwnedSemaphorePermit,
    ) {
        // A token of its own: polling a shared one takes a lock that all connections share.
        let kill = self.kill.child_token();
        let connection = async {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%peer, %error, "TCP_NODELAY");
            }
            let Some(acceptor) = &self.acceptor else {
                return self.exchange(stream, peer).await;
            };
            match timeout(self.limits.handshake, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => self.exchange(stream, peer).await,
                Ok(Err(error)) => tracing::debug!(%peer, %error, "the TLS handshake failed"),
                Err(_) => tracing::debug!(%peer, "the TLS handshake took too long"),
            }
        };
        // Cut off or not, it has ended.
        let _: Option<()> = kill.run_until_cancelled(connection).await;
    }

    /// Requests and answers on one connection.
    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
    ) {
        let activity = Arc::new(Activity::default());
        let service = service_fn(|request| answer(&self.service, request, peer, &activity));
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(stream), service));
        let shutdown = self.shutdown.child_token();
        let mut timer = pin!(sleep(self.limits.first_request));
        let mut seen = 0;
        let mut ending = false;
        loop {
            tokio::select! {
                biased;
                result = connection.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(%peer, error, "the connection failed");
                    }
                    return;
                }
                () = shutdown.cancelled(), if !ending => {
                    ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = timer.as_mut() => {
                    let idle = activity.idle_since(&mut seen);
                    if idle && ending {
                        return;
                    }
                    let next = if idle { FAREWELL } else { self.limits.idle };
                    timer.as_mut().reset(Instant::now() + next);
                    if idle {
                        ending = true;
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        }
    }
}

/// Hands a request to the service.
fn answer<S: Service>(
    service: &S,
    request: Request<Incoming>,
    peer: SocketAddr,
    activity: &Arc<Activity>,
) -> impl Future<Output = Result<Response, Infallible>> + Send + use<S> {
    let running = Activity::begin(activity);
    let response = service.clone().answer(request, peer);
    async move {
        let response = response.await;
        drop(running);
        Ok(response)
    }
}

/// What a connection has been doing.
#[derive(Debug, Default)]
struct Activity {
    started: AtomicU64,
    running: AtomicUsize,
}

/// A request that is being answered.
struct Running(Arc<Activity>);

impl Activity {
    fn begin(activity: &Arc<Self>) -> Running {
        activity.started.fetch_add(1, Ordering::Relaxed);
        activity.running.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(activity))
    }

    /// Whether no request is being answered and none has come since `seen`, which it brings up to date.
    fn idle_since(&self, seen: &mut u64) -> bool {
        let started = self.started.load(Ordering::Relaxed);
        let new = started != std::mem::replace(seen, started);
        !new && self.running.load(Ordering::Relaxed) == 0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs HTTP/2 streams as tasks of [`serve`].
#[derive(Clone)]
struct Tracked {
    tasks: TaskTracker,
    kill: CancellationToken,
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tracked {
    fn execute(&self, stream: F) {
        let kill = self.kill.clone();
        self.tasks.spawn(async move {
            // Cut off or not, it has ended.
            let _: Option<()> = kill.run_until_cancelled(stream).await;
        });
    }
}

fn http(limits: &Limits, tasks: &TaskTracker, kill: &CancellationToken) -> Builder<Tracked> {
    let mut builder = Builder::new(Tracked {
        tasks: tasks.clone(),
        kill: kill.clone(),
    });
    let head_bytes = usize::try_from(HEAD_BYTES).unwrap_or(usize::MAX);
    builder
        .http1()
        .header_read_timeout(None)
        .max_buf_size(head_bytes);
    builder
        .http2()
        .max_concurrent_streams(limits.streams)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(LOCAL_RESETS)
        .max_header_list_size(HEAD_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    builder
}

/// Errors of one connection that failed before it was accepted, not of the listener.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
