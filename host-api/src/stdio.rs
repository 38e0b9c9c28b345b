//! The standard streams, which all processes of a run share.
//!
//! [`StdioSink`] (`stdio/output.rs`) is where output goes, [`Stdin`] (`stdio/input.rs`) where input
//! comes from. Both are asked like polls: they never block a worker, and one who has to wait is
//! remembered and woken. What a single process holds back of a line is its own affair
//! (`api/wasi/lines.rs`).

mod input;
mod output;

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use lunatic_scheduler::{BlockingError, Job, Pid};

pub(crate) use input::Input;
pub use input::Stdin;
pub(crate) use output::Wrote;
pub use output::{Captured, StdioSink};

/// Where standard input, output and error lead. Clones share the streams.
#[derive(Debug, Clone)]
pub struct Stdio {
    /// Standard input.
    pub stdin: Stdin,
    /// Standard output.
    pub stdout: StdioSink,
    /// Standard error.
    pub stderr: StdioSink,
}

impl Default for Stdio {
    fn default() -> Self {
        Self::inherit()
    }
}

impl Stdio {
    /// The streams of this operating system process.
    #[must_use]
    pub fn inherit() -> Self {
        Self {
            stdin: Stdin::inherit(),
            stdout: StdioSink::inherit_stdout(),
            stderr: StdioSink::inherit_stderr(),
        }
    }

    /// Waits until all output has gone where it should go. Not on a worker.
    pub fn flush(&self) {
        self.stdout.flush(None);
        self.stderr.flush(None);
    }

    /// The same, but gives up on a reader who takes nothing for so long. Not on a worker.
    pub fn flush_for(&self, limit: Duration) {
        self.stdout.flush(Some(limit));
        self.stderr.flush(Some(limit));
    }

    /// Whether the reader of standard output has gone away, which ends the run: there is nobody
    /// left to tell, and that is no error (`lunatic app.wasm | head -1`).
    #[must_use]
    pub fn broken_pipe(&self) -> bool {
        self.stdout.broken_pipe()
    }

    /// The stream whose output did not get to where it leads, and why, if nobody was told: who wrote it
    /// had written all it wanted, and took it for written.
    #[must_use]
    pub fn lost_output(&self) -> Option<(&'static str, io::Error)> {
        [("standard output", &self.stdout), ("standard error", &self.stderr)]
            .into_iter()
            .find_map(|(name, sink)| Some((name, sink.untold_failure()?)))
    }
}

/// What the streams need of the runtime. A trait, so that their tests need none.
pub(crate) trait Host: Send + Sync {
    /// Makes a process ask again.
    fn wake(&self, pid: Pid);
    /// Runs a job where it may block.
    fn run_blocking(&self, job: Job) -> Result<(), BlockingError>;
    /// Ends the run.
    fn shut_down(&self);
}

/// A process that would wait. Borrows, as hardly any does.
pub(crate) struct Waiter<'a, H> {
    pub(crate) host: &'a Arc<H>,
    pub(crate) pid: Pid,
}

impl<H> Clone for Waiter<'_, H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H> Copy for Waiter<'_, H> {}

impl<H: Host + 'static> Waiter<'_, H> {
    fn register(self) -> Waiting {
        Waiting { host: self.host(), pid: self.pid }
    }

    fn host(self) -> Arc<dyn Host> {
        Arc::clone(self.host) as Arc<dyn Host>
    }
}

/// A process that waits.
struct Waiting {
    host: Arc<dyn Host>,
    pid: Pid,
}

impl Waiting {
    fn wake(&self) {
        self.host.wake(self.pid);
    }
}

/// A process's place among those that wait for one stream; kept between its polls, so that one
/// woken for another reason does not queue twice. Zero is "none".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// What a stream is connected to, as far as guests may know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamType {
    Terminal,
    RegularFile,
    Socket,
    /// Pipes, memory, devices that are no terminals.
    Other,
}

impl StreamType {
    fn of(file: &File) -> Self {
        use std::io::IsTerminal;
        use std::os::unix::fs::FileTypeExt;
        if file.is_terminal() {
            return Self::Terminal;
        }
        match file.metadata().map(|metadata| metadata.file_type()) {
            Ok(kind) if kind.is_file() => Self::RegularFile,
            Ok(kind) if kind.is_socket() => Self::Socket,
            Ok(_) | Err(_) => Self::Other,
        }
    }
}

/// A file of our own for a stream of the process; the error number if there is none.
fn duplicate(fd: BorrowedFd<'_>) -> Result<File, i32> {
    match fd.try_clone_to_owned() {
        Ok(fd) => Ok(File::from(fd)),
        Err(error) => Err(os_error(&error)),
    }
}

/// The system's number of an error; `EIO` if it has none.
fn os_error(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// Blocks until the file is ready: for descriptors that somebody else has made non-blocking.
fn wait_ready(file: &File, events: libc::c_short) {
    use std::os::fd::AsRawFd;
    let mut wanted = libc::pollfd { fd: file.as_raw_fd(), events, revents: 0 };
    // SAFETY: one record, which lives for the call. The result does not matter: who calls tries
    // again, and finds out.
    unsafe { libc::poll(&raw mut wanted, 1, -1) };
}
