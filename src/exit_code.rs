//! Exit codes. They are part of the interface: documented in `--help` and the README, and tested.

use std::process::ExitCode;

use lunatic_host_api::ExitReason;

/// How the program ends for whoever started it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// All went well.
    Success,
    /// `new`, `init` or `cargo lunatic` could not do its work.
    Project,
    /// Wrong usage, found out after the command line was read.
    Usage,
    /// The module cannot be loaded: unreadable, invalid, or it needs something that is not there.
    Load,
    /// The run could not begin or the runtime failed: not the guest's fault (EX_SOFTWARE).
    Internal,
    /// What was printed, by the program or by us, could not be written: a full disk (EX_IOERR).
    Output,
    /// A test failed, as cargo's users know it.
    TestsFailed,
    /// Ended by Ctrl-C (128 + SIGINT).
    Interrupted,
    /// The main process failed: it trapped, hit a limit, or died with a link: as an abort looks (128 +
    /// SIGABRT).
    Trap,
    /// The main process was killed by another (128 + SIGKILL).
    Killed,
    /// The guest's own.
    Guest(u32),
}

impl Code {
    /// The number; a guest's code that does not fit a byte becomes 255, never success.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Project => 1,
            Self::Usage => 2,
            Self::Load => 3,
            Self::Internal => 70,
            Self::Output => 74,
            Self::TestsFailed => 101,
            Self::Interrupted => 130,
            Self::Trap => 134,
            Self::Killed => 137,
            Self::Guest(code) => u8::try_from(code).unwrap_or(u8::MAX),
        }
    }

    /// What the end of the main process means.
    pub(crate) fn of(reason: &ExitReason) -> Self {
        match reason {
            ExitReason::Returned => Self::Success,
            ExitReason::Code(code) => Self::Guest(*code),
            ExitReason::Trap { .. }
            | ExitReason::Fault { .. }
            | ExitReason::Linked { .. }
            | ExitReason::OutOfMemory { .. }
            | ExitReason::OutOfFuel { .. }
            | ExitReason::StackOverflow { .. }
            | ExitReason::MessageLimit { .. }
            | ExitReason::NoProcess => Self::Trap,
            ExitReason::Killed { .. } => Self::Killed,
            ExitReason::Shutdown => Self::Interrupted,
            ExitReason::HostBug { .. } => Self::Internal,
            ExitReason::Entry { .. } => Self::Load,
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.number())
    }
}

/// A command failed: what to say and how to end.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) source: anyhow::Error,
}

/// Says which exit code an error means.
pub(crate) trait OrFail<T> {
    fn or_fail(self, code: Code) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrFail<T> for Result<T, E> {
    fn or_fail(self, code: Code) -> Result<T, Failure> {
        self.map_err(|error| Failure { code, source: error.into() })
    }
}
