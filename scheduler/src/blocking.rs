//! Threads for calls that block: file system, name lookup, compilation.
//!
//! Parties: anybody who submits a job, and the pool's threads. Protocol: one queue, first come
//! first served, under one lock; a thread is started when a job finds none waiting and there may be
//! more; one that finds no job for `KEEP` ends. A job tells its process by itself that it is done
//! ([`Handle::wake`](crate::Handle::wake)). After `close` nothing new is taken, queued jobs are
//! dropped, and running ones are left alone: nobody waits for a thread that may be reading a
//! terminal.

use crate::{
    slot::panic_message,
    sync::{Arc, Condvar, Mutex, thread},
};
use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

/// A piece of blocking work.
pub type Job = Box<dyn FnOnce() + Send>;

/// How long a thread without work stays. By feel: longer than the gaps of a busy program, short for
/// an idle one.
const KEEP: Duration = Duration::from_secs(10);

/// The stack of a thread. Address space only, until it is used: SQLite's compiler may need some of it.
const STACK_BYTES: usize = 16 << 20;

/// Why a blocking job was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlockingError {
    /// The runtime is ending.
    #[error("cannot run a blocking job: the runtime is shutting down")]
    ShuttingDown,
    /// The system gives no thread, and the pool has none.
    #[error("cannot start a thread for a blocking job: {0}")]
    Thread(#[from] io::Error),
}

/// The pool; clones share it.
#[derive(Clone)]
pub(crate) struct BlockingPool(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    threads_max: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    /// Threads in their wait, also those already notified: each takes a job when it comes out of
    /// it. So a thread must be started exactly when there are more jobs than these.
    waiting: usize,
    named: usize,
    closed: bool,
}

impl BlockingPool {
    pub(crate) fn new(threads_max: usize) -> Self {
        Self(Arc::new(Shared { state: Mutex::default(), work: Condvar::new(), threads_max }))
    }

    pub(crate) fn submit(&self, job: Job) -> Result<(), BlockingError> {
        let mut state = self.0.state.lock();
        if state.closed {
            return Err(BlockingError::ShuttingDown);
        }
        state.jobs.push_back(job);
        if state.jobs.len() <= state.waiting {
            drop(state);
            self.0.work.notify_one();
            return Ok(());
        }
        if state.threads == self.0.threads_max {
            return Ok(());
        }
        state.threads += 1;
        state.named += 1;
        let name = format!("lunatic-blocking-{}", state.named);
        let pool = self.clone();
        match thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(move || pool.work()) {
            Ok(_) => Ok(()),
            Err(error) => {
                state.threads -= 1;
                if state.threads > 0 {
                    tracing::warn!(%error, threads = state.threads, "no more threads for blocking jobs");
                    return Ok(()); // one of the others will come to it
                }
                state.jobs.pop_back();
                Err(error.into())
            }
        }
    }

    pub(crate) fn close(&self) {
        let mut state = self.0.state.lock();
        state.closed = true;
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        self.0.work.notify_all();
        drop(jobs); // outside the lock: destructors are not ours
    }

    fn work(&self) {
        let mut state = self.0.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                if let Err(payload) = catch_unwind(AssertUnwindSafe(job)) {
                    tracing::error!(panic = panic_message(payload), "a blocking job panicked");
                }
                state = self.0.state.lock();
                continue;
            }
            if state.closed {
                break;
            }
            state.waiting += 1;
            let limit = Instant::now() + KEEP;
            let timed_out = self.0.work.wait_until(&mut state, limit).timed_out();
            state.waiting -= 1;
            if timed_out && state.jobs.is_empty() {
                break;
            }
        }
        state.threads -= 1;
    }
}
