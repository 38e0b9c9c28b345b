//! The trampoline of preemption on x86-64. Changes as a whole: handler and assembly know each
//! other's layout.
//!
//! Operations: `prepare` asks the processor once what state it has; `position` reads an interrupted
//! context; `redirect` writes a frame and points the context at `trampoline`, which runs instead of
//! the next instruction of the interrupted code.
//!
//! The stack of the trampoline, below `top` (the interrupted stack pointer less the red zone, or the
//! end of the reserve), as `redirect` leaves it and as `trampoline` builds it:
//!
//! ```text
//! top     -> | (0 to 15 bytes)    |
//!            | ss                 |
//!            | interrupted rsp    |
//!            | interrupted rflags |
//!            | cs                 |
//!            | interrupted rip    |   what `iretq` takes: all at once, from any stack
//! entry   -> | hooks, then rbp    | <- rbp: with the word above a frame like any other's
//!            | rdi rax rcx rdx    |
//!            | rbx rsi r8 ... r15 | <- rbx
//!            | (0 to 63 bytes)    |
//!            | XSAVE area         | <- rsp while others run
//! ```
//!
//! - On entry all registers are the interrupted code's, but for rsp, rip and the flags.
//! - At the call, rdi holds the hooks, rbx the end of the saved words; everything else is free.
//! - `iretq` returns within ring 3 as well as it does from ring 0. No other instruction loads rip,
//!   rsp and the flags without a register or a word at the old rsp, where there may be no room.
//!
//! Saved with XSAVE is what code of ours may use: x87, SSE, AVX, and AVX-512. Not protection keys,
//! which belong to the thread, and not tiles, which nobody here has asked the kernel for. The
//! handler itself saves nothing: what the kernel saved for the handler it restores on return, just
//! before the trampoline begins.

use std::arch::naked_asm;
use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use std::sync::atomic::{AtomicU64, Ordering};

use super::PreemptHooks;

/// What the ABI lets a leaf function keep below the stack pointer.
pub(super) const RED_ZONE_BYTES: usize = 128;

/// Components of XSAVE: x87, SSE, AVX, the three of AVX-512.
const COMPONENTS: u64 = 0b1110_0111;
/// Of these, what `vzeroupper` clears.
const AVX: u64 = 1 << 2;
/// Offset and size of the legacy part with the header.
const LEGACY_BYTES: u64 = 512 + 64;
/// What is set aside for the area at most: as large as all of `COMPONENTS` can be (2,688), and some.
const AREA_BYTES_MAX: u64 = 4096;

/// The components that this processor has and the system has switched on. 0: not asked yet.
static MASK: AtomicU64 = AtomicU64::new(0);
/// Bytes of their area, a multiple of 64.
static AREA_BYTES: AtomicU64 = AtomicU64::new(0);

/// Flags that must be clear in the trampoline: trap (a debugger's or a test's), direction, nested
/// task, alignment check.
const FLAGS_OFF: i64 = 1 << 8 | 1 << 10 | 1 << 14 | 1 << 18;

/// Words of the frame that `redirect` writes.
#[repr(C)]
struct Entry {
    hooks: *const PreemptHooks,
    rip: i64,
    cs: i64,
    rflags: i64,
    rsp: i64,
    ss: i64,
}

/// Asks the processor; whether it can save its state.
pub(super) fn prepare() -> bool {
    const XSAVE_IN_USE: u32 = 1 << 27;
    if __cpuid(1).ecx & XSAVE_IN_USE == 0 {
        return false;
    }
    // SAFETY: the processor has it, as was asked just now.
    let switched_on = unsafe { xgetbv() };
    let mask = switched_on & COMPONENTS;
    // From the third on each component tells where it lies.
    let end_of = |component: u32| {
        let answer = __cpuid_count(0xd, component);
        u64::from(answer.ebx) + u64::from(answer.eax)
    };
    let bytes = (2..64)
        .filter(|component| mask >> component & 1 == 1)
        .map(end_of)
        .fold(LEGACY_BYTES, u64::max)
        .next_multiple_of(64);
    if bytes > AREA_BYTES_MAX {
        return false;
    }
    // Relaxed: the same values whoever writes them, and before the first signal is sent.
    AREA_BYTES.store(bytes, Ordering::Relaxed);
    MASK.store(mask, Ordering::Relaxed);
    true
}

