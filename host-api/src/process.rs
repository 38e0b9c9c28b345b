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

use std::ops::{ControlFlow, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunatic_engine::preempt::{PreemptHooks, RunningFiber};
use lunatic_engine::text::shown;
use lunatic_engine::{
    BoundCall, Callable, ExportedFunction, Form, Frame, FunctionType, Hooks, Image, Instance,
    Limits, Prepared, RawBacktrace, RawValue, TrapCode, Type, VmCtx, exit_backtrace, signals,
};
use lunatic_scheduler::channel::{Channel, Wait as ChannelWait, Waiting};
use lunatic_scheduler::{
    Bounds, End, Handle, Pid, Process, Program, Settled, TimerId, WhenFull, Worker, current_fiber,
    note_interruption,
};
use smallvec::SmallVec;

use crate::account::{self, Account, Place};
use crate::api::channel::ChannelTable;
use crate::api::error::ErrorTable;
use crate::api::seed::state::Seed;
use crate::api::wasi::WasiState;
use crate::bind::{Call, ShortCalls};
use crate::config::{ConfigRef, Overflow, STACK_BYTES_MAX};
use crate::exit::{ExitReason, Shortage};
use crate::footprint;
use crate::forms::ModuleRef;
use crate::held::RESOURCE_BYTES;
use crate::kept::Kept;
use crate::message::{Mail, Message};
use crate::node::{NodeInner, RunError};
use crate::reentry::{Away, resume_if_caught};
use crate::registry::Vacancy;
use crate::resources::Resources;
use crate::rights::RightsState;
use crate::stats::Own;
use crate::ties::{Book, ChildTags, News};

/// Blocks up to this size lie in the process's slot, beside its stack.
const BLOCK_IN_SLOT_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a function's name that are looked at to show it.
const NAME_SHOWN_BYTES: usize = 2048;

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

/// What the body calls: an exported function, with its arguments.
pub(crate) struct Entry {
    /// `None`: there is no such function, or it has another type; the process ends at once.
    function: Option<Callable>,
    /// Room for arguments and results.
    values: usize,
    params: Params,
    error: Option<Box<str>>,
}

/// Arguments; few need no allocation.
pub(crate) type Params = SmallVec<[RawValue; 3]>;

impl Entry {
    /// `types` are those of the parameters.
    pub(crate) fn new(
        image: &Image,
        name: &[u8],
        types: impl ExactSizeIterator<Item = Type> + Clone,
        params: Params,
    ) -> Self {
        match image.exported(name) {
            Some(exported) if exported.params.iter().copied().eq(types.clone()) => Self {
                function: Some(exported.callable),
                values: exported.values,
                params,
                error: None,
            },
            other => Self::unusable(name, other, types.collect()),
        }
    }

    /// The same for a function that the image's first table holds at this place.
    pub(crate) fn from_table(
        image: &Image,
        place: u32,
        types: impl ExactSizeIterator<Item = Type> + Clone,
        params: Params,
    ) -> Self {
        let function = image.table_function(place);
        match function {
            Some(found) if found.ty.params().iter().copied().eq(types.clone()) => Self {
                function: Some(found.callable),
                values: found.ty.params().len().max(found.ty.results().len()),
                params,
                error: None,
            },
            other => {
                let given: Vec<Type> = types.collect();
                let error = match other {
                    None => format!("the module's table holds no function at {place}"),
                    Some(found) => format!(
                        "the function at {place} of the table takes {:?}, it was given {given:?}",
                        found.ty.params()
                    ),
                };
                Self { function: None, values: 0, params: Params::new(), error: Some(error.into()) }
            }
        }
    }

    #[cold]
    fn unusable(name: &[u8], exported: Option<&ExportedFunction>, given: Vec<Type>) -> Self {
        // More is not shown; nor need it be copied.
        let name = shown(&String::from_utf8_lossy(&name[..name.len().min(NAME_SHOWN_BYTES)]));
        let error = match exported {
            None => format!("the module exports no function \"{name}\""),
            Some(exported) => format!(
                "the exported function \"{name}\" takes {:?}, it was given {given:?}",
                exported.params
            ),
        };
        Self { function: None, values: 0, params: Params::new(), error: Some(error.into()) }
    }
}

/// What a process waits for: one host call at a time, so one of each.
#[derive(Default)]
pub(crate) struct Wait {
    pub(crate) deadline: Option<Instant>,
    timer: Option<TimerId>,
    pub(crate) channel: Option<(Channel<Mail>, Waiting)>,
    /// The mailbox has been searched from its beginning.
    pub(crate) searched: bool,
    /// The process only wants to let others run.
    pub(crate) yields: bool,
    /// It queues for room in this process's mailbox.
    pub(crate) sends_to: Option<Pid>,
    /// So many bytes of a long message have been copied.
    pub(crate) copied: usize,
    /// It has been added to those that wait for this form of a module.
    pub(crate) form_asked: Option<Form>,
    /// It has tried to use a database so often, which another connection had locked.
    pub(crate) sql_tries: u32,
    /// So many bytes of SQL have been run.
    pub(crate) sql_done: usize,
}

impl Wait {
    /// Forgets everything; other processes get the wake-ups that were meant for this one.
    fn clear(&mut self, worker: &Worker<'_, ProcessState>, me: Pid) {
        if let Some(to) = self.sends_to.take() {
            worker.leave_queue(to, me);
        }
        if let Some(timer) = self.timer.take() {
            worker.cancel_timer(timer);
        }
        if let Some((channel, mut waiting)) = self.channel.take() {
            channel.unregister(worker, &mut waiting);
        }
        *self = Self::default();
    }
}

/// A process that is to be made.
pub(crate) struct Start<'a> {
    pub(crate) node: Kept<Arc<NodeInner>>,
    pub(crate) module: ModuleRef,
    /// One of the module's forms.
    pub(crate) image: Kept<Image>,
    pub(crate) config: ConfigRef,
    pub(crate) entry: Entry,
    /// Taken when the process is made, left where it is when it cannot be.
    pub(crate) first_message: Option<&'a mut Option<Mail>>,
    /// How it is tied to the process that spawns it.
    pub(crate) tie: Option<(Pid, ChildTags)>,
    /// Its place among its parent's children, if they are counted.
    pub(crate) place: Option<Place>,
    /// What a process of the seed era is born with. Taken as the first message is.
    pub(crate) seed: Option<&'a mut Option<Box<Seed>>>,
    pub(crate) is_main: bool,
}

