//! What `token.store_url` names: one Redis, one behind sentinels, or a cluster.

use redis::io::tcp::TcpSettings;
use redis::sentinel::SentinelNodeConnectionInfo;
use redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo, TlsMode};
use url::Url;

use super::keys::Layout;

/// The schemes that are understood, with what goes on in each.
pub(super) const SCHEMES: &str = "redis://, rediss://, redis+unix://, redis-sentinel://, rediss-sentinel://, \
                                  redis-cluster:// or rediss-cluster://";

/// Where to connect.
#[derive(Clone)]
pub(super) enum Target {
    /// To this server.
    Node(ConnectionInfo),
    /// To whichever server these sentinels say is the master of that name.
    Sentinel {
        sentinels: Vec<ConnectionInfo>,
        master: String,
        node: SentinelNodeConnectionInfo,
    },
    /// To the cluster that these servers belong to.
    Cluster(Vec<ConnectionInfo>),
}

/// Why a URL is not one of a Redis; never shows the URL, which may hold a password.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotATarget(String);

fn wrong(what: impl Into<String>) -> NotATarget {
    NotATarget(what.into())
}

/// The servers that a URL with several hosts names, each as a URL of its own, and the rest after them.
struct Servers<'a> {
    credentials: &'a str,
    hosts: Vec<&'a str>,
    path: &'a str,
    query: &'a str,
}

impl<'a> Servers<'a> {
    fn read(rest: &'a str) -> Self {
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rfind('@') {
            Some(at) => authority.split_at(at + 1),
            None => ("", authority),
        };
        Self {
            credentials,
            hosts: hosts.split(',').collect(),
            path,
            query,
        }
    }

    fn connections(
        &self,
        tls: bool,
        port: u16,
        credentials: &str,
        db: &str,
    ) -> Result<Vec<ConnectionInfo>, NotATarget> {
        let scheme = if tls { "rediss" } else { "redis" };
        let one = |host: &&str| {
            if host.is_empty() {
                return Err(wrong("names no host"));
            }
            let has_port = host
                .rsplit_once(':')
                .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            let port = if has_port { String::new() } else { format!(":{port}") };
            connection(&format!("{scheme}://{credentials}{host}{port}/{db}"))
        };
        self.hosts.iter().map(one).collect()
    }
}

/// What every connection is made with: RESP3, in which a lost connection and a published message announce themselves.
fn connection(url: &str) -> Result<ConnectionInfo, NotATarget> {
    let info = url
        .into_connection_info()
        .map_err(|error| wrong(format!("cannot be understood: {error}")))?;
    let settings = speaking(info.redis_settings().clone());
    Ok(info.set_redis_settings(settings).set_tcp_settings(tcp()))
}

fn speaking(settings: RedisConnectionInfo) -> RedisConnectionInfo {
    settings.set_protocol(ProtocolVersion::RESP3)
}

fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

