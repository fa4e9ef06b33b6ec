//! The command line of `hookswitch-operator`, and its file of settings.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hookswitch_crds::duration::Duration;
use ipnet::IpNet;
use serde::Deserialize;

use crate::compile::{Ceilings, Namespaces, PathGrant, PrivateGrant, Settings};
use crate::log;
use crate::run::Options;

/// Shown below the options.
const SETTINGS: &str = "\
The file of settings is JSON, and every field may be left out:
  {
    \"baseUrl\": \"https://hooks.example.com\",
    \"pathGrants\": [{\"namespaces\": [\"platform\"], \"prefix\": \"/hooks\"}],
    \"privateNetworks\": [{\"namespaces\": [\"*\"], \"cidrs\": [\"10.20.0.0/16\"]}],
    \"ceilings\": {\"bodyBytes\": 1048576, \"storedBytes\": 1073741824, \"eventsPerSecond\": 100,
                 \"retention\": \"72h\", \"deduplicationWindow\": \"24h\"}
  }
It is read once, at the start.";

/// Compiles WebhookSubscriptions and EventRoutes into the snapshot that receivers follow, and tells in
/// their status what became of them.
#[derive(Debug, clap::Parser)]
#[command(name = "hookswitch-operator", version, after_help = SETTINGS)]
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
    /// The receivers' StatefulSet: its pods' Leases are <NAME>-0 and so on
    #[arg(long, default_value = "hookswitch-receiver", value_name = "NAME")]
    receivers: String,
    /// How many receivers there may be: a Lease is made for each
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=256))]
    receiver_replicas: u32,
    /// How many Secrets the snapshot is kept in; receivers must be told the same
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=16))]
    shards: u32,
    /// What objects may ask for; without the file nothing is granted
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Where /livez, /readyz and /metrics stand
    #[arg(long, default_value = "127.0.0.1:9090", value_name = "ADDRESS")]
    metrics: SocketAddr,
    /// How to print logs
    #[arg(long, value_enum, default_value_t = log::Format::Auto)]
    pub log_format: log::Format,
}

/// Why the settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("reading the settings in {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file does not say what settings may.
    #[error("the settings in {}: {at}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The field.
        at: String,
        /// What is wrong with it.
        message: String,
    },
}

impl Args {
    /// The operator that they ask for. `instance` tells this process from others of the same name.
    ///
    /// # Errors
    /// Where the settings can't be used.
    pub fn options(self, instance: &str) -> Result<Options, Error> {
        let settings = self.settings.as_deref().map(load).transpose()?;
        let namespaces = self.watch_namespaces.into_iter();
        let namespaces: Vec<String> = namespaces.filter(|name| !name.is_empty()).collect();
        Ok(Options {
            namespace: self.namespace,
            identity: format!("{}_{instance}", self.pod_name),
            watch_namespaces: Some(namespaces).filter(|names| !names.is_empty()),
            receiver: self.receivers,
            receivers: self.receiver_replicas,
            shards: self.shards,
            settings: settings.unwrap_or_default(),
            metrics: self.metrics,
        })
    }
}

fn load(path: &Path) -> Result<Settings, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    read(&text).map_err(|(at, message)| Error::Invalid {
        path: path.to_owned(),
        at,
        message,
    })
}

/// The settings of a file's text; else the field and what is wrong with it.
fn read(text: &str) -> Result<Settings, (String, String)> {
    let mut json = serde_json::Deserializer::from_str(text);
    let file: File = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| (error.path().to_string(), error.inner().to_string()))?;
    let invalid = |at: &str, message: &str| Err((at.to_owned(), message.to_owned()));
    if file.base_url.as_deref().is_some_and(|it| !is_base_url(it)) {
        return invalid(
            "baseUrl",
            "give scheme and host alone, as in https://hooks.example.com",
        );
    }
    if file
        .path_grants
        .iter()
        .any(|it| !it.prefix.starts_with('/'))
    {
        return invalid("pathGrants", "a prefix begins with a slash, as in /hooks");
    }
    Ok(file.into())
}

/// Scheme and authority, and nothing behind them but a slash.
fn is_base_url(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
    })
}

