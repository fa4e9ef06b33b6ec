//! What runs under a trial: the files, a destination, and receivers as `hookswitch run` starts them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::destination::Destination;
use crate::hookswitch::{Hookswitch, Start, Workspace};
use crate::servers::nats::Nats;
use crate::yaml;

/// The subscription's path.
pub const PATH: &str = "/support/support";
/// What is delivered.
pub(super) const BODY: &str =
    "{number: \"${event.data.data.number}\", subject: \"${event.subject}\"}";
/// Retries that a trial can wait for, in order.
pub const QUICK: &str = "{timeout: 2s, ordering: PerSubject, backoff: {initial: 50ms, max: 500ms}, circuitBreaker: {failures: 5, openFor: 200ms}}";
/// The defaults of an HTTP destination, in order.
pub const USUAL: &str = "{ordering: PerSubject}";

/// All that a receiver needs.
#[derive(Debug)]
pub struct Stage {
    /// Where everything is delivered to.
    pub destination: Arc<Destination>,
    /// The files that receivers follow.
    pub workspace: Arc<Workspace>,
    /// How receivers are started.
    pub start: Start,
}

impl Stage {
    /// One for a receiver with the embedded store; `delivery` are the destination's settings.
    pub async fn embedded(delivery: &str) -> Self {
        let destination = Arc::new(Destination::start().await);
        let workspace = Arc::new(Workspace::new());
        workspace.write("subscription.yaml", &yaml::subscription(""));
        let this = Self {
            destination,
            workspace,
            start: Start::default(),
        };
        this.route("all", delivery);
        this
    }

    /// One for receivers that share the work through these servers, each of which keeps all.
    pub async fn shared(delivery: &str, servers: &[Nats], takeover: Duration) -> Self {
        let urls: Vec<String> = servers.iter().map(Nats::url).collect();
        let mut this = Self::embedded(delivery).await;
        this.start.arguments = vec![
            "--store=jetstream".to_owned(),
            format!("--nats-url={}", urls.join(",")),
            format!("--nats-replicas={}", servers.len()),
        ];
        this.takeover(takeover);
        this
    }

    /// The same for receivers with another environment.
    #[must_use]
    pub fn with(&self, environment: Vec<(String, String)>) -> Self {
        Self {
            destination: Arc::clone(&self.destination),
            workspace: Arc::clone(&self.workspace),
            start: Start {
                environment,
                ..self.start.clone()
            },
        }
    }

    /// Sets how long a receiver may be silent, for those that start from now on.
    pub fn takeover(&mut self, takeover: Duration) {
        let arguments = &mut self.start.arguments;
        arguments.retain(|argument| !argument.starts_with("--takeover="));
        arguments.push(format!("--takeover={}ms", takeover.as_millis()));
    }

    /// Writes the route: one rule of this name, which delivers every event.
    pub fn route(&self, rule: &str, delivery: &str) {
        let url = self.destination.url();
        let route = yaml::route("crm", "[conversation.created]", &url, BODY, delivery);
        let route = route.replace("name: all", &format!("name: {rule}"));
        self.workspace.write("route.yaml", &route);
    }

    /// The data directory of a receiver, by its number.
    #[must_use]
    pub fn data(&self, number: usize) -> PathBuf {
        self.workspace.data().with_extension(number.to_string())
    }

    /// Starts a receiver, and waits until it is ready.
    pub async fn receiver(&self, number: usize) -> Hookswitch {
        let config = self.workspace.config();
        Hookswitch::start_as(&config, &self.data(number), &self.start).await
    }

    /// Starts a receiver, and kills it so long afterwards, ready or not.
    pub async fn receiver_dies(&self, number: usize, after: Duration) {
        let config = self.workspace.config();
        Hookswitch::start_and_kill(&config, &self.data(number), &self.start, after).await;
    }
}
