//! What the scheduler counts.
//!
//! Parties: each worker adds to its own padded block, in plain loads and stores; anybody may read.
//! Everybody who is no worker shares one block and pays for a locked addition. Sums are of
//! different moments: good for graphs and for tests that wait until all is quiet, not for
//! invariants in between.

use crate::{
    End,
    sync::{AtomicU64, Ordering},
};
use crossbeam_utils::CachePadded;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// A reading of all counters, summed over all workers.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counters { $($(#[$doc])* pub $name: u64,)* }

        /// One party's block.
        #[derive(Default)]
        pub(crate) struct Block { $(pub(crate) $name: Counter,)* }

        impl Block {
            fn add_to(&self, sum: &mut Counters) {
                // Relaxed: counters order nothing.
                $(sum.$name += self.$name.0.load(Ordering::Relaxed);)*
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
    /// Batches of processes taken from another worker.
    steals,
    /// Times a worker went to sleep.
    parks,
    /// Messages accepted by a mailbox.
    sent,
    /// Messages nobody received: left when their process ended.
    dropped,
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

impl Counters {
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
