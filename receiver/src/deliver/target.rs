//! A destination made ready: its URL checked, its headers and keys resolved, its client made.
//!
//! Made anew when the destination changes in the configuration, so that each attempt uses the current
//! secrets. What was frozen with the plan (method, content type, body) comes with the delivery.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use hookswitch_crds::address;
use hookswitch_crds::snapshot::{self, ResolvedSecret, Transport};
use ipnet::IpNet;
use jiff::Timestamp;
use rustls::RootCertStore;
use tokio::time::Instant;

use self::http::Caller;
pub(super) use self::http::headers;
use super::excerpt::Secrets;
use super::kind::{self, Api, Fault, Reply, Told, Verdict, reason};
use super::nats::{self, Publisher};
use super::network::{self, Network};
use super::postgres::{self, Writer};
use super::wire::Wire;
use crate::event::Event;
use crate::plan::{FrozenBody, FrozenRequest};
use crate::store::{Answer, StoredDelivery};

mod attempt;
mod http;
mod token;
pub(super) mod url;

/// Why nothing is sent to a destination. Its deliveries wait, and use no attempt, until the
/// configuration changes.
#[derive(Debug, thiserror::Error)]
pub(super) enum Held {
    /// A secret is not there.
    #[error("the secret {0} is missing or empty")]
    SecretMissing(String),
    /// A secret can't be a header's value.
    #[error(
        "header {header}: the secret {reference} holds characters that a header can't have, such as a line break"
    )]
    SecretUnusable {
        /// The header.
        header: String,
        /// The secret.
        reference: String,
    },
    /// No signing secret can be used.
    #[error(
        "no signing secret is usable: each must be there, and be whsec_ and base64 ({})", .0.join(", ")
    )]
    SigningSecrets(Vec<String>),
    /// A secret can't be a part of the URL, or be the URL.
    #[error("the secret {0} can't be used in the URL: it is no URL, or no token")]
    SecretInUrl(String),
    /// A private key can't be read.
    #[error("the secret {0} is no RSA key in PEM")]
    PrivateKey(String),
    /// A header can't be sent.
    #[error("header {0}: the name or the value is not allowed in HTTP")]
    Header(String),
    /// The URL can't be used.
    #[error("the URL is not an absolute http:// or https:// URL")]
    Url,
    /// NATS's credentials can't be read.
    #[error("the secret {0} holds no credentials of NATS that can be used")]
    NatsCredentials(String),
    /// Certificates can't be read.
    #[error("the secret {0} holds no certificates in PEM that can be used")]
    Certificates(String),
    /// A connection to PostgreSQL can't be read.
    #[error("the secret {0} {1}")]
    PostgresUrl(String, String),
    /// A connection without TLS, without leave.
    #[error("a connection without TLS needs allowPrivateNetwork")]
    Plain,
    /// Plain HTTP without leave.
    #[error("plain http:// needs allowPrivateNetwork: use https://")]
    PlainHttp,
    /// The URL holds an address that may not be reached.
    #[error("the address {0} in the URL is not public, and needs allowPrivateNetwork")]
    Address(IpAddr),
    /// The client can't be made.
    #[error(transparent)]
    Network(#[from] network::Error),
}

/// A destination that can be attempted.
pub(super) struct Target {
    /// As the configuration has it.
    pub(super) spec: Arc<snapshot::Destination>,
    secrets: Secrets,
    way: Way,
}

/// How it is spoken to.
enum Way {
    Http(Box<Caller>),
    Nats(Box<Publisher>),
    Postgres(Box<Writer>),
}

/// Why deliveries to a destination wait until the configuration changes, where they do.
pub(super) fn held(destination: &snapshot::Destination) -> Option<Held> {
    match &destination.transport {
        Transport::Http(http) => http::held(http),
        Transport::Nats(nats) => nats::held(nats),
        Transport::Postgres(postgres) => postgres::held(postgres),
    }
}

/// An attempt that has ended.
#[derive(Debug)]
pub(super) struct Judged {
    /// What it says of the destination.
    pub(super) lane: Verdict,
    /// What it means for each of its deliveries.
    pub(super) each: Vec<Attempted>,
}

/// What an attempt means for a delivery.
#[derive(Debug)]
pub(super) struct Attempted {
    /// What it means.
    pub(super) verdict: Verdict,
    /// What came back.
    pub(super) answer: Answer,
}

impl Target {
    /// Makes a destination ready.
    ///
    /// # Errors
    /// What must change before anything can be sent to it.
    pub(super) fn prepare(
        spec: &Arc<snapshot::Destination>,
        network: &Network,
        wire: &Arc<dyn Wire>,
    ) -> Result<Self, Held> {
        let mut secrets = Secrets::default();
        let way = match &spec.transport {
            Transport::Http(http) => Way::Http(Box::new(Caller::prepare(
                http,
                spec,
                network,
                wire,
                &mut secrets,
            )?)),
            Transport::Nats(nats) => {
                let publisher = Publisher::prepare(nats, network, &mut secrets)?;
                Way::Nats(Box::new(publisher))
            }
            Transport::Postgres(postgres) => {
                let writer = Writer::prepare(postgres, network, &mut secrets)?;
                Way::Postgres(Box::new(writer))
            }
        };
        Ok(Self {
            spec: Arc::clone(spec),
            secrets,
            way,
        })
    }

