//! `lunatic`: what all programs of the first months have.

use std::task::Poll;
use std::time::Duration;

use crate::api::process::yield_once;
use lunatic_engine::HostFunction;

use crate::bind::{Fault, host_functions};

host_functions! {
    /// What programs import that were built with the crate `lunatic` 0.2 or 0.3 of 2020 and January 2021. The same
    /// names stand below with other types: a module may import any, and each process has handles
    /// of its own.
    pub(crate) MODULE: "lunatic";

    /// Lets other processes run: the caller goes to the back of the queue. Crate 0.2 imports the same as
    /// `yield`.
    [short] fn yield_(call) -> Poll<Result<(), Fault>> {
        yield_once(call)
    }

    /// Waits for so many milliseconds. 0 lets others run.
    [short] fn sleep_ms(call, millis: u64) -> Poll<Result<(), Fault>> {
        if millis == 0 {
            return yield_once(call);
        }
        if call.deadline_passed(Duration::from_millis(millis)) {
            return Poll::Ready(Ok(()));
        }
        call.wake_at_deadline();
        Poll::Pending
    }
}

/// `yield_` under its first name, which is a word of Rust's.
pub(crate) fn yield_of_2020() -> HostFunction {
    let known = MODULE.functions.iter().find(|known| known.function.name == "yield_");
    HostFunction { name: "yield", ..known.expect("it is in the table").function }
}
