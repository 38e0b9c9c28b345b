//! A slot: header, room for the engine, guarded stack; and the fiber that runs on it.
//!
//! ```text
//! slot low                                                                    slot high
//! | reserve | guard | stack grows down <------ | extra (<= MAX_EXTRA) | Header | colour |
//! ```
//!
//! A process that needs a larger stack gets one of its own, elsewhere (`LargeStack`), with reserve
//! and guard like these.
//!
//! Header, extra and the top of the stack share a page when they are small. Equal addresses modulo
//! the page would make all headers compete for the same few cache sets, so a header is shifted down
//! by a *colour* that depends on its index.
//!
//! Parties: observers may read `state` and push to `arrivals`, at any time, for ever: header memory
//! is never given back and all-zero memory is a valid header of a free slot. Everything else
//! belongs to the *owner* of the process (see `state.rs`): the worker that builds, runs or reaps
//! it; while the fiber runs, worker and fiber are one thread.
//!
//! This file holds the crate's dealings with `corosensei`.
// `&mut *cell.get()` is one argument, but counts as two operations.
#![allow(clippy::multiple_unsafe_ops_per_block)]

use crate::{
    Program, Settled,
    arena::{Arena, RESERVE_BYTES, forbid_page, page_bytes},
    held::Holdings,
    mailbox::{Arrivals, Inbox},
    pid::Pid,
    prefetch,
    process::Process,
    quota::{MailboxLimit, Quota},
    state::State,
    sync::{AtomicBool, Ordering},
    worker::Core,
};
use corosensei::{
    Coroutine, CoroutineResult, Yielder,
    stack::{DefaultStack, Stack, StackPointer},
    trap::CoroutineTrapHandler,
};
use std::{
    any::Any,
    cell::{Cell, UnsafeCell},
    io,
    mem::MaybeUninit,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr::{self, NonNull},
};

/// The most that may be set aside between header and stack.
pub const MAX_EXTRA: usize = 32 * 1024;

/// Distinct colours, one cache line apart. By feel: 16 lines spread hot headers over a quarter of
/// the 64 sets a page covers and cost at most 1 KiB of the page that header and stack share.
const COLOURS: usize = 16;
const CACHE_LINE: usize = 64;
const GUARD_UNIT: usize = 4096;

/// What a process touches first when it goes on: the frames it waits in, the beginning of its
/// extra room. Measured with a ring of 1,000 WebAssembly processes.
const STACK_LINES: usize = 8;
const EXTRA_LINES: usize = 6;

/// What a fiber asks of its worker when it suspends.
#[derive(Clone, Copy)]
pub(crate) enum Command {
    Park,
    Yield,
    /// As `Yield`, but it is the slice that has ended.
    Preempt,
    /// As `Preempt`, and it was a signal that ended it.
    MakeWay,
    Exit,
}

/// How a body came to its end by itself.
pub(crate) enum Finish {
    Returned,
    Panicked(String),
    Trapped,
}

/// A stack outside of the slots, with a reserve and a guard of its own, and another guard below.
pub(crate) struct LargeStack(DefaultStack);

impl LargeStack {
    pub(crate) fn new(bytes: usize) -> io::Result<Self> {
        let stack = Self(DefaultStack::new(bytes + RESERVE_BYTES + page_bytes())?);
        // SAFETY: the page lies in the stack just made, where nothing is yet.
        unsafe { forbid_page(stack.low().get() + RESERVE_BYTES) }?;
        Ok(stack)
    }

    /// Where the reserve begins: corosensei counts its guard as part of the stack.
    fn low(&self) -> StackPointer {
        StackPointer::new(self.0.limit().get() + page_bytes()).expect("above a mapping")
    }

    fn high(&self) -> StackPointer {
        self.0.base()
    }
}

pub(crate) type Fiber = Coroutine<(), Command, Finish, SlotStack>;
pub(crate) type FiberYielder = Yielder<(), Command>;

/// The part of a slot a fiber runs on; a view, the arena owns the memory.
pub(crate) struct SlotStack {
    high: StackPointer,
    low: StackPointer,
}

// SAFETY: `low..high` is the part of a slot below header and extra, with reserve and guard at its
// low end (`Arena`), and the builder and `spawn` refuse sizes that leave less than `MIN_STACK_BYTES`
// above it. Both ends are 16-aligned. Or it is a large stack, which lives until `bury`.
unsafe impl Stack for SlotStack {
    fn base(&self) -> StackPointer {
        self.high
    }
    fn limit(&self) -> StackPointer {
        self.low
    }
}

