//! `portcullis check`: every mistake in the configuration, before anything is started.

use std::process::ExitCode;

use service_kit::config::Mistake;

use crate::config::Config;
use crate::data::DataDirectory;
use crate::role::Role;

/// Prints the mistakes; exit 1 on any. Secrets that `up` makes on its first start are no mistake where nothing is set up.
pub(super) fn run(config: &Config, data: &DataDirectory) -> ExitCode {
    let made_by_up = |mistake: &Mistake| !data.has_secrets() && mistake.problem.contains("is missing");
    let mistakes: Vec<_> = config
        .mistakes(&Role::ALL)
        .into_iter()
        .filter(|mistake| !made_by_up(mistake))
        .collect();
    if mistakes.is_empty() {
        say!("The configuration is good.");
        return ExitCode::SUCCESS;
    }
    for mistake in &mistakes {
        eprintln!("{mistake}");
    }
    ExitCode::FAILURE
}
