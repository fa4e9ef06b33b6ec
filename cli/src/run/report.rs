//! What `run` tells: where it listens, what is in use, what is wrong, and each only when it changes.
//!
//! People read it on standard output; where logs are JSON it is part of them instead.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use hookswitch_crds::snapshot::{Snapshot, Subscription};
use hookswitch_receiver::run::Listening;

use crate::LISTEN;
use crate::diagnostic::{Diagnostic, Severity};
use crate::files::find::Source;
use crate::files::object::Id;
use crate::log::Reader;
use crate::output::say;
use crate::project::{Compiled, Status};

/// Tells what changed since it told last.
#[derive(Debug)]
pub(crate) struct Report {
    reader: Reader,
    sequence: u64,
    statuses: BTreeMap<Id, Status>,
    problems: BTreeSet<Diagnostic>,
}

/// What is told once, when the receiver listens.
#[derive(Debug)]
pub(crate) struct Banner {
    pub(crate) reader: Reader,
    /// What `-f` says.
    pub(crate) sources: Vec<Source>,
    pub(crate) data: PathBuf,
    pub(crate) https: bool,
    pub(crate) snapshot: Snapshot,
}

impl Report {
    /// One that has told nothing.
    pub(crate) fn new(reader: Reader) -> Self {
        Self {
            reader,
            sequence: 0,
            statuses: BTreeMap::new(),
            problems: BTreeSet::new(),
        }
    }

    /// Tells what is new in `compiled`.
    pub(crate) fn compiled(&mut self, compiled: &Compiled) {
        let problems: BTreeSet<Diagnostic> = compiled.problems.iter().cloned().collect();
        for problem in problems.difference(&self.problems) {
            self.problem(problem);
        }
        for (id, status) in &compiled.statuses {
            if self.statuses.get(id) != Some(status) {
                self.state(id, status.serving.is_some(), &describe(status));
            }
        }
        for id in self.statuses.keys() {
            if !compiled.statuses.contains_key(id) {
                self.state(id, false, "removed");
            }
        }
        if self.sequence != compiled.snapshot.sequence {
            self.note(&format!(
                "configuration {} is in use",
                compiled.snapshot.sequence
            ));
        } else if !self.problems.is_empty() && problems.is_empty() {
            self.note("all problems are gone");
        }
        self.sequence = compiled.snapshot.sequence;
        self.statuses.clone_from(&compiled.statuses);
        self.problems = problems;
    }

    /// Tells that a configuration can't be used, and that the one before stays.
    pub(crate) fn failed(&self, error: &dyn std::error::Error) {
        match self.reader {
            Reader::Person => say!("error: {error}; what was in use stays in use"),
            Reader::Machine => tracing::error!(%error, "what was in use stays in use"),
        }
    }

    fn problem(&self, problem: &Diagnostic) {
        match (self.reader, problem.severity) {
            (Reader::Person, _) => say!("{problem}"),
            (Reader::Machine, Severity::Error) => tracing::error!(
                file = problem
                    .file
                    .as_deref()
                    .map(|file| tracing::field::display(file.display())),
                line = problem.position.map(|position| position.line),
                column = problem.position.map(|position| position.column),
                object = problem.object,
                field = problem.field,
                reason = problem.reason,
                "{}",
                problem.message
            ),
            (Reader::Machine, Severity::Warning) => tracing::warn!(
                file = problem
                    .file
                    .as_deref()
                    .map(|file| tracing::field::display(file.display())),
                line = problem.position.map(|position| position.line),
                column = problem.position.map(|position| position.column),
                object = problem.object,
                field = problem.field,
                "{}",
                problem.message
            ),
        }
    }

    fn state(&self, id: &Id, served: bool, state: &str) {
        match self.reader {
            Reader::Person => say!("{id}: {state}"),
            Reader::Machine => tracing::info!(object = %id, served, "{state}"),
        }
    }

    fn note(&self, text: &str) {
        match self.reader {
            Reader::Person => say!("{text}"),
            Reader::Machine => tracing::info!("{text}"),
        }
    }
}

/// An object's conditions in a few words.
fn describe(status: &Status) -> String {
    let Status {
        conditions,
        generation,
        serving,
    } = status;
    let refused = &conditions.accepted;
    match serving {
        _ if !refused.status => match serving {
            Some(last_good) => format!(
                "generation {generation} is not accepted ({}); {last_good} stays in use",
                refused.reason
            ),
            None => format!("not accepted ({}), and not in use", refused.reason),
        },
        Some(_) if !conditions.resolved_refs.status => format!(
            "generation {generation} is accepted, but not all that it refers to is there ({})",
            conditions.resolved_refs.reason
        ),
        Some(_) => format!("generation {generation} is accepted"),
        None => "not in use".to_owned(),
    }
}

