//! One worker's bed: a token and a condition variable.
//!
//! Parties: the worker, which alone parks; anybody, who unparks. Protocol: unpark leaves a token;
//! park takes it or waits for it. The token is taken and checked under the lock before waiting, and
//! the unparker passes through the lock after it has left the token, so it cannot notify between
//! the check and the wait.

use crate::sync::{AtomicBool, Condvar, Mutex, Ordering};
use std::time::Instant;

pub(super) struct Parker {
    /// Default ordering `AcqRel`: what the unparker did before is seen after the park.
    token: AtomicBool,
    lock: Mutex<()>,
    condvar: Condvar,
}

impl Parker {
    pub(super) fn new() -> Self {
        Self { token: AtomicBool::new(false), lock: Mutex::new(()), condvar: Condvar::new() }
    }

    pub(super) fn unpark(&self) {
        if self.token.swap(true, Ordering::AcqRel) {
            return; // whoever left it there sees to the rest
        }
        drop(self.lock.lock());
        self.condvar.notify_one();
    }

    pub(super) fn park(&self, limit: Option<Instant>) {
        if self.token.swap(false, Ordering::AcqRel) {
            return;
        }
        let mut guard = self.lock.lock();
        while !self.token.swap(false, Ordering::AcqRel) {
            match limit {
                None => self.condvar.wait(&mut guard),
                Some(limit) => {
                    self.condvar.wait_until(&mut guard, limit);
                    // Woken or timed out: one more look at the token, and up in any case.
                    self.token.swap(false, Ordering::AcqRel);
                    return;
                }
            }
        }
    }
}
