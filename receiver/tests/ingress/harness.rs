//! A receiver's ingress on a free port, with one TG-Staff subscription to begin with.

use std::net::SocketAddr;
use std::sync::{Arc, Once};
use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hookswitch_crds::duration::Duration as Span;
use hookswitch_crds::key::ObjectKey;
use hookswitch_crds::secret::SecretBytes;
use hookswitch_crds::snapshot::{
    self, FieldSource, Fields, HmacAlgorithm, JsonText, Limits, MessagePart, Origin, Ping,
    ResolvedSecret, SecretEncoding, SignatureEncoding, SignatureLayout, Snapshot, Subscription,
    TimestampUnit, Verification,
};
use hookswitch_receiver::clock::Clock;
use hookswitch_receiver::config::Publisher;
use hookswitch_receiver::ingress::{Hooks, Options, Settings};
use hookswitch_receiver::metrics::Metrics;
use hookswitch_receiver::serve::{self, serve};
use hookswitch_receiver::tls::Tls;
use hookswitch_receiver::wake::Wake;
use reqwest::Response;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::recorder::Recorder;

pub(crate) const KEY: &str = "signing-key-7f3a";
pub(crate) const PATH: &str = "/support/support";
pub(crate) const SIGNATURE: &str = "X-TG-Staff-Signature";
/// What a test waits for at most.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How a receiver is to be started.
pub(crate) struct Setup {
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) settings: Settings,
    pub(crate) limits: serve::Limits,
    pub(crate) tls: Option<Tls>,
}

impl Setup {
    pub(crate) fn new(subscriptions: Vec<Subscription>) -> Self {
        Self {
            snapshot: Some(snapshot(1, subscriptions)),
            settings: Settings::default(),
            limits: serve::Limits::default(),
            tls: None,
        }
    }

    /// The service alone, without a socket before it.
    pub(crate) fn service(&self) -> (Receiver, Hooks) {
        let metrics = Metrics::new().unwrap();
        let publisher = Publisher::new(metrics.clone());
        if let Some(snapshot) = self.snapshot.clone() {
            publisher.publish(snapshot).unwrap();
        }
        let receiver = Receiver {
            store: Arc::new(Recorder::new()),
            accepted: Wake::default(),
            appends: TaskTracker::new(),
            draining: CancellationToken::new(),
            shutdown: CancellationToken::new(),
            address: ([127, 0, 0, 1], 0).into(),
            server: None,
            client: client(),
            metrics,
            publisher,
        };
        let hooks = Hooks::new(Options {
            config: receiver.publisher.follow(),
            store: Arc::<Recorder>::clone(&receiver.store),
            metrics: receiver.metrics.clone(),
            clock: Clock::System,
            accepted: receiver.accepted.clone(),
            appends: receiver.appends.clone(),
            draining: receiver.draining.clone(),
            settings: self.settings.clone(),
        });
        (receiver, hooks)
    }

    /// The service on a free port.
    pub(crate) async fn start(self) -> Receiver {
        let (receiver, hooks) = self.service();
        let listener = TcpListener::bind(receiver.address).await.unwrap();
        Receiver {
            address: listener.local_addr().unwrap(),
            server: Some(tokio::spawn(serve(
                listener,
                hooks,
                self.tls,
                self.limits,
                receiver.shutdown.clone(),
            ))),
            ..receiver
        }
    }
}

/// A receiver that answers.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<Recorder>,
    pub(crate) metrics: Metrics,
    pub(crate) publisher: Publisher,
    pub(crate) accepted: Wake<ObjectKey>,
    pub(crate) appends: TaskTracker,
    pub(crate) draining: CancellationToken,
    pub(crate) shutdown: CancellationToken,
    pub(crate) server: Option<JoinHandle<()>>,
    pub(crate) client: reqwest::Client,
}

