//! The functions that compiled code calls for what it cannot do by itself: `memory.grow`, bulk
//! operations, tables, references, and the yield point.
//!
//! They stand in the `VMContext`'s builtin array in wasmer's order and have wasmer's machine
//! signatures. They run on the process's own small stack. What may lock, allocate or call the
//! system goes through [`Hooks::on_host_stack`]; what may take long works in pieces and charges
//! the process for them, so that a `memory.fill` of 4 GiB is as preemptible as a loop.
//!
//! Safety of the whole file: each function is called by compiled code only, with the context of
//! the running instance, so `header_of` is exclusive until the function returns or leaves the
//! fiber; nothing here needs dropping when a trap abandons the stack.
//!
//! [`Hooks::on_host_stack`]: crate::Hooks

#![allow(clippy::multiple_unsafe_ops_per_block)] // One contract for the file, stated above.

use wasmer::sys::vm::{TrapCode, VMBuiltinFunctionIndex as Index};
use wasmer_types::FunctionIndex;

use crate::abi::{BUILTINS, FuncRef, VmCtx};
use crate::exit_thunk;
use crate::image::is_null_function;
use crate::instance::{InstanceHeader, header_of, memory_at};
use crate::memory::PAGE_BYTES;
use crate::meter::YIELD_SEGMENT;
use crate::table::TableState;

/// Bytes of a bulk operation between two looks at the slice.
const BULK_PIECE_BYTES: usize = 128 * 1024;
/// Bytes of a bulk operation that cost one reduction: about what one instruction costs.
const BULK_BYTES_PER_REDUCTION: usize = 16;
/// Reductions for a visit to the host's stack. A signal that comes during one finds nobody to
/// preempt: code that does nothing else must come to an end of its slice nevertheless.
const HOST_WORK: usize = 32;
/// Elements of a table operation that cost one reduction.
const ELEMENTS_PER_REDUCTION: u32 = 2;

/// The builtin array. Builtins of features that are refused at load all lead to `unreachable`.
pub(crate) fn addresses() -> [usize; BUILTINS] {
    let mut array = [unsupported as *const () as usize; BUILTINS];
    let mut set = |index: Index, code: *const ()| array[index.index() as usize] = code as usize;
    set(Index::get_memory32_grow_index(), memory_grow_thunk as *const ());
    set(Index::get_memory32_size_index(), memory_size as *const ());
    set(Index::get_memory_copy_index(), memory_copy_thunk as *const ());
    set(Index::get_memory_fill_index(), memory_fill_thunk as *const ());
    set(Index::get_memory_init_index(), memory_init_thunk as *const ());
    set(Index::get_data_drop_index(), data_drop_thunk as *const ());
    set(Index::get_table_copy_index(), table_copy_thunk as *const ());
    set(Index::get_table_init_index(), table_init_thunk as *const ());
    set(Index::get_table_fill_index(), table_fill_thunk as *const ());
    set(Index::get_table_size_index(), table_size as *const ());
    set(Index::get_table_grow_index(), table_grow_thunk as *const ());
    set(Index::get_table_get_index(), table_get_thunk as *const ());
    set(Index::get_table_set_index(), table_set_thunk as *const ());
    set(Index::get_func_ref_index(), func_ref_thunk as *const ());
    set(Index::get_elem_drop_index(), elem_drop as *const ());
    set(Index::get_raise_trap_index(), raise_trap as *const ());
    array
}

exit_thunk!(memory_grow_thunk => memory_grow);
exit_thunk!(memory_copy_thunk => memory_copy);
exit_thunk!(memory_fill_thunk => memory_fill);
exit_thunk!(memory_init_thunk => memory_init);
exit_thunk!(data_drop_thunk => data_drop);
exit_thunk!(table_copy_thunk => table_copy);
exit_thunk!(table_init_thunk => table_init);
exit_thunk!(table_fill_thunk => table_fill);
exit_thunk!(table_grow_thunk => table_grow);
exit_thunk!(table_get_thunk => table_get);
exit_thunk!(table_set_thunk => table_set);
exit_thunk!(func_ref_thunk => func_ref);

/// `unreachable` calls this without a context and is followed by an illegal instruction whose entry
/// in the trap table says the same: returning raises the trap.
extern "C" fn raise_trap(_code: u32) {}

/// A builtin of a feature that validation refuses: getting here is a bug of ours.
extern "C" fn unsupported() -> ! {
    std::process::abort()
}

fn raise(header: &mut InstanceHeader, vmctx: VmCtx, code: TrapCode) -> ! {
    // SAFETY: the instance was made with this owner and these hooks.
    unsafe { (header.hooks.raise)(header.owner, vmctx, code) }
}