/// # Safety
/// The processor has XSAVE, and the system has switched it on.
#[target_feature(enable = "xsave")]
unsafe fn xgetbv() -> u64 {
    // SAFETY: forwards the caller's promise.
    unsafe { _xgetbv(0) }
}

/// Program counter and stack pointer.
pub(super) fn position(context: &libc::ucontext_t) -> (usize, usize) {
    let registers = &context.uc_mcontext.gregs;
    (registers[libc::REG_RIP as usize] as usize, registers[libc::REG_RSP as usize] as usize)
}

/// Makes the interrupted code call the trampoline. True: it always can.
///
/// # Safety
/// The context is that of a running handler; `ROOM` bytes below `top`, less a red zone, are nobody's.
pub(super) unsafe fn redirect(
    context: &mut libc::ucontext_t,
    top: usize,
    hooks: &'static PreemptHooks,
) -> bool {
    let registers = &mut context.uc_mcontext.gregs;
    let segments = registers[libc::REG_CSGSFS as usize];
    let entry = (top - size_of::<Entry>()) & !15;
    let frame = Entry {
        hooks,
        rip: registers[libc::REG_RIP as usize],
        cs: segments & 0xffff,
        rflags: registers[libc::REG_EFL as usize],
        rsp: registers[libc::REG_RSP as usize],
        // The kernel keeps it in the last of the four 16-bit fields.
        ss: segments >> 48 & 0xffff,
    };
    // SAFETY: aligned, and in the room that the caller has promised.
    unsafe { (entry as *mut Entry).write(frame) };
    registers[libc::REG_RSP as usize] = entry as i64;
    registers[libc::REG_RIP as usize] = trampoline as *const () as i64;
    registers[libc::REG_EFL as usize] &= !FLAGS_OFF;
    true
}

/// Called by the trampoline.
extern "C" fn yield_now(hooks: &'static PreemptHooks) {
    (hooks.yield_now)();
}

/// See the head of the file.
#[unsafe(naked)]
unsafe extern "C" fn trampoline() {
    naked_asm!(
        // No scratch register is free yet: this exchange frees rbp.
        "xchg rbp, [rsp]",
        "push rdi",
        "mov rdi, rbp",
        "lea rbp, [rsp + 8]",
        "push rax",
        "push rcx",
        "push rdx",
        "push rbx",
        "push rsi",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov rbx, rsp",
        "sub rsp, [rip + {area}]",
        "and rsp, -64",
        // XSAVE writes one word of the header; XRSTOR wants the other seven to be zero.
        "xor eax, eax",
        "mov [rsp + 512], rax",
        "mov [rsp + 520], rax",
        "mov [rsp + 528], rax",
        "mov [rsp + 536], rax",
        "mov [rsp + 544], rax",
        "mov [rsp + 552], rax",
        "mov [rsp + 560], rax",
        "mov [rsp + 568], rax",
        "mov eax, [rip + {mask}]",
        "mov edx, [rip + {mask} + 4]",
        "xsave64 [rsp]",
        // SSE code with dirty upper halves of registers is slow.
        "test al, {avx}",
        "jz 2f",
        "vzeroupper",
        "2:",
        "call {yield_now}",
        // Maybe on another thread; rbx and rsp are what they were.
        "mov eax, [rip + {mask}]",
        "mov edx, [rip + {mask} + 4]",
        "xrstor64 [rsp]",
        "mov rsp, rbx",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rsi",
        "pop rbx",
        "pop rdx",
        "pop rcx",
        "pop rax",
        "pop rdi",
        "pop rbp",
        "iretq",
        area = sym AREA_BYTES,
        mask = sym MASK,
        avx = const AVX,
        yield_now = sym yield_now,
    )
}
