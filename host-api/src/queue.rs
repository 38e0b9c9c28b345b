//! Work that takes part of the pool's threads, never all: queries, name look-ups and the like may run for
//! long, and files are to be served meanwhile. There is a queue for each kind of work.
//!
//! Parties: processes that put work in; jobs on the pool. Protocol: work goes into the queue; if fewer
//! than `at_once` jobs serve it, one more is begun; a job takes work until there is none that it may take.
//! Of what one process does, and those that are of its kind, only a part is done at the same time
//! (`fair.rs`): what it gave up may go on for long, and it would put in more. The queue and the counts
//! change under one lock, so no work is left without a job: what is left when a job ends belongs to
//! processes that have their part of others, which go on with it.
//!
//! Work that nobody waits for any more is not done, and the queue is no longer than twice what somebody
//! waits for. Jobs that the pool drops, as it is closed, give up what is left.

mod fair;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use lunatic_scheduler::BlockingError;
use parking_lot::Mutex;

use crate::jobs::Asker;
use crate::node::NodeInner;
use crate::stdio::Host;

pub(crate) use fair::Owner;
use fair::{Group, Parts};

/// Shorter queues are not looked through. By feel.
const SWEEP_AT_MIN: usize = 1024;

/// A piece of work.
pub(crate) struct Task {
    /// Whose it is, if it is anybody's.
    pub(crate) owner: Option<Owner>,
    /// Knows whether somebody waits for it. `None`: it is to be done in any case.
    pub(crate) asker: Option<Asker>,
    pub(crate) work: Box<dyn FnOnce() + Send>,
}

impl Task {
    fn is_wanted(&self) -> bool {
        self.asker.as_ref().is_none_or(Asker::is_waiting)
    }
}

/// Where a node has a queue.
type Which = fn(&NodeInner) -> &Queue;

/// All work of one kind that waits for a thread.
pub(crate) struct Queue {
    at_once: usize,
    parts: Parts,
    waiting: Mutex<Waiting>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Queue")
    }
}

#[derive(Default)]
struct Waiting {
    tasks: Group<Task>,
    jobs: usize,
    /// At this length, what nobody waits for is dropped.
    sweep_at: usize,
}

impl Queue {
    /// Of all work `at_once` pieces are done at the same time, of one process's `share` at most.
    pub(crate) fn new(at_once: usize, share: usize) -> Self {
        Self { at_once, parts: fair::parts(at_once, share), waiting: Mutex::default() }
    }

    /// Has work done that somebody waits for.
    ///
    /// # Errors
    /// When there is no thread to be had, and nobody who would come to it.
    pub(crate) fn put(
        node: &Arc<NodeInner>,
        which: Which,
        task: Task,
    ) -> Result<(), BlockingError> {
        let queue = which(node);
        let mut waiting = queue.waiting.lock();
        let unwanted = waiting.sweep();
        waiting.tasks.put(&Owner::path(task.owner), task);
        let job = (waiting.jobs < queue.at_once).then(|| {
            waiting.jobs += 1;
            Job { node: Arc::clone(node), which, has_ended: false }
        });
        drop(waiting);
        // Without the lock: they may be the last to have a database.
        drop(unwanted);
        let Some(job) = job else { return Ok(()) };
        // A job that is not taken counts itself out, and without others gives up what waits.
        match node.run_blocking(Box::new(move || job.serve())) {
            Err(error) if queue.waiting.lock().jobs == 0 => Err(error),
            _ => Ok(()),
        }
    }
}

impl Waiting {
    /// Takes out what nobody waits for, now and then.
    fn sweep(&mut self) -> Vec<Task> {
        let mut unwanted = Vec::new();
        if self.tasks.waiting() >= self.sweep_at.max(SWEEP_AT_MIN) {
            self.tasks.sweep(&Task::is_wanted, &mut unwanted);
            self.sweep_at = self.tasks.waiting() * 2;
        }
        unwanted
    }
}

/// The duty to serve a queue. It is counted among its jobs.
struct Job {
    node: Arc<NodeInner>,
    which: Which,
    has_ended: bool,
}

impl Job {
    /// Works until nothing waits that may be done.
    fn serve(mut self) {
        let queue = (self.which)(&self.node);
        let mut waiting = queue.waiting.lock();
        while let Some(task) = waiting.tasks.take(&queue.parts) {
            drop(waiting);
            let (is_wanted, path) = (task.is_wanted(), Owner::path(task.owner));
            let work = move || if is_wanted { (task.work)() } else { drop(task.work) };
            // Whoever waits is told by what the work has dropped.
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                tracing::error!("work for a process panicked on a blocking thread");
            }
            waiting = queue.waiting.lock();
            waiting.tasks.done(&path);
        }
        // Under the same lock: whoever puts something in now begins another job.
        waiting.jobs -= 1;
        drop(waiting);
        self.has_ended = true;
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        // The pool has not taken it, or dropped it.
        let mut waiting = (self.which)(&self.node).waiting.lock();
        waiting.jobs -= 1;
        let is_last = waiting.jobs == 0;
        // Nothing is being done: no job is left.
        let given_up = is_last.then(|| std::mem::take(&mut waiting.tasks));
        drop(waiting);
        // Without the lock, as above. Whoever waits is told by it.
        drop(given_up);
    }
}
