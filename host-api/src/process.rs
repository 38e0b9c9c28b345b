//! A process: the scheduler's program and the engine's owner of an instance, joined.
//!
//! **Life.** `Start` prepares everything that can fail (the memory), then asks the scheduler for a
//! slot; the instance's block is the slot's extra room (or the heap's, if it is large). The body,
//! on the fiber's stack, runs the module's start function and then the entry. However the fiber
//! ends, `ended` is called on the worker's stack: it settles the reason, gives back what the
//! process held, and tells who wants to know.
//!
//! **Who may touch a [`ProcessState`]**: the fiber's body for the few words it copies out; otherwise
//! the closure of `Process::on_worker`, which the scheduler runs while the fiber stands still.

mod entry;
mod hooks;
mod start;
mod wait;

use std::ops::{ControlFlow, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use lunatic_engine::{
    BoundCall, Callable, Frame, FunctionType, Instance, RawBacktrace, RawValue, VmCtx, signals,
};
use lunatic_scheduler::{End, Pid, Process, Program, Settled, WhenFull, Worker};

use crate::account::Account;
use crate::api::channel::ChannelTable;
use crate::api::error::ErrorTable;
use crate::api::seed::state::Seed;
use crate::api::wasi::WasiState;
use crate::bind::ShortCalls;
use crate::config::{ConfigRef, Overflow, ProcessConfig};
use crate::exit::{ExitReason, Shortage};
use crate::forms::ModuleRef;
use crate::held::RESOURCE_BYTES;
use crate::kept::Kept;
use crate::message::{Mail, Message};
use crate::node::NodeInner;
use crate::queue::Owner;
use crate::reentry::Away;
use crate::resources::Resources;
use crate::rights::RightsState;
use crate::stats::Own;
use crate::ties::{Book, News};

pub(crate) use entry::{Entry, Params};
pub(crate) use hooks::{PREEMPT_HOOKS, make_way, raise, settle_account};
pub(crate) use start::Start;
use wait::Wait;

/// Channels, and other resources, that a process which has ended gives up in one go. By feel: some
/// tenths of a millisecond.
const CLOSED_IN_ONE_GO: usize = 1000;

/// Everything about one process.
pub(crate) struct ProcessState {
    // Dropped first: it gives its memory back to the node's pool.
    instance: Instance,
    me: Process<Self>,
    /// Read by every short call.
    pub(crate) short_calls: ShortCalls,
    entry: Entry,
    /// Why it ends, if it is not because its body returned. Boxed: hardly any process has it.
    exit: Option<Box<ExitReason>>,
    /// Others who are yet to be told of its end.
    news: Option<Box<News>>,
    is_main: bool,
    /// The child of the main process that it descends from, or itself.
    branch: Pid,
    /// The message that this process writes or reads.
    pub(crate) scratch: Option<Mail>,
    /// A message that came with the spawn: before everything in the mailbox.
    pub(crate) first_message: Option<Mail>,
    pub(crate) channels: ChannelTable,
    pub(crate) errors: ErrorTable,
    pub(crate) resources: Resources,
    /// Of the interfaces of 2021; no other process has it.
    pub(crate) seed: Option<Box<Seed>>,
    pub(crate) rights: RightsState,
    pub(crate) account: Account,
    pub(crate) wait: Wait,
    pub(crate) wasi: WasiState,
    pub(crate) config: ConfigRef,
    /// A call of its own that is on another thread or back in the guest.
    pub(crate) away: Away,
    pub(crate) module: ModuleRef,
    pub(crate) node: Kept<Arc<NodeInner>>,
}

// SAFETY: `run` keeps nothing on its stack across a suspension but plain words and `params`' copies
// (`RawValue`s): nothing to drop, nothing of a thread.
unsafe impl Program for ProcessState {
    type Message = Message;

    fn message_bytes(message: &Message) -> usize {
        message.bytes()
    }

    fn when_full(mark: u8) -> WhenFull {
        match Overflow::from_number(mark.into()) {
            Some(Overflow::Block) | None => WhenFull::Wait,
            Some(Overflow::Drop) => WhenFull::Drop,
            Some(Overflow::Kill) => WhenFull::Kill,
        }
    }

    fn run(process: Process<Self>) {
        run_body(process);
    }

    fn ended(&mut self, worker: &Worker<'_, Self>, how: End, watched: bool) -> Settled {
        // At shutdown all end, so there is nobody to tell.
        let mut book = (watched && how != End::Shutdown).then(|| self.take_book());
        let reason = self.reason(how, book.as_mut());
        self.news = book.and_then(|book| book.into_news(self.me.pid(), &reason));
        // Whatever happens there, others are told.
        if catch_unwind(AssertUnwindSafe(|| self.clear(worker, reason))).is_err() {
            tracing::error!(
                "the end of process {} panicked, this is a bug in lunatic, please report it",
                self.me.pid()
            );
        }
        self.settle(worker)
    }

    fn settle(&mut self, worker: &Worker<'_, Self>) -> Settled {
        let news = self.news.as_mut().is_some_and(|news| news.tell(worker, &self.node.ties));
        let channels = self.channels.close_some(worker, self.node, CLOSED_IN_ONE_GO);
        let resources = self.resources.drop_some(CLOSED_IN_ONE_GO);
        // The memory last: others have been told by then.
        let more = news || channels || resources || self.instance.shed();
        if more { Settled::More } else { Settled::Done }
    }
}

/// The body of every process.
fn run_body(process: Process<ProcessState>) {
    let mut few = [RawValue::default(); 8];
    // SAFETY: the process's own fiber, which nobody visits now; the reference ends before the guest
    // runs.
    let state = unsafe { &mut *process.program() };
    let start = state.instance.start();
    let Some(function) = state.entry.function else {
        let message = state.entry.error.take().map(String::from).unwrap_or_default();
        return state.end(ExitReason::Entry { message });
    };
    let entry = state.instance.bind(function);
    let values = state.entry.values;
    for (to, from) in few.iter_mut().zip(&state.entry.params) {
        *to = *from;
    }
    if let Some(start) = start {
        // SAFETY: the instance lives as long as the process; this is its fiber, and nothing on its
        // stack needs dropping; a start function has no arguments and no results.
        unsafe { start.call(&mut few[..0]) };
    }
    if values <= few.len() {
        // SAFETY: as above; `few` holds the arguments, whose types were checked, and the results.
        unsafe { entry.call(&mut few) };
        return;
    }
    call_with_many(process, entry);
}

/// A call whose values do not fit the body's frame. Apart, so that no other process pays for the
/// room on its stack.
#[cold]
#[inline(never)]
fn call_with_many(process: Process<ProcessState>, entry: BoundCall) {
    /// The most arguments or results that validation allows a function.
    const VALUES_MAX: usize = 1000;
    let mut many = [RawValue::default(); VALUES_MAX];
    process.on_worker(|_, state| {
        for (to, from) in many.iter_mut().zip(&state.entry.params) {
            *to = *from;
        }
    });
    // SAFETY: as above; validation allows no more values than these.
    unsafe { entry.call(&mut many) };
}

impl ProcessState {
    /// The handle of the process whose state `owner` points to.
    ///
    /// # Safety
    /// `owner` is the owner that a process's instance was made with, and that process runs here.
    #[inline]
    pub(crate) unsafe fn handle_of(owner: *mut ()) -> Process<Self> {
        // SAFETY: the state is alive, and only one word is read, which never changes.
        unsafe { (*owner.cast::<Self>()).me }
    }

    /// What the code of the process may touch by way of its memory; see [`Instance::reach`].
    ///
    /// # Safety
    /// `program` is the state of a process that runs here, and nobody has a reference to it.
    pub(crate) unsafe fn reach_of(program: *mut ()) -> Range<usize> {
        // SAFETY: by this function's contract; the instance's own part does not change meanwhile.
        unsafe { (*program.cast::<Self>()).instance.reach() }
    }

    /// What a profile wants to know: its id, the context of its instance, its entry, and the last
    /// argument. Async-signal-safe.
    ///
    /// # Safety
    /// It is this process's turn on the calling thread.
    pub(crate) unsafe fn observe(state: *const Self) -> (Pid, VmCtx, Option<Callable>, u32) {
        // The process is alive. A visitor that the signal interrupted may have its state exclusively,
        // but nobody writes these four after it was made.
        // SAFETY: see above.
        let pid = unsafe { (*state).me.pid() };
        // SAFETY: see above.
        let instance = unsafe { &(*state).instance };
        // SAFETY: see above.
        let function = unsafe { (*state).entry.function };
        // SAFETY: see above.
        let params = unsafe { &(*state).entry.params };
        // SAFETY: all bytes of an argument are initialised, whatever its type.
        let argument = params.last().map_or(0, |last| unsafe { last.u32 });
        (pid, instance.vmctx(), function, argument)
    }

    /// Notes why the process is about to end.
    pub(crate) fn end(&mut self, reason: ExitReason) {
        self.exit = Some(Box::new(reason));
    }

    /// A function that its module exports, to be called in its instance.
    pub(crate) fn export(&self, name: &str) -> Option<(BoundCall, &FunctionType)> {
        self.instance.export(name)
    }

    /// The function at this place of its module's table, and its type.
    pub(crate) fn table_function(&self, place: u32) -> Option<(BoundCall, &FunctionType)> {
        self.instance.table_function(place)
    }

    /// Its id.
    pub(crate) fn pid(&self) -> Pid {
        self.me.pid()
    }

    /// The branch that it belongs to.
    pub(crate) fn branch(&self) -> Pid {
        self.branch
    }

    /// The branch of its children; `None`: each begins one.
    pub(crate) fn branch_of_children(&self) -> Option<Pid> {
        (!self.is_main).then_some(self.branch)
    }

    /// For work that it has done elsewhere.
    pub(crate) fn owner(&self) -> Owner {
        let config: *const ProcessConfig = &*self.config;
        Owner { branch: self.branch, config: config.addr(), process: self.pid() }
    }

    /// Its handle, for the mailbox.
    pub(crate) fn me(&self) -> Process<Self> {
        self.me
    }

    /// It has waited: its next slice begins.
    #[inline]
    pub(crate) fn begin_slice(&mut self) {
        self.instance.begin_slice();
    }

    /// Adds up what it has used, and ends the process if that is all it may.
    #[cold]
    pub(crate) fn settle_account(&mut self) -> ControlFlow<()> {
        let (used, memory) = (self.instance.reductions_used(), self.instance.memory().1);
        match self.account.settle(used, memory) {
            Some(left) => {
                let slice = self.node.slice.min(i64::try_from(left).unwrap_or(i64::MAX));
                self.instance.begin_slice_of(slice);
                ControlFlow::Continue(())
            }
            None => {
                let limit = self.config.fuel_max.unwrap_or_default();
                self.end(ExitReason::OutOfFuel { limit });
                ControlFlow::Break(())
            }
        }
    }

    /// Makes the process pay for work that the host did for it: in the end, with its slice.
    pub(crate) fn charge(&mut self, reductions: i64) {
        if self.instance.charge(reductions) {
            self.me.interrupt();
        }
    }

    /// What it may still be charged.
    pub(crate) fn reductions_left(&self) -> u64 {
        self.account.left(self.instance.reductions_used())
    }

    /// The names of the functions on the stack, if somebody will read them: naming takes a lock
    /// and allocates, which a storm of traps should not pay for.
    pub(crate) fn frames(&self, backtrace: &RawBacktrace) -> Vec<Frame> {
        if self.is_main || self.node.shows_reports() { backtrace.resolve() } else { Vec::new() }
    }

    /// What concerns others about it: from here on nobody finds it there.
    #[cold]
    fn take_book(&self) -> Book {
        let pid = self.me.pid();
        let mut book = self.node.ties.take(pid);
        self.node.registry.process_ended(pid, book.take_names());
        book
    }

    /// Gives back what it had, and says how it ended.
    fn clear(&mut self, worker: &Worker<'_, Self>, reason: ExitReason) {
        worker.count(Own::end(&reason) as usize);
        self.wait.clear(worker, self.me.pid());
        self.account.close(self.instance.reductions_used());
        if let Some(seed) = self.seed.take() {
            seed.ended(reason.is_normal(), worker, self.node);
        }
        self.end_output();
        for mail in [self.scratch.take(), self.first_message.take()].into_iter().flatten() {
            Message::discard(mail, worker);
        }
        if matches!(reason, ExitReason::Shutdown) {
            return;
        }
        if self.is_main {
            self.node.main_ended(reason);
        } else {
            self.node.report(self.me.pid(), &reason);
        }
    }

    fn message_limit(&self) -> ExitReason {
        ExitReason::MessageLimit { limit: self.config.mailbox_max.map_or(0, u64::from) }
    }

    fn mailbox_shortage(&self) -> ExitReason {
        let limit = self.config.mailbox_bytes_max.unwrap_or_default();
        ExitReason::OutOfMemory { of: Shortage::Mailbox, limit }
    }

    /// Tells where its memory is.
    #[inline]
    fn tell_memory(&self) {
        let (base, bytes) = self.instance.memory();
        self.me.tell_memory(base as usize, bytes);
    }

    /// Tells what the host holds for it beside its mailbox.
    pub(crate) fn tell_held(&self) {
        let of = |mail: &Option<Mail>| mail.as_deref().map_or(0, Message::bytes);
        let bytes = of(&self.scratch)
            + of(&self.first_message)
            + self.channels.open() * RESOURCE_BYTES
            + self.seed.as_ref().map_or(0, |seed| seed.bytes())
            + self.wait.bytes()
            + self.resources.bytes()
            + self.errors.bytes()
            + self.config.bytes();
        self.me.tell_held(bytes as u64);
    }

    fn reason(&mut self, how: End, book: Option<&mut Book>) -> ExitReason {
        let fault = signals::take_fault();
        match how {
            End::Returned => self.exit.take().map_or(ExitReason::Returned, |reason| *reason),
            End::Exited => self.exit.take().map_or_else(
                || ExitReason::HostBug { message: "a process left without a reason".to_string() },
                |reason| *reason,
            ),
            End::Trapped => match fault {
                Some(trap) => ExitReason::of_trap(
                    trap.code,
                    self.frames(&trap.backtrace),
                    self.me.stack().len(),
                ),
                None => ExitReason::HostBug { message: "a fault left no trace".to_string() },
            },
            End::Killed => match book.map_or(ExitReason::Killed { by: None }, Book::kill_reason) {
                // Who sent the message does not know it.
                ExitReason::MessageLimit { .. } => self.message_limit(),
                ExitReason::OutOfMemory { of: Shortage::Mailbox, .. } => self.mailbox_shortage(),
                // A delayed message says nothing.
                ExitReason::Killed { by: None }
                    if self.config.mailbox_overflow == Overflow::Kill =>
                {
                    match (self.config.mailbox_max, self.config.mailbox_bytes_max) {
                        (Some(_), _) => self.message_limit(),
                        (None, Some(_)) => self.mailbox_shortage(),
                        (None, None) => ExitReason::Killed { by: None },
                    }
                }
                reason => reason,
            },
            End::Shutdown => ExitReason::Shutdown,
            End::Panicked(message) => ExitReason::HostBug { message },
        }
    }
}
