//! The portcullis binary.

use std::process::ExitCode;

use clap::Parser;
use portcullis::command::{Arguments, run};

#[actix_web::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("portcullis: {error:#}");
            ExitCode::FAILURE
        }
    }
}
