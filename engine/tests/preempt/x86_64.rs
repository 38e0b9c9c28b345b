//! Stepping on x86-64: the trap flag of the processor raises a signal after each instruction, of whatever code.
//!
//! Seen to fail for each of these changed after the registers are restored: the fifteen general registers, each
//! of xmm0 to xmm14, the carry, parity, zero, sign and overflow flags, the rounding mode. Not for xmm15, in
//! which this kernel keeps nothing, nor for the upper halves of vectors, which no guest has.

use std::arch::asm;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lunatic_engine::preempt;

/// Called by the guest where stepping is to begin: here it has long begun.
pub(super) const BEGIN: *const () = begin as *const ();

extern "C" fn begin() {}

static PREEMPTIONS: AtomicU64 = AtomicU64::new(0);
static STEPPING: AtomicBool = AtomicBool::new(false);

const TRAP_FLAG: i64 = 1 << 8;

extern "C" fn on_step(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid context.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let flags = &mut context.uc_mcontext.gregs[libc::REG_EFL as usize];
    if !STEPPING.load(Ordering::Relaxed) {
        *flags &= !TRAP_FLAG;
        return;
    }
    *flags |= TRAP_FLAG;
    // SAFETY: the context of this handler, which runs on the alternate stack.
    if unsafe { preempt::interrupt(context) } {
        PREEMPTIONS.fetch_add(1, Ordering::Relaxed);
    }
}

/// In the place of other processes.
pub(super) fn disturb() {
    // SAFETY: everything that is changed is declared, or saved by the ABI; the control words are put
    // back by the one who called.
    unsafe {
        let rounding_up_all_masked = 0x5f80_u32;
        asm!(
            "ldmxcsr [{mxcsr}]",
            "pcmpeqd xmm0, xmm0", "pcmpeqd xmm1, xmm1", "pcmpeqd xmm2, xmm2", "pcmpeqd xmm3, xmm3",
            "pcmpeqd xmm4, xmm4", "pcmpeqd xmm5, xmm5", "pcmpeqd xmm6, xmm6", "pcmpeqd xmm7, xmm7",
            "pcmpeqd xmm8, xmm8", "pcmpeqd xmm9, xmm9", "pcmpeqd xmm10, xmm10",
            "pcmpeqd xmm11, xmm11", "pcmpeqd xmm12, xmm12", "pcmpeqd xmm13, xmm13",
            "pcmpeqd xmm14, xmm14", "pcmpeqd xmm15, xmm15",
            "mov rax, -1", "mov rcx, -1", "mov rdx, -1", "mov rsi, -1", "mov rdi, -1",
            "mov r8, -1", "mov r9, -1", "mov r10, -1", "mov r11, -1",
            "mov r12, -1", "mov r13, -1", "mov r14, -1", "mov r15, -1",
            "cmp rax, 1",
            "stc",
            mxcsr = in(reg) &raw const rounding_up_all_masked,
            out("rax") _, out("rcx") _, out("rdx") _, out("rsi") _, out("rdi") _,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            out("r12") _, out("r13") _, out("r14") _, out("r15") _,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _,
            out("xmm5") _, out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _,
            out("xmm10") _, out("xmm11") _, out("xmm12") _, out("xmm13") _, out("xmm14") _,
            out("xmm15") _,
        );
        if is_x86_feature_detected!("avx512f") {
            // Only its effect counts: nothing of Rust's lives in these.
            asm!(
                "vpternlogd zmm0, zmm0, zmm0, 255", "vpternlogd zmm15, zmm15, zmm15, 255",
                "vpternlogd zmm16, zmm16, zmm16, 255", "vpternlogd zmm31, zmm31, zmm31, 255",
                "kxnorw k1, k1, k1", "kxnorw k7, k7, k7",
                out("zmm0") _, out("zmm15") _, out("zmm16") _, out("zmm31") _, out("k1") _,
                out("k7") _,
            );
        }
    }
}

/// Runs `work` with a signal after each instruction. It must not block signals: a step while they
/// are blocked ends the program.
pub(super) fn stepping<R>(work: impl FnOnce() -> R) -> (R, u64) {
    PREEMPTIONS.store(0, Ordering::Relaxed);
    STEPPING.store(true, Ordering::Relaxed);
    // SAFETY: the handler is installed; it sets the flag.
    unsafe { libc::raise(libc::SIGTRAP) };
    let result = work();
    // The next step takes the flag away.
    STEPPING.store(false, Ordering::Relaxed);
    (result, PREEMPTIONS.load(Ordering::Relaxed))
}

pub(super) fn install() {
    // SAFETY: the structure is valid, the handler has the signature that SA_SIGINFO asks for.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        action.sa_sigaction = on_step as *const () as usize;
        assert_eq!(libc::sigaction(libc::SIGTRAP, &raw const action, std::ptr::null_mut()), 0);
    }
}
