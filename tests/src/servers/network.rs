//! A network between servers that can be cut: each has a network namespace of its own on one switch, as hosts
//! have, and this process is on it too.
//!
//! ```text
//!   here ──veth──┐
//!   host ──veth──┼── bridge (in a namespace of its own)
//!   host ──veth──┘
//! ```
//!
//! Each host knows the others' hardware addresses by a table of its own. A cut writes one into it that nobody has: frames
//! leave and arrive nowhere, without an error, as with a broken wire. The kernel takes everything away with the
//! processes that hold the namespaces, however this one ends.
//!
//! Needs the right to make namespaces and interfaces, and `ip`, `nsenter` and `unshare`: run as root, or in
//! `unshare --user --map-root-user --net --mount`.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::process::{Folder, Process};
use crate::prober::dice::Dice;
use crate::wait;

/// How long a namespace may take to be there.
const SOON: Duration = Duration::from_secs(10);
/// A hardware address that nobody has.
const NOBODY: &str = "02:00:00:00:ff:ff";

/// A network of a test's own.
#[derive(Debug)]
pub struct Network {
    // Fields are dropped in this order.
    hosts: Vec<Process>,
    _switch: Process,
    /// What addresses begin with.
    subnet: [u8; 3],
    _folder: Folder,
}

/// A host of a network, by its number from 0, or this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// Where the test runs.
    Here,
    /// One of the hosts.
    Number(usize),
}

impl Network {
    /// One with so many hosts.
    ///
    /// # Panics
    /// Where it can't be made, with the reason.
    pub async fn start(hosts: usize) -> Self {
        let folder = Folder::new("hookswitch-network-");
        let log = folder.path().join("log");
        let switch = namespace(&log).await;
        let inside = within(&switch);
        run(&inside, "ip link add switch type bridge");
        run(&inside, "ip link set switch up");
        let mut this = Self {
            hosts: Vec::new(),
            _switch: switch,
            subnet: free_subnet(),
            _folder: folder,
        };
        for number in 0..hosts {
            this.hosts.push(namespace(&log).await);
            this.join(&inside, Host::Number(number));
        }
        this.join(&inside, Host::Here);
        let all: Vec<Host> = (0..hosts).map(Host::Number).chain([Host::Here]).collect();
        for one in &all {
            for other in all.iter().filter(|other| *other != one) {
                this.heal(*one, *other);
            }
        }
        this
    }

    /// Its address.
    #[must_use]
    pub fn address(&self, host: Host) -> IpAddr {
        let [a, b, c] = self.subnet;
        IpAddr::from(Ipv4Addr::new(a, b, c, last(host)))
    }

    /// What a command begins with that runs on a host: empty here.
    #[must_use]
    pub fn enter(&self, host: Host) -> Vec<String> {
        match host {
            Host::Here => Vec::new(),
            Host::Number(number) => within(self.hosts.get(number).expect("a host")),
        }
    }

    /// Loses all that goes from one host to another, and not what comes back.
    pub fn cut(&self, from: Host, to: Host) {
        self.know(from, to, NOBODY);
    }

    /// Passes it on again.
    pub fn heal(&self, from: Host, to: Host) {
        self.know(from, to, &hardware(to));
    }

    fn know(&self, who: Host, whom: Host, hardware: &str) {
        let (address, device) = (self.address(whom), self.device(who));
        let command =
            format!("ip neigh replace {address} lladdr {hardware} dev {device} nud permanent");
        run(&self.enter(who), &command);
    }

    /// Plugs a host in.
    fn join(&self, switch: &[String], host: Host) {
        let (port, device) = (format!("port{}", last(host)), self.device(host));
        let namespace = match host {
            Host::Here => std::process::id(),
            Host::Number(number) => self.hosts.get(number).expect("a host").id(),
        };
        run(
            switch,
            &format!("ip link add {port} type veth peer name {device} netns {namespace}"),
        );
        run(switch, &format!("ip link set {port} master switch up"));
        let inside = self.enter(host);
        let address = self.address(host);
        run(
            &inside,
            &format!("ip address add {address}/24 dev {device}"),
        );
        run(
            &inside,
            &format!("ip link set {device} address {} up", hardware(host)),
        );
        run(&inside, "ip link set lo up");
    }