/// A process that is to be made, with its memory.
pub(crate) struct Ready<'a> {
    start: Start<'a>,
    prepared: Prepared<'a>,
}

impl<'a> Start<'a> {
    /// Makes the process from a worker.
    pub(crate) fn on_worker(self, worker: &Worker<'_, ProcessState>) -> Result<Pid, RunError> {
        self.ready()?.spawn(worker, None)
    }

    /// Does what may take its time.
    pub(crate) fn ready(self) -> Result<Ready<'a>, RunError> {
        Ok(Ready { prepared: self.prepare()?, start: self })
    }

    /// Makes the process from a thread that is no worker.
    pub(crate) fn by_handle(self, handle: &Handle<ProcessState>) -> Result<Pid, RunError> {
        let prepared = self.prepare()?;
        let extra = prepared.block_bytes();
        let bounds = self.config.bounds();
        let stack_bytes = bounds.stack_bytes.or(Some(STACK_BYTES_MAX));
        Ok(handle.spawn_bounded(extra, Bounds { stack_bytes, ..bounds }, |_, me, block| {
            self.state(prepared, me, block)
        })?)
    }

    #[inline]
    fn prepare(&self) -> Result<Prepared<'a>, RunError> {
        let fuel = i64::try_from(account::reductions(self.config.fuel_max)).unwrap_or(i64::MAX);
        let slice = self.node.slice.min(fuel);
        let limits = Limits { memory_bytes_max: self.config.memory_bytes_max, slice };
        Ok(Prepared::new(
            self.image.get(),
            &self.node.get().memory,
            limits,
            BLOCK_IN_SLOT_BYTES_MAX,
        )?)
    }

    fn state(
        self,
        prepared: Prepared<'_>,
        me: Process<ProcessState>,
        block: NonNull<u8>,
    ) -> ProcessState {
        // SAFETY: the block is the process's own part of its slot until `ended` has dropped the
        // state, which holds the image's module; the node keeps the pool; the hooks below take the
        // state's address as their
        // owner.
        let instance = unsafe { prepared.place(block, me.program().cast(), &HOOKS) };
        let (base, bytes) = instance.memory();
        me.tell_memory(base as usize, bytes);
        ProcessState {
            entry: self.entry,
            instance,
            me,
            short_calls: ShortCalls::on(&me.stack()),
            exit: None,
            news: None,
            is_main: self.is_main,
            scratch: None,
            first_message: self.first_message.and_then(Option::take),
            channels: ChannelTable::default(),
            errors: ErrorTable::default(),
            resources: Resources::default(),
            seed: self.seed.and_then(Option::take),
            rights: RightsState::default(),
            account: Account::new(&self.config, self.place),
            wait: Wait::default(),
            wasi: WasiState::default(),
            config: self.config,
            away: Away::default(),
            module: self.module,
            node: self.node,
        }
    }
}

