//! Why an operation on a socket failed, in the words that a guest reads.

use std::io;

use crate::api::wasi::Errno;

/// Why an operation failed: what the guest reads behind the error id.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) text: String,
    /// WASI's number for it; 0 if there is none.
    pub(crate) code: u16,
}

impl Failure {
    /// What was tried, and what the system said.
    pub(crate) fn io(tried: impl std::fmt::Display, error: &io::Error) -> Self {
        let code = error.raw_os_error().map_or(0, |number| Errno::from_host(number).code());
        Self { text: format!("{tried}: {error}"), code }
    }

    /// The same for a system call of our own.
    pub(crate) fn os(tried: impl std::fmt::Display, error: rustix::io::Errno) -> Self {
        Self::io(tried, &error.into())
    }

    /// A rule forbids it.
    pub(crate) fn refused(text: String) -> Self {
        Self { text, code: Errno::NotCapable.code() }
    }

    /// The time has passed.
    pub(crate) fn timed_out(tried: impl std::fmt::Display, millis: u64) -> Self {
        let text = format!("{tried}: it took longer than {millis} ms");
        Self { text, code: Errno::TimedOut.code() }
    }

    /// Something else, about what the guest has said.
    pub(crate) fn invalid(text: String) -> Self {
        Self { text, code: Errno::Inval.code() }
    }
}
