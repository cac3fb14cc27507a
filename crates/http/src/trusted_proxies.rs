//! The reverse proxies in front of the server, and what they say about whom they ask for.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

/// The reverse proxies whose word counts when they say for whom they ask.
#[derive(Clone, Debug)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Trusts the proxies in these networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// The address that a request came from: the nearest one on its way that is no trusted proxy.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let forwarded = headers.get_all("x-forwarded-for").iter();
        // Bytes, since a client may write whatever it likes in front of what the proxies add.
        let hops = forwarded.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        // Each proxy adds at the end whom it heard: the end is what the nearest one says, and what
        // stands before the first stranger is that stranger's word only.
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

/// Reads an address, which some proxies write with a port.
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
    fn what_the_client_wrote_itself_does_not_count() {
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
    fn what_cannot_be_read_hides_nothing_behind_it() {
        let peer = "127.0.0.1";
        assert_eq!(client(peer, &[b"\xff\xfe, 203.0.113.9"]), "203.0.113.9");
        assert_eq!(client(peer, &[b"caf\xe9", b"203.0.113.9, 10.1.1.1"]), "203.0.113.9");
        assert_eq!(client(peer, &[b"203.0.113.9, \xff, 10.1.1.1"]), "10.1.1.1");
        assert_eq!(client(peer, &[b"203.0.113.9\xff"]), "127.0.0.1");
    }
}