/// What one process may have, and who looks at it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// Messages that may wait for it. `None`: any number.
    pub mailbox: Option<MailboxLimit>,
    /// Bytes of its stack, at least 16 KiB. `None`: what a slot has. More than that is a stack of its
    /// own, which costs two memory mappings.
    pub stack_bytes: Option<usize>,
    /// It is watched from the beginning: see [`Worker::watch`](crate::Worker::watch).
    pub watched: bool,
}

impl Bounds {
    /// Below this there is no room for what runs at the root of a stack, or for a host call's shim.
    pub const STACK_BYTES_MIN: usize = 16 * 1024;

    /// Where the stack begins that is to be so large, between these ends.
    fn stack_top(self, low: StackPointer, guard: usize, high: StackPointer) -> StackPointer {
        let Some(bytes) = self.stack_bytes else { return high };
        let bytes = bytes.max(Self::STACK_BYTES_MIN).next_multiple_of(16);
        let top = low.get().saturating_add(guard).saturating_add(bytes);
        StackPointer::new(top.min(high.get())).expect("above `low`")
    }
}

/// The type-stable top of a slot.
#[repr(C, align(64))]
pub(crate) struct Header<P: Program> {
    pub(crate) state: State,
    pub(crate) arrivals: Arrivals<P::Message>,
    pub(crate) quota: Quota,
    /// The worker that resumed the fiber last: valid while the fiber runs.
    pub(crate) worker: Cell<*const Core<P>>,
    /// Where the stack ended when the fiber suspended last: a hint.
    pub(crate) suspended_at: Cell<usize>,
    index: Cell<u32>,
    /// In units of 4 KiB.
    guard_units: Cell<u16>,
    /// The process should let others run as soon as it can: host code asks before it returns to
    /// compiled code. Written by signal handlers on the worker's thread and by the worker.
    pub(crate) interrupted: AtomicBool,
    /// Its last turn was ended by a signal: so may the next one be, from its beginning.
    pub(crate) runs_long: Cell<bool>,
    // Here ends the first cache line, which senders want.
    /// The fiber's way out; set when the body starts, valid while it runs.
    pub(crate) yielder: Cell<*const FiberYielder>,
    /// Where the slot begins.
    slot_low: Cell<usize>,
    /// Where the tenant's stack begins, reserve and guard included, and where it ends.
    low: Cell<usize>,
    stack_high: Cell<usize>,
    /// The tenant's own stack, if it does not lie in the slot: a `Box`.
    large_stack: Cell<*mut LargeStack>,
    inbox: UnsafeCell<Inbox<P::Message>>,
    /// Somebody uses the inbox.
    inbox_open: Cell<bool>,
    pub(crate) holdings: Holdings,
    fiber: UnsafeCell<MaybeUninit<Fiber>>,
    program: UnsafeCell<MaybeUninit<P>>,
}

/// A pointer to the header of a slot that has been used at least once, in an arena that lives.
pub(crate) struct Slot<P: Program>(NonNull<Header<P>>);

impl<P: Program> Clone for Slot<P> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<P: Program> Copy for Slot<P> {}

// SAFETY: a slot is an address; what may be done with it from where is the header's protocol.
// Programs and messages, which travel with it, are `Send` by the bounds of `Program`.
unsafe impl<P: Program> Send for Slot<P> {}

impl<P: Program> Header<P> {
    /// Where the program of this header lies. Reads nothing.
    pub(crate) fn program_of(header: NonNull<Self>) -> *mut P {
        header.as_ptr().wrapping_byte_add(std::mem::offset_of!(Self, program)).cast()
    }
}

/// Where in each slot the header lies.
fn header_offset<P: Program>(arena: &Arena, index: u32) -> usize {
    let colour = index as usize % COLOURS * CACHE_LINE;
    arena.slot_bytes() - size_of::<Header<P>>() - colour
}

/// Bytes of a slot that neither extra nor stack can use.
pub(crate) fn overhead_bytes<P: Program>() -> usize {
    size_of::<Header<P>>() + COLOURS * CACHE_LINE
}

impl<P: Program> Slot<P> {
    /// The slot `index` of the arena.
    ///
    /// # Safety
    /// The arena must hold slots for this `P` only and outlive every use of the result.
    pub(crate) unsafe fn at(arena: &Arena, index: u32) -> Self {
        Self(arena.pointer(index, header_offset::<P>(arena, index)).cast())
    }

    pub(crate) fn header<'a>(self) -> &'a Header<P> {
        // SAFETY: `at`'s contract: the memory is a header (all-zero or initialised) and lives; all
        // fields are cells or atomics, so shared references are always right.
        unsafe { self.0.as_ref() }
    }

