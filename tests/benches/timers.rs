//! Timers: what a million of them cost that wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hookswitch_receiver::plan::{
    Fate, Firing, Memory, MemoryKey, NewTimer, Part, Plan, Remember, Scope, StoredTimer, TimerId,
    WaitState,
};
use jiff::{SignedDuration, Timestamp};

use crate::fill;
use crate::numbers::{float, mebibytes, millis, thousands};
use crate::recovery::size_of;
use crate::report::{Aim, Section};
use crate::subject::data;
use crate::{Settings, say};

/// Timers that wait.
const PENDING: u64 = 1_000_000;
/// Events that are planned in one append.
const APPEND: usize = 512;
/// Timers that fire in one append, as the planner does it.
const FIRED: usize = 64;
/// How often each read is timed.
const READS: u32 = 200;
/// The most that one look may take, so that planning is not held up.
const AIM: Duration = Duration::from_millis(5);

/// Measures it.
pub(crate) fn section(settings: &Settings) -> Result<Section> {
    let folder = settings.folder()?;
    let measured = tokio::runtime::Runtime::new()?.block_on(measure(&folder))?;
    let Measured {
        started,
        size,
        opened,
        look,
        recall,
        fired,
    } = measured;
    let text = format!(
        "{pending} events each start a timer, straight on the store, {APPEND} in an append: {} timers/s, the events' own rows \
         included. On disk they take {} MiB. Opening the store with them takes {} ms.\n\n\
         | with {pending} that wait | |\n|---|---|\n\
         | looking for what is due, where nothing is | {} ms |\n\
         | asking for one key with its first event | {} ms |\n\
         | firing, {FIRED} in an append | {} timers/s |\n",
        thousands(started),
        mebibytes(size),
        millis(opened),
        millis(look),
        millis(recall),
        thousands(fired),
        pending = thousands(float(PENDING)),
    );
    Ok(Section {
        title: "Timers",
        text,
        aims: vec![Aim {
            what: "a look at a million timers that wait takes less than 5 ms",
            found: format!("{} ms", millis(look)),
            met: look < AIM,
        }],
    })
}

struct Measured {
    /// Timers a second.
    started: f64,
    size: u64,
    opened: Duration,
    look: Duration,
    recall: Duration,
    /// Timers a second.
    fired: f64,
}

async fn measure(folder: &tempfile::TempDir) -> Result<Measured> {
    let store = fill::open(folder.path())?;
    fill::fill(Arc::clone(&store), PENDING, 0).await?;
    say("timers: the events are there")?;
    let subscription = fill::subscription();
    let now = Timestamp::now();
    let scope = Arc::new(Scope {
        route: fill::lane_of(0).route,
        rule: "first".to_owned(),
        part: Part::After(1),
    });
    let begin = Instant::now();
    loop {
        let (after, events) = store.unplanned(&subscription, APPEND).await?;
        if events.is_empty() {
            break;
        }
        let plans = events
            .iter()
            .map(|event| waits(fill::plan(event, 1, now), &scope, now));
        store.plan(&subscription, after, plans.collect()).await?;
    }
    let started = float(PENDING) / begin.elapsed().as_secs_f64();
    store.close().await?;
    drop(store);
    let size = size_of(&data(folder.path()))?;

    let begin = Instant::now();
    let store = fill::open(folder.path())?;
    let opened = begin.elapsed();
    let (after, _) = store.unplanned(&subscription, 1).await?;

    let begin = Instant::now();
    for _ in 0..READS {
        let due = store
            .timers_due(&subscription, now, Timestamp::MIN, FIRED)
            .await?;
        ensure!(
            due.timers.is_empty() && due.next.is_some(),
            "nothing is due"
        );
    }
    let look = begin.elapsed() / READS;
    let begin = Instant::now();
    for n in 0..READS {
        let key = key_of(&scope, u64::from(n) * 4999 + 1);
        let recalled = store.recall(&subscription, vec![key]).await?;
        let event = recalled.first().and_then(|it| it.as_ref()?.event.as_ref());
        ensure!(event.is_some(), "the first event is kept");
    }
    let recall = begin.elapsed() / READS;

    let late = now + SignedDuration::from_hours(24);
    let begin = Instant::now();
    let mut fired = 0;
    for _ in 0..READS {
        let due = store
            .timers_due(&subscription, late, Timestamp::MIN, FIRED)
            .await?;
        fired += due.timers.len();
        let firings = due.timers.iter().map(|timer| firing(timer, late));
        store.fire(&subscription, after, firings.collect()).await?;
    }
    let fired = u64::try_from(fired).context("a count")?;
    Ok(Measured {
        started,
        size,
        opened,
        look,
        recall,
        fired: float(fired) / begin.elapsed().as_secs_f64(),
    })
}

fn key_of(scope: &Arc<Scope>, seq: u64) -> MemoryKey {
    MemoryKey::new(scope, &seq.to_string())
}

/// The plan, with its delivery waiting: due an hour from now and later.
fn waits(mut plan: Plan, scope: &Arc<Scope>, now: Timestamp) -> Plan {
    let later = i64::try_from(plan.seq % 3600).unwrap_or_default();
    let due = now + SignedDuration::from_secs(3600 + later);
    let key = key_of(scope, plan.seq);
    for delivery in &mut plan.deliveries {
        delivery.waits_until = Some(due);
    }
    plan.timers.push(NewTimer {
        key: key.clone(),
        at: now,
        due,
        once: Vec::new(),
    });
    plan.remember.push(Remember {
        key,
        memory: Memory::Wait {
            state: WaitState::Pending { seq: plan.seq },
            at: now,
        },
        until: Timestamp::MAX,
    });
    plan
}

fn firing(timer: &StoredTimer, at: Timestamp) -> Firing {
    let free = Fate::Deliver { write_back: None };
    let deliveries = timer.deliveries.iter().map(|it| (it.id, free.clone()));
    let TimerId { seq, .. } = timer.id;
    Firing {
        timer: timer.id.clone(),
        at,
        deliveries: deliveries.collect(),
        remember: vec![Remember {
            key: timer.key(),
            memory: Memory::Wait {
                state: WaitState::Fired { seq },
                at: timer.at,
            },
            until: at,
        }],
        suppressions: Vec::new(),
    }
}
