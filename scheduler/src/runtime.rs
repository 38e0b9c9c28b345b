//! The runtime as a whole: building it, reaching it from any thread, and ending it.
//!
//! Parties: the owner of the `Runtime`, holders of `Handle`s on any thread, and the workers.
//! Protocol: `Shared` lives until the last handle is gone, so a late handle finds memory, but no
//! processes. After `shutdown` each worker leaves at its process's next scheduling point; the last
//! one closes the gate for spawns from outside, drops queued blocking jobs, and ends every process
//! that still lives, exactly once each.

use crate::{
    Program,
    arena::{Arena, ArenaError, Guard, RESERVE_BYTES},
    beat::Beat,
    blocking::{BlockingError, BlockingPool, Job},
    channel::Wake,
    closing::Closing,
    counters::{Block, Counters},
    driver::Driver,
    envelopes::Pool,
    held::note,
    mailbox::{Envelope, post},
    park::Idle,
    pid::Pid,
    pool::{SlotPool, SpawnError},
    process::Process,
    queues::{Queues, Thief},
    quota::{Queue, Room},
    slot::{Bounds, LargeStack, MAX_EXTRA, Slot, overhead_bytes},
    state::Signal,
    surplus::Surplus,
    sync::{Arc, Condvar, Mutex, RwLock, thread},
    tick::{Preemption, Tick},
    timer::{Inserted, TimerId, Wheels},
    worker::Core,
};
use crossbeam_deque::Injector;
use crossbeam_utils::CachePadded;
use std::{fmt, io, num::NonZeroUsize, ptr::NonNull, time::Instant};

/// The least that must remain for a stack when `extra` is at its largest.
const MIN_STACK_BYTES: usize = 16 * 1024;
/// The least number of processes worth starting for when address space is scarce.
const PROCESSES_MIN: usize = 1024;
/// Pids have 32 bits for the slot.
const PROCESSES_LIMIT: usize = 1 << 31;

/// What workers and handles share.
pub(crate) struct Shared<P: Program> {
    pub(crate) slots: SlotPool<P>,
    pub(crate) injector: Injector<Slot<P>>,
    pub(crate) thieves: Box<[Thief<Slot<P>>]>,
    pub(crate) idle: Idle,
    pub(crate) driver: Option<Arc<dyn Driver>>,
    /// What each worker shows of itself.
    pub(crate) beats: Box<[CachePadded<Beat>]>,
    /// `None`: processes are not interrupted.
    pub(crate) tick: Option<Tick>,
    pub(crate) timers: Wheels<P::Message>,
    /// One for each worker, and one more for everybody else.
    pub(crate) counters: Box<[CachePadded<Block>]>,
    pub(crate) closing: Closing,
    pub(crate) blocking: BlockingPool,
    pub(crate) epoch: Instant,
    /// Open for spawns from outside; closed by the sweep, which must miss nobody.
    gate: RwLock<bool>,
    extra_max: usize,
    /// Bytes that extra and stack share.
    room: usize,
    pub(crate) surplus: Surplus,
    pub(crate) envelopes: Pool<P::Message>,
    /// Those who wait for room in a mailbox.
    pub(crate) queue: Queue,
}

impl<P: Program> Shared<P> {
    pub(crate) fn workers(&self) -> usize {
        self.thieves.len()
    }

    /// Nanoseconds since the runtime started.
    pub(crate) fn now(&self) -> u64 {
        self.nanos(Instant::now())
    }

    pub(crate) fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn check_extra(&self, asked: usize) -> Result<(), SpawnError> {
        if asked <= self.extra_max {
            return Ok(());
        }
        Err(SpawnError::ExtraTooLarge { asked, limit: self.extra_max })
    }

    /// Bytes of the stack that a slot has beside so much extra.
    pub(crate) fn slot_stack_bytes(&self, extra: usize) -> usize {
        self.room - extra.next_multiple_of(16)
    }

    pub(crate) fn exists(&self, pid: Pid) -> bool {
        self.slots.lookup(pid).is_some_and(|slot| slot.header().state.is_alive(pid.generation()))
    }

    pub(crate) fn watch(&self, pid: Pid) -> bool {
        self.slots.lookup(pid).is_some_and(|slot| slot.header().state.watch(pid.generation()))
    }

    /// Room for a message in a mailbox.
    #[inline]
    pub(crate) fn reserve(&self, to: Pid, units: impl FnOnce() -> u32) -> Room {
        match self.slots.lookup(to) {
            Some(slot) => slot.header().quota.take(to.generation(), units),
            None => Room::Unlimited,
        }
    }

