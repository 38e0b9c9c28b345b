//! What all processes of one run share, and the run itself.

use std::io;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use lunatic_engine::preempt;
use lunatic_engine::profile;
use lunatic_engine::signals::{self, FiberAtFault};
use lunatic_engine::{Compiler, Form, FormError, InstantiateError, MemoryForm, MemoryPool, Module};
use lunatic_scheduler::{
    BlockingError, Builder, Guard, Handle, Job, Pid, Preemption, Runtime, SpawnError, StartError,
    TrapHandlerRegs, current_fiber,
};
use parking_lot::Mutex;

use crate::config::{ConfigRef, ProcessConfig};
use crate::exit::ExitReason;
use crate::footprint;
use crate::forms::{FormsInMaking, ModuleRef};
use crate::held;
use crate::kept::Kept;
use crate::large_channels::LargeChannels;
use crate::memories::Memories;
use crate::metrics::Metrics;
use crate::modules::Modules;
use crate::net;
use crate::os;
use crate::process::{Entry, PREEMPT_HOOKS, Params, ProcessState, Start};
use crate::queue::Queue;
use crate::ready::Reactor;
use crate::reaper;
use crate::registry::Registry;
use crate::sql;
use crate::stats::Observer;
use crate::stdio::Host;
use crate::ties::Ties;
use crate::warden;

/// Abnormal ends of processes that are reported one by one; a storm of them says nothing new.
pub(crate) const REPORTS_MAX: usize = 20;

/// How long a run that was stopped waits for the reader of its output. By feel.
const STOPPED_FLUSH_TIME: Duration = Duration::from_secs(1);

/// Why a run could not begin, or a process not be made.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The scheduler did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// There is no room for the process.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The process's instance could not be made.
    #[error("cannot spawn a process: {cause}{advice}", cause = .0, advice = advice(.0))]
    Instantiate(#[from] InstantiateError),
    /// Memories were to be guarded.
    #[error(
        "cannot give processes guarded memories: each takes 8 GiB of addresses (of which ulimit -v \
         may leave a quarter to them) and three mappings (vm.max_map_count); use --memory dense, or \
         raise the limits"
    )]
    NoGuardedMemory,
    /// No thread to see to what guests have the host hold.
    #[error(
        "cannot start a thread that watches over memory: {source}; check `ulimit -v` and `ulimit -u`"
    )]
    Warden {
        /// The system's answer.
        source: std::io::Error,
    },
    /// The module cannot be compiled for the process.
    #[error("cannot compile the module for the process: {0}")]
    Form(#[from] FormError),
}

/// How to raise the limit, which the engine does not know.
fn advice(error: &InstantiateError) -> &'static str {
    match error {
        InstantiateError::MemoryLimit { .. } | InstantiateError::TableLimit { .. } => {
            "; raise it (--max-memory)"
        }
        InstantiateError::TotalMemory { .. } => {
            "; end some of them or raise the limit (--max-total-memory)"
        }
        InstantiateError::Block { .. } | InstantiateError::Memory(_) => "",
    }
}

impl RunError {
    /// Whether a setting is to blame, and no lack of anything.
    #[must_use]
    pub fn is_about_a_setting(&self) -> bool {
        matches!(self, Self::Start(StartError::Setting { .. }))
    }
}

/// Settings of a run.
#[derive(Debug, Clone)]
pub struct NodeBuilder {
    scheduler: Builder,
    slice: i64,
    form: Form,
    memories: Memories,
    compiler: Compiler,
    preempt: Preempt,
    tick: Duration,
    host_memory_max: Option<u64>,
    total_memory_max: u64,
}

/// How a process that runs for long is made to let others run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preempt {
    /// By a signal to its thread, whatever it does. Its code has no yield points and runs at full
    /// speed.
    Signal,
    /// By yield points in its code that count reductions. Portable, and on one worker the same in
    /// each run.
    Fuel,
}

/// By signals where the machine can.
impl Default for Preempt {
    fn default() -> Self {
        if preempt::is_supported() { Self::Signal } else { Self::Fuel }
    }
}

impl Preempt {
    /// Whether this machine can.
    #[must_use]
    pub fn is_supported(self) -> bool {
        self == Self::Fuel || preempt::is_supported()
    }
}

