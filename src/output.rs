//! What is printed: on stdout what commands are asked for, on stderr what there is to say beside it.
//! Whoever reads it may have enough before its end, and a disk may be full.

use std::fmt;
use std::io::{self, ErrorKind, Write};

use anyhow::Context;

use crate::exit_code::{Code, Failure, OrFail};

/// Prints a text.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    printed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// What it means that something was printed, or was not. A pipe that nobody reads from any more is no
/// failure: who has closed it has seen enough.
pub(crate) fn printed(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other
            .context("cannot write to standard output, and what it got is not all")
            .or_fail(Code::Output),
    }
}

/// What was said on the command line. Otherwise this is the end: with a word about what is wrong
/// there, or with the help that was asked for.
pub(crate) fn parsed<T>(result: Result<T, clap::Error>) -> Result<T, Failure> {
    result.or_else(|error| {
        let result = error.print().and_then(|()| io::stdout().flush());
        // What is wrong is said on stderr: if that cannot be heard, the exit code says it.
        if !error.use_stderr() {
            printed(result)?;
        }
        std::process::exit(error.exit_code())
    })
}

/// Says something on stderr. That nobody can hear it is no reason to end in another way, as
/// `eprintln!` does, which panics.
pub(crate) fn say(what: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{what}");
}