fn on_host_stack(header: &mut InstanceHeader, mut call: impl FnMut(&mut InstanceHeader)) {
    let (owner, hooks) = (header.owner, header.hooks);
    // SAFETY: the instance was made with this owner and these hooks.
    unsafe { (hooks.on_host_stack)(owner, &mut || call(header)) };
}

/// Charges for work done and lets others run if the slice is used up.
fn charge(vmctx: VmCtx, amount: usize) {
    // SAFETY: see the head of the file.
    let header = unsafe { header_of(vmctx) };
    if header.charge(vmctx, i64::try_from(amount).unwrap_or(i64::MAX)) {
        yield_point(vmctx);
    }
}

#[cold]
fn yield_point(vmctx: VmCtx) {
    // SAFETY: see the head of the file. The header is not used across the suspension.
    let (owner, hooks) = unsafe {
        let header = header_of(vmctx);
        header.begin_slice(vmctx);
        (header.owner, header.hooks)
    };
    // SAFETY: the instance was made with this owner and these hooks.
    unsafe { (hooks.yield_now)(owner) };
}

unsafe extern "C" fn memory_grow(vmctx: VmCtx, delta: u32, _memory: u32) -> u32 {
    // SAFETY: see the head of the file.
    let header = unsafe { header_of(vmctx) };
    let mut old = None;
    on_host_stack(header, |header| old = header.grow_memory(vmctx, delta));
    charge(vmctx, HOST_WORK);
    old.unwrap_or(u32::MAX)
}

unsafe extern "C" fn memory_size(vmctx: VmCtx, _memory: u32) -> u32 {
    // SAFETY: see the head of the file.
    let (_, length) = unsafe { memory_at(vmctx) };
    u32::try_from(length / PAGE_BYTES).unwrap_or(u32::MAX)
}

/// Whether `[start, start + len)` lies within `limit`.
fn within(start: u32, len: u32, limit: usize) -> bool {
    u64::from(start) + u64::from(len) <= limit as u64
}

unsafe extern "C" fn memory_copy(
    vmctx: VmCtx,
    _to_memory: u32,
    _from_memory: u32,
    to: u32,
    from: u32,
    len: u32,
) {
    // SAFETY: see the head of the file.
    let (base, length) = unsafe { memory_at(vmctx) };
    if !within(to, len, length) || !within(from, len, length) {
        // SAFETY: see the head of the file.
        raise(unsafe { header_of(vmctx) }, vmctx, TrapCode::HeapAccessOutOfBounds);
    }
    let (to, from, len) = (to as usize, from as usize, len as usize);
    let move_piece = |offset: usize, bytes: usize| {
        // SAFETY: both ranges lie in the memory, which does not move: only this process grows it.
        unsafe { std::ptr::copy(base.add(from + offset), base.add(to + offset), bytes) };
    };
    if len <= BULK_PIECE_BYTES {
        return move_piece(0, len);
    }
    // Piece by piece in the direction that never overwrites what is still to be read.
    let pieces = len.div_ceil(BULK_PIECE_BYTES);
    for step in 0..pieces {
        let piece = if to <= from { step } else { pieces - 1 - step };
        let offset = piece * BULK_PIECE_BYTES;
        let bytes = BULK_PIECE_BYTES.min(len - offset);
        move_piece(offset, bytes);
        charge(vmctx, bytes / BULK_BYTES_PER_REDUCTION);
    }
}

unsafe extern "C" fn memory_fill(vmctx: VmCtx, _memory: u32, to: u32, value: u32, len: u32) {
    // SAFETY: see the head of the file.
    let (base, length) = unsafe { memory_at(vmctx) };
    if !within(to, len, length) {
        // SAFETY: see the head of the file.
        raise(unsafe { header_of(vmctx) }, vmctx, TrapCode::HeapAccessOutOfBounds);
    }
    let (mut at, end) = (to as usize, to as usize + len as usize);
    while at < end {
        let bytes = BULK_PIECE_BYTES.min(end - at);
        // SAFETY: the piece lies in the memory, which does not move: only this process grows it.
        unsafe { std::ptr::write_bytes(base.add(at), value as u8, bytes) };
        at += bytes;
        if at < end {
            charge(vmctx, bytes / BULK_BYTES_PER_REDUCTION);
        }
    }
}

