//! Where output goes: one for all processes, whose writes do not tear each other.
//!
//! Parties: processes that write, and a thread that writes what could not be written at once.
//! [`StdioSink::try_write`] takes all of the bytes or none. Under one lock:
//!
//! 1. If nothing is buffered it writes directly: to a regular file always, elsewhere only what the
//!    kernel takes without waiting (`RWF_NOWAIT`: pipes, sockets; terminals do not know it).
//! 2. What is left goes to the buffer, and a thread, started when first needed, drains that.
//! 3. If the buffer is full the process queues and waits. Whoever comes later queues behind it. As
//!    the buffer empties, the thread calls so many from the queue as should fit.
//!
//! One who was called may have died or have changed its mind; so while the queue is not empty the
//! thread calls the next every [`RECALL`], whether or not those before have come. No process has to
//! hand on what it does not use.
//!
//! Broken pipe: what is buffered is dropped. Standard output then ends the run, quietly; standard
//! error swallows what it gets, as there is nobody left to tell. Any other error of the thread is
//! told to the next one who writes.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{Host, StreamType, Ticket, Waiter, Waiting, duplicate, os_error, wait_ready};

/// Bytes that wait for the reader before writers have to. By feel: a thousand lines, and little
/// beside the memory of the processes that wrote them.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// How long the thread gives those it has called. By feel: long for a process to be scheduled.
const RECALL: Duration = Duration::from_millis(1);

/// How long the thread stays without work. By feel: it is cheap to start again.
const KEEP: Duration = Duration::from_secs(1);

/// Where output goes. Clones share it.
#[derive(Clone)]
pub struct StdioSink(Arc<Shared>);

/// What was written to a sink made by [`StdioSink::capture`].
#[derive(Debug, Clone, Default)]
pub struct Captured(Arc<Mutex<Tail>>);

/// The end of what was written.
#[derive(Debug, Default)]
struct Tail {
    bytes: Vec<u8>,
    /// Bytes before these that were written, and dropped.
    dropped: usize,
}

impl Captured {
    /// Bytes that are kept for sure: the last ones, as an end tells most. Up to twice as many are.
    pub const KEPT_BYTES: usize = 4 << 20;

    /// The bytes so far; of more than [`Self::KEPT_BYTES`] only the end.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().bytes.clone()
    }

    /// The same as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().bytes).into_owned()
    }

    /// How many bytes came before these.
    #[must_use]
    pub fn dropped(&self) -> usize {
        self.0.lock().dropped
    }

    fn append(&self, parts: [&[u8]; 2]) {
        let Tail { bytes, dropped } = &mut *self.0.lock();
        for part in parts {
            bytes.extend_from_slice(part);
        }
        if bytes.len() > 2 * Self::KEPT_BYTES {
            let surplus = bytes.len() - Self::KEPT_BYTES;
            bytes.drain(..surplus);
            *dropped += surplus;
        }
    }
}

struct Shared {
    target: Target,
    stream_type: StreamType,
    /// Whether the run has no purpose without a reader.
    ends_run: bool,
    state: Mutex<State>,
    /// For the thread: there is something to write.
    work: Condvar,
    /// For [`StdioSink::flush`]: nothing is buffered any more.
    drained: Condvar,
}

enum Target {
    File(File),
    Memory(Captured),
    /// Every write fails with this error number.
    Unusable(i32),
}

#[derive(Default)]
struct State {
    /// Bytes for the thread.
    buffer: Vec<u8>,
    /// Bytes that the thread has taken and not yet written.
    in_flight: usize,
    has_thread: bool,
    /// The kernel has said that it cannot write here without waiting.
    always_waits: bool,
    queue: VecDeque<Queued>,
    /// The last ticket that was given out.
    last_ticket: u64,
    /// The last ticket that was called.
    last_called: u64,
    /// An error of the thread that nobody was told yet.
    failed: Option<i32>,
    broken: bool,
    /// Whom to tell of a broken pipe while something is buffered.
    host: Option<Arc<dyn Host>>,
}

struct Queued {
    waiting: Waiting,
    ticket: u64,
    bytes: usize,
}

/// What became of a write.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Wrote {
    /// Everything is written or buffered.
    All,
    /// Nothing; the process will be woken.
    Full,
    /// Nothing: nobody reads, and the run was told to end. The process should wait for that.
    BrokenPipe,
    /// Nothing, for the system's error of this number.
    Failed(i32),
}

