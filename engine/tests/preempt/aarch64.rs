//! Stepping on aarch64, where a program cannot ask for a signal after each instruction: breakpoints at
//! all places where the code may go next, one or two, moved on by each stop. Compiled code only; what
//! it calls outside of itself is one step.
//!
//! Not single-stepped by the emulator or the processor, so it is the same test on both, and in an
//! emulator that delivers signals only between blocks of instructions.

use std::arch::{asm, naked_asm};
use std::fs;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use lunatic_engine::preempt;

/// Called by the guest where stepping is to begin.
pub(super) const BEGIN: *const () = begin as *const ();

static PREEMPTIONS: AtomicU64 = AtomicU64::new(0);
static STEPPING: AtomicBool = AtomicBool::new(false);
/// The code that is stepped through. Ordering of all of these: one thread and its handlers.
static CODE: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
static BREAKPOINTS: [Breakpoint; 2] = [const { Breakpoint::NONE }; 2];

/// `brk #0`
const BREAK: u32 = 0xd420_0000;

/// Where an instruction has been replaced.
struct Breakpoint {
    /// 0: nowhere.
    address: AtomicUsize,
    instruction: AtomicU32,
}

impl Breakpoint {
    const NONE: Self = Self { address: AtomicUsize::new(0), instruction: AtomicU32::new(0) };

    fn set(&self, address: usize) {
        self.instruction.store(read(address), Ordering::Relaxed);
        self.address.store(address, Ordering::Relaxed);
        write(address, BREAK);
    }

    fn clear(&self) {
        let address = self.address.swap(0, Ordering::Relaxed);
        if address != 0 {
            write(address, self.instruction.load(Ordering::Relaxed));
        }
    }
}

fn read(address: usize) -> u32 {
    // SAFETY: an instruction of loaded code.
    unsafe { (address as *const u32).read_volatile() }
}

fn write(address: usize, instruction: u32) {
    // SAFETY: an instruction of loaded code that has been made writable; only this thread runs it. What has been
    // fetched of it before is forgotten.
    unsafe {
        (address as *mut u32).write_volatile(instruction);
        asm!("dc cvau, {0}", "dsb ish", "ic ivau, {0}", "dsb ish", "isb", in(reg) address);
    }
}

fn code() -> Range<usize> {
    CODE[0].load(Ordering::Relaxed)..CODE[1].load(Ordering::Relaxed)
}

#[unsafe(naked)]
unsafe extern "C" fn begin() {
    naked_asm!("mov x0, x30", "b {}", sym begin_at)
}

/// Where the guest goes on when its call of `begin` returns.
extern "C" fn begin_at(pc: usize) {
    if !STEPPING.load(Ordering::Relaxed) {
        return;
    }
    let code = mapping_of(pc);
    let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    // SAFETY: the mapping is that of one module's code, which only this thread runs.
    let result = unsafe { libc::mprotect(code.start as *mut libc::c_void, code.len(), all) };
    assert_eq!(result, 0, "making compiled code writable");
    CODE[0].store(code.start, Ordering::Relaxed);
    CODE[1].store(code.end, Ordering::Relaxed);
    BREAKPOINTS[0].set(pc);
}

fn mapping_of(address: usize) -> Range<usize> {
    let maps = fs::read_to_string("/proc/self/maps").expect("the program's mappings");
    let ranges = maps.lines().filter_map(|line| {
        let (start, end) = line.split(' ').next()?.split_once('-')?;
        Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
    });
    ranges.into_iter().find(|range| range.contains(&address)).expect("code is mapped")
}

extern "C" fn on_break(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid context.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    for breakpoint in &BREAKPOINTS {
        breakpoint.clear();
    }
    if !STEPPING.load(Ordering::Relaxed) {
        return;
    }
    let next = next(&context.uc_mcontext);
    for (breakpoint, address) in BREAKPOINTS.iter().zip(next.into_iter().flatten()) {
        breakpoint.set(address);
    }
    // SAFETY: the context of this handler, which runs on the alternate stack.
    if unsafe { preempt::interrupt(context) } {
        PREEMPTIONS.fetch_add(1, Ordering::Relaxed);
    }
}