    /// Attempts deliveries together. `at` is the time of a signature.
    ///
    /// Cancellation: something may have left; the attempt is then ambiguous.
    pub(super) async fn attempt(&self, deliveries: &[StoredDelivery], at: Timestamp) -> Reply {
        let deadline = Instant::now() + self.spec.delivery.timeout.to_std();
        match &self.way {
            Way::Http(caller) => caller.attempt(deliveries, at, deadline).await,
            Way::Nats(publisher) => publisher.attempt(deliveries, deadline).await,
            Way::Postgres(writer) => writer.attempt(deliveries, deadline).await,
        }
    }

    /// What is peculiar to its API.
    pub(super) fn api(&self) -> &'static Api {
        kind::api(self.spec.kind)
    }

    /// Judges what an attempt gave, for each of its deliveries.
    pub(super) fn judge(
        &self,
        deliveries: &[StoredDelivery],
        reply: &Reply,
        now: Timestamp,
    ) -> Judged {
        let ids: Vec<_> = deliveries.iter().map(|delivery| delivery.id).collect();
        let verdicts = kind::judge(self.spec.kind, reply, &ids, now);
        let (status, said) = match reply {
            Reply::Each(each) => return self.judge_each(each),
            Reply::Answered { answer, whole } => (
                Some(answer.status().as_u16()),
                self.excerpt(answer.body(), *whole),
            ),
            Reply::NotSent(fault) | Reply::NoAnswer(fault) => {
                (None, self.excerpt(fault.detail.as_bytes(), true))
            }
            Reply::Found => (None, None),
        };
        Judged {
            lane: of_lane(&verdicts),
            each: verdicts
                .iter()
                .map(|verdict| Attempted {
                    verdict: *verdict,
                    answer: Answer {
                        status,
                        reason: verdict.reason.to_owned(),
                        ambiguous: verdict.class == kind::Class::Ambiguous,
                        // What is said of many that arrived is said for none of them.
                        excerpt: said
                            .clone()
                            .filter(|_| ids.len() == 1 || verdict.class != kind::Class::Delivered),
                    },
                })
                .collect(),
        }
    }

    /// The same where what was said was said of each.
    fn judge_each(&self, each: &[Told]) -> Judged {
        let verdicts: Vec<Verdict> = each.iter().map(|told| told.verdict).collect();
        let each = each.iter().map(|Told { verdict, said }| {
            let said = said.as_ref();
            Attempted {
                verdict: *verdict,
                answer: Answer {
                    status: None,
                    reason: verdict.reason.to_owned(),
                    ambiguous: verdict.class == kind::Class::Ambiguous,
                    excerpt: said.and_then(|it| self.excerpt(it.as_bytes(), true)),
                },
            }
        });
        Judged {
            lane: of_lane(&verdicts),
            each: each.collect(),
        }
    }

    /// The beginning of what was said, without secrets.
    fn excerpt(&self, said: &[u8], whole: bool) -> Option<String> {
        let issued = match &self.way {
            Way::Http(caller) => caller.issued(),
            Way::Nats(_) | Way::Postgres(_) => None,
        };
        let Some(token) = issued else {
            return self.secrets.excerpt(said, whole);
        };
        let mut issued = Secrets::default();
        issued.add(token.secret.expose());
        let said = issued.clear(String::from_utf8_lossy(said).into_owned());
        self.secrets.excerpt(said.as_bytes(), whole)
    }
}

/// What several verdicts say of the destination: that it works, where one says so.
fn of_lane(verdicts: &[Verdict]) -> Verdict {
    let works = |it: &&Verdict| !it.is_failure();
    let lane = verdicts.iter().find(works).or_else(|| verdicts.first());
    lane.copied().unwrap_or_else(Verdict::interrupted)
}

/// A secret's value, which answers are cleared of from now on. One made from a file often ends with a
/// line break, which belongs to no token.
pub(super) fn reveal<'a>(
    secret: &'a ResolvedSecret,
    secrets: &mut Secrets,
) -> Result<&'a [u8], Held> {
    let found = secret
        .usable()
        .ok_or_else(|| Held::SecretMissing(secret.reference.clone()))?;
    secrets.add(found.expose());
    Ok(found.expose().trim_ascii_end())
}

/// Certificates that a server's own is signed with, where the platform's are not to count.
pub(super) fn certificates(secret: Option<&ResolvedSecret>) -> Result<Option<RootCertStore>, Held> {
    let Some(secret) = secret else {
        return Ok(None);
    };
    let found = secret
        .usable()
        .ok_or_else(|| Held::SecretMissing(secret.reference.clone()))?;
    let roots = network::certificates(found.expose());
    let unusable = || Held::Certificates(secret.reference.clone());
    roots.map(Some).ok_or_else(unusable)
}

/// Whether a host that is an address may be reached. A name is checked when it is resolved.
pub(super) fn allowed_host(host: &str, private_networks: &[IpNet]) -> Result<(), Held> {
    match host.trim_matches(['[', ']']).parse() {
        Ok(address) if !address::allowed(address, private_networks) => Err(Held::Address(address)),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The body of a delivery as it is frozen.
pub(super) fn body_of(frozen: &FrozenRequest, event: &Event) -> Result<Bytes, Fault> {
    match &frozen.body {
        FrozenBody::Event => Ok(event.body.clone()),
        FrozenBody::Rendered(body) => Ok(body.clone()),
        FrozenBody::Unrendered(_) => Err(Fault {
            reason: reason::INTERNAL,
            detail: "the body is not rendered yet".to_owned(),
        }),
    }
}
