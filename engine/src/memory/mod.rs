//! Linear memories: slots of address space in a few size classes, handed out as new.
//!
//! A memory lives in a slot whose size is a class's; growing within the slot costs nothing, growing
//! beyond it moves the memory to a slot of a larger class. Compiled code checks every access
//! against the memory's length (no guard pages), so slots lie side by side and cost no mapping of
//! their own: one mapping a class, reserved when its first slot is asked for.
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
mod pages;

use std::sync::OnceLock;

use crate::data::InitialData;
use crate::os;
use class::Class;
pub(crate) use pages::resolve_fault;

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

/// Where linear memories come from. One for a runtime; shared by all its threads.
#[derive(Default)]
pub struct MemoryPool {
    classes: [OnceLock<Option<Class>>; SLOT_BYTES.len()],
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
}

impl MemoryPool {
    /// A slot for a memory of `bytes`; to be prepared before it is used.
    pub(crate) fn allocate(&self, bytes: usize) -> Result<MemorySlot, MemoryError> {
        let error = |reason| MemoryError { bytes, reason };
        let index = SLOT_BYTES
            .iter()
            .position(|&slot| slot >= bytes)
            .ok_or_else(|| error("a 32-bit memory has at most 4 GiB"))?;
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
        let used = std::mem::replace(&mut slot.used, true);
        let (book, span) = self.class(slot).book(slot.base);
        match (book, data) {
            (Some(book), data) => book.prepare(span, used, data),
            // SAFETY: large slots are zeroed when they are released; it is ours, and the image
            // checks that its data fit the memory that it asks for.
            (None, Some(data)) => unsafe { data.place_all(slot.base()) },
            (None, None) => {}
        }
    }

    /// Takes a slot back; `used` is the memory's length at the end.
    pub(crate) fn release(&self, slot: MemorySlot, used: usize) {
        self.class(&slot).put(slot.base, used.min(slot.bytes()));
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

    /// Gives the pages of slots that nobody has taken since the last call back to the system. Returns
    /// how many bytes of address space that were.
    pub fn trim(&self) -> usize {
        self.classes.iter().filter_map(|class| class.get()?.as_ref()).map(Class::trim).sum()
    }

    fn class(&self, slot: &MemorySlot) -> &Class {
        let Some(Some(class)) = self.classes[usize::from(slot.class)].get() else {
            unreachable!("the slot came from this class");
        };
        class
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::os::OS_PAGE_BYTES;
    use crate::signals;

    #[allow(clippy::mut_from_ref, reason = "the slot is an address that only this test uses")]
    fn bytes(slot: &MemorySlot, len: usize) -> &mut [u8] {
        // SAFETY: the test owns the slot, which is mapped and at least `len` bytes long.
        unsafe { std::slice::from_raw_parts_mut(slot.base(), len) }
    }

    fn pool() -> MemoryPool {
        signals::install(|| None);
        MemoryPool::default()
    }

    fn new_memory(pool: &MemoryPool, bytes: usize, data: Option<&InitialData>) -> MemorySlot {
        let mut slot = pool.allocate(bytes).expect("a slot");
        pool.prepare(&mut slot, data);
        slot
    }

    /// Data on pages 1 to 5, each page filled with its number.
    fn data() -> InitialData {
        let page = |number| (number, Box::new([number as u8; OS_PAGE_BYTES]));
        InitialData::new((1..=5).map(page).collect::<HashMap<_, _>>())
    }

    fn expected(len: usize, data: bool) -> Vec<u8> {
        let byte = |at: usize| match at / OS_PAGE_BYTES {
            page @ 1..=5 if data => page as u8,
            _ => 0,
        };
        (0..len).map(byte).collect()
    }

    /// Tenants that touch few, many and all pages, one after the other, in slots with and without
    /// books, with and without initial data: each finds a new memory, whichever pages it reads
    /// first.
    #[test]
    fn every_tenant_finds_a_new_memory() {
        let pool = pool();
        let data = data();
        for len in [PAGE_BYTES, 16 * PAGE_BYTES, 40 * PAGE_BYTES] {
            let mut base = None;
            for round in 0..60_usize {
                let with_data = round % 3 != 0;
                let slot = new_memory(&pool, len, with_data.then_some(&data));
                assert_eq!(*base.get_or_insert(slot.base), slot.base, "the warm slot comes first");
                let memory = bytes(&slot, len);
                let pages = len / OS_PAGE_BYTES;
                let touched = [1, 3, 9, 15, 100, 2000][round % 6].min(pages);
                for step in 0..touched {
                    let page = (step * 7 + round) % pages;
                    let at = page * OS_PAGE_BYTES + 9;
                    assert_eq!(memory[at], expected(at + 1, with_data)[at], "round {round}, {at}");
                    memory[at] = 0xff;
                }
                pool.release(slot, len);
                let slot = new_memory(&pool, len, with_data.then_some(&data));
                assert!(bytes(&slot, len) == expected(len, with_data), "round {round} of {len}");
                bytes(&slot, len)[len - 1] = 0xee;
                pool.release(slot, len);
            }
        }
    }

    #[test]
    fn growing_keeps_contents_and_zeroes_the_rest() {
        let pool = pool();
        let data = data();
        for _ in 0..3 {
            let mut slot = new_memory(&pool, PAGE_BYTES, Some(&data));
            bytes(&slot, PAGE_BYTES)[PAGE_BYTES - 1] = 42;
            let mut old = PAGE_BYTES;
            for new in [2 * PAGE_BYTES, 40 * PAGE_BYTES, 300 * PAGE_BYTES] {
                pool.grow(&mut slot, old, new).expect("room");
                let now = bytes(&slot, new);
                assert_eq!(now[PAGE_BYTES - 1], 42);
                assert!(now[..PAGE_BYTES - 1] == expected(PAGE_BYTES - 1, true));
                assert!(now[PAGE_BYTES..].iter().all(|&byte| byte == 0));
                now[new - 1] = 1;
                now[new - 1] = 0;
                old = new;
            }
            pool.release(slot, old);
        }
    }

    #[test]
    fn what_nobody_needs_is_given_back_and_can_be_used_again() {
        let pool = pool();
        let data = data();
        for len in [PAGE_BYTES, 40 * PAGE_BYTES] {
            let slots: Vec<_> = (0..20).map(|_| new_memory(&pool, len, Some(&data))).collect();
            for slot in slots {
                bytes(&slot, len)[7] = 7;
                pool.release(slot, len);
            }
            pool.trim();
            let trimmed = pool.trim();
            assert!(trimmed >= 20 * len, "{trimmed}");
            assert_eq!(pool.trim(), 0, "everything is given back");
            let slots: Vec<_> = (0..20).map(|_| new_memory(&pool, len, Some(&data))).collect();
            for slot in slots {
                assert!(bytes(&slot, len) == expected(len, true));
                pool.release(slot, len);
            }
        }
    }

    #[test]
    fn more_than_four_gib_is_refused() {
        let error = pool().allocate(MEMORY_BYTES_MAX + 1).expect_err("too large");
        assert!(error.to_string().contains("4 GiB"), "{error}");
    }
}
