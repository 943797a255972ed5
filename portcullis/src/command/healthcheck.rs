//! `portcullis healthcheck`: whether the roles on this host are ready, for containers that have no curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::config::Config;

/// Which role to ask.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// gateway, identity, token or home; without it every role that answers is asked, and one has to
    role: Option<String>,
}

/// Exit 0 when ready.
pub(super) async fn run(arguments: &Arguments, config: &Config) -> anyhow::Result<ExitCode> {
    let listeners = [
        ("gateway", config.gateway.admin_listen),
        ("identity", config.identity.admin_listen),
        ("token", config.token.admin_listen),
        ("home", config.home.admin_listen),
    ];
    let http = reqwest::Client::builder()
        .timeout(Duration::from_secs(3))
        .no_proxy()
        .build()?;
    let (mut ready, mut failed) = (0, 0);
    for (role, address) in listeners {
        if arguments.role.as_deref().is_some_and(|wanted| wanted != role) {
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
