//! Names to addresses. The system's resolver blocks, for as long as servers do not answer, so it runs
//! on the blocking pool, and only so often at once that others find threads there.
//!
//! Parties: a process that asks; jobs on the pool. Protocol:
//!
//! 1. The process puts a question with a place for its answer into the queue; if fewer than
//!    [`AT_ONCE`] jobs serve it, one more is begun. The process parks.
//! 2. A job takes questions until there are none. It leaves the answer in the place and wakes the
//!    process. A question whose process has gone away (or whose time was up) is not asked.
//! 3. The process, asked again, finds the answer, or parks again.
//!
//! The queue and the count of jobs change under one lock, so a question is never left without a job.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Weak};

use lunatic_scheduler::Pid;
use parking_lot::Mutex;

use crate::node::NodeInner;
use crate::stdio::Host;

/// Look-ups that run at the same time. A quarter of the pool's threads.
const AT_ONCE: usize = 16;

/// Shorter queues are not looked through. By feel.
const SWEEP_AT_MIN: usize = 1024;

type Answer = io::Result<Vec<SocketAddr>>;
type Place = Mutex<Option<Answer>>;

/// A look-up that a process waits for; given up when it is dropped.
pub(crate) struct Lookup(Arc<Place>);

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lookup")
    }
}

impl Lookup {
    /// The answer, if it is there.
    pub(crate) fn take(&self) -> Option<Answer> {
        self.0.lock().take()
    }
}

struct Question {
    name: String,
    place: Weak<Place>,
    pid: Pid,
}

/// All look-ups of a node.
#[derive(Default)]
pub(crate) struct Lookups(Mutex<Queue>);

#[derive(Default)]
struct Queue {
    questions: VecDeque<Question>,
    jobs: usize,
    /// At this length those are dropped that nobody waits for any more.
    sweep_at: usize,
}

impl Lookups {
    /// Has `HOST:PORT` looked up for a process, which is woken when there is an answer.
    pub(crate) fn begin(node: &Arc<NodeInner>, pid: Pid, name: String) -> io::Result<Lookup> {
        let place = Arc::new(Place::default());
        let mut queue = node.lookups.0.lock();
        queue.sweep();
        queue.questions.push_back(Question { name, place: Arc::downgrade(&place), pid });
        if queue.jobs < AT_ONCE {
            let job = Turn(Arc::clone(node));
            if let Err(error) = node.run_blocking(Box::new(move || job.serve())) {
                if queue.jobs == 0 {
                    queue.questions.pop_back();
                    return Err(io::Error::other(error));
                }
            } else {
                queue.jobs += 1;
            }
        }
        Ok(Lookup(place))
    }
}

impl Queue {
    /// Keeps the queue no longer than twice the processes that wait.
    fn sweep(&mut self) {
        if self.questions.len() >= self.sweep_at {
            self.questions.retain(|question| question.place.strong_count() > 0);
            self.sweep_at = (self.questions.len() * 2).max(SWEEP_AT_MIN);
        }
    }
}

/// A job's duty.
struct Turn(Arc<NodeInner>);

impl Turn {
    fn serve(&self) {
        while let Some(question) = self.next() {
            // Nobody waits any more: so nobody need be asked.
            if question.place.strong_count() == 0 {
                continue;
            }
            let answer = look_up(&question.name);
            if let Some(place) = question.place.upgrade() {
                *place.lock() = Some(answer);
                self.0.wake(question.pid);
            }
        }
    }

    /// The next question; without one, the job is over.
    fn next(&self) -> Option<Question> {
        let mut queue = self.0.lookups.0.lock();
        let question = queue.questions.pop_front();
        if question.is_none() {
            queue.jobs -= 1;
        }
        question
    }
}

fn look_up(name: &str) -> Answer {
    let addresses: Vec<SocketAddr> = name.to_socket_addrs()?.collect();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}
