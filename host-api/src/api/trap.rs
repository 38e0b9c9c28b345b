//! `lunatic::trap`: calls that may trap without ending the process.

use std::task::Poll;

use crate::bind::{Fault, host_functions};

/// What the guest exports for us.
const CATCH: &str = "_lunatic_catch_trap";

host_functions! {
    /// Catching traps.
    pub(crate) MODULE: "lunatic::trap";

    /// Calls the guest's exported function `_lunatic_catch_trap(function, pointer)` and answers what
    /// it answers, or 0 if it traps: by itself, in a host call, or for want of stack. The call may
    /// wait and be interrupted like any other code, and catching calls may nest. After a trap memory
    /// is what it is then, but the stack pointer of LLVM's code (a global exported as
    /// `__stack_pointer` or, if that is not exported, the first one) is put back. What ends the
    /// process by its own will (`proc_exit`) or another's (`kill`) is not caught.
    fn catch(call, function: i32, pointer: i32) -> Poll<Result<i32, Fault>> {
        match call.guest_answer() {
            Some(answer) => Poll::Ready(Ok(answer.unwrap_or(0))),
            None => call.call_guest(CATCH, &[function, pointer], true),
        }
    }
}
