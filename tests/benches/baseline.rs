//! What Hookswitch is measured against: three small servers, each one step more than the last.
//!
//! `bare` reads the body and answers 200. `hmac` verifies too. `floor` also makes the body durable:
//! one writer takes what has queued up, appends it to a plain file, syncs once, and answers all. That
//! is the least that a server can do which answers 200 only for what survives a loss of power.
//!
//! Each runs in a process of its own: this program, started again with `serve`.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::serve::ListenerExt;
use hmac::Mac;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::request::{SIGNATURE_HEADER, keyed};

/// Reads the body, answers 200.
pub(crate) const BARE: &str = "bare";
/// Verifies the signature too.
pub(crate) const HMAC: &str = "hmac";
/// Makes the body durable too.
pub(crate) const FLOOR: &str = "floor";

/// An append that waits for its sync.
struct Append {
    body: Bytes,
    durable: oneshot::Sender<()>,
}

/// Serves until the process is ended; writes its address to standard output first.
pub(crate) fn serve(kind: &str, data: &Path) -> Result<()> {
    let router = match kind {
        BARE => Router::new().route("/", post(bare)),
        HMAC => Router::new().route("/", post(verified)),
        FLOOR => {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .open(data.join("floor.log"))?;
            let (sender, receiver) = mpsc::channel(4096);
            thread::spawn(move || write(file, receiver));
            Router::new().route("/", post(durable)).with_state(sender)
        }
        other => bail!("no baseline named {other}"),
    };
    tokio::runtime::Runtime::new()?.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut out = std::io::stdout();
        writeln!(out, "{}", listener.local_addr()?)?;
        out.flush()?;
        let listener = listener.tap_io(|stream| {
            // Without it answers would wait for the client's acknowledgement.
            stream.set_nodelay(true).unwrap_or_default();
        });
        axum::serve(listener, router).await.context("serving")
    })
}

async fn bare(_body: Bytes) -> StatusCode {
    StatusCode::OK
}

async fn verified(headers: HeaderMap, body: Bytes) -> StatusCode {
    if verify(&headers, &body) {
        StatusCode::OK
    } else {
        StatusCode::UNAUTHORIZED
    }
}

async fn durable(
    State(writer): State<mpsc::Sender<Append>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    if !verify(&headers, &body) {
        return StatusCode::UNAUTHORIZED;
    }
    let (sender, receiver) = oneshot::channel();
    let append = Append {
        body,
        durable: sender,
    };
    if writer.send(append).await.is_err() || receiver.await.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    StatusCode::OK
}

fn verify(headers: &HeaderMap, body: &[u8]) -> bool {
    let mut signature = [0; 32];
    let Some(value) = headers.get(SIGNATURE_HEADER) else {
        return false;
    };
    if hex::decode_to_slice(value.as_bytes(), &mut signature).is_err() {
        return false;
    }
    keyed().is_ok_and(|mut hash| {
        hash.update(body);
        hash.verify_slice(&signature).is_ok()
    })
}

/// The single writer. It ends, and every request after it fails, with the first error.
fn write(mut file: File, mut queue: mpsc::Receiver<Append>) {
    let mut buffer = Vec::new();
    let mut waiting = Vec::new();
    while let Some(first) = queue.blocking_recv() {
        buffer.clear();
        let mut next = Some(first);
        while let Some(append) = next {
            buffer.extend_from_slice(&append.body);
            buffer.push(b'\n');
            waiting.push(append.durable);
            next = queue.try_recv().ok();
        }
        if file
            .write_all(&buffer)
            .and_then(|()| file.sync_data())
            .is_err()
        {
            return;
        }
        for durable in waiting.drain(..) {
            // A client that has gone away needs no answer.
            durable.send(()).unwrap_or_default();
        }
    }
}