impl Default for NodeBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl NodeBuilder {
    /// Reductions of a slice. `cargo xtask bench kernels` counts slices: ordinary code does this in
    /// 10 us. The limit that decides is a chain of cache misses, one in five instructions and
    /// 100 ns each, which takes 1 ms.
    pub const SLICE: i64 = 50_000;

    /// How long a process runs while others wait, when signals preempt it. By feel: what a signal
    /// and a switch cost is some hundredths of it.
    pub const TICK: Duration = Duration::from_millis(1);

    /// All defaults: a worker for each core that this process may use.
    #[must_use]
    pub fn new() -> Self {
        let new = Self {
            scheduler: Builder::new(),
            slice: Self::SLICE,
            form: Form::default(),
            memories: Memories::default(),
            compiler: Compiler::default(),
            preempt: Preempt::Fuel,
            tick: Self::TICK,
            host_memory_max: None,
            total_memory_max: footprint::default_max(),
        };
        new.preempt(Preempt::default())
    }

    /// Number of worker threads.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.scheduler = self.scheduler.workers(workers);
        self
    }

    /// Processes that may live at once: at least so many, and at most a few hundred more, as each
    /// worker keeps some free slots to itself. Default 1,100,000, or what address space allows. A
    /// spawn beyond it answers an error.
    #[must_use]
    pub fn processes_max(mut self, processes: usize) -> Self {
        self.scheduler = self.scheduler.processes_max(processes);
        self
    }

    /// Goes without guard marks in page tables, as kernels before Linux 6.13 must: each stack's
    /// guard costs a memory mapping, and memories are cleaned in another way, from now on in the
    /// whole program. For tests of that way.
    #[must_use]
    pub fn without_guard_marks(mut self) -> Self {
        lunatic_engine::do_without_page_guards();
        self.scheduler = self.scheduler.guard(Guard::Mprotect);
        self
    }

    /// Reductions (about one wasm instruction each) that a process runs before others get a turn.
    #[must_use]
    pub fn slice(mut self, reductions: i64) -> Self {
        self.slice = reductions;
        self
    }

    /// Most bytes that the host may hold for all processes beside their linear memories: messages, and
    /// what stands for resources. Whoever holds most beyond it ends. It is the whole program's: of
    /// several nodes in it the latest says it. Default: a quarter of the machine's memory, or of what
    /// the control group leaves of it, and at most half of what all may take together. The rest is for
    /// the memories that messages are written from and read to.
    #[must_use]
    pub fn host_memory_max(mut self, bytes: u64) -> Self {
        self.host_memory_max = Some(bytes);
        self
    }

    /// Most bytes that all processes together may take: linear memories, stacks, page tables and what
    /// the host holds for them. Beyond it a spawn answers an error and `memory.grow` answers -1; if
    /// more is touched nevertheless, those end who take most. It is the whole program's: of
    /// several nodes in it the latest says it. Default: seven eighths of the machine's memory, or of
    /// what the control group leaves of it, less 128 MiB.
    #[must_use]
    pub fn total_memory_max(mut self, bytes: u64) -> Self {
        self.total_memory_max = bytes;
        self
    }

    /// The kinds of memory that processes may have. Default: [`Memories::Auto`].
    #[must_use]
    pub fn memories(mut self, memories: Memories) -> Self {
        self.memories = memories;
        self
    }

    /// How processes are preempted. Default: by signals where the machine can.
    ///
    /// # Panics
    /// For [`Preempt::Signal`] on a machine that cannot: see [`Preempt::is_supported`].
    #[must_use]
    pub fn preempt(mut self, preempt: Preempt) -> Self {
        assert!(preempt.is_supported(), "no preemption by signal");
        self.preempt = preempt;
        self.form.yields = preempt == Preempt::Fuel;
        self
    }

    /// How long a process runs while others wait, when signals preempt it. Default:
    /// [`Self::TICK`].
    #[must_use]
    pub fn tick(mut self, tick: Duration) -> Self {
        self.tick = tick;
        self
    }

    /// The form in which the main process runs its module if it needs nothing special.
    #[must_use]
    pub fn form(&self) -> Form {
        Form { memory: self.memories.first(), ..self.form }
    }

    /// Compiles the modules that guests bring along with the options of this one, but on one thread
    /// each, without its cache, and within a limit of time. Default: one without options.
    #[must_use]
    pub fn compiler(mut self, compiler: &Compiler) -> Self {
        self.compiler = compiler.clone();
        self
    }

    /// Starts the workers.
    ///
    /// # Errors
    /// When threads or address space cannot be had.
    pub fn start(self) -> Result<Node, RunError> {
        signals::install(fiber_at_fault);
        let memory = Arc::new(MemoryPool::in_room(Arc::clone(footprint::room())));
        let memories = self.memories.settle(&memory)?;
        let reactor = Arc::new(Reactor::default());
        let node = Arc::new(NodeInner {
            handle: OnceLock::new(),
            held: OnceLock::new(),
            memory: Arc::clone(&memory),
            slice: self.slice,
            form: self.form,
            memories,
            forms: FormsInMaking::default(),
            reactor: Arc::clone(&reactor),
            ties: Ties::default(),
            registry: Registry::default(),
            lookups: net::lookup_queue(),
            sql: Queue::new(sql::AT_ONCE, sql::AT_ONCE),
            certificates: net::certificate_queue(),
            modules: Modules::new(&self.compiler),
            metrics: Metrics::default(),
            main: OnceLock::new(),
            outcome: Mutex::new(None),
            reports: AtomicUsize::new(0),
            has_refused: AtomicBool::new(false),
            channel_numbers: AtomicU32::new(1),
            large_channels: LargeChannels::default(),
        });
        crate::profile::node_started(&node);
        let mut scheduler = self.scheduler;
        if self.preempt == Preempt::Signal {
            preempt::install(&PREEMPT_HOOKS);
            scheduler = scheduler
                .preemption(Preemption { slice: self.tick, interrupt: preempt::interrupt_thread });
        }
        let scheduler = scheduler.on_worker_start(prepare_worker).trim(move || {
            let bytes = memory.trim();
            give_back_heap();
            bytes > 0
        });
        let scheduler = scheduler.driver(reactor);
        let runtime = Runtime::start(&scheduler)?;
        let known = node.handle.set(runtime.handle().clone());
        assert!(known.is_ok(), "the handle is set once, here");
        let host_memory_max = self.host_memory_max.unwrap_or_else(|| {
            let quarter = os::memory_bytes().map_or(u64::MAX, |bytes| bytes / 4);
            quarter.min(self.total_memory_max / 2)
        });
        held::set_max(host_memory_max);
        let held = Arc::new(Held { node, module: OnceLock::new(), config: OnceLock::new() });
        let known = held.node.held.set(Arc::downgrade(&held));
        assert!(known.is_ok(), "what is held is set once, here");
        footprint::limit(self.total_memory_max)
            .and_then(|()| warden::mind(&held))
            .and_then(|()| reaper::start())
            .map_err(|source| RunError::Warden { source })?;
        Ok(Node { runtime, held })
    }
}

