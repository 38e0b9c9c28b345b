//! What the scheduler counts.
//!
//! Parties: each worker adds to its own padded block, in plain loads and stores; anybody may read.
//! Everybody who is no worker shares one block and pays for a locked addition. Sums are of
//! different moments: good for graphs and for tests that wait until all is quiet, not for
//! invariants in between.
//!
//! **The most that were alive at once** is sampled where a maximum can be: right before an end, if
//! slots have come into use since the last look. So spawning costs nothing, ending one load of a
//! word that rarely changes. The result is never too high. It is exact with one worker; with more
//! it may miss those that live in slots that other workers kept free at the last look, at most what
//! their caches hold (`pool.rs`), and one in `MARK_EVERY` when there are very many.

use crate::{
    End, Program, Worker,
    sync::{AtomicBool, AtomicU64, Ordering},
};
use crossbeam_utils::CachePadded;

/// Counters that the program has for itself, and that the scheduler only adds up.
pub const OWN_COUNTERS: usize = 24;

/// Slots below this are all marked when they come into use, beyond it one in `MARK_EVERY`: a sample
/// reads every worker's block, and among so many a few do not show. By feel.
const MARK_ALL_BELOW: u32 = 4096;
const MARK_EVERY: u32 = 32;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// A reading of counters: of one party, or summed over all.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
            /// What the program counts for itself: see [`Worker::count`].
            pub own: [u64; OWN_COUNTERS],
        }

        /// One party's block.
        #[derive(Default)]
        pub(crate) struct Block {
            $(pub(crate) $name: Counter,)*
            own: [Counter; OWN_COUNTERS],
        }

        impl Block {
            fn add_to(&self, sum: &mut Counters) {
                // Relaxed: counters order nothing.
                $(sum.$name += self.$name.0.load(Ordering::Relaxed);)*
                for (sum, own) in sum.own.iter_mut().zip(&self.own) {
                    *sum += own.0.load(Ordering::Relaxed);
                }
            }
        }
    };
}

counters! {
    /// Processes made.
    spawned,
    /// Bodies that returned.
    returned,
    /// Bodies that called `exit`.
    exited,
    /// Bodies that a signal handler led away.
    trapped,
    /// Processes that were killed.
    killed,
    /// Bodies that panicked.
    panicked,
    /// Processes that the shutdown ended.
    shut_down,
    /// Times a fiber was resumed.
    switches,
    /// Slices that were used up: the body had to make room for others.
    preempted,
    /// Batches of processes taken from another worker.
    steals,
    /// Times a worker went to sleep.
    parks,
    /// Messages accepted by a mailbox.
    sent,
    /// Messages taken out of a mailbox by its owner.
    received,
    /// Messages nobody received: left when their process ended.
    dropped,
    /// Messages to processes that did not exist: no mailbox accepted them.
    refused,
    /// Timers that fired.
    timers_fired,
}

#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// The owner of the block adds.
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        // Relaxed, and no locked addition: only the owner writes.
        self.0.store(self.0.load(Ordering::Relaxed) + n, Ordering::Relaxed);
    }

    /// Anybody adds to the shared block.
    pub(crate) fn add_shared(&self, n: u64) {
        // Relaxed: counters order nothing.
        self.0.fetch_add(n, Ordering::Relaxed);
    }
}

impl Block {
    fn ends(&self) -> impl Iterator<Item = &Counter> {
        [&self.returned, &self.exited, &self.trapped, &self.killed, &self.panicked, &self.shut_down]
            .into_iter()
    }

    /// Counts an end by its kind.
    pub(crate) fn ended(&self, how: &End) {
        match how {
            End::Returned => &self.returned,
            End::Exited => &self.exited,
            End::Trapped => &self.trapped,
            End::Killed => &self.killed,
            End::Panicked(_) => &self.panicked,
            End::Shutdown => &self.shut_down,
        }
        .add(1);
    }
}

/// The most processes that were alive at once.
#[derive(Default)]
pub(crate) struct Peak {
    /// Slots have come into use since the last look. Default ordering `Relaxed`, as everything in
    /// this file: a look at the wrong moment sees a number that is too low.
    due: AtomicBool,
    alive: AtomicU64,
}

impl Peak {
    /// Somebody takes a slot that was not in use just before, or a batch of such.
    #[cold]
    pub(crate) fn mark(&self, index: u32) {
        let counts = index < MARK_ALL_BELOW || index.is_multiple_of(MARK_EVERY);
        // Looks first: while all workers spawn, nobody writes the line that they share.
        if counts && !self.due.load(Ordering::Relaxed) {
            self.due.store(true, Ordering::Relaxed);
        }
    }

    /// A process is about to be counted as ended.
    #[inline]
    pub(crate) fn look(&self, blocks: &[CachePadded<Block>]) {
        if self.due.load(Ordering::Relaxed) {
            self.sample(blocks);
        }
    }

    #[cold]
    fn sample(&self, blocks: &[CachePadded<Block>]) {
        self.due.store(false, Ordering::Relaxed);
        // In this order: who is counted as spawned and already as ended makes the result too low,
        // and nothing makes it too high.
        let read = |counter: &Counter| counter.0.load(Ordering::Relaxed);
        let spawned: u64 = blocks.iter().map(|block| read(&block.spawned)).sum();
        let ended: u64 = blocks.iter().map(|block| block.ends().map(read).sum::<u64>()).sum();
        self.alive.fetch_max(spawned.saturating_sub(ended), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.alive.load(Ordering::Relaxed)
    }
}

impl<P: Program> Worker<'_, P> {
    /// Adds one to a counter of the program's own: [`Counters::own`] of this worker.
    ///
    /// # Panics
    /// If there is no such counter: they are [`OWN_COUNTERS`].
    #[inline]
    pub fn count(&self, own: usize) {
        self.handle().shared().counters[self.id()].own[own].add(1);
    }
}

impl Counters {
    pub(crate) fn of(block: &Block) -> Self {
        let mut reading = Self::default();
        block.add_to(&mut reading);
        reading
    }

    pub(crate) fn sum<'a>(blocks: impl Iterator<Item = &'a CachePadded<Block>>) -> Self {
        let mut sum = Self::default();
        blocks.for_each(|block| block.add_to(&mut sum));
        sum
    }

    /// Processes that have ended, in whatever way.
    pub fn ended(&self) -> u64 {
        self.returned + self.exited + self.trapped + self.killed + self.panicked + self.shut_down
    }
}