impl StdioSink {
    /// The standard output of this operating system process.
    #[must_use]
    pub fn inherit_stdout() -> Self {
        Self::from_result(duplicate(io::stdout().as_fd()), true)
    }

    /// The standard error of this operating system process.
    #[must_use]
    pub fn inherit_stderr() -> Self {
        Self::from_result(duplicate(io::stderr().as_fd()), false)
    }

    /// A file, a pipe, …; a broken pipe ends the run if this is given as standard output.
    #[must_use]
    pub fn file(file: impl Into<OwnedFd>) -> Self {
        Self::from_result(Ok(File::from(file.into())), true)
    }

    /// The same for standard error: if its reader goes away, what is written is lost, and no more.
    #[must_use]
    pub fn error_file(file: impl Into<OwnedFd>) -> Self {
        Self::from_result(Ok(File::from(file.into())), false)
    }

    /// Memory, for tests.
    #[must_use]
    pub fn capture() -> (Self, Captured) {
        let captured = Captured::default();
        (Self::new(Target::Memory(captured.clone()), false), captured)
    }

    fn from_result(file: Result<File, i32>, ends_run: bool) -> Self {
        match file {
            Ok(file) => Self::new(Target::File(file), ends_run),
            Err(errno) => Self::new(Target::Unusable(errno), ends_run),
        }
    }

    fn new(target: Target, ends_run: bool) -> Self {
        let stream_type = match &target {
            Target::File(file) => StreamType::of(file),
            Target::Memory(_) | Target::Unusable(_) => StreamType::Other,
        };
        Self(Arc::new(Shared {
            target,
            stream_type,
            ends_run,
            state: Mutex::default(),
            work: Condvar::new(),
            drained: Condvar::new(),
        }))
    }

    pub(crate) fn stream_type(&self) -> StreamType {
        self.0.stream_type
    }

    /// Whether its reader has gone away.
    pub(super) fn broken_pipe(&self) -> bool {
        self.0.state.lock().broken
    }

    /// The error that the next one who writes will be told.
    pub(super) fn untold_failure(&self) -> Option<io::Error> {
        self.0.state.lock().failed.map(io::Error::from_raw_os_error)
    }

    /// Writes both parts, one after the other, with nothing of others in between. They are taken
    /// together or not at all.
    pub(crate) fn try_write<H: Host + 'static>(
        &self,
        parts: [&[u8]; 2],
        waiter: Waiter<'_, H>,
        ticket: &mut Ticket,
    ) -> Wrote {
        let bytes = parts[0].len() + parts[1].len();
        let mut state = self.0.state.lock();
        if let Some(errno) = state.failed.take() {
            return Wrote::Failed(errno);
        }
        if state.must_wait(bytes, *ticket) {
            state.enqueue(bytes, waiter, ticket);
            return Wrote::Full;
        }
        *ticket = Ticket::default();
        self.0.put(&mut state, parts, waiter)
    }

    /// Writes whether or not there is room: for who cannot wait, and writes little.
    pub(crate) fn write_now<H: Host + 'static>(&self, bytes: &[u8], waiter: Waiter<'_, H>) {
        let mut state = self.0.state.lock();
        if let Wrote::Failed(errno) = self.0.put(&mut state, [bytes, &[]], waiter) {
            // Whoever writes next will be told.
            state.failed = Some(errno);
        }
    }

    /// Room for a write; none means that the process will be woken when there is some.
    pub(crate) fn ready<H: Host + 'static>(
        &self,
        waiter: Waiter<'_, H>,
        ticket: &mut Ticket,
    ) -> Option<usize> {
        let mut state = self.0.state.lock();
        if state.broken || state.failed.is_some() || !state.must_wait(1, *ticket) {
            return Some(BUFFER_BYTES_MAX.saturating_sub(state.buffered()).max(1));
        }
        state.enqueue(1, waiter, ticket);
        None
    }

    /// Waits until nothing is buffered, or for so long.
    pub(super) fn flush(&self, limit: Option<Duration>) {
        let until = limit.map(|limit| Instant::now() + limit);
        let mut state = self.0.state.lock();
        while state.buffered() > 0 {
            match until {
                None => self.0.drained.wait(&mut state),
                Some(until) => {
                    if self.0.drained.wait_until(&mut state, until).timed_out() {
                        return;
                    }
                }
            }
        }
    }
}

impl State {
    fn buffered(&self) -> usize {
        self.buffer.len() + self.in_flight
    }

