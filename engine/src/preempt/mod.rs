//! Preemption by signal: leaving compiled code at any instruction, and going on later.
//!
//! Code without yield points is interrupted by a signal to the thread that runs it
//! ([`interrupt_thread`]). The handler asks three questions: does this thread run a fiber, is the
//! interrupted instruction one of a wasm function, does the stack pointer lie in that fiber's stack?
//! Then it makes the interrupted code call a *trampoline* (one file for each processor): the handler
//! writes where and in what state the code was to the fiber's stack and points the interrupted
//! context at the trampoline, which saves all other registers there, yields as a host call would,
//! and in the end, on whichever thread, puts everything back at once. To the guest nothing has
//! happened. Otherwise the handler leaves a note with the process (`note`), which the next return
//! from host code to compiled code obeys; and whoever sends the signals sends another one if that
//! does not come soon.
//!
//! What could be interrupted, and what then:
//!
//! - *The first and last instructions of a function.* The frame is half built; everything below the
//!   stack pointer (and what the ABI calls the red zone) is free nevertheless, and nothing else is
//!   written. A backtrace of such a place may lack a caller; it is never used for more than reports.
//! - *Compiled code with little stack left.* The trampoline runs in the fiber's *reserve* then, some
//!   pages below the guard, which guests cannot reach. So a guest cannot hide from preemption at the
//!   end of its stack, and the overflow of its stack stays what it is.
//! - *Host code on the fiber's stack* (thunks, shims, short calls, builtins, the change of stacks) and
//!   on the worker's: pc is in no wasm function. A note.
//! - *The handler of faults*: it blocks this signal, which comes when that handler has returned, with
//!   pc in corosensei's way out. A note.
//! - *A thread that is no worker*: it has no fiber. Nothing. It is never sent the signal either.
//!
//! A process that is killed while it is suspended here is abandoned like any other: nothing on its
//! stack needs dropping.
//!
//! The signal is `SIGURG`: by default it is ignored, so one that comes astray harms nobody, debuggers
//! pass it on without a word, and system calls that it interrupts are restarted. The handler takes
//! no lock and allocates nothing.

#![allow(clippy::multiple_unsafe_ops_per_block)] // Raw signal contexts: each line is one.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::{code_map, profile};

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod x86_64;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use x86_64 as machine;
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
mod aarch64;
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
use aarch64 as machine;
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod none;
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
use none as machine;

/// What interrupts a thread.
pub(crate) const SIGNAL: libc::c_int = libc::SIGURG;

/// What the trampoline and what it calls may need of a stack.
const ROOM: usize = 8 * 1024;

/// A fiber that runs on its own stack.
pub struct RunningFiber {
    /// Its usable stack.
    pub stack: Range<usize>,
    /// Where a trampoline may run if the stack is full: as much memory that the fiber's code cannot
    /// reach; or empty, then a fiber with a full stack is not interrupted.
    pub reserve: Range<usize>,
}

/// What the handler asks of whoever runs fibers.
pub struct PreemptHooks {
    /// The fiber that runs on the calling thread, if its own stack is in use. Async-signal-safe.
    pub fiber: fn() -> Option<RunningFiber>,
    /// The calling thread cannot leave its fiber now, if it runs one: see to it that it is left as
    /// soon as host code returns to compiled code. Async-signal-safe.
    pub note: fn(),
    /// Lets others run. Called on the stack of the fiber that `fiber` has told of, or in its
    /// reserve; returns when it is the fiber's turn again, maybe on another thread.
    pub yield_now: fn(),
}

/// More in one program are a mistake.
const HOOKS_MAX: usize = 4;

/// Published once each; an array, because the handler must not wait for a lock.
static HOOKS: [AtomicPtr<PreemptHooks>; HOOKS_MAX] =
    [const { AtomicPtr::new(null_mut()) }; HOOKS_MAX];

/// Whether this machine can do it.
#[must_use]
pub fn is_supported() -> bool {
    machine::prepare()
}

