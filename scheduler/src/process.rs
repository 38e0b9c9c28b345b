//! What a fiber can do to itself.
//!
//! Parties: the body of a program, on its own small stack, and the worker below it. Protocol: every
//! method that acts checks that the caller really runs on the process's stack (one comparison of
//! the stack pointer), so a handle that has strayed to another thread, another fiber or a worker's
//! stack panics instead of corrupting. The worker is found through the header anew at each call,
//! never remembered across a suspension: the next one may be another thread's.

use crate::{
    Program,
    arena::{RESERVE_BYTES, page_bytes},
    pid::Pid,
    slot::{Command, FiberYielder, Header, Slot},
    sync::Ordering,
    worker::Worker,
};
use std::{fmt, ops::Range, ptr::NonNull};

/// A process's handle to itself. Copyable, and may be kept in the program; acts only on the
/// process's own stack.
pub struct Process<P: Program> {
    header: NonNull<Header<P>>,
    /// Of all that is set aside for its stack, reserve and guard included.
    low: usize,
    high: usize,
    pid: Pid,
}

impl<P: Program> Clone for Process<P> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<P: Program> Copy for Process<P> {}

impl<P: Program> fmt::Debug for Process<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process{}", self.pid)
    }
}

// SAFETY: elsewhere than on its own stack a handle is two numbers: every method that follows the
// pointer checks first.
unsafe impl<P: Program> Send for Process<P> {}
// SAFETY: as above.
unsafe impl<P: Program> Sync for Process<P> {}

/// Carries a closure over to the worker's stack, which belongs to the same thread.
struct SameThread<F>(F);
// SAFETY: `on_parent_stack` asks for `Send` to keep the yielder off the parent's stack; the closure
// runs on this very thread while the fiber waits, and `Process` checks the stack before it uses the
// yielder.
unsafe impl<F> Send for SameThread<F> {}

impl<F: FnOnce() -> R, R> SameThread<F> {
    fn call(self) -> R {
        (self.0)()
    }
}

impl<P: Program> Process<P> {
    pub(crate) fn new(slot: Slot<P>, pid: Pid) -> Self {
        Self { header: slot.pointer(), low: slot.low(), high: slot.stack_high(), pid }
    }

    /// Its name.
    pub fn pid(self) -> Pid {
        self.pid
    }

    /// Its program. Who dereferences answers for aliasing, and for the process being alive.
    pub fn program(self) -> *mut P {
        // A never-dereferenced pointer computation: valid to make even when the process is gone.
        Header::program_of(self.header)
    }

    /// The addresses of its stack, for who walks its frames.
    pub fn stack(self) -> Range<usize> {
        self.low + RESERVE_BYTES + page_bytes()..self.high
    }

    /// Whether it should let others run before it goes on: a signal has said so that came where the
    /// process could not be left. For the process itself.
    #[inline(always)]
    pub fn is_interrupted(self) -> bool {
        // SAFETY: a header is never unmapped while a process of its runtime runs, and the flag is an
        // atomic; nobody else's answer would do harm.
        let header = unsafe { self.header.as_ref() };
        // Relaxed: written by this thread or a signal handler on it.
        header.interrupted.load(Ordering::Relaxed)
    }

    /// Tells how many bytes the host holds for it beside its messages: see
    /// [`Handle::holders`](crate::Handle::holders).
    pub fn tell_held(self, bytes: u64) {
        // SAFETY: as in `is_interrupted`.
        unsafe { self.header.as_ref() }.holdings.tell_own(bytes);
    }

    /// Tells to which group it belongs: its mail counts with that of all others in it when somebody asks
    /// who floods a mailbox.
    pub fn tell_group(self, group: u64) {
        // SAFETY: as in `is_interrupted`.
        unsafe { self.header.as_ref() }.holdings.tell_group(group);
    }

    /// Tells where its own memory is, and how many bytes.
    pub fn tell_memory(self, at: usize, bytes: usize) {
        // SAFETY: as in `is_interrupted`.
        unsafe { self.header.as_ref() }.holdings.tell_memory(at, bytes);
    }

