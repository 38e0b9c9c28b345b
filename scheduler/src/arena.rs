//! Address space for slots: reserved once, cut into powers of two, each slot with a guard near its
//! low end. Below the guard is the *reserve*, where a fiber that is preempted with a full stack
//! leaves its registers.
//!
//! Parties: the runtime reserves and, when the last handle is gone, unmaps; the slot pool asks for
//! a guard when a slot is first used. Protocol: memory is zero until first touched, is never given
//! back while the arena lives, and the guard of a slot is never removed.
//!
//! A guard made by `MADV_GUARD_INSTALL` (Linux 6.13) marks page-table entries and costs no mapping;
//! one made by `mprotect` splits a mapping in two, and the kernel allows `vm.max_map_count` of them
//! (65,530 by default).

use crate::sync::{AtomicUsize, Ordering};
use std::{io, ops::Range, ptr::NonNull};

/// `madvise` advice of Linux 6.13, not yet in every libc.
const MADV_GUARD_INSTALL: i32 = 102;

/// Bytes of the reserve.
pub(crate) const RESERVE_BYTES: usize = 8 * 1024;

/// How the guard below each stack is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Guard {
    /// `Install` where the kernel has it, otherwise `Mprotect`.
    #[default]
    Auto,
    /// Marks in the page table (`MADV_GUARD_INSTALL`); an error before Linux 6.13.
    Install,
    /// One mapping for each slot ever used at once; bounded by `vm.max_map_count`.
    Mprotect,
}

/// Why the address space for processes could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArenaError {
    /// The smallest arena worth having does not fit either.
    #[error(
        "cannot reserve {bytes} bytes of address space for process stacks and leave as much to others \
         ({source}); check `ulimit -v`, vm.overcommit_memory and the container's memory limit, or \
         lower processes_max or stack_bytes"
    )]
    Reserve {
        /// What was asked for in the last attempt.
        bytes: usize,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The guard could not be made.
    #[error("cannot guard a process stack by {how:?} ({source}); {hint}", hint = guard_hint(*.how))]
    Guard {
        /// The way that was tried.
        how: Guard,
        /// The kernel's answer.
        source: io::Error,
    },
}

fn guard_hint(how: Guard) -> &'static str {
    match how {
        Guard::Mprotect => {
            "each stack costs a memory mapping here: raise vm.max_map_count, or use Linux 6.13 or later"
        }
        Guard::Install | Guard::Auto => "guard markers need Linux 6.13 or later",
    }
}

/// The reserved space. Owns the mapping.
pub(crate) struct Arena {
    base: NonNull<u8>,
    slots: usize,
    slot_shift: u32,
    guard_bytes: usize,
    install: bool,
}

// SAFETY: the arena hands out addresses and makes system calls; both may be done from any thread.
unsafe impl Send for Arena {}
// SAFETY: as above; no method writes a field.
unsafe impl Sync for Arena {}

impl Arena {
    /// Reserves `slots` slots, or half as many as often as the kernel refuses, down to `slots_min`.
    pub(crate) fn reserve(
        slots: usize,
        slots_min: usize,
        slot_bytes: usize,
        guard: Guard,
    ) -> Result<Self, ArenaError> {
        assert!(slot_bytes.is_power_of_two(), "a slot is a power of two");
        let mut slots = slots;
        let base = loop {
            let bytes = slots.saturating_mul(slot_bytes);
            match map(bytes) {
                Ok(base) => break base,
                Err(_) if slots / 2 >= slots_min.max(1) => slots /= 2,
                Err(source) => return Err(ArenaError::Reserve { bytes, source }),
            }
        };
        let mut arena = Self {
            base,
            slots,
            slot_shift: slot_bytes.trailing_zeros(),
            guard_bytes: page_bytes(),
            install: true,
        };
        arena.install = match guard {
            Guard::Install => true,
            Guard::Mprotect => false,
            // The first slot is the probe; guarding it once more later is harmless.
            Guard::Auto => arena.guard_slot(0).is_ok() && arena.is_guarded(0),
        };
        arena.guard_slot(0)?;
        Ok(arena)
    }

    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    pub(crate) fn slot_bytes(&self) -> usize {
        1 << self.slot_shift
    }

    pub(crate) fn guard_bytes(&self) -> usize {
        self.guard_bytes
    }

    /// The addresses of a slot.
    pub(crate) fn slot(&self, index: u32) -> Range<usize> {
        assert!((index as usize) < self.slots, "slot index out of range");
        let low = self.base.as_ptr() as usize + ((index as usize) << self.slot_shift);
        low..low + self.slot_bytes()
    }

