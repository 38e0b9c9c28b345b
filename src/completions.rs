//! `lunatic completions`: scripts that complete the command line.

use std::io::Write;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::cli::Cli;
use crate::exit_code::{Code, Failure, OrFail};

/// Prints the script for a shell.
pub(crate) fn print(shell: Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "lunatic", &mut script);
    match std::io::stdout().write_all(&script) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        other => other.or_fail(Code::Internal)?,
    }
    Ok(Code::Success.into())
}
