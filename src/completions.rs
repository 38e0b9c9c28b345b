//! `lunatic completions`: scripts that complete the command line.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::cli::Cli;
use crate::exit_code::{Code, Failure};
use crate::output;

/// Prints the script for a shell.
pub(crate) fn print(shell: Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "lunatic", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Code::Success.into())
}
