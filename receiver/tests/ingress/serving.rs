//! Connections: what they may hold, for how long, and how they end.

use std::time::Duration;

use hookswitch_receiver::metrics::outcome;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::harness::{PATH, PATIENCE, Receiver, SIGNATURE, Setup, client_trusting, sign, tg_staff};

const EVENT: &str = r#"{"event_type": "message.received", "event_id": 1}"#;

/// A limit that is short beside [`PATIENCE`], and long beside what is not to run into it.
const SHORT: Duration = Duration::from_millis(300);

fn head(content_length: usize) -> String {
    let signature = sign(EVENT);
    format!(
        "POST {PATH} HTTP/1.1\r\nhost: x\r\n{SIGNATURE}: {signature}\r\ncontent-length: {content_length}\r\n\r\n"
    )
}

async fn connect(receiver: &Receiver) -> TcpStream {
    TcpStream::connect(receiver.address).await.unwrap()
}

/// What comes until the server closes the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    // A reset ends it as well.
    drop(read.expect("the server did not close the connection"));
    String::from_utf8(answer).unwrap()
}

/// The head of one answer, on a connection that stays open.
async fn answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = async {
        while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
    };
    timeout(PATIENCE, read).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_head_that_trickles_in_is_cut_off() {
    let mut setup = Setup::new(vec![tg_staff()]);
    setup.limits.first_request = SHORT;
    let receiver = setup.start().await;
    let trickle = async |first: &str, then: &[u8]| {
        let started = Instant::now();
        let (mut reader, mut writer) = connect(&receiver).await.into_split();
        writer.write_all(first.as_bytes()).await.unwrap();
        let write = async {
            while writer.write_all(then).await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
            std::future::pending::<()>().await;
        };
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, reader.read_to_end(&mut answer));
        tokio::select! {
            () = write => {}
            // A reset ends it as well.
            read = read => drop(read.expect("the server did not close the connection")),
        }
        assert!(started.elapsed() >= SHORT, "{first}");
    };
    futures::join!(
        trickle("", b""),
        trickle("POST / HTTP/1.1\r\nx: ", b"x"),
        trickle("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b""),
    );
    assert!(receiver.store.events().is_empty());
}

#[tokio::test]
async fn r20_a_body_that_trickles_in_gets_408_and_the_end_of_its_connection() {
    let mut setup = Setup::new(vec![tg_staff()]);
    setup.settings.body_deadline = SHORT;
    let receiver = setup.start().await;
    let mut stream = connect(&receiver).await;
    stream
        .write_all(head(EVENT.len()).as_bytes())
        .await
        .unwrap();
    stream.write_all(&EVENT.as_bytes()[..5]).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert_eq!(receiver.requests(outcome::TIMEOUT), 1);
    assert!(receiver.store.events().is_empty());
}