    fn must_wait(&self, bytes: usize, ticket: Ticket) -> bool {
        let called = ticket.0 != 0 && ticket.0 <= self.last_called;
        let others_first = !called && !self.queue.is_empty();
        // More than the buffer holds at once is let in when it is empty.
        let no_room = self.buffered() > 0 && self.buffered() + bytes > BUFFER_BYTES_MAX;
        !self.broken && (others_first || no_room)
    }

    fn enqueue<H: Host + 'static>(
        &mut self,
        bytes: usize,
        waiter: Waiter<'_, H>,
        ticket: &mut Ticket,
    ) {
        if ticket.0 > self.last_called {
            return; // still in the queue
        }
        self.last_ticket += 1;
        *ticket = Ticket(self.last_ticket);
        self.queue.push_back(Queued {
            waiting: waiter.register(),
            ticket: self.last_ticket,
            bytes,
        });
    }

    /// Those of the queue whose writes should fit, once half of the buffer is free: calling for
    /// every byte that leaves would call the same ones again and again.
    fn call(&mut self) -> Vec<Waiting> {
        let mut called = Vec::new();
        if self.buffered() > BUFFER_BYTES_MAX / 2 {
            return called;
        }
        let mut room = BUFFER_BYTES_MAX - self.buffered();
        while room > 0 {
            let Some(next) = self.queue.pop_front() else { break };
            room = room.saturating_sub(next.bytes);
            self.last_called = next.ticket;
            called.push(next.waiting);
        }
        called
    }

    fn drop_output(&mut self) -> VecDeque<Queued> {
        self.buffer = Vec::new();
        self.in_flight = 0;
        self.last_called = self.last_ticket;
        std::mem::take(&mut self.queue)
    }
}

impl Shared {
    /// Writes what can be at once, buffers the rest.
    fn put<H: Host + 'static>(
        self: &Arc<Self>,
        state: &mut State,
        parts: [&[u8]; 2],
        waiter: Waiter<'_, H>,
    ) -> Wrote {
        if state.broken {
            return self.broken_outcome(waiter);
        }
        let file = match &self.target {
            Target::File(file) => file,
            Target::Memory(captured) => {
                captured.append(parts);
                return Wrote::All;
            }
            Target::Unusable(errno) => return Wrote::Failed(*errno),
        };
        let result = if state.buffered() > 0 {
            Ok(0)
        } else if self.stream_type == StreamType::RegularFile {
            write_all(file, parts).map(|()| parts[0].len() + parts[1].len())
        } else {
            write_without_waiting(file, parts, &mut state.always_waits)
        };
        match result {
            Ok(written) => {
                let [first, second] = skip(parts, written);
                if first.len() + second.len() > 0 {
                    state.buffer.extend_from_slice(first);
                    state.buffer.extend_from_slice(second);
                    state.host = Some(waiter.host());
                    self.start_or_notify(state);
                }
                Wrote::All
            }
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                state.broken = true;
                self.broken_outcome(waiter)
            }
            Err(error) => Wrote::Failed(os_error(&error)),
        }
    }

    fn broken_outcome<H: Host>(&self, waiter: Waiter<'_, H>) -> Wrote {
        if !self.ends_run {
            return Wrote::All;
        }
        waiter.host.shut_down();
        Wrote::BrokenPipe
    }

    fn start_or_notify(self: &Arc<Self>, state: &mut State) {
        if state.has_thread {
            self.work.notify_one();
            return;
        }
        let shared = Arc::clone(self);
        let thread = thread::Builder::new().name("lunatic-output".to_string());
        match thread.spawn(move || shared.drain()) {
            Ok(_) => state.has_thread = true,
            Err(error) => {
                // Nobody else will do it: this worker waits for the reader, better than losing
                // output in a system that is out of threads.
                tracing::warn!(%error, "no thread for output; writing it on a worker");
                let bytes = std::mem::take(&mut state.buffer);
                if let Target::File(file) = &self.target
                    && let Err(error) = write_all(file, [&bytes, &[]])
                {
                    state.failed = Some(os_error(&error));
                }
            }
        }
    }

    /// The thread.
    fn drain(&self) {
        let Target::File(file) = &self.target else { return };
        let mut bytes = Vec::new();
        let mut state = self.state.lock();
        loop {
            if state.buffer.is_empty() {
                state.host = None;
                self.drained.notify_all();
                if !self.wait_for_work(&mut state) {
                    return;
                }
                continue;
            }
            bytes.clear();
            std::mem::swap(&mut bytes, &mut state.buffer);
            state.in_flight = bytes.len();
            self.write_out(file, &bytes, &mut state);
        }
    }

    /// Whether there may be some; if not, the thread has signed off.
    fn wait_for_work(&self, state: &mut MutexGuard<'_, State>) -> bool {
        let called = state.call();
        let limit = if called.is_empty() { KEEP } else { RECALL };
        MutexGuard::unlocked(state, || called.iter().for_each(Waiting::wake));
        if !state.buffer.is_empty() {
            return true;
        }
        let timed_out = self.work.wait_for(state, limit).timed_out();
        if timed_out && limit == KEEP && state.buffer.is_empty() && state.queue.is_empty() {
            state.has_thread = false;
            return false;
        }
        true
    }

    /// Writes what the thread has taken; the lock is free meanwhile.
    fn write_out(&self, file: &File, mut bytes: &[u8], state: &mut MutexGuard<'_, State>) {
        while !bytes.is_empty() {
            let result = MutexGuard::unlocked(state, || write_some(file, [bytes, &[]]));
            match result {
                Ok(written) => {
                    bytes = &bytes[written..];
                    state.in_flight = bytes.len();
                    let called = state.call();
                    if !called.is_empty() {
                        MutexGuard::unlocked(state, || called.iter().for_each(Waiting::wake));
                    }
                }
                Err(error) => {
                    self.give_up(&error, state);
                    return;
                }
            }
        }
    }

    #[cold]
    fn give_up(&self, error: &io::Error, state: &mut MutexGuard<'_, State>) {
        let host = state.host.take();
        let broken = error.kind() == io::ErrorKind::BrokenPipe;
        if broken {
            state.broken = true;
        } else {
            state.failed = Some(os_error(error));
        }
        let queue = state.drop_output();
        MutexGuard::unlocked(state, || {
            if let Some(host) = host
                && broken
                && self.ends_run
            {
                host.shut_down();
            }
            queue.iter().for_each(|queued| queued.waiting.wake());
        });
    }
}

