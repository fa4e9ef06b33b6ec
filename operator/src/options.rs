//! The command line of `hookswitch-operator`.

use std::net::SocketAddr;
use std::str::FromStr;

use hookswitch_crds::duration::Duration;
use hookswitch_crds::quantity::Quantity;
use ipnet::IpNet;

use crate::compile::{Ceilings, Namespaces, PathGrant, PrivateGrant, Settings};
use crate::log;
use crate::run::Options;

/// Compiles WebhookSubscriptions and EventRoutes into the snapshot that receivers follow, and tells in
/// their status what became of them.
#[derive(Debug, clap::Parser)]
#[command(name = "hookswitch-operator", version)]
#[expect(clippy::doc_markdown, reason = "these comments are what --help shows")]
pub struct Args {
    /// The namespace of the snapshot, the receivers and their Leases
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME")]
    namespace: String,
    /// This pod's name: it is seen in the leader's Lease and in Events
    #[arg(
        long,
        env = "POD_NAME",
        default_value = "hookswitch-operator",
        value_name = "NAME"
    )]
    pod_name: String,
    /// Serve objects of these namespaces only, and ask for no right in others; all if left out
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    watch_namespaces: Vec<String>,
    /// Scheme and authority that senders reach receivers at, such as `https://hooks.example.com`
    #[arg(long, value_name = "URL", value_parser = base_url)]
    base_url: Option<String>,
    /// The receivers' StatefulSet: its pods' Leases are NAME-0 and so on
    #[arg(long, default_value = "hookswitch-receiver", value_name = "NAME")]
    receiver: String,
    /// How many receivers there may be: a Lease is made for each
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=256))]
    receivers: u32,
    /// How many Secrets the snapshot is kept in; receivers must be told the same
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=16))]
    shards: u32,
    /// Let namespaces use paths under a prefix: platform,infra=/hooks, or *=/shared; may be repeated
    #[arg(long = "path-grant", value_name = "NAMESPACES=PREFIX", value_parser = path_grant)]
    path_grants: Vec<PathGrant>,
    /// Let namespaces' destinations reach private ranges: support=10.0.0.0/8,192.168.0.0/16; may be repeated
    #[arg(long = "private-network", value_name = "NAMESPACES=CIDRS", value_parser = private_grant)]
    private_networks: Vec<PrivateGrant>,
    /// The most that a subscription may set as limits.bodyBytes
    #[arg(long, default_value_t = Ceilings::default().body_bytes, value_name = "BYTES")]
    max_body_bytes: u64,
    /// The most that a subscription may set as limits.storedBytes, as in 16Gi
    #[arg(long, default_value = "16Gi", value_name = "QUANTITY")]
    max_stored_bytes: Quantity,
    /// The most that a subscription may set as limits.eventsPerSecond, and what it gets if it sets none
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    max_events_per_second: Option<u32>,
    /// The most that a subscription may set as retention
    #[arg(long, default_value = "2160h", value_name = "DURATION")]
    max_retention: Duration,
    /// The most that a subscription may set as deduplication.window
    #[arg(long, default_value = "720h", value_name = "DURATION")]
    max_deduplication_window: Duration,
    /// Where /livez, /readyz and /metrics stand
    #[arg(long, default_value = "127.0.0.1:9090", value_name = "ADDRESS")]
    metrics: SocketAddr,
    /// How to print logs
    #[arg(long, value_enum, default_value_t = log::Format::Auto)]
    pub log_format: log::Format,
}

impl Args {
    /// The operator that they ask for. `instance` tells this process from others of the same name.
    #[must_use]
    pub fn options(self, instance: &str) -> Options {
        let namespaces = self.watch_namespaces.into_iter();
        let namespaces: Vec<String> = namespaces.filter(|name| !name.is_empty()).collect();
        Options {
            namespace: self.namespace,
            identity: format!("{}_{instance}", self.pod_name),
            watch_namespaces: Some(namespaces).filter(|names| !names.is_empty()),
            receiver: self.receiver,
            receivers: self.receivers,
            shards: self.shards,
            settings: Settings {
                base_url: self.base_url,
                path_grants: self.path_grants,
                private_networks: self.private_networks,
                ceilings: Ceilings {
                    body_bytes: self.max_body_bytes,
                    stored_bytes: self.max_stored_bytes.bytes(),
                    events_per_second: self.max_events_per_second,
                    retention: self.max_retention,
                    deduplication_window: self.max_deduplication_window,
                },
            },
            metrics: self.metrics,
        }
    }
}