    pub(crate) fn pointer(self) -> NonNull<Header<P>> {
        self.0
    }

    /// The slot behind a process handle.
    ///
    /// # Safety
    /// The runtime that made the handle must be alive.
    pub(crate) unsafe fn from_pointer(pointer: NonNull<Header<P>>) -> Self {
        Self(pointer)
    }

    pub(crate) fn index(self) -> u32 {
        self.header().index.get()
    }

    /// Where the reserve begins.
    pub(crate) fn low(self) -> usize {
        self.header().low.get()
    }

    /// Between reserve and stack.
    pub(crate) fn guard(self) -> Range<usize> {
        let low = self.low() + RESERVE_BYTES;
        low..low + self.header().guard_units.get() as usize * GUARD_UNIT
    }

    /// Where a preempted fiber with a full stack may leave its registers.
    pub(crate) fn reserve(self) -> Range<usize> {
        self.low()..self.low() + RESERVE_BYTES
    }

    pub(crate) fn stack_high(self) -> usize {
        self.header().stack_high.get()
    }

    /// Owner, before the first tenant and after `desert`: notes where the slot lies, and which
    /// generation is next.
    pub(crate) fn settle(self, arena: &Arena, index: u32, generation: u32) {
        let header = self.header();
        header.index.set(index);
        header.slot_low.set(arena.slot(index).start);
        let units = u16::try_from(arena.guard_bytes() / GUARD_UNIT).expect("a guard is a page");
        header.guard_units.set(units);
        header.state.restore(generation);
    }

    /// Owner of a free slot whose memory is about to be given back: the generation that `settle`
    /// will need.
    pub(crate) fn desert(self) -> u32 {
        self.header().state.next_generation()
    }

    /// Owner of a free slot: makes a tenant; the caller must queue it. If `init` panics the slot is
    /// still free.
    #[inline]
    pub(crate) fn build(
        self,
        extra: usize,
        large: Option<LargeStack>,
        bounds: Bounds,
        init: impl FnOnce(Pid, Process<P>, NonNull<u8>) -> P,
    ) -> Pid {
        let header = self.header();
        let generation = header.state.next_generation();
        let pid = Pid::new(self.index(), generation);
        debug_assert!(extra <= MAX_EXTRA, "the caller checks the size");
        // SAFETY: `extra` is at most MAX_EXTRA, which the builder has checked to fit below every
        // header.
        let place = unsafe { self.0.cast::<u8>().sub(extra.next_multiple_of(16)) };
        let high = StackPointer::new(place.as_ptr() as usize).expect("the arena is not at zero");
        let low = StackPointer::new(header.slot_low.get()).expect("the arena is not at zero");
        let stack = match &large {
            Some(large) => SlotStack { high: large.high(), low: large.low() },
            None => {
                let aside = RESERVE_BYTES + page_bytes();
                SlotStack { high: bounds.stack_top(low, aside, high), low }
            }
        };
        header.low.set(stack.low.get());
        header.stack_high.set(stack.high.get());
        let process = Process::new(self, pid);
        let program = self.program();
        header.holdings.open();
        // SAFETY: the slot is free and ours, so nobody else looks at `program`.
        unsafe { program.write(init(pid, process, place)) };
        header
            .large_stack
            .set(large.map_or(ptr::null_mut(), |large| Box::into_raw(Box::new(large))));
        let fiber = Coroutine::with_stack(stack, move |yielder, ()| body(process, yielder));
        // SAFETY: as for `program`.
        unsafe { (*header.fiber.get()).write(fiber) };
        header.runs_long.set(false);
        header.arrivals.open(generation);
        header.quota.open(generation, bounds.mailbox);
        header.state.publish(generation, bounds.watched);
        pid
    }

    /// Whether its tenant is to end at the next scheduling point. For anybody; a hint.
    pub(crate) fn is_killed(self) -> bool {
        self.header().state.is_killed()
    }

    /// Owner: the pid of the present tenant.
    pub(crate) fn pid(self) -> Option<Pid> {
        Some(Pid::new(self.index(), self.header().state.living_generation()?))
    }

    /// Whoever makes it run soon: has what it will touch brought near.
    #[inline]
    pub(crate) fn prefetch(self) {
        let header = self.0.as_ptr() as usize;
        prefetch::lines(header + CACHE_LINE, size_of::<Header<P>>().div_ceil(CACHE_LINE) - 1);
        let stack = self.header().suspended_at.get();
        prefetch::lines(stack, STACK_LINES);
        prefetch::lines(self.stack_high(), EXTRA_LINES);
    }

