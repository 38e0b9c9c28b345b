//! What code on a worker's stack may ask of it.

use super::{Core, Worker};
use crate::{
    Program,
    channel::Wake,
    handle::Handle,
    held::Sender,
    mailbox::{Envelope, Found},
    pid::Pid,
    pool::SpawnError,
    process::Process,
    quota::Room,
    slot::{Bounds, LargeStack, Slot},
    state::Signal,
    timer::{Delayed, Inserted, TimerId},
};
use std::{ptr::NonNull, time::Instant};

impl<P: Program> Wake for Worker<'_, P> {
    fn wake(&self, pid: Pid) -> bool {
        self.core.wake(pid)
    }
}

impl<P: Program> Worker<'_, P> {
    /// Makes a process and queues it. `extra` bytes (at most [`MAX_EXTRA`](crate::MAX_EXTRA)),
    /// 16-aligned, uninitialised, are set aside for it between its header and its stack; `init`
    /// makes the program.
    pub fn spawn(
        &self,
        extra: usize,
        init: impl FnOnce(Pid, Process<P>, NonNull<u8>) -> P,
    ) -> Result<Pid, SpawnError> {
        self.make(extra, Bounds::default(), init)
    }

    /// Like [`spawn`](Self::spawn), with bounds.
    pub fn spawn_bounded(
        &self,
        extra: usize,
        bounds: Bounds,
        init: impl FnOnce(Pid, Process<P>, NonNull<u8>) -> P,
    ) -> Result<Pid, SpawnError> {
        self.make(extra, bounds, init)
    }

    /// The same, as if [`watch`](Self::watch) had been called before the process could run.
    pub fn spawn_watched(
        &self,
        extra: usize,
        init: impl FnOnce(Pid, Process<P>, NonNull<u8>) -> P,
    ) -> Result<Pid, SpawnError> {
        self.make(extra, Bounds { watched: true, ..Bounds::default() }, init)
    }

    #[inline]
    fn make(
        &self,
        extra: usize,
        bounds: Bounds,
        init: impl FnOnce(Pid, Process<P>, NonNull<u8>) -> P,
    ) -> Result<Pid, SpawnError> {
        /// Gives the slot back if `init` panics.
        struct Return<'a, P: Program>(&'a Core<P>, u32);
        impl<P: Program> Drop for Return<'_, P> {
            fn drop(&mut self) {
                self.0.shared().slots.give(&mut self.0.cache.borrow_mut(), self.1);
            }
        }
        let core = self.core;
        let shared = core.shared();
        shared.check_extra(extra)?;
        if shared.closing.swept() {
            return Err(SpawnError::ShuttingDown);
        }
        let large = bounds.stack_bytes.filter(|bytes| *bytes > shared.slot_stack_bytes(extra));
        let large = large.map(LargeStack::new).transpose().map_err(SpawnError::Stack)?;
        let slot = shared.slots.take(&mut core.cache.borrow_mut())?;
        let on_panic = Return(core, slot.index());
        let pid = slot.build(extra, large, bounds, init);
        std::mem::forget(on_panic);
        core.counters().spawned.add(1);
        core.tell(core.queues.push_fresh(slot));
        Ok(pid)
    }

    /// Puts a message into a mailbox and wakes its owner if need be; gives it back if there is no
    /// such process.
    pub fn send(
        &self,
        to: Pid,
        message: impl Into<Envelope<P::Message>>,
    ) -> Result<(), Envelope<P::Message>> {
        let core = self.core;
        let sender = || core.running.get().and_then(Sender::in_slot);
        let sample = |units| core.sampler.sample(units);
        let posted = core.shared().post(to, message.into(), sender, sample);
        if let Some(slot) = posted.inspect_err(|_| self.core.counters().refused.add(1))? {
            slot.prefetch();
            self.core.push_next(slot);
        }
        self.core.counters().sent.add(1);
        Ok(())
    }

    /// For how many bytes a message stands in a count of samples, as those of mailboxes are: often 0.
    #[inline]
    pub fn sample(&self, message: &Envelope<P::Message>) -> u64 {
        self.core.sampler.sample(Envelope::<P::Message>::units_for(P::message_bytes(message)))
    }

    /// An envelope that was [recycled](Self::recycle), with what it held then.
    #[inline]
    pub fn used_envelope(&self) -> Option<Envelope<P::Message>> {
        self.core.envelopes.take(&self.core.shared().envelopes)
    }

    /// Keeps an envelope for the next message that a process writes, or frees it.
    #[inline]
    pub fn recycle(&self, envelope: Envelope<P::Message>) {
        self.core.envelopes.put(envelope, &self.core.shared().envelopes);
    }

    /// Makes a process look around once more; whether there is such a process.
    pub fn wake(&self, pid: Pid) -> bool {
        self.core.wake(pid)
    }

    /// Ends a process at its next scheduling point; whether there is such a process.
    pub fn kill(&self, pid: Pid) -> bool {
        let Some(slot) = self.core.shared().slots.lookup(pid) else { return false };
        let signal = slot.header().state.kill(pid.generation());
        if signal == Signal::Noted {
            self.core.shared().chase(slot);
        }
        self.core.deliver(slot, signal)
    }

    /// Has the program of a process told at its end that somebody asked for it; whether there is
    /// such a process. If there is, its [`ended`](Program::ended) sees all that the caller did
    /// before.
    pub fn watch(&self, pid: Pid) -> bool {
        self.core.shared().watch(pid)
    }

    /// Whether the process lives. It may die the next moment.
    pub fn exists(&self, pid: Pid) -> bool {
        self.core.shared().exists(pid)
    }

    /// The oldest message of the calling process's own mailbox that the filter wants; the others
    /// stay, in order.
    ///
    /// A process that was woken and still waits for mail must ask again before it parks: the
    /// wake-up stands for all messages that arrived since it last asked.
    #[track_caller]
    pub fn receive(
        &self,
        process: Process<P>,
        filter: impl FnMut(&P::Message) -> bool,
    ) -> Option<Envelope<P::Message>> {
        let received = self.own_slot(process).with_inbox(|inbox, arrivals| {
            inbox.receive(arrivals, process.pid().generation(), filter)
        });
        self.received(process, received)
    }

    /// Like [`receive`](Self::receive) or, if `new`, [`receive_new`](Self::receive_new), but looks at
    /// so many messages at most.
    #[track_caller]
    pub fn receive_some(
        &self,
        process: Process<P>,
        new: bool,
        limit: usize,
        filter: impl FnMut(&P::Message) -> bool,
    ) -> Found<P::Message> {
        let generation = process.pid().generation();
        let found = self.own_slot(process).with_inbox(|inbox, arrivals| {
            inbox.receive_some(arrivals, generation, filter, new, limit)
        });
        match found {
            Found::Message(message) => {
                self.received(process, Some(message)).map_or(Found::Nothing, Found::Message)
            }
            other => other,
        }
    }

    /// Like [`receive`](Self::receive), but looks only at messages that came since any were last
    /// looked at: for polling again with a filter that has refused all the older ones.
    #[track_caller]
    pub fn receive_new(
        &self,
        process: Process<P>,
        filter: impl FnMut(&P::Message) -> bool,
    ) -> Option<Envelope<P::Message>> {
        let received = self.own_slot(process).with_inbox(|inbox, arrivals| {
            inbox.receive_new(arrivals, process.pid().generation(), filter)
        });
        self.received(process, received)
    }

    #[inline]
    fn received(
        &self,
        process: Process<P>,
        message: Option<Envelope<P::Message>>,
    ) -> Option<Envelope<P::Message>> {
        let mut message = message?;
        self.core.counters().received.add(1);
        if message.charge(false) {
            self.give_room(process, message.units());
        }
        Some(message)
    }

    /// Takes room for a message in a mailbox, if that has a limit; `bytes` is what it takes beside its
    /// envelope ([`Program::message_bytes`]). With [`Room::Taken`] the message is
    /// sent by [`send_charged`](Self::send_charged).
    #[inline]
    pub fn reserve(&self, to: Pid, bytes: impl FnOnce() -> usize) -> Room {
        self.core.shared().reserve(to, || Envelope::<P::Message>::units_for(bytes()))
    }

    /// The same; where there is no room, `me` queues for it, and is woken when it should ask again.
    pub fn reserve_or_queue(&self, to: Pid, me: Pid, bytes: usize) -> Room {
        let shared = self.core.shared();
        let units = Envelope::<P::Message>::units_for(bytes);
        match shared.slots.lookup(to) {
            Some(slot) => shared.queue.take_or_join(&slot.header().quota, to, me, units),
            None => Room::Unlimited,
        }
    }

    /// `me` no longer queues. If its turn had come, the next one gets it.
    pub fn leave_queue(&self, to: Pid, me: Pid) {
        let shared = self.core.shared();
        let slot = shared.slots.lookup(to);
        let quota = slot.as_ref().map(|slot| &slot.header().quota);
        if let Some(next) = shared.queue.leave(quota, to, me) {
            self.wake(next);
        }
    }

    /// Like [`send`](Self::send), for a message that has taken room.
    pub fn send_charged(
        &self,
        to: Pid,
        message: impl Into<Envelope<P::Message>>,
    ) -> Result<(), Envelope<P::Message>> {
        let mut message = message.into();
        message.charge(true);
        self.send(to, message).map_err(|mut lost| {
            lost.charge(false);
            lost
        })
    }

    /// A message of a mailbox with a limit has been received.
    #[cold]
    fn give_room(&self, process: Process<P>, units: u32) {
        let shared = self.core.shared();
        let quota = &self.own_slot(process).header().quota;
        if quota.give(units)
            && let Some(next) = shared.queue.next(quota, process.pid())
        {
            self.pass_turn(process.pid(), next);
        }
    }

    /// Wakes the next in a queue who still lives.
    fn pass_turn(&self, to: Pid, mut next: Pid) {
        while !self.wake(next) {
            let shared = self.core.shared();
            let slot = shared.slots.lookup(to);
            let quota = slot.as_ref().map(|slot| &slot.header().quota);
            let Some(another) = shared.queue.leave(quota, to, next) else { return };
            next = another;
        }
    }

    /// Nobody will ever get room in this mailbox.
    #[cold]
    pub(super) fn dissolve_queue(&self, to: Pid) {
        for pid in self.core.shared().queue.dissolve(to) {
            self.wake(pid);
        }
    }

    /// The next [`receive_new`](Self::receive_new) will not look at what is in the mailbox now.
    #[track_caller]
    pub fn skip(&self, process: Process<P>) {
        self.own_slot(process)
            .with_inbox(|inbox, arrivals| inbox.skip(arrivals, process.pid().generation()));
    }

    /// The slot of `process`, which must be the one the worker runs.
    #[inline]
    #[track_caller]
    fn own_slot(&self, process: Process<P>) -> Slot<P> {
        let running = self.core.running.get();
        running
            .filter(|slot| slot.pointer() == process.header_pointer())
            .expect("a process receives only from its own mailbox")
    }

    /// Wakes the calling process at `deadline`, once.
    #[track_caller]
    pub fn set_timer(&self, deadline: Instant) -> TimerId {
        let running = self.core.running.get().and_then(Slot::pid);
        self.set_timer_for(running.expect("an ended process has no timers"), deadline)
    }

    /// Wakes any process at `deadline`, once.
    pub fn set_timer_for(&self, pid: Pid, deadline: Instant) -> TimerId {
        let shared = self.core.shared();
        // Our own wheel, and we are awake: nobody need be told now. But if this is the earliest and
        // another process runs next, somebody should mind the time: see to that at the next switch.
        let (id, inserted) = shared.timers.insert(self.core.id, shared.nanos(deadline), pid);
        if inserted == Inserted::Earliest {
            self.core.clock_in.set(0);
        }
        id
    }

    /// Sends a message when `deadline` has come, to whoever has the pid then. If there is no room in that
    /// mailbox, [`Program::when_full`] says what becomes of it. Gives it back if too many wait already.
    pub fn send_at(
        &self,
        deadline: Instant,
        to: Pid,
        envelope: Envelope<P::Message>,
    ) -> Result<TimerId, Envelope<P::Message>> {
        let shared = self.core.shared();
        let deadline = shared.nanos(deadline);
        let from = self.core.running.get().and_then(Sender::in_slot);
        let mut envelope = envelope;
        let (id, inserted) = loop {
            match shared.timers.insert_mail(self.core.id, deadline, Delayed { from, to, envelope })
            {
                Ok(inserted) => break inserted,
                Err(back) => envelope = back,
            }
            // Those whose senders have ended make room.
            if !shared.timers.drop_some_orphans(self.core.id, |pid| shared.exists(pid)) {
                return Err(envelope);
            }
        };
        // Whoever sends a message to others need not wait for anything: it may compute from now on.
        if inserted == Inserted::Earliest {
            self.core.clock_in.set(0);
            if let Some(tick) = &shared.tick {
                tick.mind(deadline);
            }
        }
        Ok(id)
    }

    /// Forgets a timer, and drops its message if it has one; whether it was still pending.
    pub fn cancel_timer(&self, id: TimerId) -> bool {
        self.core.shared().cancel_timer(id)
    }

    /// Whether a timer has neither fired nor been cancelled.
    pub fn is_timer_pending(&self, id: TimerId) -> bool {
        self.core.shared().timers.is_pending(id)
    }

    /// Which worker this is, from zero.
    pub fn id(&self) -> usize {
        self.core.id
    }

    /// The handle any thread may have.
    pub fn handle(&self) -> &Handle<P> {
        &self.core.handle
    }
}
