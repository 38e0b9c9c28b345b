//! SQL takes part of the pool's threads, never all: a query may run for as long as its process lives, and
//! files and names are to be served meanwhile.
//!
//! Parties: processes that put work in; jobs on the pool. Protocol: work goes into the queue; if fewer
//! than [`AT_ONCE`] jobs serve it, one more is begun; a job takes work until there is none. The queue and
//! the count change under one lock, so no work is left without a job. Work that nobody waits for any more
//! is not done, and the queue is no longer than twice what somebody waits for.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use lunatic_scheduler::BlockingError;
use parking_lot::Mutex;

use crate::jobs::Asker;
use crate::node::NodeInner;
use crate::stdio::Host;

/// Queries that run at the same time. Half of the pool's threads.
const AT_ONCE: usize = 32;

/// Shorter queues are not looked through. By feel.
const SWEEP_AT_MIN: usize = 1024;

type Work = Box<dyn FnOnce() + Send>;

/// All SQL of a node that waits for a thread.
#[derive(Default)]
pub(crate) struct Queue(Mutex<Waiting>);

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Queue")
    }
}

#[derive(Default)]
struct Waiting {
    work: VecDeque<(Asker, Work)>,
    jobs: usize,
    /// At this length, what nobody waits for is dropped.
    sweep_at: usize,
}

impl Queue {
    /// Has work done that somebody waits for.
    pub(crate) fn put(
        node: &Arc<NodeInner>,
        asker: Asker,
        work: Work,
    ) -> Result<(), BlockingError> {
        let mut waiting = node.sql.0.lock();
        let unwanted = waiting.sweep();
        waiting.work.push_back((asker, work));
        let mut result = Ok(());
        let mut given_up = None;
        if waiting.jobs < AT_ONCE {
            let job = Arc::clone(node);
            match node.run_blocking(Box::new(move || serve(&job))) {
                Ok(()) => waiting.jobs += 1,
                Err(error) if waiting.jobs == 0 => {
                    given_up = waiting.work.pop_back();
                    result = Err(error);
                }
                Err(_) => {}
            }
        }
        drop(waiting);
        // Without the lock: they may be the last to have a database.
        drop((unwanted, given_up));
        result
    }
}

impl Waiting {
    /// Takes out what nobody waits for, now and then.
    fn sweep(&mut self) -> VecDeque<(Asker, Work)> {
        if self.work.len() < self.sweep_at.max(SWEEP_AT_MIN) {
            return VecDeque::new();
        }
        let all = std::mem::take(&mut self.work);
        let (wanted, unwanted) =
            all.into_iter().partition::<VecDeque<_>, _>(|(asker, _)| asker.is_waiting());
        self.work = wanted;
        self.sweep_at = self.work.len() * 2;
        unwanted
    }
}

/// Works until nothing waits.
fn serve(node: &NodeInner) {
    /// A job that a bug of ours has ended serves no more.
    struct Serving<'a>(&'a NodeInner);
    impl Drop for Serving<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                self.0.sql.0.lock().jobs -= 1;
            }
        }
    }
    let _serving = Serving(node);
    loop {
        let mut waiting = node.sql.0.lock();
        let Some((asker, work)) = waiting.work.pop_front() else {
            waiting.jobs -= 1;
            return;
        };
        drop(waiting);
        if asker.is_waiting() {
            work();
        }
    }
}
