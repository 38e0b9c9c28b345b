//! The runtime as any thread may hold it.

use crate::{
    Program,
    blocking::{BlockingError, Job},
    channel::Wake,
    counters::Counters,
    mailbox::Envelope,
    pid::Pid,
    pool::SpawnError,
    process::Process,
    runtime::Shared,
    slot::{Bounds, LargeStack},
    state::Signal,
    sync::Arc,
    timer::{Inserted, TimerId},
};
use std::{ptr::NonNull, time::Instant};

/// The runtime as any thread may hold it. Clones are the same runtime.
pub struct Handle<P: Program>(Arc<Shared<P>>);

impl<P: Program> Clone for Handle<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P: Program> Handle<P> {
    pub(crate) fn new(shared: Arc<Shared<P>>) -> Self {
        Self(shared)
    }

    pub(crate) fn shared(&self) -> &Shared<P> {
        &self.0
    }

    /// Like [`Worker::spawn`](crate::Worker::spawn), from any thread; slower. With `stack_bytes` the
    /// process gets a stack of its own that is so large, which costs two memory mappings.
    pub fn spawn(
        &self,
        extra: usize,
        stack_bytes: Option<usize>,
        init: impl FnOnce(Pid, Process<P>, NonNull<u8>) -> P,
    ) -> Result<Pid, SpawnError> {
        self.spawn_bounded(extra, Bounds { stack_bytes, ..Bounds::default() }, init)
    }

    /// The same with bounds: a stack that is asked for is one of its own, however small.
    pub fn spawn_bounded(
        &self,
        extra: usize,
        bounds: Bounds,
        init: impl FnOnce(Pid, Process<P>, NonNull<u8>) -> P,
    ) -> Result<Pid, SpawnError> {
        /// Gives the slot back if `init` panics.
        struct Return<'a, P: Program>(&'a Shared<P>, u32);
        impl<P: Program> Drop for Return<'_, P> {
            fn drop(&mut self) {
                self.0.slots.give_shared(self.1);
            }
        }
        let shared = self.shared();
        shared.check_extra(extra)?;
        let open = shared.gate.read_recursive();
        if !*open {
            return Err(SpawnError::ShuttingDown);
        }
        let large = bounds.stack_bytes.map(|bytes| bytes.max(Bounds::STACK_BYTES_MIN));
        let large = large.map(LargeStack::new).transpose().map_err(SpawnError::Stack)?;
        let slot = shared.slots.take_shared()?;
        let on_panic = Return(shared, slot.index());
        let pid = slot.build(extra, large, bounds, init);
        std::mem::forget(on_panic);
        shared.others().spawned.add_shared(1);
        shared.inject(slot);
        Ok(pid)
    }

    /// Like [`Worker::send`](crate::Worker::send), from any thread.
    pub fn send(
        &self,
        to: Pid,
        message: impl Into<Envelope<P::Message>>,
    ) -> Result<(), Envelope<P::Message>> {
        let shared = self.shared();
        let posted = shared.post(to, message.into(), || None, u64::from);
        if let Some(slot) = posted.inspect_err(|_| shared.others().refused.add_shared(1))? {
            shared.inject(slot);
        }
        shared.others().sent.add_shared(1);
        Ok(())
    }

    /// Makes a process look around once more; whether there is such a process.
    pub fn wake(&self, pid: Pid) -> bool {
        let Some(slot) = self.shared().slots.lookup(pid) else { return false };
        self.shared().deliver(slot, slot.header().state.wake(pid.generation()))
    }

    /// Ends a process at its next scheduling point; whether there is such a process.
    pub fn kill(&self, pid: Pid) -> bool {
        let Some(slot) = self.shared().slots.lookup(pid) else { return false };
        let signal = slot.header().state.kill(pid.generation());
        if signal == Signal::Noted {
            self.shared().chase(slot);
        }
        self.shared().deliver(slot, signal)
    }

    /// Has the program of a process told at its end that somebody asked for it; whether there is
    /// such a process. If there is, its [`ended`](Program::ended) sees all that the caller did
    /// before.
    pub fn watch(&self, pid: Pid) -> bool {
        self.shared().watch(pid)
    }

    /// Whether the process lives. It may die the next moment.
    pub fn exists(&self, pid: Pid) -> bool {
        self.shared().exists(pid)
    }

    /// Wakes a process at `deadline`, once.
    pub fn set_timer_for(&self, pid: Pid, deadline: Instant) -> TimerId {
        // Outsiders' timers go to the first worker.
        let shared = self.shared();
        let (id, inserted) = shared.timers.insert(0, shared.nanos(deadline), pid);
        if inserted == Inserted::Earliest {
            shared.idle.unpark(0);
            if let Some(tick) = &shared.tick {
                tick.mind(shared.nanos(deadline));
            }
        }
        id
    }

    /// Forgets a timer; whether it was still pending.
    pub fn cancel_timer(&self, id: TimerId) -> bool {
        self.shared().cancel_timer(id)
    }

    /// Drops delayed messages whose senders have ended; how many. Takes a while if there are many timers.
    pub fn drop_orphans(&self) -> usize {
        self.shared().timers.drop_orphans(|pid| self.exists(pid))
    }

    /// Runs a job on a thread where it may block. First come, first served.
    pub fn spawn_blocking(&self, job: Job) -> Result<(), BlockingError> {
        self.shared().blocking.submit(job)
    }

    /// Asks all workers to leave. Returns at once; idempotent; may be called from anywhere,
    /// `Program::ended` included.
    pub fn shutdown(&self) {
        if self.shared().closing.request() {
            self.shared().idle.unpark_all();
            self.shared().interrupt_all();
        }
    }

    /// Whether somebody has asked for the shutdown.
    pub fn is_shutting_down(&self) -> bool {
        self.shared().closing.requested()
    }

    /// The present sums.
    pub fn counters(&self) -> Counters {
        Counters::sum(self.shared().counters.iter())
    }

    /// What each worker has counted, in order; last, all that no worker did.
    pub fn counters_by_party(&self) -> Vec<Counters> {
        self.shared().counters.iter().map(|block| Counters::of(block)).collect()
    }

    /// The most processes that were alive at once, as far as it was seen. Never too high. Exact
    /// with one worker; with more it may be short of what other workers' caches of free slots hold.
    pub fn alive_peak(&self) -> u64 {
        self.shared().slots.peak().get()
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.shared().workers()
    }
}

impl<P: Program> Wake for Handle<P> {
    fn wake(&self, pid: Pid) -> bool {
        Handle::wake(self, pid)
    }
}
