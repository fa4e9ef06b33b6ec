//! Gathers deliveries into requests, where the destination's API takes several at once. Pure.
//!
//! - [`Gather::Always`]: what is due together goes together, up to what one request holds.
//! - [`Gather::AtLimit`]: each goes alone while the rate limit has room, and the rest joins the last.
//! - [`Gather::Counted`]: as `Always`, and each takes from the rate limit.
//! - A delivery that made a whole request be refused goes alone.

use super::kind::{Batch, Gather};
use crate::plan::FrozenBody;
use crate::store::StoredDelivery;

/// Requests in the making.
pub(super) struct Gathering {
    batch: Option<&'static Batch>,
    /// The most requests.
    room: usize,
    requests: Vec<Vec<StoredDelivery>>,
    /// Of the last request.
    bytes: usize,
    /// More may join the last request.
    open: bool,
}

impl Gathering {
    pub(super) fn new(batch: Option<&'static Batch>, room: usize) -> Self {
        Self {
            batch,
            room,
            requests: Vec::new(),
            bytes: 0,
            open: false,
        }
    }

    /// Takes a delivery in; gives it back where nothing more has room now. `permit` takes one from
    /// the rate limit.
    pub(super) fn add(
        &mut self,
        delivery: StoredDelivery,
        alone: bool,
        permit: impl FnOnce() -> bool,
    ) -> Result<(), Box<StoredDelivery>> {
        let length = length(&delivery);
        let batch = self.batch.filter(|batch| !alone && batch.takes(&delivery));
        let joins = self.open && batch.is_some_and(|batch| self.holds(batch, length));
        let at_limit = batch.is_some_and(|batch| batch.gather == Gather::AtLimit);
        let counted = batch.is_some_and(|batch| batch.gather == Gather::Counted);
        if joins && counted {
            if !permit() {
                return Err(Box::new(delivery));
            }
            self.join(delivery, length);
        } else if joins && !at_limit {
            self.join(delivery, length);
        } else if self.requests.len() < self.room {
            if permit() {
                self.requests.push(vec![delivery]);
                self.bytes = length;
                self.open = batch.is_some();
            } else if joins {
                self.join(delivery, length);
            } else {
                return Err(Box::new(delivery));
            }
        } else {
            return Err(Box::new(delivery));
        }
        Ok(())
    }

    /// The requests.
    pub(super) fn done(self) -> Vec<Vec<StoredDelivery>> {
        self.requests
    }

    fn holds(&self, batch: &Batch, length: usize) -> bool {
        let last = self.requests.last().map_or(0, Vec::len);
        last < batch.most && self.bytes.saturating_add(length) <= batch.bytes
    }

    fn join(&mut self, delivery: StoredDelivery, length: usize) {
        if let Some(last) = self.requests.last_mut() {
            last.push(delivery);
            self.bytes = self.bytes.saturating_add(length);
        }
    }
}

/// The length of a delivery's body, and a little for what is added to it.
fn length(delivery: &StoredDelivery) -> usize {
    let body = match &delivery.request.body {
        FrozenBody::Event => delivery.event.event.body.len(),
        FrozenBody::Rendered(body) | FrozenBody::Unrendered(body) => body.len(),
    };
    body.saturating_add(128)
}

#[cfg(test)]
mod tests {
    use hookswitch_crds::snapshot::DestinationKind;

    use super::*;
    use crate::deliver::kind;
    use crate::deliver::tests::{bench::delivery, kinds::request};

    fn deliveries(kind: DestinationKind, count: u128) -> Vec<StoredDelivery> {
        let at = "2026-01-02T03:04:05Z".parse().unwrap();
        let body = r#"{"msgtype":"text","text":{"content":"a"},"properties":{}}"#;
        (1..=count)
            .map(|id| StoredDelivery {
                request: request(kind, None, body),
                ..delivery(id, "it", at)
            })
            .collect()
    }

    /// The sizes of the requests that so many deliveries make, with so many permits.
    fn sizes(kind: DestinationKind, count: u128, room: usize, mut permits: usize) -> Vec<usize> {
        let mut gathering = Gathering::new(kind::api(kind).batch.as_ref(), room);
        for delivery in deliveries(kind, count) {
            let permit = || {
                let has = permits > 0;
                permits = permits.saturating_sub(1);
                has
            };
            if gathering.add(delivery, false, permit).is_err() {
                break;
            }
        }
        gathering.done().iter().map(Vec::len).collect()
    }

    #[test]
    fn what_is_due_together_goes_together_up_to_what_a_request_holds() {
        assert_eq!(sizes(DestinationKind::Hubspot, 250, 2, 9), [100, 100]);
        assert_eq!(sizes(DestinationKind::Hubspot, 250, 9, 2), [100, 100]);
        assert_eq!(sizes(DestinationKind::Mixpanel, 250, 1, 1), [250]);
        assert_eq!(sizes(DestinationKind::Zendesk, 3, 2, 9), [1, 1]);
        assert_eq!(sizes(DestinationKind::Zendesk, 3, 9, 2), [1, 1]);
    }

    #[test]
    fn where_each_counts_the_limit_is_kept_and_they_go_together_all_the_same() {
        assert_eq!(sizes(DestinationKind::Nats, 9, 9, 4), [4]);
        assert_eq!(sizes(DestinationKind::Nats, 300, 9, 999), [256, 44]);
        assert_eq!(sizes(DestinationKind::Postgres, 250, 2, 999), [100, 100]);
    }

    #[test]
    fn messages_go_alone_while_the_limit_has_room_and_then_together() {
        assert_eq!(sizes(DestinationKind::Dingtalk, 3, 9, 5), [1, 1, 1]);
        assert_eq!(sizes(DestinationKind::Dingtalk, 9, 9, 3), [1, 1, 7]);
        assert_eq!(sizes(DestinationKind::Dingtalk, 99, 9, 1), [20]);
        assert_eq!(sizes(DestinationKind::Dingtalk, 9, 2, 5), [1, 1]);
    }

    #[test]
    fn one_that_goes_alone_joins_nothing_and_nothing_joins_it() {
        let kind = DestinationKind::Hubspot;
        let mut gathering = Gathering::new(kind::api(kind).batch.as_ref(), 9);
        for (index, delivery) in deliveries(kind, 4).into_iter().enumerate() {
            gathering.add(delivery, index == 1, || true).unwrap();
        }
        let sizes: Vec<_> = gathering.done().iter().map(Vec::len).collect();
        assert_eq!(sizes, [1, 1, 2]);
    }
}
