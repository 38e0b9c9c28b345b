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

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunatic_engine::{
    BoundCall, Frame, Hooks, Image, Instance, Limits, Prepared, RawBacktrace, RawValue, TrapCode,
    Type, VmCtx, exit_backtrace, signals,
};
use lunatic_scheduler::channel::{Channel, Wait as ChannelWait, Waiting};
use lunatic_scheduler::{End, Handle, Pid, Process, Program, TimerId, Worker};
use smallvec::SmallVec;

use crate::api::channel::ChannelTable;
use crate::api::error::ErrorTable;
use crate::api::wasi::WasiState;
use crate::bind::Call;
use crate::config::ProcessConfig;
use crate::exit::ExitReason;
use crate::message::Message;
use crate::node::{NodeInner, RunError};

/// Blocks up to this size lie in the process's slot, beside its stack.
const BLOCK_IN_SLOT_BYTES_MAX: usize = 16 * 1024;

/// Arguments that need no allocation.
const INLINE_PARAMS: usize = 4;

/// Everything about one process.
pub(crate) struct ProcessState {
    // Dropped first: it gives its memory back to the node's pool.
    instance: Instance,
    me: Process<Self>,
    calls: Entry,
    exit: Option<ExitReason>,
    is_main: bool,
    /// The message that this process writes or reads.
    pub(crate) scratch: Option<Message>,
    /// A message that came with the spawn: before everything in the mailbox.
    pub(crate) first_message: Option<Message>,
    pub(crate) channels: ChannelTable,
    pub(crate) errors: ErrorTable,
    pub(crate) wait: Wait,
    pub(crate) wasi: WasiState,
    pub(crate) config: Arc<ProcessConfig>,
    pub(crate) node: Arc<NodeInner>,
}

/// What the body runs.
struct Entry {
    start: Option<BoundCall>,
    entry: Result<BoundCall, String>,
    params: SmallVec<[RawValue; INLINE_PARAMS]>,
    results: usize,
}

/// What a process waits for: one host call at a time, so one of each.
#[derive(Default)]
pub(crate) struct Wait {
    pub(crate) deadline: Option<Instant>,
    timer: Option<TimerId>,
    pub(crate) channel: Option<(Channel<Message>, Waiting)>,
    /// The mailbox has been searched from its beginning.
    pub(crate) searched: bool,
    begun: bool,
}

impl Wait {
    /// Forgets everything; other processes get the wake-ups that were meant for this one.
    fn clear(&mut self, worker: &Worker<'_, ProcessState>) {
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
    pub(crate) node: &'a Arc<NodeInner>,
    pub(crate) image: &'a Image,
    pub(crate) config: Arc<ProcessConfig>,
    /// Name of the exported function to run.
    pub(crate) entry: &'a str,
    pub(crate) params: &'a [(Type, RawValue)],
    /// Taken when the process is made, left where it is when it cannot be.
    pub(crate) first_message: Option<&'a mut Option<Message>>,
    pub(crate) is_main: bool,
}

impl<'a> Start<'a> {
    /// Makes the process from a worker.
    pub(crate) fn on_worker(self, worker: &Worker<'_, ProcessState>) -> Result<Pid, RunError> {
        let prepared = self.prepare()?;
        let extra = prepared.block_bytes();
        Ok(worker.spawn(extra, |_, me, block| self.state(prepared, me, block))?)
    }

    /// Makes the process from a thread that is no worker.
    pub(crate) fn by_handle(self, handle: &Handle<ProcessState>) -> Result<Pid, RunError> {
        let prepared = self.prepare()?;
        let extra = prepared.block_bytes();
        Ok(handle.spawn(extra, |_, me, block| self.state(prepared, me, block))?)
    }

    fn prepare(&self) -> Result<Prepared<'a>, RunError> {
        let limits =
            Limits { memory_bytes_max: self.config.memory_bytes_max, slice: self.node.slice };
        Ok(Prepared::new(self.image, &self.node.memory, limits, BLOCK_IN_SLOT_BYTES_MAX)?)
    }

    fn state(
        self,
        prepared: Prepared<'_>,
        me: Process<ProcessState>,
        block: NonNull<u8>,
    ) -> ProcessState {
        // SAFETY: the block is the process's own part of its slot until `ended` has dropped the
        // state; the pool belongs to the node, which the state holds; the hooks below take the
        // state's address as their owner.
        let instance = unsafe { prepared.place(block, me.program().cast(), &HOOKS) };
        ProcessState {
            calls: self.entry(&instance),
            instance,
            me,
            exit: None,
            is_main: self.is_main,
            scratch: None,
            first_message: self.first_message.and_then(Option::take),
            channels: ChannelTable::default(),
            errors: ErrorTable::default(),
            wait: Wait::default(),
            wasi: WasiState::default(),
            config: self.config,
            node: Arc::clone(self.node),
        }
    }

    fn entry(&self, instance: &Instance) -> Entry {
        let start = self.image.start().map(|start| instance.bind(start));
        let mut results = 0;
        let entry = match self.image.function(self.entry) {
            None => Err(format!("the module exports no function \"{}\"", self.entry)),
            Some(function) => {
                let ty = self.image.function_type(function);
                results = ty.results().len();
                if ty.params().iter().eq(self.params.iter().map(|(ty, _)| ty)) {
                    Ok(instance.bind(function))
                } else {
                    Err(format!(
                        "the exported function \"{}\" takes {:?}, it was given {:?}",
                        self.entry,
                        ty.params(),
                        self.params.iter().map(|(ty, _)| ty).collect::<Vec<_>>(),
                    ))
                }
            }
        };
        let params = self.params.iter().map(|&(_, value)| value).collect();
        Entry { start, entry, params, results }
    }
}

