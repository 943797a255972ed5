//! `portcullis healthcheck`: whether the roles on this host are ready, for containers that have no curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::config::Config;
use crate::role::Role;

/// Which role to ask.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The role that has to be ready; without it every role that answers is asked, and one has to
    role: Option<Role>,
}

/// Exit 0 when ready.
pub(super) async fn run(arguments: &Arguments, config: &Config) -> anyhow::Result<ExitCode> {
    let listeners = [
        (Role::Gateway, config.gateway.admin_listen),
        (Role::Identity, config.identity.admin_listen),
        (Role::Token, config.token.admin_listen),
        (Role::Home, config.home.admin_listen),
    ];
    let http = reqwest::Client::builder()
        .timeout(Duration::from_secs(3))
        .no_proxy()
        .build()?;
    let (mut ready, mut failed) = (0, 0);
    for (role, address) in listeners {
        if arguments.role.is_some_and(|wanted| wanted != role) {
            continue;
        }
        match http.get(format!("http://{}/readyz", reachable(address))).send().await {
            Ok(response) if response.status().is_success() => ready += 1,
            Ok(response) => {
                eprintln!("{role}: {}", response.text().await.unwrap_or_default());
                failed += 1;
            }
            Err(_) if arguments.role.is_none() => {}
            Err(error) => {
                eprintln!("{role}: {error}");
                failed += 1;
            }
        }
    }
    if ready + failed == 0 {
        eprintln!("no role answers on this host");
    }
    Ok(if ready > 0 && failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Where a listener on `address` answers on this host.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
