//! Attempts by NATS's and PostgreSQL's own protocols: what is reached, what is held, and what each way to
//! fail is taken for. Real servers are driven by the tests of the whole system.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hookswitch_crds::duration::Duration as Span;
use hookswitch_crds::secret::SecretBytes;
use hookswitch_crds::snapshot::{
    Destination, DestinationKind, Format, Nats, NatsAuth, OnConflict, Postgres, ResolvedSecret,
    Transport,
};
use rustls::RootCertStore;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use super::bench::{delivery, destination};
use super::kinds::request;
use super::settings;
use crate::deliver::kind::{Class, reason};
use crate::deliver::network::{Lookup, Network};
use crate::deliver::target::{Attempted, Held, Target};
use crate::deliver::wire::{self, Wire};
use crate::store::StoredDelivery;

/// Every name is this machine.
struct Loopback;

impl Lookup for Loopback {
    fn lookup(
        &self,
        _: String,
        _: OwnedSemaphorePermit,
    ) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        std::future::ready(Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)])).boxed()
    }
}

/// A server that greets as NATS does, answers each PING, and to messages says what it is told to.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Server {
    /// `answer` is given what came with messages in it; `None` closes the connection.
    async fn start(info: &'static str, answer: fn(&str) -> Option<String>) -> Self {
        Self::start_with(info, "", answer).await
    }

    /// The same that says more after its answer to the first of several PINGs, as to the first of a connection.
    async fn start_with(
        info: &'static str,
        more: &'static str,
        answer: fn(&str) -> Option<String>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let mut task = JoinSet::new();
        task.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let greeting = format!("INFO {info}\r\n");
                stream.write_all(greeting.as_bytes()).await.unwrap();
                let mut read = vec![0; 1 << 16];
                while let Ok(length @ 1..) = stream.read(&mut read).await {
                    let text = String::from_utf8_lossy(&read[..length]).into_owned();
                    let said = if text.contains("HPUB") {
                        answer(&text)
                    } else {
                        let pings = text.matches("PING\r\n").count();
                        let first = if pings > 1 { more } else { "" };
                        let others = "PONG\r\n".repeat(pings - 1);
                        Some(format!("PONG\r\n{first}{others}"))
                    };
                    let Some(said) = said else { break };
                    stream.write_all(said.as_bytes()).await.unwrap();
                }
            }
        });
        Self {
            address,
            connections,
            _task: task,
        }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

const INFO: &str = r#"{"headers":true,"max_payload":1048576,"connect_urls":["127.0.0.1:1"]}"#;

fn nats(port: u16) -> Nats {
    Nats {
        host: "nats.example".to_owned(),
        port,
        tls: false,
        jetstream: true,
        format: Format::Json,
        auth: NatsAuth::None,
        ca: None,
        private_networks: vec!["127.0.0.1/32".parse().unwrap()],
    }
}

pub(super) fn postgres(url: &str) -> Postgres {
    Postgres {
        url: ResolvedSecret {
            reference: "pg/url".to_owned(),
            value: Some(SecretBytes::new(url.as_bytes().to_vec())),
        },
        table: "events".to_owned(),
        key_column: Some("hookswitch_id".to_owned()),
        conflict_columns: vec!["hookswitch_id".to_owned()],
        on_conflict: OnConflict::DoNothing,
        ca: None,
        private_networks: vec!["127.0.0.1/32".parse().unwrap()],
    }
}

fn to(transport: Transport) -> Destination {
    let mut destination = destination("it", settings());
    destination.delivery.timeout = Span::from_millis(2000);
    destination.kind = match &transport {
        Transport::Http(_) => DestinationKind::Http,
        Transport::Nats(_) => DestinationKind::Nats,
        Transport::Postgres(_) => DestinationKind::Postgres,
    };
    destination.transport = transport;
    destination
}

fn to_nats(nats: Nats) -> Destination {
    to(Transport::Nats(Box::new(nats)))
}

