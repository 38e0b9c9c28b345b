//! Atomics, locks and threads for what `tests/loom.rs` explores: the real ones, or loom's under
//! `--cfg loom`.
//!
//! Files that have models take these names from here. The lock has the shape of `parking_lot`'s (no
//! poisoning); the loom twin adapts.

#[cfg(not(loom))]
pub(crate) use std::{
    sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering},
    thread,
};

#[cfg(not(loom))]
pub(crate) use parking_lot::Mutex;

#[cfg(loom)]
pub(crate) use loom::{
    sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering},
    thread,
};

/// Loom's lock in the shape of `parking_lot`'s.
#[cfg(loom)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

#[cfg(loom)]
impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }
    pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
        self.0.lock().expect("a model that panicked has already failed")
    }
}
