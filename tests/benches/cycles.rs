//! Cycles: whether the store's file grows when everything that comes in is finished.
//!
//! Each cycle is an event that is accepted, planned, claimed, delivered and, once past its
//! retention, removed. Time is virtual: a hundred events a second, each kept for a hundred seconds
//! and remembered for ninety, so ten thousand are there at any time.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use hookswitch_crds::duration::Duration;
use hookswitch_receiver::store::{Answer, Claim, Finish, Next, Retention, Store};
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;

use crate::fill::{self, Source};
use crate::numbers::{float, mebibytes, thousands};
use crate::recovery::size_of;
use crate::report::{Aim, Section};
use crate::subject::data;
use crate::{Settings, say};

/// Events in each step.
const STEP: usize = 256;
/// How long `HOOKSWITCH_BENCH_FULL=1` goes on.
const FULL: u64 = 10_000_000;
/// How long it goes on otherwise.
const SHORT: u64 = 500_000;
/// Growth from the first tenth to the last that still counts as none.
const TOLERANCE: f64 = 1.05;

/// Measures it.
pub(crate) fn section(settings: &Settings) -> Result<Section> {
    let cycles = if settings.full { FULL } else { SHORT };
    let folder = settings.folder()?;
    let begin = Instant::now();
    let sizes = tokio::runtime::Runtime::new()?.block_on(async {
        let store = fill::open(folder.path())?;
        run(store, folder.path(), cycles).await
    })?;
    let rate = float(cycles) / begin.elapsed().as_secs_f64();
    let mut text = format!(
        "{} events are accepted, planned, claimed, delivered and removed, straight on the store, in steps of {STEP}: {} cycles/s of four synced appends each. The store's files after each tenth:\n\n| cycles | MiB |\n|---|---|\n",
        thousands(float(cycles)),
        thousands(rate),
    );
    for (done, size) in &sizes {
        writeln!(
            text,
            "| {} | {} |",
            thousands(float(*done)),
            mebibytes(*size)
        )?;
    }
    let first = sizes.first().context("no size")?.1;
    let last = sizes.last().context("no size")?.1;
    Ok(Section {
        title: "Cycles",
        text,
        aims: vec![Aim {
            what: "the store's file does not grow over 10,000,000 cycles",
            found: format!(
                "{} MiB after a tenth, {} MiB after {} cycles",
                mebibytes(first),
                mebibytes(last),
                thousands(float(cycles))
            ),
            met: settings.full && float(last) <= float(first) * TOLERANCE,
        }],
    })
}

async fn run(
    store: Arc<dyn Store>,
    folder: &std::path::Path,
    cycles: u64,
) -> Result<Vec<(u64, u64)>> {
    let mut now = Timestamp::now();
    let mut done = 0;
    let mut sizes = Vec::new();
    while done < cycles {
        step(&store, now).await?;
        done += u64::try_from(STEP)?;
        now += SignedDuration::from_millis(10) * i32::try_from(STEP)?;
        let retention = Retention {
            finished: Duration::from_secs(100),
            dead_letters: Duration::from_secs(100),
        };
        while store.purge(now, Vec::new(), retention.clone()).await?.more {}
        let tenths = u64::try_from(sizes.len())? + 1;
        if done >= cycles / 10 * tenths {
            let size = size_of(&data(folder))?;
            say(&format!("cycles: {done}, {} MiB", mebibytes(size)))?;
            sizes.push((done, size));
        }
    }
    store.close().await?;
    Ok(sizes)
}

/// Takes some events through their whole life but for their removal.
async fn step(store: &Arc<dyn Store>, now: Timestamp) -> Result<()> {
    let mut accepts = JoinSet::new();
    let mut source = Source::new()?;
    for _ in 0..STEP {
        let store = Arc::clone(store);
        let event = source.next(now)?;
        accepts.spawn(async move { store.accept(event).await });
    }
    while let Some(accepted) = accepts.join_next().await {
        accepted.context("an accepting task")??;
    }
    let subscription = fill::subscription();
    let (after, events) = store.unplanned(&subscription, STEP).await?;
    ensure!(
        events.len() == STEP,
        "{} events are unplanned",
        events.len()
    );
    let plans = events
        .iter()
        .map(|event| fill::plan(event, 1, now))
        .collect();
    store.plan(&subscription, after, plans).await?;
    let due = store.due(&fill::lane_of(0), now, STEP).await?.ready;
    ensure!(due.len() == STEP, "{} deliveries are due", due.len());
    let claims = due
        .iter()
        .map(|delivery| Claim {
            id: delivery.id,
            attempts: delivery.attempts,
            at: now,
        })
        .collect();
    let won = store.claim(claims).await?;
    ensure!(won.iter().all(|won| *won), "a claim was lost");
    let results = due
        .iter()
        .map(|delivery| Finish {
            id: delivery.id,
            attempts: delivery.attempts + 1,
            at: now,
            answer: Some(Answer {
                status: Some(200),
                reason: "delivered".to_owned(),
                ambiguous: false,
                excerpt: None,
            }),
            next: Next::Delivered,
        })
        .collect();
    let finished = store.finish(results).await?;
    ensure!(
        finished.iter().all(|finished| *finished),
        "a finish was lost"
    );
    Ok(())
}
