//! Access to a guest's memory: every address that a guest gives is checked here and nowhere else.
//!
//! The only way to a guest's bytes is a [`GuestMemory`], which a host function gets for one call.
//! Guest code does not run meanwhile, so the slices are as exclusive as Rust wants them.

use std::marker::PhantomData;

use lunatic_engine::VmCtx;

use crate::bind::Fault;

/// An address in a guest's memory, as the guest wrote it: any 32-bit number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ptr(pub(crate) u32);

impl Ptr {
    /// The address `bytes` further on. Wraps nowhere: what does not fit is out of bounds.
    pub(crate) fn offset(self, bytes: u32) -> Result<Self, Fault> {
        self.0.checked_add(bytes).map(Self).ok_or_else(|| {
            Fault::new(format!("the address {:#x} + {bytes} is beyond 4 GiB", self.0))
        })
    }
}

/// The linear memory of the process that called, for the time of the call.
pub(crate) struct GuestMemory<'a> {
    base: *mut u8,
    len: usize,
    call: PhantomData<&'a mut [u8]>,
}

impl<'a> GuestMemory<'a> {
    /// The memory of the instance with this context.
    ///
    /// # Safety
    /// The instance is alive and its code does not run for `'a`; no other access to its memory is
    /// made for `'a`.
    pub(crate) unsafe fn new(vmctx: VmCtx) -> Self {
        // SAFETY: forwards the caller's promise.
        let (base, len) = unsafe { lunatic_engine::memory_at(vmctx) };
        Self { base, len, call: PhantomData }
    }

    /// Any bytes as a memory.
    #[cfg(test)]
    pub(crate) fn over(bytes: &'a mut [u8]) -> Self {
        Self { base: bytes.as_mut_ptr(), len: bytes.len(), call: PhantomData }
    }

    /// The `len` bytes at `at`.
    pub(crate) fn slice(&self, at: Ptr, len: u32) -> Result<&'a [u8], Fault> {
        let start = self.check(at, len)?;
        // SAFETY: `check` found the range inside the memory, which stays put for `'a`: only the
        // guest's own code grows it.
        Ok(unsafe { std::slice::from_raw_parts(start, len as usize) })
    }

    /// The `len` bytes at `at`, to be written.
    pub(crate) fn slice_mut(&mut self, at: Ptr, len: u32) -> Result<&mut [u8], Fault> {
        let start = self.check(at, len)?;
        // SAFETY: as in `slice`; exclusive through `&mut self`.
        Ok(unsafe { std::slice::from_raw_parts_mut(start, len as usize) })
    }

    fn check(&self, at: Ptr, len: u32) -> Result<*mut u8, Fault> {
        if u64::from(at.0) + u64::from(len) > self.len as u64 {
            return Err(Fault::new(format!(
                "the guest's pointer {:#x} with length {len} lies outside of its memory of {} bytes",
                at.0, self.len
            )));
        }
        Ok(self.base.wrapping_add(at.0 as usize))
    }

    /// Copies bytes in.
    pub(crate) fn write(&mut self, at: Ptr, bytes: &[u8]) -> Result<(), Fault> {
        let len = u32::try_from(bytes.len())
            .map_err(|_| Fault::new(format!("{} bytes do not fit a memory", bytes.len())))?;
        self.slice_mut(at, len)?.copy_from_slice(bytes);
        Ok(())
    }

    /// Writes a little-endian number.
    pub(crate) fn write_u32(&mut self, at: Ptr, value: u32) -> Result<(), Fault> {
        self.write(at, &value.to_le_bytes())
    }

    /// Writes a little-endian number.
    pub(crate) fn write_u64(&mut self, at: Ptr, value: u64) -> Result<(), Fault> {
        self.write(at, &value.to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{GuestMemory, Ptr};

    const LEN: u32 = 256;

    /// Numbers near all edges: of the memory, of the address space.
    fn edges() -> impl Strategy<Value = u32> {
        let near = |edge: u32| (0..10u32).prop_map(move |by| edge.wrapping_add(by).wrapping_sub(5));
        prop_oneof![near(0), near(LEN), near(u32::MAX), near(1 << 31), any::<u32>()]
    }

    proptest! {
        #[test]
        fn exactly_what_lies_inside_can_be_reached(at in edges(), len in edges()) {
            let mut bytes = vec![0; LEN as usize];
            let mut memory = GuestMemory::over(&mut bytes);
            let inside = u64::from(at) + u64::from(len) <= u64::from(LEN);
            prop_assert_eq!(memory.slice(Ptr(at), len).is_ok(), inside);
            match memory.slice_mut(Ptr(at), len) {
                Ok(slice) => {
                    prop_assert!(inside);
                    slice.fill(1);
                    prop_assert_eq!(bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>(), len);
                }
                Err(_) => prop_assert!(!inside),
            }
        }

        #[test]
        fn numbers_are_read_and_written_inside_only(at in edges(), value in any::<u64>()) {
            let mut bytes = vec![0; LEN as usize];
            let mut memory = GuestMemory::over(&mut bytes);
            let at = Ptr(at);
            let written = value.to_le_bytes();
            let fits = |size: u64| u64::from(at.0) + size <= u64::from(LEN);
            prop_assert_eq!(memory.write_u64(at, value).is_ok(), fits(8));
            prop_assert_eq!(memory.slice(at, 8).ok(), fits(8).then_some(&written[..]));
            prop_assert_eq!(memory.write_u32(at, value as u32).is_ok(), fits(4));
            prop_assert_eq!(memory.slice(at, 4).ok(), fits(4).then_some(&written[..4]));
        }

        #[test]
        fn an_address_does_not_wrap(at in edges(), by in edges()) {
            let sum = at.checked_add(by);
            prop_assert_eq!(Ptr(at).offset(by).ok(), sum.map(Ptr));
        }
    }

    #[test]
    fn a_guest_without_memory_reaches_nothing() {
        let memory = GuestMemory::over(&mut []);
        assert!(memory.slice(Ptr(0), 0).is_ok());
        assert!(memory.slice(Ptr(0), 1).is_err());
        assert!(memory.slice(Ptr(1), 0).is_err());
    }
}