/// A running set of workers with the processes on them.
pub struct Node {
    // Dropped first: it ends the last process.
    runtime: Runtime<ProcessState>,
    held: Arc<Held>,
}

/// What processes refer to without counting (`Kept`), and the messages that they have sent: who drops
/// some on another thread than a worker has a share in this meanwhile. In an `Arc` it stays where it is.
pub(crate) struct Held {
    node: Arc<NodeInner>,
    module: OnceLock<Module>,
    config: OnceLock<ProcessConfig>,
}

impl Deref for Held {
    type Target = NodeInner;

    fn deref(&self) -> &NodeInner {
        &self.node
    }
}

/// Ends a run from another thread.
#[derive(Clone)]
pub struct Stopper(Handle<ProcessState>);

impl Stopper {
    /// Ends every process at its next scheduling point; the run's outcome is then
    /// [`ExitReason::Shutdown`] unless the main process has ended before.
    pub fn stop(&self) {
        self.0.shutdown();
    }
}

impl Node {
    /// Runs `entry` of a module as the main process and waits for its end, which ends all others.
    ///
    /// # Errors
    /// When the main process cannot be made, or the module not in the form that it needs.
    pub fn run(
        self,
        module: &Module,
        config: ProcessConfig,
        entry: &str,
    ) -> Result<ExitReason, RunError> {
        let stdio = config.stdio.clone();
        let held = &*self.held;
        // SAFETY: it stays where it is, is set once, and is dropped after the runtime, which has ended
        // every process; other threads that drop messages have their share in it.
        let node = unsafe { Kept::new(&held.node) };
        // SAFETY: as above.
        let module = unsafe { Kept::new(held.module.get_or_init(|| module.clone())) };
        // SAFETY: as above.
        let config = unsafe { Kept::new(held.config.get_or_init(|| config)) };
        let image = match module.get().make(node.form_for(&config)) {
            // SAFETY: as above; the module keeps its forms.
            Ok(image) => unsafe { Kept::new(image) },
            Err(error) => {
                self.runtime.shutdown_and_join();
                return Err(error.into());
            }
        };
        let start = Start {
            node,
            module: ModuleRef::Main(module),
            image,
            config: ConfigRef::Main(config),
            entry: Entry::new(image.get(), entry.as_bytes(), [].into_iter(), Params::new()),
            first_message: None,
            tie: None,
            place: None,
            seed: None,
            branch: None,
            is_main: true,
        };
        match start.by_handle(self.runtime.handle()) {
            Ok(pid) => {
                let first = held.node.main.set(pid);
                assert!(first.is_ok(), "a node runs one program");
            }
            Err(error) => {
                self.runtime.shutdown_and_join();
                return Err(error);
            }
        }
        self.runtime.join();
        match self.held.node.outcome.lock().take() {
            Some(reason) => {
                stdio.flush();
                Ok(reason)
            }
            None => {
                // Somebody wants it to end: a reader who takes nothing must not prevent that.
                stdio.flush_for(STOPPED_FLUSH_TIME);
                Ok(ExitReason::Shutdown)
            }
        }
    }