/// What is left of the parts after so many bytes.
fn skip(parts: [&[u8]; 2], bytes: usize) -> [&[u8]; 2] {
    let [first, second] = parts;
    match bytes.checked_sub(first.len()) {
        None => [&first[bytes..], second],
        Some(bytes) => [&[], &second[bytes..]],
    }
}

/// Writes everything, waiting as long as it takes.
fn write_all(file: &File, mut parts: [&[u8]; 2]) -> io::Result<()> {
    while parts[0].len() + parts[1].len() > 0 {
        parts = skip(parts, write_some(file, parts)?);
    }
    Ok(())
}

/// Writes something, waiting as long as it takes.
fn write_some(mut file: &File, parts: [&[u8]; 2]) -> io::Result<usize> {
    loop {
        match file.write_vectored(&parts.map(IoSlice::new)) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait_ready(file, libc::POLLOUT);
            }
            other => return other,
        }
    }
}

/// Writes what the kernel takes at once, maybe nothing.
#[cfg(target_os = "linux")]
fn write_without_waiting(
    file: &File,
    parts: [&[u8]; 2],
    always_waits: &mut bool,
) -> io::Result<usize> {
    use std::os::fd::AsRawFd;
    /// "Where the file stands", for `pwritev2`.
    const HERE: libc::off_t = -1;
    if *always_waits {
        return Ok(0);
    }
    let slices = parts.map(IoSlice::new);
    // SAFETY: `IoSlice` is an `iovec`; both lie here, and what they point to is borrowed, for the
    // whole call, which only reads it.
    let written = unsafe {
        libc::pwritev2(file.as_raw_fd(), slices.as_ptr().cast(), 2, HERE, libc::RWF_NOWAIT)
    };
    if let Ok(written) = usize::try_from(written) {
        return Ok(written);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EINTR) => Ok(0),
        // The kernel is too old, or this kind of file cannot.
        Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL | libc::ESPIPE) => {
            *always_waits = true;
            Ok(0)
        }
        _ => Err(error),
    }
}

/// Elsewhere the thread does it all.
#[cfg(not(target_os = "linux"))]
fn write_without_waiting(
    _file: &File,
    _parts: [&[u8]; 2],
    _always_waits: &mut bool,
) -> io::Result<usize> {
    Ok(0)
}

impl fmt::Debug for StdioSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StdioSink").field(&self.0.stream_type).finish()
    }
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
