//! What a process waits for inside a host call, and what host calls that are polls do about it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lunatic_engine::Form;
use lunatic_scheduler::channel::{Channel, Wait as ChannelWait, Waiting};
use lunatic_scheduler::{Pid, TimerId, Worker};

use super::ProcessState;
use crate::bind::Call;
use crate::message::Mail;
use crate::modules::Compiling;

/// What a process waits for: one host call at a time, so one of each.
#[derive(Default)]
pub(crate) struct Wait {
    pub(crate) deadline: Option<Instant>,
    timer: Option<TimerId>,
    pub(crate) channel: Option<(Channel<Mail>, Waiting)>,
    /// The mailbox has been searched from its beginning.
    pub(crate) searched: bool,
    /// The process only wants to let others run.
    pub(crate) yields: bool,
    /// It queues for room in this process's mailbox.
    pub(crate) sends_to: Option<Pid>,
    /// So many bytes of a long message have been copied.
    pub(crate) copied: usize,
    /// It has been added to those that wait for this form of a module.
    pub(crate) form_asked: Option<Form>,
    /// It has tried to use a database so often, which another connection had locked.
    pub(crate) sql_tries: u32,
    /// So many bytes of SQL have been run.
    pub(crate) sql_done: usize,
    /// What the compiler holds for it, which works for this call.
    pub(crate) compiling: Option<Arc<Compiling>>,
}

impl Wait {
    /// What the host holds for what it waits for.
    pub(super) fn bytes(&self) -> usize {
        self.compiling.as_ref().map_or(0, |compiling| compiling.bytes())
    }

    /// Forgets everything; other processes get the wake-ups that were meant for this one.
    pub(super) fn clear(&mut self, worker: &Worker<'_, ProcessState>, me: Pid) {
        if let Some(to) = self.sends_to.take() {
            worker.leave_queue(to, me);
        }
        if let Some(timer) = self.timer.take() {
            worker.cancel_timer(timer);
        }
        if let Some((channel, mut waiting)) = self.channel.take() {
            channel.unregister(worker, &mut waiting);
        }
        *self = Self::default();
    }
}

/// Waiting, for host functions that are polls.
impl Call<'_, '_> {
    /// Sets the deadline when first asked; whether it has passed. `u64::MAX` is none.
    pub(crate) fn timed_out(&mut self, timeout_ms: u64) -> bool {
        if timeout_ms == u64::MAX {
            return false;
        }
        self.deadline_passed(Duration::from_millis(timeout_ms))
    }

    /// The same for any duration.
    pub(crate) fn deadline_passed(&mut self, timeout: Duration) -> bool {
        let now = Instant::now();
        let wait = &mut self.state.wait;
        let deadline = *wait.deadline.get_or_insert_with(|| {
            /// About a century: further than any clock of ours is asked to look.
            const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
            now + timeout.min(FAR)
        });
        now >= deadline
    }

    /// Makes sure that the process is woken at the deadline, if there is one.
    #[inline]
    pub(crate) fn wake_at_deadline(&mut self) {
        let wait = &mut self.state.wait;
        if let (Some(deadline), None) = (wait.deadline, wait.timer) {
            wait.timer = Some(self.worker.set_timer(deadline));
        }
    }

    /// Forgets a deadline: what follows has one of its own.
    pub(crate) fn restart_wait(&mut self) {
        self.state.wait.clear(self.worker, self.state.me.pid());
    }

    /// The same, or at another point in time if that is earlier: the call is then asked again.
    pub(crate) fn wake_at_deadline_or(&mut self, at: Option<Instant>) {
        let Some(at) = at else { return self.wake_at_deadline() };
        let wait = &mut self.state.wait;
        if let Some(timer) = wait.timer.take() {
            self.worker.cancel_timer(timer);
        }
        let at = wait.deadline.map_or(at, |deadline| deadline.min(at));
        wait.timer = Some(self.worker.set_timer(at));
    }

    /// How a channel should count the process while it waits.
    pub(crate) fn channel_wait(&self) -> ChannelWait {
        if self.state.wait.deadline.is_some() { ChannelWait::Limited } else { ChannelWait::Forever }
    }

    /// The call is about to wait: others may run, and see what was written so far.
    pub(crate) fn begin_wait(&mut self) {
        self.state.flush_lines();
    }

    /// The call is over.
    pub(crate) fn end_wait(&mut self) {
        if self.state.wait.compiling.take().is_some() {
            self.state.tell_held();
        }
        self.state.wasi.end_wait();
        self.state.resources.end_wait();
        let wait = &mut self.state.wait;
        if wait.timer.is_some() || wait.channel.is_some() {
            wait.clear(self.worker, self.state.me.pid());
        } else {
            // Nothing to give up.
            wait.deadline = None;
            wait.searched = false;
            wait.yields = false;
            wait.form_asked = None;
            wait.sql_tries = 0;
            wait.sql_done = 0;
        }
    }
}