    /// For another thread that may want to end the run.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(self.runtime.handle().clone())
    }

    /// Who can tell what the run has counted, also when it is over.
    #[must_use]
    pub fn observer(&self) -> Observer {
        Observer(Arc::clone(&self.held.node))
    }
}

/// The shared part, which every process refers to.
pub(crate) struct NodeInner {
    handle: OnceLock<Handle<ProcessState>>,
    held: OnceLock<Weak<Held>>,
    pub(crate) memory: Arc<MemoryPool>,
    pub(crate) slice: i64,
    form: Form,
    pub(crate) memories: Memories,
    pub(crate) forms: FormsInMaking,
    /// For processes that wait for sockets.
    pub(crate) reactor: Arc<Reactor>,
    pub(crate) ties: Ties,
    pub(crate) registry: Registry,
    /// What waits for a thread: names to be looked up, SQL, certificates to be read.
    pub(crate) lookups: Queue,
    pub(crate) sql: Queue,
    pub(crate) certificates: Queue,
    /// For processes that compile modules.
    pub(crate) modules: Modules,
    /// What guests measure.
    pub(crate) metrics: Metrics,
    /// Known soon after it has been made.
    main: OnceLock<Pid>,
    /// How the main process ended.
    outcome: Mutex<Option<ExitReason>>,
    reports: AtomicUsize,
    /// It was said that `memory.grow` has answered -1.
    has_refused: AtomicBool,
    /// Counts channels of the seed era, whose numbers all processes share.
    pub(crate) channel_numbers: AtomicU32,
    pub(crate) large_channels: LargeChannels,
}

impl std::fmt::Debug for NodeInner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").finish_non_exhaustive()
    }
}

impl NodeInner {
    /// The scheduler.
    pub(crate) fn handle(&self) -> &Handle<ProcessState> {
        self.handle.get().expect("set before the first process")
    }

    /// A share in what processes and their messages refer to; `None` if the run is over.
    pub(crate) fn held(&self) -> Option<Arc<Held>> {
        self.held.get()?.upgrade()
    }

    /// The form of a module that a process with this configuration runs.
    #[inline]
    pub(crate) fn form_for(&self, config: &ProcessConfig) -> Form {
        // Only yield points count what it uses.
        let counts = config.fuel_max.is_some() || config.usage.is_some();
        let memory = match self.memories {
            Memories::Auto | Memories::Guarded => MemoryForm::Guarded,
            Memories::Dense => MemoryForm::Dense,
        };
        Form { yields: self.form.yields || counts, memory }
    }

    /// Whether it is the main process.
    pub(crate) fn is_main(&self, pid: Pid) -> bool {
        self.main.get() == Some(&pid)
    }

    /// The main process has ended: so does the run.
    pub(crate) fn main_ended(&self, reason: ExitReason) {
        *self.outcome.lock() = Some(reason);
        self.handle().shutdown();
    }

