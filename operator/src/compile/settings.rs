//! What whoever runs the operator decides, over the heads of those who write the objects.

use hookswitch_crds::duration::Duration;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The operator's settings, as far as compiling needs them.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Scheme and authority that senders reach receivers at, without a slash at the end:
    /// `https://hooks.example.com`. `None` leaves `status.url` out.
    pub base_url: Option<String>,
    /// Who may use paths outside of `/{namespace}/`.
    pub path_grants: Vec<PathGrant>,
    /// Who may reach which private addresses. Anything else that is not public is out of reach.
    pub private_networks: Vec<PrivateGrant>,
    /// The most that one subscription may ask for.
    pub ceilings: Ceilings,
}

/// Namespaces that may use paths under a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathGrant {
    /// Whom it is for.
    pub namespaces: Namespaces,
    /// Whole segments: `/hooks` grants `/hooks` and `/hooks/a`, and not `/hooksmith`.
    pub prefix: String,
}

/// Namespaces whose destinations may reach private ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivateGrant {
    /// Whom it is for.
    pub namespaces: Namespaces,
    /// The ranges.
    pub cidrs: Vec<IpNet>,
}

/// Whom a grant is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespaces {
    /// Everyone.
    All,
    /// Those named.
    Named(Vec<String>),
}

/// The most that one subscription may ask for. What it leaves out is the default or the ceiling,
/// whichever is less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceilings {
    /// Of `limits.bodyBytes`.
    pub body_bytes: u64,
    /// Of `limits.storedBytes`.
    pub stored_bytes: u64,
    /// Of `limits.eventsPerSecond`; with one, no subscription is without a limit.
    pub events_per_second: Option<u32>,
    /// Of `retention`.
    pub retention: Duration,
    /// Of `deduplication.window`.
    pub deduplication_window: Duration,
}

impl Settings {
    /// One person on one machine, who writes the objects as well: every private address but
    /// link-local ones, where clouds keep their credentials. Paths are no freer than in a cluster,
    /// so that what runs here runs there.
    #[must_use]
    pub fn standalone() -> Self {
        Self {
            base_url: None,
            path_grants: Vec::new(),
            private_networks: vec![PrivateGrant {
                namespaces: Namespaces::All,
                cidrs: private_ranges(),
            }],
            ceilings: Ceilings::default(),
        }
    }

    /// True where objects of the namespace may use the path.
    pub(super) fn allows_path(&self, namespace: &str, path: &str) -> bool {
        is_under(path, &format!("/{namespace}/"))
            || self
                .path_grants
                .iter()
                .any(|grant| grant.namespaces.include(namespace) && is_under(path, &grant.prefix))
    }

    /// The private ranges that the namespace's destinations may reach, sorted.
    pub(super) fn private_networks(&self, namespace: &str) -> Vec<IpNet> {
        let mut ranges: Vec<IpNet> = self
            .private_networks
            .iter()
            .filter(|grant| grant.namespaces.include(namespace))
            .flat_map(|grant| grant.cidrs.iter().map(IpNet::trunc))
            .collect();
        ranges.sort_unstable();
        ranges.dedup();
        ranges
    }
}

impl Default for Settings {
    /// Nothing is granted.
    fn default() -> Self {
        Self {
            base_url: None,
            path_grants: Vec::new(),
            private_networks: Vec::new(),
            ceilings: Ceilings::default(),
        }
    }
}

impl Namespaces {
    fn include(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|name| name == namespace),
        }
    }
}

impl<T: Into<String>> FromIterator<T> for Namespaces {
    /// `*` among the names is everyone.
    fn from_iter<I: IntoIterator<Item = T>>(names: I) -> Self {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        if names.iter().any(|name| name == "*") {
            Self::All
        } else {
            Self::Named(names)
        }
    }
}

impl Default for Ceilings {
    fn default() -> Self {
        Self {
            body_bytes: 16 << 20,
            stored_bytes: 16 << 30,
            events_per_second: None,
            retention: Duration::from_secs(90 * 24 * 3600),
            deduplication_window: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

fn is_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix.trim_end_matches('/'))
        .is_some_and(|rest| rest.starts_with('/') || (rest.is_empty() && !prefix.ends_with('/')))
}

/// Every range that is not public, but link-local: loopback, RFC 1918, shared address space
/// (RFC 6598) and unique local addresses (RFC 4193).
fn private_ranges() -> Vec<IpNet> {
    let v4 = [
        ([127, 0, 0, 0], 8),
        ([10, 0, 0, 0], 8),
        ([172, 16, 0, 0], 12),
        ([192, 168, 0, 0], 16),
        ([100, 64, 0, 0], 10),
    ];
    let v6 = [
        ([0, 0, 0, 0, 0, 0, 0, 1], 128),
        ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
    ];
    let v4 = v4
        .into_iter()
        .filter_map(|(address, length)| Ipv4Net::new(address.into(), length).ok())
        .map(IpNet::V4);
    let v6 = v6
        .into_iter()
        .filter_map(|(address, length)| Ipv6Net::new(address.into(), length).ok())
        .map(IpNet::V6);
    v4.chain(v6).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stands_under_its_namespace_or_under_a_grant() {
        let settings = Settings {
            path_grants: vec![
                PathGrant {
                    namespaces: ["platform"].into_iter().collect(),
                    prefix: "/hooks".into(),
                },
                PathGrant {
                    namespaces: ["*"].into_iter().collect(),
                    prefix: "/shared/".into(),
                },
            ],
            ..Settings::default()
        };
        for (namespace, path, allowed) in [
            ("support", "/support/a", true),
            ("support", "/support", false),
            ("support", "/supporters/a", false),
            ("support", "/sales/a", false),
            ("support", "/hooks/a", false),
            ("support", "/shared/a", true),
            ("support", "/shared", false),
            ("platform", "/hooks", true),
            ("platform", "/hooks/a", true),
            ("platform", "/hooksmith", false),
        ] {
            assert_eq!(
                settings.allows_path(namespace, path),
                allowed,
                "{namespace} {path}"
            );
        }
    }

    #[test]
    fn standalone_reaches_private_addresses_but_not_link_local_ones() {
        let ranges = Settings::standalone().private_networks("default");
        for (address, reachable) in [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("192.168.1.1", true),
            ("::1", true),
            ("fd00::1", true),
            ("169.254.169.254", false),
            ("fe80::1", false),
        ] {
            let address: std::net::IpAddr = address.parse().unwrap();
            let found = ranges.iter().any(|range| range.contains(&address));
            assert_eq!(found, reachable, "{address}");
        }
    }
}
