//! `lunatic`: runs WebAssembly programs as systems of lightweight processes.
//!
//! `main` parses and dispatches. What was said is in `cli`; what a command does is in a file of its
//! own. stdout belongs to the guest; diagnostics go to stderr.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

// Reading order: what can be said, what is done, how it ends.
mod cli;

mod completions;
mod imports;
mod run;
mod test;

mod exit_code;
mod grants;
mod logging;
mod profile;
mod progress;
mod rights;
mod stats;
mod streams;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse_from(rights::with_rules_attached(std::env::args_os()));
    let result = match cli.into_command() {
        Command::Run(run) => {
            logging::start(run.arguments.verbose);
            run::run(&run)
        }
        Command::Test(arguments) => {
            logging::start_for_tests(arguments.run.arguments.verbose);
            test::test(&arguments)
        }
        Command::Completions { shell } => completions::print(shell),
        Command::Imports { markdown } => imports::print(markdown),
    };
    result.unwrap_or_else(|error| {
        eprintln!("lunatic: {}", one_line(&error.source));
        error.code.into()
    })
}

/// The chain of causes; one that has been quoted already is not said again.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !line.contains(&cause) {
            let separator = if line.is_empty() { "" } else { ": " };
            line = line + separator + &cause;
        }
    }
    line
}
