//! Who a request comes from, and by what address it was asked for: what the connection says, and beyond it only what
//! proxies say that the operator trusts.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

use crate::client::Request;
use crate::headers;
use crate::http1::{self, Fields};

const X_FORWARDED_FOR: &str = "x-forwarded-for";
const X_FORWARDED_PROTO: &str = "x-forwarded-proto";
const X_FORWARDED_HOST: &str = "x-forwarded-host";
const FORWARDED: &str = "forwarded";
/// The most proxies that a chain is followed through.
const MOST_PROXIES: usize = 16;

/// The addresses of proxies whose word counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TrustedProxies(Box<[IpNet]>);

impl TrustedProxies {
    pub(crate) fn new(networks: &[IpNet]) -> Self {
        Self(networks.iter().map(folded).collect())
    }

    fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// An IPv4 network that is written as an IPv6 one (`::ffff:10.0.0.0/104`) is an IPv4 network.
fn folded(network: &IpNet) -> IpNet {
    if let IpNet::V6(v6) = network
        && let (Some(v4), Some(length)) = (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(96))
        && let Ok(v4) = Ipv4Net::new(v4, length)
    {
        return IpNet::V4(v4);
    }
    *network
}

/// The scheme that a client used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// That of the connection that `request` came by.
    pub(crate) fn of(request: &Request) -> Self {
        if request.is_secure { Self::Https } else { Self::Http }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text {
            _ if text.eq_ignore_ascii_case("http") => Some(Self::Http),
            _ if text.eq_ignore_ascii_case("https") => Some(Self::Https),
            _ => None,
        }
    }
}

/// Where a request comes from. Of an IPv4 address that is written as an IPv6 one the IPv4 address is meant.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// The client's address: of the connection, or, where that is a trusted proxy's, what the proxies say.
    pub(crate) client: Option<IpAddr>,
    through: Option<Box<Through>>,
}

/// What trusted proxies say.
#[derive(Debug, PartialEq)]
struct Through {
    /// The proxies between the client and us, in the order in which the request passed them.
    proxies: Vec<IpAddr>,
    scheme: Option<Scheme>,
    host: Option<String>,
}

impl Arrival {
    /// Where `request` comes from.
    pub(crate) fn of(request: &Request, trusted: &TrustedProxies) -> Self {
        Self::from(request.peer, &request.fields, trusted)
    }

    fn from(peer: Option<SocketAddr>, headers: &Fields, trusted: &TrustedProxies) -> Self {
        let client = peer.map(|peer| peer.ip().to_canonical());
        match client {
            Some(peer) if !trusted.0.is_empty() && trusted.contain(peer) => {
                let (client, through) = follow(peer, headers, trusted);
                Self {
                    client: Some(client),
                    through: Some(Box::new(through)),
                }
            }
            client => Self { client, through: None },
        }
    }

    /// The scheme the client used, `ours` being that of the connection.
    pub(crate) fn scheme(&self, ours: Scheme) -> Scheme {
        let said = self.through.as_ref().and_then(|through| through.scheme);
        said.unwrap_or(ours)
    }

    /// The host the client asked for, `ours` being the one that we were asked for.
    pub(crate) fn host<'a>(&'a self, ours: &'a str) -> &'a str {
        let said = self.through.as_ref().and_then(|through| through.host.as_deref());
        said.unwrap_or(ours)
    }

    /// Appends the value of `X-Forwarded-For`: the client, and after it the proxies between it and us.
    pub(crate) fn addresses(&self, value: &mut Vec<u8>) {
        for (index, address) in self.client.iter().chain(self.proxies()).enumerate() {
            if index > 0 {
                value.extend_from_slice(b", ");
            }
            write_address(value, *address);
        }
    }

    /// Appends the value of `Forwarded` (RFC 7239 section 4), where colons and brackets need quotes.
    pub(crate) fn forwarded(&self, host: &str, scheme: &str, value: &mut Vec<u8>) {
        node(value, self.client);
        if !host.is_empty() {
            value.extend_from_slice(b";host=\"");
            value.extend_from_slice(host.as_bytes());
            value.push(b'"');
        }
        value.extend_from_slice(b";proto=");
        value.extend_from_slice(scheme.as_bytes());
        for proxy in self.proxies() {
            value.extend_from_slice(b", ");
            node(value, Some(*proxy));
        }
    }

    fn proxies(&self) -> &[IpAddr] {
        self.through.as_ref().map_or(&[], |through| &through.proxies)
    }
}

