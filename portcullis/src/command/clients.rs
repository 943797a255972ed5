//! `portcullis clients`: service accounts.

use anyhow::bail;
use clap::Subcommand;
use portcullis_token::account;
use service_kit::Clock;

use crate::config::Config;

/// `portcullis clients …`
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create a service account and print its secret, which is shown only now
    Create {
        /// Its id
        id: String,
        /// What it may do, as feed:read, tokens:issue, tokens:revoke or a scope of your own; may be repeated
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
    },
    /// List service accounts
    List,
    /// Remove a service account; its tokens are refused at once
    Delete {
        /// Its id
        id: String,
    },
}

/// Carries out a `clients` command.
pub(super) async fn run(command: Command, config: &Config, clock: Clock) -> anyhow::Result<()> {
    let store = portcullis_token::open_store(&config.token).await?;
    match command {
        Command::Create { id, scopes } => {
            if id.is_empty() || id.contains(':') || config.token.clients.contains_key(&id) {
                bail!(
                    "{id:?} cannot be the id of a new service account: it is empty, has a colon, or is declared already"
                );
            }
            if let Some(scope) = scopes
                .iter()
                .find(|scope| scope.is_empty() || scope.contains(char::is_whitespace))
            {
                bail!("{scope:?} cannot be a scope: it is empty or has a space in it");
            }
            match account::create(&*store, &id, scopes, &clock).await? {
                Some(secret) => say!("client_id={id}\nclient_secret={secret}"),
                None => bail!("there is a service account {id:?} already; delete it first to get a new secret"),
            }
        }
        Command::List => {
            for (id, client) in &config.token.clients {
                say!("{id}  (declared)  {}", client.scopes.join(" "));
            }
            for client in store.list_clients().await? {
                say!("{}  {}", client.id, client.scopes.join(" "));
            }
        }
        Command::Delete { id } => {
            if !account::delete(&*store, &id, &clock).await? {
                bail!("there is no service account {id:?} that was created by this command");
            }
            say!("{id} is deleted; its tokens are refused from now on.");
        }
    }
    Ok(())
}