    /// Puts a message into a mailbox. `Some`: that process is ACTIVE now, and the caller must put
    /// it into a run queue. `sample` says for how many units its weight stands (`held.rs`).
    #[inline]
    pub(crate) fn post(
        &self,
        to: Pid,
        mut envelope: Envelope<P::Message>,
        sender: impl FnOnce() -> Option<Pid>,
        sample: impl FnOnce(u32) -> u64,
    ) -> Result<Option<Slot<P>>, Envelope<P::Message>> {
        let Some(slot) = self.slots.lookup(to) else { return Err(envelope) };
        let (header, generation) = (slot.header(), to.generation());
        let units = envelope.weigh(P::message_bytes(&envelope));
        let mut piled = true;
        let queue = post(&header.state, &header.arrivals, generation, envelope, |envelope| {
            piled = false;
            slot.with_inbox(|inbox, arrivals| inbox.deliver(arrivals, generation, envelope));
        })?;
        let sample = sample(units);
        if sample > 0 {
            note(slot, sample, sender(), piled);
        }
        Ok(queue.then_some(slot))
    }

    pub(crate) fn cancel_timer(&self, id: TimerId) -> bool {
        self.timers.cancel(id)
    }

    /// No spawn from outside begins after this, and none is under way.
    pub(crate) fn close_gate(&self) {
        *self.gate.write() = false;
    }

    fn others(&self) -> &Block {
        &self.counters[self.workers()]
    }

    pub(crate) fn inject(&self, slot: Slot<P>) {
        self.injector.push(slot);
        if !self.idle.notify() {
            self.hurry();
        }
    }

    fn deliver(&self, slot: Slot<P>, signal: Signal) -> bool {
        match signal {
            Signal::Enqueue => self.inject(slot),
            Signal::Noted => {}
            Signal::Gone => return false,
        }
        true
    }
}

/// The runtime as any thread may hold it. Clones are the same runtime.
pub struct Handle<P: Program>(Arc<Shared<P>>);

impl<P: Program> Clone for Handle<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P: Program> Handle<P> {
    pub(crate) fn shared(&self) -> &Shared<P> {
        &self.0
    }

    /// Like [`Worker::spawn`](crate::Worker::spawn), from any thread; slower. With `stack_bytes` the
    /// process gets a stack of its own that is so large, which costs two memory mappings.
    pub fn spawn(
        &self,
        extra: usize,
        stack_bytes: Option<usize>,
        init: impl FnOnce(Pid, Process<P>, NonNull<u8>) -> P,
    ) -> Result<Pid, SpawnError> {
        self.spawn_bounded(extra, Bounds { stack_bytes, ..Bounds::default() }, init)
    }

