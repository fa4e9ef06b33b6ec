//! One attempt over real sockets: what is on the wire, and what each way to fail is taken for.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hookswitch_crds::duration::Duration as Span;
use hookswitch_crds::secret::SecretBytes;
use hookswitch_crds::snapshot::{
    Destination, DestinationKind, Header, HeaderValue, OnAmbiguous, ResolvedSecret,
};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::crypto::ring;
use tokio::net::TcpListener;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::bench::{delivery, destination, http};
use super::server::{Behaviour, Server, respond};
use super::settings;
use crate::deliver::kind::{Class, reason};
use crate::deliver::network::{Lookup, Network};
use crate::deliver::target::{Attempted, Held, Target};
use crate::deliver::wire::{self, Wire};
use crate::store::StoredDelivery;

/// Resolves every name to a list; the next list with each call, and the last one from then on.
struct Names(Mutex<Vec<Vec<IpAddr>>>);

impl Lookup for Names {
    fn lookup(
        &self,
        _: String,
        _: OwnedSemaphorePermit,
    ) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> {
        let mut lists = self.0.lock().unwrap();
        let list = if lists.len() > 1 {
            lists.remove(0)
        } else {
            lists[0].clone()
        };
        std::future::ready(Ok(list)).boxed()
    }
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn network(roots: RootCertStore, names: Vec<Vec<IpAddr>>) -> Network {
    Network::new(roots, Arc::new(Names(Mutex::new(names)))).unwrap()
}

/// A destination at a URL that may use the loopback addresses.
fn local(url: String) -> Destination {
    let mut destination = destination("local", settings());
    destination.delivery.timeout = Span::from_millis(400);
    http(&mut destination).url = url;
    http(&mut destination).private_networks = vec!["127.0.0.1/32".parse().unwrap()];
    destination
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}/hook")
}

fn prepare(destination: Destination, network: &Network) -> Result<Target, Held> {
    let wire: Arc<dyn Wire> = Arc::new(wire::Network);
    Target::prepare(&Arc::new(destination), network, &wire)
}

fn planned() -> StoredDelivery {
    delivery(7, "local", now())
}

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

async fn attempt(target: &Target, delivery: &StoredDelivery) -> Attempted {
    let delivery = std::slice::from_ref(delivery);
    let reply = target.attempt(delivery, now()).await;
    target.judge(delivery, &reply, now()).each.remove(0)
}

/// Attempts one delivery to a destination, with names that resolve to the loopback address.
async fn once(destination: Destination) -> Attempted {
    let network = network(RootCertStore::empty(), vec![vec![LOOPBACK]]);
    let target = prepare(destination, &network).unwrap();
    attempt(&target, &planned()).await
}

fn secret(reference: &str, value: &str) -> ResolvedSecret {
    ResolvedSecret {
        reference: reference.to_owned(),
        value: Some(SecretBytes::new(value.as_bytes().to_vec())),
    }
}

fn literal(name: &str, value: &str) -> Header {
    Header {
        name: name.to_owned(),
        value: HeaderValue::Literal(value.to_owned()),
    }
}