unsafe extern "C" fn memory_init(
    vmctx: VmCtx,
    _memory: u32,
    segment: u32,
    to: u32,
    from: u32,
    len: u32,
) {
    // SAFETY: see the head of the file.
    let (base, length) = unsafe { memory_at(vmctx) };
    // SAFETY: see the head of the file.
    let header = unsafe { header_of(vmctx) };
    let bytes: &[u8] =
        if header.is_dropped(segment) { &[] } else { header.image().passive_data(segment) };
    if !within(from, len, bytes.len()) || !within(to, len, length) {
        raise(header, vmctx, TrapCode::HeapAccessOutOfBounds);
    }
    let bytes = &bytes[from as usize..][..len as usize];
    // SAFETY: the target lies in the memory, the source in the image.
    unsafe { base.add(to as usize).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    charge(vmctx, bytes.len() / BULK_BYTES_PER_REDUCTION);
}

/// `data.drop`, and through an index that no module can have the yield point of `meter.rs`.
unsafe extern "C" fn data_drop(vmctx: VmCtx, segment: u32) {
    if segment == YIELD_SEGMENT {
        return yield_point(vmctx);
    }
    // SAFETY: see the head of the file.
    let header = unsafe { header_of(vmctx) };
    if segment < header.image().data_bits() {
        header.drop_segment(segment);
    }
}

unsafe extern "C" fn elem_drop(vmctx: VmCtx, segment: u32) {
    // SAFETY: see the head of the file.
    let header = unsafe { header_of(vmctx) };
    if !header.image().passive_elements(segment).is_empty() {
        let bit = header.image().data_bits() + segment;
        header.drop_segment(bit);
    }
}

impl InstanceHeader {
    fn is_dropped(&self, bit: u32) -> bool {
        if bit >= self.image().dropped_bits() {
            return false;
        }
        // SAFETY: the template has a bit for each passive segment.
        unsafe { *self.dropped.add(bit as usize / 64) >> (bit % 64) & 1 == 1 }
    }

    fn drop_segment(&mut self, bit: u32) {
        // SAFETY: the caller checked that the template has this bit.
        unsafe { *self.dropped.add(bit as usize / 64) |= 1 << (bit % 64) };
    }

    fn table(&mut self, index: u32) -> &mut TableState {
        // SAFETY: compiled code names tables of its module; the block holds a state for each.
        unsafe { &mut *self.tables.add(index as usize) }
    }

    /// `table.grow`, within what the process and all processes together may have; the old length.
    fn grow_table(&mut self, table: u32, delta: u32) -> Option<u32> {
        let before = self.table(table).heap_bytes();
        let more = self.table(table).heap_bytes_for(delta).saturating_sub(before);
        let bytes = self.table_bytes.checked_add(more)?;
        if bytes > self.table_bytes_max {
            return None;
        }
        self.take_room(more)?;
        let old = self.table(table).grow(delta);
        match old {
            Some(_) => self.table_bytes = bytes,
            None => self.give_room(more),
        }
        old
    }

    /// A reference to a function of this instance, the same each time it is asked for.
    fn funcref(&mut self, vmctx: VmCtx, function: u32) -> usize {
        if let Some(offset) = self.image().funcref_offset(function) {
            return std::ptr::from_mut(self) as usize + offset as usize;
        }
        let fresh = self.image().funcref(function, vmctx as usize);
        let known = self.funcrefs.get_or_insert_default();
        let entry: &FuncRef = known.entry(function).or_insert_with(|| Box::new(fresh));
        std::ptr::from_ref(entry) as usize
    }

    /// The reference in a table, which for an inline table has to be found by its code.
    fn element(&mut self, vmctx: VmCtx, table: u32, at: u32) -> usize {
        let state = *self.table(table);
        if !state.inline {
            // SAFETY: the caller checked the bounds.
            return unsafe { *state.elements.add(at as usize) };
        }
        // SAFETY: as above; an inline table holds `FuncRef`s.
        let entry = unsafe { *state.elements.cast::<FuncRef>().add(at as usize) };
        match self.image().function_at(entry.code) {
            Some(function) => self.funcref(vmctx, function),
            None => 0,
        }
    }

    fn set_element(&mut self, table: u32, at: u32, reference: usize) {
        let state = *self.table(table);
        if !state.inline {
            // SAFETY: the caller checked the bounds.
            unsafe { *state.elements.add(at as usize) = reference };
            return;
        }
        // SAFETY: a function reference is null or one of this instance's, which live as long as it.
        let entry = unsafe { (reference as *const FuncRef).as_ref() };
        // SAFETY: the caller checked the bounds; an inline table holds `FuncRef`s.
        unsafe {
            *state.elements.cast::<FuncRef>().add(at as usize) =
                entry.copied().unwrap_or(FuncRef::NULL);
        }
    }

    /// Tells compiled code where a table is now.
    fn publish_table(&mut self, vmctx: VmCtx, table: u32) {
        let state = *self.table(table);
        let offset = state.definition_offset as usize;
        let definition: *mut [usize; 2] = vmctx.cast::<u8>().wrapping_add(offset).cast();
        // SAFETY: the definition lies in this instance's context.
        unsafe { definition.write([state.elements as usize, state.len as usize]) };
    }
}

unsafe extern "C" fn func_ref(vmctx: VmCtx, function: u32) -> usize {
    // SAFETY: see the head of the file.
    let header = unsafe { header_of(vmctx) };
    let mut reference = 0;
    on_host_stack(header, |header| reference = header.funcref(vmctx, function));
    charge(vmctx, HOST_WORK);
    reference
}

unsafe extern "C" fn table_size(vmctx: VmCtx, table: u32) -> u32 {
    // SAFETY: see the head of the file.
    unsafe { header_of(vmctx) }.table(table).len
}

unsafe extern "C" fn table_get(vmctx: VmCtx, table: u32, at: u32) -> usize {
    // SAFETY: see the head of the file.
    let header = unsafe { header_of(vmctx) };
    if at >= header.table(table).len {
        raise(header, vmctx, TrapCode::TableAccessOutOfBounds);
    }
    let mut reference = 0;
    on_host_stack(header, |header| reference = header.element(vmctx, table, at));
    charge(vmctx, HOST_WORK);
    reference
}

unsafe extern "C" fn table_set(vmctx: VmCtx, table: u32, at: u32, reference: usize) {
    // SAFETY: see the head of the file.
    let header = unsafe { header_of(vmctx) };
    if at >= header.table(table).len {
        raise(header, vmctx, TrapCode::TableAccessOutOfBounds);
    }
    header.set_element(table, at, reference);
}

unsafe extern "C" fn table_grow(vmctx: VmCtx, init: usize, delta: u32, table: u32) -> u32 {
    // SAFETY: see the head of the file.
    let header = unsafe { header_of(vmctx) };
    let mut old = None;
    on_host_stack(header, |header| {
        old = header.grow_table(table, delta);
        header.publish_table(vmctx, table);
    });
    charge(vmctx, HOST_WORK);
    let Some(old) = old else { return u32::MAX };
    fill_elements(vmctx, table, old, init, delta);
    old
}

unsafe extern "C" fn table_fill(vmctx: VmCtx, table: u32, to: u32, reference: usize, len: u32) {
    // SAFETY: see the head of the file.
    let header = unsafe { header_of(vmctx) };
    if !within(to, len, header.table(table).len as usize) {
        raise(header, vmctx, TrapCode::TableAccessOutOfBounds);
    }
    fill_elements(vmctx, table, to, reference, len);
}

fn fill_elements(vmctx: VmCtx, table: u32, to: u32, reference: usize, len: u32) {
    for at in to..to + len {
        // SAFETY: see the head of the file.
        unsafe { header_of(vmctx) }.set_element(table, at, reference);
        charge_elements(vmctx, at);
    }
}

/// Charges for table elements, a bunch at a time.
fn charge_elements(vmctx: VmCtx, position: u32) {
    const BUNCH: u32 = 1024;
    if position.is_multiple_of(BUNCH) {
        charge(vmctx, (BUNCH / ELEMENTS_PER_REDUCTION) as usize);
    }
}

unsafe extern "C" fn table_init(
    vmctx: VmCtx,
    table: u32,
    segment: u32,
    to: u32,
    from: u32,
    len: u32,
) {
    // SAFETY: see the head of the file.
    let header = unsafe { header_of(vmctx) };
    let bit = header.image().data_bits() + segment;
    let elements: usize =
        if header.is_dropped(bit) { 0 } else { header.image().passive_elements(segment).len() };
    let size = header.table(table).len as usize;
    if !within(from, len, elements) || !within(to, len, size) {
        raise(header, vmctx, TrapCode::TableAccessOutOfBounds);
    }
    for step in 0..len {
        // SAFETY: see the head of the file; fetched anew, as charging may suspend.
        let header = unsafe { header_of(vmctx) };
        let function: FunctionIndex =
            header.image().passive_elements(segment)[(from + step) as usize];
        let mut reference = 0;
        if !is_null_function(function) {
            on_host_stack(header, |header| reference = header.funcref(vmctx, function.as_u32()));
        }
        header.set_element(table, to + step, reference);
        charge_elements(vmctx, to + step);
    }
}

unsafe extern "C" fn table_copy(
    vmctx: VmCtx,
    to_table: u32,
    from_table: u32,
    to: u32,
    from: u32,
    len: u32,
) {
    // SAFETY: see the head of the file.
    let header = unsafe { header_of(vmctx) };
    let (to_len, from_len) = (header.table(to_table).len, header.table(from_table).len);
    if !within(from, len, from_len as usize) || !within(to, len, to_len as usize) {
        raise(header, vmctx, TrapCode::TableAccessOutOfBounds);
    }
    let forwards = to_table != from_table || to <= from;
    for step in 0..len {
        let step = if forwards { step } else { len - 1 - step };
        // SAFETY: see the head of the file; fetched anew, as charging may suspend.
        let header = unsafe { header_of(vmctx) };
        let mut reference = 0;
        on_host_stack(header, |header| {
            reference = header.element(vmctx, from_table, from + step);
        });
        header.set_element(to_table, to + step, reference);
        charge_elements(vmctx, to + step);
    }
}