/// Installs the handler (once in a program) and adds `hooks` to those that know fibers. Each thread
/// that runs fibers needs [`crate::signals::prepare_thread`].
///
/// # Panics
/// If the machine [cannot](is_supported), or if there are too many hooks.
pub fn install(hooks: &'static PreemptHooks) {
    assert!(is_supported(), "preemption by signal on a machine that cannot");
    let hooks = std::ptr::from_ref(hooks).cast_mut();
    let added = HOOKS.iter().any(|place| {
        // Release: the handler reads what it points to; it is constant, but may be new memory.
        let result =
            place.compare_exchange(null_mut(), hooks, Ordering::Release, Ordering::Relaxed);
        result.is_ok() || result == Err(hooks)
    });
    assert!(added, "more than {HOOKS_MAX} kinds of fibers in one program");
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(install_handler);
}

fn install_handler() {
    let mut previous = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: both structures are valid for the call; the handler has the signature that SA_SIGINFO
    // asks for and runs on the alternate stack, as the interrupted one may be full.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        action.sa_sigaction = on_signal as *const () as usize;
        libc::sigemptyset(&raw mut action.sa_mask);
        // A profile wants to see the guest, not this handler.
        libc::sigaddset(&raw mut action.sa_mask, profile::SIGNAL);
        let result = libc::sigaction(SIGNAL, &raw const action, previous.as_mut_ptr());
        assert_eq!(result, 0, "installing the handler of signal {SIGNAL} cannot fail");
    }
}

/// Interrupts a thread of this program, by the system's number for it. Nothing happens if there is
/// none, or if it runs no fiber.
pub fn interrupt_thread(thread: u32) {
    // SAFETY: a system call without pointers; a signal to a thread that does not expect it is
    // ignored by the handler.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, SIGNAL) };
}

unsafe extern "C" fn on_signal(
    _signal: libc::c_int,
    _info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes a valid context, which it will go on with, and nobody else has it.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    profile::look_here(context);
    // SAFETY: as above.
    unsafe { interrupt(context) };
}

/// What the handler does: lets others run, at once or soon; true if at once. For handlers of other
/// signals in tests.
///
/// # Safety
/// `context` is what a signal handler that runs on the alternate stack got from the kernel and will
/// return to.
pub unsafe fn interrupt(context: &mut libc::ucontext_t) -> bool {
    for hooks in &HOOKS {
        // Acquire: partner of the publication in `install`.
        // SAFETY: null, or a reference that lives for ever.
        let Some(hooks) = (unsafe { hooks.load(Ordering::Acquire).as_ref() }) else { return false };
        if let Some(fiber) = (hooks.fiber)()
            // SAFETY: forwards the caller's promise; the fiber is the running one.
            && unsafe { leave(context, hooks, &fiber) }
        {
            return true;
        }
        (hooks.note)();
    }
    false
}

/// Points the context at the trampoline, if the code may be left here.
///
/// # Safety
/// As [`interrupt`]; the fiber runs on this thread.
unsafe fn leave(
    context: &mut libc::ucontext_t,
    hooks: &'static PreemptHooks,
    fiber: &RunningFiber,
) -> bool {
    let (pc, sp) = machine::position(context);
    if !fiber.stack.contains(&sp) || !code_map::with(|code| code.contains(pc)) {
        return false;
    }
    let top = if sp - fiber.stack.start >= ROOM {
        sp - machine::RED_ZONE_BYTES
    } else if fiber.reserve.len() >= ROOM {
        fiber.reserve.end
    } else {
        return false;
    };
    // SAFETY: below `top` there are `ROOM` bytes, less a red zone, that nobody uses: the free part
    // of the fiber's stack, or its reserve, which is in use only while a trampoline runs, and that
    // is no wasm function. Compiled code may be continued anywhere.
    unsafe { machine::redirect(context, top, hooks) }
}
