//! Which addresses a destination may have.
//!
//! Names are checked where they are resolved, at each connection; here only what a URL says
//! outright, so that its author need not wait for a delivery to be told. An address that is not
//! public needs `allowPrivateNetwork` in the route and a grant of the operator's: neither is enough
//! alone. That http:// needs them too is a rule of the schema.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hookswitch_crds::condition::reason;
use ipnet::IpNet;
use url::{Host, Url};

use super::context::{Context, Version};
use super::problems::Problems;

/// The private ranges that a destination may reach. `field` is the destination's, up to its kind;
/// `url_field` the one of the URL in it.
pub(super) fn resolve(
    url: &Url,
    allow: bool,
    field: &str,
    url_field: &str,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Vec<IpNet> {
    let namespace = context.namespace;
    let ranges = if allow {
        context.settings.private_networks(namespace)
    } else {
        Vec::new()
    };
    // A last good spec that lost the right goes on without it: what needs it fails alone.
    if context.version == Version::LastGood {
        return ranges;
    }
    if allow && ranges.is_empty() {
        problems.refused(
            format!("{field}.allowPrivateNetwork"),
            reason::NETWORK_NOT_ALLOWED,
            format!(
                "the operator lets namespace {namespace} reach no private addresses: remove this, \
                 or ask for a grant in the operator's privateNetworks"
            ),
        );
        return ranges;
    }
    let url_field = format!("{field}.{url_field}");
    if let Some(address) = literal_address(url).filter(|address| !is_public(*address)) {
        let message = if !allow {
            format!("{address} is not a public address: set allowPrivateNetwork: true to reach it")
        } else if ranges.iter().any(|range| range.contains(&address)) {
            return ranges;
        } else {
            format!(
                "{address} is in none of the ranges that the operator lets namespace {namespace} \
                 reach: ask for a grant in the operator's privateNetworks"
            )
        };
        problems.refused(url_field, reason::NETWORK_NOT_ALLOWED, message);
    }
    ranges
}

/// The address that a URL names without a lookup. `localhost` is one: RFC 6761, section 6.3.
fn literal_address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(IpAddr::V6(address).to_canonical()),
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            let local = name == "localhost" || name.ends_with(".localhost");
            local.then_some(Ipv4Addr::LOCALHOST.into())
        }
    }
}

/// True for addresses of the public internet, by IANA's special-purpose registries.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// <https://www.iana.org/assignments/iana-ipv4-special-registry>
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    !(first == 0
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        || first >= 240
        || (first == 100 && second & 0xc0 == 64)
        || (first == 192 && second == 0 && third == 0)
        || (first == 198 && second & 0xfe == 18))
}

/// <https://www.iana.org/assignments/iana-ipv6-special-registry>: global unicast is `2000::/3`, but
/// for documentation.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    first & 0xe000 == 0x2000 && (first, second) != (0x2001, 0x0db8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        for (address, public) in [
            ("93.184.216.34", true),
            ("2606:2800:220:1::1", true),
            ("0.0.0.0", false),
            ("10.0.0.1", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("172.31.255.255", false),
            ("172.32.0.1", true),
            ("192.0.0.170", false),
            ("192.168.1.1", false),
            ("198.19.0.1", false),
            ("203.0.113.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("fc00::1", false),
            ("fe80::1", false),
            ("ff02::1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
        }
    }

    #[test]
    fn every_way_to_write_an_address_is_seen_through() {
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://localhost/",
            "http://a.localhost./",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
        ] {
            let address = literal_address(&url.parse().unwrap()).unwrap();
            assert!(!is_public(address), "{url}");
        }
        assert_eq!(
            literal_address(&"https://example.com".parse().unwrap()),
            None
        );
    }
}
