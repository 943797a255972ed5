//! The command line.

/// Writes a line to standard output. Unlike `println!` it does not panic when nobody reads it any more, as behind `| head`.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

mod check;
mod clients;
mod healthcheck;
mod init_secrets;
mod keys;
mod serve;
mod users;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use service_kit::Clock;

use crate::config::{Config, DEFAULTS, Missing};
use crate::data::DataDirectory;
use crate::reload::Source;
use crate::role::Role;

/// Users, tokens and a gate for your HTTP services.
#[derive(Debug, Parser)]
#[command(
    name = "portcullis",
    version,
    about = "Users, tokens and a gate for your HTTP services"
)]
pub struct Arguments {
    /// The configuration file; none is needed.
    #[arg(long, global = true, env = "PORTCULLIS_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything in one process, on SQLite in the data directory (the default)
    Up,
    /// Run the gateway alone
    Gateway,
    /// Run the identity service alone
    Identity,
    /// Run the token service alone
    Token,
    /// Run the example protected service alone
    Home,
    /// Create an account that may see and manage all others
    Createsuperuser(users::CreateArguments),
    /// Look after accounts
    #[command(subcommand)]
    Users(users::Command),
    /// Look after the keys that sign access tokens
    #[command(subcommand)]
    Keys(keys::Command),
    /// Look after service accounts
    #[command(subcommand)]
    Clients(clients::Command),
    /// Name every mistake in the configuration
    Check(check::Arguments),
    /// Exit 0 when the roles on this host are ready
    Healthcheck(healthcheck::Arguments),
    /// Make the secrets of roles that run apart, where there are none yet
    InitSecrets(init_secrets::Arguments),
    /// Print every configuration key with its meaning and default
    Defaults,
}

/// Carries out what the arguments say.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let data = DataDirectory::from_environment();
    let clock = Clock::system();
    let file = arguments.config.as_deref();
    let source = || Source {
        file: arguments.config.clone(),
        data: data.clone(),
    };
    let read = |missing| Config::read(file, &data, missing);
    let users = || with_store(&data, read, |config| &config.identity.database_url);
    let sessions = || with_store(&data, read, |config| &config.token.store_url);
    match arguments.command.unwrap_or(Command::Up) {
        Command::Up => serve::up(source(), clock).await?,
        Command::Gateway => serve::one(Role::Gateway, source(), clock).await?,
        Command::Identity => serve::one(Role::Identity, source(), clock).await?,
        Command::Token => serve::one(Role::Token, source(), clock).await?,
        Command::Home => serve::one(Role::Home, source(), clock).await?,
        Command::Createsuperuser(arguments) => users::create(arguments, true, &users()?, clock).await?,
        Command::Users(command) => users::run(command, &users()?, clock).await?,
        Command::Keys(command) => keys::run(command, &sessions()?, clock).await?,
        Command::Clients(command) => clients::run(command, &sessions()?, clock).await?,
        Command::Check(arguments) => return Ok(check::run(&arguments, &read(Missing::Leave)?, &data).await),
        Command::Healthcheck(arguments) => return healthcheck::run(&arguments, &read(Missing::Leave)?).await,
        Command::InitSecrets(arguments) => init_secrets::run(&arguments)?,
        Command::Defaults => say!("{}", DEFAULTS.trim_end()),
    }
    Ok(ExitCode::SUCCESS)
}

/// The configuration for a command that works on the store at the URL that `store` picks; where that is in the data
/// directory, the command may be the first to be run on a new machine. Secrets are never made here: the stores may belong
/// to roles that are given theirs in other ways.
fn with_store(
    data: &DataDirectory,
    read: impl Fn(Missing) -> anyhow::Result<Config>,
    store: impl Fn(&Config) -> &str,
) -> anyhow::Result<Config> {
    let config = read(Missing::Leave)?;
    if data.holds(store(&config)) {
        data.create()?;
    }
    Ok(config)
}