    /// The same with bounds: a stack that is asked for is one of its own, however small.
    pub fn spawn_bounded(
        &self,
        extra: usize,
        bounds: Bounds,
        init: impl FnOnce(Pid, Process<P>, NonNull<u8>) -> P,
    ) -> Result<Pid, SpawnError> {
        /// Gives the slot back if `init` panics.
        struct Return<'a, P: Program>(&'a Shared<P>, u32);
        impl<P: Program> Drop for Return<'_, P> {
            fn drop(&mut self) {
                self.0.slots.give_shared(self.1);
            }
        }
        let shared = self.shared();
        shared.check_extra(extra)?;
        let open = shared.gate.read_recursive();
        if !*open {
            return Err(SpawnError::ShuttingDown);
        }
        let large = bounds.stack_bytes.map(|bytes| bytes.max(Bounds::STACK_BYTES_MIN));
        let large = large.map(LargeStack::new).transpose().map_err(SpawnError::Stack)?;
        let slot = shared.slots.take_shared()?;
        let on_panic = Return(shared, slot.index());
        let pid = slot.build(extra, large, bounds, init);
        std::mem::forget(on_panic);
        shared.others().spawned.add_shared(1);
        shared.inject(slot);
        Ok(pid)
    }

    /// Like [`Worker::send`](crate::Worker::send), from any thread.
    pub fn send(
        &self,
        to: Pid,
        message: impl Into<Envelope<P::Message>>,
    ) -> Result<(), Envelope<P::Message>> {
        let shared = self.shared();
        let posted = shared.post(to, message.into(), || None, u64::from);
        if let Some(slot) = posted.inspect_err(|_| shared.others().refused.add_shared(1))? {
            shared.inject(slot);
        }
        shared.others().sent.add_shared(1);
        Ok(())
    }

    /// Makes a process look around once more; whether there is such a process.
    pub fn wake(&self, pid: Pid) -> bool {
        let Some(slot) = self.shared().slots.lookup(pid) else { return false };
        self.shared().deliver(slot, slot.header().state.wake(pid.generation()))
    }

    /// Ends a process at its next scheduling point; whether there is such a process.
    pub fn kill(&self, pid: Pid) -> bool {
        let Some(slot) = self.shared().slots.lookup(pid) else { return false };
        let signal = slot.header().state.kill(pid.generation());
        if signal == Signal::Noted {
            self.shared().chase(slot);
        }
        self.shared().deliver(slot, signal)
    }

    /// Has the program of a process told at its end that somebody asked for it; whether there is
    /// such a process. If there is, its [`ended`](Program::ended) sees all that the caller did
    /// before.
    pub fn watch(&self, pid: Pid) -> bool {
        self.shared().watch(pid)
    }

    /// Whether the process lives. It may die the next moment.
    pub fn exists(&self, pid: Pid) -> bool {
        self.shared().exists(pid)
    }

    /// Wakes a process at `deadline`, once.
    pub fn set_timer_for(&self, pid: Pid, deadline: Instant) -> TimerId {
        // Outsiders' timers go to the first worker.
        let shared = self.shared();
        let (id, inserted) = shared.timers.insert(0, shared.nanos(deadline), pid);
        if inserted == Inserted::Earliest {
            shared.idle.unpark(0);
            if let Some(tick) = &shared.tick {
                tick.mind(shared.nanos(deadline));
            }
        }
        id
    }

    /// Forgets a timer; whether it was still pending.
    pub fn cancel_timer(&self, id: TimerId) -> bool {
        self.shared().cancel_timer(id)
    }

    /// Drops delayed messages whose senders have ended; how many. Takes a while if there are many timers.
    pub fn drop_orphans(&self) -> usize {
        self.shared().timers.drop_orphans(|pid| self.exists(pid))
    }

    /// Runs a job on a thread where it may block. First come, first served.
    pub fn spawn_blocking(&self, job: Job) -> Result<(), BlockingError> {
        self.shared().blocking.submit(job)
    }

    /// Asks all workers to leave. Returns at once; idempotent; may be called from anywhere,
    /// `Program::ended` included.
    pub fn shutdown(&self) {
        if self.shared().closing.request() {
            self.shared().idle.unpark_all();
            self.shared().interrupt_all();
        }
    }

    /// Whether somebody has asked for the shutdown.
    pub fn is_shutting_down(&self) -> bool {
        self.shared().closing.requested()
    }

    /// The present sums.
    pub fn counters(&self) -> Counters {
        Counters::sum(self.shared().counters.iter())
    }

    /// What each worker has counted, in order; last, all that no worker did.
    pub fn counters_by_party(&self) -> Vec<Counters> {
        self.shared().counters.iter().map(|block| Counters::of(block)).collect()
    }

    /// The most processes that were alive at once, as far as it was seen. Never too high. Exact
    /// with one worker; with more it may be short of what other workers' caches of free slots hold.
    pub fn alive_peak(&self) -> u64 {
        self.shared().slots.peak().get()
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.shared().workers()
    }
}

impl<P: Program> Wake for Handle<P> {
    fn wake(&self, pid: Pid) -> bool {
        Handle::wake(self, pid)
    }
}

/// Why a runtime could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is out of range.
    #[error("cannot start the scheduler with {what} = {value}: {rule}")]
    Setting {
        /// Which setting.
        what: &'static str,
        /// Its value.
        value: usize,
        /// What it must be.
        rule: &'static str,
    },
    /// No address space, or no guards.
    #[error("cannot start the scheduler: {0}")]
    Arena(#[from] ArenaError),
    /// No thread for giving memory back.
    #[error("cannot start the trimmer thread: {source}; {THREAD_HINT}")]
    Trimmer {
        /// The system's answer.
        source: io::Error,
    },
    /// No thread for interrupting processes.
    #[error("cannot start the tick thread: {source}; {THREAD_HINT}")]
    Ticker {
        /// The system's answer.
        source: io::Error,
    },
    /// No thread.
    #[error("cannot start worker thread {worker}: {source}; {THREAD_HINT}")]
    Thread {
        /// Which worker.
        worker: usize,
        /// The system's answer.
        source: io::Error,
    },
    /// What a worker does first has failed.
    #[error("cannot prepare worker thread {worker}: {source}; {THREAD_HINT}")]
    Worker {
        /// Which worker.
        worker: usize,
        /// Why.
        source: io::Error,
    },
}