/// `https://hooks.example.com`, without a slash at the end.
fn base_url(text: &str) -> Result<String, String> {
    let url = url::Url::parse(text).map_err(|error| error.to_string())?;
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !is_bare {
        return Err("give scheme and host alone, as in https://hooks.example.com".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn path_grant(text: &str) -> Result<PathGrant, String> {
    let (namespaces, prefix) = grant(text)?;
    if !prefix.starts_with('/') {
        return Err("the prefix must begin with a slash, as in platform=/hooks".to_owned());
    }
    Ok(PathGrant {
        namespaces,
        prefix: prefix.to_owned(),
    })
}

fn private_grant(text: &str) -> Result<PrivateGrant, String> {
    let (namespaces, cidrs) = grant(text)?;
    let cidrs = cidrs.split(',').map(|cidr| {
        IpNet::from_str(cidr.trim()).map_err(|_| format!("{cidr} is no range, such as 10.0.0.0/8"))
    });
    Ok(PrivateGrant {
        namespaces,
        cidrs: cidrs.collect::<Result<_, _>>()?,
    })
}

fn grant(text: &str) -> Result<(Namespaces, &str), String> {
    let missing = || "name the namespaces and what they get, as in a,b=... or *=...".to_owned();
    let (namespaces, granted) = text.split_once('=').ok_or_else(missing)?;
    let names: Vec<&str> = namespaces
        .split(',')
        .map(str::trim)
        .filter(|it| !it.is_empty())
        .collect();
    if names.is_empty() || granted.is_empty() {
        return Err(missing());
    }
    Ok((names.into_iter().collect(), granted))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn options(arguments: &[&str]) -> Result<Options, clap::Error> {
        let arguments = [&["hookswitch-operator", "--namespace", "hooks"], arguments].concat();
        Args::try_parse_from(arguments).map(|args| args.options("x"))
    }

    #[test]
    fn the_command_line_holds_together() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }

    #[test]
    fn left_out_means_the_defaults() {
        let options = options(&[]).unwrap();
        assert_eq!(options.settings, Settings::default());
        assert_eq!(options.watch_namespaces, None);
        assert_eq!((options.shards, options.receivers), (1, 1));
        assert_eq!(options.identity, "hookswitch-operator_x");
    }

    #[test]
    fn grants_are_read() {
        let options = options(&[
            "--path-grant=platform,infra=/hooks",
            "--path-grant=*=/shared",
            "--private-network=support=10.0.0.0/8,fd00::/8",
            "--watch-namespaces=a,b",
            "--base-url=https://hooks.example.com/",
        ])
        .unwrap();
        let settings = options.settings;
        assert_eq!(
            settings.path_grants[0].namespaces,
            ["platform", "infra"].into_iter().collect()
        );
        assert_eq!(settings.path_grants[1].namespaces, Namespaces::All);
        assert_eq!(settings.private_networks[0].cidrs.len(), 2);
        assert_eq!(
            settings.base_url.as_deref(),
            Some("https://hooks.example.com")
        );
        assert_eq!(options.watch_namespaces.unwrap(), ["a", "b"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_an_example() {
        for (argument, example) in [
            ("--path-grant=/hooks", "a,b=..."),
            ("--path-grant==/hooks", "a,b=..."),
            ("--path-grant=a=hooks", "platform=/hooks"),
            ("--private-network=a=10.0.0.0", "10.0.0.0/8"),
            ("--base-url=hooks.example.com", "relative URL"),
            (
                "--base-url=https://hooks.example.com/a",
                "https://hooks.example.com",
            ),
            ("--shards=0", "1..=16"),
        ] {
            let error = options(&[argument]).unwrap_err().to_string();
            assert!(error.contains(example), "{argument}: {error}");
        }
    }
}
