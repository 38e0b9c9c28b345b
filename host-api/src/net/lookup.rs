//! Names to addresses. The system's resolver blocks, for as long as servers do not answer, so it runs
//! on the blocking pool, and only so often at once that others find threads there.
//!
//! Parties: a process that asks; the queue of look-ups ([`Queue`]), whose jobs are on the pool. Protocol:
//!
//! 1. The process puts a question with a place for its answer into the queue, and parks.
//! 2. A job leaves the answer in the place and wakes the process. A question whose process has gone
//!    away (or whose time was up) is not asked.
//! 3. The process, asked again, finds the answer, or parks again.
//!
//! A resolver that has been asked cannot be stopped. So one process, and those that it has spawned, have
//! some of the places at most: else it could take all of them with questions that nobody answers, each
//! given up at once.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Weak};

use lunatic_scheduler::Pid;
use parking_lot::Mutex;

use crate::jobs::Asker;
use crate::node::NodeInner;
use crate::queue::{Owner, Queue, Task};
use crate::stdio::Host;

/// Look-ups that run at the same time. A quarter of the pool's threads.
const AT_ONCE: usize = 16;
/// Those of one process, with what it has given up. By feel.
const SHARE: usize = 4;

/// For all look-ups of a node.
pub(crate) fn lookup_queue() -> Queue {
    Queue::new(AT_ONCE, SHARE)
}

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
    /// Has `HOST:PORT` looked up for a process, which is woken when there is an answer.
    pub(crate) fn begin(node: &Arc<NodeInner>, owner: Owner, name: String) -> io::Result<Self> {
        let place = Arc::new(Place::default());
        let turn =
            Turn { place: Arc::downgrade(&place), node: Arc::clone(node), pid: owner.process };
        let work = Box::new(move || turn.finish(look_up(&name)));
        let task = Task { owner: Some(owner), asker: Some(Asker::of(&place)), work };
        Queue::put(node, |node| &node.lookups, task).map_err(io::Error::other)?;
        Ok(Self(place))
    }

    /// The answer, if it is there.
    pub(crate) fn take(&self) -> Option<Answer> {
        self.0.lock().take()
    }
}

/// The duty to leave an answer and to wake the process.
struct Turn {
    place: Weak<Place>,
    node: Arc<NodeInner>,
    pid: Pid,
}

impl Turn {
    fn finish(self, answer: Answer) {
        if let Some(place) = self.place.upgrade() {
            *place.lock() = Some(answer);
        }
        // Dropping `self` wakes the process.
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(place) = self.place.upgrade() else { return };
        let lost = || Err(io::Error::other("the thread that looked the name up failed"));
        place.lock().get_or_insert_with(lost);
        self.node.wake(self.pid);
    }
}

fn look_up(name: &str) -> Answer {
    let addresses: Vec<SocketAddr> = name.to_socket_addrs()?.collect();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(addresses)
}
