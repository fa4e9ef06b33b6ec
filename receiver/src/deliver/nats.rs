//! Publishes deliveries to a NATS server, over a lane's own few connections.
//!
//! The client is our own and small: what a lane needs is to know of each message whether it left, what came
//! back, and that no address is used but the one that was looked at. See
//! `docs/decisions/0011-a-nats-client-of-our-own.md`.

use std::sync::Arc;
use std::time::Duration;

use hookswitch_crds::snapshot;
use hookswitch_crds::subject;
use http::HeaderMap;
use tokio::time::{Instant, timeout_at};

use self::connection::Connection;
pub(super) use self::connection::Published;
use self::identity::Identity;
use self::protocol::Message;
use super::cloudevents;
use super::excerpt::Secrets;
use super::kind::{self, Fault, Reply, Told, reason};
use super::network::{Dialler, Network};
use super::pool::Pool;
use super::target::{Held, allowed_host, body_of, certificates};
use crate::store::StoredDelivery;

mod connection;
mod identity;
mod protocol;

/// A connection that was idle for so long is asked whether it lives before it is used.
const FRESH: Duration = Duration::from_secs(1);

/// A NATS server made ready.
pub(super) struct Publisher {
    spec: snapshot::Nats,
    identity: Identity,
    dialler: Dialler,
    pool: Pool<Connection>,
}

/// Reads what the Secrets hold.
///
/// # Errors
/// What must change before anything can be published.
fn resolve(
    spec: &snapshot::Nats,
    network: Option<&Network>,
    secrets: &mut Secrets,
) -> Result<(Identity, Option<Dialler>), Held> {
    if !spec.tls && spec.private_networks.is_empty() {
        return Err(Held::Plain);
    }
    allowed_host(&spec.host, &spec.private_networks)?;
    let ca = certificates(spec.ca.as_ref())?;
    let identity = Identity::prepare(&spec.auth, secrets)?;
    let dialler = network
        .map(|it| it.dialler((&spec.host, spec.port), &spec.private_networks, ca))
        .transpose()?;
    Ok((identity, dialler))
}

/// Why nothing can be published, where nothing can.
pub(super) fn held(spec: &snapshot::Nats) -> Option<Held> {
    resolve(spec, None, &mut Secrets::default()).err()
}

impl Publisher {
    /// Makes a server ready.
    ///
    /// # Errors
    /// What must change before anything can be published.
    pub(super) fn prepare(
        spec: &snapshot::Nats,
        network: &Network,
        secrets: &mut Secrets,
    ) -> Result<Self, Held> {
        let (identity, dialler) = resolve(spec, Some(network), secrets)?;
        Ok(Self {
            spec: spec.clone(),
            identity,
            dialler: dialler.ok_or(Held::Url)?,
            pool: Pool::new(),
        })
    }

    /// Publishes deliveries, each as a message of its own.
    ///
    /// Cancellation: messages may have left; the attempt is then ambiguous.
    pub(super) async fn attempt(&self, deliveries: &[StoredDelivery], deadline: Instant) -> Reply {
        let mut each: Vec<Option<Told>> = Vec::with_capacity(deliveries.len());
        let mut messages = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            match message(delivery) {
                Ok(message) => {
                    messages.push(message);
                    each.push(None);
                }
                Err(told) => each.push(Some(told)),
            }
        }
        let mut published: Vec<Option<Published>> = messages.iter().map(|_| None).collect();
        let mut sent = false;
        let publishing = self.publish(&messages, &mut published, &mut sent);
        let fault = match timeout_at(deadline, publishing).await {
            Ok(Ok(())) => None,
            Ok(Err(fault)) => Some(fault),
            Err(_) => Some(Fault {
                reason: if sent {
                    reason::TIMEOUT
                } else {
                    reason::CONNECT
                },
                detail: "no answer in time".to_owned(),
            }),
        };
        let fault = Arc::new(fault.unwrap_or_else(|| Fault {
            reason: reason::INTERNAL,
            detail: "nothing became of it".to_owned(),
        }));
        let mut published = published.into_iter().zip(&messages);
        let each = each.into_iter().map(|told| {
            told.unwrap_or_else(|| match published.next() {
                Some((Some(published), message)) => kind::nats::judge(&published, &message.subject),
                _ if sent => Told::no_answer(&fault),
                _ => Told::not_sent(&fault),
            })
        });
        Reply::Each(each.collect())
    }

    async fn publish(
        &self,
        messages: &[Message],
        told: &mut [Option<Published>],
        sent: &mut bool,
    ) -> Result<(), Fault> {
        if messages.is_empty() {
            return Ok(());
        }
        let turn = self.pool.turn().await;
        let mut connection = None;
        while let Some((mut used, since)) = turn.used() {
            if since.elapsed() < FRESH || used.lives().await {
                connection = Some(used);
                break;
            }
        }
        let mut connection = match connection {
            Some(connection) => connection,
            None => Connection::open(&self.dialler, self.spec.tls, &self.identity).await?,
        };
        connection
            .publish(messages, self.spec.jetstream, told, sent)
            .await?;
        if connection.stays() {
            turn.keep(connection);
        }
        Ok(())
    }
}