    /// The name of a host's interface. There may be several networks here.
    fn device(&self, host: Host) -> String {
        match host {
            Host::Here => format!("hookswitch{}", self.subnet[2]),
            Host::Number(_) => "eth0".to_owned(),
        }
    }
}

/// The last part of a host's address.
fn last(host: Host) -> u8 {
    match host {
        Host::Here => 1,
        Host::Number(number) => u8::try_from(number + 2).expect("few hosts"),
    }
}

fn hardware(host: Host) -> String {
    format!("02:00:00:00:00:{:02x}", last(host))
}

/// A namespace, which is there as long as the process.
async fn namespace(log: &Path) -> Process {
    let own = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
    let arguments = ["--net", "sleep", "infinity"];
    let mut process = Process::start(Path::new("unshare"), arguments, log);
    wait::until("a network namespace", SOON, async || {
        if let Some(status) = process.ended() {
            panic!(
                "a network namespace can't be made ({status}): run this as root, or in \
                 `unshare --user --map-root-user --net --mount`\n{}",
                process.log()
            );
        }
        let namespace = own(&process.id().to_string())?;
        (Some(namespace) != own("self")).then_some(())
    })
    .await;
    process
}

/// What a command begins with that runs in a process's network.
fn within(process: &Process) -> Vec<String> {
    let namespace = PathBuf::from(format!("/proc/{}/ns/net", process.id()));
    vec![
        "nsenter".to_owned(),
        format!("--net={}", namespace.display()),
    ]
}

/// Of those that are set apart for measurements between networks (RFC 2544), one that is not in use here.
fn free_subnet() -> [u8; 3] {
    let addresses = Command::new("ip").args(["-4", "address"]).output();
    let addresses = addresses.expect("ip is there: install iproute2").stdout;
    let addresses = String::from_utf8_lossy(&addresses).into_owned();
    let mut dice = Dice::new(Dice::seed());
    let free = |third: &u8| !addresses.contains(&format!("198.18.{third}."));
    let third = std::iter::repeat_with(|| u8::try_from(dice.below(256)).expect("a byte"));
    let third = third.take(1000).find(free).expect("a free network");
    [198, 18, third]
}

fn run(within: &[String], command: &str) {
    let mut words = within.iter().map(String::as_str).chain(command.split(' '));
    let program = words.next().expect("a command");
    let output = Command::new(program).args(words).output();
    let output = output.unwrap_or_else(|error| {
        panic!("{program} doesn't start: {error}; it is in util-linux or iproute2")
    });
    assert!(
        output.status.success(),
        "`{command}` failed: run this as root, or in `unshare --user --map-root-user --net --mount`\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a connection from one host to another is answered: with a refusal, as nobody listens there.
    fn answers(network: &Network, from: Host, to: Host) -> bool {
        let connect = format!("</dev/tcp/{}/9", network.address(to));
        let mut command = network.enter(from);
        command.extend(["timeout", "2", "bash", "-c", &connect].map(str::to_owned));
        let (program, arguments) = command.split_first().expect("a command");
        let ended = Command::new(program).args(arguments).output();
        match ended.expect("it starts").status.code() {
            Some(1) => true,
            // <https://man7.org/linux/man-pages/man1/timeout.1.html>
            Some(124) => false,
            other => panic!("{connect}: {other:?}"),
        }
    }

    #[tokio::test]
    async fn what_is_cut_is_lost_without_a_word_until_it_is_healed() {
        let network = Network::start(2).await;
        let (one, other) = (Host::Number(0), Host::Number(1));
        for (from, to) in [
            (one, other),
            (other, one),
            (Host::Here, one),
            (one, Host::Here),
        ] {
            assert!(answers(&network, from, to), "{from:?} to {to:?}");
        }
        network.cut(one, other);
        assert!(!answers(&network, one, other), "nothing gets there");
        assert!(!answers(&network, other, one), "no answer comes back");
        assert!(answers(&network, Host::Here, one), "others are not touched");
        assert!(answers(&network, other, Host::Here));
        network.heal(one, other);
        assert!(answers(&network, one, other));
    }
}
