//! Settings of a runtime, and why it could not be started.

use crate::{
    Program,
    arena::{ArenaError, Guard, RESERVE_BYTES},
    driver::Driver,
    runtime::MIN_STACK_BYTES,
    slot::overhead_bytes,
    sync::{Arc, thread},
    tick::Preemption,
};
use std::{fmt, io, num::NonZeroUsize};

/// Pids have 32 bits for the slot.
const PROCESSES_LIMIT: usize = 1 << 31;

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
    pub(crate) workers: usize,
    pub(crate) stack_bytes: usize,
    pub(crate) processes_max: usize,
    pub(crate) blocking_threads_max: usize,
    pub(crate) guard: Guard,
    pub(crate) on_worker_start: fn() -> io::Result<()>,
    pub(crate) preemption: Option<Preemption>,
    pub(crate) trim: Arc<dyn Fn() -> bool + Send + Sync>,
    pub(crate) driver: Option<Arc<dyn Driver>>,
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
    /// [`Runtime::processes_max`](crate::Runtime::processes_max)). Default 1,100,000.
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

    pub(crate) fn check<P: Program>(&self) -> Result<(), StartError> {
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