#[tokio::test]
async fn a_body_that_ends_early_is_not_kept() {
    let receiver = Receiver::start().await;
    let mut stream = connect(&receiver).await;
    stream
        .write_all(head(EVENT.len() + 1).as_bytes())
        .await
        .unwrap();
    stream.write_all(EVENT.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    rest(&mut stream).await;
    assert_eq!(receiver.requests(outcome::ACCEPTED), 0);
    assert!(receiver.store.events().is_empty());
}

#[tokio::test]
async fn a_body_over_the_limit_gets_413_before_it_is_read_or_while() {
    let mut small = tg_staff();
    small.limits.body_bytes = 100;
    let receiver = Setup::new(vec![small]).start().await;
    // Announced: nothing of it is waited for.
    let mut stream = connect(&receiver).await;
    stream.write_all(head(101).as_bytes()).await.unwrap();
    let announced = rest(&mut stream).await;
    assert!(announced.starts_with("HTTP/1.1 413 "), "{announced}");
    assert!(announced.contains("connection: close"), "{announced}");
    // A client that asks first is not told to go on.
    let asking = head(101).replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
    let mut stream = connect(&receiver).await;
    stream.write_all(asking.as_bytes()).await.unwrap();
    let asked = rest(&mut stream).await;
    assert!(asked.starts_with("HTTP/1.1 413 "), "{asked}");
    // Not announced, and without an end.
    let mut stream = connect(&receiver).await;
    let chunked = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    stream.write_all(chunked.as_bytes()).await.unwrap();
    for _ in 0..2 {
        stream.write_all(b"33\r\n").await.unwrap();
        stream.write_all(&[b'x'; 0x33]).await.unwrap();
        stream.write_all(b"\r\n").await.unwrap();
    }
    let chunked = rest(&mut stream).await;
    assert!(chunked.starts_with("HTTP/1.1 413 "), "{chunked}");
    assert_eq!(receiver.requests(outcome::TOO_LARGE), 3);
    // One that has just the size, in pieces.
    let body = format!("{EVENT}{}", " ".repeat(100 - EVENT.len()));
    let pieces: Vec<_> = body
        .as_bytes()
        .chunks(30)
        .map(|piece| Ok::<_, std::io::Error>(piece.to_vec()))
        .collect();
    let request = receiver
        .client
        .post(receiver.url(PATH))
        .header(SIGNATURE, sign(&body));
    let pieces = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    assert_eq!(request.body(pieces).send().await.unwrap().status(), 200);
    assert_eq!(crate::harness::only_body(&receiver), body.as_bytes());
}

#[tokio::test]
async fn bodies_in_memory_are_bounded_together() {
    let mut setup = Setup::new(vec![tg_staff()]);
    // Room for the body and what its event takes, and not for another body.
    setup.settings.body_budget = 2048 + 2 * EVENT.len() - 1;
    let receiver = setup.start().await;
    receiver.store.set_open(false);
    let first = receiver.send(EVENT);
    tokio::pin!(first);
    tokio::select! {
        _ = &mut first => unreachable!("the store is closed"),
        () = receiver.store.offered(1) => {}
    }
    assert_eq!(receiver.send(EVENT).await, 503);
    assert_eq!(receiver.requests(outcome::OVERLOADED), 1);
    receiver.store.set_open(true);
    assert_eq!(first.await, 200);
    assert_eq!(receiver.send(EVENT).await, 200);
}

#[tokio::test]
async fn a_connection_serves_many_requests_and_ends_when_none_comes() {
    let mut setup = Setup::new(vec![tg_staff()]);
    setup.limits.first_request = SHORT;
    setup.limits.idle = SHORT;
    let receiver = setup.start().await;
    let mut stream = connect(&receiver).await;
    let request = format!("{}{EVENT}", head(EVENT.len()));
    for _ in 0..3 {
        stream.write_all(request.as_bytes()).await.unwrap();
        assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200 "));
        let mut body = [0; 64];
        assert!(stream.read(&mut body).await.unwrap() > 0);
    }
    let started = Instant::now();
    assert_eq!(rest(&mut stream).await, "");
    assert!(started.elapsed() >= SHORT / 2);
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_one_to_end() {
    let mut setup = Setup::new(vec![tg_staff()]);
    setup.limits.connections = 1;
    let receiver = setup.start().await;
    let request = format!("{}{EVENT}", head(EVENT.len()));
    let mut first = connect(&receiver).await;
    first.write_all(request.as_bytes()).await.unwrap();
    assert!(answer(&mut first).await.starts_with("HTTP/1.1 200 "));
    let mut second = connect(&receiver).await;
    second.write_all(request.as_bytes()).await.unwrap();
    assert!(timeout(SHORT, second.read_u8()).await.is_err());
    drop(first);
    assert!(answer(&mut second).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn http_2_carries_many_requests_on_one_connection() {
    let mut setup = Setup::new(vec![tg_staff()]);
    setup.limits.connections = 1;
    setup.limits.streams = 4;
    let receiver = setup.start().await;
    let client = client_trusting([]).http2_prior_knowledge().build().unwrap();
    let sends = (0..50).map(|id| {
        let body = format!(r#"{{"event_id": {id}}}"#);
        let request = client
            .post(receiver.url(PATH))
            .header(SIGNATURE, sign(&body))
            .body(body);
        async move { request.send().await.unwrap() }
    });
    for response in futures::future::join_all(sends).await {
        assert_eq!(response.status(), 200);
        assert_eq!(response.version(), reqwest::Version::HTTP_2);
    }
    assert_eq!(receiver.store.events().len(), 50);
    let large = client.post(receiver.url(PATH)).body("x".repeat(2_000_000));
    assert_eq!(large.send().await.unwrap().status(), 413);
    let request = client
        .post(receiver.url(PATH))
        .header(SIGNATURE, sign(EVENT));
    assert_eq!(request.body(EVENT).send().await.unwrap().status(), 200);
}

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

#[tokio::test]
async fn a_client_that_opens_streams_only_to_reset_them_is_cut_off() {
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const END_HEADERS: u8 = 4;
    let receiver = Receiver::start().await;
    let (mut reader, mut writer) = connect(&receiver).await.into_split();
    let mut opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    opening.extend(frame(SETTINGS, 0, 0, &[]));
    writer.write_all(&opening).await.unwrap();
    let write = async {
        for stream in (1..).step_by(2) {
            // POST, http, / and the authority `x`, by HPACK's static table.
            let mut pair = frame(HEADERS, END_HEADERS, stream, b"\x83\x86\x84\x41\x01x");
            pair.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            if writer.write_all(&pair).await.is_err() {
                break;
            }
        }
    };
    let mut answer = Vec::new();
    let read = async {
        // A reset ends it as well.
        drop(reader.read_to_end(&mut answer).await);
    };
    timeout(PATIENCE, futures::future::join(write, read))
        .await
        .expect("the server did not close the connection");
    assert_eq!(receiver.send(EVENT).await, 200);
}

#[tokio::test]
async fn a_shutdown_lets_requests_end_and_takes_no_more() {
    let mut receiver = Receiver::start().await;
    receiver.store.set_open(false);
    let mut idle = connect(&receiver).await;
    let mut busy = connect(&receiver).await;
    let request = format!("{}{EVENT}", head(EVENT.len()));
    busy.write_all(request.as_bytes()).await.unwrap();
    receiver.store.offered(1).await;
    receiver.shutdown.cancel();
    assert_eq!(rest(&mut idle).await, "");
    crate::harness::until("nobody listens", || {
        std::net::TcpStream::connect(receiver.address).is_err()
    })
    .await;
    let server = receiver.server.take().unwrap();
    assert!(!server.is_finished());
    receiver.store.set_open(true);
    let answer = rest(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    timeout(PATIENCE, server).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_ever() {
    let mut setup = Setup::new(vec![tg_staff()]);
    setup.limits.drain = SHORT;
    let mut receiver = setup.start().await;
    let mut slow = connect(&receiver).await;
    slow.write_all(head(EVENT.len()).as_bytes()).await.unwrap();
    slow.write_all(b"{").await.unwrap();
    // Until it is being served.
    let request = format!("{}{EVENT}", head(EVENT.len()));
    let mut other = connect(&receiver).await;
    other.write_all(request.as_bytes()).await.unwrap();
    answer(&mut other).await;
    receiver.shutdown.cancel();
    let server = receiver.server.take().unwrap();
    timeout(PATIENCE, server).await.unwrap().unwrap();
    assert_eq!(rest(&mut slow).await, "");
}
