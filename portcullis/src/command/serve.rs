//! `portcullis up`, and one role alone.

use anyhow::bail;
use portcullis_gateway::AccessLog;
use service_kit::config::Mistake;
use service_kit::{Clock, logging};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::data::DataDirectory;
use crate::role::{self, All, Role};

/// Everything in one process, until it is told to stop.
pub(super) async fn up(config: Config, data: &DataDirectory, clock: Clock) -> anyhow::Result<()> {
    logging::start();
    refuse(&config.mistakes(&Role::ALL))?;
    let mut stop = Stop::listen()?;
    let access_log = config.gateway.access_log;
    let all = All::start(config, clock).await?;
    let url = all.gateway.url();
    let greeting = format!(
        "\nPortcullis is ready: {url}   (data in {})\n\nOpen it in a browser or, in another terminal:\n\n  \
         curl -H 'Content-Type: application/json' {url}/api/auth/register \\\n    \
         -d '{{\"username\":\"ada\",\"email\":\"ada@example.com\",\"password\":\"correct horse\"}}'\n  \
         curl -H 'Authorization: Bearer PASTE-THE-ACCESS-TOKEN' {url}/home\n",
        data.path().display(),
    );
    // Whoever reads objects from standard output wants nothing else there.
    match access_log {
        AccessLog::Json => log::info!("{greeting}"),
        AccessLog::Text | AccessLog::Off => say!("{greeting}"),
    }
    stop.wait().await;
    tokio::select! {
        () = all.stop() => {}
        () = stop.wait() => log::warn!("told to stop twice: stopping at once"),
    }
    Ok(())
}

/// One role, until it is told to stop.
pub(super) async fn one(role: Role, config: &Config, clock: Clock) -> anyhow::Result<()> {
    logging::start();
    refuse(&config.mistakes(&[role]))?;
    let mut stop = Stop::listen()?;
    let running = role::start(role, config, clock).await?;
    stop.wait().await;
    tokio::select! {
        () = running.stop() => {}
        () = stop.wait() => log::warn!("told to stop twice: stopping at once"),
    }
    Ok(())
}

/// Fails with all of `mistakes`, if there are any.
pub(super) fn refuse(mistakes: &[Mistake]) -> anyhow::Result<()> {
    let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    if !mistakes.is_empty() {
        bail!("the configuration cannot work:\n{}", mistakes.join("\n"));
    }
    Ok(())
}

/// SIGTERM (a supervisor) and SIGINT (Ctrl-C).
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
