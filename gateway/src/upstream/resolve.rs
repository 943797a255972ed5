//! Keeping up with the addresses that names lead to.

use std::io;
use std::net::SocketAddr;
use std::sync::Weak;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};

use super::Upstream;
use super::health::jittered;
use super::target::Address;

/// How often names are looked up.
const EVERY: Duration = Duration::from_secs(5);
/// How soon again after one could not be.
const AGAIN: Duration = Duration::from_secs(1);

type LookUp = dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync;

/// Where names are looked up, and how often.
pub(super) struct Resolver {
    look_up: Box<LookUp>,
    every: Duration,
    again: Duration,
}

impl Resolver {
    /// The system's, which blocks threads of its own.
    pub(super) fn system() -> Self {
        let look_up = |name: String, port| -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
            Box::pin(async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) })
        };
        Self {
            look_up: Box::new(look_up),
            every: EVERY,
            again: AGAIN,
        }
    }

    /// The addresses of `address`, in an order of their own; `None` when it has to stay as it is.
    async fn addresses(&self, upstream: &str, address: (String, u16)) -> Option<Vec<SocketAddr>> {
        let (name, port) = address;
        match (self.look_up)(name.clone(), port).await {
            Ok(addresses) if addresses.is_empty() => {
                log::warn!(upstream, name = name.as_str(); "the name of an upstream has no address");
                None
            }
            Ok(mut addresses) => {
                addresses.sort_unstable();
                addresses.dedup();
                Some(addresses)
            }
            Err(error) => {
                log::warn!(upstream, name = name.as_str(), cause:% = error; "the name of an upstream cannot be looked up");
                None
            }
        }
    }
}

/// Looks up the names of `upstream` from time to time until nobody has it any more. While a name cannot be looked up, its
/// last addresses stay.
pub(super) async fn keep_up(upstream: Weak<Upstream>, resolver: Resolver) {
    while let Some(strong) = upstream.upgrade() {
        let (name, sites) = (strong.name.as_str(), &strong.sites);
        let looking = sites.iter().map(async |site| match &site.address {
            Address::Known(_) => (false, None),
            Address::Named(host, port) => {
                let found = resolver.addresses(name, (host.clone(), *port)).await;
                (found.is_none(), found)
            }
        });
        let (failed, found): (Vec<_>, Vec<_>) = join_all(looking).await.into_iter().unzip();
        strong.enlist(&found, true);
        drop(strong);
        let pause = if failed.contains(&true) {
            resolver.again
        } else {
            resolver.every
        };
        tokio::time::sleep(jittered(pause)).await;
    }
}