    /// A pointer `offset` bytes into a slot, with the provenance of the whole arena.
    #[inline]
    pub(crate) fn pointer(&self, index: u32, offset: usize) -> NonNull<u8> {
        let inside = (index as usize) < self.slots && offset < self.slot_bytes();
        assert!(inside, "outside the arena");
        // SAFETY: by the assertion the result lies inside the one mapping that starts at `base`.
        unsafe { self.base.add(((index as usize) << self.slot_shift) + offset) }
    }

    /// Gives the memory of `count` slots from `first` on back to the system; they read as zero. Their
    /// guards stay.
    pub(crate) fn discard(&self, first: u32, count: usize) {
        let start = self.pointer(first, 0);
        assert!(first as usize + count <= self.slots, "outside the arena");
        // SAFETY: slots of our own mapping, whose contents the caller answers for. Failure leaves
        // them as they are.
        unsafe {
            libc::madvise(start.as_ptr().cast(), count << self.slot_shift, libc::MADV_DONTNEED)
        };
    }

    /// Makes the guard of a slot. Idempotent.
    pub(crate) fn guard_slot(&self, index: u32) -> Result<(), ArenaError> {
        let low = self.pointer(index, RESERVE_BYTES).as_ptr().cast();
        let result = if self.install {
            // SAFETY: the range is part of one of our own slots; the layout (`slot.rs`) puts no data
            // there.
            unsafe { libc::madvise(low, self.guard_bytes, MADV_GUARD_INSTALL) }
        } else {
            // SAFETY: as above.
            unsafe { libc::mprotect(low, self.guard_bytes, libc::PROT_NONE) }
        };
        if result == 0 {
            return Ok(());
        }
        let how = if self.install { Guard::Install } else { Guard::Mprotect };
        Err(ArenaError::Guard { how, source: io::Error::last_os_error() })
    }

    /// Whether the system sees that guard. One that takes any advice and does nothing with it (QEMU's
    /// emulation of Linux) has made none, and said that it had.
    fn is_guarded(&self, index: u32) -> bool {
        let low = self.pointer(index, RESERVE_BYTES).as_ptr().cast();
        // SAFETY: the system looks for a path at an address in our own mapping, which it refuses to
        // touch or finds empty.
        let found = unsafe { libc::access(low, libc::F_OK) };
        found != 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        let bytes = self.slots << self.slot_shift;
        // SAFETY: exactly the mapping `map` made. Who keeps addresses into it keeps the arena alive
        // (`runtime.rs`).
        unsafe { libc::munmap(self.base.as_ptr().cast(), bytes) };
    }
}

/// Anonymous zero memory, no commitment, no huge pages (one touched stack must not cost two
/// megabytes). Leaves at least as much address space to others: a heap that finds none aborts.
fn map(bytes: usize) -> io::Result<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a fresh mapping at an address of the kernel's choice touches nobody's memory.
    let address = unsafe {
        libc::mmap(std::ptr::null_mut(), bytes.saturating_mul(2), protection, flags, -1, 0)
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the upper half of the mapping just made, which nobody has seen.
    unsafe { libc::munmap(address.wrapping_byte_add(bytes), bytes) };
    // SAFETY: the range is the mapping just made. Failure (no huge page support) leaves nothing to
    // prevent.
    unsafe { libc::madvise(address, bytes, libc::MADV_NOHUGEPAGE) };
    NonNull::new(address.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))
}

/// Makes a page that nobody may touch, for as long as its mapping lives.
///
/// # Safety
/// The page belongs to a mapping of the caller's, who keeps nothing in it.
pub(crate) unsafe fn forbid_page(address: usize) -> io::Result<()> {
    let page = std::ptr::with_exposed_provenance_mut(address);
    // SAFETY: forwards the caller's promise.
    match unsafe { libc::mprotect(page, page_bytes(), libc::PROT_NONE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The system's page size, asked once.
#[inline]
pub(crate) fn page_bytes() -> usize {
    static KNOWN: AtomicUsize = AtomicUsize::new(0);
    // Relaxed: the same value whoever writes it.
    match KNOWN.load(Ordering::Relaxed) {
        0 => {
            // SAFETY: no preconditions.
            let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
            let bytes = usize::try_from(bytes).expect("the page size is positive");
            KNOWN.store(bytes, Ordering::Relaxed);
            bytes
        }
        known => known,
    }
}