impl Receiver {
    /// With the usual subscription.
    pub(crate) async fn start() -> Self {
        Setup::new(vec![tg_staff()]).start().await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Sends a signed body, and gives the status.
    pub(crate) async fn send(&self, body: &str) -> u16 {
        self.post(body, &[(SIGNATURE, &sign(body))])
            .await
            .status()
            .as_u16()
    }

    /// Sends a body with headers.
    pub(crate) async fn post(&self, body: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = self.client.post(self.url(PATH)).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    /// How often the usual subscription gave this outcome.
    pub(crate) fn requests(&self, outcome: &str) -> u64 {
        self.metrics
            .requests
            .with_label_values(&["support/support", outcome])
            .get()
    }
}

/// A client that trusts no certificate.
pub(crate) fn client() -> reqwest::Client {
    client_trusting([]).build().unwrap()
}

/// A client that trusts these certificates.
pub(crate) fn client_trusting(
    certificates: impl IntoIterator<Item = reqwest::Certificate>,
) -> reqwest::ClientBuilder {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        rustls::crypto::ring::default_provider()
            .install_default()
            .unwrap();
    });
    reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .tls_certs_only(certificates)
}

/// The signature of a body, in hex.
pub(crate) fn sign(body: &str) -> String {
    sign_with(KEY, body)
}

pub(crate) fn sign_with(key: &str, body: &str) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

pub(crate) fn secret(reference: &str, value: &str) -> ResolvedSecret {
    ResolvedSecret {
        reference: reference.into(),
        value: Some(SecretBytes::new(value.into())),
    }
}

pub(crate) fn snapshot(sequence: u64, subscriptions: Vec<Subscription>) -> Snapshot {
    Snapshot {
        sequence,
        subscriptions: subscriptions.into_iter().map(Arc::new).collect(),
        ..Snapshot::empty()
    }
}

pub(crate) fn origin(name: &str) -> Origin {
    Origin {
        key: ObjectKey::new("support", name),
        uid: String::new(),
        generation: 1,
        since: 1,
        spec: JsonText::of(&()).expect("null is JSON"),
    }
}

/// The subscription `support/support`: signed, unsigned pings allowed.
pub(crate) fn tg_staff() -> Subscription {
    let pointer = |pointer: &str| Some(FieldSource::Pointer(pointer.into()));
    Subscription {
        origin: origin("support"),
        provider: "TGStaff".into(),
        path: PATH.into(),
        verification: Verification {
            hmac: Some(snapshot::Hmac {
                header: SIGNATURE.into(),
                algorithm: HmacAlgorithm::SHA256,
                encoding: SignatureEncoding::Auto,
                prefix: None,
                layout: SignatureLayout::Single,
                secret_encoding: SecretEncoding::Raw,
                message: vec![MessagePart::Body],
                delimiter: String::new(),
                id_header: None,
                timestamp_header: None,
                timestamp_unit: TimestampUnit::Seconds,
                tolerance: None,
                public_url: None,
                secrets: vec![secret("tg-staff/signing-key", KEY)],
            }),
            headers: vec![],
            source_ranges: vec![],
            unverified: false,
        },
        ping: Ping {
            allow_unsigned: true,
            types: vec!["ping".into(), "test".into()],
        },
        types: vec![],
        fields: Fields {
            r#type: pointer("/event_type"),
            id: pointer("/event_id"),
            time: pointer("/timestamp"),
            subject: pointer("/conversation_id"),
            sender: pointer("/sender_type"),
        },
        deduplication_window: Span::from_secs(24 * 3600),
        limits: Limits {
            body_bytes: 1_048_576,
            stored_bytes: 1 << 30,
            events_per_second: None,
            burst: None,
        },
        retention: Span::from_secs(72 * 3600),
        dead_letter_retention: Span::from_secs(30 * 24 * 3600),
        suspend: false,
    }
}

/// Waits until it holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect(what);
}

/// The body of the only event that was kept.
pub(crate) fn only_body(receiver: &Receiver) -> Bytes {
    let events = receiver.store.events();
    assert_eq!(events.len(), 1);
    events[0].event.body.clone()
}
