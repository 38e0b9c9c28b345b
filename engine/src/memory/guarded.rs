//! Memories that compiled code uses without checks: each has more address space than any access can
//! reach, and what lies beyond its end faults.
//!
//! ```text
//!   base                                      4 GiB             8 GiB      the next slot's base
//!   +-----------------+-------+---------------+-------- ... -----+----------+
//!   | window, 2 MiB   | open  | closed (PROT_NONE)                          |
//!   +-----------------+-------+---------------+-------- ... -----+----------+
//!     pages by marks    by mprotect
//! ```
//!
//! An address of compiled code is base + 32-bit index + 32-bit offset, and at most 16 bytes are
//! touched there; so 8 GiB and a page belong to each memory, and it never moves.
//!
//! **Window.** Mappings are scarce (`vm.max_map_count`) and changing them locks the whole address
//! space. So the beginning of a slot is opened once, and what its memory does not reach of it is
//! marked in the page table instead, by its book (`pages.rs`). A process whose memory stays in the
//! window takes its slot, grows and ends without a change of mappings. A larger memory opens more,
//! which stays open until a tenant with a smaller one takes the slot. Without marks in page tables
//! there is no window, and the protection follows the memory's length.
//!
//! **Taking** prepares as well: closing pages may fail, and then the slot must not be used.
//!
//! Parties: any thread takes, releases and trims; the owner of a slot grows it; the handler reads
//! the book of the slot that its thread touched.

use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use wasmer_types::MemoryStyle;

use super::MEMORY_BYTES_MAX;
use super::class::clean;
use super::free::FreeSlots;
use super::pages::{self, BOOKED_BYTES_MAX, Book, Open, Span};
use crate::data::InitialData;
use crate::os::{self, OS_PAGE_BYTES};

/// From slot to slot: a whole number of page tables, so that a window has one of its own.
pub(super) const SLOT_BYTES: usize = (8 << 30) + BOOKED_BYTES_MAX;

/// What a memory can reach, in and out of bounds.
const _: () = assert!(
    SLOT_BYTES >= MEMORY_BYTES_MAX + MemoryStyle::static_offset_guard_size() as usize,
    "compiled code must not reach the next slot"
);

/// Mappings of one slot: the window, what is open beyond it, and the closed rest.
const SLOT_MAPPINGS: usize = 3;

/// Most guarded memories, in 32 TiB: a quarter of what a program may address.
const SLOTS_MAX: usize = 4096;

/// Guarded memories take at most this part of a limit that all share.
const SHARE: usize = 4;

pub(super) struct Guarded {
    base: usize,
    slots: usize,
    /// Bytes at a slot's beginning that its book is about; 0 without books.
    window: usize,
    /// A `Book` for each slot; null without.
    books: *mut Book,
    /// Bytes of each slot that are open. Relaxed: the owner's.
    opened: Box<[AtomicUsize]>,
    free: FreeSlots,
    /// Nothing was free the last time somebody looked: spares the next ones the search. A hint:
    /// relaxed.
    is_used_up: AtomicBool,
}

// SAFETY: the books are made of atomics, and used by who owns their slots.
unsafe impl Send for Guarded {}
// SAFETY: as above.
unsafe impl Sync for Guarded {}

impl Guarded {
    /// Address space for so many memories, or for as many as there is room for.
    pub(super) fn reserve(slots_max: usize) -> Option<Self> {
        let mut slots = slots_max;
        let base = loop {
            if slots == 0 {
                return None;
            }
            match os::reserve_closed(slots * SLOT_BYTES, BOOKED_BYTES_MAX) {
                Some(base) => break base,
                None => slots /= 2,
            }
        };
        let mut guarded = Self {
            base,
            slots,
            window: 0,
            books: std::ptr::null_mut(),
            opened: (0..slots).map(|_| AtomicUsize::new(0)).collect(),
            free: FreeSlots::default(),
            is_used_up: AtomicBool::new(false),
        };
        if os::guards_pages() {
            guarded.keep_books();
        }
        Some(guarded)
    }

    fn keep_books(&mut self) {
        let bytes = self.slots * size_of::<Book>();
        let Some(books) = os::reserve(bytes) else { return };
        let known = books as *mut Book;
        if pages::register(self.region(), SLOT_BYTES, BOOKED_BYTES_MAX, known) {
            (self.books, self.window) = (known, BOOKED_BYTES_MAX);
        } else {
            // More pools than the handler can know.
            os::unreserve(books, bytes);
        }
    }

    /// Most memories at once.
    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    /// Memories that there have been at once, at least.
    pub(super) fn used_at_once(&self) -> usize {
        self.free.fresh()
    }

    /// Whether nobody found a free one the last time.
    #[inline]
    pub(super) fn is_used_up(&self) -> bool {
        self.is_used_up.load(Ordering::Relaxed)
    }

    fn region(&self) -> Range<usize> {
        self.base..self.base + self.slots * SLOT_BYTES
    }

    fn slot(&self, index: u32) -> usize {
        self.base + index as usize * SLOT_BYTES
    }

    fn book(&self, index: u32) -> Option<&Book> {
        // SAFETY: null, or as many books as slots, all-zero memory being a book.
        unsafe {
            self.books.wrapping_add(index as usize).as_ref().filter(|_| !self.books.is_null())
        }
    }

    fn opened(&self, index: u32) -> &AtomicUsize {
        &self.opened[index as usize]
    }