    /// Makes it let others run when its host call returns.
    #[track_caller]
    pub fn interrupt(self) {
        // SAFETY: as above.
        unsafe { self.header.as_ref() }.interrupted.store(true, Ordering::Relaxed);
    }

    /// Runs `f` on the worker's own big stack, with the worker and the program.
    #[inline]
    #[track_caller]
    pub fn on_worker<R>(self, f: impl FnOnce(&Worker<'_, P>, &mut P) -> R) -> R {
        let header = self.header_on_fiber();
        let worker = header.worker.get();
        let work = SameThread(|| {
            // SAFETY: the worker that resumed this fiber; it stays in `resume` until the fiber
            // suspends, and this call does not.
            let core = unsafe { &*worker };
            core.visit(self, f)
        });
        self.yielder(header).on_parent_stack(move || work.call())
    }

    /// The worker that runs the process, for a caller on the process's own stack who does not want
    /// to leave it: what [`on_worker`](Self::on_worker) does, without the change of stacks and
    /// without its protection.
    ///
    /// # Safety
    /// - The caller runs on this process's stack.
    /// - The result is not used after the process has suspended, which may go on elsewhere. Nor may
    ///   the compiler keep an address of a thread-local across a suspension: what uses the result
    ///   is not inlined into what suspends.
    /// - A fault or a stack overflow until then would be taken for the guest's: the caller has made
    ///   sure of room.
    #[inline]
    pub unsafe fn worker_here<'a>(self) -> Worker<'a, P> {
        // SAFETY: we are on the fiber's stack, so the header lives.
        let worker = unsafe { self.header.as_ref() }.worker.get();
        // SAFETY: the worker that resumed this fiber stays in `resume` until the fiber suspends.
        unsafe { &*worker }.worker()
    }

    /// Suspends until woken. May return without cause; a wake since the last park makes it return
    /// at once.
    #[track_caller]
    pub fn park(self) {
        self.suspend(Command::Park);
    }

    /// Goes to the back of the run queue.
    #[track_caller]
    pub fn yield_now(self) {
        self.suspend(Command::Yield);
    }

    /// The same for a process whose slice is used up: counted as a preemption.
    #[track_caller]
    pub fn preempt(self) {
        self.suspend(Command::Preempt);
    }

    /// The same for one that a signal has asked to: others have waited for it.
    #[track_caller]
    pub fn make_way(self) {
        self.suspend(Command::MakeWay);
    }

    /// Ends the process here. Nothing on its stack is dropped.
    #[track_caller]
    pub fn exit(self) -> ! {
        self.suspend(Command::Exit);
        unreachable!("a fiber that has left for good is never resumed")
    }

    #[inline]
    #[track_caller]
    fn suspend(self, command: Command) {
        let header = self.header_on_fiber();
        header.suspended_at.set((&raw const command) as usize);
        self.yielder(header).suspend(command);
    }

    fn yielder(self, header: &Header<P>) -> &FiberYielder {
        // SAFETY: we are on the fiber's stack, so the body has started and set it, and it lies at
        // that stack's root.
        unsafe { &*header.yielder.get() }
    }

    /// The header, for a caller who stands on the process's stack.
    #[inline]
    #[track_caller]
    pub(crate) fn header_on_fiber<'a>(self) -> &'a Header<P> {
        let here = 0u8;
        let here = (&raw const here) as usize;
        assert!(
            self.low < here && here < self.high,
            "a process handle acts only on its own process's stack"
        );
        // SAFETY: we run on this slot's stack, so its arena, its runtime and a worker below us are
        // alive. If the handle is an earlier tenant's, it acts for the present one, which is the
        // one calling.
        let slot = unsafe { Slot::from_pointer(self.header) };
        slot.header()
    }

    pub(crate) fn header_pointer(self) -> NonNull<Header<P>> {
        self.header
    }
}
