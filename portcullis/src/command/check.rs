//! `portcullis check`: every mistake in the configuration, before anything is started.

use std::process::ExitCode;

use clap::Args;
use service_kit::config::Mistake;

use crate::config::Config;
use crate::data::DataDirectory;
use crate::role::Role;

/// Whose configuration to look at.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The role that will be started here with it, alone; without it, everything is looked at
    role: Option<Role>,
}

/// Prints the mistakes; exit 1 on any. For a role these are the ones that its own start would be refused for: another's
/// secrets may well be absent. Without one, secrets that `up` makes on its first start are no mistake where nothing is set
/// up. A store that cannot be reached from here is only mentioned.
pub(super) async fn run(arguments: &Arguments, config: &Config, data: &DataDirectory) -> ExitCode {
    let roles = arguments.role.map_or(Role::ALL.to_vec(), |role| vec![role]);
    let made_by_up =
        |mistake: &Mistake| arguments.role.is_none() && !data.has_secrets() && mistake.problem.contains("is missing");
    let mut mistakes: Vec<_> = config
        .mistakes(&roles)
        .into_iter()
        .filter(|mistake| !made_by_up(mistake))
        .collect();
    if mistakes.is_empty() && roles.contains(&Role::Token) {
        match portcullis_token::examine_store(&config.token).await {
            Ok(findings) => {
                for warning in findings.warnings {
                    eprintln!("warning: {warning}");
                }
                mistakes.extend(findings.refusals);
            }
            Err(error) => {
                eprintln!("warning: token.store_url: what it names could not be examined from here: {error:#}");
            }
        }
    }
    if mistakes.is_empty() {
        say!("The configuration is good.");
        return ExitCode::SUCCESS;
    }
    for mistake in &mistakes {
        eprintln!("{mistake}");
    }
    ExitCode::FAILURE
}
