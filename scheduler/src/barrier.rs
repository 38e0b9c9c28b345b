//! A fence of which one side pays for both.
//!
//! Two parties that each write and then read what the other writes need a fence between the two, or both
//! may miss the other. Where one of them does it all the time and the other hardly ever, the first
//! passes only [`light`], which keeps the compiler's order, and the second [`heavy`](Barrier::heavy),
//! which makes every thread of the program that runs pass a fence, by a system call
//! (`membarrier(2)`).
//!
//! Under loom, which knows no such call, both are fences: its models show that a fence on each side
//! suffices.

#[cfg(not(loom))]
use crate::sync::compiler_fence;

use crate::sync::{Ordering, fence};

/// The side that pays. Only if the system has it.
pub(crate) struct Barrier(());

/// The side that does not.
#[inline]
pub(crate) fn light() {
    #[cfg(not(loom))]
    compiler_fence(Ordering::SeqCst);
    #[cfg(loom)]
    fence(Ordering::SeqCst);
}

impl Barrier {
    /// Asks the system for it, once for the program.
    pub(crate) fn new() -> Option<Self> {
        #[cfg(not(loom))]
        return membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED).then_some(Self(()));
        #[cfg(loom)]
        Some(Self(()))
    }

    /// What others wrote before their `light` is seen from now on, and what the caller wrote before they see
    /// after it. False if the system will not do it any more (a filter of system calls that came later): then
    /// nothing is ordered.
    pub(crate) fn heavy(&self) -> bool {
        #[cfg(not(loom))]
        if !membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED) {
            return false;
        }
        // SeqCst fence: the caller's own; partners: all `light` ones.
        fence(Ordering::SeqCst);
        true
    }
}

/// Whether the system did it.
#[cfg(not(loom))]
fn membarrier(command: libc::c_int) -> bool {
    let (flags, cpu) = (0, 0);
    // SAFETY: takes three numbers and touches no memory.
    unsafe { libc::syscall(libc::SYS_membarrier, command, flags, cpu) == 0 }
}
