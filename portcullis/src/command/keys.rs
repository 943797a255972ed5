//! `portcullis keys`: the ring of signing keys, beside a running service or without one.

use clap::Subcommand;
use jiff::Timestamp;
use service_kit::Clock;

use super::serve::refuse;
use crate::config::Config;

/// `portcullis keys …`
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the keys: next (published, not yet signing), active, retiring (verifying until its last token is dead)
    List,
    /// Let the next key sign from now on
    Rotate,
    /// Drop a key at once: every token that it signed is refused
    Kill {
        /// The key's id
        #[arg(allow_hyphen_values = true)]
        kid: String,
    },
}

/// Carries out a `keys` command.
pub(super) async fn run(command: Command, config: &Config, clock: Clock) -> anyhow::Result<()> {
    refuse(&config.token.mistakes())?;
    let store = portcullis_token::open_store(&config.token).await?;
    let ring = portcullis_token::open_ring(&config.token, &*store, &clock).await?;
    match command {
        Command::List => {}
        Command::Rotate => ring.rotate(&*store, clock.now_ms()).await?,
        Command::Kill { kid } => ring.kill(&*store, &kid, clock.now_ms()).await?,
    }
    say!("{:43}  {:5}  {:8}  SINCE", "ID", "ALG", "STATE");
    for key in portcullis_token::keys::list(&*store).await? {
        let since = Timestamp::from_millisecond(key.since).unwrap_or_default();
        say!(
            "{:43}  {:5}  {:8}  {since:.0}",
            key.kid,
            key.algorithm.as_str(),
            key.state.as_str()
        );
    }
    Ok(())
}
