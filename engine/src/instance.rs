//! One process's instance: a block of memory that compiled code knows as its `VMContext`, a linear
//! memory, and what the builtins need beside them.
//!
//! **Making one** is copying the image's template into the block, adding the block's address to the
//! words that the image lists, and placing the memory. The block belongs to whoever makes the
//! instance (the scheduler keeps it in the process's slot) and must outlive it.
//!
//! **Who may touch it**: the thread that runs the process, or that holds it suspended. Nothing
//! here is shared between processes but the image, which never changes.

mod prepare;

use std::collections::HashMap;
use std::ops::Range;
use std::ptr::NonNull;

use wasmer::sys::vm::{TrapCode, VMTrampoline};
use wasmer_types::{FunctionType, RawValue};

use crate::abi::{FuncRef, NOWHERE, VmCtx};
use crate::image::{Callable, ImageInner};
use crate::memory::{MemoryPool, MemorySlot, PAGE_BYTES};
use crate::os;
use crate::table::TableState;
use crate::traps::{MachinePoint, RawBacktrace, walk};

pub use prepare::{InstantiateError, Limits, Prepared};

/// What an instance asks of the fiber it runs on.
///
/// Each function gets the `owner` that the instance was made with and is called on the fiber's own
/// stack by the thread that runs it.
pub struct Hooks {
    /// Ends the fiber for this trap. [`exit_backtrace`] tells where compiled code was left.
    pub raise: unsafe fn(owner: *mut (), vmctx: VmCtx, code: TrapCode) -> !,
    /// The slice is used up: let others run.
    pub yield_now: unsafe fn(owner: *mut ()),
    /// Runs the closure on a stack of the host's: for what allocates, locks or calls the system.
    pub on_host_stack: unsafe fn(owner: *mut (), call: &mut dyn FnMut()),
}

/// Sits right before the `VMContext` of an instance.
///
/// The last two words are written by the exit thunks (`thunk.rs`) at fixed negative offsets.
#[repr(C, align(16))]
pub(crate) struct InstanceHeader {
    pub(crate) owner: *mut (),
    pub(crate) hooks: &'static Hooks,
    /// Outlives the instance, as `Prepared::place` demands: a count of each instance's own would be
    /// one word that all workers write at every spawn and every end.
    image: *const ImageInner,
    pool: *const MemoryPool,
    /// Lives while `pool` is not null; `None` for a module without memory or with an empty one.
    slot: Option<MemorySlot>,
    /// Bytes that it has taken of the pool's room.
    charged: u64,
    /// Most pages that `memory.grow` reaches: the module's maximum or the process's limit.
    pub(crate) pages_max: usize,
    /// Where the `VMMemoryDefinition` is, in bytes from the `VMContext`, or [`NOWHERE`].
    pub(crate) memory_offset: usize,
    /// Where the reductions global is, in bytes from the `VMContext`; [`NOWHERE`] in code without it.
    pub(crate) reductions_offset: usize,
    /// Reductions of one slice.
    pub(crate) slice: i64,
    /// Reductions of the slices that are over. Of code without yield points: what the host has done
    /// for it in the present slice.
    reductions_done: u64,
    /// One bit a segment: first the data segments, then the element segments.
    pub(crate) dropped: *mut u64,
    /// The module's tables, in the block's tail.
    pub(crate) tables: *mut TableState,
    /// What the tables that have grown take, and may: as much as the linear memory may, so that a
    /// limit of memory is one of memory.
    pub(crate) table_bytes: u64,
    pub(crate) table_bytes_max: u64,
    /// References to functions that the template has none for. Boxed: hardly any process has some.
    #[allow(clippy::box_collection, reason = "one word in every process instead of six")]
    pub(crate) funcrefs: Option<Box<HashMap<u32, Box<FuncRef>>>>,
    /// So that the words below are the last of an aligned header.
    _padding: u64,
    exit_frame_pointer: usize,
    exit_stack_pointer: usize,
}

/// Bytes of [`InstanceHeader`].
pub(crate) const HEADER_BYTES: usize = size_of::<InstanceHeader>();

/// Where the exit thunks store the frame pointer, in bytes below the `VMContext`.
pub const EXIT_FRAME_POINTER_BELOW: usize = 16;
/// Where they store the stack pointer (x86-64) or the return address (aarch64).
pub const EXIT_STACK_POINTER_BELOW: usize = 8;

