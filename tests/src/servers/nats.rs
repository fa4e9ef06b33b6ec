//! A NATS server with JetStream, on a free loopback port.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use async_nats::ConnectOptions;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;

pub use self::client::{Client, Message, Subscription};
use super::process::{Folder, Process};
use super::{Program, free_port};
use crate::wait;

mod client;

/// How long it may take to come up.
const UP: Duration = Duration::from_mins(1);

/// A running server. Its streams are in a folder that goes with it.
#[derive(Debug)]
pub struct Nats {
    // Fields are dropped in this order.
    process: Option<Process>,
    port: u16,
    folder: Folder,
}

impl Nats {
    /// One that lets everybody in.
    ///
    /// # Panics
    /// Where it can't start, with the reason.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// One with more in its configuration, such as `authorization { token: secret }`:
    /// <https://docs.nats.io/running-a-nats-service/configuration>. Files that this names can be put into
    /// [`Self::folder`] only after the start: give absolute paths of your own.
    ///
    /// # Panics
    /// Where it can't start, with the reason.
    pub async fn start_with(more: &str) -> Self {
        let folder = Folder::new("hookswitch-nats-");
        let port = free_port();
        let at = folder.path().display();
        // No sync: it needs to survive nothing but a kill.
        let configuration = format!(
            "listen: 127.0.0.1:{port}\njetstream {{ store_dir: \"{at}\", sync_interval: 1h }}\n{more}\n"
        );
        fs::write(folder.path().join("nats.conf"), configuration).expect("a configuration");
        let mut this = Self {
            process: None,
            port,
            folder,
        };
        this.restart().await;
        this
    }

    /// Three that keep streams together. A leader is elected some seconds later.
    ///
    /// # Panics
    /// Where one can't start, with the reason.
    pub async fn cluster() -> Vec<Self> {
        let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let routes: Vec<String> = ports
            .iter()
            .map(|port| format!("nats-route://127.0.0.1:{port}"))
            .collect();
        let routes = routes.join(", ");
        let mut servers = Vec::new();
        for port in ports {
            let more = format!(
                "server_name: at-{port}\ncluster {{ name: hookswitch, listen: \"127.0.0.1:{port}\", routes: [{routes}] }}"
            );
            servers.push(Self::start_with(&more).await);
        }
        servers
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// A client that says who it is; nobody by `ConnectOptions::new()`.
    ///
    /// # Panics
    /// Where the server does not let it in.
    pub async fn client(&self, login: ConnectOptions) -> Client {
        Client::connect(&self.url(), login).await
    }

    /// Its folder: configuration, log and streams.
    #[must_use]
    pub const fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Kills it. Its port stays free, and what JetStream has stored is kept.
    pub fn kill(&mut self) {
        drop(self.process.take());
    }

    /// Starts it anew on the same port, with what JetStream has stored.
    ///
    /// # Panics
    /// Where it can't start, with the reason.
    pub async fn restart(&mut self) {
        self.kill();
        let log = self.folder.path().join("nats.log");
        let configuration = self.folder.path().join("nats.conf");
        let program = Program::NATS_SERVER.path();
        let arguments = ["--config".as_ref(), configuration.as_os_str()];
        let mut process = Process::start(&program, arguments, &log);
        let port = self.port;
        wait::until("nats-server", UP, async || {
            if let Some(status) = process.ended() {
                panic!("nats-server ended with {status}:\n{}", process.log());
            }
            greeting(port).await
        })
        .await;
        self.process = Some(process);
    }
}

/// The line that the server greets each client with.
async fn greeting(port: u16) -> Option<String> {
    let connection = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let mut line = String::new();
    BufReader::new(connection).read_line(&mut line).await.ok()?;
    line.starts_with("INFO ").then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_runs_with_jetstream_and_again_on_the_same_port() {
        let mut nats = Nats::start().await;
        let line = greeting(nats.port).await.expect("it greets");
        assert!(line.contains(r#""jetstream":true"#), "{line}");
        let url = nats.url();
        nats.kill();
        assert_eq!(greeting(nats.port).await, None);
        nats.restart().await;
        assert_eq!(nats.url(), url);
    }

    #[tokio::test]
    #[should_panic(expected = "nats-server ended with")]
    async fn a_wrong_configuration_fails_with_its_log() {
        Nats::start_with("no such { thing").await;
    }
}
