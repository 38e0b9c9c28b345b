//! Waiting: `sleep`, `yield_now`, and how durations become the runtime's milliseconds.

use crate::abi;
use std::time::Duration;

/// Suspends this process for at least `duration`. Other processes run meanwhile, with one worker too.
///
/// ```no_run
/// lunatic::sleep(std::time::Duration::from_millis(20));
/// ```
pub fn sleep(duration: Duration) {
    abi::sleep_ms(milliseconds(duration));
}

/// Lets other processes run first. Never needed for fairness: the runtime takes the processor from a process that has
/// had its share, loop or not.
///
/// ```no_run
/// lunatic::yield_now();
/// ```
pub fn yield_now() {
    std::thread::yield_now(); // WASI's sched_yield
}

/// Whole milliseconds, rounded up so that a wait is never shorter than asked; "for ever" is not a duration.
pub(crate) fn milliseconds(duration: Duration) -> u64 {
    let milliseconds = duration.as_nanos().div_ceil(1_000_000);
    u64::try_from(milliseconds).map_or(abi::FOREVER - 1, |ms| ms.min(abi::FOREVER - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_round_up_and_never_mean_for_ever() {
        assert_eq!(milliseconds(Duration::ZERO), 0);
        assert_eq!(milliseconds(Duration::from_nanos(1)), 1);
        assert_eq!(milliseconds(Duration::from_millis(7)), 7);
        assert_eq!(milliseconds(Duration::MAX), u64::MAX - 1);
    }
}
