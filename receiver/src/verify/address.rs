//! Addresses and ranges. An IPv4 address inside IPv6 (`::ffff:192.0.2.1`) is that IPv4 address.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// How many bits of an IPv4-mapped IPv6 address are not the IPv4 address.
const MAPPED_BITS: u8 = 96;

/// An address without the IPv6 around an IPv4 one.
#[must_use]
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Whether any of the ranges holds the address; both as [`canonical`] gives them.
#[must_use]
pub fn contains(ranges: &[IpNet], address: IpAddr) -> bool {
    ranges.iter().any(|range| range.contains(&address))
}

/// A range without the IPv6 around an IPv4 one.
#[must_use]
pub fn canonical_range(range: &IpNet) -> IpNet {
    let IpNet::V6(mapped) = range else {
        return *range;
    };
    mapped
        .addr()
        .to_ipv4_mapped()
        .zip(mapped.prefix_len().checked_sub(MAPPED_BITS))
        .and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok())
        .map_or(*range, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r13_an_ipv4_address_inside_ipv6_is_that_address() {
        let ranges: Vec<IpNet> = ["203.0.113.0/24", "::ffff:198.51.100.0/120", "2001:db8::/32"]
            .iter()
            .map(|range| canonical_range(&range.parse().unwrap()))
            .collect();
        for (address, inside) in [
            ("203.0.113.7", true),
            ("::ffff:203.0.113.7", true),
            ("198.51.100.9", true),
            ("::ffff:198.51.100.9", true),
            ("2001:db8::1", true),
            ("203.0.114.7", false),
            ("::ffff:203.0.114.7", false),
            ("2001:db9::1", false),
            ("::203.0.113.7", false),
        ] {
            let address = canonical(address.parse().unwrap());
            assert_eq!(contains(&ranges, address), inside, "{address}");
        }
    }
}