impl Banner {
    /// Tells where it listens, each subscription's URL, and how to send a test event.
    pub(crate) fn tell(&self, listening: &Listening) {
        let base = self.base(listening.hooks);
        match self.reader {
            Reader::Person => self.print(&base, listening),
            Reader::Machine => {
                tracing::info!(
                    hooks = %listening.hooks,
                    metrics = %listening.metrics,
                    admin = listening.admin.map(tracing::field::display),
                    data = %self.data.display(),
                    send = self.command(listening.hooks),
                    "listening"
                );
                for subscription in &self.snapshot.subscriptions {
                    tracing::info!(
                        subscription = %subscription.origin.key,
                        url = %format_args!("{base}{}", subscription.path),
                        "subscription"
                    );
                }
            }
        }
    }

    fn print(&self, base: &str, listening: &Listening) {
        say!("");
        say!(
            "Hookswitch {} is running. Ctrl-C stops it.",
            env!("CARGO_PKG_VERSION")
        );
        say!("  webhooks   {base}");
        say!(
            "  metrics    http://{}/metrics",
            reachable(listening.metrics)
        );
        if let Some(admin) = listening.admin {
            say!("  admin      http://{admin}  (hookswitch events, explain, dead-letters, replay)");
        }
        say!("  events     kept in {}", self.data.display());
        for source in &self.sources {
            match source {
                Source::Path(path) => {
                    say!("  files      {}, followed while you edit", path.display());
                }
                Source::Once { name, text: _ } => {
                    say!("  files      {}, read once", name.display());
                }
            }
        }
        say!("");
        if self.snapshot.subscriptions.is_empty() {
            say!("No WebhookSubscription is in use: add one, and it is picked up.");
        }
        for subscription in &self.snapshot.subscriptions {
            say!(
                "{} sends to {base}{}  (WebhookSubscription {}, {})",
                subscription.provider,
                subscription.path,
                subscription.origin.key,
                routes(&self.snapshot, subscription),
            );
        }
        if let Some(command) = self.command(listening.hooks) {
            say!("");
            say!("Send a signed test event:");
            say!("  {command}");
        }
        say!("");
    }

    fn base(&self, hooks: SocketAddr) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}", reachable(hooks))
    }

    /// The command that sends an event to the first subscription that can be signed for.
    fn command(&self, hooks: SocketAddr) -> Option<String> {
        let path = |source: &Source| match source {
            Source::Path(path) => Some(path.display().to_string()),
            Source::Once { .. } => None,
        };
        let paths: Vec<String> = self.sources.iter().map(path).collect::<Option<_>>()?;
        let signable = |subscription: &&Arc<Subscription>| {
            let hmac = subscription.verification.hmac.as_ref();
            hmac.is_none_or(|hmac| hmac.secrets.iter().any(|secret| secret.usable().is_some()))
        };
        let subscription = self.snapshot.subscriptions.iter().find(signable)?;
        let mut command = vec![
            program(),
            "send".to_owned(),
            "--provider".to_owned(),
            subscription.provider.clone(),
        ];
        for path in paths {
            command.push("-f".to_owned());
            command.push(path);
        }
        let alike = self
            .snapshot
            .subscriptions
            .iter()
            .filter(|other| other.provider == subscription.provider);
        if alike.count() > 1 {
            command.push("--subscription".to_owned());
            command.push(subscription.origin.key.to_string());
        }
        let usual = !self.https && LISTEN.parse() == Ok(hooks);
        if !usual {
            command.push("--url".to_owned());
            command.push(format!("{}{}", self.base(hooks), subscription.path));
        }
        Some(
            command
                .iter()
                .map(|word| quoted(word))
                .collect::<Vec<_>>()
                .join(" "),
        )
    }
}

fn routes(snapshot: &Snapshot, subscription: &Subscription) -> String {
    let attached = snapshot
        .routes
        .iter()
        .filter(|route| route.subscriptions.contains(&subscription.origin.key))
        .count();
    match attached {
        0 => "no routes: events are kept".to_owned(),
        1 => "1 route".to_owned(),
        many => format!("{many} routes"),
    }
}

/// Where a client on this machine reaches a server that listens on every address.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// This program, as the user called it.
fn program() -> String {
    std::env::args()
        .next()
        .unwrap_or_else(|| "hookswitch".to_owned())
}

/// A word for a POSIX shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_pasted_into_a_shell() {
        assert_eq!(quoted("examples/quickstart"), "examples/quickstart");
        assert_eq!(quoted("my files"), "'my files'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn a_server_on_every_address_is_reached_on_loopback() {
        for (address, expected) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("192.0.2.1:1", "192.0.2.1:1"),
        ] {
            let address: SocketAddr = address.parse().unwrap();
            assert_eq!(reachable(address).to_string(), expected);
        }
    }
}
