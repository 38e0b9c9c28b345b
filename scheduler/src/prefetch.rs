//! Hints to the memory system. A process that is woken runs soon, but not yet: what it will need can
//! be on its way meanwhile. With thousands of processes none of it is in the cache otherwise.

const CACHE_LINE: usize = 64;

/// Asks for `lines` cache lines from `address` on. Any address will do: a hint never faults.
#[inline(always)]
pub(crate) fn lines(address: usize, lines: usize) {
    for line in 0..lines {
        one(address.wrapping_add(line * CACHE_LINE));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn one(address: usize) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch accesses nothing.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address as *const i8) };
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn one(address: usize) {
    // SAFETY: a prefetch accesses nothing.
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{}]", in(reg) address, options(nostack, preserves_flags));
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn one(_address: usize) {}
