//! Used envelopes, so that a message costs no allocation.
//!
//! Parties: each worker has a `Kept` of its own; behind them all there is one `Pool`. Whoever only
//! receives on one worker fills it up, and whoever only sends on another empties it, so they pass
//! envelopes on by the batch. There is a bound to both: what is beyond goes back to the heap.

use crate::{
    mailbox::Envelope,
    sync::{AtomicUsize, Mutex, Ordering},
};
use std::cell::RefCell;

/// Envelopes that change hands at once. By feel: enough to make the lock cheap.
const BATCH: usize = 128;
/// The most a worker keeps.
const KEPT_MAX: usize = 2 * BATCH;
/// The most batches between the workers. By feel: 8,192 envelopes, about a megabyte.
const BATCHES_MAX: usize = 64;

/// What all workers share.
pub(crate) struct Pool<M> {
    batches: Mutex<Vec<Vec<Envelope<M>>>>,
    /// How many there are: lets workers pass by an empty pool. A hint: `Relaxed`.
    len: AtomicUsize,
}

/// A worker's own.
pub(crate) struct Kept<M>(RefCell<Vec<Envelope<M>>>);

impl<M> Pool<M> {
    pub(crate) fn new() -> Self {
        Self { batches: Mutex::new(Vec::new()), len: AtomicUsize::new(0) }
    }

    fn take(&self) -> Option<Vec<Envelope<M>>> {
        if self.len.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut batches = self.batches.lock();
        let batch = batches.pop();
        self.len.store(batches.len(), Ordering::Relaxed);
        batch
    }

    /// Gives back what does not fit.
    fn put(&self, batch: Vec<Envelope<M>>) -> Option<Vec<Envelope<M>>> {
        let mut batches = self.batches.lock();
        if batches.len() >= BATCHES_MAX {
            return Some(batch);
        }
        batches.push(batch);
        self.len.store(batches.len(), Ordering::Relaxed);
        None
    }
}

impl<M> Kept<M> {
    pub(crate) fn new() -> Self {
        Self(RefCell::new(Vec::new()))
    }

    /// The one that was put last, with what it held then.
    #[inline]
    pub(crate) fn take(&self, pool: &Pool<M>) -> Option<Envelope<M>> {
        let kept = self.0.borrow_mut().pop();
        kept.or_else(|| self.refill(pool))
    }

    #[inline(never)]
    fn refill(&self, pool: &Pool<M>) -> Option<Envelope<M>> {
        let mut batch = pool.take()?;
        let envelope = batch.pop();
        *self.0.borrow_mut() = batch;
        envelope
    }

    #[inline]
    pub(crate) fn put(&self, envelope: Envelope<M>, pool: &Pool<M>) {
        let mut kept = self.0.borrow_mut();
        kept.push(envelope);
        if kept.len() >= KEPT_MAX {
            let batch = kept.drain(..BATCH).collect();
            drop(kept);
            // Envelopes are dropped after the borrow has ended: their destructors are the program's.
            let _surplus = pool.put(batch);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn envelopes_pass_from_who_receives_to_who_sends_and_not_without_bound() {
        let pool = Pool::new();
        let (receiver, sender) = (Kept::new(), Kept::new());
        let count = (BATCHES_MAX + 10) * BATCH;
        (0..count).for_each(|number| receiver.put(Envelope::new(number), &pool));
        let passed_on = std::iter::from_fn(|| sender.take(&pool)).count();
        assert_eq!(passed_on, BATCHES_MAX * BATCH);
        let kept = std::iter::from_fn(|| receiver.take(&pool)).count();
        assert!((1..KEPT_MAX).contains(&kept), "{kept}");
    }
}
