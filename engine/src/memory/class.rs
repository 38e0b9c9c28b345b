//! The slots of one size, side by side, for dense memories.

use std::ops::Range;

use super::free::{FreeSlots, Taken};
use super::pages::{self, BOOKED_BYTES_MAX, Book, Span};
use crate::os;

/// Address space of one class; twelve of them leave most of the 128 TiB to others.
const CLASS_BYTES_MAX: usize = 4 << 40;

/// More slots than processes can be.
const CLASS_SLOTS_MAX: usize = 1 << 21;

/// Below this many slots a class is not worth having: out of address space.
const CLASS_SLOTS_MIN: usize = 4;

/// A large slot without a book that has more resident bytes than this when it is released is given
/// back to the system: overwriting would cost more than fresh pages.
const WARM_BYTES_MAX: usize = 256 * 1024;

pub(super) struct Class {
    base: usize,
    slot_shift: u32,
    slots: usize,
    /// A `Book` for each slot; null for classes of large slots.
    books: *mut Book,
    free: FreeSlots,
}

// SAFETY: the books are made of atomics, and used by who owns their slots.
unsafe impl Send for Class {}
// SAFETY: as above.
unsafe impl Sync for Class {}

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
        let mut class = Self { base, slot_shift, slots, books, free: FreeSlots::default() };
        if !books.is_null() && !pages::register(class.region(), slot_bytes, slot_bytes, books) {
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
        let Taken { index, used } = self.free.take(self.slots)?;
        Some((self.span(index).base, used))
    }

    /// Takes a slot back, `used` bytes of which its tenant could touch.
    pub(super) fn put(&self, base: usize, used: usize) {
        if self.books.is_null() {
            clean(base..base + used);
        }
        self.free.put(self.index(base));
    }

    /// Gives back the pages of what nobody needed since the last call; returns the bytes.
    pub(super) fn trim(&self) -> usize {
        let unneeded = self.free.take_unneeded();
        for run in unneeded.chunk_by(|a, b| a + 1 == *b) {
            let (first, last) = (self.span(run[0]), self.span(run[run.len() - 1]));
            let range = first.base..last.base + last.bytes;
            os::discard(range.clone());
            if !self.books.is_null() && os::guards_pages() {
                os::remove_guard(range);
            }
            run.iter().filter_map(|&index| self.book_of(index)).for_each(Book::forget);
        }
        self.free.put_cold(&unneeded);
        unneeded.len() << self.slot_shift
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

/// Zeroes the pages of a range that are there or, if they are many, gives them back.
pub(super) fn clean(range: Range<usize>) {
    let mut present = 0;
    let all_seen = os::for_each_present_while(range.clone(), |pages| {
        present += pages.len();
        if present > WARM_BYTES_MAX {
            return false;
        }
        // SAFETY: the pages belong to the slot, which nobody uses any more.
        unsafe { std::ptr::write_bytes(pages.start as *mut u8, 0, pages.len()) };
        true
    });
    if !all_seen {
        os::discard(range);
    }
}
