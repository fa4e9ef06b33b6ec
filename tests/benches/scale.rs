//! Scale: thousands of routes on a real API server, with the programs as the chart starts them.
//!
//! ```text
//! objects ─▶ API server ─▶ operator ─▶ snapshot ─▶ 3 receivers ─▶ Leases ─▶ operator ─▶ status
//!   edit ──────┘                                                              Programmed ──┘
//! ```
//!
//! The API server, etcd, the operator and the receivers share the machine's cores, so what is measured
//! is more than what a cluster would show.

mod api;
mod objects;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hookswitch_tests::cluster::{Cluster, Request};
use hookswitch_tests::installation::{Installation, Program};

use crate::histogram::Histogram;
use crate::numbers::{float, mebibytes, millis, thousands};
use crate::report::{Aim, Section};
use crate::{Settings, process, say};
use api::Api;

/// Receivers that have to load every change.
const RECEIVERS: u32 = 3;
/// Secrets that the snapshot is kept in.
const SHARDS: usize = 16;
/// Edits that are measured, and those before them that are not.
const EDITS: usize = 200;
const WARM_UP: usize = 10;
/// How long it may take until all is programmed for the first time.
const PATIENCE: Duration = Duration::from_mins(20);
/// What is aimed at.
const AIM_LATENCY: Duration = Duration::from_secs(1);
const AIM_MEMORY: u64 = 150 << 20;

/// Measures it.
pub(crate) fn section(_settings: &Settings) -> Result<Section> {
    let number = |name: &str, default: usize| -> Result<usize> {
        std::env::var(name).map_or(Ok(default), |value| Ok(value.parse()?))
    };
    let routes = number("HOOKSWITCH_BENCH_ROUTES", 10_000)?;
    let subscriptions = number("HOOKSWITCH_BENCH_SUBSCRIPTIONS", 1000)?;
    let measured = tokio::runtime::Runtime::new()?.block_on(measure(routes, subscriptions))?;
    report(routes, subscriptions, &measured)
}

/// What was measured.
struct Measured {
    /// The first compile, of all objects.
    cold: f64,
    /// The compile of one change, on average.
    warm: f64,
    /// From the start of the operator until all is programmed.
    start: Duration,
    /// From an edit until it is programmed.
    latencies: Histogram,
    /// The operator's memory: now, and at most.
    resident: u64,
    peak: u64,
    /// A receiver's memory.
    receiver: u64,
    /// Bytes of the snapshot.
    snapshot: u64,
    /// Requests of the operator for one edit, by what they do.
    requests: Vec<(String, f64)>,
    /// Statuses that were written of objects that nobody edited.
    strangers: usize,
}

async fn measure(routes: usize, subscriptions: usize) -> Result<Measured> {
    let cluster = Cluster::start().await;
    let replicas = format!("receiver.replicas={RECEIVERS}");
    let shards = format!("snapshot.shards={SHARDS}");
    let here = Installation::of_cluster(&cluster, &[&replicas, &shards]).await;
    let api = Api::of(&cluster).await?;
    let teams = objects::teams(subscriptions);
    say(&format!(
        "scale: making {routes} routes and {subscriptions} subscriptions"
    ))?;
    for part in objects::tenants(teams) {
        api.create(part).await?;
    }
    api.create(objects::subscriptions(teams)).await?;
    api.create(objects::routes(routes, teams)).await?;

    let begin = Instant::now();
    let receivers: Vec<Program> = (0..RECEIVERS).map(|number| here.receiver(number)).collect();
    let operator = here.operator("operator-0").await;
    settle(&api, &operator, routes, subscriptions).await?;
    let start = begin.elapsed();
    let cold = sum(&operator, "hookswitch_compile_seconds").await?.0;
    say(&format!("scale: all is programmed after {start:?}"))?;

    let edit = async |round: usize| {
        let (namespace, name) = objects::route_name(round * 4_409 % routes, teams);
        api.edit(&namespace, &name, &objects::edit(round)).await
    };
    for round in 0..WARM_UP {
        edit(round).await?;
    }
    let account = "hooks-operator";
    let before = cluster.requests_of(here.namespace.name(), account).len();
    let compiles = sum(&operator, "hookswitch_compile_seconds").await?;
    let mut latencies = Histogram::default();
    for round in WARM_UP..WARM_UP + EDITS {
        latencies.add(edit(round).await?);
    }
    let after = sum(&operator, "hookswitch_compile_seconds").await?;
    let requests = cluster.requests_of(here.namespace.name(), account);
    let requests = requests.get(before..).context("the log only grows")?;
    let edited: BTreeSet<(String, String)> = (WARM_UP..WARM_UP + EDITS)
        .map(|round| objects::route_name(round * 4_409 % routes, teams))
        .collect();
    let strangers = requests
        .iter()
        .filter(|it| it.resource.ends_with("/status"))
        .filter(|it| !edited.contains(&(it.namespace.clone(), it.name.clone())))
        .count();
    let first = receivers.first().context("there are receivers")?;
    Ok(Measured {
        cold,
        warm: (after.0 - compiles.0) / (after.1 - compiles.1).max(1.0),
        start,
        latencies,
        resident: process::resident(operator.pid())?,
        peak: process::peak(operator.pid())?,
        receiver: process::resident(first.pid())?,
        snapshot: bytes(&operator).await?,
        requests: by_kind(requests),
        strangers,
    })
}

