//! `lunatic`: runs WebAssembly programs as systems of lightweight processes.
//!
//! `main` parses and dispatches. What was said is in `cli`; what a command does is in a file of its
//! own. stdout belongs to the guest; diagnostics go to stderr.
#![forbid(unsafe_code)]
#![deny(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "they panic if nobody reads: output does not"
)]

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use lunatic_engine::text;

// Reading order: what can be said, what is done, how it ends.
mod cli;

mod completions;
mod imports;
mod project;
mod run;
mod test;

mod exit_code;
mod grants;
mod input;
mod logging;
mod output;
mod profile;
mod progress;
mod rights;
mod stats;
mod streams;

use cli::{Cli, Command};
use exit_code::Failure;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let result =
        if project::is_called_by_cargo(&words) { project::cargo(words) } else { lunatic(words) };
    result.unwrap_or_else(|error| {
        output::say(format_args!("lunatic: {}", one_line(&error.source)));
        error.code.into()
    })
}

fn lunatic(words: Vec<OsString>) -> Result<ExitCode, Failure> {
    let cli = output::parsed(Cli::try_parse_from(rights::with_rules_attached(words.into_iter())))?;
    match cli.into_command() {
        Command::Run(run) if test::is_harness(&run.arguments.module) => {
            logging::start_for_tests(run.arguments.verbose);
            run::run(&run.with_file()?)
        }
        Command::Run(run) => {
            logging::start(run.arguments.verbose);
            run::run(&run.with_file()?)
        }
        Command::Test(arguments) => {
            logging::start_for_tests(arguments.run.arguments.verbose);
            test::test(&arguments.run.with_file()?, arguments.timeout)
        }
        Command::New(arguments) => project::new(&arguments),
        Command::Init(arguments) => project::init(&arguments),
        Command::Completions { shell } => completions::print(shell),
        Command::Imports(form) => imports::print(&form),
    }
}

/// The chain of causes; one that has been quoted already is not said again. Files choose some of the
/// words.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !line.contains(&cause) {
            let separator = if line.is_empty() { "" } else { ": " };
            line = line + separator + &cause;
        }
    }
    text::line(&line)
}