#[tokio::test]
async fn r54_a_generic_destination_gets_the_frozen_request_under_our_headers() {
    let server = Server::start(respond("200 OK", "", "ok")).await;
    let mut to = local(url(server.address));
    http(&mut to).headers = vec![
        literal("X-Team", "support"),
        literal("Content-Length", "3"),
        literal("Host", "elsewhere.example"),
        literal("Transfer-Encoding", "chunked"),
        literal("Idempotency-Key", "mine"),
        Header {
            name: "Authorization".to_owned(),
            value: HeaderValue::Secret {
                prefix: "Bearer ".to_owned(),
                secret: secret("crm/token", "t0ken"),
            },
        },
    ];
    let one = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    http(&mut to).signing_secrets = vec![
        secret("crm/new", one),
        secret("crm/broken", "not base64!"),
        ResolvedSecret {
            reference: "crm/missing".to_owned(),
            value: None,
        },
        secret("crm/old", "whsec_c2Vjb25k"),
    ];
    let mut planned = planned();
    planned.request.cloud_event_headers = true;
    let network = network(RootCertStore::empty(), vec![vec![LOOPBACK]]);
    let attempted = attempt(&prepare(to, &network).unwrap(), &planned).await;
    assert_eq!(attempted.verdict.class, Class::Delivered);
    assert_eq!(attempted.answer.status, Some(200));

    let request = server.requests().remove(0);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /hook HTTP/1.1\r\n"), "{head}");
    assert_eq!(body, r#"{"text":"hello"}"#);
    let header = |name: &str| {
        let values: Vec<_> = head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect();
        assert!(values.len() < 2, "{name}: {values:?}");
        values.first().copied()
    };
    let id = planned.id.to_string();
    assert_eq!(header("host"), Some(&*server.address.to_string()));
    assert_eq!(header("content-length"), Some("16"));
    assert_eq!(header("transfer-encoding"), None);
    assert_eq!(header("content-type"), Some("application/json"));
    assert_eq!(header("x-team"), Some("support"));
    assert_eq!(header("authorization"), Some("Bearer t0ken"));
    assert_eq!(header("idempotency-key"), Some(&*id));
    assert_eq!(header("x-hookswitch-hops"), Some("1"));
    assert_eq!(
        header("user-agent"),
        Some(concat!("hookswitch/", env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(header("ce-specversion"), Some("1.0"));
    assert_eq!(header("ce-id"), Some("event-1"));
    assert_eq!(header("ce-source"), Some("/support/support"));
    assert_eq!(header("webhook-id"), Some(&*id));
    assert_eq!(header("webhook-timestamp"), Some("1767323045"));
    let signatures: Vec<_> = header("webhook-signature").unwrap().split(' ').collect();
    assert_eq!(signatures.len(), 2, "one for each usable secret");
    assert!(signatures.iter().all(|one| one.starts_with("v1,")));
}

#[tokio::test]
async fn redirects_are_a_failure_and_never_followed() {
    let elsewhere = Server::start(respond("200 OK", "", "")).await;
    for status in ["301 Moved", "302 Found", "303 See Other", "307 T", "308 P"] {
        let location = format!("location: {}\r\n", url(elsewhere.address));
        let server = Server::start(respond(status, &location, "")).await;
        let attempted = once(local(url(server.address))).await;
        assert_eq!(attempted.verdict.class, Class::Refused);
        assert_eq!(attempted.verdict.reason, reason::REDIRECT);
        assert_eq!(server.requests().len(), 1);
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn what_was_sent_and_not_answered_is_ambiguous() {
    for (behaviour, reason) in [
        (Behaviour::Hang, reason::TIMEOUT),
        (Behaviour::Close, reason::CONNECTION_LOST),
        (Behaviour::Answer("HTTP/1.1 20".to_owned()), reason::TIMEOUT),
    ] {
        let server = Server::start(behaviour).await;
        let attempted = once(local(url(server.address))).await;
        assert_eq!(attempted.verdict.class, Class::Ambiguous, "{attempted:?}");
        assert_eq!(attempted.verdict.reason, reason);
        assert!(attempted.answer.ambiguous);
        assert_eq!(server.requests().len(), 1, "attempted once, not repeated");
    }
}

#[tokio::test]
async fn an_empty_request_that_was_sent_is_ambiguous_too() {
    let server = Server::start(Behaviour::Hang).await;
    let network = network(RootCertStore::empty(), vec![vec![LOOPBACK]]);
    let target = prepare(local(url(server.address)), &network).unwrap();
    let mut planned = planned();
    planned.request.body = crate::plan::FrozenBody::Rendered(bytes::Bytes::new());
    let attempted = attempt(&target, &planned).await;
    assert_eq!(attempted.verdict.reason, reason::TIMEOUT);
}

#[tokio::test]
async fn what_could_not_be_sent_is_not_ambiguous() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refused = nobody.local_addr().unwrap();
    drop(nobody);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain = Server::start(Behaviour::Interrupt).await;
    for (url, reason) in [
        (url(refused), reason::CONNECT),
        // No TLS handshake within the time.
        (
            format!("https://{}/", silent.local_addr().unwrap()),
            reason::CONNECT,
        ),
        (format!("https://{}/", plain.address), reason::TLS),
    ] {
        let attempted = once(local(url)).await;
        assert_eq!(attempted.verdict.class, Class::Retry, "{attempted:?}");
        assert_eq!(attempted.verdict.reason, reason, "{attempted:?}");
        assert!(!attempted.answer.ambiguous);
    }
}

#[tokio::test]
async fn a_name_that_resolves_to_a_private_address_is_refused_at_each_resolution() {
    let server = Server::start(respond("200 OK", "", "")).await;
    let mut to = local(format!("http://crm.example:{}/", server.address.port()));
    let attempted = once(to.clone()).await;
    assert_eq!(attempted.verdict.class, Class::Delivered);

    // Another private network than the one that it may use.
    http(&mut to).private_networks = vec!["10.0.0.0/8".parse().unwrap()];
    let attempted = once(to.clone()).await;
    assert_eq!(attempted.verdict.reason, reason::ADDRESS, "{attempted:?}");
    let excerpt = attempted.answer.excerpt.unwrap();
    assert!(excerpt.contains("crm.example") && excerpt.contains("allowPrivateNetwork"));

    // None at all.
    http(&mut to).private_networks = Vec::new();
    http(&mut to).url = http(&mut to).url.replace("http:", "https:");
    let attempted = once(to).await;
    assert_eq!(attempted.verdict.reason, reason::ADDRESS);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_name_that_is_bound_anew_to_a_private_address_gets_nowhere() {
    let server = Server::start(respond("200 OK", "connection: close\r\n", "")).await;
    let to = local(format!("http://crm.example:{}/", server.address.port()));
    let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let network = network(
        RootCertStore::empty(),
        vec![vec![LOOPBACK], vec![other], vec![other, LOOPBACK]],
    );
    let target = prepare(to, &network).unwrap();
    let first = attempt(&target, &planned()).await;
    assert_eq!(first.verdict.class, Class::Delivered);
    let second = attempt(&target, &planned()).await;
    assert_eq!(second.verdict.reason, reason::ADDRESS);
    // Of a mixed list, only what is allowed is used.
    let third = attempt(&target, &planned()).await;
    assert_eq!(third.verdict.class, Class::Delivered);
}

#[tokio::test]
async fn private_addresses_in_the_url_and_plain_http_are_held() {
    let network = network(RootCertStore::empty(), vec![vec![LOOPBACK]]);
    let held = |url: &str| {
        let mut destination = destination("local", settings());
        http(&mut destination).url = url.to_owned();
        prepare(destination, &network).err()
    };
    for url in [
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://[::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://10.0.0.1:8443/",
    ] {
        assert!(matches!(held(url), Some(Held::Address(_))), "{url}");
    }
    assert!(matches!(held("http://crm.example/"), Some(Held::PlainHttp)));
    for url in ["ftp://crm.example/", "/hook", "https://"] {
        assert!(matches!(held(url), Some(Held::Url)), "{url}");
    }
    assert!(held("https://crm.example/").is_none());
}

#[tokio::test]
async fn r57_an_answer_that_repeats_the_request_is_kept_without_its_secrets() {
    let server = Server::start(Behaviour::Echo).await;
    let mut to = local(url(server.address));
    http(&mut to).headers = vec![Header {
        name: "Authorization".to_owned(),
        value: HeaderValue::Secret {
            prefix: "Bearer ".to_owned(),
            secret: secret("crm/token", "planted-t0ken"),
        },
    }];
    let attempted = once(to).await;
    let excerpt = attempted.answer.excerpt.unwrap();
    assert!(excerpt.contains("Bearer [redacted]"), "{excerpt}");
    assert!(!excerpt.contains("planted"));
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut_off() {
    let server = Server::start(Behaviour::Endless).await;
    let mut to = local(url(server.address));
    to.delivery.timeout = Span::from_secs(60);
    let attempted = tokio::time::timeout(Duration::from_secs(30), once(to))
        .await
        .unwrap();
    assert_eq!(attempted.verdict.class, Class::Delivered);
    assert!(attempted.answer.excerpt.unwrap().len() <= 1024);
}

#[tokio::test]
async fn r54_an_answer_that_repeats_a_long_message_is_read_to_its_end() {
    let long = "x".repeat(200_000);
    let said = format!(r#"{{"message":{{"text":"{long}"}},"ok":true}}"#);
    let server = Server::start(respond("200 OK", "", &said)).await;
    let mut to = local(url(server.address));
    to.kind = DestinationKind::Slack;
    let attempted = once(to).await;
    assert_eq!(attempted.verdict.class, Class::Delivered, "{attempted:?}");
}

#[tokio::test]
async fn connections_are_kept_but_where_a_broken_one_would_be_fatal() {
    for (choice, connections) in [(OnAmbiguous::Retry, 1), (OnAmbiguous::DeadLetter, 3)] {
        let server = Server::start(respond("200 OK", "", "ok")).await;
        let mut to = local(url(server.address));
        to.delivery.on_ambiguous = choice;
        let network = network(RootCertStore::empty(), vec![vec![LOOPBACK]]);
        let target = prepare(to, &network).unwrap();
        for _ in 0..3 {
            let attempted = attempt(&target, &planned()).await;
            assert_eq!(attempted.verdict.class, Class::Delivered);
        }
        assert_eq!(server.connections(), connections, "{choice:?}");
    }
}

/// A server's TLS for `crm.example`, and the roots that trust it.
fn tls(protocols: &[&str]) -> (TlsAcceptor, RootCertStore) {
    let issued = rcgen::generate_simple_self_signed(vec!["crm.example".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(issued.cert.der().clone()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(issued.signing_key.serialize_der());
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key.unwrap())
        .unwrap();
    tls.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    (TlsAcceptor::from(Arc::new(tls)), roots)
}

#[tokio::test]
async fn a_certificate_is_checked_against_the_trusted_ones_and_the_name() {
    let (acceptor, roots) = tls(&["http/1.1"]);
    let server = Server::start_with(respond("200 OK", "", "ok"), Some(acceptor)).await;
    let port = server.address.port();

    let trusting = network(roots, vec![vec![LOOPBACK]]);
    let to = |name: &str| local(format!("https://{name}:{port}/"));
    let target = prepare(to("crm.example"), &trusting).unwrap();
    let attempted = attempt(&target, &planned()).await;
    assert_eq!(attempted.verdict.class, Class::Delivered, "{attempted:?}");

    let target = prepare(to("other.example"), &trusting).unwrap();
    let attempted = attempt(&target, &planned()).await;
    assert_eq!(attempted.verdict.reason, reason::TLS, "{attempted:?}");

    let attempted = once(to("crm.example")).await;
    assert_eq!(attempted.verdict.reason, reason::TLS, "{attempted:?}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn http_2_is_used_where_it_is_offered_and_judged_alike() {
    let (acceptor, roots) = tls(&["h2"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut server = JoinSet::new();
    server.spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = TokioIo::new(acceptor.accept(stream).await.unwrap());
        let count = AtomicUsize::new(0);
        let service = service_fn(move |request: http::Request<Incoming>| {
            let first = count.fetch_add(1, Ordering::Relaxed) == 0;
            async move {
                assert_eq!(request.version(), http::Version::HTTP_2);
                assert_eq!(request.headers()["content-length"], "16");
                let body = request.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(body.len(), 16);
                if !first {
                    std::future::pending::<()>().await;
                }
                Ok::<_, Infallible>(http::Response::new(Full::new(body)))
            }
        });
        let _ended = http2::Builder::new(TokioExecutor::new())
            .serve_connection(stream, service)
            .await;
    });
    let network = network(roots, vec![vec![LOOPBACK]]);
    let to = local(format!("https://crm.example:{port}/"));
    let target = prepare(to, &network).unwrap();
    let answered = attempt(&target, &planned()).await;
    assert_eq!(answered.verdict.class, Class::Delivered, "{answered:?}");
    let unanswered = attempt(&target, &planned()).await;
    assert_eq!(unanswered.verdict.reason, reason::TIMEOUT, "{unanswered:?}");
    assert!(unanswered.answer.ambiguous);
}
