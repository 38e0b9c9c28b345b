//! Work that takes part of the pool's threads, never all: queries, name look-ups and the like may run for
//! long, and files are to be served meanwhile. There is a queue for each kind of work.
//!
//! Parties: processes that put work in; jobs on the pool. Protocol: work goes into the queue; if fewer
//! than `at_once` jobs serve it, one more is begun; a job takes work until there is none that it may take.
//! Of one process's work, at most `share` is done at the same time: what it gave up may go on for long,
//! and it would put in more. The queue and the counts change under one lock, so no work is left without a
//! job: what is left when a job ends belongs to processes that have their share of others, which go on
//! with it.
//!
//! Work that nobody waits for any more is not done, and the queue is no longer than twice what somebody
//! waits for. Jobs that the pool drops, as it is closed, give up what is left.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use lunatic_scheduler::{BlockingError, Pid};
use parking_lot::Mutex;

use crate::jobs::Asker;
use crate::node::NodeInner;
use crate::stdio::Host;

/// Shorter queues are not looked through. By feel.
const SWEEP_AT_MIN: usize = 1024;

/// A piece of work.
pub(crate) struct Task {
    /// Whose it is, if it is anybody's.
    pub(crate) owner: Option<Pid>,
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
    share: usize,
    waiting: Mutex<Waiting>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Queue")
    }
}

#[derive(Default)]
struct Waiting {
    tasks: VecDeque<Task>,
    jobs: usize,
    /// Whose work is being done.
    busy: Vec<Pid>,
    /// At this length, what nobody waits for is dropped.
    sweep_at: usize,
}

impl Queue {
    /// Of all work `at_once` pieces are done at the same time, of one process's `share`.
    pub(crate) fn new(at_once: usize, share: usize) -> Self {
        Self { at_once, share, waiting: Mutex::default() }
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
        waiting.tasks.push_back(task);
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
    fn sweep(&mut self) -> VecDeque<Task> {
        if self.tasks.len() < self.sweep_at.max(SWEEP_AT_MIN) {
            return VecDeque::new();
        }
        let all = std::mem::take(&mut self.tasks);
        let (wanted, unwanted) = all.into_iter().partition::<VecDeque<_>, _>(Task::is_wanted);
        self.tasks = wanted;
        self.sweep_at = self.tasks.len() * 2;
        unwanted
    }

    /// The first that may be done. Nobody waits for two pieces of work at once, so few are passed over.
    fn next(&mut self, share: usize) -> Option<Task> {
        let busy = |owner: &Pid| self.busy.iter().filter(|other| *other == owner).count();
        let may_go = |task: &Task| {
            !task.is_wanted() || task.owner.as_ref().is_none_or(|owner| busy(owner) < share)
        };
        let place = self.tasks.iter().position(may_go)?;
        let task = self.tasks.remove(place)?;
        self.busy.extend(task.owner);
        Some(task)
    }

    fn done(&mut self, owner: Option<Pid>) {
        let place = owner.and_then(|owner| self.busy.iter().position(|busy| *busy == owner));
        if let Some(place) = place {
            self.busy.swap_remove(place);
        }
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
        while let Some(task) = waiting.next(queue.share) {
            drop(waiting);
            let (is_wanted, owner) = (task.is_wanted(), task.owner);
            let work = move || if is_wanted { (task.work)() } else { drop(task.work) };
            // Whoever waits is told by what the work has dropped.
            if catch_unwind(AssertUnwindSafe(work)).is_err() {
                tracing::error!("work for a process panicked on a blocking thread");
            }
            waiting = queue.waiting.lock();
            waiting.done(owner);
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
        let given_up = if is_last { std::mem::take(&mut waiting.tasks) } else { VecDeque::new() };
        drop(waiting);
        // Without the lock, as above. Whoever waits is told by it.
        drop(given_up);
    }
}
