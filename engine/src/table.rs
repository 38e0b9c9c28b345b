//! Tables other than wasmer's inline ones: elements in the block until the table grows, then in an
//! allocation of their own.
//!
//! A fixed table of functions (minimum = maximum) has no elements here: its function references lie
//! inside the `VMContext` and compiled code uses them in place.

use std::alloc::{Layout, alloc_zeroed, dealloc};

use crate::image::TABLE_ELEMENTS_MAX;

/// One table of an instance, in the tail of its block. The template holds its initial value.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct TableState {
    /// Elements: references, 8 bytes each. Relative to the block in the template. For an inline
    /// table: its `FuncRef`s.
    pub(crate) elements: *mut usize,
    pub(crate) len: u32,
    /// Elements that fit the allocation; 0 while the elements lie in the block.
    allocated: u32,
    pub(crate) max: u32,
    /// Whether `elements` are 32-byte function references.
    pub(crate) inline: bool,
    /// Offset of the `VMTableDefinition` from the `VMContext`.
    pub(crate) definition_offset: u32,
}

impl TableState {
    /// The state of a table in a template: `elements` is an offset from the block.
    pub(crate) fn template(
        elements: usize,
        len: u32,
        max: Option<u32>,
        inline: bool,
        definition_offset: u32,
    ) -> Self {
        let max = max.unwrap_or(u32::MAX).min(TABLE_ELEMENTS_MAX);
        Self { elements: elements as *mut usize, len, allocated: 0, max, inline, definition_offset }
    }

    /// Bytes of elements that are not in the block.
    pub(crate) fn heap_bytes(&self) -> u64 {
        u64::from(self.allocated) * size_of::<usize>() as u64
    }

    /// The same after it has grown by `delta` elements.
    pub(crate) fn heap_bytes_for(&self, delta: u32) -> u64 {
        let new = self.len.saturating_add(delta);
        if self.inline || delta == 0 || new > self.max || new <= self.allocated {
            return self.heap_bytes();
        }
        u64::from(self.room_for(new)) * size_of::<usize>() as u64
    }

    /// Elements of an allocation for at least `needed`.
    fn room_for(&self, needed: u32) -> u32 {
        needed.max(self.len.saturating_mul(2)).min(self.max)
    }

    /// Makes room for `delta` more elements (zeroed: null); the old length, or `None`.
    pub(crate) fn grow(&mut self, delta: u32) -> Option<u32> {
        let old = self.len;
        let new = old.checked_add(delta).filter(|&new| new <= self.max)?;
        if self.inline {
            return (delta == 0).then_some(old);
        }
        if delta > 0 && new > self.allocated {
            self.reallocate(new)?;
        }
        self.len = new;
        Some(old)
    }

    fn reallocate(&mut self, needed: u32) -> Option<()> {
        let room = self.room_for(needed);
        let layout = Layout::array::<usize>(room as usize).ok()?;
        // SAFETY: the layout is not empty, as `needed` is more than the old length.
        let elements = unsafe { alloc_zeroed(layout) }.cast::<usize>();
        if elements.is_null() {
            return None;
        }
        // SAFETY: `len` elements are initialised in the old place, and the new one has more room.
        unsafe { std::ptr::copy_nonoverlapping(self.elements, elements, self.len as usize) };
        let len = self.len;
        self.release();
        *self = Self { elements, len, allocated: room, ..*self };
        Some(())
    }

    /// Frees the elements that are not in the block.
    pub(crate) fn release(&mut self) {
        if self.allocated > 0 {
            let layout =
                Layout::array::<usize>(self.allocated as usize).expect("this layout was allocated");
            // SAFETY: allocated by `reallocate` with this layout, and not used any more.
            unsafe { dealloc(self.elements.cast(), layout) };
            self.allocated = 0;
            self.len = 0;
        }
    }
}
