//! The crate's only door to atomics, locks, condition variables and fences: the real ones, or
//! loom's under `--cfg loom`.
//!
//! Parties: every other file of this crate that shares memory. Protocol: take these names from
//! here, never from `std`, so that the models in `tests/loom.rs` (which include the very same
//! source files) explore the code that ships. The locks have the shape of `parking_lot` (no
//! poisoning); the loom twins adapt.

#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc,
    atomic::{
        AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, compiler_fence, fence,
    },
};

#[cfg(not(loom))]
pub(crate) use std::thread;

#[cfg(not(loom))]
pub(crate) use parking_lot::{Condvar, Mutex, RwLock};

#[cfg(loom)]
pub(crate) use loom::sync::{
    Arc,
    atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(loom)]
pub(crate) use self::twins::{Condvar, Mutex, MutexGuard};

/// Loom's locks in the shape of `parking_lot`'s.
#[cfg(loom)]
mod twins {
    pub(crate) use loom::sync::MutexGuard;
    use std::time::Instant;

    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("a model that panicked has already failed")
        }
    }

    impl<T: Default> Default for Mutex<T> {
        fn default() -> Self {
            Self::new(T::default())
        }
    }

    pub(crate) struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self(loom::sync::Condvar::new())
        }
        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }
        /// Waits without the limit: loom has no clock, and a lost wake-up must show as a deadlock.
        pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, _limit: Instant) {
            self.wait(guard);
        }
        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            // loom's wait takes the guard by value, parking_lot's by reference.
            take_mut(guard, |g| self.0.wait(g).expect("a model that panicked has already failed"));
        }
    }

    fn take_mut<T>(place: &mut T, f: impl FnOnce(T) -> T) {
        // SAFETY: the value read is given to `f`, and `place` is not used before the write below.
        let old = unsafe { std::ptr::read(place) };
        let new = f(old);
        // SAFETY: `place` is valid for writes and its old value has been moved out; a panic in `f`
        // fails the model.
        unsafe { std::ptr::write(place, new) };
    }
}
