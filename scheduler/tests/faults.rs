//! Stack guards by a real fault in a child process, and the way out of a fiber through a signal
//! handler.
//!
//! Protocol: a test starts this very binary again with `CHILD` set and one test selected; the child
//! does the dangerous thing.

mod support;

use lunatic_scheduler::{Builder, End, Guard, TrapHandlerRegs, current_fiber};
use std::{
    os::unix::process::ExitStatusExt,
    process::{Command, ExitStatus},
};
use support::*;

const CHILD: &str = "LUNATIC_SCHEDULER_FAULT_CHILD";

fn in_child(test: &str) -> ExitStatus {
    let this = std::env::current_exe().unwrap();
    let mut command = Command::new(this);
    command.args(["--exact", test, "--nocapture"]).env(CHILD, "1");
    command.output().unwrap().status
}

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

#[inline(never)]
fn deeper(n: u64) -> u64 {
    let mut frame = [n; 128];
    std::hint::black_box(&mut frame);
    if n == 0 { frame[0] } else { deeper(n - 1) + frame[1] }
}

fn fall() {
    std::hint::black_box(deeper(100_000));
}

fn overflow(guard: Guard) {
    // Without Rust's own handler: the fault must be a plain one at the guard.
    // SAFETY: the default action is a valid handler.
    unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
    let runtime = start(&Builder::new().workers(1).processes_max(64).guard(guard));
    // Several slots, so that without a guard the neighbour's memory would silently take the writes.
    let how = run(&runtime, |p| {
        p.on_worker(|w, _| {
            for _ in 0..8 {
                w.spawn(0, native(|_| fall(), None)).unwrap();
            }
        });
    });
    assert_eq!(how, End::Returned);
    runtime.join();
}

#[test]
fn a_stack_overflow_hits_the_guard() {
    if is_child() {
        return overflow(Guard::Auto);
    }
    let status = in_child("a_stack_overflow_hits_the_guard");
    assert_eq!(status.signal(), Some(libc::SIGSEGV), "{status:?}");
}

#[test]
fn a_stack_overflow_hits_the_guard_made_by_mprotect() {
    if is_child() {
        return overflow(Guard::Mprotect);
    }
    let status = in_child("a_stack_overflow_hits_the_guard_made_by_mprotect");
    assert_eq!(status.signal(), Some(libc::SIGSEGV), "{status:?}");
}

#[test]
fn mprotect_guards_carry_a_whole_life() {
    let runtime = start(&Builder::new().workers(2).processes_max(500).guard(Guard::Mprotect));
    let ends: Vec<_> = (0..300).map(|_| spawn(runtime.handle(), |p| p.yield_now()).1).collect();
    for end in ends {
        assert_eq!(end.recv().unwrap(), End::Returned);
    }
}

#[test]
fn running_out_of_mappings_names_the_limit() {
    let limit: usize =
        std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse().unwrap();
    if limit > 200_000 {
        return; // it would take too long to get there
    }
    if !is_child() {
        let status = in_child("running_out_of_mappings_names_the_limit");
        assert!(status.success(), "{status:?}");
        return;
    }
    let builder = Builder::new().workers(1).processes_max(limit).guard(Guard::Mprotect);
    let runtime = start(&builder.stack_bytes(64 * 1024));
    let error = (0..limit)
        .find_map(|_| runtime.handle().spawn(0, None, native(park_for_ever, None)).err())
        .unwrap();
    assert!(error.to_string().contains("vm.max_map_count"), "{error}");
}

/// Leads whatever fiber faulted out of it; any other fault is fatal.
extern "C" fn lead_out(_: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let Some(bounds) = current_fiber() else { std::process::abort() };
    // SAFETY: the kernel passes a valid record.
    let info = unsafe { &*info };
    // SAFETY: the signal is SIGSEGV, whose record has an address.
    let address = unsafe { info.si_addr() } as usize;
    if !bounds.guard.contains(&address) {
        std::process::abort();
    }
    // SAFETY: in the handler, on the fiber's thread; the fiber was in `deeper`, which owns nothing.
    let registers = unsafe { bounds.redirect() };
    let context: *mut libc::ucontext_t = context.cast();
    // SAFETY: the kernel passes a valid context and takes it back when the handler returns.
    let context = unsafe { &mut *context };
    set_registers(&mut context.uc_mcontext, &registers);
}

#[cfg(target_arch = "x86_64")]
fn set_registers(machine: &mut libc::mcontext_t, new: &TrapHandlerRegs) {
    let gregs = &mut machine.gregs;
    gregs[libc::REG_RIP as usize] = new.rip as i64;
    gregs[libc::REG_RSP as usize] = new.rsp as i64;
    gregs[libc::REG_RBP as usize] = new.rbp as i64;
    gregs[libc::REG_RDI as usize] = new.rdi as i64;
    gregs[libc::REG_RSI as usize] = new.rsi as i64;
}

#[cfg(target_arch = "aarch64")]
fn set_registers(machine: &mut libc::mcontext_t, new: &TrapHandlerRegs) {
    machine.pc = new.pc;
    machine.sp = new.sp;
    machine.regs[0] = new.x0;
    machine.regs[1] = new.x1;
    machine.regs[29] = new.x29;
    machine.regs[30] = new.lr;
}

#[test]
fn a_redirected_fiber_ends_as_trapped_and_its_worker_goes_on() {
    if !is_child() {
        let status = in_child("a_redirected_fiber_ends_as_trapped_and_its_worker_goes_on");
        assert!(status.success(), "{status:?}");
        return;
    }
    // Rust gives each thread an alternate stack when its own handler is installed, so SA_ONSTACK
    // works on workers. SAFETY: all-zero is a valid sigaction to fill in.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = lead_out as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the handler is async-signal-safe and lives for ever.
    assert_eq!(unsafe { libc::sigaction(libc::SIGSEGV, &action, std::ptr::null_mut()) }, 0);
    let runtime = runtime(2);
    for _ in 0..100 {
        let how = run(&runtime, |_| fall());
        assert_eq!(how, End::Trapped);
    }
    assert_eq!(run(&runtime, |p| p.yield_now()), End::Returned);
    assert_eq!(runtime.handle().counters().trapped, 100);
}