/// A delivery as a message.
fn message(delivery: &StoredDelivery) -> Result<Message, Told> {
    let (event, frozen) = (&delivery.event.event, &delivery.request);
    let subject = frozen.address.clone().unwrap_or_default();
    if let Err(error) = subject::check(&subject) {
        let shown: String = subject.chars().take(100).collect();
        return Err(Told::refused(format!("the subject {shown:?} {error}")));
    }
    let body = body_of(frozen, event).map_err(|fault| Told::not_sent(&fault))?;
    let id = delivery.id.to_string();
    let hops = event.hops.saturating_add(1).to_string();
    let mut headers = vec![
        // By which JetStream knows a message that it has had.
        ("Nats-Msg-Id".to_owned(), id),
        ("X-Hookswitch-Hops".to_owned(), hops),
    ];
    // What an event says of its body comes from its sender; the rest is written here.
    let is_header = |it: &&String| !it.contains(|it: char| it.is_control());
    let content_type = Some(&frozen.content_type).filter(is_header);
    let set = |name: &str| content_type.map(|it| (name.to_owned(), it.clone()));
    headers.extend(set("content-type"));
    if frozen.cloud_event_headers {
        let mut attributes = HeaderMap::new();
        cloudevents::insert(&mut attributes, &frozen.hidden.of(event));
        let attributes = attributes.iter().filter_map(|(name, value)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        });
        headers.extend(attributes);
        headers.extend(set("ce-datacontenttype"));
    }
    Ok(Message {
        subject,
        headers,
        body,
    })
}

#[cfg(test)]
mod tests {
    use hookswitch_crds::snapshot::DestinationKind;

    use super::*;
    use crate::deliver::tests::bench::delivery;
    use crate::deliver::tests::kinds::request;
    use crate::plan::FrozenBody;

    fn planned(subject: &str) -> StoredDelivery {
        let at = "2026-01-02T03:04:05Z".parse().unwrap();
        StoredDelivery {
            request: request(DestinationKind::Nats, Some(subject), r#"{"a":1}"#),
            ..delivery(7, "nats", at)
        }
    }

    #[test]
    fn r54_a_message_has_the_deliverys_key_by_which_jetstream_knows_it() {
        let delivery = planned("support.message.received");
        let message = message(&delivery).unwrap();
        assert_eq!(message.subject, "support.message.received");
        assert_eq!(message.body, r#"{"a":1}"#);
        let header = |name: &str| message.headers.iter().find(|(it, _)| it == name);
        assert_eq!(header("Nats-Msg-Id").unwrap().1, delivery.id.to_string());
        assert_eq!(header("X-Hookswitch-Hops").unwrap().1, "1");
        assert_eq!(header("content-type").unwrap().1, "application/json");
        assert!(header("ce-id").is_none());
    }

    #[test]
    fn an_events_attributes_are_headers_where_cloudevents_are_asked_for() {
        let mut delivery = planned("a");
        delivery.request.cloud_event_headers = true;
        delivery.request.body = FrozenBody::Event;
        let message = message(&delivery).unwrap();
        let header = |name: &str| message.headers.iter().find(|(it, _)| it == name);
        assert_eq!(header("ce-type").unwrap().1, "message.received");
        assert_eq!(header("ce-datacontenttype").unwrap().1, "application/json");
        assert_eq!(message.body, delivery.event.event.body);
    }

    #[test]
    fn an_event_can_not_make_a_subject_that_is_none_or_not_its_own() {
        for subject in [
            "",
            "a b",
            "a\r\nPUB b 0",
            "a.>",
            "$JS.API.STREAM.DELETE.A",
            "_INBOX.a",
        ] {
            let told = message(&planned(subject)).unwrap_err();
            assert_eq!(told.verdict.class, kind::Class::Refused, "{subject}");
            assert!(told.said.unwrap().starts_with("the subject "));
        }
    }

    #[test]
    fn an_event_can_not_make_a_header_of_its_own() {
        let mut delivery = planned("a");
        delivery.request.cloud_event_headers = true;
        for planted in ["text/plain\r\nNats-Msg-Id: 1", "text/plain\u{85}"] {
            delivery.request.content_type = planted.to_owned();
            let headers = message(&delivery).unwrap().headers;
            let ours = |(_, value): &(String, String)| !value.contains("text/plain");
            assert!(headers.iter().all(ours), "{headers:?}");
            assert!(headers.iter().any(|(name, _)| name == "ce-type"));
        }
    }
}
