//! The runtime as a whole: building it, reaching it from any thread, and ending it.
//!
//! Parties: the owner of the `Runtime`, holders of `Handle`s on any thread, and the workers.
//! Protocol: `Shared` lives until the last handle is gone, so a late handle finds memory, but no
//! processes. After `shutdown` each worker leaves at its process's next scheduling point; the last
//! one closes the gate for spawns from outside, drops queued blocking jobs, and ends every process
//! that still lives, exactly once each.

use crate::{
    Program,
    arena::{Arena, RESERVE_BYTES},
    beat::Beat,
    blocking::BlockingPool,
    builder::{Builder, StartError},
    closing::Closing,
    counters::Block,
    driver::Driver,
    envelopes::Pool,
    handle::Handle,
    held::{Sender, note},
    mailbox::{Envelope, post},
    park::Idle,
    pid::Pid,
    pool::{SlotPool, SpawnError},
    queues::{Queues, Thief},
    quota::{Queue, Room},
    slot::{MAX_EXTRA, Slot, overhead_bytes},
    state::Signal,
    surplus::Surplus,
    sync::{Arc, Condvar, Mutex, RwLock, thread},
    thread_attributes::{be_prompt, precise_timers, thread_number},
    tick::Tick,
    timer::{TimerId, Wheels},
    worker::Core,
};
use crossbeam_deque::Injector;
use crossbeam_utils::CachePadded;
use std::io::{self, Write as _};
use std::time::Instant;

/// The least that must remain for a stack when `extra` is at its largest.
pub(crate) const MIN_STACK_BYTES: usize = 16 * 1024;
/// The least number of processes worth starting for when address space is scarce.
const PROCESSES_MIN: usize = 1024;

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
    pub(crate) gate: RwLock<bool>,
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
        sender: impl FnOnce() -> Option<Sender>,
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

    pub(crate) fn others(&self) -> &Block {
        &self.counters[self.workers()]
    }

    pub(crate) fn inject(&self, slot: Slot<P>) {
        self.injector.push(slot);
        if !self.idle.notify() {
            self.hurry();
        }
    }

    pub(crate) fn deliver(&self, slot: Slot<P>, signal: Signal) -> bool {
        match signal {
            Signal::Enqueue => self.inject(slot),
            Signal::Noted => {}
            Signal::Gone => return false,
        }
        true
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
        let handle = Handle::new(Arc::new(shared));
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
            be_prompt();
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
            let what = self.0;
            // Not `eprintln!`, which panics where nobody reads.
            let _ = writeln!(
                std::io::stderr(),
                "lunatic-scheduler: {what} panicked; this is a bug in lunatic"
            );
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
