//! The ways a process ends, as types: what its links and monitors are told, what the log says, what
//! `--stats` counts.
//!
//! The common end costs nothing: `Returned` and `Code` own no memory. A reason is put behind a
//! [`Cause`] only when somebody is told; all who are told share it, and a chain of links passes the
//! first cause on, so that no reason ever nests in another.

use std::fmt;
use std::sync::Arc;

use lunatic_engine::{Frame, TrapCode, describe};
use lunatic_scheduler::Pid;

use crate::config::STACK_BYTES_MAX;

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
    /// Another process killed it, or it did itself.
    Killed {
        /// Who; `None` if it was no process.
        by: Option<Pid>,
    },
    /// A process that it was linked with failed.
    Linked {
        /// That process.
        with: Pid,
        /// What happened to the first in the chain of links; never `Linked` itself.
        cause: Arc<Cause>,
    },
    /// It needed more memory than it may have, where no error could be answered.
    OutOfMemory {
        /// Of what.
        of: Shortage,
        /// How many bytes there may be.
        limit: u64,
    },
    /// It has used up its fuel.
    OutOfFuel {
        /// How much it had.
        limit: u64,
    },
    /// Its calls went deeper than its stack.
    StackOverflow {
        /// Bytes of the stack.
        limit: u64,
        /// The wasm functions on the stack, innermost first.
        frames: Vec<Frame>,
    },
    /// More messages waited for it than may, and its configuration says that it ends then.
    MessageLimit {
        /// How many may wait.
        limit: u64,
    },
    /// The runtime itself failed. Never the guest's fault.
    HostBug {
        /// What the runtime said.
        message: String,
    },
    /// The run was over.
    Shutdown,
    /// It could not start: the exported function that should run is missing or takes other
    /// arguments.
    Entry {
        /// What was wrong.
        message: String,
    },
    /// There was no such process, or it had ended before it was linked or monitored. No process ends
    /// for this reason; those who ask about one get it as an answer.
    NoProcess,
}

/// What a process has had too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// Bytes of messages that waited for it, and its configuration says that it ends then.
    Mailbox,
    /// Memory of the host, which may hold the limit for all processes: it held the most.
    Host {
        /// Of all processes, and not of those of the branch that together held most.
        of_all: bool,
        /// How many bytes.
        held: u64,
    },
    /// Memory of its own, of which all processes together may have the limit: it had the most.
    Memory {
        /// Of all processes, and not of those of the branch that together had most.
        of_all: bool,
        /// Bytes that it has touched, and that the host held for it.
        taken: u64,
    },
    /// Of the host as well: it has filled the mailbox of the process for which the host held the most,
    /// alone or with others of its branch.
    Flood {
        /// Alone.
        alone: bool,
        /// That process.
        to: Pid,
        /// How many bytes were held for it.
        held: u64,
    },
}

/// What made a process that ended for a shortage the one to end.
fn most_of(all: bool) -> &'static str {
    if all { "the most of all" } else { "as one of many that together had most" }
}

/// The first end in a chain of links.
#[derive(Debug)]
pub struct Cause {
    /// Who ended.
    pub process: Pid,
    /// Why; never [`ExitReason::Linked`].
    pub reason: ExitReason,
}

/// The kinds of reasons as guests see them. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    Returned = 0,
    Code = 1,
    Trap = 2,
    Fault = 3,
    Killed = 4,
    Linked = 5,
    OutOfMemory = 6,
    OutOfFuel = 7,
    StackOverflow = 8,
    MessageLimit = 9,
    HostBug = 10,
    Shutdown = 11,
    Entry = 12,
    NoProcess = 13,
}

impl ExitReason {
    /// Whether this is how a process should end: those who are linked with it live on.
    #[must_use]
    pub fn is_normal(&self) -> bool {
        matches!(self, Self::Returned | Self::Code(0))
    }

    /// The wasm functions on the stack when it ended, innermost first; empty if unknown.
    #[must_use]
    pub fn frames(&self) -> &[Frame] {
        match self {
            Self::Trap { frames, .. }
            | Self::Fault { frames, .. }
            | Self::StackOverflow { frames, .. } => frames,
            _ => &[],
        }
    }