/// The file of settings.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct File {
    base_url: Option<String>,
    path_grants: Vec<PathGrantEntry>,
    private_networks: Vec<PrivateGrantEntry>,
    ceilings: CeilingsEntry,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PathGrantEntry {
    namespaces: Vec<String>,
    prefix: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PrivateGrantEntry {
    namespaces: Vec<String>,
    cidrs: Vec<IpNet>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct CeilingsEntry {
    body_bytes: Option<u64>,
    stored_bytes: Option<u64>,
    events_per_second: Option<u32>,
    retention: Option<Duration>,
    deduplication_window: Option<Duration>,
}

impl From<File> for Settings {
    fn from(file: File) -> Self {
        let File {
            base_url,
            path_grants,
            private_networks,
            ceilings,
        } = file;
        let path_grants = path_grants.into_iter().map(|it| PathGrant {
            namespaces: it.namespaces.into_iter().collect::<Namespaces>(),
            prefix: it.prefix,
        });
        let private_networks = private_networks.into_iter().map(|it| PrivateGrant {
            namespaces: it.namespaces.into_iter().collect::<Namespaces>(),
            cidrs: it.cidrs,
        });
        Self {
            base_url: base_url.map(|url| url.trim_end_matches('/').to_owned()),
            path_grants: path_grants.collect(),
            private_networks: private_networks.collect(),
            ceilings: ceilings.into(),
        }
    }
}

impl From<CeilingsEntry> for Ceilings {
    fn from(entry: CeilingsEntry) -> Self {
        let CeilingsEntry {
            body_bytes,
            stored_bytes,
            events_per_second,
            retention,
            deduplication_window,
        } = entry;
        let default = Self::default();
        Self {
            body_bytes: body_bytes.unwrap_or(default.body_bytes),
            stored_bytes: stored_bytes.unwrap_or(default.stored_bytes),
            events_per_second: events_per_second.or(default.events_per_second),
            retention: retention.unwrap_or(default.retention),
            deduplication_window: deduplication_window.unwrap_or(default.deduplication_window),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn left_out_means_the_defaults() {
        Args::command().debug_assert();
        let args = Args::try_parse_from(["hookswitch-operator", "--namespace", "hooks"]).unwrap();
        let options = args.options("x").unwrap();
        assert_eq!(options.settings, Settings::default());
        assert_eq!(options.watch_namespaces, None);
        assert_eq!((options.shards, options.receivers), (1, 1));
        assert_eq!(options.identity, "hookswitch-operator_x");
        assert_eq!(read("{}").unwrap(), Settings::default());
    }

    #[test]
    fn the_example_in_the_help_is_read() {
        let example = SETTINGS.split_once(":\n").unwrap().1;
        let settings = read(example.split_once("It is read").unwrap().0).unwrap();
        assert_eq!(
            settings.base_url.as_deref(),
            Some("https://hooks.example.com")
        );
        let granted = &settings.path_grants[0];
        assert_eq!(granted.namespaces, ["platform"].into_iter().collect());
        assert_eq!(settings.private_networks[0].namespaces, Namespaces::All);
        assert_eq!(settings.ceilings.events_per_second, Some(100));
        assert_eq!(settings.ceilings.retention, Duration::from_secs(72 * 3600));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_place() {
        for (text, at, message) in [
            ("{", "?", "EOF"),
            (r#"{"baseURL": ""}"#, "baseURL", "unknown field"),
            (r#"{"baseUrl": "hooks.example.com"}"#, "baseUrl", "https://"),
            (r#"{"baseUrl": "https://a.example/b"}"#, "baseUrl", "alone"),
            (
                r#"{"pathGrants": [{"namespaces": ["a"], "prefix": "hooks"}]}"#,
                "pathGrants",
                "slash",
            ),
            (
                r#"{"privateNetworks": [{"namespaces": ["a"], "cidrs": ["10.0.0.0"]}]}"#,
                "privateNetworks[0].cidrs[0]",
                "invalid",
            ),
            (
                r#"{"ceilings": {"retention": "long"}}"#,
                "ceilings.retention",
                "30s",
            ),
        ] {
            let (place, told) = read(text).unwrap_err();
            assert_eq!(place, at, "{text}: {told}");
            assert!(told.contains(message), "{text}: {told}");
        }
    }
}