const _: () = {
    use std::mem::offset_of;
    assert!(HEADER_BYTES.is_multiple_of(16));
    let frame = offset_of!(InstanceHeader, exit_frame_pointer);
    assert!(HEADER_BYTES - frame == EXIT_FRAME_POINTER_BELOW);
    let stack = offset_of!(InstanceHeader, exit_stack_pointer);
    assert!(HEADER_BYTES - stack == EXIT_STACK_POINTER_BELOW);
};

/// Of a memory longer than this an end is shed first: longer than any slot whose pages are kept.
const SHED_ABOVE_BYTES: usize = 4 << 20;
/// What is shed in one go. By feel: some tenths of a millisecond, if all of it was touched.
const SHED_BYTES: usize = 8 << 20;
/// The same when all memory is taken: faster than others touch more while they have their turns.
const SHED_BYTES_WHEN_FULL: usize = 256 << 20;

/// Owns the instance in a block; gives its memory back when dropped.
#[derive(Debug)]
pub struct Instance {
    header: NonNull<InstanceHeader>,
    /// The block, if it is not in its owner's place.
    _own_block: Option<Box<[u128]>>,
}

/// A function of one instance, ready to be called on that instance's fiber.
#[derive(Debug, Clone, Copy)]
pub struct BoundCall {
    vmctx: VmCtx,
    function: Callable,
}

impl BoundCall {
    /// Calls the function with its arguments in `values`, which receives the results.
    ///
    /// # Safety
    /// The instance is alive; the caller runs on a fiber whose traps are caught; nothing on that
    /// fiber's stack needs dropping; `values` holds the arguments that the function's type asks
    /// for, with room for its results.
    pub unsafe fn call(self, values: &mut [RawValue]) {
        // SAFETY: the address is a trampoline of the image's artifact.
        let trampoline: VMTrampoline = unsafe { std::mem::transmute(self.function.trampoline) };
        let code = self.function.code as *const _;
        // SAFETY: forwards the caller's promises; `code` belongs to the same artifact.
        unsafe { trampoline(self.vmctx, code, values.as_mut_ptr()) };
    }

    /// Context, code and trampoline.
    pub(crate) fn parts(self) -> (VmCtx, usize, usize) {
        (self.vmctx, self.function.code, self.function.trampoline)
    }
}

/// Where a guest stood when its host function called it back.
pub(crate) struct StackMarks {
    exit: (usize, usize),
    /// The guest's own stack pointer, if it is known.
    shadow: u32,
}

// SAFETY: it is an address and code; who calls it answers for the instance.
unsafe impl Send for BoundCall {}

// SAFETY: an instance is used by one thread at a time (`&mut` or the running fiber); nothing in it
// belongs to a thread.
unsafe impl Send for Instance {}

impl Instance {
    fn place_memory(&mut self, bytes: usize) {
        // SAFETY: written by `Prepared::place`, exclusively ours.
        let header = unsafe { self.header.as_ref() };
        if let Some(slot) = &header.slot {
            set_memory(self.vmctx(), header.memory_offset, slot.base(), bytes);
        }
    }

    /// What compiled code calls its context.
    #[must_use]
    pub fn vmctx(&self) -> VmCtx {
        self.header.as_ptr().wrapping_add(1).cast()
    }

    /// The instance's linear memory: address and length in bytes; empty if it has none.
    #[must_use]
    pub fn memory(&self) -> (*mut u8, usize) {
        // SAFETY: the header lives as long as the instance.
        let header = unsafe { self.header.as_ref() };
        memory_of(self.vmctx(), header.memory_offset)
    }

    /// Before it is dropped, when its code runs no more: gives a part of a large memory back to the
    /// system. True: there is more of it. All in one go would keep the thread for up to some tenths of
    /// a second.
    #[inline]
    pub fn shed(&mut self) -> bool {
        let (base, length) = self.memory();
        length > SHED_ABOVE_BYTES && self.shed_end(base, length)
    }

    #[cold]
    fn shed_end(&mut self, base: *mut u8, length: usize) -> bool {
        // SAFETY: the header lives as long as the instance.
        let header = unsafe { self.header.as_ref() };
        // SAFETY: the pool outlives the instance, as `Prepared::place` demands.
        let is_full = unsafe { &*header.pool }.room().is_full();
        let bytes = if is_full { SHED_BYTES_WHEN_FULL } else { SHED_BYTES };
        let kept = length.saturating_sub(bytes).max(SHED_ABOVE_BYTES);
        // What lies beyond the length of a memory is zero, so it is as if that had never been.
        os::discard(base as usize + kept..base as usize + length);
        set_memory(self.vmctx(), header.memory_offset, base, kept);
        kept > SHED_ABOVE_BYTES
    }

