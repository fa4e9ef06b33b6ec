//! `hookswitch-receiver`: see `hookswitch-receiver --help`.

use anyhow::Context as _;
use clap::Parser as _;
use hookswitch_receiver::clock::Clock;
use hookswitch_receiver::config::Publisher;
use hookswitch_receiver::metrics::Metrics;
use hookswitch_receiver::options::Args;
use hookswitch_receiver::snapshot::{self, lease};
use hookswitch_receiver::{log, run};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The images are built with musl, whose own allocator has one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    log::init(args.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(receive(args))
}

/// Receives until a signal ends it.
async fn receive(args: Args) -> anyhow::Result<()> {
    // Where one is installed already, that one is as good.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let metrics = Metrics::new().context("registering metrics")?;
    let client = kube::Client::try_default().await;
    let client = client.context("finding the API server, by KUBECONFIG or as a pod")?;
    let publisher = Publisher::new(metrics.clone());
    let config = publisher.follow();
    let (loaded, follow_loaded) = watch::channel(Vec::new());
    let shutdown = CancellationToken::new();

    let options = args.options();
    let holder = lease::Options {
        client: client.clone(),
        namespace: args.namespace.clone(),
        identity: format!("{}_{}", args.pod_name, uuid::Uuid::now_v7().simple()),
        name: args.pod_name,
        clock: Clock::System,
    };
    let source = snapshot::Options {
        client,
        namespace: args.namespace,
        shards: args.shards,
        mounted: args.snapshot,
        copy: args.snapshot_copy,
    };
    let on_listening = |listening: run::Listening| {
        tracing::info!(
            hooks = %listening.hooks,
            metrics = %listening.metrics,
            admin = listening.admin.map(tracing::field::display),
            "receiving"
        );
    };
    let serve = async {
        let served = run::run(
            options,
            config,
            metrics,
            Clock::System,
            shutdown.clone(),
            on_listening,
        );
        let served = served.await;
        shutdown.cancel();
        served
    };
    let interrupt = async {
        let ended = tokio::select! {
            ended = ended() => ended,
            () = shutdown.cancelled() => Ok(()),
        };
        shutdown.cancel();
        ended
    };
    let (served, (), (), interrupted) = tokio::join!(
        serve,
        snapshot::follow(source, publisher, loaded, shutdown.clone()),
        lease::hold(holder, follow_loaded, shutdown.clone()),
        interrupt,
    );
    served?;
    interrupted
}

/// Waits for Ctrl-C or SIGTERM.
async fn ended() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminated = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.context("listening for Ctrl-C"),
        _ = terminated.recv() => Ok(()),
    }
}
