//! What is printed: on stdout what commands are asked for, on stderr what there is to say beside it.
//! Whoever reads it may have enough before its end, and a disk may be full.

use std::fmt;
use std::io::{self, ErrorKind, Write};

use crate::exit_code::{Code, Failure, OrFail};

/// Prints a text; a pipe that nobody reads from any more is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.or_fail(Code::Internal),
    }
}

/// Says something on stderr. That nobody can hear it is no reason to end in another way, as
/// `eprintln!` does, which panics.
pub(crate) fn say(what: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{what}");
}
