//! What is given up and takes long to drop: a channel with millions of messages, a chain of channels in
//! each other's messages, a message with thousands of things attached.
//!
//! Giving a reference to a channel up may leave messages that nobody can receive, those drop the
//! references that they carry, and so on: as long and as deep as a guest likes. One inside the other
//! they would need as much stack; so whoever gives up the first on a thread has the others put into a
//! line, and goes through that. A worker does a little of it and leaves the rest to the reaper, a thread
//! for the whole program.
//!
//! Garbage must not grow faster than it is taken away. While too much waits for the reaper, workers
//! do the whole themselves.
//!
//! Parties: each thread has a line of its own; the reaper's is filled from the queue. Protocol: put into
//! the queue, then unpark; the reaper parks only when it has seen the queue empty after it was woken.
//! A batch has a share in the node (`Held`): the messages refer to it without counting.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};

use lunatic_scheduler::channel::Channel;
use parking_lot::Mutex;

use crate::api::seed::ends::Ended;
use crate::api::seed::state::Seed;
use crate::held;
use crate::kept::Kept;
use crate::large_channels::bytes_in;
use crate::message::{Mail, Resource};
use crate::node::{Held, NodeInner};

/// What a worker does in one go: messages dropped, references given up. A process that ends may do
/// this for each of the thousand things that it gives up in a step. By feel.
const IN_ONE_GO: usize = 16;

/// Smaller collections are dropped where they are. By feel.
pub(crate) const FEW: usize = 16;

/// So much of what the host may hold may wait for the reaper.
const WAITING_SHARE: u64 = 8;
/// And so many batches, which may be of other things than messages.
const BATCHES_MAX: usize = 16_384;

/// Something that is given up.
pub(crate) enum Lost {
    /// A reference of a message that carried the channel.
    Transit(Channel<Mail>),
    /// An end of a channel of the seed era.
    End(Ended),
    /// What is left in a channel, which nobody can receive.
    Rest(Channel<Mail>),
    /// What was attached to a message.
    Resources(Vec<Option<Resource>>),
    /// What a process of the seed era had.
    Seed(Box<Seed>),
}

/// What is yet to be given up, and the node that it is in.
struct Line {
    lost: Vec<Lost>,
    node: Kept<Arc<NodeInner>>,
}

thread_local! {
    /// There while somebody on this thread is at it.
    static LINE: RefCell<Option<Line>> = const { RefCell::new(None) };
}

/// A line that a worker has left.
struct Batch {
    line: Line,
    /// What its messages take, as far as is known.
    bytes: u64,
    /// Keeps what they refer to.
    _held: Arc<Held>,
}

#[derive(Default)]
struct Queue {
    batches: VecDeque<Batch>,
    /// Of the one that is being dropped, too.
    bytes: u64,
}

static THREAD: OnceLock<Thread> = OnceLock::new();
static QUEUE: Mutex<Queue> = Mutex::new(Queue { batches: VecDeque::new(), bytes: 0 });

/// Has the reaper run.
///
/// # Errors
/// When there is no thread to be had.
pub(crate) fn start() -> io::Result<()> {
    // Under the lock: one at most.
    let _queue = QUEUE.lock();
    if THREAD.get().is_none() {
        let thread = thread::Builder::new().name("lunatic-reaper".to_string()).spawn(serve)?;
        let _first = THREAD.set(thread.thread().clone());
    }
    Ok(())
}

/// Gives something up, and whatever goes with it: here, or in a while.
#[inline(never)]
pub(crate) fn give_up(lost: Lost, node: Kept<Arc<NodeInner>>) {
    let is_nested = LINE.with_borrow_mut(|line| {
        let is_nested = line.is_some();
        line.get_or_insert_with(|| Line { lost: Vec::new(), node }).lost.push(lost);
        is_nested
    });
    if !is_nested {
        work(IN_ONE_GO);
        if let Some(line) = LINE.take().filter(|line| !line.lost.is_empty()) {
            leave(line);
        }
    }
}

/// The same for what is large even before something goes with it.
pub(crate) fn give_up_elsewhere(lost: Lost, node: Kept<Arc<NodeInner>>) {
    leave(Line { lost: vec![lost], node });
}

/// Goes through this thread's line, so many steps.
fn work(steps: usize) {
    let next = || {
        LINE.with_borrow_mut(|line| {
            let line = line.as_mut()?;
            Some((line.lost.pop()?, line.node))
        })
    };
    for _ in 0..steps {
        let Some((lost, node)) = next() else { return };
        lost.step(&node);
    }
}

/// Puts something into this thread's line.
fn put(lost: Lost) {
    LINE.with_borrow_mut(|line| line.as_mut().expect("somebody is at it").lost.push(lost));
}

impl Lost {
    /// Drops a part. The rest goes into the line before it, so that what it carries comes next: the
    /// line is never longer than what is dropped is deep, and its collections long.
    fn step(self, node: &NodeInner) {
        match self {
            Self::Transit(channel) => {
                if channel.remove_transit(node.handle()) {
                    put(Self::Rest(channel));
                }
            }
            Self::End(end) => {
                if let Some(channel) = end.give_up(node.handle()) {
                    put(Self::Rest(channel));
                }
            }
            Self::Rest(channel) => {
                let Ok(mail) = channel.try_receive(node.handle()) else { return };
                if !channel.is_empty() {
                    put(Self::Rest(channel));
                }
                drop(mail);
            }
            Self::Resources(mut resources) => {
                let last = resources.pop();
                if !resources.is_empty() {
                    put(Self::Resources(resources));
                }
                drop(last);
            }
            Self::Seed(seed) => drop(seed),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Rest(channel) => bytes_in(channel),
            _ => 0,
        }
    }
}

/// Leaves a line to the reaper, unless too much waits for it.
#[cold]
fn leave(line: Line) {
    let bytes = line.lost.iter().map(Lost::bytes).sum();
    // The node is there while a worker runs; without it nobody else could drop this.
    let line = match line.node.held() {
        Some(held) => match admit(Batch { line, bytes, _held: held }) {
            Ok(()) => return,
            Err(batch) => batch.line,
        },
        None => line,
    };
    LINE.set(Some(line));
    work(usize::MAX);
    LINE.set(None);
}

fn admit(batch: Batch) -> Result<(), Batch> {
    let mut queue = QUEUE.lock();
    let bytes_max = held::max() / WAITING_SHARE;
    let bytes = queue.bytes.saturating_add(batch.bytes);
    // One that is alone waits for nobody else's.
    let is_too_much = queue.bytes > 0 && bytes > bytes_max || queue.batches.len() >= BATCHES_MAX;
    let Some(thread) = THREAD.get().filter(|_| !is_too_much) else { return Err(batch) };
    queue.bytes = bytes;
    queue.batches.push_back(batch);
    drop(queue);
    thread.unpark();
    Ok(())
}

fn serve() {
    loop {
        let next = QUEUE.lock().batches.pop_front();
        match next {
            Some(Batch { line, bytes, _held }) => {
                LINE.set(Some(line));
                if catch_unwind(AssertUnwindSafe(|| work(usize::MAX))).is_err() {
                    tracing::error!("the drop of what guests have given up panicked");
                }
                LINE.set(None);
                QUEUE.lock().bytes -= bytes;
                held::settle();
            }
            None => thread::park(),
        }
    }
}

#[cfg(test)]
#[path = "reaper_tests.rs"]
pub(crate) mod tests;
