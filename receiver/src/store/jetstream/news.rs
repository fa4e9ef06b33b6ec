//! Wakes who has something to do by what stands in the log, whoever wrote it.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::mpsc;

use super::Parts;
use crate::store::embedded::change::Change;
use crate::store::embedded::replica::News;
use crate::store::{Answer, Claim, Error, Finish, Next, Store as _};

/// What is said of an attempt that was never made.
const NOT_SENT: &str = "not_sent";

/// Tells the planner and the lanes, until the end.
pub(super) async fn run(parts: Arc<Parts>, mut heard: mpsc::UnboundedReceiver<News>) {
    // Until they are given back.
    let mut owed: Vec<Claim> = Vec::new();
    loop {
        let first = tokio::select! {
            () = parts.stop.cancelled() => return,
            news = heard.recv() => news,
        };
        let Some(mut news) = first else { return };
        while let Ok(more) = heard.try_recv() {
            news.accepted.extend(more.accepted);
            news.lanes.extend(more.lanes);
            news.all_lanes |= more.all_lanes;
            news.view |= more.view;
            news.unwanted.extend(more.unwanted);
        }
        owed.append(&mut news.unwanted);
        if let Err(error) = tell(&parts, news, &mut owed).await {
            tracing::warn!(category = error.category(), %error, "who has work to do could not be told; will be, by what comes next");
            // What is told next is told of everything.
            if parts.leaving.is_cancelled() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            if let Err(error) = tell(&parts, everything(), &mut owed).await {
                tracing::error!(%error, "work may wait until something else comes");
            }
        }
    }
}

/// As if all that can be new were.
fn everything() -> News {
    News {
        all_lanes: true,
        view: true,
        ..News::default()
    }
}

async fn tell(parts: &Parts, news: News, owed: &mut Vec<Claim>) -> Result<(), Error> {
    let News {
        accepted,
        lanes,
        all_lanes,
        view,
        unwanted: _,
    } = news;
    let given_back = !owed.is_empty();
    if given_back {
        give_back(parts, owed).await?;
        owed.clear();
    }
    parts
        .accepted
        .add(accepted.iter().filter(|it| parts.plans(it)));
    parts
        .lanes
        .add(lanes.iter().filter(|it| parts.delivers(it)));
    if view {
        let unplanned = parts.engine.unplanned_subscriptions().await?;
        parts
            .accepted
            .add(unplanned.iter().filter(|it| parts.plans(it)));
        parts.moved.notify_one();
    }
    // Those that something was given back to may rest.
    if all_lanes || given_back {
        let lanes = parts.engine.lanes().await?;
        let pending = lanes.iter().filter(|stats| stats.pending > 0);
        let pending = pending.map(|stats| &stats.lane);
        parts.lanes.add(pending.filter(|it| parts.delivers(it)));
    }
    Ok(())
}

/// Gives back what we have claimed though nobody waited for it any more: nothing was sent.
async fn give_back(parts: &Parts, claims: &[Claim]) -> Result<(), Error> {
    tracing::info!(
        claims = claims.len(),
        "claims that came too late are given back"
    );
    let finishes = claims.iter().map(|claim| Finish {
        id: claim.id,
        attempts: claim.attempts.saturating_add(1),
        at: claim.at,
        answer: Some(Answer {
            status: None,
            reason: NOT_SENT.to_owned(),
            ambiguous: false,
            excerpt: None,
        }),
        next: Next::RetryAt(claim.at.max(Timestamp::UNIX_EPOCH)),
    });
    let finishes: Vec<Finish> = finishes.collect();
    loop {
        match parts.change(Change::Finish(finishes.clone())).await {
            Ok(_) => {
                parts.moved.notify_one();
                return Ok(());
            }
            Err(Error::Unavailable(_) | Error::Full(_)) if !parts.leaving.is_cancelled() => {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
            Err(error) => return Err(error),
        }
    }
}
