//! The client's address, through the proxies that are trusted.
//!
//! Proxies append the address that they see, so the list is walked from the right: as long as an
//! address belongs to a trusted proxy, the one before it is believed. What stands further left was
//! written by strangers.

use std::net::{IpAddr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::verify::{canonical, contains};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address of the client of a connection from `peer`.
pub(super) fn address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    forwarded(canonical(peer), headers, trusted)
}

/// A proxy writes one of the two headers, and hands on the other as a stranger may have written it.
/// Where both are there and disagree, neither is believed.
fn forwarded(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    if !contains(trusted, peer) {
        return peer;
    }
    let by_x_forwarded_for = headers
        .contains_key(X_FORWARDED_FOR)
        .then(|| walk(peer, trusted, entries(headers, &X_FORWARDED_FOR).map(node)));
    let by_forwarded = headers.contains_key(FORWARDED).then(|| {
        walk(
            peer,
            trusted,
            entries(headers, &FORWARDED).map(for_parameter),
        )
    });
    match (by_x_forwarded_for, by_forwarded) {
        (Some(one), Some(other)) if one != other => peer,
        (Some(address), _) | (None, Some(address)) => address,
        (None, None) => peer,
    }
}

/// From the right, the first address that is not a trusted proxy's. At what can't be read it stops,
/// with the proxy that wrote it.
fn walk(peer: IpAddr, trusted: &[IpNet], entries: impl Iterator<Item = Option<IpAddr>>) -> IpAddr {
    let mut client = peer;
    for entry in entries {
        let Some(address) = entry else { break };
        client = canonical(address);
        if !contains(trusted, client) {
            break;
        }
    }
    client
}

/// The entries of a comma-separated header that may come several times, last one first.
fn entries<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .rev()
        // A value that is no text is one entry that can't be read.
        .flat_map(|value| value.to_str().unwrap_or("?").rsplit(','))
}

/// An address with or without a port.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim_ascii();
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse()
        .ok()
        .or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))
}

/// The `for` of an element of `Forwarded` (RFC 7239): `for="[2001:db8::1]:4711";proto=https`.
fn for_parameter(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim_ascii()
            .eq_ignore_ascii_case("for")
            .then(|| node(value.trim_ascii().trim_matches('"')))
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, lines: &[(&str, &str)]) -> String {
        let trusted = [
            "10.0.0.0/8".parse().unwrap(),
            "2001:db8:1::/48".parse().unwrap(),
        ];
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        forwarded(canonical(peer.parse().unwrap()), &headers, &trusted).to_string()
    }

    #[test]
    fn r13_only_what_trusted_proxies_wrote_is_believed() {
        let xff = "x-forwarded-for";
        for (peer, lines, expected) in [
            // A stranger's header.
            ("192.0.2.1", vec![(xff, "203.0.113.7")], "192.0.2.1"),
            ("10.0.0.1", vec![], "10.0.0.1"),
            ("10.0.0.1", vec![(xff, "203.0.113.7")], "203.0.113.7"),
            (
                "::ffff:10.0.0.1",
                vec![(xff, "::ffff:203.0.113.7")],
                "203.0.113.7",
            ),
            // What the client wrote itself stands to the left.
            (
                "10.0.0.1",
                vec![(xff, "203.0.113.7, 192.0.2.9")],
                "192.0.2.9",
            ),
            (
                "10.0.0.1",
                vec![(xff, "203.0.113.7, 192.0.2.9, 10.0.0.2")],
                "192.0.2.9",
            ),
            (
                "10.0.0.1",
                vec![(xff, "203.0.113.7"), (xff, "192.0.2.9")],
                "192.0.2.9",
            ),
            ("10.0.0.1", vec![(xff, "10.0.0.3, 10.0.0.2")], "10.0.0.3"),
            // Unreadable: the proxy that wrote it.
            (
                "10.0.0.1",
                vec![(xff, "203.0.113.7, unknown, 10.0.0.2")],
                "10.0.0.2",
            ),
            ("10.0.0.1", vec![(xff, "203.0.113.7,")], "10.0.0.1"),
            ("10.0.0.1", vec![(xff, "")], "10.0.0.1"),
            // Ports.
            ("10.0.0.1", vec![(xff, "203.0.113.7:4711")], "203.0.113.7"),
            ("10.0.0.1", vec![(xff, "[2001:db8::1]:4711")], "2001:db8::1"),
            ("10.0.0.1", vec![(xff, "[2001:db8::1]")], "2001:db8::1"),
            (
                "10.0.0.1",
                vec![("forwarded", "for=203.0.113.7;proto=https")],
                "203.0.113.7",
            ),
            (
                "2001:db8:1::1",
                vec![(
                    "forwarded",
                    "for=192.0.2.9, proto=https;For=\"[2001:db8::1]:4711\", for=10.0.0.9",
                )],
                "2001:db8::1",
            ),
            (
                "10.0.0.1",
                vec![("forwarded", "for=203.0.113.7, for=_hidden")],
                "10.0.0.1",
            ),
            (
                "10.0.0.1",
                vec![("forwarded", "for=203.0.113.7, proto=http")],
                "10.0.0.1",
            ),
            // One of the two is a stranger's.
            (
                "10.0.0.1",
                vec![(xff, "203.0.113.7"), ("forwarded", "for=192.0.2.9")],
                "10.0.0.1",
            ),
            (
                "10.0.0.1",
                vec![(xff, "203.0.113.7"), ("forwarded", "for=203.0.113.7")],
                "203.0.113.7",
            ),
        ] {
            assert_eq!(client(peer, &lines), expected, "{peer} {lines:?}");
        }
    }
}
