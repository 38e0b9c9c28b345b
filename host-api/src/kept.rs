//! References to what outlives every process: the node, its images, the main process's
//! configuration.
//!
//! Every process holds each of them. Counting those references (`Arc`) would be three words that
//! all workers write at each spawn and each end. Instead the node keeps these things until its
//! workers have ended the last process (`Node` drops its runtime first), and processes hold plain
//! pointers.

use std::ops::Deref;
use std::ptr::NonNull;

/// A reference without a lifetime, to something that stays where it is until after the last use.
pub(crate) struct Kept<T>(NonNull<T>);

impl<T> Kept<T> {
    /// # Safety
    /// `value` is neither moved nor dropped before the last use of the result, of its copies, and
    /// of the references that they give.
    pub(crate) unsafe fn new(value: &T) -> Self {
        Self(NonNull::from(value))
    }

    pub(crate) fn get<'a>(self) -> &'a T {
        // SAFETY: by the promise made to `new` the value is still there; nobody has it exclusively,
        // as `new` got a shared reference.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Kept<T> {}

impl<T> Deref for Kept<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.get()
    }
}

// SAFETY: it is a shared reference.
unsafe impl<T: Sync> Send for Kept<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Kept<T> {}
