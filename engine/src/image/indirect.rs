//! Functions by their place in a table: what guests of the seed era give to `spawn`.
//!
//! Their compiler does not export the table, so it is looked up here, as the template has it: a new
//! instance begins with that, whatever the caller has done to its own since.

use std::mem::offset_of;

use wasmer_types::{FunctionIndex, FunctionType};

use super::{Callable, FuncRef, Image, ImageInner, POINTER_BYTES, TableState};

/// A function that a table holds when an instance begins.
#[derive(Debug, Clone, Copy)]
pub struct TableFunction<'a> {
    /// To be called in an instance of the image.
    pub callable: Callable,
    /// Its type.
    pub ty: &'a FunctionType,
}

impl Image {
    /// The function at this place of the first table; `None` if there is none.
    #[must_use]
    pub fn table_function(&self, place: u32) -> Option<TableFunction<'_>> {
        self.0.table_function(place)
    }
}

impl ImageInner {
    pub(crate) fn table_function(&self, place: u32) -> Option<TableFunction<'_>> {
        let callable = self.callable(FunctionIndex::from_u32(self.first_table(place)?));
        Some(TableFunction { callable, ty: self.function_type(callable) })
    }

    /// The index of the function at this place of the first table.
    fn first_table(&self, place: u32) -> Option<u32> {
        if self.layout.table_count == 0 {
            return None;
        }
        let state = self.layout.tables;
        let len = self.template_word(state + offset_of!(TableState, len)) as u32;
        if place >= len {
            return None;
        }
        let is_inline = self.template_byte(state + offset_of!(TableState, inline)) != 0;
        let elements = self.template_word(state + offset_of!(TableState, elements));
        let reference = if is_inline {
            elements + place as usize * size_of::<FuncRef>()
        } else {
            // An offset in the block; nothing is at its beginning, which is the header.
            match self.template_word(elements + place as usize * POINTER_BYTES) {
                0 => return None,
                reference => reference,
            }
        };
        self.function_at(self.template_word(reference + offset_of!(FuncRef, code)))
    }

    /// Eight bytes of the template; zero beyond its end.
    fn template_word(&self, offset: usize) -> usize {
        let bytes = std::array::from_fn(|at| self.template_byte(offset + at));
        usize::from_le_bytes(bytes)
    }

    fn template_byte(&self, offset: usize) -> u8 {
        let unit = self.template.get(offset / 16).copied().unwrap_or_default();
        unit.to_ne_bytes()[offset % 16]
    }
}
