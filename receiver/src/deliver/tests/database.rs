//! Attempts to write rows to a database that says what the test tells it to: what a real one says rarely, or
//! a pooler before it.
//!
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::spoken::{attempt, once, postgres, prepare, to_postgres};
use crate::deliver::kind::{Class, reason};
use crate::deliver::target::{Attempted, Target};

/// Gives the SQLSTATE by which a query fails, by the number of its connection and its own number there, both from 0.
type Answer = fn(usize, usize, &str) -> Option<&'static str>;

/// A database that takes every query but those that are to fail.
struct Database {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Database {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut sessions = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                sessions.spawn(serve(stream, number, answer));
            }
        });
        Self {
            address,
            connections,
            _task: task,
        }
    }

    fn url(&self) -> String {
        let port = self.address.port();
        format!("postgres://u@db.example:{port}/crm?sslmode=disable")
    }

    fn target(&self) -> Target {
        prepare(to_postgres(postgres(&self.url()))).unwrap()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Serves a connection until its end.
async fn serve(mut stream: TcpStream, connection: usize, answer: Answer) -> Option<()> {
    let startup = stream.read_u32().await.ok()?;
    body(&mut stream, startup).await?;
    let mut out = message(b'R', &[0; 4]);
    out.extend(message(b'Z', b"I"));
    stream.write_all(&out).await.ok()?;
    let (mut number, mut prepared) = (0, String::new());
    loop {
        let kind = stream.read_u8().await.ok()?;
        let length = stream.read_u32().await.ok()?;
        let body = body(&mut stream, length).await?;
        let (query, good) = match kind {
            b'Q' => (text(&body, 0), message(b'C', b"DONE\0")),
            b'P' => {
                prepared = text(&body, 1);
                continue;
            }
            // The end of what is executed: parsed, bound, without rows, done.
            b'S' => {
                let parts: [(u8, &[u8]); 4] = [
                    (b'1', b""),
                    (b'2', b""),
                    (b'n', b""),
                    (b'C', b"INSERT 0 1\0"),
                ];
                let good = parts.map(|(kind, body)| message(kind, body)).concat();
                (std::mem::take(&mut prepared), good)
            }
            b'X' => return None,
            _ => continue,
        };
        let mut out = match answer(connection, number, &query) {
            Some(code) => {
                let fields = format!("SERROR\0VERROR\0C{code}\0Mtold\0\0");
                message(b'E', fields.as_bytes())
            }
            None => good,
        };
        out.extend(message(b'Z', b"I"));
        stream.write_all(&out).await.ok()?;
        number += 1;
    }
}

async fn body(stream: &mut TcpStream, length: u32) -> Option<Vec<u8>> {
    let mut body = vec![0; usize::try_from(length).ok()?.checked_sub(4)?];
    stream.read_exact(&mut body).await.ok()?;
    Some(body)
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

/// The text at a place among texts that end with a zero.
fn text(body: &[u8], place: usize) -> String {
    let text = body.split(|it| *it == 0).nth(place).unwrap();
    String::from_utf8_lossy(text).into_owned()
}

fn judged(each: &[Attempted]) -> Vec<(Class, &'static str)> {
    let verdicts = each.iter().map(|it| it.verdict);
    verdicts.map(|it| (it.class, it.reason)).collect()
}

const DELIVERED: (Class, &str) = (Class::Delivered, reason::DELIVERED);

#[tokio::test]
async fn r54_a_connection_whose_transaction_does_not_begin_is_left_and_nothing_refused() {
    // The first row is written; then a pooler gives us a session that somebody left in a failed transaction.
    let database =
        Database::start(|connection, number, _| (connection == 0 && number > 2).then_some("25P02"))
            .await;
    let target = database.target();
    assert_eq!(judged(&attempt(&target, &["a"]).await), [DELIVERED]);
    assert_eq!(database.connections(), 1);
    for _ in 0..2 {
        assert_eq!(judged(&attempt(&target, &["a"]).await), [DELIVERED]);
        assert_eq!(database.connections(), 2);
    }
}

#[tokio::test]
async fn r54_what_does_not_begin_anew_either_is_attempted_again() {
    let database = Database::start(|connection, _, query| {
        (connection == 0 && query.starts_with("BEGIN")).then_some("08P01")
    })
    .await;
    let target = database.target();
    let each = attempt(&target, &["a", "b"]).await;
    assert_eq!(judged(&each), [(Class::Retry, reason::CONNECT); 2]);
    assert!(each[0].answer.excerpt.as_ref().unwrap().contains("08P01"));
    assert_eq!(judged(&attempt(&target, &["a", "b"]).await), [DELIVERED; 2]);
    assert_eq!(database.connections(), 2);
}

#[tokio::test]
async fn r54_a_transaction_that_had_failed_refuses_no_row() {
    let database =
        Database::start(|_, _, query| query.starts_with("INSERT").then_some("25P02")).await;
    let attempted = once(to_postgres(postgres(&database.url()))).await;
    let lost = (Class::Retry, reason::CONNECTION_LOST);
    assert_eq!(judged(&[attempted]), [lost]);
}

#[tokio::test]
async fn r54_a_connection_that_does_not_roll_back_is_left() {
    let database = Database::start(|connection, number, query| match query {
        "ROLLBACK" => Some("57014"),
        _ if connection == 0 && number == 1 => Some("40001"),
        _ => None,
    })
    .await;
    let target = database.target();
    let lost = (Class::Retry, reason::CONNECTION_LOST);
    assert_eq!(judged(&attempt(&target, &["a"]).await), [lost]);
    assert_eq!(judged(&attempt(&target, &["a"]).await), [DELIVERED]);
    assert_eq!(database.connections(), 2);
}

#[tokio::test]
async fn r54_what_the_server_says_of_all_is_asked_for_once_and_what_it_says_of_a_row_is_that_rows_own()
 {
    // It takes no writes: the second row is not even tried alone.
    let database = Database::start(|_, number, query| match number {
        0..=3 => query.starts_with("INSERT").then_some("25006"),
        _ => panic!("{query}"),
    })
    .await;
    let target = database.target();
    let each = attempt(&target, &["a", "b"]).await;
    assert_eq!(judged(&each), [(Class::Retry, reason::SERVER_ERROR); 2]);
    // One is in conflict, and the other is written.
    let database = Database::start(|_, number, _| (number == 1).then_some("40001")).await;
    let each = attempt(&database.target(), &["a", "b"]).await;
    let conflict = (Class::Retry, reason::CONFLICT);
    assert_eq!(judged(&each), [conflict, DELIVERED]);
    // At the COMMIT nobody knows whose it is: each goes alone, and it is the second's.
    let database = Database::start(|_, number, query| {
        (matches!(number, 3 | 9) && query == "COMMIT").then_some("40001")
    })
    .await;
    let each = attempt(&database.target(), &["a", "b"]).await;
    assert_eq!(judged(&each), [DELIVERED, conflict]);
}
