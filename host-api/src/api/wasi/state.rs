//! What WASI keeps about one process. Small: it lies in the slot of every one.

use std::sync::Arc;

use super::lines::Lines;
use super::table::Files;
use crate::bind::Call;
use crate::node::NodeInner;
use crate::process::ProcessState;
use crate::stdio::{Stdio, StdioSink, Ticket, Waiter};

/// The standard streams that take bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    Out,
    Err,
}

impl Output {
    pub(super) fn sink(self, stdio: &Stdio) -> &StdioSink {
        match self {
            Self::Out => &stdio.stdout,
            Self::Err => &stdio.stderr,
        }
    }
}

/// State of one process between its calls, and between the polls of one call.
#[derive(Debug, Default)]
pub(crate) struct WasiState {
    pub(super) lines: Lines,
    pub(super) tickets: Tickets,
    /// When the current `poll_oneoff` began, by the monotonic clock; 0 if there is none.
    pub(super) poll_began: u64,
    /// Bytes that the current `random_get` or `sock_recv` has done.
    pub(super) bytes_done: u32,
    /// The process's own descriptors, once it has some.
    pub(super) files: Option<Box<Files>>,
    /// An `fd_write` waits: what is held back of its line goes together with the rest or not at all.
    pub(super) in_write: bool,
}

/// Where the process queues.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    pub(super) input: Ticket,
    out: Ticket,
    err: Ticket,
}

impl Tickets {
    pub(super) fn output(&mut self, output: Output) -> &mut Ticket {
        match output {
            Output::Out => &mut self.out,
            Output::Err => &mut self.err,
        }
    }
}

impl WasiState {
    /// The current call, which has waited, is over: what it waits for otherwise is of no interest.
    pub(crate) fn end_wait(&mut self) {
        if let Some(files) = &mut self.files {
            files.waits.clear();
        }
    }

    /// Whether something is held back: cheap, for the end of every slice.
    pub(crate) fn holds_output(&self) -> bool {
        !self.lines.is_empty()
    }
}

impl ProcessState {
    /// The process waits, or reads: what it has written so far must be seen.
    #[inline]
    pub(crate) fn flush_lines(&mut self) {
        if self.wasi.holds_output() {
            self.flush_held_lines();
        }
    }

    #[cold]
    fn flush_held_lines(&mut self) {
        if !self.wasi.in_write {
            self.wasi.lines.flush(&self.config.stdio, waiter(&self.node, self.pid()));
        }
    }

    /// The process has run for a slice and may go on for long.
    pub(crate) fn flush_old_lines(&mut self) {
        if self.wasi.lines.are_old() {
            self.flush_lines();
        }
    }

    /// The process has ended: what it has written must be seen, and its files are closed, which may
    /// block.
    pub(crate) fn end_output(&mut self) {
        self.wasi.in_write = false;
        self.flush_lines();
        if let Some(files) = self.wasi.files.take()
            && files.closing_may_block()
        {
            // One that is not taken is dropped here: at the end of a run there is nobody to disturb.
            let _taken = self.node.handle().spawn_blocking(Box::new(move || drop(files)));
        }
    }
}

/// The process, for streams that it may have to wait for.
pub(super) fn waiter(node: &Arc<NodeInner>, pid: lunatic_scheduler::Pid) -> Waiter<'_, NodeInner> {
    Waiter { host: node, pid }
}

/// The parts of a call that the streams need, borrowed apart.
pub(super) fn split<'c>(
    call: &'c mut Call<'_, '_>,
) -> (&'c mut WasiState, &'c Stdio, Waiter<'c, NodeInner>) {
    let pid = call.state.pid();
    let state = &mut *call.state;
    (&mut state.wasi, &state.config.stdio, waiter(&state.node, pid))
}
