//! `hookswitch run`: everything on one machine, from files.
//!
//! ```text
//! files ─ watch ─ project ─ publish ─ receiver ─ destinations
//!                    │
//!                    └─ last-good.json, reports
//! ```
//!
//! Invariants:
//! - A bad edit changes nothing that is served: the last good configuration stays, over a restart
//!   too, and the edit is reported with its place and remedy.
//! - `last-good.json` is written only while this process holds the store's lock: a second process on
//!   the same directory ends without having touched it.
//! - Edits touch no event: what is accepted goes on by the plan that was made for it.
//! - An object is removed only when it is still gone after [`GRACE`]: editors and `git` take a file
//!   away and write it anew, and what waits for a route that is gone becomes dead letters.

mod report;
mod watch;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use hookswitch_crds::duration;
use hookswitch_receiver::clock::Clock;
use hookswitch_receiver::config::Publisher;
use hookswitch_receiver::metrics::Metrics;
use hookswitch_receiver::options::store;
use hookswitch_receiver::{admin, ingress, run as receiver, tls};
use ipnet::IpNet;
use tokio::task::block_in_place;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::files::find::Source;
use crate::project::{Compiled, Project};
use crate::state::State;
use crate::{LISTEN, Verdict, log, signals};
use report::{Banner, Report};
use watch::Watch;

/// How long attempts under way may take to end, once it is told to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// How long an object may be gone from the files and come back as if it had not been.
const GRACE: Duration = Duration::from_secs(2);

/// Shown below the options.
pub(crate) const EXAMPLES: &str = "\
Examples:
  hookswitch run -f examples/quickstart
  hookswitch run -f conf/ -f secrets.yaml --data /var/lib/hookswitch
  hookswitch run -f conf/ --listen 0.0.0.0:8443 --tls-cert cert.pem --tls-key key.pem

The files hold WebhookSubscriptions, EventRoutes and Secrets as you would `kubectl apply` them, and
may be edited while it runs. Objects without a namespace are in `default`.";

/// What to run, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files, or directories with all their *.yaml and *.yml; `-` for standard input
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,
    /// Where webhooks come in
    #[arg(long, default_value = LISTEN, value_name = "IP:PORT")]
    listen: SocketAddr,
    /// Where /livez, /readyz and /metrics stand
    #[arg(long, default_value = "127.0.0.1:9090", value_name = "IP:PORT")]
    metrics: SocketAddr,
    /// Where `hookswitch events`, `explain`, `dead-letters` and `replay` ask; loopback only
    #[arg(long, default_value = admin::LISTEN, value_name = "IP:PORT", value_parser = admin::loopback)]
    admin: SocketAddr,
    /// Where events and the last good configuration are kept; made if it is not there
    #[arg(long, default_value = ".hookswitch", value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    store: store::Args,
    /// Serve HTTPS with this certificate chain (PEM); a changed file is picked up
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Proxies whose X-Forwarded-For or Forwarded is believed, with commas between
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = network)]
    trusted_proxies: Vec<IpNet>,
    /// How long after a start timers that began before it wait: senders try again meanwhile what they
    /// could not send
    #[arg(long, default_value = "6m", value_name = "DURATION")]
    timer_grace: duration::Duration,
    /// How to print reports and logs
    #[arg(long, value_enum, default_value_t = log::Format::Auto)]
    log_format: log::Format,
}

