//! Standard input: one reader for all processes.
//!
//! Parties: processes that want input, and at most one job on the blocking pool. Protocol: a process
//! that finds the buffer empty queues itself and, if no job runs, starts one. The job reads once, at
//! most [`READ_BYTES`], puts what it got into the buffer and wakes all who queue; the first takes it,
//! the others queue again. So nothing is read before somebody wants it, and what was read for a
//! process that dies is there for the next. The end of the input, and an error, stay.
//!
//! The job may be stuck in `read` for ever; nobody waits for it at the end of the run.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::Arc;

use lunatic_scheduler::BlockingError;
use parking_lot::Mutex;

use super::{Host, StreamType, Ticket, Waiter, Waiting, duplicate, os_error, wait_ready};

/// Most bytes that are read at once. By feel: what a pipe holds.
const READ_BYTES: usize = 64 * 1024;

/// Where standard input comes from. Clones share it.
#[derive(Clone)]
pub struct Stdin(Arc<Shared>);

struct Shared {
    /// Nothing more to read but the buffer, if there is none.
    source: Option<File>,
    stream_type: StreamType,
    state: Mutex<State>,
}

struct State {
    data: Vec<u8>,
    /// Bytes of `data` that were taken.
    taken: usize,
    end: Option<End>,
    /// A job reads, or will.
    reading: bool,
    waiting: Vec<Waiting>,
    /// Counts how often `waiting` was woken: a ticket of this number is still in there.
    round: u64,
}

#[derive(Clone, Copy)]
enum End {
    EndOfFile,
    Failed(i32),
}

/// What a process that wants input gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// So many bytes; for [`Stdin::ready`], there are so many.
    Bytes(usize),
    /// There will never be more.
    EndOfFile,
    /// Nothing yet; the process will be woken.
    Wait,
    /// The system's error number.
    Failed(i32),
}

impl Stdin {
    /// The standard input of this operating system process.
    #[must_use]
    pub fn inherit() -> Self {
        match duplicate(io::stdin().as_fd()) {
            Ok(file) => Self::file(file),
            Err(errno) => Self::new(None, Vec::new(), End::Failed(errno)),
        }
    }

    /// Nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self::bytes(Vec::new())
    }

    /// These bytes, then the end.
    #[must_use]
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(None, bytes.into(), End::EndOfFile)
    }

    /// What can be read from a file, a pipe, …
    #[must_use]
    pub fn file(file: File) -> Self {
        Self::new(Some(file), Vec::new(), End::EndOfFile)
    }

    /// `end` is what follows when there is no source.
    fn new(source: Option<File>, data: Vec<u8>, end: End) -> Self {
        let stream_type = source.as_ref().map_or(StreamType::Other, StreamType::of);
        let end = source.is_none().then_some(end);
        let state = State { data, taken: 0, end, reading: false, waiting: Vec::new(), round: 1 };
        Self(Arc::new(Shared { source, stream_type, state: Mutex::new(state) }))
    }

    pub(crate) fn stream_type(&self) -> StreamType {
        self.0.stream_type
    }

    /// Takes input: `take` gets what there is and says how much of it it took.
    pub(crate) fn try_read<H: Host + 'static>(
        &self,
        waiter: Waiter<'_, H>,
        ticket: &mut Ticket,
        take: impl FnOnce(&[u8]) -> usize,
    ) -> Input {
        self.look(waiter, ticket, |state| {
            let taken = take(&state.data[state.taken..]);
            state.taken += taken;
            taken
        })
    }

    /// Whether there is input.
    pub(crate) fn ready<H: Host + 'static>(
        &self,
        waiter: Waiter<'_, H>,
        ticket: &mut Ticket,
    ) -> Input {
        self.look(waiter, ticket, |state| state.data.len() - state.taken)
    }

    fn look<H: Host + 'static>(
        &self,
        waiter: Waiter<'_, H>,
        ticket: &mut Ticket,
        found: impl FnOnce(&mut State) -> usize,
    ) -> Input {
        let mut state = self.0.state.lock();
        if state.taken < state.data.len() {
            return Input::Bytes(found(&mut state));
        }
        match state.end {
            Some(End::EndOfFile) => return Input::EndOfFile,
            Some(End::Failed(errno)) => return Input::Failed(errno),
            None => {}
        }
        if ticket.0 != state.round {
            state.waiting.push(waiter.register());
            *ticket = Ticket(state.round);
        }
        if std::mem::replace(&mut state.reading, true) {
            return Input::Wait;
        }
        drop(state);
        let turn = Turn(Arc::clone(&self.0));
        // A job that is not taken is dropped, and with it the turn.
        match waiter.host.run_blocking(Box::new(move || turn.read())) {
            // At the end of a run the process will not come to ask again.
            Ok(()) | Err(BlockingError::ShuttingDown) => Input::Wait,
            Err(_) => Input::Failed(libc::EAGAIN),
        }
    }
}

/// The right to read. Given up, it lets all who wait look again: also if the pool drops the job.
struct Turn(Arc<Shared>);

impl Turn {
    fn read(self) {
        let Some(source) = &self.0.source else { return };
        // Taken: nobody looks at the buffer while it is empty.
        let mut data = std::mem::take(&mut self.0.state.lock().data);
        data.resize(READ_BYTES, 0);
        let result = loop {
            match (&*source).read(&mut data) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait_ready(source, libc::POLLIN);
                }
                other => break other,
            }
        };
        let (len, end) = match result {
            Ok(0) => (0, Some(End::EndOfFile)),
            Ok(len) => (len, None),
            Err(error) => (0, Some(End::Failed(os_error(&error)))),
        };
        data.truncate(len);
        let mut state = self.0.state.lock();
        (state.data, state.taken, state.end) = (data, 0, end);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.reading = false;
        state.round += 1;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.iter().for_each(Waiting::wake);
    }
}

impl fmt::Debug for Stdin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stdin").field(&self.0.stream_type).finish()
    }
}
