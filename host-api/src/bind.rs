//! How a Rust function becomes an import.
//!
//! [`host_functions!`] takes plain functions and makes, for each, the machine code that compiled
//! wasm calls and a row of the table of imports. The rows also carry the documentation, from which
//! the reference of imports is printed. The machine code is two pieces:
//!
//! - a *thunk* (`lunatic_engine::exit_thunk`) that notes where compiled code was left;
//! - a *shim* on the process's small stack, which converts the arguments, runs the function on the
//!   worker's own stack, and there catches panics. If the answer is "pending" it parks the process
//!   and asks again; it owns nothing while it does. (Or the function wants the guest called back
//!   first: `reentry.rs`.)
//!
//! A function marked `[short]` stays on the process's stack if that has [`SHORT_ROOM`] bytes left:
//! for those that cost no more than the change of stacks would. They must not call what uses the
//! stack freely (logging, formatting, system calls with large buffers).
//!
//! A function takes `&mut Call` and guest types (`guest_type.rs`); it returns `Result<T, Fault>`, or
//! `Poll<Result<T, Fault>>` if it may wait. A [`Fault`] ends the process: it is for what no correct
//! guest does. Errors that a guest can handle are values of the interface.

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use lunatic_engine::text::cut;
use lunatic_engine::{HostFunction, VmCtx, exit_backtrace, owner_of};
use lunatic_scheduler::{Process, Worker};

use crate::exit::ExitReason;
use crate::guest_type::{GuestResult, Meaning};
use crate::memory::GuestMemory;
use crate::process::{ProcessState, make_way, settle_account};
use crate::reentry::{resume_if_caught, visit_guest};

/// A host function was used against its contract: ends the calling process with this message.
#[derive(Debug)]
pub(crate) struct Fault(Box<FaultKind>);

#[derive(Debug)]
enum FaultKind {
    Message(String),
    /// Not a fault at all: the guest asked to end.
    Exit(u32),
    /// Nor is this: the call is to be asked again when the process is woken.
    Wait,
}

impl Fault {
    /// The process broke the contract in this way.
    #[cold]
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(Box::new(FaultKind::Message(cut(message.into()))))
    }

    /// The process waits, in a function that hardly ever does and so is no poll: it has registered for
    /// what it waits for, and will be asked again.
    #[cold]
    pub(crate) fn wait() -> Self {
        Self(Box::new(FaultKind::Wait))
    }

    /// Whether it is that.
    pub(crate) fn is_wait(&self) -> bool {
        matches!(*self.0, FaultKind::Wait)
    }

    /// The process ends by its own will.
    #[cold]
    pub(crate) fn exit(code: u32) -> Self {
        Self(Box::new(FaultKind::Exit(code)))
    }
}

/// One call of a host function: what it may use.
pub(crate) struct Call<'a, 'w> {
    /// The process that calls.
    pub(crate) state: &'a mut ProcessState,
    /// The worker that it runs on.
    pub(crate) worker: &'a Worker<'w, ProcessState>,
    /// Its memory.
    pub(crate) memory: GuestMemory<'a>,
}

/// What a host function answers: at once, or after waiting.
pub(crate) trait Answer {
    /// What the guest gets.
    type Value: GuestResult;
    /// Whether the answer may be "pending".
    const WAITS: bool;
    /// The common form.
    fn into_poll(self) -> Poll<Result<Self::Value, Fault>>;
}

impl<T: GuestResult> Answer for Result<T, Fault> {
    type Value = T;
    const WAITS: bool = false;
    fn into_poll(self) -> Poll<Result<T, Fault>> {
        Poll::Ready(self)
    }
}

impl<T: GuestResult> Answer for Poll<Result<T, Fault>> {
    type Value = T;
    const WAITS: bool = true;
    fn into_poll(self) -> Self {
        self
    }
}

/// One import and what there is to say about it.
#[derive(Debug, Clone, Copy)]
pub struct FunctionDoc {
    /// Name and type.
    pub function: HostFunction,
    /// The parameters, in order.
    pub params: &'static [Parameter],
    /// What it answers, if anything.
    pub result: Option<Meaning>,
    /// The documentation, as Markdown.
    pub doc: &'static str,
}

/// A parameter of an import. Its type is with the function's.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// As the documentation calls it.
    pub name: &'static str,
    /// What it stands for.
    pub meaning: Meaning,
}