/// What to do where there is no thread, or no memory for it.
const THREAD_HINT: &str = "check `ulimit -v`, `ulimit -u` and the container's limits of memory and \
                           threads, or use fewer workers";

/// Settings of a runtime.
#[derive(Clone)]
pub struct Builder {
    workers: usize,
    stack_bytes: usize,
    processes_max: usize,
    blocking_threads_max: usize,
    guard: Guard,
    on_worker_start: fn() -> io::Result<()>,
    preemption: Option<Preemption>,
    trim: Arc<dyn Fn() -> bool + Send + Sync>,
    driver: Option<Arc<dyn Driver>>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("workers", &self.workers)
            .field("stack_bytes", &self.stack_bytes)
            .field("processes_max", &self.processes_max)
            .field("blocking_threads_max", &self.blocking_threads_max)
            .field("guard", &self.guard)
            .finish_non_exhaustive()
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// One worker for each core, 128 KiB slots, 1,100,000 processes, 64 blocking threads, guards
    /// chosen by the kernel.
    pub fn new() -> Self {
        Self {
            workers: thread::available_parallelism().map_or(1, NonZeroUsize::get),
            stack_bytes: 128 * 1024,
            processes_max: 1_100_000,
            blocking_threads_max: 64,
            guard: Guard::Auto,
            on_worker_start: || Ok(()),
            preemption: None,
            trim: Arc::new(|| false),
            driver: None,
        }
    }

    /// Worker threads. Default: the cores this process may use.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Address space of a process's slot: header, extra, stack and guard together. A power of two.
    /// Default 128 KiB: 16 slots then share a page of the page table.
    pub fn stack_bytes(mut self, bytes: usize) -> Self {
        self.stack_bytes = bytes;
        self
    }

    /// Processes that may live at once. The runtime has somewhat more slots, as each worker keeps
    /// some free ones to itself; where address space is scarce, less (see
    /// [`Runtime::processes_max`]). Default 1,100,000.
    pub fn processes_max(mut self, processes: usize) -> Self {
        self.processes_max = processes;
        self
    }

    /// Threads for blocking jobs, started on demand. Default 64.
    pub fn blocking_threads_max(mut self, threads: usize) -> Self {
        self.blocking_threads_max = threads;
        self
    }

    /// How stacks are guarded. Default [`Guard::Auto`].
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guard = guard;
        self
    }

    /// Runs on each worker thread before any process runs anywhere: signal stacks and the like. If it
    /// fails the runtime does not start. Default: nothing.
    pub fn on_worker_start(mut self, prepare: fn() -> io::Result<()>) -> Self {
        self.on_worker_start = prepare;
        self
    }

    /// Interrupts processes that run for long while others wait. Default: nobody does; a process
    /// then runs until it suspends by itself.
    pub fn preemption(mut self, preemption: Preemption) -> Self {
        self.preemption = Some(preemption);
        self
    }

    /// Called at intervals after a burst of processes, on a thread of its own: gives back what the
    /// program keeps for the next ones and nobody has needed since the last call. Returns whether
    /// there may be more. Default: nothing.
    pub fn trim(mut self, trim: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.trim = Arc::new(trim);
        self
    }

    /// What makes processes ready from outside; workers without work wait for it. Default: nothing.
    pub fn driver(mut self, driver: Arc<dyn Driver>) -> Self {
        self.driver = Some(driver);
        self
    }

    fn check<P: Program>(&self) -> Result<(), StartError> {
        let refuse = |what, value, rule| Err(StartError::Setting { what, value, rule });
        let least = MIN_STACK_BYTES + overhead_bytes::<P>() + RESERVE_BYTES + 2 * 4096;
        if !(1..=1024).contains(&self.workers) {
            return refuse("workers", self.workers, "must be between 1 and 1024");
        }
        if !self.stack_bytes.is_power_of_two() || self.stack_bytes < 16 * 1024 {
            return refuse("stack_bytes", self.stack_bytes, "must be a power of two from 16384");
        }
        if self.stack_bytes < least {
            return refuse("stack_bytes", self.stack_bytes, "too small for this program's header");
        }
        if !(1..=PROCESSES_LIMIT).contains(&self.processes_max) {
            return refuse("processes_max", self.processes_max, "must be between 1 and 2^31");
        }
        if self.blocking_threads_max == 0 {
            return refuse("blocking_threads_max", 0, "must be at least 1");
        }
        Ok(())
    }
}