/// Runs until a signal ends it.
///
/// # Errors
/// Where it can't start, or something that it needs fails for good.
pub(crate) async fn run(args: Args) -> anyhow::Result<Verdict> {
    let reader = log::init(args.log_format);
    let sources = Source::from_args(&args.files).context("can't read standard input")?;
    require(&sources)?;
    prepare(&args.data)?;
    let certificate = args.tls_cert.zip(args.tls_key);
    let tls = certificate.map(|(certificate, key)| tls::Files::new(certificate, key));
    let loaded = State::load(&args.data);
    let state = loaded.as_ref().cloned().unwrap_or_else(|error| {
        tracing::warn!(%error, "starting without the last good configuration");
        State::empty()
    });

    let metrics = Metrics::new()?;
    let publisher = Publisher::new(metrics.clone());
    let config = publisher.follow();
    let mut follow = Follow {
        project: Project::resume(sources.clone(), state.clone()),
        stored: state,
        data: args.data.clone(),
        watch: Watch::new().context("can't watch files")?,
        directories: Vec::new(),
        publisher,
        report: Report::new(reader),
    };
    let compiled = block_in_place(|| follow.reload());
    if loaded.is_err() && compiled.refuses_something() {
        bail!(
            "the configuration has errors, and what was good before is not known: what waits for a \
             route that can't be read would be given up. Correct the files, or remove \
             {} to start all the same",
            State::path(&args.data).display()
        );
    }
    let banner = Banner {
        reader,
        sources,
        data: args.data.clone(),
        https: tls.is_some(),
        snapshot: compiled.snapshot,
    };

    let started = CancellationToken::new();
    let shutdown = CancellationToken::new();
    let options = receiver::Options {
        listen: args.listen,
        metrics: args.metrics,
        admin: Some(args.admin),
        data: args.data,
        engine: args.store.engine(),
        tls,
        ingress: ingress::Settings {
            trusted_proxies: args.trusted_proxies,
            ..ingress::Settings::default()
        },
        shutdown_delay: Duration::ZERO,
        drain: DRAIN,
        timer_grace: args.timer_grace.to_std(),
    };
    let serve = async {
        let on_listening = |listening| {
            banner.tell(&listening);
            started.cancel();
        };
        let ended = receiver::run(
            options,
            config,
            metrics,
            Clock::System,
            shutdown.clone(),
            on_listening,
        )
        .await;
        shutdown.cancel();
        ended
    };
    let everything = async { tokio::join!(serve, follow.edits(&started, &shutdown)) };
    tokio::select! {
        (ended, ()) = everything => ended?,
        () = interrupt(&shutdown) => {
            bail!(
                "stopped before attempts under way had ended: they count as interrupted at the next \
                 start. Nothing that was answered with 200 is lost"
            );
        }
    }
    Ok(Verdict::Yes)
}

/// The first signal begins the shutdown; this returns at the second one, from somebody who does not
/// want to wait for it.
async fn interrupt(shutdown: &CancellationToken) {
    signals::ended().await;
    shutdown.cancel();
    signals::ended().await;
}

/// A range of addresses, or one address.
fn network(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>()
        .or(address)
        .map_err(|_| "write addresses in CIDR notation, as in 10.0.0.0/8 or 192.0.2.7".to_owned())
}

/// A path that is not there at the start is a mistake in the command; later it is an edit.
fn require(sources: &[Source]) -> anyhow::Result<()> {
    for source in sources {
        if let Source::Path(path) = source
            && !path.exists()
        {
            bail!("-f {}: there is no such file or directory", path.display());
        }
    }
    Ok(())
}

/// Makes the data directory, for its owner alone: it holds events and Secrets.
fn prepare(data: &Path) -> anyhow::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(data)
        .with_context(|| format!("can't make the data directory {}", data.display()))
}

/// Keeps what is served at what the files say.
struct Follow {
    project: Project,
    /// What the next start would find on disk.
    stored: State,
    data: PathBuf,
    watch: Watch,
    directories: Vec<PathBuf>,
    publisher: Publisher,
    report: Report,
}

impl Follow {
    /// Follows edits from when the receiver has `started` until `shutdown`.
    async fn edits(mut self, started: &CancellationToken, shutdown: &CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = started.cancelled() => block_in_place(|| self.store()),
        }
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.watch.changed(|| self.project.fingerprint()) => {}
            }
            if block_in_place(|| self.project.misses_objects()) {
                shutdown.run_until_cancelled(sleep(GRACE)).await;
            }
            if shutdown.is_cancelled() {
                return;
            }
            block_in_place(|| {
                self.reload();
                self.store();
            });
        }
    }

    /// Reads the files, and publishes what they say.
    fn reload(&mut self) -> Compiled {
        // Watched before read, so that no edit falls in between.
        self.watch.follow(&self.directories);
        let mut compiled = self.project.compile();
        while self.watch.follow(&compiled.directories) {
            compiled = self.project.compile();
        }
        self.directories.clone_from(&compiled.directories);
        if let Err(error) = self.publisher.publish(compiled.snapshot.clone()) {
            self.report.failed(&error);
        }
        self.report.compiled(&compiled);
        compiled
    }

    /// Writes what a restart needs, where it has changed.
    fn store(&mut self) {
        let state = self.project.state();
        if state == self.stored {
            return;
        }
        match state.store(&self.data) {
            Ok(()) => self.stored = state,
            Err(error) => tracing::error!(
                %error,
                "a restart with a bad file would not know the last good one"
            ),
        }
    }
}
