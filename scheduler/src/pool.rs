//! Free slots: who may build a process where.
//!
//! Parties: each worker has a `Cache` of its own, last in first out, so that the slot whose stack
//! is still in the cache is used next; the `SlotPool` behind them is shared. Protocol: a slot index
//! is in exactly one cache, in the shared list, in the cold list, in a cache's fresh range, beyond
//! `used`, or alive. A worker that has too many gives half back, one that has none takes a batch,
//! or a cold slot, or opens slots never used before, whose guards are made one by one as they are
//! first taken.
//!
//! What of the shared list nobody needed between two calls of `trim` becomes cold: its memory goes
//! back to the system, and its generation is kept in the list. A cold slot reads as zero, that is
//! as free with a closed mailbox, which is what late observers may find.

use crate::{
    Program,
    arena::{Arena, ArenaError},
    counters::Peak,
    pid::Pid,
    slot::Slot,
    sync::{AtomicU32, Mutex, Ordering},
};
use std::{io, marker::PhantomData, ops::Range, vec};

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
    /// The system has no memory or mapping left for a stack outside of the slots.
    #[error(
        "cannot spawn a process: no memory for its stack ({0}); check `ulimit -v`, vm.max_map_count and \
         the container's memory limit, or ask for a smaller stack"
    )]
    Stack(io::Error),
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
    free: Mutex<Shared>,
    cache_max: usize,
    peak: Peak,
    marker: PhantomData<fn() -> P>,
}

/// The list that all share.
#[derive(Default)]
struct Shared {
    /// Those given last come last.
    warm: Vec<u32>,
    /// The shortest `warm` has been since the last `trim`: so many at its beginning nobody needed.
    unneeded: usize,
    /// With their next generations.
    cold: Vec<(u32, u32)>,
}

impl Shared {
    fn take(&mut self, most: usize) -> vec::Drain<'_, u32> {
        let from = self.warm.len().saturating_sub(most);
        self.unneeded = self.unneeded.min(from);
        self.warm.drain(from..)
    }
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
            free: Mutex::default(),
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
            cache.free.extend(free.take(self.cache_max.div_ceil(2)));
            let cold = if cache.free.is_empty() { free.cold.pop() } else { None };
            drop(free);
            if let Some(index) = cache.free.pop() {
                self.peak.mark(0);
                return Ok(self.slot(index));
            }
            if let Some((index, generation)) = cold {
                return self.settle(index, generation);
            }
            cache.fresh = self.open(FRESH_BATCH.min(self.cache_max as u32))?;
        }
        let index = cache.fresh.start;
        let slot = self.settle(index, 0)?;
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
        self.free.lock().warm.extend(cache.free.drain(..half));
    }

    /// Gives the memory of slots back that nobody has needed since the last call; returns how many
    /// remain in the shared list.
    pub(crate) fn trim(&self) -> usize {
        let mut free = self.free.lock();
        let unneeded = free.unneeded;
        let mut unneeded: Vec<u32> = free.warm.drain(..unneeded).collect();
        free.unneeded = free.warm.len();
        let remain = free.unneeded;
        free.warm.shrink_to(2 * remain);
        drop(free);
        unneeded.sort_unstable();
        let cold: Vec<_> =
            unneeded.iter().map(|&index| (index, self.slot(index).desert())).collect();
        for run in unneeded.chunk_by(|a, b| a + 1 == *b) {
            self.arena.discard(run[0], run.len());
        }
        self.free.lock().cold.extend(cold);
        remain
    }

    /// The way of everybody else.
    pub(crate) fn take_shared(&self) -> Result<Slot<P>, SpawnError> {
        let mut free = self.free.lock();
        if let Some(index) = free.take(1).next() {
            self.peak.mark(0);
            return Ok(self.slot(index));
        }
        let cold = free.cold.pop();
        drop(free);
        let (index, generation) = match cold {
            Some(cold) => cold,
            None => (self.open(1)?.start, 0),
        };
        // A guard that cannot be made loses one slot never used; the system is out of mappings
        // anyway.
        self.settle(index, generation)
    }

    pub(crate) fn give_shared(&self, index: u32) {
        self.free.lock().warm.push(index);
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

    fn settle(&self, index: u32, generation: u32) -> Result<Slot<P>, SpawnError> {
        self.arena.guard_slot(index)?;
        self.peak.mark(index);
        let slot = self.slot(index);
        slot.settle(&self.arena, index, generation);
        Ok(slot)
    }
}
