//! A lane's connections to a server that is not spoken to by HTTP: few, used again, and each by one
//! attempt at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Connections at once. What is due together goes over one of them together, so that these few are
/// enough, and a database has connections to spare for few.
const MOST: usize = 4;

/// Connections that are idle longer are not used again.
const IDLE: Duration = Duration::from_secs(30);

/// The connections.
#[derive(Debug)]
pub(super) struct Pool<C> {
    turns: Semaphore,
    idle: Mutex<Vec<(C, Instant)>>,
}

/// The right to one connection. Dropped, it gives that right back, and no connection.
#[derive(Debug)]
pub(super) struct Turn<'a, C> {
    pool: &'a Pool<C>,
    _permit: Option<SemaphorePermit<'a>>,
}

impl<C> Pool<C> {
    pub(super) fn new() -> Self {
        Self {
            turns: Semaphore::new(MOST),
            idle: Mutex::default(),
        }
    }

    /// Waits for the right to a connection.
    pub(super) async fn turn(&self) -> Turn<'_, C> {
        Turn {
            pool: self,
            // An error would say that it is closed, which nobody does.
            _permit: self.turns.acquire().await.ok(),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(C, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> Turn<'_, C> {
    /// One that was used before, where there is one, and since when it has been idle.
    pub(super) fn used(&self) -> Option<(C, Instant)> {
        let mut idle = self.pool.idle();
        idle.retain(|(_, since)| since.elapsed() < IDLE);
        idle.pop()
    }

    /// Keeps one for the next attempt. Whoever gave it up in the middle of something must drop it.
    pub(super) fn keep(self, connection: C) {
        self.pool.idle().push((connection, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_used_again_by_one_at_a_time_and_not_for_ever() {
        let pool = Pool::new();
        let mut turns = Vec::new();
        for _ in 0..MOST {
            turns.push(pool.turn().await);
        }
        assert!(pool.turn().now_or_never().is_none(), "all are taken");
        let turn = turns.pop().unwrap();
        assert!(turn.used().is_none());
        turn.keep("first");
        let turn = pool.turn().await;
        assert_eq!(turn.used().unwrap().0, "first");
        assert!(turn.used().is_none(), "it is in use");
        turn.keep("second");
        tokio::time::advance(IDLE).await;
        assert!(pool.turn().await.used().is_none());
    }
}