/// Waits until all is programmed, and nothing is written any more.
async fn settle(api: &Api, operator: &Program, routes: usize, subscriptions: usize) -> Result<()> {
    let begin = Instant::now();
    loop {
        let writes = operator.metric("hookswitch_status_writes_total").await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        if writes == operator.metric("hookswitch_status_writes_total").await
            && api.programmed("eventroutes").await? == routes
            && api.programmed("webhooksubscriptions").await? >= subscriptions
        {
            return Ok(());
        }
        ensure!(
            begin.elapsed() < PATIENCE,
            "not all is programmed:\n{}",
            operator.log()
        );
        say(&format!(
            "scale: {} statuses are written",
            writes.unwrap_or_default()
        ))?;
    }
}

/// The sum and the count of a histogram.
async fn sum(program: &Program, name: &str) -> Result<(f64, f64)> {
    let metric = async |end: &str| {
        let value = program.metric(&format!("{name}_{end}")).await;
        value.with_context(|| format!("no metric {name}"))
    };
    Ok((metric("sum").await?, metric("count").await?))
}

/// The size of the snapshot.
async fn bytes(operator: &Program) -> Result<u64> {
    let bytes = operator.metric("hookswitch_snapshot_bytes").await;
    Ok(format!("{:.0}", bytes.context("no size of the snapshot")?).parse()?)
}

/// Requests for each edit, by verb and resource, without what is done by the clock.
fn by_kind(requests: &[Request]) -> Vec<(String, f64)> {
    let mut counts = std::collections::BTreeMap::new();
    let by_change = requests
        .iter()
        .filter(|it| it.resource != "leases" && it.verb != "watch" && it.verb != "list");
    for request in by_change {
        let kind = format!("{} {}", request.verb, request.resource);
        *counts.entry(kind).or_insert(0_u64) += 1;
    }
    let edits = float(u64::try_from(EDITS).unwrap_or(1));
    let rates = counts.into_iter();
    rates
        .map(|(kind, count)| (kind, float(count) / edits))
        .collect()
}

fn report(routes: usize, subscriptions: usize, measured: &Measured) -> Result<Section> {
    let Measured {
        cold,
        warm,
        start,
        latencies,
        resident,
        peak,
        receiver,
        snapshot,
        requests,
        strangers,
    } = measured;
    let count = |count: usize| thousands(float(u64::try_from(count).unwrap_or(u64::MAX)));
    let writes: f64 = requests
        .iter()
        .filter(|(kind, _)| !kind.starts_with("get "))
        .map(|(_, rate)| rate)
        .sum();
    let mut text = format!(
        "A real control plane (etcd, kube-apiserver, kube-controller-manager), the operator and {RECEIVERS} receivers share this machine. \
         {} routes of three rules and two destinations, {} subscriptions, {} namespaces, {SHARDS} shards. \
         {EDITS} edits of one route each, one after the other, and each is waited for.\n\n| | |\n|---|---|\n",
        count(routes),
        count(subscriptions),
        count(objects::teams(subscriptions)),
    );
    let (p50, p99) = (latencies.permille(500), latencies.permille(990));
    writeln!(text, "| apply to Programmed, p50 | {} ms |", millis(p50))?;
    writeln!(text, "| apply to Programmed, p99 | {} ms |", millis(p99))?;
    writeln!(
        text,
        "| compile and plan of all, from nothing | {:.0} ms |",
        cold * 1000.0
    )?;
    writeln!(
        text,
        "| compile and plan of one change | {:.0} ms |",
        warm * 1000.0
    )?;
    writeln!(
        text,
        "| operator and receivers started, until all is Programmed | {:.0} s |",
        start.as_secs_f64()
    )?;
    writeln!(
        text,
        "| operator's memory, now and at most | {} MiB, {} MiB |",
        mebibytes(*resident),
        mebibytes(*peak)
    )?;
    writeln!(
        text,
        "| a receiver's memory | {} MiB |",
        mebibytes(*receiver)
    )?;
    writeln!(
        text,
        "| snapshot, all shards | {} MiB |",
        mebibytes(*snapshot)
    )?;
    for (kind, rate) in requests {
        writeln!(
            text,
            "| operator's requests for a change: {kind} | {rate:.2} |"
        )?;
    }
    writeln!(
        text,
        "| statuses written of objects that were not edited | {strangers} |"
    )?;
    Ok(Section {
        title: "Scale",
        text,
        aims: vec![
            Aim {
                what: "10,000 routes: apply to Programmed under 1 s at p99, with 3 receivers",
                found: format!("{} ms", millis(p99)),
                met: routes >= 10_000 && p99 < AIM_LATENCY,
            },
            Aim {
                what: "10,000 routes: operator under 150 MiB",
                found: format!("{} MiB at most", mebibytes(*peak)),
                met: routes >= 10_000 && *peak < AIM_MEMORY,
            },
            Aim {
                what: "a change costs O(1) API writes and touches no other object's status",
                found: format!("{writes:.1} writes, {strangers} other statuses"),
                met: *strangers == 0 && writes < 8.0,
            },
        ],
    })
}
