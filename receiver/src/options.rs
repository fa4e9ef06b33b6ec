//! The command line of `hookswitch-receiver`.

use std::net::SocketAddr;
use std::path::PathBuf;

use hookswitch_crds::duration::Duration;
use ipnet::IpNet;

use crate::{admin, ingress, log, run, tls};

pub mod store;

/// Receives, verifies, keeps, routes and delivers webhooks, as the operator's snapshot says.
#[derive(Debug, clap::Parser)]
#[command(name = "hookswitch-receiver", version)]
pub struct Args {
    /// The operator's namespace, which is the receiver's own
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME")]
    pub namespace: String,
    /// This pod's name, and that of its Lease
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub pod_name: String,
    /// How many Secrets the snapshot is kept in; the operator must be told the same
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=16))]
    pub shards: u32,
    /// Where those Secrets are mounted, as hookswitch-snapshot-0.json.zst and so on: to start from
    /// while the API server is away
    #[arg(long, value_name = "DIR")]
    pub snapshot: Option<PathBuf>,
    /// Where to keep a copy of what was served last, for the same; it holds secrets: use memory
    #[arg(long, value_name = "DIR")]
    pub snapshot_copy: Option<PathBuf>,
    /// Where webhooks come in
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where /livez, /readyz and /metrics stand
    #[arg(long, default_value = "127.0.0.1:9090", value_name = "ADDRESS")]
    metrics: SocketAddr,
    /// Where the admin API stands, for `hookswitch explain` and others by port-forward; loopback only
    #[arg(long, default_value = admin::LISTEN, value_name = "ADDRESS", value_parser = admin::loopback)]
    admin: SocketAddr,
    /// Where events are kept, or with a shared store the copy of them; made if it is not there
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    store: store::Args,
    /// Serve HTTPS with this certificate chain (PEM); a changed file is picked up
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Proxies whose X-Forwarded-For is believed
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    trusted_proxies: Vec<IpNet>,
    /// How long to go on serving after SIGTERM, not ready any more, until load balancers know
    #[arg(long, default_value = "0s", value_name = "DURATION")]
    shutdown_delay: Duration,
    /// How long attempts under way may take to end after that
    #[arg(long, default_value = "10s", value_name = "DURATION")]
    drain: Duration,
    /// How long after a start timers that began before it wait: senders try again meanwhile what they
    /// could not send
    #[arg(long, default_value = "6m", value_name = "DURATION")]
    timer_grace: Duration,
    /// How to print logs
    #[arg(long, value_enum, default_value_t = log::Format::Auto)]
    pub log_format: log::Format,
}

impl Args {
    /// The receiver that they ask for.
    #[must_use]
    pub fn options(&self) -> run::Options {
        let certificate = self.tls_cert.clone().zip(self.tls_key.clone());
        run::Options {
            listen: self.listen,
            metrics: self.metrics,
            admin: Some(self.admin),
            data: self.data.clone(),
            engine: self.store.engine(),
            tls: certificate.map(|(certificate, key)| tls::Files::new(certificate, key)),
            ingress: ingress::Settings {
                trusted_proxies: self.trusted_proxies.clone(),
                ..ingress::Settings::default()
            },
            shutdown_delay: self.shutdown_delay.to_std(),
            drain: self.drain.to_std(),
            timer_grace: self.timer_grace.to_std(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn a_pod_needs_little_said() {
        Args::command().debug_assert();
        let args = [
            "hookswitch-receiver",
            "--namespace=hooks",
            "--pod-name=r-0",
            "--data=/data",
        ];
        let args = Args::try_parse_from(args).unwrap();
        let options = args.options();
        assert!(options.tls.is_none());
        assert!(matches!(options.engine, run::Engine::Embedded));
        assert!(options.shutdown_delay.is_zero());
        assert_eq!(options.drain.as_secs(), 10);
        assert_eq!(options.timer_grace.as_secs(), 360);
    }
}