pub(super) fn to_postgres(postgres: Postgres) -> Destination {
    to(Transport::Postgres(Box::new(postgres)))
}

pub(super) fn prepare(destination: Destination) -> Result<Target, Held> {
    let network = Network::new(RootCertStore::empty(), Arc::new(Loopback)).unwrap();
    let wire: Arc<dyn Wire> = Arc::new(wire::Network);
    Target::prepare(&Arc::new(destination), &network, &wire)
}

fn planned(kind: DestinationKind, id: u128, subject: &str) -> StoredDelivery {
    let at = "2026-01-02T03:04:05Z".parse().unwrap();
    StoredDelivery {
        request: request(kind, Some(subject), r#"{"a":1}"#),
        ..delivery(id, "it", at)
    }
}

pub(super) async fn attempt(target: &Target, subjects: &[&str]) -> Vec<Attempted> {
    let kind = target.spec.kind;
    let deliveries: Vec<_> = (1..)
        .zip(subjects)
        .map(|(id, subject)| planned(kind, id, subject))
        .collect();
    let now = "2026-01-02T03:04:05Z".parse().unwrap();
    let reply = target.attempt(&deliveries, now).await;
    target.judge(&deliveries, &reply, now).each
}

pub(super) async fn once(destination: Destination) -> Attempted {
    let target = prepare(destination).unwrap();
    attempt(&target, &["a"]).await.remove(0)
}

#[tokio::test]
async fn a_name_that_resolves_to_a_private_address_is_refused_for_every_protocol() {
    let server = Server::start(INFO, |_| None).await;
    let port = server.address.port();
    let elsewhere = || vec!["10.0.0.0/8".parse().unwrap()];
    let url = format!("postgres://u:planted@db.example:{port}/crm");
    for destination in [
        to_nats(Nats {
            private_networks: elsewhere(),
            ..nats(port)
        }),
        to_nats(Nats {
            tls: true,
            private_networks: Vec::new(),
            ..nats(port)
        }),
        to_postgres(Postgres {
            private_networks: elsewhere(),
            ..postgres(&url)
        }),
        to_postgres(Postgres {
            private_networks: Vec::new(),
            ..postgres(&url)
        }),
    ] {
        let attempted = once(destination).await;
        assert_eq!(attempted.verdict.class, Class::Retry);
        assert_eq!(attempted.verdict.reason, reason::ADDRESS, "{attempted:?}");
        let excerpt = attempted.answer.excerpt.unwrap();
        assert!(excerpt.contains("allowPrivateNetwork"), "{excerpt}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn private_addresses_and_connections_without_tls_are_held_without_leave() {
    let plain = |private: &[&str], tls, host: &str| {
        let held = prepare(to_nats(Nats {
            tls,
            host: host.to_owned(),
            private_networks: private.iter().map(|it| it.parse().unwrap()).collect(),
            ..nats(4222)
        }));
        held.err()
    };
    assert!(matches!(
        plain(&[], false, "nats.example"),
        Some(Held::Plain)
    ));
    assert!(matches!(
        plain(&[], true, "127.0.0.1"),
        Some(Held::Address(_))
    ));
    assert!(matches!(
        plain(&["10.0.0.0/8"], true, "::1"),
        Some(Held::Address(_))
    ));
    assert!(plain(&[], true, "nats.example").is_none());
    let held = |url: &str| {
        let held = prepare(to_postgres(Postgres {
            private_networks: Vec::new(),
            ..postgres(url)
        }));
        held.err()
    };
    let plain = held("postgres://u@db.example/crm?sslmode=disable");
    assert!(matches!(plain, Some(Held::Plain)));
    for url in ["postgres://u@127.0.0.1/crm", "postgres://u@[::1]/crm"] {
        assert!(matches!(held(url), Some(Held::Address(_))), "{url}");
    }
    let told = held("postgres://u:planted@db.example/")
        .unwrap()
        .to_string();
    assert_eq!(told, "the secret pg/url names no database");
    assert!(held("postgres://u@db.example/crm").is_none());
}

#[tokio::test]
async fn what_left_and_was_not_answered_is_in_doubt_and_what_did_not_leave_is_not() {
    // It hangs up once it has the message.
    let server = Server::start(INFO, |_| None).await;
    let attempted = once(to_nats(nats(server.address.port()))).await;
    assert_eq!(attempted.verdict.class, Class::Ambiguous);
    assert_eq!(attempted.verdict.reason, reason::CONNECTION_LOST);
    // It says nothing more.
    let server = Server::start(INFO, |_| Some("PONG\r\n".to_owned())).await;
    let attempted = once(to_nats(nats(server.address.port()))).await;
    assert_eq!(attempted.verdict.class, Class::Ambiguous);
    assert_eq!(attempted.verdict.reason, reason::TIMEOUT);
    // Nobody is there, or somebody who speaks something else.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let attempted = once(to_nats(nats(port))).await;
    assert_eq!(attempted.verdict.class, Class::Retry);
    assert_eq!(attempted.verdict.reason, reason::CONNECT);
    let server = Server::start("nothing", |_| None).await;
    let port = server.address.port();
    let attempted = once(to_nats(nats(port))).await;
    assert_eq!(attempted.verdict.class, Class::Retry);
    let url = format!("postgres://u:planted@db.example:{port}/crm?sslmode=disable");
    let attempted = once(to_postgres(postgres(&url))).await;
    assert_eq!(attempted.verdict.class, Class::Retry, "{attempted:?}");
    assert!(!attempted.answer.excerpt.unwrap().contains("planted"));
}

#[tokio::test]
async fn a_server_without_tls_gets_nothing_where_tls_is_a_must() {
    let server = Server::start(INFO, |_| None).await;
    let to = Nats {
        tls: true,
        ..nats(server.address.port())
    };
    let attempted = once(to_nats(to)).await;
    assert_eq!(attempted.verdict.class, Class::Retry);
    assert_eq!(attempted.verdict.reason, reason::TLS);
}

/// The reply subjects of what was published, in order.
fn replies(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("HPUB "));
    lines
        .filter_map(|line| line.split(' ').nth(1))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn each_message_is_judged_by_what_was_said_of_it() {
    let server = Server::start(INFO, |text| {
        let replies = replies(text);
        let stored = r#"{"stream":"EVENTS","seq":1}"#;
        // Out of order; the third may not be published.
        Some(format!(
            "-ERR 'Permissions Violation for Publish to \"c\"'\r\nHMSG {} 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n\
             PONG\r\nMSG {} 1 {}\r\n{stored}\r\n",
            replies[1],
            replies[0],
            stored.len(),
        ))
    })
    .await;
    let target = prepare(to_nats(nats(server.address.port()))).unwrap();
    let each = attempt(&target, &["a", "b", "c", "d.*"]).await;
    let judged: Vec<_> = each
        .iter()
        .map(|it| (it.verdict.class, it.verdict.reason))
        .collect();
    assert_eq!(
        judged,
        [
            (Class::Delivered, reason::DELIVERED),
            (Class::Retry, reason::NO_STREAM),
            (Class::Refused, reason::UNAUTHORIZED),
            (Class::Refused, reason::REFUSED),
        ]
    );
    // The connection is used again, and no other server that this one told of.
    let each = attempt(&target, &["a", "b", "c"]).await;
    assert_eq!(each[0].verdict.class, Class::Delivered);
    assert_eq!(server.connections(), 1);
}

/// An answer of JetStream's to each message.
fn stored(text: &str) -> String {
    let stored = r#"{"stream":"EVENTS","seq":1}"#;
    let said = |reply| format!("MSG {reply} 1 {}\r\n{stored}\r\n", stored.len());
    let said: Vec<_> = replies(text).into_iter().map(said).collect();
    said.concat()
}

#[tokio::test]
async fn r54_the_largest_message_is_what_the_server_says_once_it_knows_who_we_are() {
    let of_user = "INFO {\"headers\":true,\"max_payload\":60}\r\n";
    let server = Server::start_with(INFO, of_user, |_| None).await;
    let attempted = once(to_nats(nats(server.address.port()))).await;
    assert_eq!(attempted.verdict.class, Class::Refused, "{attempted:?}");
    assert!(attempted.answer.excerpt.unwrap().contains("takes 60"));
    // There may be none.
    let unlimited = r#"{"headers":true,"max_payload":-1}"#;
    let server = Server::start(unlimited, |text| Some(format!("PONG\r\n{}", stored(text)))).await;
    let attempted = once(to_nats(nats(server.address.port()))).await;
    assert_eq!(attempted.verdict.class, Class::Delivered, "{attempted:?}");
    // It was lowered since: the server tells which one it does not take by closing the connection.
    let server = Server::start(INFO, |_| {
        Some("-ERR 'Maximum Payload Violation'\r\n".to_owned())
    })
    .await;
    let target = prepare(to_nats(nats(server.address.port()))).unwrap();
    let each = attempt(&target, &["a", "b"]).await;
    let classes: Vec<_> = each.iter().map(|it| it.verdict.class).collect();
    assert_eq!(classes, [Class::Ambiguous, Class::Refused]);
}

#[tokio::test]
async fn r54_a_server_that_is_about_to_end_is_left_before_it_goes() {
    let server = Server::start(INFO, |text| {
        let leaving = r#"{"headers":true,"max_payload":1048576,"ldm":true}"#;
        Some(format!("INFO {leaving}\r\nPONG\r\n{}", stored(text)))
    })
    .await;
    let target = prepare(to_nats(nats(server.address.port()))).unwrap();
    for connections in 1..3 {
        let each = attempt(&target, &["a"]).await;
        assert_eq!(each[0].verdict.class, Class::Delivered);
        assert_eq!(server.connections(), connections);
    }
}

#[tokio::test]
async fn a_denial_of_what_is_not_known_ends_the_attempt_by_what_it_means() {
    const DENIED: &str = "-ERR 'Permissions Violation for Publish to \"else.where\"'\r\n";
    let judged = |each: Vec<Attempted>| -> Vec<_> {
        let verdicts = each.iter().map(|it| it.verdict);
        verdicts.map(|it| (it.class, it.reason)).collect()
    };
    let denied = (Class::Refused, reason::UNAUTHORIZED);
    let answered = (Class::Delivered, reason::DELIVERED);
    // What is not answered is what was denied, whatever is said first.
    let answers: [fn(&str) -> Option<String>; 2] = [
        |text| {
            let first = stored(text.split("HPUB b").next().unwrap());
            Some(format!("{DENIED}PONG\r\n{first}"))
        },
        |text| {
            let first = stored(text.split("HPUB b").next().unwrap());
            Some(format!("{first}{DENIED}PONG\r\n"))
        },
    ];
    for answer in answers {
        let server = Server::start(INFO, answer).await;
        let target = prepare(to_nats(nats(server.address.port()))).unwrap();
        let each = attempt(&target, &["a", "b"]).await;
        assert_eq!(judged(each), [answered, denied]);
    }
    // Without answers it is known of a single one.
    let server = Server::start(INFO, |_| Some(format!("{DENIED}PONG\r\n"))).await;
    let core = Nats {
        jetstream: false,
        ..nats(server.address.port())
    };
    let target = prepare(to_nats(core)).unwrap();
    assert_eq!(judged(attempt(&target, &["a"]).await), [denied]);
    let unknown = (Class::Ambiguous, reason::UNAUTHORIZED);
    let each = attempt(&target, &["a", "b"]).await;
    assert_eq!(judged(each), [unknown, unknown]);
}
