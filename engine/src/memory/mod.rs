//! Linear memories: slots of address space, handed out as new.
//!
//! Of two kinds, and compiled code is made for one of them ([`crate::MemoryForm`]). A *dense* memory lives
//! in a slot whose size is a class's; growing within the slot costs nothing, growing beyond it moves
//! the memory to a slot of a larger class. Compiled code checks every access against the memory's
//! length (no guard pages), so slots lie side by side and cost no mapping of their own: one mapping
//! a class, reserved when its first slot is asked for. A *guarded* memory has 8 GiB to itself and
//! its code checks nothing (`guarded.rs`): for the few. Nothing more is said of those here.
//!
//! **A slot that is taken becomes a new memory in `prepare`**, by whoever takes it; releasing one
//! costs nothing. How a slot of up to 2 MiB is cleaned without a system call, and how its pages are
//! placed, is the business of `pages.rs`. Larger slots are cleaned when they are released.
//!
//! Slots that nobody needed for a while are given back to the system by [`MemoryPool::trim`], which
//! somebody should call now and then.
//!
//! Parties: any thread allocates, prepares, releases and trims.

mod class;
mod free;
mod guarded;
mod pages;
mod room;

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::data::InitialData;
use crate::os;
use class::Class;
use guarded::Guarded;
pub use guarded::GuardedBudget;
pub(crate) use pages::resolve_fault;
pub use room::Room;

const TOO_LARGE: &str = "a 32-bit memory has at most 4 GiB";

/// Bytes of a WebAssembly page.
pub const PAGE_BYTES: usize = 64 * 1024;

/// Most bytes of a 32-bit linear memory.
pub const MEMORY_BYTES_MAX: usize = 4 << 30;

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

/// In place of a class's number.
const GUARDED: u8 = u8::MAX;

/// Where linear memories come from. One for a runtime; shared by all its threads.
#[derive(Default)]
pub struct MemoryPool {
    classes: [OnceLock<Option<Class>>; SLOT_BYTES.len()],
    guarded: OnceLock<Option<Guarded>>,
    /// Guarded memories that nobody may have any more, though there is room for them.
    guarded_withheld: AtomicUsize,
    room: Arc<Room>,
}

/// A memory could not be had.
#[derive(Debug, thiserror::Error)]
#[error(
    "no room for a linear memory of {bytes} bytes: {reason}; end some processes or raise the limit"
)]
pub struct MemoryError {
    bytes: usize,
    reason: &'static str,
    is_for_guarded: bool,
}

impl MemoryError {
    /// Whether a dense memory may be had nevertheless.
    #[must_use]
    pub fn is_for_guarded(&self) -> bool {
        self.is_for_guarded
    }
}

/// Whether new processes can have guarded memories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardedRoom {
    /// Less than half of them have been in use at once.
    Plenty,
    /// There may come a time when there are none.
    Scarce,
    /// All are in use.
    None,
}

/// A slot in use. Must be given back to the pool it came from.
#[derive(Debug)]
pub(crate) struct MemorySlot {
    base: usize,
    class: u8,
    /// Somebody had it before, and left it dirty.
    used: bool,
}

impl MemorySlot {
    /// Address of byte 0.
    pub(crate) fn base(&self) -> *mut u8 {
        self.base as *mut u8
    }

    fn bytes(&self) -> usize {
        SLOT_BYTES[usize::from(self.class)]
    }

    /// What compiled code may touch by an address of its own without being wrong: a fault there is
    /// the guest's. Empty for a dense memory, whose code finds out by itself.
    pub(crate) fn reach(&self) -> Range<usize> {
        let bytes = if self.is_guarded() { guarded::SLOT_BYTES } else { 0 };
        self.base..self.base + bytes
    }

    fn is_guarded(&self) -> bool {
        self.class == GUARDED
    }
}

impl MemoryPool {
    /// A pool whose memories are part of what `room` counts. (The default has no limit.)
    #[must_use]
    pub fn in_room(room: Arc<Room>) -> Self {
        Self { room, ..Self::default() }
    }

    /// What counts its memories.
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// A guarded memory of `bytes`, ready for use. `data` must live until it is released.
    pub(crate) fn allocate_guarded(
        &self,
        bytes: usize,
        data: Option<&InitialData>,
    ) -> Result<MemorySlot, MemoryError> {
        let error = |reason| MemoryError { bytes, reason, is_for_guarded: true };
        if bytes > MEMORY_BYTES_MAX {
            return Err(error(TOO_LARGE));
        }
        let Some(guarded) = self.guarded() else {
            return Err(error("the address space (ulimit -v) has no 8 GiB for a guarded memory"));
        };
        let most = self.guarded_allowed(guarded);
        let base = guarded.take(most, bytes, data).ok_or_else(|| {
            error(
                "all guarded memories are in use, or all mappings (vm.max_map_count); dense ones \
                 (--memory auto) have room for many more",
            )
        })?;
        Ok(MemorySlot { base, class: GUARDED, used: true })
    }

    /// Most guarded memories at once; reserves their address space when first asked for.
    pub fn guarded_max(&self) -> usize {
        self.guarded().map_or(0, Guarded::slots)
    }

    /// Whether there is a guarded memory for one more. A hint: others take and release meanwhile.
    #[inline]
    pub fn guarded_room(&self) -> GuardedRoom {
        let Some(guarded) = self.guarded() else { return GuardedRoom::None };
        if guarded.is_used_up() {
            GuardedRoom::None
        } else if guarded.used_at_once() * 2 > self.guarded_allowed(guarded) {
            GuardedRoom::Scarce
        } else {
            GuardedRoom::Plenty
        }
    }