impl Target {
    /// What `url` names.
    pub(super) fn read(url: &str) -> Result<Self, NotATarget> {
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(wrong("is not a URL"));
        };
        let tls = scheme.starts_with("rediss");
        match scheme {
            "redis" | "rediss" | "valkey" | "valkeys" | "redis+unix" | "valkey+unix" | "unix" => {
                Ok(Self::Node(connection(url)?))
            }
            "redis-sentinel" | "rediss-sentinel" => Self::sentinel(&Servers::read(rest), tls),
            "redis-cluster" | "rediss-cluster" => {
                let servers = Servers::read(rest);
                if !matches!(servers.path, "" | "0") {
                    return Err(wrong("names a database, and a cluster has only one"));
                }
                Ok(Self::Cluster(servers.connections(
                    tls,
                    6379,
                    servers.credentials,
                    "",
                )?))
            }
            _ => Err(wrong("names a store of an unknown kind")),
        }
    }

    fn sentinel(servers: &Servers<'_>, tls: bool) -> Result<Self, NotATarget> {
        let (master, db) = servers.path.split_once('/').unwrap_or((servers.path, ""));
        if master.is_empty() {
            return Err(wrong("names no master: redis-sentinel://host:26379,host:26379/MASTER"));
        }
        // The credentials in front of the hosts are the master's; sentinels have their own, or none.
        let query = Url::parse(&format!("redis://sentinels/?{}", servers.query)).map_err(|_| wrong("is not a URL"))?;
        let (mut username, mut password) = (None, None);
        for (key, value) in query.query_pairs() {
            match &*key {
                "sentinel_username" => username = Some(value),
                "sentinel_password" => password = Some(value),
                unknown => return Err(wrong(format!("has an option of an unknown kind: {unknown}"))),
            }
        }
        let own = |info: ConnectionInfo| {
            let mut settings = speaking(RedisConnectionInfo::default());
            if let Some(username) = &username {
                settings = settings.set_username(username);
            }
            if let Some(password) = &password {
                settings = settings.set_password(password);
            }
            info.set_redis_settings(settings)
        };
        let sentinels = servers.connections(tls, 26379, "", "")?.into_iter().map(own).collect();
        let masters = servers.connections(tls, 6379, servers.credentials, db)?;
        let settings = masters.first().ok_or_else(|| wrong("names no host"))?.redis_settings();
        let mut node = SentinelNodeConnectionInfo::default()
            .set_redis_connection_info(settings.clone())
            .set_tcp_settings(tcp());
        if tls {
            node = node.set_tls_mode(TlsMode::Secure);
        }
        Ok(Self::Sentinel {
            sentinels,
            master: master.to_owned(),
            node,
        })
    }

    /// How a store there is laid out.
    pub(super) fn layout(&self) -> Layout {
        match self {
            Self::Node(_) | Self::Sentinel { .. } => Layout::SINGLE,
            Self::Cluster(_) => Layout::CLUSTER,
        }
    }

    /// What tells this store's messages from those of another database on the same server.
    pub(super) fn channel(&self) -> String {
        let db = match self {
            Self::Node(info) => info.redis_settings().db(),
            Self::Sentinel { .. } | Self::Cluster(_) => 0,
        };
        format!("portcullis:changed:{db}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(connections: &[ConnectionInfo]) -> Vec<String> {
        connections.iter().map(|info| info.addr().to_string()).collect()
    }

    #[test]
    fn one_server_is_named_by_tcp_by_tls_or_by_a_socket() {
        for url in [
            "redis://localhost",
            "rediss://user:secret@localhost:6390/3",
            "redis+unix:///run/redis.sock",
            "valkey://[::1]:6379",
        ] {
            assert!(matches!(Target::read(url), Ok(Target::Node(_))), "{url}");
        }
    }

    #[test]
    fn sentinels_have_their_own_port_and_credentials() {
        let url = "redis-sentinel://user:secret@a,b:26380,[::1]/mine/2?sentinel_password=other";
        let Ok(Target::Sentinel { sentinels, master, .. }) = Target::read(url) else {
            panic!("not understood");
        };
        assert_eq!(addresses(&sentinels), ["a:26379", "b:26380", "::1:26379"]);
        assert_eq!(master, "mine");
        let settings = sentinels[0].redis_settings();
        assert_eq!((settings.username(), settings.password()), (None, Some("other")));
    }

    #[test]
    fn a_cluster_is_named_by_some_of_its_servers() {
        let Ok(Target::Cluster(nodes)) = Target::read("redis-cluster://:secret@a:7000,b") else {
            panic!("not understood");
        };
        assert_eq!(addresses(&nodes), ["a:7000", "b:6379"]);
        assert!(
            nodes
                .iter()
                .all(|node| node.redis_settings().password() == Some("secret"))
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused_without_showing_a_password() {
        for url in [
            "",
            "redis",
            "http://localhost",
            "redis://user:hidden@local host",
            "redis-sentinel://user:hidden@a",
            "redis-sentinel://a/mine?hidden=1",
            "redis-cluster://user:hidden@",
            "redis-cluster://a/1",
        ] {
            let refused = Target::read(url).err().map(|error| error.to_string());
            assert!(
                refused.as_ref().is_some_and(|text| !text.contains("user")),
                "{url}: {refused:?}"
            );
        }
    }
}
