//! Processes: a slot of memory with a header and a guarded stack, a fiber, a mailbox; run by a few
//! worker threads.
//!
//! This crate knows no WebAssembly, no host function and no file. What a process *is* the user says
//! with [`Program`]; what it can do here is run, wait, be woken, send, receive, end. Read in this
//! order: `pid`, `state`, `slot`, `process`, `worker`, `park` (with its README), `runtime`, `handle`; then
//! `mailbox`, `channel`, `timer`, `blocking` as needed.
//!
//! Limits, all with names: [`Builder`]'s settings, [`MAX_EXTRA`], and the constants at the head of
//! each file.

// Under loom only the parts that `tests/loom.rs` includes by path are compiled, there.
#![cfg(not(loom))]

mod sync;

mod mailbox;
mod pid;
mod state;

mod alarm;
mod arena;
mod barrier;
mod beat;
mod current;
mod envelopes;
mod held;
mod pool;
mod prefetch;
mod process;
mod queues;
mod quota;
mod slot;
mod surplus;
mod thread_attributes;
mod tick;

mod builder;
mod closing;
mod driver;
mod handle;
mod park;
mod runtime;
mod timer;
mod worker;

mod blocking;
pub mod channel;
mod counters;

pub use arena::{ArenaError, Guard};
pub use blocking::{BlockingError, Job};
pub use builder::{Builder, StartError};
pub use corosensei::trap::TrapHandlerRegs;
pub use counters::{Counters, OWN_COUNTERS};
pub use current::{FiberBounds, Turn, current_fiber, current_turn, note_interruption};
pub use driver::Driver;
pub use handle::Handle;
pub use held::Holder;
pub use mailbox::{Envelope, Found};
pub use pid::Pid;
pub use pool::SpawnError;
pub use process::Process;
pub use quota::{MailboxLimit, Room};
pub use runtime::Runtime;
pub use slot::{Bounds, MAX_EXTRA};
pub use thread_attributes::be_prompt;
pub use tick::Preemption;
pub use timer::TimerId;
pub use worker::Worker;

/// What processes run.
///
/// # Safety
/// A body may be abandoned and may change threads at any suspension ([`Process::park`],
/// [`Process::yield_now`], [`Process::exit`], and any instruction a signal handler redirects). The
/// implementor promises that `run`, whenever it suspends:
/// - has nothing on its stack whose destructor must run for soundness (a scope guard, a pin, a
///   lock);
/// - has nothing on its stack that is tied to a thread (`!Send` values, references to
///   thread-locals).
pub unsafe trait Program: Sized + Send + 'static {
    /// What its mailbox holds. A destructor of a message runs wherever the mailbox is closed: on a
    /// worker.
    type Message: Send + 'static;

    /// The body, on the fiber's own small stack. Abandoned at a suspension, its locals are never
    /// dropped.
    fn run(process: Process<Self>);

    /// Bytes that a message takes beside its envelope. Asked when it is sent, and it stays so until it
    /// is received.
    fn message_bytes(_message: &Self::Message) -> usize {
        0
    }

    /// What becomes of a delayed message that finds no room in a mailbox with this mark.
    fn when_full(_mark: u8) -> WhenFull {
        WhenFull::Wait
    }

    /// Called once for each process after its body has ended in any way and before its slot is
    /// reused, on a worker's own stack; then the program is dropped. At shutdown the last worker
    /// calls it. A panic in here is logged and contained. `watched`: somebody has called
    /// [`Worker::watch`] in time, or the process was made so.
    fn ended(&mut self, worker: &Worker<'_, Self>, how: End, watched: bool) -> Settled;

    /// Goes on with an end that has [more](Settled::More) to do, after other processes have had
    /// their turn; as [`ended`](Self::ended) in all else. May be called when it has not: then the
    /// scheduler had.
    fn settle(&mut self, _worker: &Worker<'_, Self>) -> Settled {
        Settled::Done
    }
}

/// What becomes of a delayed message that finds no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// It tries again later.
    Wait,
    /// It is dropped.
    Drop,
    /// It is dropped, and the receiver is killed.
    Kill,
}

/// Whether an end is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Settled {
    /// Yes: the program is dropped.
    Done,
    /// There is so much to do that others should have a turn in between.
    More,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The body returned.
    Returned,
    /// The body called [`Process::exit`].
    Exited,
    /// A signal handler led the body away ([`FiberBounds::redirect`]).
    Trapped,
    /// Somebody killed it.
    Killed,
    /// The runtime shut down.
    Shutdown,
    /// The body panicked, with these words.
    Panicked(String),
}
