//! What a process holds back of a line until it is complete.
//!
//! Many programs write a line in pieces (Rust's `eprintln!` makes a call for each argument). Pieces
//! of several processes would mix; whole lines do not. So complete lines go out at once, in one
//! piece, and the rest stays here, up to [`HELD_BYTES_MAX`], until the newline comes or somebody
//! could be waiting to see it: when the process waits, reads, ends, or has run on for
//! [`HELD_TIME_MAX`]. A line begins only while the reader is not far behind, so what goes out then
//! without waiting is at most a beginning for each process.

use std::time::{Duration, Instant};

use super::state::Output;
use crate::held;
use crate::stdio::{Host, Stdio, StdioSink, Ticket, Waiter, Wrote};

/// Bytes of an incomplete line; a longer one goes out in pieces, which may be torn.
const HELD_BYTES_MAX: usize = 8 * 1024;

/// How long a running process may hold them. By feel: nobody sees the delay.
const HELD_TIME_MAX: Duration = Duration::from_millis(50);

/// The incomplete lines of both outputs. Nothing but a null pointer while there are none.
#[derive(Debug, Default)]
pub(super) struct Lines(Option<Box<Beginnings>>);

#[derive(Debug)]
struct Beginnings {
    out: Vec<u8>,
    err: Vec<u8>,
    since: Instant,
}

impl Beginnings {
    fn of(&mut self, output: Output) -> &mut Vec<u8> {
        match output {
            Output::Out => &mut self.out,
            Output::Err => &mut self.err,
        }
    }
}

impl Drop for Beginnings {
    fn drop(&mut self) {
        held::sub(self.out.capacity() + self.err.capacity());
    }
}

impl Lines {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn are_old(&self) -> bool {
        self.0.as_ref().is_some_and(|lines| lines.since.elapsed() >= HELD_TIME_MAX)
    }

    /// Takes all bytes, or none if the process must wait.
    pub(super) fn write<H: Host + 'static>(
        &mut self,
        output: Output,
        bytes: &[u8],
        sink: &StdioSink,
        waiter: Waiter<'_, H>,
        ticket: &mut Ticket,
    ) -> Wrote {
        let before = self.0.as_mut().map_or(&mut [][..], |lines| lines.of(output).as_mut_slice());
        let now = goes_now(before.len(), bytes);
        if now > 0 {
            match sink.try_write([before, &bytes[..now]], waiter, ticket) {
                Wrote::All => {}
                other => return other,
            }
            self.forget(output);
        } else if before.is_empty() && !bytes.is_empty() {
            // What is held goes out without waiting: so nothing is, while there is no room for more.
            if sink.ready(waiter, ticket).is_none() {
                return Wrote::Full;
            }
            *ticket = Ticket::default();
        }
        self.hold(output, &bytes[now..]);
        Wrote::All
    }

    fn hold(&mut self, output: Output, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let lines = self.0.get_or_insert_with(|| {
            Box::new(Beginnings { out: Vec::new(), err: Vec::new(), since: Instant::now() })
        });
        let line = lines.of(output);
        let before = line.capacity();
        line.extend_from_slice(bytes);
        held::add(line.capacity() - before);
    }

    fn forget(&mut self, output: Output) {
        let Some(lines) = &mut self.0 else { return };
        lines.of(output).clear();
        if lines.out.is_empty() && lines.err.is_empty() {
            self.0 = None;
        }
    }

    /// Gives everything out. Never waits: a line's beginning is small, and its writer may be dead.
    pub(super) fn flush<H: Host + 'static>(&mut self, stdio: &Stdio, waiter: Waiter<'_, H>) {
        let Some(mut lines) = self.0.take() else { return };
        for output in [Output::Out, Output::Err] {
            let bytes = lines.of(output);
            if !bytes.is_empty() {
                output.sink(stdio).write_now(bytes, waiter);
            }
        }
    }
}

/// How many of the bytes go out, with the `held` ones before them; the others are held.
fn goes_now(held: usize, bytes: &[u8]) -> usize {
    let complete = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let rest = bytes.len() - complete;
    let held_then = if complete > 0 { rest } else { held + rest };
    if held_then > HELD_BYTES_MAX { bytes.len() } else { complete }
}

#[cfg(test)]
mod tests {
    use super::{HELD_BYTES_MAX, goes_now};

    #[test]
    fn complete_lines_go_out_and_the_rest_stays() {
        assert_eq!(goes_now(0, b""), 0);
        assert_eq!(goes_now(0, b"ab"), 0);
        assert_eq!(goes_now(3, b"ab\n"), 3);
        assert_eq!(goes_now(0, b"a\nb\ncd"), 4);
    }

    #[test]
    fn a_line_that_is_too_long_goes_out_in_pieces() {
        assert_eq!(goes_now(HELD_BYTES_MAX - 1, b"a"), 0);
        assert_eq!(goes_now(HELD_BYTES_MAX, b"a"), 1);
        assert_eq!(goes_now(HELD_BYTES_MAX, b"\na"), 1);
        let mut long = vec![b'a'; HELD_BYTES_MAX + 2];
        long[0] = b'\n';
        assert_eq!(goes_now(0, &long), long.len());
    }
}