/// Where the code may go from here, and comes back to if it goes to the host.
fn next(machine: &libc::mcontext_t) -> [Option<usize>; 2] {
    let pc = machine.pc as usize;
    let (instruction, following) = (read(pc), pc + 4);
    let link = machine.regs[30] as usize;
    // A distance in instructions: `bits` of them, from bit `low` on.
    let target = |low: u32, bits: u32| {
        let distance = (instruction << (32 - low - bits)).cast_signed() >> (32 - bits);
        pc.wrapping_add_signed(distance as isize * 4)
    };
    let register = |number: usize| machine.regs[number] as usize;
    let (ways, comes_back_to) = match instruction {
        // b, bl
        i if i & 0xfc00_0000 == 0x1400_0000 => ([Some(target(0, 26)), None], link),
        i if i & 0xfc00_0000 == 0x9400_0000 => ([Some(target(0, 26)), None], following),
        // b.cond; cbz, cbnz; tbz, tbnz
        i if i & 0xff00_0000 == 0x5400_0000 => ([Some(target(5, 19)), Some(following)], link),
        i if i & 0x7e00_0000 == 0x3400_0000 => ([Some(target(5, 19)), Some(following)], link),
        i if i & 0x7e00_0000 == 0x3600_0000 => ([Some(target(5, 14)), Some(following)], link),
        // br, blr, ret
        i if i & 0xfe00_0000 == 0xd600_0000 => {
            let calls = i >> 21 & 0xf == 1;
            let to = register((i >> 5 & 31) as usize);
            ([Some(to), None], if calls { following } else { link })
        }
        _ => ([Some(following), None], link),
    };
    let inside = |address: &usize| code().contains(address);
    ways.map(|way| {
        let way = way?;
        if inside(&way) { Some(way) } else { Some(comes_back_to).filter(inside) }
    })
}

/// In the place of other processes.
pub(super) fn disturb() {
    // SAFETY: everything that is changed is declared, or saved by the ABI, or nobody's (x18); the control words are
    // put back by the one who called.
    unsafe {
        let rounding_up = 1_u64 << 22;
        let all_exceptions = 0x0800_009f_u64;
        asm!("msr fpcr, {}", "msr fpsr, {}", in(reg) rounding_up, in(reg) all_exceptions);
        asm!(
            "movi v0.16b, #255", "movi v1.16b, #255", "movi v2.16b, #255", "movi v3.16b, #255",
            "movi v4.16b, #255", "movi v5.16b, #255", "movi v6.16b, #255", "movi v7.16b, #255",
            "movi v8.16b, #255", "movi v9.16b, #255", "movi v10.16b, #255", "movi v11.16b, #255",
            "movi v12.16b, #255", "movi v13.16b, #255", "movi v14.16b, #255", "movi v15.16b, #255",
            "movi v16.16b, #255", "movi v17.16b, #255", "movi v18.16b, #255", "movi v19.16b, #255",
            "movi v20.16b, #255", "movi v21.16b, #255", "movi v22.16b, #255", "movi v23.16b, #255",
            "movi v24.16b, #255", "movi v25.16b, #255", "movi v26.16b, #255", "movi v27.16b, #255",
            "movi v28.16b, #255", "movi v29.16b, #255", "movi v30.16b, #255", "movi v31.16b, #255",
            "mov x0, #-1", "mov x1, #-1", "mov x2, #-1", "mov x3, #-1", "mov x4, #-1",
            "mov x5, #-1", "mov x6, #-1", "mov x7, #-1", "mov x8, #-1", "mov x9, #-1",
            "mov x10, #-1", "mov x11, #-1", "mov x12, #-1", "mov x13, #-1", "mov x14, #-1",
            "mov x15, #-1", "mov x16, #-1", "mov x17, #-1", "mov x18, #-1", "mov x20, #-1",
            "mov x21, #-1", "mov x22, #-1", "mov x23, #-1", "mov x24, #-1", "mov x25, #-1",
            "mov x26, #-1", "mov x27, #-1", "mov x28, #-1", "mov x30, #-1",
            "cmp x0, #0", // negative, no borrow
            out("x0") _, out("x1") _, out("x2") _, out("x3") _, out("x4") _,
            out("x5") _, out("x6") _, out("x7") _, out("x8") _, out("x9") _,
            out("x10") _, out("x11") _, out("x12") _, out("x13") _, out("x14") _,
            out("x15") _, out("x16") _, out("x17") _, out("x18") _, out("x20") _,
            out("x21") _, out("x22") _, out("x23") _, out("x24") _, out("x25") _,
            out("x26") _, out("x27") _, out("x28") _, out("x30") _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _,
            out("v5") _, out("v6") _, out("v7") _, out("v8") _, out("v9") _,
            out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _,
            out("v15") _, out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _, out("v24") _,
            out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _,
            out("v30") _, out("v31") _,
        );
    }
}

/// Runs `work`, from where its guest calls `begin` on with a signal at each instruction of the guest's.
pub(super) fn stepping<R>(work: impl FnOnce() -> R) -> (R, u64) {
    PREEMPTIONS.store(0, Ordering::Relaxed);
    STEPPING.store(true, Ordering::Relaxed);
    let result = work();
    STEPPING.store(false, Ordering::Relaxed);
    // Where the guest did not go in the end.
    for breakpoint in &BREAKPOINTS {
        breakpoint.clear();
    }
    (result, PREEMPTIONS.load(Ordering::Relaxed))
}

pub(super) fn install() {
    // SAFETY: the structure is valid, the handler has the signature that SA_SIGINFO asks for.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        action.sa_sigaction = on_break as *const () as usize;
        assert_eq!(libc::sigaction(libc::SIGTRAP, &raw const action, std::ptr::null_mut()), 0);
    }
}
