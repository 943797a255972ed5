//! `portcullis check`: every mistake in the configuration, before anything is started.

use std::process::ExitCode;

use service_kit::config::Mistake;

use crate::config::Config;
use crate::data::DataDirectory;
use crate::role::Role;

/// Prints the mistakes; exit 1 on any. Secrets that `up` makes on its first start are no mistake where nothing is set up,
/// and a store that cannot be reached from here is only mentioned.
pub(super) async fn run(config: &Config, data: &DataDirectory) -> ExitCode {
    let made_by_up = |mistake: &Mistake| !data.has_secrets() && mistake.problem.contains("is missing");
    let mut mistakes: Vec<_> = config
        .mistakes(&Role::ALL)
        .into_iter()
        .filter(|mistake| !made_by_up(mistake))
        .collect();
    if mistakes.is_empty() {
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