    fn guarded_allowed(&self, guarded: &Guarded) -> usize {
        // Relaxed: a limit; nothing else hangs on it.
        guarded.slots().saturating_sub(self.guarded_withheld.load(Ordering::Relaxed))
    }

    /// At most so many memories are guarded at once. To be called before there are some.
    pub fn limit_guarded(&self, memories: usize) {
        let withheld = self.guarded_max().saturating_sub(memories);
        // Relaxed: as where it is read.
        self.guarded_withheld.store(withheld, Ordering::Relaxed);
    }

    fn guarded(&self) -> Option<&Guarded> {
        let reserve = || Guarded::reserve(GuardedBudget::of_this_program().memories);
        self.guarded.get_or_init(reserve).as_ref()
    }

    /// A slot for a memory of `bytes`; to be prepared before it is used.
    pub(crate) fn allocate(&self, bytes: usize) -> Result<MemorySlot, MemoryError> {
        let error = |reason| MemoryError { bytes, reason, is_for_guarded: false };
        let index =
            SLOT_BYTES.iter().position(|&slot| slot >= bytes).ok_or_else(|| error(TOO_LARGE))?;
        let class = self.classes[index].get_or_init(|| Class::reserve(SLOT_BYTES[index]));
        let Some(class) = class else {
            return Err(error("the address space (ulimit -v) is used up"));
        };
        let Some((base, used)) = class.take() else {
            return Err(error(if class.is_cut_short() {
                "the address space (ulimit -v) has no room for more of this size"
            } else {
                "every slot of this size class is in use (too many memories of this size)"
            }));
        };
        Ok(MemorySlot { base, class: index as u8, used })
    }

    /// Makes the slot a new memory: `data`, and zero elsewhere. `data` must live until the slot is
    /// released.
    pub(crate) fn prepare(&self, slot: &mut MemorySlot, data: Option<&InitialData>) {
        if slot.is_guarded() {
            return; // It came prepared.
        }
        let used = std::mem::replace(&mut slot.used, true);
        let (book, span) = self.class(slot).book(slot.base);
        match (book, data) {
            (Some(book), data) => {
                let prepared = book.prepare(span, used, data, span.pages());
                debug_assert!(prepared, "nothing of a dense slot is closed");
            }
            // SAFETY: large slots are zeroed when they are released; it is ours, and the image
            // checks that its data fit the memory that it asks for.
            (None, Some(data)) => unsafe { data.place_all(slot.base()) },
            (None, None) => {}
        }
    }

    /// Takes a slot back; `used` is the memory's length at the end.
    pub(crate) fn release(&self, slot: MemorySlot, used: usize) {
        match self.guarded.get() {
            Some(Some(guarded)) if slot.is_guarded() => guarded.put(slot.base, used),
            _ => self.class(&slot).put(slot.base, used.min(slot.bytes())),
        }
    }

    /// Makes room for `new` bytes in place of `old`: in the same slot or, moved, in a larger one.
    pub(crate) fn grow(
        &self,
        slot: &mut MemorySlot,
        old: usize,
        new: usize,
    ) -> Result<(), MemoryError> {
        if slot.is_guarded() {
            return self.grow_guarded(slot, new);
        }
        if new <= slot.bytes() {
            return Ok(());
        }
        let mut larger = self.allocate(new)?;
        self.prepare(&mut larger, None);
        let (book, span) = self.class(slot).book(slot.base);
        match book {
            // SAFETY: the larger slot is ours and not the smaller one.
            Some(book) => unsafe { book.copy(span, larger.base()) },
            None => os::for_each_present(slot.base..slot.base + old, |present| {
                let to = larger.base().wrapping_add(present.start - slot.base);
                // SAFETY: both slots are ours, at least `old` bytes long and disjoint.
                unsafe {
                    std::ptr::copy_nonoverlapping(present.start as *const u8, to, present.len());
                }
            }),
        }
        let smaller = std::mem::replace(slot, larger);
        self.release(smaller, old);
        Ok(())
    }

    fn grow_guarded(&self, slot: &MemorySlot, bytes: usize) -> Result<(), MemoryError> {
        let guarded = self.guarded().expect("the slot came from there");
        if bytes > MEMORY_BYTES_MAX {
            return Err(MemoryError { bytes, reason: TOO_LARGE, is_for_guarded: true });
        }
        let grown = guarded.grow(slot.base, bytes);
        let reason = "all mappings (vm.max_map_count) or the memory of the system are in use";
        grown.then_some(()).ok_or(MemoryError { bytes, reason, is_for_guarded: true })
    }

    /// Gives the pages of slots that nobody has taken since the last call back to the system. Returns
    /// how many bytes of address space that were.
    pub fn trim(&self) -> usize {
        let classes = self.classes.iter().filter_map(|class| class.get()?.as_ref());
        let guarded = self.guarded.get().and_then(Option::as_ref).map_or(0, Guarded::trim);
        guarded + classes.map(Class::trim).sum::<usize>()
    }

    fn class(&self, slot: &MemorySlot) -> &Class {
        let Some(Some(class)) = self.classes[usize::from(slot.class)].get() else {
            unreachable!("the slot came from this class");
        };
        class
    }
}

#[cfg(test)]
mod tests;
