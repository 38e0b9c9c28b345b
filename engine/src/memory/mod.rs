//! Linear memories: slots of address space, handed out as new.
//!
//! Of two kinds, and compiled code is made for one of them ([`crate::MemoryForm`]). A *dense* memory lives
//! in a slot whose size is a class's; growing within the slot costs little, growing beyond it moves
//! the memory to a slot of a larger class. Compiled code compares every access with the memory's
//! length, so slots lie side by side and cost no mapping of their own: one mapping
//! a class, reserved when its first slot is asked for. A *guarded* memory has 8 GiB to itself and
//! its code checks nothing (`guarded.rs`): for the few. Nothing more is said of those here.
//!
//! **A slot that is taken becomes a new memory** there and then, by whoever takes it; releasing one
//! costs nothing. How a slot of up to 2 MiB is cleaned without a system call, and how its pages are
//! placed, is the business of `pages.rs`. Larger slots are cleaned when they are released.
//!
//! Slots that nobody needed for a while are given back to the system by [`MemoryPool::trim`], which
//! somebody should call now and then.
//!
//! Parties: any thread allocates, releases and trims.

mod class;
mod free;
mod guarded;
mod pages;
mod room;

use std::num::NonZero;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::data::InitialData;
use crate::os;
use class::Class;
pub(crate) use class::fence_bytes;
use guarded::Guarded;
pub use guarded::GuardedBudget;
pub(crate) use pages::resolve_fault;
pub use room::Room;

const TOO_LARGE: &str = "a 32-bit memory has at most 4 GiB";

/// Bytes of a WebAssembly page.
pub const PAGE_BYTES: usize = 64 * 1024;

/// Most bytes of a 32-bit linear memory.
pub const MEMORY_BYTES_MAX: usize = 4 << 30;

/// A class of slots, for dense memories.
struct SlotSize {
    /// The longest memory that fits.
    bytes: usize,
    /// From slot to slot: room for the memory and its fence. A part or a multiple of what a page table
    /// covers (2 MiB) where a slot has one nearly for itself, so that it does not lie in two.
    stride: usize,
}

const SLOT_SIZES: [SlotSize; 12] = {
    const FENCE: usize = os::OS_PAGE_BYTES;
    const TABLE: usize = 2 << 20;
    const fn close(bytes: usize) -> SlotSize {
        SlotSize { bytes, stride: bytes + FENCE }
    }
    const fn within(stride: usize) -> SlotSize {
        SlotSize { bytes: stride - PAGE_BYTES, stride }
    }
    const fn apart(bytes: usize) -> SlotSize {
        SlotSize { bytes, stride: bytes + TABLE }
    }
    [
        close(PAGE_BYTES),
        close(2 * PAGE_BYTES),
        close(4 * PAGE_BYTES),
        close(8 * PAGE_BYTES),
        within(TABLE / 2),
        within(TABLE),
        apart(4 << 20),
        apart(16 << 20),
        apart(64 << 20),
        apart(256 << 20),
        apart(1 << 30),
        apart(MEMORY_BYTES_MAX),
    ]
};

/// In place of a class's number.
const GUARDED: u8 = u8::MAX;

/// Where linear memories come from. One for a runtime; shared by all its threads.
#[derive(Default)]
pub struct MemoryPool {
    classes: [OnceLock<Option<Class>>; SLOT_SIZES.len()],
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
    base: NonZero<usize>,
    index: u32,
    class: u8,
}

impl MemorySlot {
    /// Address of byte 0.
    pub(crate) fn base(&self) -> *mut u8 {
        self.base.get() as *mut u8
    }

    fn start(&self) -> usize {
        self.base.get()
    }

    /// What compiled code may touch of it, when the memory has this length, without that being a bug
    /// of ours: a fault there is the guest's. Of a dense memory the fence.
    pub(crate) fn reach(&self, length: usize) -> Range<usize> {
        if self.is_guarded() {
            self.start()..self.start() + guarded::SLOT_BYTES
        } else {
            self.start() + length..self.start() + length + fence_bytes()
        }
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
        let (index, base) = guarded.take(most, bytes, data).ok_or_else(|| {
            error(
                "all guarded memories are in use, or all mappings (vm.max_map_count); dense ones \
                 (--memory auto) have room for many more",
            )
        })?;
        Ok(MemorySlot { base, index, class: GUARDED })
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

    /// A dense memory of `bytes`, ready for use: `data`, and zero elsewhere. `data` must live until it
    /// is released.
    pub(crate) fn allocate(
        &self,
        bytes: usize,
        data: Option<&InitialData>,
    ) -> Result<MemorySlot, MemoryError> {
        let error = |reason| MemoryError { bytes, reason, is_for_guarded: false };
        let number = SLOT_SIZES
            .iter()
            .position(|size| size.bytes >= bytes)
            .ok_or_else(|| error(TOO_LARGE))?;
        let class = self.classes[number].get_or_init(|| Class::reserve(SLOT_SIZES[number].stride));
        let Some(class) = class else {
            return Err(error("the address space (ulimit -v) is used up"));
        };
        let Some(taken) = class.take() else {
            return Err(error(if class.is_cut_short() {
                "the address space (ulimit -v) has no room for more of this size"
            } else {
                "every slot of this size class is in use (too many memories of this size)"
            }));
        };
        let base = class
            .prepare(taken, bytes, data)
            .ok_or_else(|| error("the memory of the system is in use"))?;
        Ok(MemorySlot { base, index: taken.index, class: number as u8 })
    }

    /// Takes a slot back; `used` is the memory's length at the end.
    pub(crate) fn release(&self, slot: MemorySlot, used: usize) {
        match self.guarded.get() {
            Some(Some(guarded)) if slot.is_guarded() => guarded.put(slot.index, used),
            _ => self.class(&slot).put(slot.index, used),
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
            return self.grow_guarded(slot, old, new);
        }
        if new <= SLOT_SIZES[usize::from(slot.class)].bytes {
            let grown = self.class(slot).grow(slot.index, old, new);
            let reason = "the memory of the system is in use";
            let error = MemoryError { bytes: new, reason, is_for_guarded: false };
            return grown.then_some(()).ok_or(error);
        }
        let larger = self.allocate(new, None)?;
        let (book, span) = self.class(slot).book(slot.index);
        let copied = match book {
            // SAFETY: the larger slot is ours and not the smaller one.
            Some(book) => unsafe { book.copy(span, larger.base()) },
            None => {
                os::for_each_present(slot.start()..slot.start() + old, |present| {
                    let to = larger.base().wrapping_add(present.start - slot.start());
                    // SAFETY: both slots are ours, at least `old` bytes long and disjoint.
                    unsafe {
                        std::ptr::copy_nonoverlapping(
                            present.start as *const u8,
                            to,
                            present.len(),
                        );
                    }
                });
                true
            }
        };
        if !copied {
            self.release(larger, new);
            let reason = "the memory of the system is in use";
            return Err(MemoryError { bytes: new, reason, is_for_guarded: false });
        }
        let smaller = std::mem::replace(slot, larger);
        self.release(smaller, old);
        Ok(())
    }

    fn grow_guarded(&self, slot: &MemorySlot, old: usize, bytes: usize) -> Result<(), MemoryError> {
        let guarded = self.guarded().expect("the slot came from there");
        if bytes > MEMORY_BYTES_MAX {
            return Err(MemoryError { bytes, reason: TOO_LARGE, is_for_guarded: true });
        }
        let grown = guarded.grow(slot.index, old, bytes);
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
