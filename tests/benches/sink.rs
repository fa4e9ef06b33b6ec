//! A destination that answers 200 to everything at once, and remembers when it got what.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::histogram::Histogram;
use crate::load::content_length;
use crate::request::{age, find};

/// A destination that runs until it is dropped.
pub(crate) struct Sink {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    arrivals: Arc<Mutex<Arrivals>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What has come in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arrivals {
    /// From sending an event to its delivery.
    pub(crate) latency: Histogram,
    /// Deliveries.
    pub(crate) count: u64,
    /// When the first came.
    pub(crate) first: Option<Instant>,
    /// When the last came.
    pub(crate) last: Option<Instant>,
}

impl Sink {
    /// Starts it on a thread of its own.
    pub(crate) fn start() -> Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let arrivals = Arc::new(Mutex::new(Arrivals::default()));
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let shared = Arc::clone(&arrivals);
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    served = serve(listener, &shared) => drop(served),
                    _ = stopped => {}
                }
            });
        });
        Ok(Self {
            address,
            arrivals,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// What has come in so far.
    pub(crate) fn arrivals(&self) -> Arrivals {
        self.arrivals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Forgets what has come in.
    pub(crate) fn reset(&self) {
        *self.arrivals.lock().unwrap_or_else(PoisonError::into_inner) = Arrivals::default();
    }

    /// Waits until this many deliveries have come.
    ///
    /// # Errors
    /// Where none has come for a long time.
    pub(crate) fn wait_for(&self, count: u64) -> Result<Arrivals> {
        let mut before = (0, Instant::now());
        loop {
            let arrivals = self.arrivals();
            if arrivals.count >= count {
                return Ok(arrivals);
            }
            if arrivals.count > before.0 {
                before = (arrivals.count, Instant::now());
            }
            if before.1.elapsed() > Duration::from_secs(30) {
                bail!("{} of {count} deliveries came, then none", arrivals.count);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).unwrap_or_default();
        }
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_default();
        }
    }
}

async fn serve(listener: std::net::TcpListener, arrivals: &Arc<Mutex<Arrivals>>) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let arrivals = Arc::clone(arrivals);
        connections.spawn(async move { connection(stream, &arrivals).await });
    }
}

async fn connection(mut stream: TcpStream, arrivals: &Mutex<Arrivals>) -> Result<()> {
    let mut buffer = Vec::new();
    loop {
        let Some(head) = find(&buffer, b"\r\n\r\n") else {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let length = head + 4 + content_length(buffer.get(..head).unwrap_or_default())?;
        while buffer.len() < length {
            let read = stream.read_buf(&mut buffer).await?;
            ensure!(read > 0, "a request was cut off");
        }
        let now = Instant::now();
        let age = age(buffer.get(..length).context("a short buffer")?, now);
        buffer.drain(..length);
        {
            let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
            arrivals.count += 1;
            arrivals.first.get_or_insert(now);
            arrivals.last = Some(now);
            if let Some(age) = age {
                arrivals.latency.add(age);
            }
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await?;
    }
}
