//! The reverse proxies in front of the server, and the client addresses that they report.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

/// The reverse proxies that are trusted to report the client's address.
#[derive(Clone, Debug)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Trusts the proxies in these networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// The client's address: the nearest one on the request's path that is not a trusted proxy.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let forwarded = headers.get_all("x-forwarded-for").iter();
        // The header is read as bytes, since a client can write anything in front of what the
        // proxies add.
        let hops = forwarded.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        // Each proxy appends the address of its peer. So the last entry comes from the nearest
        // proxy, and whatever stands before the first untrusted address was only claimed by that
        // address.
        let mut client = peer.to_canonical();
        for hop in hops.collect::<Vec<_>>().into_iter().rev() {
            if !self.0.iter().any(|network| network.contains(&client)) {
                break;
            }
            let Some(address) = parse(hop) else { break };
            client = address.to_canonical();
        }
        client
    }
}

/// Parses an address, which some proxies write with a port.
fn parse(hop: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(hop.trim_ascii()).ok()?;
    text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn client(peer: &str, forwarded: &[&[u8]]) -> String {
        let networks = ["127.0.0.0/8", "10.0.0.0/8"].map(|network| network.parse().unwrap());
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", HeaderValue::from_bytes(value).unwrap());
        }
        TrustedProxies::new(networks.into()).client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        assert_eq!(client("127.0.0.1", &[b"203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("198.51.100.7", &[b"203.0.113.9"]), "198.51.100.7");
        assert_eq!(client("127.0.0.1", &[]), "127.0.0.1");
    }

    #[test]
    fn addresses_written_by_the_client_are_ignored() {
        assert_eq!(client("127.0.0.1", &[b"1.2.3.4, 203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("127.0.0.1", &[b"1.2.3.4", b"203.0.113.9, 10.1.1.1"]), "203.0.113.9");
        assert_eq!(client("127.0.0.1", &[b"nonsense"]), "127.0.0.1");
    }

    #[test]
    fn addresses_have_one_form() {
        assert_eq!(client("::ffff:127.0.0.1", &[b"[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(client("::ffff:198.51.100.7", &[]), "198.51.100.7");
    }

    #[test]
    fn unreadable_entries_do_not_hide_later_ones() {
        let peer = "127.0.0.1";
        assert_eq!(client(peer, &[b"\xff\xfe, 203.0.113.9"]), "203.0.113.9");
        assert_eq!(client(peer, &[b"caf\xe9", b"203.0.113.9, 10.1.1.1"]), "203.0.113.9");
        assert_eq!(client(peer, &[b"203.0.113.9, \xff, 10.1.1.1"]), "10.1.1.1");
        assert_eq!(client(peer, &[b"203.0.113.9\xff"]), "127.0.0.1");
    }
}
