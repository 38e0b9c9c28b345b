//! Free slots: who may build a process where.
//!
//! Parties: each worker has a `Cache` of its own, last in first out, so that the slot whose stack
//! is still in the cache is used next; the `SlotPool` behind them is shared. Protocol: a slot index
//! is in exactly one cache, in the shared list, in a cache's fresh range, beyond `used`, or alive.
//! A worker that has too many gives half back, one that has none takes a batch, or opens slots
//! never used before, whose guards are made one by one as they are first taken.

use crate::{
    Program,
    arena::{Arena, ArenaError},
    counters::Peak,
    pid::Pid,
    slot::Slot,
    sync::{AtomicU32, Mutex, Ordering},
};
use std::{marker::PhantomData, ops::Range};

/// The most free slots a worker keeps, and how many fresh ones it opens at once. By feel: a batch
/// should amortise the lock to less than a nanosecond a process; more would only hide slots from
/// other workers.
const CACHE_MAX: usize = 256;
const FRESH_BATCH: u32 = 32;

/// Why a process could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// Every slot is taken.
    #[error(
        "cannot spawn a process: all {limit} are in use; raise processes_max (--processes-max)"
    )]
    TooManyProcesses {
        /// The slots this runtime has.
        limit: usize,
    },
    /// The system has no memory or mapping left for the stack's guard.
    #[error("cannot spawn a process: {0}")]
    Memory(#[from] ArenaError),
    /// The program asked for more room than a slot has.
    #[error(
        "cannot spawn a process: {asked} bytes beside the stack were asked for, at most {limit} can be had"
    )]
    ExtraTooLarge {
        /// What `spawn` was asked for.
        asked: usize,
        /// What it can give.
        limit: usize,
    },
    /// The runtime is ending.
    #[error("cannot spawn a process: the runtime is shutting down")]
    ShuttingDown,
}

/// All slots of a runtime. Owns the arena.
pub(crate) struct SlotPool<P: Program> {
    arena: Arena,
    /// Slots below have been opened: their headers may be looked at. Default ordering `Relaxed`: it
    /// only grows, and a pid travels to its user by something stronger.
    used: AtomicU32,
    free: Mutex<Vec<u32>>,
    cache_max: usize,
    peak: Peak,
    marker: PhantomData<fn() -> P>,
}

/// A worker's own slots.
#[derive(Default)]
pub(crate) struct Cache {
    free: Vec<u32>,
    fresh: Range<u32>,
}

impl<P: Program> SlotPool<P> {
    /// How many free slots each worker may hold back; small for small runtimes, so that little is
    /// held back.
    pub(crate) fn cache_max(processes_max: usize, workers: usize) -> usize {
        (processes_max / (workers * 8)).clamp(1, CACHE_MAX)
    }

    pub(crate) fn new(arena: Arena, cache_max: usize) -> Self {
        Self {
            arena,
            used: AtomicU32::new(0),
            free: Mutex::new(Vec::new()),
            cache_max,
            peak: Peak::default(),
            marker: PhantomData,
        }
    }

    fn slot(&self, index: u32) -> Slot<P> {
        // SAFETY: the arena is ours, was reserved for this `P` and is dropped with the pool, which
        // workers and handles keep alive.
        unsafe { Slot::at(&self.arena, index) }
    }

    /// The slot a pid claims; the caller compares generations.
    #[inline]
    pub(crate) fn lookup(&self, pid: Pid) -> Option<Slot<P>> {
        let index = pid.slot_index()?;
        // Bounded by what was ever opened, so that guessing costs the kernel no page tables.
        (index < self.used.load(Ordering::Relaxed)).then(|| self.slot(index))
    }

    /// Every slot ever opened.
    pub(crate) fn opened(&self) -> impl Iterator<Item = Slot<P>> {
        (0..self.used.load(Ordering::Relaxed)).map(|index| self.slot(index))
    }

    pub(crate) fn peak(&self) -> &Peak {
        &self.peak
    }

    /// A worker's way to a free slot.
    #[inline]
    pub(crate) fn take(&self, cache: &mut Cache) -> Result<Slot<P>, SpawnError> {
        match cache.free.pop() {
            Some(index) => Ok(self.slot(index)),
            None => self.take_slow(cache),
        }
    }

    #[cold]
    fn take_slow(&self, cache: &mut Cache) -> Result<Slot<P>, SpawnError> {
        if cache.fresh.is_empty() {
            let mut free = self.free.lock();
            let from = free.len().saturating_sub(self.cache_max.div_ceil(2));
            cache.free.extend(free.drain(from..));
            drop(free);
            if let Some(index) = cache.free.pop() {
                self.peak.mark(0);
                return Ok(self.slot(index));
            }
            cache.fresh = self.open(FRESH_BATCH.min(self.cache_max as u32))?;
        }
        let index = cache.fresh.start;
        let slot = self.settle(index)?;
        cache.fresh.start += 1;
        Ok(slot)
    }

    /// A worker's way back.
    #[inline]
    pub(crate) fn give(&self, cache: &mut Cache, index: u32) {
        if cache.free.len() >= self.cache_max {
            self.spill(cache);
        }
        cache.free.push(index);
    }

    #[cold]
    fn spill(&self, cache: &mut Cache) {
        // The oldest go: the newest are warm.
        let half = cache.free.len().div_ceil(2);
        self.free.lock().extend(cache.free.drain(..half));
    }

    /// The way of everybody else.
    pub(crate) fn take_shared(&self) -> Result<Slot<P>, SpawnError> {
        if let Some(index) = self.free.lock().pop() {
            self.peak.mark(0);
            return Ok(self.slot(index));
        }
        let index = self.open(1)?.start;
        // A guard that cannot be made loses one slot never used; the system is out of mappings
        // anyway.
        self.settle(index)
    }

    pub(crate) fn give_shared(&self, index: u32) {
        self.free.lock().push(index);
    }

    fn open(&self, batch: u32) -> Result<Range<u32>, SpawnError> {
        let limit = self.arena.slots() as u32;
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                (used < limit).then(|| used.saturating_add(batch).min(limit))
            })
            .map(|start| start..start.saturating_add(batch).min(limit))
            .map_err(|_| SpawnError::TooManyProcesses { limit: limit as usize })
    }

    fn settle(&self, index: u32) -> Result<Slot<P>, SpawnError> {
        self.arena.guard_slot(index)?;
        self.peak.mark(index);
        let slot = self.slot(index);
        slot.settle(&self.arena, index);
        Ok(slot)
    }
}
