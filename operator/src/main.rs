//! `hookswitch-operator`: see `hookswitch-operator --help`.

use anyhow::Context as _;
use clap::Parser as _;
use hookswitch_operator::metrics::Metrics;
use hookswitch_operator::options::Args;
use hookswitch_operator::{log, run};
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
    runtime.block_on(operate(args))
}

/// Operates until a signal ends it.
async fn operate(args: Args) -> anyhow::Result<()> {
    // Where one is installed already, that one is as good.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let options = args.options(&uuid::Uuid::now_v7().simple().to_string());
    let client = kube::Client::try_default().await;
    let client = client.context("finding the API server, by KUBECONFIG or as a pod")?;
    let metrics = Metrics::new().context("registering metrics")?;
    let shutdown = CancellationToken::new();
    let operate = run::run(options, client, metrics, shutdown.clone());
    let interrupt = async {
        let ended = ended().await;
        shutdown.cancel();
        ended
    };
    let mut operate = std::pin::pin!(operate);
    tokio::select! {
        operated = &mut operate => operated?,
        interrupted = interrupt => {
            interrupted?;
            operate.await?;
        }
    }
    Ok(())
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
