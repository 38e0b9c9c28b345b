//! Which fiber runs on this thread: the question a signal handler asks.
//!
//! Parties: a worker thread and the signal handlers that interrupt it: one thread, so plain relaxed
//! atomics suffice and only the compiler must keep the order. Protocol: a worker announces its
//! `Current` once, when its thread starts, and takes it back before it ends; it writes the fiber's
//! header there before it resumes, null while its own stack is in use, and the header with a mark while
//! that is so on behalf of a process whose fiber waits.

use crate::{
    Program,
    beat::Beat,
    slot::{Finish, Header, Slot},
    sync::{AtomicPtr, Ordering, compiler_fence},
};
use corosensei::trap::{CoroutineTrapHandler, TrapHandlerRegs};
use std::{
    cell::Cell,
    num::NonZero,
    ops::Range,
    ptr::{NonNull, null, null_mut},
};

thread_local! {
    /// Constant and without destructor: reading it in a signal handler allocates nothing.
    static HERE: Cell<*const Current> = const { Cell::new(null()) };
}

/// A worker's note of the fiber it is running.
pub(crate) struct Current {
    header: AtomicPtr<()>,
    describe: unsafe fn(NonNull<()>) -> FiberBounds,
    /// The worker's own, which outlives it.
    beat: NonNull<Beat>,
    note: unsafe fn(NonNull<()>),
}

/// Marks a header whose fiber waits. Headers are aligned.
const AWAY: usize = 1;

impl Current {
    /// # Safety
    /// The beat is that of the worker, runs `P`s and lives as long as the result.
    pub(crate) unsafe fn new<P: Program>(beat: &Beat) -> Self {
        Self {
            header: AtomicPtr::new(null_mut()),
            describe: describe::<P>,
            beat: NonNull::from(beat),
            note: note::<P>,
        }
    }

    /// The fiber is about to run, or to go on after a visit to the worker's stack.
    #[inline]
    pub(crate) fn set<P: Program>(&self, header: NonNull<Header<P>>) {
        // Relaxed and a compiler fence: the only concurrent reader is a signal handler on this
        // thread.
        self.header.store(header.as_ptr().cast(), Ordering::Relaxed);
        compiler_fence(Ordering::SeqCst);
    }

    /// The worker's own stack is in use, for the process whose fiber waits meanwhile.
    #[inline]
    pub(crate) fn leave<P: Program>(&self, header: NonNull<Header<P>>) {
        compiler_fence(Ordering::SeqCst);
        let away = header.as_ptr().cast::<()>().wrapping_byte_add(AWAY);
        self.header.store(away, Ordering::Relaxed);
    }

    /// The worker's own stack is in use.
    #[inline]
    pub(crate) fn clear(&self) {
        compiler_fence(Ordering::SeqCst);
        self.header.store(null_mut(), Ordering::Relaxed);
    }

    /// Makes this the calling thread's answer while `f` runs.
    #[inline(never)]
    pub(crate) fn announce<R>(&self, f: impl FnOnce() -> R) -> R {
        struct Withdraw;
        impl Drop for Withdraw {
            fn drop(&mut self) {
                HERE.with(|here| here.set(null()));
            }
        }
        HERE.with(|here| here.set(self));
        let _withdraw = Withdraw;
        f()
    }
}

/// The fiber that was running when a signal came, and the way out of it.
pub struct FiberBounds {
    /// Lowest address of the stack's usable part.
    pub stack_low: usize,
    /// Highest address of the stack.
    pub stack_high: usize,
    /// The guard below the stack: a fault in it is a stack overflow.
    pub guard: Range<usize>,
    /// Below the guard: where a fiber with a full stack may leave its registers.
    pub reserve: Range<usize>,
    /// The `*mut P` of the running process.
    pub program: *mut (),
    handler: CoroutineTrapHandler<Finish>,
}

