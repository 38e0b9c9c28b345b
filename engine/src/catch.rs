//! Calling back into the guest from a host function, and the place where a trap of that call stops.
//!
//! A trap normally ends its fiber. With [`BoundCall::call_catching`] it ends one call: the frames
//! between the trap and this call are abandoned, and the call answers "trapped". It works like
//! `setjmp` and `longjmp`, in three steps:
//!
//! 1. `enter` saves the registers that a callee must keep on its own frame, notes in the
//!    [`CatchPoint`] its stack pointer and the address of its second exit, and calls the guest.
//! 2. If the guest returns, so does `enter`, with 0.
//! 3. If it traps, whoever handles the trap sets stack pointer and pc to what the point says: the
//!    fault handler by writing them into the interrupted context ([`CatchPoint::registers`]),
//!    builtins and host functions by a jump ([`CatchPoint::resume`]). There `enter` restores the
//!    registers from its frame and returns 1. For its caller it is a call that returned once.
//!
//! **What may be skipped**: compiled code, thunks, builtins and shims, none of which own anything
//! (they may be abandoned when a fiber ends, too). Points nest: the owner of the fiber keeps the
//! innermost, and a shim that made a point takes it back before it returns, so a trap never crosses
//! a frame of ours that still has something to do.
//!
//! **Suspension**: the point and all that it refers to lie on the fiber's own stack, so the fiber
//! may park, be preempted and go on on another thread in between. A fiber that is killed or that
//! exits takes its points with it.
//!
//! **The guest's shadow stack**: LLVM's code keeps its stack pointer in a global, which each function
//! lowers and raises again. A trap skips the raising, so it is put back to what it was.

#![allow(clippy::multiple_unsafe_ops_per_block)] // Words of one header, argued together.

use std::cell::UnsafeCell;
use std::ops::Range;

use corosensei::trap::TrapHandlerRegs;
use wasmer_types::RawValue;

use crate::instance::{BoundCall, header_of};

/// Where a trap stops. Filled by the call that it is given to, valid while that call lasts.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct CatchPoint(UnsafeCell<Place>);

/// What `enter` writes; its offsets are part of the assembly below.
#[derive(Debug, Default, Clone, Copy)]
#[repr(C)]
struct Place {
    stack_pointer: usize,
    second_exit: usize,
}

impl CatchPoint {
    /// Registers that make the interrupted fiber go on at this point.
    ///
    /// # Safety
    /// As [`Self::resume`], for a signal handler about the thread that it has interrupted; the
    /// handler writes the registers into the context and returns.
    #[must_use]
    pub unsafe fn registers(&self) -> TrapHandlerRegs {
        // SAFETY: written by `enter` before the guest ran, on this thread's present fiber.
        let Place { stack_pointer, second_exit } = unsafe { *self.0.get() };
        registers(stack_pointer, second_exit)
    }

    /// Goes on at this point.
    ///
    /// # Safety
    /// The caller runs on the fiber that made the point, inside the call that it belongs to; it is
    /// the innermost point of that fiber; nothing between here and there owns anything.
    pub unsafe fn resume(&self) -> ! {
        // SAFETY: as above.
        let Place { stack_pointer, second_exit } = unsafe { *self.0.get() };
        // SAFETY: forwards the caller's promise.
        unsafe { leave(stack_pointer, second_exit) }
    }

    /// Whether this point lies on the stack, as one of a running call does.
    #[must_use]
    pub fn lies_in(&self, stack: &Range<usize>) -> bool {
        stack.contains(&(std::ptr::from_ref(self) as usize))
    }
}

impl BoundCall {
    /// Like [`Self::call`]; false if the function trapped and the trap was led to `point`.
    ///
    /// # Safety
    /// As [`Self::call`]. Whoever handles traps on this fiber knows `point` as the innermost until
    /// this returns.
    #[must_use]
    pub unsafe fn call_catching(self, values: &mut [RawValue], point: &CatchPoint) -> bool {
        let (vmctx, code, trampoline) = self.parts();
        // SAFETY: the instance is alive and stands still, by the caller's promise.
        let before = unsafe { header_of(vmctx) }.stack_marks(vmctx);
        // SAFETY: forwards the caller's promises; the three addresses belong together.
        let trapped = unsafe { enter(vmctx, code, values.as_mut_ptr(), trampoline, point.0.get()) };
        // SAFETY: as above: the guest has returned or been abandoned.
        unsafe { header_of(vmctx) }.restore_stack_marks(vmctx, &before, trapped != 0);
        trapped == 0
    }