/// What a `[short]` function may use of a process's stack. Ten times what they do use: a panic must
/// find room, too.
const SHORT_ROOM: usize = 32 * 1024;

/// What the shim does next.
enum Next<T> {
    Return(T),
    Park,
    Yield,
    /// Call the guest back, then ask again.
    Visit,
    Leave(Cause),
}

/// Why a process leaves for good.
enum Cause {
    Fault(Fault),
    Panic(Box<dyn Any + Send>),
}

/// The process that the instance of `vmctx` belongs to.
///
/// # Safety
/// `vmctx` is the context of the running process's instance.
#[inline]
unsafe fn process_of(vmctx: VmCtx) -> Process<ProcessState> {
    // SAFETY: forwards the caller's promise.
    let owner = unsafe { owner_of(vmctx) };
    // SAFETY: the owner of every instance of ours is its process's state, which is alive.
    unsafe { ProcessState::handle_of(owner) }
}

/// Runs a host function to its end. Called by shims, on the process's own stack.
///
/// # Safety
/// `vmctx` is the context of the running process's instance.
#[inline(never)]
pub(crate) unsafe fn run<A: Answer>(
    vmctx: VmCtx,
    name: &'static str,
    function: impl Fn(&mut Call<'_, '_>) -> A,
) -> <A::Value as GuestResult>::Abi {
    // SAFETY: forwards the caller's promise.
    let process = unsafe { process_of(vmctx) };
    loop {
        let next = process.on_worker(|worker, state| {
            tracing::trace!(target: "lunatic::call", process = process.pid().as_u64(), name);
            // SAFETY: forwards the caller's promise.
            unsafe { step(vmctx, worker, state, &function) }
        });
        match next {
            Next::Return(value) => {
                if process.is_interrupted() {
                    make_way(process);
                }
                return value.into_abi();
            }
            Next::Park => rest(process, Process::park),
            Next::Yield => rest(process, Process::yield_now),
            // SAFETY: forwards the caller's promise; the function wants it.
            Next::Visit => unsafe { visit_guest(process, vmctx) },
            // SAFETY: forwards the caller's promise.
            Next::Leave(cause) => unsafe { leave(vmctx, process, name, cause) },
        }
    }
}

/// Runs a `[short]` host function to its end. Called by shims, on the process's own stack.
///
/// # Safety
/// `vmctx` is the context of the running process's instance.
#[inline(always)]
pub(crate) unsafe fn run_short<A: Answer>(
    vmctx: VmCtx,
    name: &'static str,
    function: impl Fn(&mut Call<'_, '_>) -> A,
) -> <A::Value as GuestResult>::Abi {
    loop {
        // SAFETY: forwards the caller's promise.
        let owner = unsafe { owner_of(vmctx) }.cast::<ProcessState>();
        // SAFETY: the owner of every instance of ours is its process's state, which is alive; one
        // word is read.
        if !unsafe { (*owner).short_calls }.have_room() {
            // SAFETY: forwards the caller's promise.
            return unsafe { run(vmctx, name, &function) };
        }
        let next = if A::WAITS {
            // SAFETY: forwards the caller's promise.
            unsafe { step_apart(vmctx, owner, &function) }
        } else {
            // SAFETY: forwards the caller's promise; nothing suspends, as the answer does not wait.
            unsafe { step_here(vmctx, owner, &function) }
        };
        if !A::WAITS && matches!(next, Next::Park | Next::Yield) {
            // Where suspending is provided for.
            // SAFETY: forwards the caller's promise.
            return unsafe { run(vmctx, name, &function) };
        }
        // SAFETY: forwards the caller's promise.
        let process = unsafe { process_of(vmctx) };
        if let Next::Return(value) = next {
            if process.is_interrupted() {
                make_way(process);
            }
            return value.into_abi();
        }
        match next {
            Next::Return(_) => unreachable!("returned above"),
            Next::Park => rest(process, Process::park),
            Next::Yield => rest(process, Process::yield_now),
            // SAFETY: forwards the caller's promise; the function wants it.
            Next::Visit => unsafe { visit_guest(process, vmctx) },
            // SAFETY: forwards the caller's promise.
            Next::Leave(cause) => unsafe { leave(vmctx, process, name, cause) },
        }
    }
}

/// Suspends, and begins a new slice.
#[inline(never)]
fn rest(process: Process<ProcessState>, suspend: fn(Process<ProcessState>)) {
    // SAFETY: the state of the running process, which nobody else refers to now; one word is read.
    if unsafe { &(*process.program()).account }.is_kept() {
        settle_account(process);
    }
    suspend(process);
    // SAFETY: as above.
    unsafe { &mut *process.program() }.begin_slice();
}

