//! What the processes of one configuration have used, for whoever made it.
//!
//! Parties: each process adds what it has used since it last did, at the end of a slice or a wait and
//! when it ends; the maker of the configuration reads. All are counts on which nothing else hangs:
//! `Relaxed`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The sums. Shared by a configuration and its processes.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    reductions: AtomicU64,
    memory_bytes: AtomicU64,
    memory_bytes_peak: AtomicU64,
    spawned: AtomicU64,
    ended: AtomicU64,
}

/// What one process has added so far.
#[derive(Debug, Default)]
pub(crate) struct Told {
    reductions: u64,
    memory_bytes: u64,
}

/// What may be asked for. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Used {
    Fuel,
    Memory,
    MemoryPeak,
    Spawned,
    Alive,
}

impl Used {
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        let all = [Self::Fuel, Self::Memory, Self::MemoryPeak, Self::Spawned, Self::Alive];
        all.get(usize::try_from(number).ok()?).copied()
    }
}

impl Usage {
    pub(crate) fn get(&self, what: Used) -> u64 {
        match what {
            Used::Fuel => {
                self.reductions.load(Relaxed).div_ceil(super::ProcessConfig::FUEL_REDUCTIONS)
            }
            Used::Memory => self.memory_bytes.load(Relaxed),
            Used::MemoryPeak => self.memory_bytes_peak.load(Relaxed),
            Used::Spawned => self.spawned.load(Relaxed),
            Used::Alive => {
                let ended = self.ended.load(Relaxed);
                self.spawned.load(Relaxed).saturating_sub(ended)
            }
        }
    }

    pub(crate) fn begin(&self) {
        self.spawned.fetch_add(1, Relaxed);
    }

    /// A process has these now.
    pub(crate) fn tell(&self, told: &mut Told, reductions: u64, memory_bytes: u64) {
        self.reductions.fetch_add(reductions.saturating_sub(told.reductions), Relaxed);
        let change = memory_bytes.wrapping_sub(told.memory_bytes);
        if change != 0 {
            let now = self.memory_bytes.fetch_add(change, Relaxed).wrapping_add(change);
            self.memory_bytes_peak.fetch_max(now, Relaxed);
        }
        *told = Told { reductions, memory_bytes };
    }

    pub(crate) fn end(&self, told: &mut Told, reductions: u64) {
        self.tell(told, reductions, 0);
        self.ended.fetch_add(1, Relaxed);
    }
}
