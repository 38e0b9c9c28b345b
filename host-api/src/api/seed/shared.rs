//! `lunatic`: what all programs of 2021's first months have.

use std::task::Poll;
use std::time::Duration;

use crate::api::process::yield_once;
use crate::bind::{Fault, host_functions};

host_functions! {
    /// What programs import that were built with the crate `lunatic` 0.3 of January 2021. The same
    /// names stand below with other types: a module may import either, and each process has handles
    /// of its own.
    pub(crate) MODULE: "lunatic";

    /// Lets other processes run: the caller goes to the back of the queue.
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
