//! Linear memories: slots of address space in a few size classes, handed out zeroed.
//!
//! A memory lives in a slot whose size is a class's; growing within the slot costs nothing, growing
//! beyond it moves the memory to a slot of a larger class. Compiled code checks every access
//! against the memory's length (no guard pages), so slots lie side by side and cost no mapping of
//! their own: one mapping a class, reserved when its first slot is asked for.
//!
//! **Invariant: a free slot reads as zeroes.** A slot is cleaned when it is released: the kernel is
//! asked which of its pages exist (`PAGEMAP_SCAN`, one system call) and those are overwritten, so
//! that a warm slot never faults again; with many pages, or on a kernel older than 6.7, the pages
//! are given back instead. Only [`WARM_BYTES_MAX`] stay resident in free slots.
//!
//! Parties: any thread allocates and releases. Free slots are kept in shards, each behind a lock
//! that one worker uses nearly alone; a thread looks into the others' shards before it takes a slot
//! that was never used.

use std::cell::Cell;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

use crate::os;

/// Bytes of a WebAssembly page.
pub const PAGE_BYTES: usize = 64 * 1024;

/// Most bytes of a 32-bit linear memory.
pub const MEMORY_BYTES_MAX: usize = 4 << 30;

/// Resident bytes that free slots may keep, over all classes. Felt, not measured: enough for
/// thousands of short-lived processes, little beside what they use while they live.
const WARM_BYTES_MAX: usize = 128 << 20;

/// A released slot with more resident bytes than this is given back to the system: overwriting
/// would cost more than fresh pages.
const WARM_SLOT_BYTES_MAX: usize = 256 * 1024;

const SLOT_BYTES: [usize; 12] = [
    PAGE_BYTES,
    2 * PAGE_BYTES,
    4 * PAGE_BYTES,
    8 * PAGE_BYTES,
    1 << 20,
    2 << 20,
    4 << 20,
    16 << 20,
    64 << 20,
    256 << 20,
    1 << 30,
    MEMORY_BYTES_MAX,
];

/// Address space of one class; twelve of them leave most of the 128 TiB to others.
const CLASS_BYTES_MAX: usize = 4 << 40;

/// More slots than processes can be.
const CLASS_SLOTS_MAX: usize = 1 << 21;

/// Below this many slots a class is not worth having: out of address space.
const CLASS_SLOTS_MIN: usize = 4;

const SHARDS: usize = 16;

/// Where linear memories come from. One for a runtime; shared by all its threads.
#[derive(Default)]
pub struct MemoryPool {
    classes: [OnceLock<Option<Class>>; SLOT_BYTES.len()],
    /// Resident bytes in free slots. A statistic that steers a choice: no ordering needed.
    warm_bytes: AtomicUsize,
}

/// A memory could not be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "no room for a linear memory of {bytes} bytes: {reason}; end some processes or raise the limit"
)]
pub struct MemoryError {
    bytes: usize,
    reason: &'static str,
}

struct Class {
    base: usize,
    slot_bytes: usize,
    slots: usize,
    /// Slots below this have been handed out at least once.
    fresh: AtomicUsize,
    /// Slots in the shards; lets a thread skip looking through empty ones. A hint: relaxed.
    free: AtomicUsize,
    shards: [CachePadded<Mutex<Vec<FreeSlot>>>; SHARDS],
}

struct FreeSlot {
    index: u32,
    /// Zeroed pages that the slot keeps.
    warm_bytes: u32,
}

/// A slot in use. Must be given back to the pool it came from.
#[derive(Debug)]
pub(crate) struct MemorySlot {
    base: usize,
    class: u8,
}

impl MemorySlot {
    /// Address of byte 0.
    pub(crate) fn base(&self) -> *mut u8 {
        self.base as *mut u8
    }

    fn bytes(&self) -> usize {
        SLOT_BYTES[usize::from(self.class)]
    }
}

impl MemoryPool {
    /// A zeroed slot for a memory of `bytes`.
    pub(crate) fn allocate(&self, bytes: usize) -> Result<MemorySlot, MemoryError> {
        let error = |reason| MemoryError { bytes, reason };
        let class = SLOT_BYTES
            .iter()
            .position(|&slot| slot >= bytes)
            .ok_or_else(|| error("a 32-bit memory has at most 4 GiB"))?;
        let Some(slots) = self.classes[class].get_or_init(|| Class::reserve(SLOT_BYTES[class]))
        else {
            return Err(error("the address space (ulimit -v) is used up"));
        };
        let free = slots.take(&self.warm_bytes).ok_or_else(|| {
            error(if slots.slots < Class::slots_max(slots.slot_bytes) {
                "the address space (ulimit -v) has no room for more of this size"
            } else {
                "every slot of this size class is in use (too many memories of this size)"
            })
        })?;
        let class_index = u8::try_from(class).expect("there are twelve classes");
        Ok(MemorySlot { base: slots.address(free), class: class_index })
    }

    /// Takes a slot back; `used` is the memory's length at the end.
    pub(crate) fn release(&self, slot: MemorySlot, used: usize) {
        let range = slot.base..slot.base + used.min(slot.bytes());
        let keep = self.warm_bytes.load(Ordering::Relaxed) < WARM_BYTES_MAX;
        let warm = if keep { clean(range) } else { give_back(range) };
        self.warm_bytes.fetch_add(warm, Ordering::Relaxed);
        let Some(Some(class)) = self.classes[usize::from(slot.class)].get() else {
            unreachable!("the slot came from this class");
        };
        class.put(&slot, warm);
    }

