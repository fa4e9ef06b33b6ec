//! Reading a body, within its limit, its time and the memory that all bodies share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tokio::time::{Instant, timeout_at};

use super::answer::Answer;

/// What an event takes besides its body while it is on its way into the store.
const EVENT_BYTES: usize = 2048;

/// Bytes that bodies may still take.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<AtomicUsize>);

/// Bytes that a body takes. To be kept as long as the body is.
#[derive(Debug)]
pub(super) struct Reserved {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    fn empty(&self) -> Reserved {
        Reserved {
            budget: self.clone(),
            bytes: 0,
        }
    }
}

impl Reserved {
    /// Takes what the body's event needs as well: most bodies are small, and a store that hangs can
    /// have very many of them.
    pub(super) fn grow_to_event(&mut self) -> Result<(), Answer> {
        self.grow(EVENT_BYTES)
    }

    fn grow(&mut self, bytes: usize) -> Result<(), Answer> {
        self.budget
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(bytes)
            })
            .map_err(|_| Answer::OVERLOADED)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.budget.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// Reads the whole body, if it has at most `limit` bytes and ends before the deadline. What has
/// arrived counts against the budget, not what is announced.
pub(super) async fn read<B>(
    body: B,
    limit: usize,
    deadline: Instant,
    budget: &Budget,
) -> Result<(Bytes, Reserved), Answer>
where
    B: Body<Data = Bytes> + Unpin,
{
    let announced = body.size_hint().lower();
    if usize::try_from(announced).is_ok_and(|announced| announced <= limit) {
        timeout_at(deadline, collect(body, limit, budget))
            .await
            .map_err(|_| Answer::TIMEOUT)?
    } else {
        Err(Answer::TOO_LARGE)
    }
}

async fn collect<B>(mut body: B, limit: usize, budget: &Budget) -> Result<(Bytes, Reserved), Answer>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut reserved = budget.empty();
    // Most bodies come in one piece, which is not copied.
    let mut whole = Bytes::new();
    let mut pieces = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Answer::INCOMPLETE)?;
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        if piece.len() > limit - reserved.bytes {
            return Err(Answer::TOO_LARGE);
        }
        reserved.grow(piece.len())?;
        if whole.is_empty() && pieces.is_empty() {
            whole = piece;
        } else {
            if pieces.is_empty() {
                pieces.extend_from_slice(&std::mem::take(&mut whole));
            }
            pieces.extend_from_slice(&piece);
        }
    }
    if !pieces.is_empty() {
        whole = pieces.freeze();
    }
    Ok((whole, reserved))
}