    /// Like [`Self::call`], for a host function that goes back into the guest and comes out again.
    ///
    /// # Safety
    /// As [`Self::call`].
    pub unsafe fn call_back(self, values: &mut [RawValue]) {
        let (vmctx, ..) = self.parts();
        // SAFETY: the instance is alive and stands still, by the caller's promise.
        let before = unsafe { header_of(vmctx) }.stack_marks(vmctx);
        // SAFETY: forwards the caller's promises.
        unsafe { self.call(values) };
        // SAFETY: as above: the guest has returned.
        unsafe { header_of(vmctx) }.restore_stack_marks(vmctx, &before, false);
    }
}

/// Calls `trampoline(vmctx, code, values)`. 0 when it returned, 1 when it came back by `place`.
///
/// ```text
///   at the call of the trampoline                registers
///   | return address of enter | <- entry sp      place.stack_pointer: sp as drawn
///   | rbp                     | <- rbp           place.second_exit:   label 2
///   | rbx r12 r13 r14 r15     |
///   | (alignment)             | <- sp            at label 2: sp as drawn, all others undefined
/// ```
///
/// # Safety
/// See [`BoundCall::call_catching`].
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C" fn enter(
    vmctx: crate::VmCtx,
    code: usize,
    values: *mut RawValue,
    trampoline: usize,
    place: *mut Place,
) -> u32 {
    std::arch::naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8", // a call wants the stack aligned to 16
        "mov [r8], rsp",
        "lea rax, [rip + 2f]",
        "mov [r8 + 8], rax",
        "call rcx",
        "xor eax, eax",
        "jmp 3f",
        "2:",
        "cld", // as the ABI wants it, whatever was abandoned
        "mov eax, 1",
        "3:",
        "add rsp, 8",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// The same: x19 to x28, d8 to d15, frame pointer and link register are the callee's to keep.
///
/// # Safety
/// See [`BoundCall::call_catching`].
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
unsafe extern "C" fn enter(
    vmctx: crate::VmCtx,
    code: usize,
    values: *mut RawValue,
    trampoline: usize,
    place: *mut Place,
) -> u32 {
    std::arch::naked_asm!(
        "stp x29, x30, [sp, #-160]!",
        "mov x29, sp",
        "stp x19, x20, [sp, #16]",
        "stp x21, x22, [sp, #32]",
        "stp x23, x24, [sp, #48]",
        "stp x25, x26, [sp, #64]",
        "stp x27, x28, [sp, #80]",
        "stp d8, d9, [sp, #96]",
        "stp d10, d11, [sp, #112]",
        "stp d12, d13, [sp, #128]",
        "stp d14, d15, [sp, #144]",
        "mov x9, sp",
        "str x9, [x4]",
        "adr x9, 2f",
        "str x9, [x4, #8]",
        "blr x3",
        "mov w0, #0",
        "b 3f",
        "2:",
        "mov w0, #1",
        "3:",
        "ldp d14, d15, [sp, #144]",
        "ldp d12, d13, [sp, #128]",
        "ldp d10, d11, [sp, #112]",
        "ldp d8, d9, [sp, #96]",
        "ldp x27, x28, [sp, #80]",
        "ldp x25, x26, [sp, #64]",
        "ldp x23, x24, [sp, #48]",
        "ldp x21, x22, [sp, #32]",
        "ldp x19, x20, [sp, #16]",
        "ldp x29, x30, [sp], #160",
        "ret",
    )
}

/// Goes to `pc` with this stack.
///
/// # Safety
/// See [`CatchPoint::resume`].
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C" fn leave(stack_pointer: usize, pc: usize) -> ! {
    std::arch::naked_asm!("mov rsp, rdi", "jmp rsi")
}

/// Goes to `pc` with this stack.
///
/// # Safety
/// See [`CatchPoint::resume`].
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
unsafe extern "C" fn leave(stack_pointer: usize, pc: usize) -> ! {
    std::arch::naked_asm!("mov sp, x0", "br x1")
}

#[cfg(target_arch = "x86_64")]
fn registers(stack_pointer: usize, pc: usize) -> TrapHandlerRegs {
    let sp = stack_pointer as u64;
    TrapHandlerRegs { rip: pc as u64, rsp: sp, rbp: sp, rdi: 0, rsi: 0 }
}

#[cfg(target_arch = "aarch64")]
fn registers(stack_pointer: usize, pc: usize) -> TrapHandlerRegs {
    let sp = stack_pointer as u64;
    TrapHandlerRegs { pc: pc as u64, sp, x0: 0, x1: 0, x29: sp, lr: 0 }
}
