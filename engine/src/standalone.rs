//! Runs an instance on a fiber of its own, on the calling thread: no scheduler, no other process.
//!
//! For tests and benchmarks of the engine, and the smallest example of what an owner of instances
//! has to do: give the block a place, describe the running fiber to the fault handler, answer the
//! hooks, and abandon the fiber when it trapped.

#![allow(clippy::multiple_unsafe_ops_per_block)] // The fiber protocol: argued function by function.
#![allow(clippy::result_large_err)] // A trap carries its backtrace; here nothing is hot.

use std::alloc::{Layout, alloc, dealloc};
use std::cell::Cell;
use std::ops::Range;
use std::ptr::NonNull;

use corosensei::stack::{DefaultStack, Stack};
use corosensei::trap::{CoroutineTrapHandler, TrapHandlerRegs};
use corosensei::{Coroutine, CoroutineResult, Yielder};
use wasmer::sys::vm::TrapCode;
use wasmer_types::RawValue;

use crate::abi::VmCtx;
use crate::image::{Callable, Image};
use crate::instance::{Hooks, Instance, InstantiateError, Limits, Prepared, exit_backtrace};
use crate::memory::MemoryPool;
use crate::preempt::{self, PreemptHooks, RunningFiber};
use crate::signals::{self, FiberAtFault};
use crate::traps::{RawBacktrace, Trap};

/// Stack of the fiber that a call runs on.
const STACK_BYTES: usize = 256 * 1024;

/// What a fiber tells when it suspends: only that it trapped.
type Ended = Option<Trap>;
type Call = Coroutine<(), Trap, Ended, DefaultStack>;

/// One instance with everything it needs.
pub struct Standalone {
    // Dropped before the block it lives in.
    instance: Option<Instance>,
    block: Block,
    fiber: Box<Cell<Running>>,
    image: Image,
    _pool: std::sync::Arc<MemoryPool>,
}

/// The fiber of the call in progress, for the hooks and the fault handler.
#[derive(Clone, Copy)]
struct Running {
    yielder: *const Yielder<(), Trap>,
    handler: Option<CoroutineTrapHandler<Ended>>,
    stack: (usize, usize),
    instance: *const Instance,
    yields: u64,
}

struct Block {
    memory: NonNull<u8>,
    layout: Layout,
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout and used by nobody any more.
        unsafe { dealloc(self.memory.as_ptr(), self.layout) };
    }
}

thread_local! {
    static CURRENT: Cell<*const Cell<Running>> = const { Cell::new(std::ptr::null()) };
    static WHEN_PREEMPTED: Cell<Option<fn()>> = const { Cell::new(None) };
}

static PREEMPT_HOOKS: PreemptHooks =
    PreemptHooks { fiber: running_fiber, note: || {}, yield_now: preempted };

/// Lets signals interrupt the calls of this thread ([`preempt::interrupt`]); each time `then` runs,
/// on the fiber's stack.
pub fn when_preempted(then: fn()) {
    preempt::install(&PREEMPT_HOOKS);
    WHEN_PREEMPTED.set(Some(then));
}

fn running_fiber() -> Option<RunningFiber> {
    let fiber = current_fiber()?;
    // Nobody else's: with a full stack it is not interrupted.
    Some(RunningFiber { stack: fiber.guard.end..fiber.stack.end, reserve: 0..0 })
}

fn preempted() {
    if let Some(then) = WHEN_PREEMPTED.get() {
        then();
    }
}

/// corosensei asks for `Send`, as a parent stack may belong to another thread; here it is the
/// calling thread's.
struct AssertSend<'a>(&'a mut dyn FnMut());

// SAFETY: the closure runs on the calling thread, before the call returns.
unsafe impl Send for AssertSend<'_> {}

impl AssertSend<'_> {
    fn run(self) {
        (self.0)();
    }
}

static HOOKS: Hooks = Hooks { raise, yield_now, on_host_stack };

impl Standalone {
    /// An instance of `image`; its start function has run.
    ///
    /// # Errors
    /// When there is no memory, or with the trap of the start function.
    pub fn new(
        image: &Image,
        pool: &std::sync::Arc<MemoryPool>,
        limits: Limits,
    ) -> Result<Result<Self, Trap>, InstantiateError> {
        signals::install(current_fiber);
        signals::prepare_thread().expect("memory for a signal stack");
        let prepared = Prepared::new(image, pool, limits, usize::MAX)?;
        let layout =
            Layout::from_size_align(image.block_bytes(), 16).expect("blocks are far below 2^63");
        // SAFETY: the layout is not empty: a block begins with a header.
        let memory = NonNull::new(unsafe { alloc(layout) }).expect("memory for a test's instance");
        let block = Block { memory, layout };
        let idle = Running {
            yielder: std::ptr::null(),
            handler: None,
            stack: (0, 0),
            instance: std::ptr::null(),
            yields: 0,
        };
        let fiber = Box::new(Cell::new(idle));
        let owner = std::ptr::from_ref(&*fiber).cast_mut().cast();
        // SAFETY: the block is fresh and lives as long as the instance, like image and pool; the hooks
        // below expect the cell as their owner.
        let instance = unsafe { prepared.place(block.memory, owner, &HOOKS) };
        let mut standalone = Self {
            instance: Some(instance),
            image: image.clone(),
            block,
            fiber,
            _pool: std::sync::Arc::clone(pool),
        };
        if let Some(start) = image.start()
            && let Err(trap) = standalone.call(start, &mut [])
        {
            return Ok(Err(trap));
        }
        Ok(Ok(standalone))
    }