    /// Makes room for `new` bytes in place of `old`: in the same slot or, moved, in a larger one.
    pub(crate) fn grow(
        &self,
        slot: &mut MemorySlot,
        old: usize,
        new: usize,
    ) -> Result<(), MemoryError> {
        if new <= slot.bytes() {
            return Ok(());
        }
        let larger = self.allocate(new)?;
        os::for_each_present(slot.base..slot.base + old, |present| {
            let offset = present.start - slot.base;
            // SAFETY: both slots are mapped read-write, at least `old` bytes long and disjoint.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    present.start as *const u8,
                    larger.base().wrapping_add(offset),
                    present.len(),
                );
            }
        });
        let smaller = std::mem::replace(slot, larger);
        self.release(smaller, old);
        Ok(())
    }
}

impl Class {
    fn reserve(slot_bytes: usize) -> Option<Self> {
        let mut slots = Self::slots_max(slot_bytes);
        while slots >= CLASS_SLOTS_MIN {
            if let Some(base) = os::reserve(slots * slot_bytes) {
                return Some(Self {
                    base,
                    slot_bytes,
                    slots,
                    fresh: AtomicUsize::new(0),
                    free: AtomicUsize::new(0),
                    shards: Default::default(),
                });
            }
            slots /= 2;
        }
        None
    }

    /// What a class has unless address space is scarce.
    fn slots_max(slot_bytes: usize) -> usize {
        (CLASS_BYTES_MAX / slot_bytes).min(CLASS_SLOTS_MAX)
    }

    fn address(&self, index: u32) -> usize {
        self.base + index as usize * self.slot_bytes
    }

    fn take(&self, warm_bytes: &AtomicUsize) -> Option<u32> {
        if self.free.load(Ordering::Relaxed) > 0
            && let Some(slot) = self.take_free()
        {
            self.free.fetch_sub(1, Ordering::Relaxed);
            warm_bytes.fetch_sub(slot.warm_bytes as usize, Ordering::Relaxed);
            return Some(slot.index);
        }
        let fresh = self.fresh.fetch_add(1, Ordering::Relaxed);
        if fresh < self.slots {
            return u32::try_from(fresh).ok();
        }
        self.fresh.fetch_sub(1, Ordering::Relaxed);
        None
    }

    /// From the caller's own shard, else from another's; the slot used last is the warmest.
    fn take_free(&self) -> Option<FreeSlot> {
        let own = shard();
        (0..SHARDS).find_map(|step| self.shards[(own + step) % SHARDS].lock().pop())
    }

    fn put(&self, slot: &MemorySlot, warm_bytes: usize) {
        let index = u32::try_from((slot.base - self.base) / self.slot_bytes)
            .expect("a class has fewer than 2^32 slots");
        let warm_bytes = u32::try_from(warm_bytes).expect("at most WARM_SLOT_BYTES_MAX");
        self.shards[shard()].lock().push(FreeSlot { index, warm_bytes });
        self.free.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Class {
    fn drop(&mut self) {
        os::unreserve(self.base, self.slots * self.slot_bytes);
    }
}

/// The shard of the calling thread.
fn shard() -> usize {
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

/// Zeroes a slot's pages; returns how many bytes stay resident.
fn clean(range: Range<usize>) -> usize {
    let mut present = 0;
    os::for_each_present(range.clone(), |pages| {
        present += pages.len();
        if present <= WARM_SLOT_BYTES_MAX {
            // SAFETY: the pages belong to the slot, which nobody uses any more.
            unsafe { std::ptr::write_bytes(pages.start as *mut u8, 0, pages.len()) };
        }
    });
    if present <= WARM_SLOT_BYTES_MAX { present } else { give_back(range) }
}

fn give_back(range: Range<usize>) -> usize {
    os::discard(range);
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::mut_from_ref, reason = "the slot is an address that only this test uses")]
    fn bytes(slot: &MemorySlot, len: usize) -> &mut [u8] {
        // SAFETY: the test owns the slot, which is mapped and at least `len` bytes long.
        unsafe { std::slice::from_raw_parts_mut(slot.base(), len) }
    }

    #[test]
    fn a_released_slot_reads_as_zeroes_and_is_reused() {
        let pool = MemoryPool::default();
        for touched in [1, 3, 200] {
            let slot = pool.allocate(16 * PAGE_BYTES).expect("a slot");
            let base = slot.base;
            for page in 0..touched {
                bytes(&slot, 16 * PAGE_BYTES)[page * 4096 + 7] = 0xff;
            }
            pool.release(slot, 16 * PAGE_BYTES);
            let again = pool.allocate(16 * PAGE_BYTES).expect("a slot");
            assert_eq!(again.base, base, "the warm slot comes first");
            assert!(bytes(&again, 16 * PAGE_BYTES).iter().all(|&byte| byte == 0));
            pool.release(again, 16 * PAGE_BYTES);
        }
    }

    #[test]
    fn growing_keeps_contents_and_zeroes_the_rest() {
        let pool = MemoryPool::default();
        let mut slot = pool.allocate(PAGE_BYTES).expect("a slot");
        bytes(&slot, PAGE_BYTES)[PAGE_BYTES - 1] = 42;
        let mut old = PAGE_BYTES;
        for new in [2 * PAGE_BYTES, 40 * PAGE_BYTES, 300 * PAGE_BYTES] {
            pool.grow(&mut slot, old, new).expect("room");
            let now = bytes(&slot, new);
            assert_eq!(now[PAGE_BYTES - 1], 42);
            assert!(now[PAGE_BYTES..].iter().all(|&byte| byte == 0));
            old = new;
        }
        pool.release(slot, old);
    }

    #[test]
    fn more_than_four_gib_is_refused() {
        let error = MemoryPool::default().allocate(MEMORY_BYTES_MAX + 1).expect_err("too large");
        assert!(error.to_string().contains("4 GiB"), "{error}");
    }
}
