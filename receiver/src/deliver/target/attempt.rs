//! One attempt: a token where one is needed, a search where the delivery may be there already, and the
//! request, built from what is frozen and from the current configuration.
//!
//! A token that no longer counts is got anew once within the attempt. All of it has one deadline.

use bytes::Bytes;
use hookswitch_crds::snapshot::OnAmbiguous;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use serde_json::Value as Json;
use std::sync::Arc;
use tokio::time::Instant;

use super::super::kind::{Fault, Found, Key, Reply, Search, reason};
use super::super::wire::{self, Outgoing};
use super::super::{cloudevents, sign};
use super::http::Caller;
use super::token::Token;
use super::{body_of, url};
use crate::store::StoredDelivery;

/// The delivery's id, the same with every attempt
/// (<https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How many Hookswitch receivers an event has passed through, the one that sends included.
const HOPS: HeaderName = HeaderName::from_static("x-hookswitch-hops");

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Pages of a search that are looked at.
const PAGES: usize = 10;

impl Caller {
    /// Attempts deliveries, in one request. `at` is the time of its signature.
    ///
    /// Cancellation: the request may have left; the attempt is then ambiguous.
    pub(super) async fn attempt(
        &self,
        deliveries: &[StoredDelivery],
        at: Timestamp,
        deadline: Instant,
    ) -> Reply {
        self.exchange(deliveries, at, deadline)
            .await
            .unwrap_or_else(Reply::NotSent)
    }

    async fn exchange(
        &self,
        deliveries: &[StoredDelivery],
        at: Timestamp,
        deadline: Instant,
    ) -> Result<Reply, Fault> {
        let token = self.token(None, at, deadline).await?;
        if let Some(reply) = self.look_for(deliveries, deadline).await? {
            return Ok(reply);
        }
        let request = self.request(deliveries, at, token.as_deref())?;
        let reply = self.send(request, deadline).await;
        if token.is_some() && is_unauthorized(&reply) {
            let token = self.token(token.as_ref(), at, deadline).await?;
            let request = self.request(deliveries, at, token.as_deref())?;
            return Ok(self.send(request, deadline).await);
        }
        Ok(reply)
    }

    async fn send(&self, request: Outgoing, deadline: Instant) -> Reply {
        let timeout = deadline.saturating_duration_since(Instant::now());
        self.wire.send(&self.client, request, timeout).await
    }

    /// A token, where the destination wants one; not the one that it no longer takes.
    async fn token(
        &self,
        stale: Option<&Arc<Token>>,
        at: Timestamp,
        deadline: Instant,
    ) -> Result<Option<Arc<Token>>, Fault> {
        let Some(tokens) = &self.tokens else {
            return Ok(None);
        };
        let by = (self.wire.as_ref(), &self.client);
        tokens.get(stale, by, at, deadline).await.map(Some)
    }

    /// Asks whether a delivery that may have taken effect has; what follows is an attempt where this
    /// gives nothing.
    async fn look_for(
        &self,
        deliveries: &[StoredDelivery],
        deadline: Instant,
    ) -> Result<Option<Reply>, Fault> {
        let ([delivery], Some(search)) = (deliveries, &self.api().search) else {
            return Ok(None);
        };
        if !delivery.doubtful || self.on_ambiguous != OnAmbiguous::Search {
            return Ok(None);
        }
        for page in 1..=PAGES {
            match self.page(search, delivery, page, deadline).await? {
                Ok(Found::Yes) => return Ok(Some(Reply::Found)),
                Ok(Found::No) => return Ok(None),
                Ok(Found::PerhapsBehind) => {}
                Err(limited) => return Ok(Some(limited)),
            }
        }
        Err(unclear("there is too much to look through"))
    }

    /// A page of a search; an answer that asks for patience as it is.
    async fn page(
        &self,
        search: &Search,
        delivery: &StoredDelivery,
        page: usize,
        deadline: Instant,
    ) -> Result<Result<Found, Reply>, Fault> {
        let url = (search.url)(&self.url, delivery, page)
            .ok_or_else(|| unclear("it can't be asked for"))?;
        let request = Outgoing {
            method: Method::GET,
            url,
            headers: self.headers.clone(),
            body: Bytes::new(),
            reads: wire::TELLING_ANSWER,
        };
        match self.send(request, deadline).await {
            Reply::Answered { answer, .. } if answer.status().is_success() => {
                let found = (search.found)(answer.body(), delivery);
                found
                    .map(Ok)
                    .ok_or_else(|| unclear("the answer can't be read"))
            }
            limited @ Reply::Answered { .. }
                if status(&limited) == Some(StatusCode::TOO_MANY_REQUESTS) =>
            {
                Ok(Err(limited))
            }
            Reply::Answered { answer, .. } => Err(unclear(format!(
                "the answer was {}",
                answer.status().as_u16()
            ))),
            Reply::NotSent(fault) | Reply::NoAnswer(fault) => Err(unclear(fault.detail)),
            Reply::Found => Ok(Ok(Found::Yes)),
            Reply::Each(_) => Err(unclear("the answer is none of HTTP")),
        }
    }

