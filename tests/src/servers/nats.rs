//! A NATS server with JetStream, on a free loopback port.

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use async_nats::ConnectOptions;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;

pub use self::client::{Client, Message, Subscription};
use super::network::{Host, Network};
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
    address: SocketAddr,
    /// What its command begins with.
    enter: Vec<String>,
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
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        Self::start_at(address, Vec::new(), more).await
    }

    /// The same at an address, by a command that begins so.
    async fn start_at(address: SocketAddr, enter: Vec<String>, more: &str) -> Self {
        let folder = Folder::new("hookswitch-nats-");
        let at = folder.path().display();
        // No sync: it needs to survive nothing but a kill.
        let configuration = format!(
            "listen: \"{address}\"\njetstream {{ store_dir: \"{at}\", sync_interval: 1h }}\n{more}\n"
        );
        fs::write(folder.path().join("nats.conf"), configuration).expect("a configuration");
        let mut this = Self {
            process: None,
            address,
            enter,
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
        let address = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let hosts = [(); 3].map(|()| (address(), address(), Vec::new()));
        Self::cluster_at(&hosts).await
    }

    /// The same, each on a host of this network, from the first on.
    ///
    /// # Panics
    /// Where one can't start, with the reason.
    pub async fn cluster_in(network: &Network) -> Vec<Self> {
        let hosts = [0, 1, 2].map(|number| {
            let host = Host::Number(number);
            let at = |port| SocketAddr::from((network.address(host), port));
            (at(4222), at(6222), network.enter(host))
        });
        Self::cluster_at(&hosts).await
    }

    /// Each has an address for clients, one for the other servers, and what its command begins with.
    async fn cluster_at(hosts: &[(SocketAddr, SocketAddr, Vec<String>); 3]) -> Vec<Self> {
        let routes = hosts.iter();
        let routes: Vec<String> = routes
            .map(|(_, at, _)| format!("nats-route://{at}"))
            .collect();
        let routes = routes.join(", ");
        let mut servers = Vec::new();
        for (number, (clients, servers_at, enter)) in hosts.iter().enumerate() {
            let more = format!(
                "server_name: server-{number}\ncluster {{ name: hookswitch, listen: \"{servers_at}\", routes: [{routes}] }}"
            );
            servers.push(Self::start_at(*clients, enter.clone(), &more).await);
        }
        servers
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
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
        let command = [
            program.as_os_str(),
            "--config".as_ref(),
            configuration.as_os_str(),
        ];
        let enter = self.enter.iter().map(OsStr::new);
        let mut command = enter.chain(command);
        let program = command.next().expect("a program");
        let mut process = Process::start(Path::new(program), command, &log);
        let address = self.address;
        wait::until("nats-server", UP, async || {
            if let Some(status) = process.ended() {
                panic!("nats-server ended with {status}:\n{}", process.log());
            }
            greeting(address).await
        })
        .await;
        self.process = Some(process);
    }
}

/// The line that the server greets each client with.
async fn greeting(address: SocketAddr) -> Option<String> {
    let connection = TcpStream::connect(address).await.ok()?;
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
        let line = greeting(nats.address).await.expect("it greets");
        assert!(line.contains(r#""jetstream":true"#), "{line}");
        let url = nats.url();
        nats.kill();
        assert_eq!(greeting(nats.address).await, None);
        nats.restart().await;
        assert_eq!(nats.url(), url);
    }

    #[tokio::test]
    #[should_panic(expected = "nats-server ended with")]
    async fn a_wrong_configuration_fails_with_its_log() {
        Nats::start_with("no such { thing").await;
    }
}