fn node(value: &mut Vec<u8>, address: Option<IpAddr>) {
    value.extend_from_slice(b"for=");
    match address {
        Some(v4 @ IpAddr::V4(_)) => write_address(value, v4),
        Some(v6 @ IpAddr::V6(_)) => {
            value.extend_from_slice(b"\"[");
            write_address(value, v6);
            value.extend_from_slice(b"]\"");
        }
        None => value.extend_from_slice(b"unknown"),
    }
}

fn write_address(value: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => spell(v4, |letter| value.push(letter)),
        IpAddr::V6(v6) => {
            // A vector takes everything.
            let _ = write!(value, "{v6}");
        }
    }
}

/// Gives away, letter by letter, what the `Display` of `address` writes: for every request, and so without the formatter's cost.
pub(crate) fn spell(address: Ipv4Addr, mut write: impl FnMut(u8)) {
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            write(b'.');
        }
        for (digit, from) in [(octet / 100, 100), (octet / 10 % 10, 10), (octet % 10, 0)] {
            if octet >= from {
                write(b'0' + digit);
            }
        }
    }
}

/// What one proxy says of whoever connected to it.
#[derive(Debug, Default, PartialEq)]
struct Hop {
    address: Option<IpAddr>,
    scheme: Option<Scheme>,
    host: Option<String>,
}

/// Goes back from `peer`, a trusted proxy, to the first address that is none. An entry that is no address ends the chain
/// at whoever wrote it.
///
/// `X-Forwarded-*` counts before `Forwarded`: proxies that write the one may let a client's own of the other pass.
fn follow(peer: IpAddr, headers: &Fields, trusted: &TrustedProxies) -> (IpAddr, Through) {
    let standard = !headers.contains(X_FORWARDED_FOR) && headers.contains(FORWARDED);
    let hops: Vec<Hop> = if standard {
        let elements = last_first(headers, FORWARDED, |text| split(text, ',').collect());
        elements.into_iter().map(Hop::standard).collect()
    } else {
        let addresses = list(headers, X_FORWARDED_FOR).into_iter();
        addresses.map(|text| Hop::plain(address(text))).collect()
    };
    let (mut client, mut proxies) = (peer, Vec::new());
    for hop in hops.iter().take(MOST_PROXIES) {
        let Some(address) = hop.address.filter(|_| trusted.contain(client)) else {
            break;
        };
        proxies.push(client);
        client = address;
    }
    proxies.reverse();
    let (scheme, host) = if standard {
        let first = nearest_to_client(&hops, proxies.len());
        first.map_or((None, None), |hop| (hop.scheme, hop.host.clone()))
    } else {
        let scheme = list(headers, X_FORWARDED_PROTO);
        let host = list(headers, X_FORWARDED_HOST);
        (
            nearest_to_client(&scheme, proxies.len()).and_then(|text| Scheme::parse(text)),
            nearest_to_client(&host, proxies.len()).and_then(|text| plain_host(text)),
        )
    };
    (client, Through { proxies, scheme, host })
}

/// Of what `proxies` of them said, the last first: what the one said that the client was connected to. Each may have added
/// an entry; where there are fewer, some have replaced those of others.
fn nearest_to_client<T>(entries: &[T], proxies: usize) -> Option<&T> {
    entries.get(proxies.clamp(1, entries.len().max(1)) - 1)
}

/// The entries of a list, which may stand in several headers of the name, the last first.
fn last_first<'a>(headers: &'a Fields, name: &'static str, split: impl Fn(&'a str) -> Vec<&'a str>) -> Vec<&'a str> {
    let values: Vec<&str> = headers
        .all(name)
        // What is no text says nothing, but takes its place.
        .map(|value| http1::text(value).unwrap_or("?"))
        .collect();
    values.into_iter().rev().flat_map(split).collect()
}

fn list<'a>(headers: &'a Fields, name: &'static str) -> Vec<&'a str> {
    last_first(headers, name, |text| text.rsplit(',').map(str::trim).collect())
}

/// The parts of `text` between separators that are in no quoted string, the last first, without blanks around them. It is
/// read from its end, which our own proxy wrote: a quote of the client's that is never closed spoils what is before it.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.rsplit(move |c| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
    .map(str::trim)
}

impl Hop {
    fn plain(address: Option<IpAddr>) -> Self {
        Self {
            address,
            ..Self::default()
        }
    }

    /// An element of `Forwarded` (RFC 7239 section 4); what is said twice is not said.
    fn standard(element: &str) -> Self {
        let said = |name: &str| {
            let mut values = split(element, ';')
                .filter_map(|pair| pair.split_once('='))
                .filter(|(key, _)| key.trim().eq_ignore_ascii_case(name))
                .map(|(_, value)| unquoted(value.trim()));
            values.next().filter(|_| values.next().is_none())
        };
        Self {
            address: said("for").and_then(address),
            scheme: said("proto").and_then(Scheme::parse),
            host: said("host").and_then(plain_host),
        }
    }
}

