//! Why a process ended, for those who are told.

use crate::abi::{self, ExitRecord};
use crate::process::Process;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ExitReason {
    /// Its function returned, in a language whose processes do. (Those of this crate end with `Code(0)`.)
    Returned,
    /// It exited with this code: 0 when its function returned.
    Code(u32),
    /// It trapped: a panic, an index out of bounds, a division by zero.
    Trap,
    /// It used a function of the runtime in a wrong way.
    Fault,
    /// It was killed.
    Killed {
        /// By this process, if it was one.
        by: Option<Process<()>>,
    },
    /// It died because a process that it was linked with had failed.
    Linked {
        /// That process.
        with: Process<()>,
        /// The process that failed first, which is the same if there is no longer chain of links.
        first: Process<()>,
        /// Why that one failed.
        cause: Box<ExitReason>,
    },
    /// It had the runtime hold more than it may: messages that wait for it or that it has sent, resources. Beside its
    /// own limit there is one for all processes together, which only who holds most is made to answer for.
    OutOfMemory {
        /// How many bytes there may be.
        limit: u64,
    },
    /// It had used up its fuel.
    OutOfFuel {
        /// How much it had.
        limit: u64,
    },
    /// Its calls went too deep.
    StackOverflow {
        /// Bytes of the stack.
        limit: u64,
    },
    /// More messages waited for it than may.
    MessageLimit {
        /// How many may.
        limit: u64,
    },
    /// The runtime failed.
    HostBug,
    /// It could not start.
    NotStarted,
    /// There was no such process, or it had ended before.
    NoProcess,
    /// A reason that this version of the crate does not know.
    Other(u32),
}

/// The kind of a notice that is no end at all.
pub(crate) const ASKED_TO_END: u32 = 11;

impl ExitReason {
    /// Is this an end as it should be? Only failures concern links; a [`Restart::Transient`](crate::Restart::Transient)
    /// child is started again after a failure only.
    ///
    /// ```
    /// assert!(lunatic::ExitReason::Code(0).is_normal());
    /// assert!(!lunatic::ExitReason::Trap.is_normal());
    /// ```
    pub fn is_normal(&self) -> bool {
        matches!(self, ExitReason::Returned | ExitReason::Code(0))
    }

    fn of(record: &ExitRecord) -> ExitReason {
        let first = ExitReason::of_first(record.first_kind, record.value);
        if record.link == 0 {
            return first;
        }
        ExitReason::Linked {
            with: Process::from_id(record.link),
            first: Process::from_id(record.first),
            cause: Box::new(first),
        }
    }

    /// The numbers are those in the runtime's documentation of `get_exit_reason`.
    fn of_first(kind: u32, value: u64) -> ExitReason {
        match kind {
            0 => ExitReason::Returned,
            1 => ExitReason::Code(value as u32),
            2 => ExitReason::Trap,
            3 => ExitReason::Fault,
            4 => ExitReason::Killed { by: (value != 0).then(|| Process::from_id(value)) },
            6 => ExitReason::OutOfMemory { limit: value },
            7 => ExitReason::OutOfFuel { limit: value },
            8 => ExitReason::StackOverflow { limit: value },
            9 => ExitReason::MessageLimit { limit: value },
            10 => ExitReason::HostBug,
            12 => ExitReason::NotStarted,
            13 => ExitReason::NoProcess,
            other => ExitReason::Other(other),
        }
    }
}

/// News of the end of a process that was linked or monitored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Who has ended.
    pub process: Process<()>,
    /// The tag that the link or the monitor was made with; 0 is none.
    pub tag: i64,
    /// Why.
    pub reason: ExitReason,
    /// The runtime's words for it; for a trap they say which, and where if that is known. Empty for a normal end.
    pub text: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            reason if reason.is_normal() => write!(f, "{} ended normally", self.process),
            _ => write!(f, "{} {}", self.process, self.text),
        }
    }
}

/// What the scratch message, which is a notice, says; `Err` is who asks the process to end.
pub(crate) fn read_notice() -> Result<Notice, Process<()>> {
    let record = abi::exit_record();
    let process = Process::from_id(record.process);
    if record.kind == ASKED_TO_END {
        return Err(process);
    }
    let reason = ExitReason::of(&record);
    let text = if reason.is_normal() { String::new() } else { abi::exit_text() };
    Ok(Notice { process, tag: abi::message_tag(), reason, text })
}