impl FiberBounds {
    /// Registers that make the interrupted fiber end as [`End::Trapped`](crate::End::Trapped) once
    /// the handler returns.
    ///
    /// # Safety
    /// - Called from a signal handler, on the thread where [`current_fiber`] gave this answer,
    ///   about the same signal.
    /// - The interrupted stack pointer lies in this fiber's stack or guard.
    /// - What the fiber was doing may be abandoned at that instruction (it was running guest code).
    /// - The handler writes the registers into the interrupted context before it returns.
    pub unsafe fn redirect(&self) -> TrapHandlerRegs {
        // SAFETY: by this function's contract, which is the callee's.
        unsafe { self.handler.setup_trap_handler(|| Finish::Trapped) }
    }
}

/// The fiber that runs on this thread right now; `None` on a thread that is no worker, on a
/// worker's own stack, and inside [`Process::on_worker`](crate::Process::on_worker).
/// Async-signal-safe.
pub fn current_fiber() -> Option<FiberBounds> {
    turn().and_then(|(bounds, on_fiber)| on_fiber.then_some(bounds))
}

/// The process whose turn it is on this thread.
pub struct Turn {
    /// The addresses of its stack.
    pub stack: Range<usize>,
    /// The `*mut P` of the process.
    pub program: *mut (),
    /// Whether its fiber runs, and not a visitor of [`Process::on_worker`](crate::Process::on_worker).
    pub on_fiber: bool,
}

/// What [`current_fiber`] tells, and also while the process's fiber waits for a visitor to the worker's
/// stack. Async-signal-safe.
pub fn current_turn() -> Option<Turn> {
    let (bounds, on_fiber) = turn()?;
    Some(Turn { stack: bounds.stack_low..bounds.stack_high, program: bounds.program, on_fiber })
}

/// The fiber whose turn it is, and whether it is what runs.
#[inline(never)]
fn turn() -> Option<(FiberBounds, bool)> {
    let here = HERE.try_with(Cell::get).ok()?;
    // SAFETY: non-null only between `announce`'s two writes, on this thread, during which it
    // borrows the `Current`.
    let current = unsafe { here.as_ref() }?;
    // Relaxed: written by this very thread.
    let marked = NonNull::new(current.header.load(Ordering::Relaxed))?;
    let on_fiber = marked.addr().get() & AWAY == 0;
    let header = marked.map_addr(|address| {
        NonZero::new(address.get() & !AWAY).expect("a header is not at the first address")
    });
    // SAFETY: the header was set by this worker, whose `P` is the one `describe` was made for, and
    // it is the process's turn: its fiber runs, or waits for a visitor.
    Some((unsafe { (current.describe)(header) }, on_fiber))
}

/// Asks the process that this thread runs, on whatever stack, to make way when it next returns from
/// host code ([`Process::is_interrupted`](crate::Process::is_interrupted)). Async-signal-safe.
#[inline(never)]
pub fn note_interruption() {
    let Ok(here) = HERE.try_with(Cell::get) else { return };
    // SAFETY: as in `current_fiber`.
    let Some(current) = (unsafe { here.as_ref() }) else { return };
    // SAFETY: by the promise made to `new`.
    if let Some(running) = unsafe { current.beat.as_ref() }.running() {
        // SAFETY: the worker is this thread's, and runs it.
        unsafe { (current.note)(running) };
    }
}

/// # Safety
/// `header` belongs to a `P` that this thread runs.
unsafe fn note<P: Program>(header: NonNull<()>) {
    // SAFETY: by the contract its runtime is alive.
    let slot = unsafe { Slot::<P>::from_pointer(header.cast()) };
    // Relaxed: for this very thread.
    slot.header().interrupted.store(true, Ordering::Relaxed);
}

/// # Safety
/// `header` belongs to a `P` whose turn it is on this thread.
unsafe fn describe<P: Program>(header: NonNull<()>) -> FiberBounds {
    // SAFETY: by the contract its runtime is alive.
    let slot = unsafe { Slot::<P>::from_pointer(header.cast()) };
    let guard = slot.guard();
    FiberBounds {
        stack_low: guard.end,
        stack_high: slot.stack_high(),
        reserve: slot.reserve(),
        guard,
        program: slot.program().cast(),
        handler: slot.trap_handler(),
    }
}