impl Ready<'_> {
    /// Makes the process. Its links and its name are there before it can run, and if it cannot be
    /// made, there are none.
    #[inline]
    pub(crate) fn spawn(
        self,
        worker: &Worker<'_, ProcessState>,
        name: Option<&Vacancy<'_>>,
    ) -> Result<Pid, RunError> {
        let Self { start, prepared } = self;
        let extra = prepared.block_bytes();
        let bounds = start.config.bounds();
        if start.tie.is_none() && name.is_none() {
            return Ok(worker
                .spawn_bounded(extra, bounds, |_, me, block| start.state(prepared, me, block))?);
        }
        let bounds = Bounds { watched: true, ..bounds };
        Ok(worker.spawn_bounded(extra, bounds, |pid, me, block| {
            let (node, tie) = (start.node, start.tie);
            let state = start.state(prepared, me, block);
            if let Some((parent, tags)) = tie {
                node.get().ties.tie_child(worker, parent, pid, tags);
            }
            if let Some(name) = name {
                node.get().ties.add_name_of_new(pid, name.name());
            }
            state
        })?)
    }
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
        let channels = self.channels.close_some(worker, CLOSED_IN_ONE_GO);
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
            seed.ended(reason.is_normal(), worker);
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
        let scratch = self.scratch.as_deref().map_or(0, Message::bytes);
        let seed = self.seed.as_ref().map_or(0, |seed| seed.open());
        let count = self.channels.open() + seed;
        let bytes = scratch + count * RESOURCE_BYTES + self.resources.bytes() + self.errors.bytes();
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

/// Between two slices of a process that has an account: it ends here if it has no fuel left.
#[cold]
pub(crate) fn settle_account(process: Process<ProcessState>) {
    if process.on_worker(|_, state| state.settle_account()).is_break() {
        process.exit();
    }
}

static HOOKS: Hooks = Hooks { raise, yield_now, on_host_stack };

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

/// Waiting, for host functions that are polls.
impl Call<'_, '_> {
    /// Sets the deadline when first asked; whether it has passed. `u64::MAX` is none.
    pub(crate) fn timed_out(&mut self, timeout_ms: u64) -> bool {
        if timeout_ms == u64::MAX {
            return false;
        }
        self.deadline_passed(Duration::from_millis(timeout_ms))
    }

    /// The same for any duration.
    pub(crate) fn deadline_passed(&mut self, timeout: Duration) -> bool {
        let now = Instant::now();
        let wait = &mut self.state.wait;
        let deadline = *wait.deadline.get_or_insert_with(|| {
            /// About a century: further than any clock of ours is asked to look.
            const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
            now + timeout.min(FAR)
        });
        now >= deadline
    }

    /// Makes sure that the process is woken at the deadline, if there is one.
    #[inline]
    pub(crate) fn wake_at_deadline(&mut self) {
        let wait = &mut self.state.wait;
        if let (Some(deadline), None) = (wait.deadline, wait.timer) {
            wait.timer = Some(self.worker.set_timer(deadline));
        }
    }

    /// Forgets a deadline: what follows has one of its own.
    pub(crate) fn restart_wait(&mut self) {
        self.state.wait.clear(self.worker, self.state.me.pid());
    }

    /// The same, or at another point in time if that is earlier: the call is then asked again.
    pub(crate) fn wake_at_deadline_or(&mut self, at: Option<Instant>) {
        let Some(at) = at else { return self.wake_at_deadline() };
        let wait = &mut self.state.wait;
        if let Some(timer) = wait.timer.take() {
            self.worker.cancel_timer(timer);
        }
        let at = wait.deadline.map_or(at, |deadline| deadline.min(at));
        wait.timer = Some(self.worker.set_timer(at));
    }

    /// How a channel should count the process while it waits.
    pub(crate) fn channel_wait(&self) -> ChannelWait {
        if self.state.wait.deadline.is_some() { ChannelWait::Limited } else { ChannelWait::Forever }
    }

    /// The call is about to wait: others may run, and see what was written so far.
    pub(crate) fn begin_wait(&mut self) {
        self.state.flush_lines();
    }

    /// The call is over.
    pub(crate) fn end_wait(&mut self) {
        self.state.wasi.end_wait();
        self.state.resources.end_wait();
        let wait = &mut self.state.wait;
        if wait.timer.is_some() || wait.channel.is_some() {
            wait.clear(self.worker, self.state.me.pid());
        } else {
            // Nothing to give up.
            wait.deadline = None;
            wait.searched = false;
            wait.yields = false;
            wait.form_asked = None;
            wait.sql_tries = 0;
            wait.sql_done = 0;
        }
    }
}