    /// Addresses beyond its memory that compiled code may touch, trusting that they fault: a fault at
    /// one of them is the guest's. Async-signal-safe.
    #[must_use]
    pub fn reach(&self) -> Range<usize> {
        // SAFETY: the header lives as long as the instance.
        let header = unsafe { self.header.as_ref() };
        let (_, length) = memory_of(self.vmctx(), header.memory_offset);
        header.slot.as_ref().map_or(0..0, |slot| slot.reach(length))
    }

    /// A function of the instance's image, to be called in it.
    #[must_use]
    pub fn bind(&self, function: Callable) -> BoundCall {
        BoundCall { vmctx: self.vmctx(), function }
    }

    /// An exported function, ready to be called, and its type.
    #[must_use]
    pub fn export(&self, name: &str) -> Option<(BoundCall, &FunctionType)> {
        // SAFETY: the header lives as long as the instance.
        let image = unsafe { self.header.as_ref() }.image();
        let callable = image.exported(name.as_bytes())?.callable;
        Some((self.bind(callable), image.function_type(callable)))
    }

    /// The function at this place of the image's first table, ready to be called, and its type: as the
    /// instance had it when it began.
    #[must_use]
    pub fn table_function(&self, place: u32) -> Option<(BoundCall, &FunctionType)> {
        // SAFETY: the header lives as long as the instance.
        let found = unsafe { self.header.as_ref() }.image().table_function(place)?;
        Some((self.bind(found.callable), found.ty))
    }

    /// The function that runs before any other, if the module has one.
    #[must_use]
    pub fn start(&self) -> Option<BoundCall> {
        // SAFETY: the header lives as long as the instance.
        let start = unsafe { self.header.as_ref() }.image().start();
        start.map(|start| self.bind(start))
    }

    /// Reductions used so far, of code with yield points.
    #[must_use]
    pub fn reductions_used(&self) -> u64 {
        // SAFETY: the header lives as long as the instance.
        let header = unsafe { self.header.as_ref() };
        if header.reductions_offset == NOWHERE {
            return 0;
        }
        let current = self.reductions().map_or(0, |left| {
            // SAFETY: points at the reductions global of this block.
            header.slice.saturating_sub(unsafe { left.read() })
        });
        header.reductions_done + current.max(0).unsigned_abs()
    }

    /// Begins a new slice: after the instance has waited, whatever it had used of the last one.
    #[inline]
    pub fn begin_slice(&mut self) {
        let vmctx = self.vmctx();
        // SAFETY: exclusively ours; its code stands still.
        unsafe { self.header.as_mut() }.begin_slice(vmctx);
    }

    /// Begins a new slice, of this length, as all later ones are.
    pub fn begin_slice_of(&mut self, slice: i64) {
        self.begin_slice();
        // SAFETY: exclusively ours; its code stands still.
        let header = unsafe { self.header.as_mut() };
        header.slice = slice;
        if let Some(left) = self.reductions() {
            // SAFETY: points at the reductions global of this block; its code stands still.
            unsafe { left.write(slice) };
        }
    }

    /// Takes reductions for work that the host did for the instance; true when the slice is used
    /// up.
    pub fn charge(&mut self, reductions: i64) -> bool {
        let vmctx = self.vmctx();
        // SAFETY: exclusively ours; its code stands still.
        unsafe { self.header.as_mut() }.charge(vmctx, reductions)
    }

    fn reductions(&self) -> Option<*mut i64> {
        // SAFETY: the header lives as long as the instance.
        let offset = unsafe { self.header.as_ref().reductions_offset };
        (offset != NOWHERE).then(|| self.vmctx().cast::<u8>().wrapping_add(offset).cast())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let (_, length) = self.memory();
        // SAFETY: exclusively ours; the fields are taken once, as the header dies here.
        let header = unsafe { self.header.as_mut() };
        // SAFETY: the pool outlives the instance, as `Prepared::place` demands.
        let pool = unsafe { &*header.pool };
        if let Some(slot) = header.slot.take() {
            pool.release(slot, length);
        }
        header.funcrefs = None;
        for table in 0..header.image().table_count() {
            let state = header.tables.wrapping_add(table);
            // SAFETY: the tail holds `table_count` states, initialised by the template.
            unsafe { (*state).release() };
        }
        pool.room().give(header.charged);
    }
}

