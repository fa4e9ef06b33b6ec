//! A small HTTP/1.1 server for tests: records what comes, and misbehaves as it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// What it does with each request.
#[derive(Clone)]
pub(super) enum Behaviour {
    /// Sends these bytes.
    Answer(String),
    /// Sends the request's head back as the body of a 500.
    Echo,
    /// Reads the request and closes the connection.
    Close,
    /// Reads the request and says nothing.
    Hang,
    /// Says 200, and then sends without an end.
    Endless,
    /// Says something that is not TLS before it reads anything.
    Interrupt,
}

/// The server; ends with its value.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    record: Arc<Mutex<Record>>,
    _task: JoinSet<()>,
}

#[derive(Default)]
struct Record {
    connections: usize,
    requests: Vec<String>,
}

impl Server {
    pub(super) async fn start(behaviour: Behaviour) -> Self {
        Self::start_with(behaviour, None).await
    }

    pub(super) async fn start_with(behaviour: Behaviour, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let record = Arc::new(Mutex::new(Record::default()));
        let mut task = JoinSet::new();
        let recorded = Arc::clone(&record);
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                recorded.lock().unwrap().connections += 1;
                let (record, behaviour, tls) =
                    (Arc::clone(&recorded), behaviour.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, &behaviour, &record).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &behaviour, &record).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            record,
            _task: task,
        }
    }

    /// Each request as it came, head and body.
    pub(super) fn requests(&self) -> Vec<String> {
        self.record.lock().unwrap().requests.clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.record.lock().unwrap().connections
    }
}

/// A whole answer.
pub(super) fn respond(status: &str, headers: &str, body: &str) -> Behaviour {
    Behaviour::Answer(format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    ))
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    behaviour: &Behaviour,
    record: &Mutex<Record>,
) {
    if matches!(behaviour, Behaviour::Interrupt) {
        stream
            .write_all(b"SSH-2.0-not-what-you-want\r\n")
            .await
            .unwrap();
    }
    while let Some(request) = read(&mut stream).await {
        record.lock().unwrap().requests.push(request.clone());
        let written = match behaviour {
            Behaviour::Answer(bytes) => stream.write_all(bytes.as_bytes()).await,
            Behaviour::Echo => {
                let answer = format!(
                    "HTTP/1.1 500 Error\r\ncontent-length: {}\r\n\r\n{request}",
                    request.len()
                );
                stream.write_all(answer.as_bytes()).await
            }
            Behaviour::Hang => return std::future::pending().await,
            Behaviour::Close | Behaviour::Interrupt => return,
            Behaviour::Endless => {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n";
                let mut written = stream.write_all(head.as_bytes()).await;
                while written.is_ok() {
                    written = stream.write_all(&[b'x'; 4096]).await;
                }
                written
            }
        };
        if written.is_err() {
            return;
        }
    }
}

/// One request, or `None` at the end of the connection.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                .map_or(0, |(_, length)| length.trim().parse().unwrap());
            if body.len() >= length {
                return Some(text);
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