    /// The instance.
    pub fn instance(&self) -> &Instance {
        self.instance.as_ref().expect("taken only when dropped")
    }

    /// What the instance was made from.
    #[must_use]
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// How often the calls so far came to the end of a slice.
    #[must_use]
    pub fn yields(&self) -> u64 {
        self.fiber.get().yields
    }

    /// Calls a function; arguments and results are in `values`.
    ///
    /// # Errors
    /// The trap that ended the call. The instance can be called again.
    ///
    /// # Panics
    /// When `values` is shorter than the function's arguments or results.
    pub fn call(&mut self, function: Callable, values: &mut [RawValue]) -> Result<(), Trap> {
        let instance = self.instance.as_ref().expect("taken only when dropped");
        let ty = self.image.function_type(function);
        assert!(values.len() >= ty.params().len().max(ty.results().len()));
        let cell: *const Cell<Running> = &raw const *self.fiber;
        let running_instance: *const Instance = instance;
        let instance = instance.bind(function);
        let values: *mut [RawValue] = values;
        let stack = DefaultStack::new(STACK_BYTES).expect("address space for a test's stack");
        let bounds = (stack.limit().get(), stack.base().get());
        let body = move |yielder: &Yielder<(), Trap>, ()| {
            // SAFETY: the cell, the instance and the values outlive the coroutine, which ends or
            // is reset before this function returns.
            unsafe {
                let mut running = (*cell).get();
                running.yielder = yielder;
                (*cell).set(running);
                instance.call(&mut *values);
            }
            None
        };
        // SAFETY: the closure borrows, through pointers, only what lives until the coroutine is
        // done with below.
        let mut call: Call = unsafe { Coroutine::with_stack_unchecked(stack, body) };
        let mut running = self.fiber.get();
        running.handler = Some(call.trap_handler());
        running.stack = bounds;
        running.instance = running_instance;
        self.fiber.set(running);
        CURRENT.set(cell);
        let result = call.resume(());
        CURRENT.set(std::ptr::null());
        match result {
            CoroutineResult::Return(None) => Ok(()),
            CoroutineResult::Return(Some(trap)) => Err(trap),
            CoroutineResult::Yield(trap) => {
                // SAFETY: the abandoned frames are compiled code and builtins, which own nothing.
                unsafe { call.force_reset() };
                Err(trap)
            }
        }
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        self.instance = None;
        let _ = &self.block;
    }
}

fn current_fiber() -> Option<FiberAtFault> {
    let cell = CURRENT.get();
    // SAFETY: set only while `call` runs, which keeps the cell alive.
    let running = unsafe { cell.as_ref() }?.get();
    running.handler?;
    let (low, high) = running.stack;
    // SAFETY: `call` borrows the instance, too.
    let reach = unsafe { (*running.instance).reach() };
    Some(FiberAtFault {
        stack: low..high,
        guard: guard(low),
        reach,
        data: cell as *mut (),
        redirect,
    })
}

/// corosensei's own stacks count their guard page as part of the stack.
fn guard(low: usize) -> Range<usize> {
    low..low + 4096
}

unsafe fn redirect(data: *mut ()) -> TrapHandlerRegs {
    // SAFETY: `data` is the cell that `current_fiber` gave; its fiber is the running one, whose
    // abandoned frames own nothing.
    unsafe {
        let running = (*data.cast::<Cell<Running>>()).get();
        let handler = running.handler.expect("current_fiber checked");
        handler.setup_trap_handler(signals::take_fault)
    }
}

unsafe fn raise(owner: *mut (), vmctx: VmCtx, code: TrapCode) -> ! {
    // SAFETY: the owner is the cell of the running call; compiled code stands still.
    unsafe {
        let running = (*owner.cast::<Cell<Running>>()).get();
        let backtrace: RawBacktrace = exit_backtrace(vmctx, &(running.stack.0..running.stack.1));
        (*running.yielder).suspend(Trap { code, backtrace });
    }
    unreachable!("a fiber that raised a trap is never resumed");
}

unsafe fn yield_now(owner: *mut ()) {
    // SAFETY: the owner is the cell of the running call.
    let cell = unsafe { &*owner.cast::<Cell<Running>>() };
    let mut running = cell.get();
    running.yields += 1;
    cell.set(running);
}

unsafe fn on_host_stack(owner: *mut (), call: &mut dyn FnMut()) {
    // SAFETY: the owner is the cell of the running call, whose yielder lives on this stack.
    let yielder = unsafe { &*(*owner.cast::<Cell<Running>>()).get().yielder };
    let call = AssertSend(call);
    yielder.on_parent_stack(move || call.run());
}
