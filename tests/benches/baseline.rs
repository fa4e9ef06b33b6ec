//! What Hookswitch is measured against: four small servers, each one step more than the last.
//!
//! `bare` reads the body and answers 200. `hmac` verifies too. `floor` also makes the body durable:
//! one writer takes what has queued up, appends it to a plain file, syncs once, and answers all. That
//! is the least that a server can do which answers 200 only for what survives a loss of power.
//! `fields` is the floor that also reads from the body what a receiver has to know of it.
//!
//! Each runs in a process of its own: this program, started again with `serve`.

use std::borrow::Cow;
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
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::request::{SIGNATURE_HEADER, keyed};

/// Reads the body, answers 200.
pub(crate) const BARE: &str = "bare";
/// Verifies the signature too.
pub(crate) const HMAC: &str = "hmac";
/// Makes the body durable too.
pub(crate) const FLOOR: &str = "floor";
/// Reads the attributes of the event too.
pub(crate) const FIELDS: &str = "fields";

/// What a receiver reads from a body: what it is, whether it came before, and where it belongs.
#[derive(Deserialize)]
struct Attributes<'a> {
    #[serde(borrow)]
    event_id: Cow<'a, str>,
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    conversation_id: Cow<'a, str>,
    #[serde(borrow)]
    sender_type: Cow<'a, str>,
}

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
        FLOOR => Router::new()
            .route("/", post(durable))
            .with_state(writer(data)?),
        FIELDS => Router::new()
            .route("/", post(read))
            .with_state(writer(data)?),
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
    append(&writer, body).await
}

async fn read(
    State(writer): State<mpsc::Sender<Append>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    if !verify(&headers, &body) {
        return StatusCode::UNAUTHORIZED;
    }
    let complete = serde_json::from_slice(&body).is_ok_and(|attributes: Attributes<'_>| {
        let Attributes {
            event_id,
            event_type,
            timestamp,
            conversation_id,
            sender_type,
        } = attributes;
        let texts = [
            event_id,
            event_type,
            timestamp,
            conversation_id,
            sender_type,
        ];
        texts.iter().all(|text| !text.is_empty())
    });
    if complete {
        append(&writer, body).await
    } else {
        StatusCode::BAD_REQUEST
    }
}

/// Hands a body to the writer, and waits until it is durable.
async fn append(writer: &mpsc::Sender<Append>, body: Bytes) -> StatusCode {
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

/// Starts the writer on a new file.
fn writer(data: &Path) -> Result<mpsc::Sender<Append>> {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(data.join("floor.log"))?;
    let (sender, receiver) = mpsc::channel(4096);
    thread::spawn(move || write(file, receiver));
    Ok(sender)
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