    /// The request of an attempt: what is frozen, under the current headers and signatures.
    fn request(
        &self,
        deliveries: &[StoredDelivery],
        at: Timestamp,
        token: Option<&Token>,
    ) -> Result<Outgoing, Fault> {
        let delivery = deliveries
            .first()
            .ok_or_else(|| internal("nothing to send"))?;
        let (event, frozen) = (&delivery.event.event, &delivery.request);
        let body = self.body(deliveries)?;
        let id = delivery.id.to_string();
        let mut headers = self.headers.clone();
        let mut set = |name: HeaderName, value: String| {
            let value = HeaderValue::try_from(value)
                .map_err(|_| internal(&format!("{name} can't be sent")))?;
            headers.insert(name, value);
            Ok(())
        };
        set(header::CONTENT_TYPE, frozen.content_type.clone())?;
        if matches!(self.api().key, Key::Header) {
            set(IDEMPOTENCY_KEY, id.clone())?;
        }
        set(HOPS, event.hops.saturating_add(1).to_string())?;
        if !self.keys.is_empty() {
            set(WEBHOOK_ID, id.clone())?;
            set(WEBHOOK_TIMESTAMP, at.as_second().to_string())?;
            let signatures = sign::signatures(&self.keys, &id, at, &body);
            set(WEBHOOK_SIGNATURE, signatures)?;
        }
        if frozen.cloud_event_headers {
            cloudevents::insert(&mut headers, &frozen.hidden.of(event));
        }
        if let Some(token) = token {
            headers.insert(header::AUTHORIZATION, token.header.clone());
        }
        Ok(Outgoing {
            method: Method::from_bytes(frozen.method.as_bytes())
                .map_err(|_| internal("the method is not allowed in HTTP"))?,
            url: self.url_at(frozen.address.as_deref(), at),
            headers,
            body,
            reads: self.api().reads,
        })
    }

    /// The URL of an attempt.
    fn url_at(&self, address: Option<&str>, at: Timestamp) -> reqwest::Url {
        let url = match address {
            Some(address) => url::with_address(&self.url, address),
            None => self.url.clone(),
        };
        url::signed(url, &self.auth, at)
    }

    /// The body: as it is frozen, or as the API wants several, with their keys.
    fn body(&self, deliveries: &[StoredDelivery]) -> Result<Bytes, Fault> {
        let api = self.api();
        if let ([delivery], Key::Header | Key::None, None) = (deliveries, api.key, &api.batch) {
            return body_of(&delivery.request, &delivery.event.event);
        }
        let bodies = deliveries.iter().map(|delivery| api.body(delivery));
        let bodies: Option<Vec<Json>> = bodies.collect();
        let mut bodies = bodies.ok_or_else(|| internal("the body is not JSON"))?;
        let join = api.batch.as_ref().and_then(|batch| batch.join.as_ref());
        let body = match join {
            Some(join) => Some((join.body)(bodies)),
            None => bodies.pop(),
        };
        let body = body.ok_or_else(|| internal("nothing to send"))?;
        Ok(Bytes::from(body.to_string()))
    }
}

fn status(reply: &Reply) -> Option<StatusCode> {
    match reply {
        Reply::Answered { answer, .. } => Some(answer.status()),
        Reply::NotSent(_) | Reply::NoAnswer(_) | Reply::Found | Reply::Each(_) => None,
    }
}

fn is_unauthorized(reply: &Reply) -> bool {
    status(reply) == Some(StatusCode::UNAUTHORIZED)
}

fn internal(detail: &str) -> Fault {
    Fault {
        reason: reason::INTERNAL,
        detail: detail.to_owned(),
    }
}

fn unclear(detail: impl std::fmt::Display) -> Fault {
    Fault {
        reason: reason::SEARCH,
        detail: format!("whether an earlier attempt has taken effect is not known: {detail}"),
    }
}
