//! One worker's bed: a token and a condition variable.
//!
//! Parties: the worker, which alone parks; anybody, who unparks. Protocol: unpark leaves a token;
//! park takes it or waits for it. The token is taken and checked under the lock before waiting, and
//! the unparker passes through the lock after it has left the token, so it cannot notify between
//! the check and the wait.
//!
//! A worker may also sleep *outside*, in a wait that a bell ends. It says so in the token's place: who
//! leaves the token there finds the word, and rings. The bell outlasts a race: it ends the next wait if
//! it comes before it.

use crate::sync::{AtomicU32, Condvar, Mutex, Ordering};
use std::time::Instant;

/// No token; the worker is awake, or waits for the condition.
const NONE: u32 = 0;
const TOKEN: u32 = 1;
/// No token; the worker is outside.
const OUTSIDE: u32 = 2;

pub(crate) struct Parker {
    /// Default ordering `AcqRel`: what the unparker did before is seen after the park.
    token: AtomicU32,
    lock: Mutex<()>,
    condvar: Condvar,
}

impl Parker {
    pub(crate) fn new() -> Self {
        Self { token: AtomicU32::new(NONE), lock: Mutex::new(()), condvar: Condvar::new() }
    }

    pub(crate) fn unpark(&self, ring: impl FnOnce()) {
        match self.token.swap(TOKEN, Ordering::AcqRel) {
            TOKEN => {} // whoever left it there sees to the rest
            OUTSIDE => ring(),
            _ => {
                drop(self.lock.lock());
                self.condvar.notify_one();
            }
        }
    }

    /// Sleeps in `wait`, which ends when the bell is rung; not at all if there is a token.
    pub(crate) fn park_outside(&self, wait: impl FnOnce()) {
        let slept = self.token.compare_exchange(NONE, OUTSIDE, Ordering::AcqRel, Ordering::Acquire);
        if slept.is_ok() {
            wait();
        }
        self.take();
    }

    /// Whether there was a token.
    fn take(&self) -> bool {
        self.token.swap(NONE, Ordering::AcqRel) == TOKEN
    }

    pub(crate) fn park(&self, limit: Option<Instant>) {
        if self.take() {
            return;
        }
        let mut guard = self.lock.lock();
        while !self.take() {
            match limit {
                None => self.condvar.wait(&mut guard),
                Some(limit) => {
                    self.condvar.wait_until(&mut guard, limit);
                    // Woken or timed out: one more look at the token, and up in any case.
                    self.take();
                    return;
                }
            }
        }
    }
}
