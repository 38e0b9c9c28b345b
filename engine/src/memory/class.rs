//! The slots of one size: their address space and the lists of free ones.
//!
//! A slot is in use, in a shard's list (warm: its pages are there), in the cold list (given back to
//! the system), or beyond `fresh` (never used). Shards are locks that one thread uses nearly alone:
//! a thread takes from its own first, then from others', before it takes a cold or a fresh one.

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

use super::pages::{self, BOOKED_BYTES_MAX, Book, Span};
use crate::os;

/// Address space of one class; twelve of them leave most of the 128 TiB to others.
const CLASS_BYTES_MAX: usize = 4 << 40;

/// More slots than processes can be.
const CLASS_SLOTS_MAX: usize = 1 << 21;

/// Below this many slots a class is not worth having: out of address space.
const CLASS_SLOTS_MIN: usize = 4;

const SHARDS: usize = 16;

/// Slots that a thread takes from another's shard at once. By feel: what one ends while the other
/// spawns for some microseconds.
const BATCH: usize = 32;

/// A large slot without a book that has more resident bytes than this when it is released is given
/// back to the system: overwriting would cost more than fresh pages.
const WARM_BYTES_MAX: usize = 256 * 1024;

pub(super) struct Class {
    base: usize,
    slot_shift: u32,
    slots: usize,
    /// A `Book` for each slot; null for classes of large slots.
    books: *mut Book,
    /// Slots below this have been handed out at least once.
    fresh: AtomicUsize,
    cold: Mutex<Vec<u32>>,
    shards: [CachePadded<Shard>; SHARDS],
}

// SAFETY: the books are made of atomics, and used by who owns their slots.
unsafe impl Send for Class {}
// SAFETY: as above.
unsafe impl Sync for Class {}

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

impl Class {
    pub(super) fn reserve(slot_bytes: usize) -> Option<Self> {
        let mut slots = slots_max(slot_bytes);
        let (base, books) = loop {
            if let Some(both) = reserve_both(slots, slot_bytes) {
                break both;
            }
            slots /= 2;
            if slots < CLASS_SLOTS_MIN {
                return None;
            }
        };
        let slot_shift = slot_bytes.trailing_zeros();
        let mut class = Self {
            base,
            slot_shift,
            slots,
            books,
            fresh: AtomicUsize::new(0),
            cold: Mutex::default(),
            shards: Default::default(),
        };
        if !books.is_null() && !pages::register(class.region(), slot_shift, books) {
            // More pools than the handler can know: this one goes without books.
            class.drop_books();
        }
        Some(class)
    }

    /// Whether it has fewer slots than it would if address space were not scarce.
    pub(super) fn is_cut_short(&self) -> bool {
        self.slots < slots_max(1 << self.slot_shift)
    }

    fn region(&self) -> Range<usize> {
        self.base..self.base + (self.slots << self.slot_shift)
    }

    fn drop_books(&mut self) {
        os::unreserve(self.books as usize, self.slots * size_of::<Book>());
        self.books = std::ptr::null_mut();
    }

    fn span(&self, index: u32) -> Span {
        let bytes = 1 << self.slot_shift;
        Span { base: self.base + ((index as usize) << self.slot_shift), bytes }
    }

    fn index(&self, base: usize) -> u32 {
        u32::try_from((base - self.base) >> self.slot_shift)
            .expect("a class has 2^21 slots at most")
    }

    fn book_of(&self, index: u32) -> Option<&Book> {
        // SAFETY: null, or as many books as slots, all-zero memory being a book.
        unsafe {
            self.books.wrapping_add(index as usize).as_ref().filter(|_| !self.books.is_null())
        }
    }

    /// The book of a slot in use, if slots of this size have books.
    pub(super) fn book(&self, base: usize) -> (Option<&Book>, Span) {
        let index = self.index(base);
        (self.book_of(index), self.span(index))
    }

    /// A free slot: its address, and whether it had a tenant whose bytes are still there.
    pub(super) fn take(&self) -> Option<(usize, bool)> {
        let own = &self.shards[shard()];
        if let Some(index) = own.pop().or_else(|| self.take_from_others(own)) {
            return Some((self.span(index).base, true));
        }
        self.take_unused().map(|index| (self.span(index).base, false))
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
    fn take_unused(&self) -> Option<u32> {
        if let Some(index) = self.cold.lock().pop() {
            return Some(index);
        }
        // Relaxed: a number for each taker; nothing is published with it.
        let fresh = self.fresh.fetch_add(1, Ordering::Relaxed);
        if fresh < self.slots {
            return u32::try_from(fresh).ok();
        }
        self.fresh.fetch_sub(1, Ordering::Relaxed);
        None
    }

    /// Takes a slot back, `used` bytes of which its tenant could touch.
    pub(super) fn put(&self, base: usize, used: usize) {
        if self.books.is_null() {
            clean(base..base + used);
        }
        self.shards[shard()].put(self.index(base));
    }

    /// Gives back the pages of what nobody needed since the last call; returns the bytes.
    pub(super) fn trim(&self) -> usize {
        let mut unneeded: Vec<u32> = self.shards.iter().flat_map(|s| s.take_unneeded()).collect();
        unneeded.sort_unstable();
        for run in unneeded.chunk_by(|a, b| a + 1 == *b) {
            let (first, last) = (self.span(run[0]), self.span(run[run.len() - 1]));
            let range = first.base..last.base + last.bytes;
            os::discard(range.clone());
            if !self.books.is_null() && os::guards_pages() {
                os::remove_guard(range);
            }
            run.iter().filter_map(|&index| self.book_of(index)).for_each(Book::forget);
        }
        let bytes = unneeded.len() << self.slot_shift;
        self.cold.lock().append(&mut unneeded);
        bytes
    }
}

impl Drop for Class {
    fn drop(&mut self) {
        if !self.books.is_null() {
            pages::unregister(self.region());
            self.drop_books();
        }
        os::unreserve(self.base, self.slots << self.slot_shift);
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

fn slots_max(slot_bytes: usize) -> usize {
    (CLASS_BYTES_MAX / slot_bytes).min(CLASS_SLOTS_MAX)
}

/// Address space for slots and, if they are small, for their books.
fn reserve_both(slots: usize, slot_bytes: usize) -> Option<(usize, *mut Book)> {
    let base = os::reserve(slots * slot_bytes)?;
    if slot_bytes > BOOKED_BYTES_MAX {
        return Some((base, std::ptr::null_mut()));
    }
    let books = os::reserve(slots * size_of::<Book>());
    if books.is_none() {
        os::unreserve(base, slots * slot_bytes);
    }
    Some((base, books? as *mut Book))
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

/// Zeroes the pages of a range that are there or, if they are many, gives them back.
fn clean(range: Range<usize>) {
    let mut present = 0;
    os::for_each_present(range.clone(), |pages| {
        present += pages.len();
        if present <= WARM_BYTES_MAX {
            // SAFETY: the pages belong to the slot, which nobody uses any more.
            unsafe { std::ptr::write_bytes(pages.start as *mut u8, 0, pages.len()) };
        }
    });
    if present > WARM_BYTES_MAX {
        os::discard(range);
    }
}