/// Where the header of a context is.
#[inline]
fn header_before(vmctx: VmCtx) -> *mut InstanceHeader {
    vmctx.cast::<InstanceHeader>().wrapping_sub(1)
}

/// The header of the instance that `vmctx` belongs to.
///
/// # Safety
/// `vmctx` is the context of a live instance, and the caller is the thread that runs it; no other
/// reference to the header is alive.
pub(crate) unsafe fn header_of<'a>(vmctx: VmCtx) -> &'a mut InstanceHeader {
    // SAFETY: the header sits right before the context; exclusive by the caller's promise.
    unsafe { &mut *header_before(vmctx) }
}

/// The owner that the instance of `vmctx` was made with.
///
/// # Safety
/// `vmctx` is the context of a live instance.
#[inline]
pub unsafe fn owner_of(vmctx: VmCtx) -> *mut () {
    // SAFETY: as `header_of`; only one word is read.
    unsafe { (*header_before(vmctx)).owner }
}

/// Address and length of an instance's memory, as compiled code sees them.
///
/// # Safety
/// `vmctx` is the context of a live instance that does not run meanwhile.
#[inline]
pub unsafe fn memory_at(vmctx: VmCtx) -> (*mut u8, usize) {
    // SAFETY: as `header_of`; only one word is read.
    let offset = unsafe { (*header_before(vmctx)).memory_offset };
    memory_of(vmctx, offset)
}

/// The wasm frames at the point where compiled code last called out.
///
/// # Safety
/// `vmctx` is the context of a live instance that is inside a host function or builtin, on a fiber
/// with this stack.
pub unsafe fn exit_backtrace(vmctx: VmCtx, stack: &Range<usize>) -> RawBacktrace {
    // SAFETY: forwards the caller's promise.
    let header = unsafe { header_of(vmctx) };
    let mut backtrace = RawBacktrace::EMPTY;
    let return_address = header.exit_return_address(stack);
    if let Some(return_address) = return_address {
        let at = MachinePoint {
            pc: return_address - 1,
            sp: header.exit_stack_pointer,
            frame_pointer: header.exit_frame_pointer,
        };
        crate::code_map::with(|code| walk(code, at, stack, &mut backtrace));
    }
    backtrace
}

impl InstanceHeader {
    #[cfg(target_arch = "x86_64")]
    fn exit_return_address(&self, stack: &Range<usize>) -> Option<usize> {
        crate::traps::read_word(self.exit_stack_pointer, stack)
    }

    #[cfg(target_arch = "aarch64")]
    fn exit_return_address(&self, _stack: &Range<usize>) -> Option<usize> {
        Some(self.exit_stack_pointer)
    }

    /// The process image.
    pub(crate) fn image(&self) -> &ImageInner {
        // SAFETY: the image outlives the instance, as `Prepared::place` demands.
        unsafe { &*self.image }
    }

    /// `memory.grow`: the old size in pages, or `None` if it cannot be.
    pub(crate) fn grow_memory(&mut self, vmctx: VmCtx, delta: u32) -> Option<u32> {
        let (base, length) = memory_of(vmctx, self.memory_offset);
        let old_pages = length / PAGE_BYTES;
        let new_pages = old_pages.checked_add(delta as usize)?;
        if new_pages > self.pages_max {
            return None;
        }
        let new_length = new_pages * PAGE_BYTES;
        let base = if delta == 0 { base } else { self.make_room(length, new_length)? };
        if self.memory_offset != NOWHERE {
            set_memory(vmctx, self.memory_offset, base, new_length);
        }
        u32::try_from(old_pages).ok()
    }

    /// A larger memory in place of the one there is: its address.
    fn make_room(&mut self, length: usize, new_length: usize) -> Option<*mut u8> {
        let more = (new_length - length) as u64;
        self.take_room(more)?;
        // SAFETY: the pool outlives the instance, as `Prepared::place` demands.
        let pool = unsafe { &*self.pool };
        let base = match &mut self.slot {
            Some(slot) => pool.grow(slot, length, new_length).ok().map(|()| slot.base()),
            none => pool.allocate(new_length, None).ok().map(|slot| none.insert(slot).base()),
        };
        if base.is_none() {
            self.give_room(more);
        }
        base
    }

