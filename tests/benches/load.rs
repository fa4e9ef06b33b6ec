//! The load generator: keep-alive HTTP/1.1 connections over raw TCP, one request in flight on each.
//!
//! ```text
//! thread ─┬─ connection ─ patch id, sign, write ─ read answer ─ histogram ─┐
//!         └─ connection ...                                                ├─ Tally
//! thread ─── ...                                                           ┘
//! ```
//!
//! Without a rate it is a closed loop: a slow answer slows the sending, and throughput is what is
//! measured. With a rate, requests have their times in advance, and a latency counts from the time
//! that a request was due, so a stall is counted in full.
//!
//! Any answer but `200` fails the run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::histogram::Histogram;
use crate::request::{Request, find};

/// Connections of every run.
pub(crate) const CONNECTIONS: u32 = 64;
/// Threads that drive them.
const THREADS: u32 = 2;

/// What to send, where and for how long.
#[derive(Clone)]
pub(crate) struct Load {
    /// The server.
    pub(crate) address: SocketAddr,
    /// The request path.
    pub(crate) path: String,
    /// For how long.
    pub(crate) time: Duration,
    /// Requests a second over all connections; `None` sends as fast as answers come.
    pub(crate) rate: Option<u32>,
    /// Speak TLS.
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    /// From writing (or being due) to the whole answer.
    pub(crate) latency: Histogram,
    /// Requests a second .
    pub(crate) per_second: f64,
}

impl Load {
    /// As fast as answers come, without TLS; the time is still zero.
    pub(crate) fn to(address: SocketAddr, path: &str) -> Self {
        Self {
            address,
            path: path.to_owned(),
            time: Duration::ZERO,
            rate: None,
            tls: None,
        }
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// Where a connection fails, or an answer is not `200`.
    pub(crate) fn run(&self) -> Result<Tally> {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                let load = self.clone();
                thread::spawn(move || {
                    runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()?
                        .block_on(load.connections(number))
                })
            })
            .collect();
        let mut latency = Histogram::default();
        for thread in threads {
            let part = thread
                .join()
                .map_err(|_| anyhow!("a load thread panicked"))??;
            latency.merge(&part);
        }
        let per_second = crate::numbers::float(latency.count()) / self.time.as_secs_f64();
        Ok(Tally {
            latency,
            per_second,
        })
    }

    async fn connections(self, thread: u32) -> Result<Histogram> {
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for number in (thread..CONNECTIONS).step_by(usize::try_from(THREADS)?) {
            let load = self.clone();
            tasks.spawn(async move { load.connection(start, number).await });
        }
        let mut all = Histogram::default();
        while let Some(part) = tasks.join_next().await {
            all.merge(&part.context("a connection's task")??);
        }
        Ok(all)
    }

    async fn connection(self, start: Instant, number: u32) -> Result<Histogram> {
        let stream = TcpStream::connect(self.address)
            .await
            .with_context(|| format!("connecting to {}", self.address))?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => self.drive(stream, start, number).await,
            Some(config) => {
                let stream = TlsConnector::from(Arc::clone(config))
                    .connect(ServerName::try_from("localhost")?, stream)
                    .await
                    .context("the TLS handshake")?;
                self.drive(stream, start, number).await
            }
        }
    }

    async fn drive<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: S,
        start: Instant,
        number: u32,
    ) -> Result<Histogram> {
        let mut request = Request::new(&self.path)?;
        let mut answer = Answer::default();
        let mut latency = Histogram::default();
        let end = start + self.time;
        let step = self
            .rate
            .map(|rate| Duration::from_secs(1) * CONNECTIONS / rate.max(1));
        let mut due = start + step.unwrap_or_default() * number / CONNECTIONS;
        loop {
            let began = if let Some(step) = step {
                tokio::time::sleep_until(due.into()).await;
                let began = due;
                due += step;
                began
            } else {
                Instant::now()
            };
            if began >= end {
                return Ok(latency);
            }
            stream
                .write_all(request.next(began))
                .await
                .context("sending")?;
            answer.read(&mut stream).await?;
            let now = Instant::now();
            if now <= end || step.is_some() {
                latency.add(now - began);
            }
        }
    }
}

/// The reader of answers, with its buffer.
#[derive(Default)]
pub(crate) struct Answer {
    buffer: Vec<u8>,
}

impl Answer {
    /// Reads one whole answer, which must be `200`.
    pub(crate) async fn read<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> Result<()> {
        self.buffer.clear();
        loop {
            let read = stream.read_buf(&mut self.buffer).await.context("reading")?;
            ensure!(read > 0, "the server closed the connection");
            let Some(head) = find(&self.buffer, b"\r\n\r\n") else {
                continue;
            };
            let length = head + 4 + content_length(self.buffer.get(..head).unwrap_or_default())?;
            if self.buffer.len() < length {
                continue;
            }
            ensure!(self.buffer.len() == length, "more bytes than one answer");
            if !self.buffer.starts_with(b"HTTP/1.1 200 ") {
                bail!(
                    "an answer that is not 200: {}",
                    String::from_utf8_lossy(&self.buffer)
                );
            }
            return Ok(());
        }
    }
}

/// The `content-length` in a head, 0 where there is none.
pub(crate) fn content_length(head: &[u8]) -> Result<usize> {
    for line in head.split(|byte| *byte == b'\n') {
        let Some((name, value)) = line
            .iter()
            .position(|byte| *byte == b':')
            .and_then(|colon| line.split_at_checked(colon))
        else {
            continue;
        };
        if name.eq_ignore_ascii_case(b"content-length") {
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            return Ok(std::str::from_utf8(value)?.parse()?);
        }
    }
    Ok(0)
}
