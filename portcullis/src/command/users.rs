//! `portcullis createsuperuser` and `portcullis users`: accounts, beside a running service or without one.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use portcullis_client::TokenClient;
use portcullis_identity::{Accounts, NewUser, User};
use secrecy::{ExposeSecret, SecretString};
use service_kit::Clock;

use crate::config::Config;

/// Who is to be created.
#[derive(Debug, Args)]
pub(super) struct CreateArguments {
    /// The name to log in with
    #[arg(long)]
    username: String,
    /// The email address to log in with
    #[arg(long)]
    email: String,
    /// Read the password from standard input instead of asking for it
    #[arg(long)]
    password_stdin: bool,
}

/// `portcullis users …`; USER is an email address, a username or an id.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List all accounts
    List,
    /// Create an account
    Create(CreateArguments),
    /// Let an account log in again
    Activate {
        /// Its email address, username or id
        #[arg(allow_hyphen_values = true)]
        user: String,
    },
    /// Keep an account from logging in, and end its sessions
    Deactivate {
        /// Its email address, username or id
        #[arg(allow_hyphen_values = true)]
        user: String,
    },
    /// Set what accounts were known by in the system before, from a file of lines USER,ID: all of them, or none
    LegacyIds {
        /// Comma-separated, without a line of headings
        file: PathBuf,
    },
    /// Remove an account, and end its sessions
    Delete {
        /// Its email address, username or id
        #[arg(allow_hyphen_values = true)]
        user: String,
    },
}

/// Carries out a `users` command.
pub(super) async fn run(command: Command, config: &Config, clock: Clock) -> anyhow::Result<()> {
    if let Command::Create(arguments) = command {
        return create(arguments, false, config, clock).await;
    }
    let accounts = Accounts::open(&config.identity, clock).await?;
    match command {
        Command::List | Command::Create(_) => list(&accounts).await?,
        Command::LegacyIds { file } => set_legacy_ids(&accounts, &file).await?,
        Command::Activate { user } => {
            let user = find(&accounts, &user).await?;
            accounts.activate(user.id).await?;
            say!("{} may log in.", user.username);
        }
        Command::Deactivate { user } => {
            let user = find(&accounts, &user).await?;
            accounts.deactivate(user.id).await?;
            say!("{} may no longer log in.", user.username);
            end_sessions(&accounts, config).await;
        }
        Command::Delete { user } => {
            let user = find(&accounts, &user).await?;
            accounts.delete(user.id).await?;
            say!("{} is deleted.", user.username);
            end_sessions(&accounts, config).await;
        }
    }
    Ok(())
}

/// Creates an account; with `is_superuser`, one that may manage all others.
pub(super) async fn create(
    arguments: CreateArguments,
    is_superuser: bool,
    config: &Config,
    clock: Clock,
) -> anyhow::Result<()> {
    let password = read_password(arguments.password_stdin)?;
    let accounts = Accounts::open(&config.identity, clock).await?;
    let new = NewUser {
        username: arguments.username,
        email: arguments.email,
        password,
        is_superuser,
        is_staff: is_superuser,
    };
    let user = accounts
        .create(new)
        .await
        .map_err(|error| anyhow!("the account was not created.\n{error}"))?;
    say!("Created {} ({}).", user.username, user.id);
    Ok(())
}

fn read_password(from_stdin: bool) -> anyhow::Result<SecretString> {
    if from_stdin {
        let mut line = String::new();
        std::io::stdin()
            .read_line(&mut line)
            .context("while reading the password")?;
        return Ok(line.trim_end_matches(['\r', '\n']).into());
    }
    if !std::io::stdin().is_terminal() {
        bail!("there is no terminal to ask for the password at; pipe it in and add --password-stdin");
    }
    let ask = |prompt: &str| {
        rpassword::prompt_password(prompt)
            .map(SecretString::from)
            .context("while asking for the password")
    };
    let password = ask("Password: ")?;
    if password.expose_secret() != ask("Password (again): ")?.expose_secret() {
        bail!("the passwords differ");
    }
    Ok(password)
}

async fn set_legacy_ids(accounts: &Accounts, file: &Path) -> anyhow::Result<()> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .trim(csv::Trim::All)
        .from_path(file)
        .with_context(|| format!("while opening {}", file.display()))?;
    let mut lines = Vec::new();
    for record in reader.records() {
        let record = record.with_context(|| format!("while reading {}", file.display()))?;
        let line = record.position().map_or(0, csv::Position::line);
        match (record.get(0), record.get(1), record.len()) {
            (Some(account), Some(id), 2) => lines.push((line, account.to_owned(), id.to_owned())),
            _ => bail!(
                "{}: line {line}: write USER,ID and nothing else; nothing was changed",
                file.display()
            ),
        }
    }
    let count = lines.len();
    let mistakes = accounts.set_legacy_ids(lines).await?;
    if !mistakes.is_empty() {
        let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        bail!("{}: nothing was changed:\n{}", file.display(), mistakes.join("\n"));
    }
    say!("{count} accounts have the id that they were known by.");
    Ok(())
}

async fn find(accounts: &Accounts, name: &str) -> anyhow::Result<User> {
    accounts
        .find(name)
        .await?
        .ok_or_else(|| anyhow!("there is no account with the email address, username or id {name:?}"))
}

async fn list(accounts: &Accounts) -> anyhow::Result<()> {
    say!(
        "{:36}  {:6}  {:9}  {:24}  EMAIL",
        "ID",
        "ACTIVE",
        "SUPERUSER",
        "USERNAME"
    );
    let mut last = None;
    loop {
        let page = accounts.list(last.as_ref()).await?;
        for user in &page {
            let yes = |flag| if flag { "yes" } else { "no" };
            let (id, username) = (user.id.to_string(), &user.username);
            say!(
                "{id:36}  {:6}  {:9}  {username:24}  {}",
                yes(user.is_active),
                yes(user.is_superuser),
                user.email
            );
        }
        match page.into_iter().last() {
            Some(user) => last = Some(user),
            None => return Ok(()),
        }
    }
}

/// Delivers what ends the sessions now, or says that a running service will.
async fn end_sessions(accounts: &Accounts, config: &Config) {
    let secret = config.identity.client_secret.clone();
    let delivered = match TokenClient::new(config.token.url.clone(), &config.identity.client_id, secret) {
        Ok(tokens) => accounts.deliver(&tokens).await.map(drop).map_err(anyhow::Error::from),
        Err(error) => Err(error),
    };
    match delivered {
        Ok(()) => say!("Its sessions have ended."),
        Err(error) => say!(
            "Its sessions end as soon as the identity service reaches the token service (which could not be reached from \
             here: {error:#})."
        ),
    }
}
