//! Which addresses a destination may have.
//!
//! Names are checked where they are resolved, at each connection; here only what a URL says
//! outright, so that its author need not wait for a delivery to be told. An address that is not
//! public needs `allowPrivateNetwork` in the route and a grant of the operator's: neither is enough
//! alone. That http:// needs them too is a rule of the schema.

use std::net::{IpAddr, Ipv4Addr};

use hookswitch_crds::address;
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
    let ranges = granted(allow, field, context, problems);
    let told = allow && ranges.is_empty();
    // A last good spec that lost the right goes on without it: what needs it fails alone.
    if context.version == Version::LastGood || told {
        return ranges;
    }
    if let Some(address) = literal_address(url)
        && !address::allowed(address, &ranges)
    {
        let message = if allow {
            format!(
                "{address} is in none of the ranges that the operator lets namespace {namespace} \
                 reach: ask for a grant in the operator's privateNetworks"
            )
        } else {
            format!("{address} is not a public address: set allowPrivateNetwork: true to reach it")
        };
        problems.refused(
            format!("{field}.{url_field}"),
            reason::NETWORK_NOT_ALLOWED,
            message,
        );
    }
    ranges
}

/// The same for a destination whose URL is not known here.
pub(super) fn granted(
    allow: bool,
    field: &str,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Vec<IpNet> {
    if !allow {
        return Vec::new();
    }
    let namespace = context.namespace;
    let ranges = context.settings.private_networks(namespace);
    if ranges.is_empty() && context.version == Version::Current {
        problems.refused(
            format!("{field}.allowPrivateNetwork"),
            reason::NETWORK_NOT_ALLOWED,
            format!(
                "the operator lets namespace {namespace} reach no private addresses: remove this, \
                 or ask for a grant in the operator's privateNetworks"
            ),
        );
    }
    ranges
}

/// The address that a URL names without a lookup. `localhost` is one: RFC 6761, section 6.3.
fn literal_address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            let local = name == "localhost" || name.ends_with(".localhost");
            local.then_some(Ipv4Addr::LOCALHOST.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert!(!address::allowed(address, &[]), "{url}");
        }
        assert_eq!(
            literal_address(&"https://example.com".parse().unwrap()),
            None
        );
    }
}
