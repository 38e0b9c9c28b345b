//! Work that a call leaves to a thread that may block, with the process parked meanwhile.
//!
//! Parties: the process, and whoever does the work. Protocol:
//!
//! 1. The first poll checks its arguments, copies what the work needs out of the guest's memory, and
//!    hands it over with a [`Turn`], the duty to leave a result. The process parks.
//! 2. The work ends with [`Turn::finish`], which wakes the process. It can ask whether the process
//!    still waits ([`Asker`]) and stop if not.
//! 3. The next poll takes the result. One that comes too early parks again.
//!
//! A process makes one call at a time, so it has at most one such job. A turn that is dropped, by a
//! panic or because a queue was given up, ends the call with a fault instead of hanging it. WASI's
//! jobs (`api/wasi/jobs.rs`) do the same for results that have error numbers.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Weak};
use std::task::Poll;

use lunatic_scheduler::Pid;
use parking_lot::Mutex;

use crate::bind::{Call, Fault};
use crate::node::NodeInner;
use crate::stdio::Host;

/// Where a job puts its result.
enum Place<T> {
    Empty,
    Done(T),
    /// The job came to nothing.
    Lost,
}

type Shared<T> = Arc<Mutex<Place<T>>>;

/// The job of a process, whose type its call knows.
pub(crate) struct Job(Arc<dyn Any + Send + Sync>);

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job")
    }
}

/// The duty to leave a result and to wake the process.
pub(crate) struct Turn<T> {
    place: Weak<Mutex<Place<T>>>,
    node: Arc<NodeInner>,
    pid: Pid,
}

impl<T> fmt::Debug for Turn<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Turn({})", self.pid)
    }
}

impl<T: Send + 'static> Turn<T> {
    /// Leaves the result.
    pub(crate) fn finish(self, result: T) {
        if let Some(place) = self.place.upgrade() {
            *place.lock() = Place::Done(result);
        }
        // Dropping `self` wakes the process.
    }

    /// Whether somebody waits for the result.
    pub(crate) fn is_awaited(&self) -> bool {
        self.place.strong_count() > 0
    }

    /// To ask later.
    pub(crate) fn asker(&self) -> Asker {
        let place: Weak<dyn Any + Send + Sync> = self.place.clone();
        Asker(place)
    }
}

impl<T> Drop for Turn<T> {
    fn drop(&mut self) {
        if let Some(place) = self.place.upgrade() {
            let mut place = place.lock();
            if matches!(*place, Place::Empty) {
                *place = Place::Lost;
            }
        }
        self.node.wake(self.pid);
    }
}

/// Knows whether a process still waits for its job.
#[derive(Clone)]
pub(crate) struct Asker(Weak<dyn Any + Send + Sync>);

impl Asker {
    /// Knows it by a place for the result that lives as long as somebody waits.
    pub(crate) fn of(place: &Arc<impl Any + Send + Sync>) -> Self {
        let place = Arc::downgrade(place);
        Self(place)
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl Call<'_, '_> {
    /// The result of this call's job, which `start` begins if there is none yet.
    pub(crate) fn job<T: Send + 'static>(
        &mut self,
        start: impl FnOnce(&mut Self, Turn<T>) -> Result<(), Fault>,
    ) -> Poll<Result<T, Fault>> {
        let Some(Job(job)) = self.state.away.job() else {
            let place: Shared<T> = Arc::new(Mutex::new(Place::Empty));
            let turn = Turn {
                place: Arc::downgrade(&place),
                node: Arc::clone(&self.state.node),
                pid: self.state.pid(),
            };
            self.state.away.set_job(Job(place));
            if let Err(fault) = start(self, turn) {
                self.state.away.clear_job();
                return Poll::Ready(Err(fault));
            }
            return Poll::Pending;
        };
        let place = Arc::clone(job)
            .downcast::<Mutex<Place<T>>>()
            .expect("a process makes one call at a time, and a call has jobs of one type");
        let result = std::mem::replace(&mut *place.lock(), Place::Empty);
        match result {
            Place::Empty => {
                self.tell_what_is_compiled();
                return Poll::Pending;
            }
            Place::Done(_) | Place::Lost => self.state.away.clear_job(),
        }
        Poll::Ready(match result {
            Place::Done(result) => Ok(result),
            _ => Err(Fault::new("the thread that did the work for this call failed")),
        })
    }
}
