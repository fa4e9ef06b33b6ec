//! The options of the store, the same for `hookswitch-receiver` and `hookswitch run`.

use std::path::PathBuf;

use hookswitch_crds::duration::Duration;

use crate::run;
use crate::store::jetstream::{Login, Settings};

/// Which engine keeps the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Kind {
    /// A file in the data directory, for one receiver.
    #[default]
    Embedded,
    /// NATS `JetStream`, for several receivers that share the work.
    Jetstream,
}

/// What the store is, and where.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Store")]
#[group(id = "the-store")]
#[expect(clippy::doc_markdown, reason = "these comments are what --help shows")]
pub struct Args {
    /// What keeps events: a file in the data directory, or NATS JetStream for several receivers
    #[arg(
        long,
        value_enum,
        default_value_t,
        env = "HOOKSWITCH_STORE",
        value_name = "KIND"
    )]
    store: Kind,
    /// NATS servers, such as nats://nats:4222, with commas between
    #[arg(
        long,
        env = "HOOKSWITCH_NATS_URL",
        hide_env_values = true,
        value_name = "URL",
        value_delimiter = ',',
        required_if_eq("store", "jetstream")
    )]
    nats_url: Vec<String>,
    /// What the names of stream, bucket and subjects begin with; receivers that share work say the same
    #[arg(
        long,
        env = "HOOKSWITCH_NATS_PREFIX",
        default_value = "hookswitch",
        value_name = "NAME"
    )]
    nats_prefix: String,
    /// How many NATS servers keep what is accepted; 3 in a cluster that may lose one
    #[arg(long, env = "HOOKSWITCH_NATS_REPLICAS", default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u8).range(1..=5))]
    nats_replicas: u8,
    /// Bytes that the stream may take; else the servers' limits count
    #[arg(long, env = "HOOKSWITCH_NATS_MAX_BYTES", value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    nats_max_bytes: Option<u64>,
    /// A file of NATS credentials (JWT and seed)
    #[arg(long, env = "HOOKSWITCH_NATS_CREDENTIALS", value_name = "FILE", conflicts_with_all = ["nats_user", "nats_token_file"])]
    nats_credentials: Option<PathBuf>,
    /// A NATS user; its password is in --nats-password-file
    #[arg(
        long,
        env = "HOOKSWITCH_NATS_USER",
        value_name = "NAME",
        requires = "nats_password_file"
    )]
    nats_user: Option<String>,
    /// The file that holds the user's password
    #[arg(
        long,
        env = "HOOKSWITCH_NATS_PASSWORD_FILE",
        value_name = "FILE",
        requires = "nats_user"
    )]
    nats_password_file: Option<PathBuf>,
    /// The file that holds a NATS token
    #[arg(
        long,
        env = "HOOKSWITCH_NATS_TOKEN_FILE",
        value_name = "FILE",
        conflicts_with = "nats_user"
    )]
    nats_token_file: Option<PathBuf>,
    /// Authorities that the NATS servers' certificates come from (PEM); TLS is a must then
    #[arg(long, env = "HOOKSWITCH_NATS_CA", value_name = "FILE")]
    nats_ca: Option<PathBuf>,
    /// The certificate to show to the NATS servers (PEM)
    #[arg(
        long,
        env = "HOOKSWITCH_NATS_CERT",
        value_name = "FILE",
        requires = "nats_key"
    )]
    nats_cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(
        long,
        env = "HOOKSWITCH_NATS_KEY",
        value_name = "FILE",
        requires = "nats_cert"
    )]
    nats_key: Option<PathBuf>,
    /// How long a receiver may be silent before others take over its work
    #[arg(long, default_value = "6s", value_name = "DURATION")]
    takeover: Duration,
    /// Megabytes of the log, at least, before it is cut short by a checkpoint
    #[arg(long, default_value_t = 64, value_name = "MEGABYTES", hide = true)]
    checkpoint_after: u64,
}

impl Args {
    /// The engine that they ask for.
    #[must_use]
    pub fn engine(&self) -> run::Engine {
        if self.store == Kind::Embedded {
            return run::Engine::Embedded;
        }
        let password = self.nats_user.clone().zip(self.nats_password_file.clone());
        let credentials = self.nats_credentials.clone().map(Login::Credentials);
        let login = credentials
            .or_else(|| self.nats_token_file.clone().map(Login::Token))
            .or_else(|| password.map(|(user, file)| Login::Password { user, file }));
        let usual = Settings::new(self.nats_url.clone());
        run::Engine::JetStream(Box::new(Settings {
            prefix: self.nats_prefix.clone(),
            replicas: self.nats_replicas.into(),
            max_bytes: self.nats_max_bytes,
            login,
            ca: self.nats_ca.clone(),
            certificate: self.nats_cert.clone().zip(self.nats_key.clone()),
            takeover: self.takeover.to_std(),
            checkpoint: (self.checkpoint_after << 20, usual.checkpoint.1),
            ..usual
        }))
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        store: Args,
    }

    fn engine(arguments: &[&str]) -> Result<run::Engine, clap::Error> {
        let arguments = ["program"].iter().chain(arguments);
        Program::try_parse_from(arguments).map(|program| program.store.engine())
    }

    #[test]
    fn the_file_is_the_default_and_the_log_needs_an_address() {
        Program::command().debug_assert();
        assert!(matches!(engine(&[]).unwrap(), run::Engine::Embedded));
        assert!(engine(&["--store=jetstream"]).is_err());
        let asked = engine(&[
            "--store=jetstream",
            "--nats-url=nats://a:4222,nats://b:4222",
            "--nats-replicas=3",
            "--nats-user=hookswitch",
            "--nats-password-file=/secret/password",
        ]);
        let run::Engine::JetStream(settings) = asked.unwrap() else {
            panic!("another engine");
        };
        assert_eq!(settings.urls, ["nats://a:4222", "nats://b:4222"]);
        assert_eq!(settings.replicas, 3);
        assert!(
            matches!(settings.login, Some(Login::Password { user, .. }) if user == "hookswitch")
        );
        assert_eq!(settings.takeover.as_secs(), 6);
    }

    #[test]
    fn half_a_login_is_refused() {
        let url = ["--store=jetstream", "--nats-url=nats://a"];
        for half in ["--nats-user=a", "--nats-cert=a", "--nats-replicas=6"] {
            let arguments = [url[0], url[1], half];
            assert!(engine(&arguments).is_err(), "{half}");
        }
    }
}