/// Notes why the process ends, and ends it. On the worker's stack whatever the function was: naming
/// the guest's functions takes a lock, and as much stack as the guest's names ask for.
///
/// # Safety
/// `vmctx` is the context of the running process's instance, which is inside a host function.
#[cold]
#[inline(never)]
unsafe fn leave(
    vmctx: VmCtx,
    process: Process<ProcessState>,
    function: &'static str,
    cause: Cause,
) -> ! {
    let is_trap = process.on_worker(move |_, state| {
        if let Cause::Fault(fault) = &cause
            && let FaultKind::Message(message) = &*fault.0
            && state.away.innermost().is_some()
        {
            tracing::debug!("process {} caught a trap of {function}: {message}", state.pid());
            return true;
        }
        let reason = match cause {
            Cause::Panic(panic) => ExitReason::HostBug { message: panic_text(function, &*panic) },
            Cause::Fault(fault) => match *fault.0 {
                FaultKind::Exit(code) => ExitReason::Code(code),
                FaultKind::Wait => unreachable!("a process that waits does not leave"),
                FaultKind::Message(message) => {
                    // SAFETY: forwards the caller's promise.
                    let backtrace = unsafe { exit_backtrace(vmctx, &process.stack()) };
                    ExitReason::Fault { function, message, frames: state.frames(&backtrace) }
                }
            },
        };
        state.end(reason);
        false
    });
    if is_trap {
        // SAFETY: what was owned has been given to the closure above; shims own nothing.
        unsafe { resume_if_caught(process) };
    }
    process.exit()
}

/// Where a process's short calls may stay on its stack.
#[derive(Clone, Copy)]
pub(crate) struct ShortCalls {
    /// Above this address there is [`SHORT_ROOM`].
    above: usize,
}

impl ShortCalls {
    /// On this stack, unless calls are logged: that takes more.
    pub(crate) fn on(stack: &Range<usize>) -> Self {
        let logged = tracing::enabled!(target: "lunatic::call", tracing::Level::TRACE);
        Self { above: if logged { usize::MAX } else { stack.start + SHORT_ROOM } }
    }

    #[inline(always)]
    fn have_room(self) -> bool {
        let here = 0u8;
        (&raw const here) as usize > self.above
    }
}

/// A step on the process's stack, apart from the loop that suspends: so that no address of a
/// thread-local lives across a suspension.
///
/// # Safety
/// As [`step_here`].
#[inline(never)]
unsafe fn step_apart<A: Answer>(
    vmctx: VmCtx,
    owner: *mut ProcessState,
    function: &impl Fn(&mut Call<'_, '_>) -> A,
) -> Next<A::Value> {
    // SAFETY: forwards the caller's promise; nothing here suspends.
    unsafe { step_here(vmctx, owner, function) }
}

/// A step on the process's stack.
///
/// # Safety
/// `vmctx` and `owner` are the running process's, the stack has room, and this is not inlined into
/// what suspends.
#[inline(always)]
unsafe fn step_here<A: Answer>(
    vmctx: VmCtx,
    owner: *mut ProcessState,
    function: &impl Fn(&mut Call<'_, '_>) -> A,
) -> Next<A::Value> {
    // SAFETY: forwards the caller's promise; nobody else refers to the state of a running process.
    let state = unsafe { &mut *owner };
    // SAFETY: forwards the caller's promise.
    let worker = unsafe { state.me().worker_here() };
    // SAFETY: forwards the caller's promise.
    unsafe { step(vmctx, &worker, state, function) }
}