    /// The program of the present tenant; valid from `build` to `conclude`.
    pub(crate) fn program(self) -> *mut P {
        Header::program_of(self.0)
    }

    /// Owner: has the program do what is to be done at its end, and drops it if that was all.
    ///
    /// # Safety
    /// After the fiber has ended, and not again after it has answered "done" or panicked.
    pub(crate) unsafe fn conclude(self, conclude: impl FnOnce(&mut P) -> Settled) -> Settled {
        /// Also when `conclude` panics.
        struct Dropped<P>(*mut P);
        impl<P> Drop for Dropped<P> {
            fn drop(&mut self) {
                // SAFETY: `build` initialised it, and nobody has dropped it.
                unsafe { self.0.drop_in_place() };
            }
        }
        let program = Dropped(self.program());
        // SAFETY: as above; the fiber, which might refer to it, has ended.
        let settled = conclude(unsafe { &mut *program.0 });
        if settled == Settled::More {
            std::mem::forget(program);
        }
        settled
    }

    /// Owner: runs the body until it suspends or ends.
    ///
    /// # Safety
    /// The process must be ACTIVE and in the hands of the calling worker, between `build` and
    /// `bury`.
    pub(crate) unsafe fn resume(self) -> CoroutineResult<Command, Finish> {
        // SAFETY: `build` initialised the fiber; as the process runs here and now, nobody else
        // touches it.
        let fiber = unsafe { (*self.header().fiber.get()).assume_init_mut() };
        fiber.resume(())
    }

    /// Owner: abandons the fiber wherever it is.
    ///
    /// # Safety
    /// Once for each `build`; the fiber must not be running.
    pub(crate) unsafe fn bury(self) {
        // SAFETY: `build` initialised the fiber, and we are its owner.
        let fiber = unsafe { (*self.header().fiber.get()).assume_init_mut() };
        if !fiber.done() {
            // SAFETY: `Program`'s contract: nothing on the stack needs to be dropped for soundness.
            // A fiber that was never started holds only a `Process`, which is `Copy`.
            unsafe { fiber.force_reset() };
        }
        // SAFETY: initialised, and by the contract not dropped before. Dropping a finished
        // coroutine frees nothing.
        unsafe { std::ptr::drop_in_place(fiber) };
        let large = self.header().large_stack.replace(ptr::null_mut());
        if !large.is_null() {
            // SAFETY: `build` made it from a `Box`; the fiber on it is gone.
            drop(unsafe { Box::from_raw(large) });
        }
    }

    /// Where a fault on this fiber's stack leads.
    pub(crate) fn trap_handler(self) -> CoroutineTrapHandler<Finish> {
        // SAFETY: asked only while the fiber runs on this thread (`current.rs`), so it is
        // initialised; shared access to two plain fields that never change while it lives.
        unsafe { (*self.header().fiber.get()).assume_init_ref() }.trap_handler()
    }

    /// Owner: mailbox access.
    #[inline]
    pub(crate) fn with_inbox<R>(
        self,
        f: impl FnOnce(&mut Inbox<P::Message>, &Arrivals<P::Message>) -> R,
    ) -> R {
        /// Also when `f` panics.
        struct Open<'a>(&'a Cell<bool>);
        impl Drop for Open<'_> {
            fn drop(&mut self) {
                self.0.set(false);
            }
        }
        let header = self.header();
        assert!(!header.inbox_open.replace(true), "a filter or a destructor uses its own mailbox");
        let _open = Open(&header.inbox_open);
        // SAFETY: the caller is the owner (`Worker::receive`, `Core::end` and `Shared::post` check
        // or know it), and the flag says that there is no other reference.
        let inbox = unsafe { &mut *header.inbox.get() };
        let result = f(inbox, &header.arrivals);
        // Relaxed: for observers (`held.rs`).
        header.holdings.taken.store(inbox.weight(), Ordering::Relaxed);
        result
    }
}

/// What runs at the root of every fiber's stack.
fn body<P: Program>(process: Process<P>, yielder: &FiberYielder) -> Finish {
    process.header_on_fiber().yielder.set(yielder);
    match catch_unwind(AssertUnwindSafe(|| P::run(process))) {
        Ok(()) => Finish::Returned,
        Err(payload) => Finish::Panicked(panic_message(payload)),
    }
}

/// The words of a panic.
pub(crate) fn panic_message(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => match payload.downcast::<&'static str>() {
            Ok(text) => (*text).to_owned(),
            Err(_) => String::from("a panic without a message"),
        },
    }
}
