//! Who shares the work.
//!
//! Each member that can do its work says every now and then that it lives, over plain NATS. Who was not heard for long enough is
//! taken off by whoever notices; who is not on is added by itself. Both are changes of the view in the log,
//! conditional on the view before, so that of two that notice at once one wins.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use futures::StreamExt as _;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use uuid::Uuid;

use super::Parts;
use crate::store::embedded::change::Change;
use crate::store::embedded::state::lock;
use crate::store::embedded::view::View;
use crate::store::{Error, Store as _};

/// The file with the name that the last process had.
const FILE: &str = "member";
/// A member speaks so many times within the time after which it is taken off.
const BEATS: u32 = 5;
/// How long leaving may take.
const LEFT: Duration = Duration::from_secs(5);
/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// The name of this process, and the one that the last process on the directory had: that one has ended.
pub(super) fn name(dir: &Path) -> Result<(Uuid, Option<Uuid>), Error> {
    let path = dir.join(FILE);
    let before = std::fs::read_to_string(&path).ok();
    let before = before.and_then(|text| text.trim().parse().ok());
    let me = Uuid::from_u128(rand::random());
    std::fs::write(&path, format!("{me}\n"))
        .map_err(|error| Error::Open(format!("{} can't be written: {error}", path.display())))?;
    Ok((me, before))
}

/// The task that looks after the members.
pub(super) struct Members {
    parts: Arc<Parts>,
    /// Heard nothing of, as it has ended.
    before: Option<Uuid>,
    heartbeats: Subscriber,
    /// When each was heard last, or seen first.
    heard: HashMap<Uuid, Instant>,
}

impl Members {
    pub(super) async fn new(parts: Arc<Parts>, before: Option<Uuid>) -> Result<Self, Error> {
        let subject = parts.connection.heartbeats();
        let heartbeats = parts
            .connection
            .client()
            .subscribe(subject.clone())
            .await
            .map_err(|error| Error::Open(format!("{subject} can't be heard: {error}")))?;
        Ok(Self {
            parts,
            before,
            heartbeats,
            heard: HashMap::new(),
        })
    }

    /// Until it is time to leave; then leaves.
    pub(super) async fn run(self) {
        let parts = Arc::clone(&self.parts);
        // Each beat in its time, however long a change of the view takes.
        tokio::select! {
            () = speak(&parts) => {}
            () = self.watch() => {}
        }
    }

    async fn watch(mut self) {
        let takeover = self.parts.connection.settings().takeover;
        let mut look = interval(takeover / BEATS);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Instant::now();
        loop {
            tokio::select! {
                () = self.parts.leaving.cancelled() => break,
                Some(message) = self.heartbeats.next() => {
                    if let Ok(member) = Uuid::from_slice(&message.payload) {
                        self.heard.insert(member, Instant::now());
                    }
                }
                _ = look.tick() => {
                    // After a pause of ours, or of the servers, nobody was heard: that says nothing.
                    let paused = last.elapsed() > takeover / 2;
                    last = Instant::now();
                    if paused || !self.parts.connection.is_connected() {
                        self.heard.clear();
                    }
                    self.look(takeover).await;
                }
            }
        }
        self.leave().await;
    }

    /// Sees to it that those are members who live.
    async fn look(&mut self, takeover: Duration) {
        let connection = &self.parts.connection;
        if !connection.is_connected() || !works(&self.parts) {
            return;
        }
        let me = self.parts.common.me;
        if connection.is_full() {
            // Nobody sends to a receiver that is not ready: this finds out when there is room again.
            let probe = self.parts.change(Change::Suspect(Vec::new())).await;
            tracing::debug!(room = probe.is_ok(), "the log was full");
        }
        let view = self.parts.common.view();
        let now = Instant::now();
        self.heard.retain(|member, _| view.has(member));
        for member in &view.members {
            self.heard.entry(*member).or_insert(now);
        }
        let lives = |member: &Uuid| {
            let heard = self.heard.get(member);
            *member == me
                || (Some(*member) != self.before
                    && heard.is_none_or(|heard| heard.elapsed() < takeover))
        };
        let mut members: Vec<Uuid> = view.members.iter().copied().filter(lives).collect();
        if !view.has(&me) {
            members.push(me);
        }
        members.sort_unstable();
        if members != view.members {
            self.propose(&view, members).await;
        }
    }

    /// Writes another view to the log. Where another member was faster, the next beat looks again.
    async fn propose(&self, view: &View, members: Vec<Uuid>) {
        let count = members.len();
        let change = Change::View {
            after: view.number,
            members,
        };
        match self.parts.change(change).await.and_then(super::Done::each) {
            Ok(won) if won == [true] => {
                tracing::info!(
                    members = count,
                    view = view.number + 1,
                    "who shares the work has changed"
                );
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(category = error.category(), %error, "who shares the work could not be changed; will try again");
            }
        }
    }

    /// Gives the work to the others.
    async fn leave(&self) {
        let me = self.parts.common.me;
        let left = async {
            loop {
                let view = self.parts.common.view();
                if !view.has(&me) || self.parts.connection.reachable().is_err() {
                    return;
                }
                let members = view.members.iter().copied().filter(|it| *it != me);
                self.propose(&view, members.collect()).await;
                tokio::time::sleep(LOOK).await;
            }
        };
        if timeout(LEFT, left).await.is_err() || self.parts.is_member() {
            tracing::warn!("could not leave: others take over once we are silent");
        }
    }
}

/// Says that this receiver lives, for as long as it can do its work: one that has stopped, has no room on its disk,
/// or can't follow the log applies nothing, and others are to take over what is its.
async fn speak(parts: &Parts) {
    let connection = &parts.connection;
    let mut beat = interval(connection.settings().takeover / BEATS);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        if !connection.is_connected() || !works(parts) {
            continue;
        }
        let me = parts.common.me.as_bytes().to_vec();
        let said = connection
            .client()
            .publish(connection.heartbeats(), me.into());
        if let Err(error) = said.await {
            tracing::debug!(%error, "could not say that we live");
        }
    }
}

/// Whether this receiver applies what is in the log.
fn works(parts: &Parts) -> bool {
    let takeover = parts.connection.settings().takeover;
    let lost = *lock(&parts.lost);
    let follows = lost.is_none_or(|lost| lost.elapsed() < takeover);
    follows && parts.engine.health().is_ok()
}

/// Waits until this process is a member no more, for as long as that may take.
pub(super) async fn left(parts: &Parts) {
    let left = async {
        let goes_on = || {
            parts
                .engine
                .works()
                .and_then(|()| parts.connection.reachable())
                .is_ok()
        };
        while parts.is_member() && goes_on() {
            tokio::time::sleep(LOOK).await;
        }
    };
    // Said before.
    drop(timeout(LEFT + LOOK, left).await);
}