/// A token as it is, a quoted string without its quotes.
fn unquoted(text: &str) -> &str {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    inner.unwrap_or(text)
}

/// An address, with a port or without: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let address = match (text.parse::<IpAddr>(), text.parse::<SocketAddr>()) {
        (Ok(address), _) => address,
        (_, Ok(with_port)) => with_port.ip(),
        _ => IpAddr::V6(text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()?),
    };
    Some(address.to_canonical())
}

fn plain_host(text: &str) -> Option<String> {
    headers::is_host(text).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The client and the proxies, and what was asked for, of a request from `peer`.
    fn arrival(peer: &str, headers: &[(&str, &str)]) -> (String, String) {
        let trusted = ["10.0.0.0/8", "2001:db8:1::/48", "::ffff:172.16.0.0/108", "192.0.2.1/32"];
        let trusted = TrustedProxies::new(&trusted.map(|network| network.parse().unwrap()));
        let mut map = Fields::new();
        for (name, value) in headers {
            map.push(name.as_bytes(), value.as_bytes());
        }
        let peer = SocketAddr::new(peer.parse().unwrap(), 4711);
        let arrival = Arrival::from(Some(peer), &map, &trusted);
        let mut way = arrival.client.unwrap().to_string();
        for proxy in arrival.proxies() {
            way = format!("{way} {proxy}");
        }
        (
            way,
            format!("{}://{}", arrival.scheme(Scheme::Http).as_str(), arrival.host("ours")),
        )
    }

    /// What `write` appends.
    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut value = Vec::new();
        write(&mut value);
        String::from_utf8(value).unwrap()
    }

    #[test]
    fn addresses_of_ipv4_are_written_as_everywhere() {
        for octet in 0..=u8::MAX {
            let address = IpAddr::from([octet, 255 - octet, 0, 10]);
            assert_eq!(text(|value| write_address(value, address)), address.to_string());
        }
    }

    #[test]
    fn what_a_client_says_of_itself_is_not_believed() {
        let claims = [
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
            ("forwarded", "for=10.0.0.1;proto=https;host=evil"),
        ];
        for peer in ["203.0.113.7", "::ffff:203.0.113.7"] {
            assert_eq!(
                arrival(peer, &claims),
                ("203.0.113.7".to_owned(), "http://ours".to_owned())
            );
        }
    }

    #[test]
    fn the_client_is_the_last_address_that_no_trusted_proxy_has() {
        for (peer, list, way) in [
            ("10.0.0.1", "203.0.113.7", "203.0.113.7 10.0.0.1"),
            // A client's own invention stands before what the proxies wrote.
            ("10.0.0.1", "1.1.1.1, 203.0.113.7", "203.0.113.7 10.0.0.1"),
            (
                "10.0.0.1",
                "10.9.9.9, 203.0.113.7, 10.0.0.2",
                "203.0.113.7 10.0.0.2 10.0.0.1",
            ),
            ("::ffff:10.0.0.1", "::ffff:203.0.113.7", "203.0.113.7 10.0.0.1"),
            ("172.16.0.1", "203.0.113.7:4711", "203.0.113.7 172.16.0.1"),
            (
                "2001:db8:1::5",
                "[2001:db8:2::1]:80,2001:db8:1::6",
                "2001:db8:2::1 2001:db8:1::6 2001:db8:1::5",
            ),
            // Everybody is trusted: the first of them asked.
            ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3 10.0.0.2 10.0.0.1"),
            // What is no address ends the chain.
            ("10.0.0.1", "203.0.113.7, unknown", "10.0.0.1"),
            ("10.0.0.1", "203.0.113.7, , 10.0.0.2", "10.0.0.2 10.0.0.1"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", "203.0.113.7\u{e9}", "10.0.0.1"),
        ] {
            assert_eq!(arrival(peer, &[("x-forwarded-for", list)]).0, way, "{peer} {list}");
        }
        let apart = [("x-forwarded-for", "203.0.113.7"), ("x-forwarded-for", "10.0.0.2")];
        assert_eq!(arrival("10.0.0.1", &apart).0, "203.0.113.7 10.0.0.2 10.0.0.1");
    }

    #[test]
    fn the_standard_header_counts_where_the_other_is_missing() {
        for (value, way, target) in [
            (
                "for=203.0.113.7;proto=https;host=gate.test",
                "203.0.113.7 10.0.0.1",
                "https://gate.test",
            ),
            (
                "For=\"[2001:db8:2::1]:4711\" ; Proto=HTTPS; host=\"gate.test:8443\"",
                "2001:db8:2::1 10.0.0.1",
                "https://gate.test:8443",
            ),
            (
                "for=1.1.1.1;proto=https, for=203.0.113.7;proto=http;host=a, for=10.0.0.2;host=b",
                "203.0.113.7 10.0.0.2 10.0.0.1",
                "http://a",
            ),
            (
                "for=203.0.113.7;by=\"a,b;proto=https\";proto=http",
                "203.0.113.7 10.0.0.1",
                "http://ours",
            ),
            ("for=_hidden;proto=https", "10.0.0.1", "https://ours"),
            ("for=203.0.113.7;for=1.1.1.1", "10.0.0.1", "http://ours"),
            ("for=203.0.113.7;host=\"a\\\"b\"", "10.0.0.1", "http://ours"),
            ("nonsense", "10.0.0.1", "http://ours"),
        ] {
            let seen = arrival("10.0.0.1", &[("forwarded", value)]);
            assert_eq!(seen, (way.to_owned(), target.to_owned()), "{value}");
        }
        let both = [
            ("forwarded", "for=1.1.1.1;proto=https"),
            ("x-forwarded-for", "203.0.113.7"),
        ];
        assert_eq!(
            arrival("10.0.0.1", &both),
            ("203.0.113.7 10.0.0.1".to_owned(), "http://ours".to_owned())
        );
    }

    #[test]
    fn scheme_and_host_are_what_the_proxy_nearest_to_the_client_says() {
        for (ways, proto, host, target) in [
            ("203.0.113.7", "https", "gate.test", "https://gate.test"),
            // The client wrote the first of them.
            ("203.0.113.7", "https, http", "evil, gate.test", "http://gate.test"),
            (
                "203.0.113.7, 10.0.0.2",
                "https, http",
                "gate.test, inner:8000",
                "https://gate.test",
            ),
            ("203.0.113.7, 10.0.0.2", "https", "gate.test", "https://gate.test"),
            ("203.0.113.7", "ftp", "a\"b", "http://ours"),
            ("203.0.113.7", "", "", "http://ours"),
        ] {
            let headers = [
                ("x-forwarded-for", ways),
                ("x-forwarded-proto", proto),
                ("x-forwarded-host", host),
            ];
            assert_eq!(arrival("10.0.0.1", &headers).1, target, "{ways} {proto} {host}");
        }
        let without_address = [("x-forwarded-proto", "https")];
        assert_eq!(
            arrival("10.0.0.1", &without_address),
            ("10.0.0.1".to_owned(), "https://ours".to_owned())
        );
    }

    #[test]
    fn an_ipv6_client_is_quoted() {
        let arrival = |client: Option<&str>, proxies: &[&str]| Arrival {
            client: client.map(|client| client.parse().unwrap()),
            through: Some(Box::new(Through {
                proxies: proxies.iter().map(|proxy| proxy.parse().unwrap()).collect(),
                scheme: None,
                host: None,
            })),
        };
        let far = arrival(Some("::1"), &["10.0.0.2", "2001:db8::1"]);
        assert_eq!(
            text(|value| far.forwarded("a:80", "http", value)),
            "for=\"[::1]\";host=\"a:80\";proto=http, for=10.0.0.2, for=\"[2001:db8::1]\""
        );
        assert_eq!(text(|value| far.addresses(value)), "::1, 10.0.0.2, 2001:db8::1");
        let nobody = arrival(None, &[]);
        assert_eq!(
            text(|value| nobody.forwarded("", "https", value)),
            "for=unknown;proto=https"
        );
    }

    proptest! {
        /// Whatever a client says, what its proxy adds decides.
        #[test]
        fn no_client_chooses_its_address(said in "[ -~]{0,60}", name in prop::sample::select(vec!["x-forwarded-for", "forwarded"])) {
            let mut headers = vec![(name, said.as_str()), ("x-forwarded-for", "203.0.113.7")];
            prop_assert_eq!(arrival("10.0.0.1", &headers).0, "203.0.113.7 10.0.0.1");
            let appended = format!("{said}, 203.0.113.7");
            headers = vec![("x-forwarded-for", &appended)];
            prop_assert_eq!(arrival("10.0.0.1", &headers).0, "203.0.113.7 10.0.0.1");
            let appended = format!("{said}, for=203.0.113.7");
            headers = vec![("forwarded", &appended)];
            prop_assert_eq!(arrival("10.0.0.1", &headers).0, "203.0.113.7 10.0.0.1");
        }
    }
}