    /// A new memory of `bytes`: its slot and its address. `None` if all of the first `slots_max` slots are in use,
    /// or if the system has no room for its mappings.
    pub(super) fn take(
        &self,
        slots_max: usize,
        bytes: usize,
        data: Option<&InitialData>,
    ) -> Option<(u32, NonZero<usize>)> {
        if self.is_used_up() {
            return None;
        }
        let Some(taken) = self.free.take(slots_max.min(self.slots)) else {
            self.is_used_up.store(true, Ordering::Relaxed);
            return None;
        };
        if self.prepare(taken.index, taken.used, bytes, data) {
            return Some((taken.index, NonZero::new(self.slot(taken.index))?));
        }
        // No mapping is left: nor is there one for the next, until somebody ends.
        self.is_used_up.store(true, Ordering::Relaxed);
        // Half prepared: nobody may have it like that. Where not even this works it is lost.
        let _ = self.give_back(&[taken.index]);
        None
    }

    /// Makes a slot a new memory. False: the system refused.
    fn prepare(&self, index: u32, used: bool, bytes: usize, data: Option<&InitialData>) -> bool {
        if !self.open_exactly(index, bytes.max(self.window)) {
            return false;
        }
        let memory = self.slot(index) as *mut u8;
        let Some(book) = self.book(index) else {
            // SAFETY: slots without books are zeroed when they are released; it is ours, and the
            // image checks that its data fit the memory that it asks for.
            data.inspect(|data| unsafe { data.place_all(memory) });
            return true;
        };
        let pages = bytes.min(self.window) / OS_PAGE_BYTES;
        let open = Open { pages, fence: self.window / OS_PAGE_BYTES - pages };
        if !book.prepare(self.span(index), used, data, open) {
            return false;
        }
        // SAFETY: as above: what lies beyond the window is zeroed when the slot is released.
        data.inspect(|data| unsafe { data.place_beyond_first_pages(memory) });
        true
    }

    fn span(&self, index: u32) -> Span {
        Span { base: self.slot(index), bytes: self.window }
    }

    /// Opens and closes until just these bytes of the slot can be touched.
    fn open_exactly(&self, index: u32, bytes: usize) -> bool {
        let base = self.slot(index);
        let opened = self.opened(index).load(Ordering::Relaxed);
        if opened > bytes {
            let rest = base + bytes..base + opened;
            os::discard(rest.clone());
            if !os::close(rest) {
                return false;
            }
        } else if opened < bytes {
            if !os::open(base + opened..base + bytes) {
                return false;
            }
            if opened < self.window {
                os::forbid_huge_pages(base..base + self.window);
            }
        }
        if opened != bytes {
            self.opened(index).store(bytes, Ordering::Relaxed);
        }
        true
    }

    /// Owner: the memory in a slot gets a new length. False: it does not.
    pub(super) fn grow(&self, index: u32, old: usize, bytes: usize) -> bool {
        if bytes > self.opened(index).load(Ordering::Relaxed) && !self.open_exactly(index, bytes) {
            return false;
        }
        let pages = |bytes: usize| bytes.min(self.window) / OS_PAGE_BYTES;
        // What lies behind is marked already.
        let open = Open { pages: pages(bytes), fence: 0 };
        self.book(index).is_none_or(|book| book.extend(self.span(index), pages(old), open))
    }

    /// Takes a slot back, `used` bytes of which its tenant could touch.
    pub(super) fn put(&self, index: u32, used: usize) {
        let base = self.slot(index);
        if used > self.window {
            clean(base + self.window..base + used);
        }
        self.free.put(index);
        if self.is_used_up() {
            self.is_used_up.store(false, Ordering::Relaxed);
        }
    }

    /// Gives back the pages of what nobody needed since the last call; returns the bytes.
    pub(super) fn trim(&self) -> usize {
        let unneeded = self.free.take_unneeded();
        for run in unneeded.chunk_by(|a, b| a + 1 == *b) {
            if self.give_back(run) {
                continue;
            }
            // They stay open, but empty.
            for &index in run {
                let base = self.slot(index);
                os::discard(base..base + self.opened(index).load(Ordering::Relaxed));
                self.free.put(index);
            }
        }
        // Whatever was missing may be there again, though nobody has ended whose slot says so.
        self.is_used_up.store(false, Ordering::Relaxed);
        unneeded.len() * BOOKED_BYTES_MAX
    }

    /// Makes neighbouring slots what they were before their first use. False where the system has no
    /// mapping left to do it.
    fn give_back(&self, run: &[u32]) -> bool {
        let (first, last) = (self.slot(run[0]), self.slot(run[run.len() - 1]));
        if !os::reset_closed(first..last + SLOT_BYTES) {
            return false;
        }
        for &index in run {
            self.opened(index).store(0, Ordering::Relaxed);
            self.book(index).inspect(|book| book.forget());
        }
        self.free.put_cold(run);
        true
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if !self.books.is_null() {
            pages::unregister(self.region());
            os::unreserve(self.books as usize, self.slots * size_of::<Book>());
        }
        os::unreserve(self.base, self.slots * SLOT_BYTES);
    }
}

/// How many guarded memories this program should have at most, and what decides that.
#[derive(Debug, Clone, Copy)]
pub struct GuardedBudget {
    /// So many.
    pub memories: usize,
    /// The limit that allows no more.
    pub reason: &'static str,
}

impl GuardedBudget {
    /// Asks the system.
    #[must_use]
    pub fn of_this_program() -> Self {
        let addresses =
            os::address_space_max().map_or(usize::MAX, |bytes| bytes / SHARE / SLOT_BYTES);
        let mappings = os::mappings_max().map_or(usize::MAX, |count| count / SHARE / SLOT_MAPPINGS);
        [
            Self { memories: SLOTS_MAX, reason: "8 GiB each of 47 bits of addresses" },
            Self { memories: mappings, reason: "a quarter of vm.max_map_count, at three each" },
            Self { memories: addresses, reason: "8 GiB each of a quarter of ulimit -v" },
        ]
        .into_iter()
        .min_by_key(|budget| budget.memories)
        .expect("there are three")
    }
}