    /// What a trap of compiled code means.
    pub(crate) fn of_trap(code: TrapCode, frames: Vec<Frame>, stack_bytes: usize) -> Self {
        match code {
            TrapCode::StackOverflow => Self::StackOverflow { limit: stack_bytes as u64, frames },
            code => Self::Trap { code, frames },
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Returned => Kind::Returned,
            Self::Code(_) => Kind::Code,
            Self::Trap { .. } => Kind::Trap,
            Self::Fault { .. } => Kind::Fault,
            Self::Killed { .. } => Kind::Killed,
            Self::Linked { .. } => Kind::Linked,
            Self::OutOfMemory { .. } => Kind::OutOfMemory,
            Self::OutOfFuel { .. } => Kind::OutOfFuel,
            Self::StackOverflow { .. } => Kind::StackOverflow,
            Self::MessageLimit { .. } => Kind::MessageLimit,
            Self::HostBug { .. } => Kind::HostBug,
            Self::Shutdown => Kind::Shutdown,
            Self::Entry { .. } => Kind::Entry,
            Self::NoProcess => Kind::NoProcess,
        }
    }

    /// The number that belongs to the reason: an exit code, a trap's code, a killer's or link's id,
    /// a limit; else 0.
    pub(crate) fn value(&self) -> u64 {
        match self {
            Self::Code(code) => u64::from(*code),
            Self::Trap { code, .. } => *code as u64,
            Self::Killed { by } => by.map_or(0, Pid::as_u64),
            Self::Linked { with, .. } => with.as_u64(),
            Self::OutOfMemory { limit, .. }
            | Self::OutOfFuel { limit }
            | Self::StackOverflow { limit, .. }
            | Self::MessageLimit { limit } => *limit,
            Self::Returned
            | Self::Fault { .. }
            | Self::HostBug { .. }
            | Self::Shutdown
            | Self::Entry { .. }
            | Self::NoProcess => 0,
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
            Self::Killed { by: Some(by) } => write!(f, "was killed by process {by}"),
            Self::Killed { by: None } => write!(f, "was killed"),
            Self::Linked { with, cause } if *with == cause.process => {
                write!(f, "died with its link: {cause}")
            }
            Self::Linked { with, cause } => {
                write!(f, "died with its link, process {with}, after {cause}")
            }
            Self::OutOfMemory { of, limit } => match of {
                Shortage::Mailbox => {
                    write!(
                        f,
                        "ended because more than {limit} bytes of messages waited for it \
                         (--max-mailbox-bytes)"
                    )
                }
                Shortage::Host { of_all, held } => write!(
                    f,
                    "ran out of host memory: {held} bytes of messages and resources were held for it, \
                     {}, and all processes together may have {limit} (--max-host-memory)",
                    most_of(*of_all)
                ),
                Shortage::Memory { of_all, taken } => write!(
                    f,
                    "ran out of memory: it took {taken} bytes, {}, and all processes together \
                     may take {limit} (--max-total-memory)",
                    most_of(*of_all)
                ),
                Shortage::Flood { alone, to, held } => write!(
                    f,
                    "ran out of host memory: {} sent most of the {held} bytes of messages that \
                     wait for process {to}, and all processes together may have {limit} \
                     (--max-host-memory)",
                    if *alone {
                        "it has"
                    } else {
                        "it and those that descend from the same child of the main process have"
                    }
                ),
            },
            Self::OutOfFuel { limit } => {
                write!(f, "has used up its fuel of {limit} units (--max-fuel)")
            }
            Self::StackOverflow { limit, .. } => {
                write!(f, "trapped: {}", describe(TrapCode::StackOverflow))?;
                write!(f, ", the stack has {limit} bytes")?;
                // The largest cannot be raised.
                if *limit < STACK_BYTES_MAX as u64 { write!(f, " (--max-stack)") } else { Ok(()) }
            }
            Self::MessageLimit { limit } => {
                write!(f, "ended because more than {limit} messages waited for it (--max-mailbox)")
            }
            Self::HostBug { message } => {
                write!(f, "was ended by a bug in lunatic, please report it: {message}")
            }
            Self::Shutdown => write!(f, "ended with the run"),
            Self::Entry { message } => write!(f, "could not start: {message}"),
            Self::NoProcess => write!(f, "did not exist"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} {}", self.process, self.reason)
    }
}
