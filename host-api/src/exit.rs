//! The ways a process ends, as types.

use std::fmt;

use lunatic_engine::{Frame, TrapCode, describe};

/// Why a process ended.
#[derive(Debug, Clone)]
pub enum ExitReason {
    /// Its function returned.
    Returned,
    /// It called `proc_exit` with this code.
    Code(u32),
    /// Compiled code could not go on.
    Trap {
        /// What went wrong.
        code: TrapCode,
        /// The wasm functions on the stack, innermost first.
        frames: Vec<Frame>,
    },
    /// A host function was used against its contract (a pointer outside of the memory, an unknown
    /// handle, …).
    Fault {
        /// The interface and the function.
        function: &'static str,
        /// What was wrong.
        message: String,
        /// The wasm functions on the stack, innermost first.
        frames: Vec<Frame>,
    },
    /// Somebody killed it.
    Killed,
    /// The run was over.
    Shutdown,
    /// The runtime itself failed. Never the guest's fault.
    HostBug {
        /// What the runtime said.
        message: String,
    },
    /// It could not start: the exported function that should run is missing or takes other
    /// arguments.
    Entry {
        /// What was wrong.
        message: String,
    },
}

impl ExitReason {
    /// Whether this is how a process should end.
    #[must_use]
    pub fn is_normal(&self) -> bool {
        matches!(self, Self::Returned | Self::Code(0))
    }

    /// The wasm functions on the stack when it ended, innermost first; empty if unknown.
    #[must_use]
    pub fn frames(&self) -> &[Frame] {
        match self {
            Self::Trap { frames, .. } | Self::Fault { frames, .. } => frames,
            _ => &[],
        }
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Returned => write!(f, "returned"),
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Trap { code, .. } => write!(f, "trapped: {}", describe(*code)),
            Self::Fault { function, message, .. } => {
                write!(f, "trapped: {function}: {message}")
            }
            Self::Killed => write!(f, "was killed"),
            Self::Shutdown => write!(f, "ended with the run"),
            Self::HostBug { message } => {
                write!(f, "was ended by a bug in lunatic, please report it: {message}")
            }
            Self::Entry { message } => write!(f, "could not start: {message}"),
        }
    }
}