// SAFETY: `run` keeps nothing on its stack across a suspension but plain words and `params`' copies
// (`RawValue`s): nothing to drop, nothing of a thread.
unsafe impl Program for ProcessState {
    type Message = Message;

    fn run(process: Process<Self>) {
        run_body(process);
    }

    fn ended(mut self, worker: &Worker<'_, Self>, how: End) {
        let pid = self.me.pid();
        let reason = self.reason(how);
        self.wait.clear(worker);
        self.channels.close_all(worker);
        self.end_output();
        let node = Arc::clone(&self.node);
        let is_main = self.is_main;
        if !is_main && !matches!(reason, ExitReason::Killed | ExitReason::Shutdown) {
            if reason.is_normal() {
                tracing::trace!("process {pid} {reason}");
            } else {
                node.report(pid, &reason);
            }
        }
        drop(self);
        if is_main && !matches!(reason, ExitReason::Shutdown) {
            node.main_ended(reason);
        }
    }
}

/// The body of every process.
fn run_body(process: Process<ProcessState>) {
    let mut few = [RawValue::default(); 8];
    let (start, entry, wanted) = process.on_worker(|_, state| {
        let calls = &mut state.calls;
        let wanted = calls.params.len().max(calls.results);
        for (to, from) in few.iter_mut().zip(&calls.params) {
            *to = *from;
        }
        let entry = match &calls.entry {
            Ok(entry) => Some(*entry),
            Err(message) => {
                state.exit = Some(ExitReason::Entry { message: message.clone() });
                None
            }
        };
        (state.calls.start, entry, wanted)
    });
    if let Some(start) = start {
        // SAFETY: the instance lives as long as the process; this is its fiber, and nothing on its
        // stack needs dropping; a start function has no arguments and no results.
        unsafe { start.call(&mut few[..0]) };
    }
    let Some(entry) = entry else { return };
    if wanted <= few.len() {
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
        for (to, from) in many.iter_mut().zip(&state.calls.params) {
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

    /// Notes why the process is about to end.
    pub(crate) fn end(&mut self, reason: ExitReason) {
        self.exit = Some(reason);
    }

    /// Its id.
    pub(crate) fn pid(&self) -> Pid {
        self.me.pid()
    }

    /// Its handle, for the mailbox.
    pub(crate) fn me(&self) -> Process<Self> {
        self.me
    }

    /// Makes the process pay for work that the host did for it.
    pub(crate) fn charge(&mut self, reductions: i64) {
        self.instance.charge(reductions);
    }

    /// The module it runs.
    pub(crate) fn image(&self) -> Image {
        self.instance.image()
    }

    /// The names of the functions on the stack, if somebody will read them: naming takes a lock
    /// and allocates, which a storm of traps should not pay for.
    pub(crate) fn frames(&self, backtrace: &RawBacktrace) -> Vec<Frame> {
        if self.is_main || self.node.shows_reports() { backtrace.resolve() } else { Vec::new() }
    }

    fn reason(&mut self, how: End) -> ExitReason {
        let fault = signals::take_fault();
        match how {
            End::Returned => self.exit.take().unwrap_or(ExitReason::Returned),
            End::Exited => self.exit.take().unwrap_or_else(|| ExitReason::HostBug {
                message: "a process left without a reason".to_string(),
            }),
            End::Trapped => match fault {
                Some(trap) => {
                    ExitReason::Trap { code: trap.code, frames: self.frames(&trap.backtrace) }
                }
                None => ExitReason::HostBug { message: "a fault left no trace".to_string() },
            },
            End::Killed => ExitReason::Killed,
            End::Shutdown => ExitReason::Shutdown,
            End::Panicked(message) => ExitReason::HostBug { message },
        }
    }
}

static HOOKS: Hooks = Hooks { raise, yield_now, on_host_stack };

/// # Safety
/// As [`Hooks::raise`]; the owner is a running process's state.
unsafe fn raise(owner: *mut (), vmctx: VmCtx, code: TrapCode) -> ! {
    // SAFETY: forwards the caller's promise.
    let process = unsafe { ProcessState::handle_of(owner) };
    process.on_worker(|_, state| {
        // SAFETY: the process is inside a builtin, on this stack.
        let backtrace = unsafe { exit_backtrace(vmctx, &process.stack()) };
        state.end(ExitReason::Trap { code, frames: state.frames(&backtrace) });
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
    process.yield_now();
}

/// # Safety
/// As [`Hooks::on_host_stack`]; the owner is a running process's state.
unsafe fn on_host_stack(owner: *mut (), call: &mut dyn FnMut()) {
    // SAFETY: forwards the caller's promise.
    unsafe { ProcessState::handle_of(owner) }.on_worker(|_, _| call());
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
    pub(crate) fn wake_at_deadline(&mut self) {
        let wait = &mut self.state.wait;
        if let (Some(deadline), None) = (wait.deadline, wait.timer) {
            wait.timer = Some(self.worker.set_timer(deadline));
        }
    }

    /// How a channel should count the process while it waits.
    pub(crate) fn channel_wait(&self) -> ChannelWait {
        if self.state.wait.deadline.is_some() { ChannelWait::Limited } else { ChannelWait::Forever }
    }

    /// The call is about to wait: others may run, and see what was written so far.
    pub(crate) fn begin_wait(&mut self) {
        self.state.wait.begun = true;
        self.state.flush_lines();
    }

    /// The call is over.
    pub(crate) fn end_wait(&mut self) {
        if self.state.wait.begun {
            self.state.wait.clear(self.worker);
            self.state.wasi.end_wait();
        } else if self.state.wait.deadline.is_some() || self.state.wait.searched {
            self.state.wait = Wait::default();
        }
    }
}