    /// Takes so many bytes of what all processes together may have. They are given back when the
    /// instance is dropped.
    pub(crate) fn take_room(&mut self, bytes: u64) -> Option<()> {
        // SAFETY: the pool outlives the instance, as `Prepared::place` demands.
        unsafe { &*self.pool }.room().take(bytes).then_some(())?;
        self.charged += bytes;
        Some(())
    }

    pub(crate) fn give_room(&mut self, bytes: u64) {
        self.charged -= bytes;
        // SAFETY: the pool outlives the instance, as `Prepared::place` demands.
        unsafe { &*self.pool }.room().give(bytes);
    }

    /// Takes `amount` off the current slice; true when it is used up.
    ///
    /// Code without yield points pays only for what the host does for it.
    pub(crate) fn charge(&mut self, vmctx: VmCtx, amount: i64) -> bool {
        if self.reductions_offset == NOWHERE {
            self.reductions_done += amount.max(0).unsigned_abs();
            return self.reductions_done > self.slice.unsigned_abs();
        }
        let left: *mut i64 = vmctx.cast::<u8>().wrapping_add(self.reductions_offset).cast();
        // SAFETY: the reductions global of this instance, which does not run meanwhile.
        let left = unsafe { &mut *left };
        *left = left.saturating_sub(amount);
        *left < 0
    }

    /// What has to be put back after the guest was called from a host function.
    pub(crate) fn stack_marks(&self, vmctx: VmCtx) -> StackMarks {
        let shadow = self.shadow_stack_pointer(vmctx).map_or(0, |pointer| {
            // SAFETY: a global of this instance, which does not run meanwhile.
            unsafe { pointer.read() }
        });
        StackMarks { exit: (self.exit_frame_pointer, self.exit_stack_pointer), shadow }
    }

    /// Puts it back; the guest's stack pointer if the call was `abandoned` instead of returning.
    pub(crate) fn restore_stack_marks(
        &mut self,
        vmctx: VmCtx,
        marks: &StackMarks,
        abandoned: bool,
    ) {
        (self.exit_frame_pointer, self.exit_stack_pointer) = marks.exit;
        if let Some(pointer) = self.shadow_stack_pointer(vmctx).filter(|_| abandoned) {
            // SAFETY: a global of this instance, which does not run meanwhile.
            unsafe { pointer.write(marks.shadow) };
        }
    }

    fn shadow_stack_pointer(&self, vmctx: VmCtx) -> Option<*mut u32> {
        let offset = self.image().shadow_stack_offset();
        (offset != NOWHERE).then(|| vmctx.cast::<u8>().wrapping_add(offset).cast())
    }

    /// Books the slice that is over and begins the next.
    #[inline]
    pub(crate) fn begin_slice(&mut self, vmctx: VmCtx) {
        if self.reductions_offset == NOWHERE {
            self.reductions_done = 0;
            return;
        }
        let left: *mut i64 = vmctx.cast::<u8>().wrapping_add(self.reductions_offset).cast();
        // SAFETY: the reductions global of this instance, which does not run meanwhile.
        let left = unsafe { &mut *left };
        self.reductions_done += self.slice.saturating_sub(*left).max(0).unsigned_abs();
        *left = self.slice;
    }
}

/// Writes a `VMMemoryDefinition`.
fn set_memory(vmctx: VmCtx, offset: usize, base: *mut u8, length: usize) {
    let definition: *mut [usize; 2] = vmctx.cast::<u8>().wrapping_add(offset).cast();
    // SAFETY: the definition lies in the instance's context, whose code does not run meanwhile.
    unsafe { definition.write([base as usize, length]) };
}

/// Reads a `VMMemoryDefinition`; [`NOWHERE`] for a module without memory.
#[inline]
fn memory_of(vmctx: VmCtx, offset: usize) -> (*mut u8, usize) {
    if offset == NOWHERE {
        return (NonNull::dangling().as_ptr(), 0);
    }
    let definition: *const [usize; 2] = vmctx.cast::<u8>().wrapping_add(offset).cast();
    // SAFETY: the definition lies in the instance's context, whose code does not run meanwhile.
    let [base, length] = unsafe { definition.read() };
    (base as *mut u8, length)
}
