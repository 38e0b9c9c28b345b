//! What a thread asks of the kernel for itself.

#[cfg(target_os = "linux")]
use std::mem::MaybeUninit;

/// The calling thread runs for a moment only, whenever something happens, so that others need not wait for
/// it: its waits are not rounded up, and among threads that compute it gets a processor at once. What
/// the kernel cannot do leaves it a little late.
pub fn be_prompt() {
    precise_timers();
    #[cfg(target_os = "linux")]
    short_slices();
}

/// Asks the kernel not to round this thread's waits up (by 50 µs, by default).
pub(crate) fn precise_timers() {
    #[cfg(target_os = "linux")]
    // SAFETY: changes one scheduling attribute of the calling thread; failure leaves timers a
    // little late.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1)
    };
}

/// The least that the kernel allows, in nanoseconds.
#[cfg(target_os = "linux")]
const SHORTEST_SLICE: u64 = 100_000;

/// Asks the kernel for short slices: one that gets up takes the processor from those with longer ones, and
/// does not wait for their end. Linux 6.12 and later; before, it has no effect.
#[cfg(target_os = "linux")]
fn short_slices() {
    const CALLER: libc::c_int = 0;
    const NO_FLAGS: libc::c_int = 0;
    let mut attributes = MaybeUninit::<libc::sched_attr>::zeroed();
    let size = size_of::<libc::sched_attr>();
    // SAFETY: writes at most as many bytes as the structure has, which is there for it.
    let told = unsafe {
        libc::syscall(libc::SYS_sched_getattr, CALLER, attributes.as_mut_ptr(), size, NO_FLAGS)
    };
    if told != 0 {
        return;
    }
    // SAFETY: numbers only, so that zeros and what the kernel has written are values.
    let mut attributes = unsafe { attributes.assume_init() };
    attributes.sched_runtime = SHORTEST_SLICE;
    // SAFETY: reads the structure, and changes an attribute of the calling thread; all others are as they
    // were.
    unsafe { libc::syscall(libc::SYS_sched_setattr, CALLER, &raw const attributes, NO_FLAGS) };
}

/// The system's number of the calling thread, by which it can be sent a signal.
pub(crate) fn thread_number() -> u32 {
    #[cfg(target_os = "linux")]
    // SAFETY: no preconditions.
    return unsafe { libc::gettid() }.cast_unsigned();
    #[cfg(not(target_os = "linux"))]
    return 0;
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::be_prompt;

    #[test]
    fn a_prompt_thread_is_no_more_important_than_before() {
        const NICE: libc::c_int = 7;
        let others = std::thread::spawn(|| {
            // SAFETY: changes and asks for attributes of the calling thread.
            unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
            be_prompt();
            // SAFETY: as above.
            let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
            // SAFETY: as above.
            (nice, unsafe { libc::sched_getscheduler(0) })
        });
        assert_eq!(others.join().expect("it only asks"), (NICE, libc::SCHED_OTHER));
    }
}