    /// Whether the next abnormal end is reported in full.
    pub(crate) fn shows_reports(&self) -> bool {
        self.reports.load(Ordering::Relaxed) < REPORTS_MAX
    }

    /// Tells the user how a process has ended. Who was killed, or died with a link, did not fail
    /// itself: somebody wanted it, or there is a report about the first in the chain.
    pub(crate) fn report(&self, pid: Pid, reason: &ExitReason) {
        match reason {
            reason if reason.is_normal() => tracing::trace!("process {pid} {reason}"),
            ExitReason::Killed { .. } => tracing::debug!("process {pid} {reason}"),
            ExitReason::Linked { .. } => tracing::info!("process {pid} {reason}"),
            reason => self.report_failure(pid, reason),
        }
    }

    /// Tells the user, once, that a process was not given memory for the sake of all.
    #[cold]
    pub(crate) fn report_refusal(&self) {
        // Relaxed: who comes first tells; nothing else hangs on it.
        if self.has_refused.swap(true, Ordering::Relaxed) {
            return;
        }
        let room = footprint::room();
        tracing::warn!(
            "a process was not given more memory: all processes together have {} bytes, and may have \
             {} (--max-total-memory); further refusals are counted by --stats only",
            room.used_or_taken(),
            room.limit()
        );
    }

    #[cold]
    fn report_failure(&self, pid: Pid, reason: &ExitReason) {
        // A count for a limit; nothing else hangs on it.
        let number = self.reports.fetch_add(1, Ordering::Relaxed);
        if number < REPORTS_MAX {
            let frames: String =
                reason.frames().iter().take(8).map(|frame| format!("\n    at {frame}")).collect();
            tracing::warn!("process {pid} {reason}{frames}");
            return;
        }
        if number == REPORTS_MAX && !tracing::enabled!(tracing::Level::INFO) {
            tracing::warn!("more processes failed; further failures are shown with -v only");
        }
        tracing::info!("process {pid} {reason}");
    }
}

impl Host for NodeInner {
    fn wake(&self, pid: Pid) {
        // A process that is gone needs no waking.
        let _exists = self.handle().wake(pid);
    }

    fn run_blocking(&self, job: Job) -> Result<(), BlockingError> {
        self.handle().spawn_blocking(job)
    }

    fn shut_down(&self) {
        self.handle().shutdown();
    }
}

/// What each worker does first.
fn prepare_worker() -> io::Result<()> {
    signals::prepare_thread()?;
    profile::enroll_thread();
    Ok(())
}

/// The heap of a burst (messages, tables of processes) goes back to the system, too.
pub(crate) fn give_back_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: no preconditions; it only looks for free pages.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Answers the fault handler: which fiber is running here?
fn fiber_at_fault() -> Option<FiberAtFault> {
    let bounds = current_fiber()?;
    // SAFETY: the state of the process whose fiber runs here: its guest's code stands still, and
    // nobody else is on this thread. (In the worker's own code there is no current fiber.)
    let reach = unsafe { ProcessState::reach_of(bounds.program) };
    Some(FiberAtFault {
        stack: bounds.stack_low..bounds.stack_high,
        guard: bounds.guard,
        reach,
        data: std::ptr::null_mut(),
        redirect,
    })
}

/// Leads the interrupted fiber to its end, or to the call that catches its traps.
///
/// # Safety
/// Called by the fault handler, about the fiber that [`fiber_at_fault`] described.
unsafe fn redirect(_data: *mut ()) -> TrapHandlerRegs {
    let bounds = current_fiber().expect("the handler asked just before");
    // SAFETY: the fiber runs guest code or calls of it, so its program is there, and what is read
    // of it changes only on this thread, on a worker's stack.
    let innermost = unsafe { &*bounds.program.cast::<ProcessState>() }.away.innermost();
    if let Some(point) = innermost {
        // SAFETY: the call that made the point has not returned, and it lies on this fiber's stack.
        let point = unsafe { point.as_ref() };
        // SAFETY: as `redirect` below; the point is the innermost of this fiber.
        return unsafe { point.registers() };
    }
    // SAFETY: same thread, same signal; the handler found pc in guest code or the stack's guard,
    // where nothing needs dropping, and writes the registers back.
    unsafe { bounds.redirect() }
}
