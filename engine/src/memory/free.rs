//! Lists of the free slots of one size.
//!
//! A slot is in use, in a shard's list (warm: its pages are there), in the cold list (given back to
//! the system), or beyond `fresh` (never used). Shards are locks that one thread uses nearly alone:
//! a thread takes from its own first, then from others', before it takes a cold or a fresh one.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

pub(super) const SHARDS: usize = 16;

/// Slots that a thread takes from another's shard at once. By feel: what one ends while the other
/// spawns for some microseconds.
const BATCH: usize = 32;

/// Who keeps account of which slots are free. Knows their numbers and nothing else of them.
#[derive(Default)]
pub(super) struct FreeSlots {
    /// Slots below this have been handed out at least once.
    fresh: AtomicUsize,
    cold: Mutex<Vec<u32>>,
    shards: [CachePadded<Shard>; SHARDS],
}

/// A slot that was free.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub(super) index: u32,
    /// It had a tenant, and its pages are as that left them.
    pub(super) used: bool,
}

#[derive(Default)]
struct Shard {
    warm: Mutex<Warm>,
    /// Its length: lets others pass by an empty one. A hint: relaxed.
    len: AtomicUsize,
}

#[derive(Default)]
struct Warm {
    /// The slot used last comes last: it is the warmest.
    slots: Vec<u32>,
    /// The shortest the list has been since the last trim: so many slots at its beginning nobody
    /// needed.
    unneeded: usize,
}

impl FreeSlots {
    /// A free slot, or the next of the first `slots` ones.
    pub(super) fn take(&self, slots: usize) -> Option<Taken> {
        let own = &self.shards[shard()];
        if let Some(index) = own.pop().or_else(|| self.take_from_others(own)) {
            return Some(Taken { index, used: true });
        }
        self.take_unused(slots).map(|index| Taken { index, used: false })
    }

    #[cold]
    fn take_from_others(&self, own: &Shard) -> Option<u32> {
        // Relaxed: a hint.
        let full = self.shards.iter().find(|shard| shard.len.load(Ordering::Relaxed) > 0)?;
        let mut batch = full.take_half();
        let index = batch.pop();
        own.put_all(&batch);
        index
    }

    #[cold]
    fn take_unused(&self, slots: usize) -> Option<u32> {
        if let Some(index) = self.cold.lock().pop() {
            return Some(index);
        }
        // Relaxed: a number for each taker; nothing is published with it.
        let fresh = self.fresh.fetch_add(1, Ordering::Relaxed);
        if fresh < slots {
            return u32::try_from(fresh).ok();
        }
        self.fresh.fetch_sub(1, Ordering::Relaxed);
        None
    }

    /// Takes a slot back as it is.
    pub(super) fn put(&self, index: u32) {
        self.shards[shard()].put(index);
    }

    /// Takes slots back whose pages were given to the system.
    pub(super) fn put_cold(&self, slots: &[u32]) {
        self.cold.lock().extend_from_slice(slots);
    }

    /// How many have been in use, of those that were handed out one after the other.
    pub(super) fn fresh(&self) -> usize {
        // Relaxed: a hint.
        self.fresh.load(Ordering::Relaxed)
    }

    /// The slots that nobody needed since the last call, in ascending order; the caller owns them.
    pub(super) fn take_unneeded(&self) -> Vec<u32> {
        let mut unneeded: Vec<u32> = self.shards.iter().flat_map(|s| s.take_unneeded()).collect();
        unneeded.sort_unstable();
        unneeded
    }
}

impl Shard {
    fn pop(&self) -> Option<u32> {
        // Relaxed: a hint, and this thread's own shard.
        if self.len.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut warm = self.warm.lock();
        let slot = warm.slots.pop();
        warm.unneeded = warm.unneeded.min(warm.slots.len());
        self.len.store(warm.slots.len(), Ordering::Relaxed);
        slot
    }

    fn put(&self, slot: u32) {
        let mut warm = self.warm.lock();
        warm.slots.push(slot);
        self.len.store(warm.slots.len(), Ordering::Relaxed);
    }

    fn put_all(&self, slots: &[u32]) {
        let mut warm = self.warm.lock();
        warm.slots.extend_from_slice(slots);
        self.len.store(warm.slots.len(), Ordering::Relaxed);
    }

    /// The newer half, but not more than a batch.
    fn take_half(&self) -> Vec<u32> {
        let mut warm = self.warm.lock();
        let from = warm.slots.len() - warm.slots.len().div_ceil(2).min(BATCH);
        let half = warm.slots.split_off(from);
        warm.unneeded = warm.unneeded.min(from);
        self.len.store(from, Ordering::Relaxed);
        half
    }

    fn take_unneeded(&self) -> Vec<u32> {
        let mut warm = self.warm.lock();
        let unneeded = warm.unneeded;
        let taken: Vec<u32> = warm.slots.drain(..unneeded).collect();
        warm.unneeded = warm.slots.len();
        let kept = warm.unneeded;
        warm.slots.shrink_to(2 * kept);
        self.len.store(warm.unneeded, Ordering::Relaxed);
        taken
    }
}

/// The shard of the calling thread.
pub(super) fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    SHARD.with(|shard| {
        if shard.get() == usize::MAX {
            // A number for each thread; nothing is published with it.
            shard.set(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        shard.get()
    })
}
