//! What compiled code, and the signal that preempts it, ask of the process they belong to.

use lunatic_engine::preempt::{PreemptHooks, RunningFiber};
use lunatic_engine::{Hooks, TrapCode, VmCtx, exit_backtrace};
use lunatic_scheduler::{Process, current_fiber, note_interruption};

use super::ProcessState;
use crate::exit::ExitReason;
use crate::footprint;
use crate::reentry::resume_if_caught;

/// Between two slices of a process that has an account: it ends here if it has no fuel left.
#[cold]
pub(crate) fn settle_account(process: Process<ProcessState>) {
    if process.on_worker(|_, state| state.settle_account()).is_break() {
        process.exit();
    }
}

pub(super) static HOOKS: Hooks = Hooks { raise, yield_now, on_host_stack };

/// # Safety
/// As [`Hooks::raise`]; the owner is a running process's state.
pub(crate) unsafe fn raise(owner: *mut (), vmctx: VmCtx, code: TrapCode) -> ! {
    // SAFETY: forwards the caller's promise.
    let process = unsafe { ProcessState::handle_of(owner) };
    // SAFETY: a builtin raises when it owns nothing.
    unsafe { resume_if_caught(process) };
    process.on_worker(|_, state| {
        // SAFETY: the process is inside a builtin, on this stack.
        let backtrace = unsafe { exit_backtrace(vmctx, &process.stack()) };
        let frames = state.frames(&backtrace);
        state.end(ExitReason::of_trap(code, frames, process.stack().len()));
    });
    process.exit()
}

/// # Safety
/// As [`Hooks::yield_now`]; the owner is a running process's state.
unsafe fn yield_now(owner: *mut ()) {
    // SAFETY: forwards the caller's promise.
    let process = unsafe { ProcessState::handle_of(owner) };
    // SAFETY: the state is alive and, while its fiber runs, nobody else's; one word is read.
    if unsafe { (*owner.cast::<ProcessState>()).wasi.holds_output() } {
        process.on_worker(|_, state| state.flush_old_lines());
    }
    // SAFETY: as above.
    if unsafe { (*owner.cast::<ProcessState>()).account.is_kept() } {
        settle_account(process);
    }
    process.preempt();
}

/// What the handler of preemption asks.
pub(crate) static PREEMPT_HOOKS: PreemptHooks =
    PreemptHooks { fiber: running_fiber, note: note_interruption, yield_now: make_way_here };

fn running_fiber() -> Option<RunningFiber> {
    let bounds = current_fiber()?;
    Some(RunningFiber { stack: bounds.stack_low..bounds.stack_high, reserve: bounds.reserve })
}

/// Called in the place of any instruction of the guest's.
fn make_way_here() {
    let bounds = current_fiber().expect("the handler asked just before");
    // SAFETY: all programs of all schedulers in this program are processes' states, and this one
    // runs.
    make_way(unsafe { ProcessState::handle_of(bounds.program) });
}

/// Lets others run, as a signal has asked.
#[cold]
#[inline(never)]
pub(crate) fn make_way(process: Process<ProcessState>) {
    // SAFETY: the state of the running process is alive, and nobody else's; one word is read.
    if unsafe { (*process.program()).wasi.holds_output() } {
        process.on_worker(|_, state| state.flush_old_lines());
    }
    // SAFETY: as above.
    if unsafe { &(*process.program()).account }.is_kept() {
        settle_account(process);
    }
    process.make_way();
    // SAFETY: as above; the guest stands still.
    unsafe { &mut *process.program() }.begin_slice();
}

/// # Safety
/// As [`Hooks::on_host_stack`]; the owner is a running process's state.
unsafe fn on_host_stack(owner: *mut (), call: &mut dyn FnMut()) {
    // SAFETY: forwards the caller's promise.
    unsafe { ProcessState::handle_of(owner) }.on_worker(|_, state| {
        let room = footprint::room();
        let refused = room.refused();
        call();
        state.tell_memory();
        if room.refused() > refused {
            state.node.report_refusal();
        }
    });
}