/// Asks the function once.
///
/// # Safety
/// `vmctx` is the context of the running process's instance, whose code stands still meanwhile.
#[inline(always)]
unsafe fn step<A: Answer>(
    vmctx: VmCtx,
    worker: &Worker<'_, ProcessState>,
    state: &mut ProcessState,
    function: &impl Fn(&mut Call<'_, '_>) -> A,
) -> Next<A::Value> {
    // SAFETY: the instance stands still while its host call runs, and this is the only access to
    // its memory meanwhile.
    let memory = unsafe { GuestMemory::new(vmctx) };
    let answer = catch_unwind(AssertUnwindSafe(|| {
        let mut call = Call { state: &mut *state, worker, memory };
        let answer = function(&mut call).into_poll();
        if A::WAITS {
            match answer {
                Poll::Pending => call.begin_wait(),
                Poll::Ready(_) => call.end_wait(),
            }
        }
        answer
    }));
    match answer {
        Ok(Poll::Ready(Ok(value))) => Next::Return(value),
        Ok(Poll::Pending) if state.wait.yields => Next::Yield,
        Ok(Poll::Pending) if state.away.wants_guest() => Next::Visit,
        Ok(Poll::Pending) => Next::Park,
        Ok(Poll::Ready(Err(fault))) if fault.is_wait() && state.wait.yields => Next::Yield,
        Ok(Poll::Ready(Err(fault))) if fault.is_wait() => Next::Park,
        Ok(Poll::Ready(Err(fault))) => Next::Leave(Cause::Fault(fault)),
        Err(panic) => Next::Leave(Cause::Panic(panic)),
    }
}

fn panic_text(function: &str, panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message");
    format!("{function}: {text}")
}

/// Defines host functions and their table.
///
/// ```text
/// host_functions! {
///     /// What the interface is for.
///     pub(crate) TABLE: "lunatic::process";
///
///     /// What the function does.
///     fn sleep_ms(call, millis: u64) -> Poll<Result<(), Fault>> { … }
/// }
/// ```
macro_rules! host_functions {
    (
        $(#[doc = $module_doc:expr])*
        $visibility:vis $table:ident: $module:literal;
        $(
            $(#[doc = $doc:expr])*
            $([$place:ident])? fn $name:ident($call:ident $(, $arg:ident: $ty:ty)* $(,)?)
                -> $answer:ty $body:block
        )*
    ) => {
        $(#[doc = $module_doc])*
        $visibility static $table: $crate::api::HostModule = $crate::api::HostModule {
            name: $module,
            doc: concat!($($module_doc, "\n",)*),
            functions: &[$(
                $crate::bind::FunctionDoc {
                    function: ::lunatic_engine::HostFunction {
                        module: $module,
                        name: stringify!($name),
                        params: &[$(<$ty as $crate::guest_type::GuestType>::TYPE),*],
                        results: <<$answer as $crate::bind::Answer>::Value
                            as $crate::guest_type::GuestResult>::TYPES,
                        code: machine::$name as *const (),
                    },
                    params: &[$($crate::bind::Parameter {
                        name: stringify!($arg),
                        meaning: <$ty as $crate::guest_type::GuestType>::MEANING,
                    }),*],
                    result: <<$answer as $crate::bind::Answer>::Value
                        as $crate::guest_type::GuestResult>::MEANING,
                    doc: concat!($($doc, "\n",)*),
                },
            )*],
        };

        $(
            $(#[doc = $doc])*
            #[allow(clippy::too_many_arguments, reason = "the signature is the interface's")]
            #[allow(clippy::unnecessary_wraps, reason = "the macro asks for one form of answer")]
            fn $name(
                $call: &mut $crate::bind::Call<'_, '_>
                $(, $arg: <$ty as $crate::guest_type::GuestType>::Value)*
            ) -> $answer $body
        )*

        /// The code that guests call.
        mod machine {
            #![allow(clippy::too_many_arguments, reason = "the signatures are the interface's")]
            #[allow(unused_imports)]
            use super::*;

            $(
                lunatic_engine::exit_thunk! {
                    pub(super) $name => shims::$name
                }
            )*

            mod shims {
                #[allow(unused_imports)]
                use super::super::*;
                $(
                    pub(super) unsafe extern "C" fn $name(
                        vmctx: ::lunatic_engine::VmCtx
                        $(, $arg: <$ty as $crate::guest_type::GuestType>::Abi)*
                    ) -> <<$answer as $crate::bind::Answer>::Value
                        as $crate::guest_type::GuestResult>::Abi
                    {
                        // SAFETY: compiled code passes the context of the running instance.
                        unsafe {
                            $crate::bind::runner!($($place)?)(
                                vmctx,
                                concat!($module, "::", stringify!($name)),
                                |call| super::super::$name(
                                    call
                                    $(, <$ty as $crate::guest_type::GuestType>::from_abi($arg))*
                                ),
                            )
                        }
                    }
                )*
            }
        }
    };
}
pub(crate) use host_functions;

/// What runs a function with this mark.
macro_rules! runner {
    () => {
        $crate::bind::run
    };
    (short) => {
        $crate::bind::run_short
    };
}
pub(crate) use runner;
