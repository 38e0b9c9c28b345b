//! What commands print on stdout. Whoever reads it may have enough before its end.

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