/// A running scheduler. Dropping it shuts it down and waits for its workers.
pub struct Runtime<P: Program> {
    handle: Handle<P>,
    threads: Vec<thread::JoinHandle<()>>,
    trimmer: Option<thread::JoinHandle<()>>,
    ticker: Option<thread::JoinHandle<()>>,
    processes_max: usize,
}

impl<P: Program> Runtime<P> {
    /// Reserves the memory and starts the workers.
    pub fn start(builder: &Builder) -> Result<Self, StartError> {
        builder.check::<P>()?;
        let workers = builder.workers;
        let cache_max = SlotPool::<P>::cache_max(builder.processes_max, workers);
        // What the caches of all other workers may hide from the one that spawns.
        let hidden = (workers - 1) * cache_max;
        let slots_min = PROCESSES_MIN.min(builder.processes_max) + hidden;
        let arena = Arena::reserve(
            builder.processes_max + hidden,
            slots_min,
            builder.stack_bytes,
            builder.guard,
        )?;
        let processes_max = arena.slots() - hidden;
        if processes_max < builder.processes_max {
            tracing::warn!(
                asked = builder.processes_max,
                processes_max,
                "address space is scarce: fewer processes than asked for"
            );
        }
        let aside = overhead_bytes::<P>() + arena.guard_bytes() + RESERVE_BYTES;
        let room = builder.stack_bytes - aside;
        let queues: Vec<_> = (0..workers).map(|_| Queues::new()).collect();
        let shared = Shared {
            slots: SlotPool::new(arena, cache_max),
            injector: Injector::new(),
            thieves: queues.iter().map(Queues::thief).collect(),
            idle: match builder.driver.clone() {
                Some(driver) => Idle::with_bell(workers, move || driver.interrupt()),
                None => Idle::new(workers),
            },
            driver: builder.driver.clone(),
            beats: (0..workers).map(|_| CachePadded::new(Beat::new())).collect(),
            tick: builder.preemption.map(Tick::new),
            timers: Wheels::new(workers),
            counters: (0..=workers).map(|_| CachePadded::default()).collect(),
            closing: Closing::new(workers),
            blocking: BlockingPool::new(builder.blocking_threads_max),
            epoch: Instant::now(),
            gate: RwLock::new(true),
            room,
            extra_max: (room - MIN_STACK_BYTES).min(MAX_EXTRA) & !15,
            surplus: Surplus::default(),
            envelopes: Pool::new(),
            queue: Queue::default(),
        };
        let handle = Handle(Arc::new(shared));
        let mut runtime = Self {
            handle,
            threads: Vec::with_capacity(workers),
            processes_max,
            trimmer: None,
            ticker: None,
        };
        runtime.start_trimmer(builder)?;
        runtime.start_ticker()?;
        let prepared = Arc::new(Prepared::default());
        for (id, queues) in queues.into_iter().enumerate() {
            runtime.start_worker(id, queues, builder, Arc::clone(&prepared))?;
        }
        prepared.wait(workers).map_err(|(worker, source)| StartError::Worker { worker, source })?;
        Ok(runtime)
    }

    /// The thread that gives back what bursts leave behind.
    fn start_trimmer(&mut self, builder: &Builder) -> Result<(), StartError> {
        let handle = self.handle.clone();
        let trim = Arc::clone(&builder.trim);
        let work = move || {
            let shared = handle.shared();
            shared.surplus.serve(|| {
                let slots = shared.slots.trim();
                trim() || slots > 0
            });
        };
        let thread = thread::Builder::new().name("lunatic-trimmer".to_string()).spawn(work);
        let thread = thread.map_err(|source| StartError::Trimmer { source })?;
        self.trimmer = Some(thread);
        Ok(())
    }

