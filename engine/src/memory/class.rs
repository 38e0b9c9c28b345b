//! The slots of one size, side by side, for dense memories.
//!
//! **Fence.** The page behind a memory's last one faults, where the system can mark single pages. So
//! compiled code need not compare where an access *ends*: one that begins within the memory and reaches
//! less than a page beyond its address is either inside or on the fence. It then compares the
//! bare index with the length: no addition that might overflow, and one comparison for all fields of
//! a structure. A slot's stride has room for the fence of the largest memory.

use std::num::NonZero;
use std::ops::Range;

use super::free::{FreeSlots, Taken};
use super::pages::{self, BOOKED_BYTES_MAX, Book, Open, Span};
use crate::data::InitialData;
use crate::os::{self, OS_PAGE_BYTES};

/// Bytes behind each dense memory that fault when touched; 0 where the system cannot mark pages.
/// Decides what compiled code leaves out, so it never changes while a program runs.
pub(crate) fn fence_bytes() -> usize {
    if os::guards_pages() { OS_PAGE_BYTES } else { 0 }
}

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
    /// From slot to slot.
    stride: usize,
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
    pub(super) fn reserve(stride: usize) -> Option<Self> {
        let mut slots = slots_max(stride);
        let (base, books) = loop {
            if let Some(both) = reserve_both(slots, stride) {
                break both;
            }
            slots /= 2;
            if slots < CLASS_SLOTS_MIN {
                return None;
            }
        };
        let mut class = Self { base, stride, slots, books, free: FreeSlots::default() };
        if !books.is_null() && !pages::register(class.region(), stride, stride, books) {
            // More pools than the handler can know: this one goes without books.
            class.drop_books();
        }
        Some(class)
    }

    /// Whether it has fewer slots than it would if address space were not scarce.
    pub(super) fn is_cut_short(&self) -> bool {
        self.slots < slots_max(self.stride)
    }

    fn region(&self) -> Range<usize> {
        self.base..self.base + self.slots * self.stride
    }

    fn drop_books(&mut self) {
        os::unreserve(self.books as usize, self.slots * size_of::<Book>());
        self.books = std::ptr::null_mut();
    }

    fn span(&self, index: u32) -> Span {
        Span { base: self.base + index as usize * self.stride, bytes: self.stride }
    }

    fn book_of(&self, index: u32) -> Option<&Book> {
        // SAFETY: null, or as many books as slots, all-zero memory being a book.
        unsafe {
            self.books.wrapping_add(index as usize).as_ref().filter(|_| !self.books.is_null())
        }
    }

    /// The book of a slot in use, if slots of this size have books.
    pub(super) fn book(&self, index: u32) -> (Option<&Book>, Span) {
        (self.book_of(index), self.span(index))
    }

    /// A free slot; to be prepared before it is used.
    pub(super) fn take(&self) -> Option<Taken> {
        self.free.take(self.slots)
    }

    /// Makes a slot that was taken a new memory, with a fence behind it: its address. `None` if the
    /// system refuses; the slot is free then. `data` must live until it is released.
    pub(super) fn prepare(
        &self,
        taken: Taken,
        bytes: usize,
        data: Option<&InitialData>,
    ) -> Option<NonZero<usize>> {
        let Taken { index, used } = taken;
        let span = self.span(index);
        let prepared = match self.book_of(index) {
            Some(book) => book.prepare(span, used, data, open(span, bytes)),
            None => {
                let fenced = self.move_fence(span, None, bytes);
                // SAFETY: slots without books are zeroed when they are released; it is ours, and
                // the image checks that its data fit the memory that it asks for.
                data.filter(|_| fenced).inspect(|data| unsafe { data.place_all(span.memory()) });
                fenced
            }
        };
        if !prepared {
            self.free.put(index);
        }
        NonZero::new(span.base).filter(|_| prepared)
    }

    /// Owner: the memory grows within its slot. False if the system refuses.
    pub(super) fn grow(&self, index: u32, old: usize, new: usize) -> bool {
        let span = self.span(index);
        match self.book_of(index) {
            _ if fence_bytes() == 0 => true,
            Some(book) => book.extend(span, old / OS_PAGE_BYTES, open(span, new)),
            None => self.move_fence(span, Some(old), new),
        }
    }

    /// The fence of a slot without a book.
    fn move_fence(&self, span: Span, old: Option<usize>, new: usize) -> bool {
        let fence = fence_bytes();
        if fence == 0 || old == Some(new) {
            return true;
        }
        let end = span.base + new;
        match old {
            Some(old) => pages::move_fence(span.base + old..end, fence),
            None => os::install_guard(end..end + fence),
        }
    }

    /// Takes a slot back, `used` bytes of which its tenant could touch.
    pub(super) fn put(&self, index: u32, used: usize) {
        if self.books.is_null() {
            let span = self.span(index);
            clean(span.base..span.base + used);
            // All of it: the memory may have shed its end, and the fence did not move with it.
            if fence_bytes() > 0 && !os::remove_guard(span.whole()) {
                // The next tenant would find the fence in its memory: nobody may have the slot.
                return;
            }
        }
        self.free.put(index);
    }

    /// Gives back the pages of what nobody needed since the last call; returns the bytes.
    pub(super) fn trim(&self) -> usize {
        let unneeded = self.free.take_unneeded();
        for run in unneeded.chunk_by(|a, b| a + 1 == *b) {
            let (first, last) = (self.span(run[0]), self.span(run[run.len() - 1]));
            let range = first.base..last.base + last.bytes;
            os::discard(range.clone());
            if !os::guards_pages() || os::remove_guard(range) {
                run.iter().filter_map(|&index| self.book_of(index)).for_each(Book::forget);
                self.free.put_cold(run);
                continue;
            }
            // Some marks may be there yet: they are empty, and not as if nobody had had them.
            run.iter().filter_map(|&index| self.book_of(index)).for_each(Book::doubt);
            run.iter().for_each(|&index| self.free.put(index));
        }
        unneeded.len() * self.stride
    }
}

impl Drop for Class {
    fn drop(&mut self) {
        if !self.books.is_null() {
            pages::unregister(self.region());
            self.drop_books();
        }
        os::unreserve(self.base, self.slots * self.stride);
    }
}

/// What a memory of `bytes` may touch of its slot.
fn open(span: Span, bytes: usize) -> Open {
    match fence_bytes() {
        // Nothing is closed, so that nothing need be marked.
        0 => Open { pages: span.pages(), fence: 0 },
        fence => Open { pages: bytes / OS_PAGE_BYTES, fence: fence / OS_PAGE_BYTES },
    }
}

fn slots_max(stride: usize) -> usize {
    (CLASS_BYTES_MAX / stride).min(CLASS_SLOTS_MAX)
}

/// Address space for slots and, if they are small, for their books.
fn reserve_both(slots: usize, stride: usize) -> Option<(usize, *mut Book)> {
    let base = os::reserve(slots * stride)?;
    if stride > BOOKED_BYTES_MAX {
        return Some((base, std::ptr::null_mut()));
    }
    let books = os::reserve(slots * size_of::<Book>());
    if books.is_none() {
        os::unreserve(base, slots * stride);
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
