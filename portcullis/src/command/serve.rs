//! `portcullis up`, and one role alone.

use std::time::Duration;

use anyhow::bail;
use portcullis_gateway::AccessLog;
use service_kit::config::Mistake;
use service_kit::{Clock, logging};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::Missing;
use crate::reload::{Reload, Source};
use crate::role::{self, All, Role};

/// How long threads that are blocked may hold up the end when all else has ended.
const LAST: Duration = Duration::from_secs(1);

/// Everything in one process, until it is told to stop.
pub(super) async fn up(source: Source, clock: Clock) -> anyhow::Result<()> {
    logging::start();
    let (mut stop, hangup) = (Stop::listen()?, signal(SignalKind::hangup())?);
    let found = source.read(Missing::Make)?;
    refuse(&found.config.mistakes(&Role::ALL))?;
    let data = source.data.path().display().to_string();
    let access_log = found.config.gateway.access_log;
    let all = All::start(found.config.clone(), clock.clone()).await?;
    let reload = Reload::new(source, &Role::ALL, found, all.reloader.clone(), clock);
    tokio::spawn(reload.run(hangup));
    let url = all.gateway.url();
    let greeting = format!(
        "\nPortcullis is ready: {url}   (data in {data})\n\nOpen it in a browser or, in another terminal:\n\n  \
         curl -H 'Content-Type: application/json' {url}/api/auth/register \\\n    \
         -d '{{\"username\":\"ada\",\"email\":\"ada@example.com\",\"password\":\"correct horse\"}}'\n  \
         curl -H 'Authorization: Bearer PASTE-THE-ACCESS-TOKEN' {url}/home\n",
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
    end_soon();
    Ok(())
}

/// One role, until it is told to stop.
pub(super) async fn one(role: Role, source: Source, clock: Clock) -> anyhow::Result<()> {
    logging::start();
    let (mut stop, hangup) = (Stop::listen()?, signal(SignalKind::hangup())?);
    let found = source.read(Missing::Leave)?;
    refuse(&found.config.mistakes(&[role]))?;
    let running = if role == Role::Gateway {
        let (running, reloader) = role::start_gateway_alone(&found.config, clock.clone())?;
        tokio::spawn(Reload::new(source, &[Role::Gateway], found, reloader, clock).run(hangup));
        running
    } else {
        tokio::spawn(without_reload(role, hangup));
        role::start(role, &found.config, clock).await?
    };
    stop.wait().await;
    tokio::select! {
        () = running.stop() => {}
        () = stop.wait() => log::warn!("told to stop twice: stopping at once"),
    }
    end_soon();
    Ok(())
}

/// Has this process end although something may block a thread, a file system or a name server that is silent: it is given
/// [`LAST`]. Databases are closed in that time, or found as after a crash.
#[expect(clippy::disallowed_methods, reason = "there is nothing left to wait for")]
fn end_soon() {
    std::thread::spawn(|| {
        std::thread::sleep(LAST);
        std::process::exit(0)
    });
}

/// What a supervisor sends to every process alike must not end one that has nothing to reload.
async fn without_reload(role: Role, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        log::warn!(role:%; "nothing was reloaded: the configuration of this role counts from a restart on");
    }
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
    terminate: Signal,
    interrupt: Signal,
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