    /// The thread that interrupts processes, if anybody does.
    fn start_ticker(&mut self) -> Result<(), StartError> {
        if self.handle.shared().tick.is_none() {
            return Ok(());
        }
        let handle = self.handle.clone();
        let work = move || {
            let _bug = AbortOnPanic("the tick thread");
            precise_timers();
            if let Some(tick) = &handle.shared().tick {
                handle.shared().mind_workers(tick);
            }
        };
        let thread = thread::Builder::new().name("lunatic-tick".to_string()).spawn(work);
        self.ticker = Some(thread.map_err(|source| StartError::Ticker { source })?);
        Ok(())
    }

    fn start_worker(
        &mut self,
        id: usize,
        queues: Queues<Slot<P>>,
        builder: &Builder,
        prepared: Arc<Prepared>,
    ) -> Result<(), StartError> {
        let Builder { workers, on_worker_start, .. } = *builder;
        let handle = self.handle.clone();
        let work = move || {
            let _bug = AbortOnPanic("a worker thread");
            precise_timers();
            handle.shared().beats[id].set_thread(thread_number());
            let result = on_worker_start();
            let core = Core::new(id, handle, queues);
            // A worker that is not prepared runs nobody: the start fails, which shuts all down.
            let ready = result.is_ok();
            prepared.tell(id, result);
            if ready {
                core.main();
            } else {
                core.leave();
            }
        };
        match thread::Builder::new().name(format!("lunatic-worker-{id}")).spawn(work) {
            Ok(thread) => {
                self.threads.push(thread);
                Ok(())
            }
            Err(source) => {
                // Those that will never come have left, so that the others' shutdown (in our drop)
                // completes.
                (id..workers).for_each(|_| {
                    self.handle.shared().closing.leave();
                });
                Err(StartError::Thread { worker: id, source })
            }
        }
    }

    /// The handle for all threads.
    pub fn handle(&self) -> &Handle<P> {
        &self.handle
    }

    /// How many processes may live at once: what was asked for, or what address space allowed.
    pub fn processes_max(&self) -> usize {
        self.processes_max
    }

    /// Waits until somebody has shut the runtime down and every process has ended.
    pub fn join(mut self) {
        self.wait();
    }

    /// Shuts down and waits until every process has ended. Not from a worker.
    pub fn shutdown_and_join(self) {
        self.handle.shutdown();
        self.join();
    }

    fn wait(&mut self) {
        for thread in self.threads.drain(..) {
            thread.join().expect("a worker that panics aborts");
        }
        if let Some(tick) = &self.handle.shared().tick {
            tick.close();
        }
        if let Some(ticker) = self.ticker.take() {
            ticker.join().expect("a tick thread that panics aborts");
        }
        self.handle.shared().surplus.close();
        if let Some(trimmer) = self.trimmer.take()
            && trimmer.join().is_err()
        {
            tracing::error!("the thread that gives memory back has panicked");
        }
    }
}

/// How many workers are ready to run processes, and the first failure. No process runs before all
/// are: it might use up what the others need.
#[derive(Default)]
struct Prepared {
    state: Mutex<(usize, Option<(usize, io::Error)>)>,
    news: Condvar,
}

impl Prepared {
    fn tell(&self, worker: usize, result: io::Result<()>) {
        let (prepared, failure) = &mut *self.state.lock();
        *prepared += 1;
        if let Err(error) = result {
            failure.get_or_insert((worker, error));
        }
        self.news.notify_one();
    }

    fn wait(&self, workers: usize) -> Result<(), (usize, io::Error)> {
        let mut state = self.state.lock();
        while state.0 < workers {
            self.news.wait(&mut state);
        }
        state.1.take().map_or(Ok(()), Err)
    }
}

/// Lives as long as a thread that must not panic: the scheduler's own code has then lost its
/// invariants, and processes may never end.
struct AbortOnPanic(&'static str);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("lunatic-scheduler: {} panicked; this is a bug in lunatic", self.0);
            std::process::abort();
        }
    }
}

impl<P: Program> Drop for Runtime<P> {
    fn drop(&mut self) {
        self.handle.shutdown();
        self.wait();
    }
}

/// Asks the kernel not to round this thread's waits up (by 50 µs, by default).
fn precise_timers() {
    #[cfg(target_os = "linux")]
    // SAFETY: changes one scheduling attribute of the calling thread; failure leaves timers a
    // little late.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1)
    };
}

/// The system's number of the calling thread, by which it can be sent a signal.
fn thread_number() -> u32 {
    #[cfg(target_os = "linux")]
    // SAFETY: no preconditions.
    return unsafe { libc::gettid() }.cast_unsigned();
    #[cfg(not(target_os = "linux"))]
    return 0;
}
