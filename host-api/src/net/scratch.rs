//! A buffer between the kernel and guests' memories: one for each worker, used by one call at a time.
//!
//! System calls do not lift the guard marks of a guest's memory, so they must not be given its
//! addresses; copying does.

use std::cell::RefCell;

/// Its size, which is the most that one call moves: the copy should not take longer than a slice.
pub(crate) const SCRATCH_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// Lends this thread's buffer, with whatever is left in it. Not to be nested, and not on a process's
/// own stack, which may go on on another thread.
pub(crate) fn with_scratch<T>(f: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| f(scratch))
}
