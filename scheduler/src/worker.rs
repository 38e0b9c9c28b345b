//! A worker: one thread that runs processes.
//!
//! Parties: the worker's own thread owns everything in `Core`; others reach it only through what
//! lies in `Shared`: the stealing end of its queue, its timers, its bed. Code of a program runs on
//! the worker's stack in three places: `spawn`'s `init`, `Process::on_worker` and `Program::ended`;
//! it gets a `Worker`, a borrow that cannot leave that stack.
//!
//! Which process runs next is the business of `queues.rs`; a worker whose own queues are empty
//! searches the others', then sleeps (`park/README.md`).
//!
//! Invariant: a slot in a queue or one of its cells is ACTIVE, and an ACTIVE slot is in exactly one such
//! place (`state.rs`). Or it is DYING, and whoever takes it out goes on with its end.

use crate::{
    End, Program, Settled, WhenFull,
    beat::Beat,
    channel::Wake,
    counters::Block,
    current::Current,
    driver::Driver,
    envelopes::Kept,
    held::Sampler,
    mailbox::{Envelope, Found},
    park::Woken,
    pid::Pid,
    pool::{Cache, SpawnError},
    process::Process,
    queues::{Pushed, Queues},
    quota::Room,
    runtime::{Handle, Shared},
    slot::{Bounds, Command, Finish, Header, LargeStack, Slot, panic_message},
    state::{Rest, Signal, Start},
    sync::Ordering,
    timer::{Delayed, Inserted, NEVER, TimerId},
};
use corosensei::CoroutineResult;
use std::{
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr::NonNull,
    time::{Duration, Instant},
};

/// Parks between two looks at the clock while timers are pending (yields look each time). By feel:
/// slices that end in a park are short.
const PARKS_PER_CLOCK: u32 = 4;
/// Rounds over all queues before a searcher sleeps, and pauses between them. By feel: some
/// microseconds, about the price of the sleep and the wake-up it may save.
const SEARCH_ROUNDS: u32 = 16;
const SEARCH_PAUSES: u32 = 64;
/// Turns between two glances at the driver while there is work, and for how many of them a preempted
/// one counts, as it took longer. By feel: some tenths of a millisecond.
const GLANCE_EVERY: u32 = 61;
const GLANCE_PREEMPTED: u32 = 8;
/// Ended processes between two notes to the thread that gives memory back. By feel: their memory is
/// not worth getting up for.
const ENDS_PER_NOTE: u32 = 256;
/// Messages of a process that has ended which are dropped before others have a turn. By feel: a tenth
/// of a millisecond at most.
const DROPPED_IN_ONE_GO: u64 = 1000;

/// What a worker's thread owns.
pub(crate) struct Core<P: Program> {
    id: usize,
    handle: Handle<P>,
    queues: Queues<Slot<P>>,
    clock_in: Cell<u32>,
    /// A timer is pending and no sleeper will get up for it.
    keeper_wanted: Cell<bool>,
    random: Cell<u32>,
    /// Turns until the next glance at the driver.
    glance_in: Cell<u32>,
    /// Whom the driver has named.
    reported: RefCell<Vec<Pid>>,
    /// Processes that ended here.
    ends: Cell<u32>,
    cache: RefCell<Cache>,
    envelopes: Kept<P::Message>,
    sampler: Sampler,
    current: Current,
    /// The process that this worker has resumed; its fiber runs, or waits for a visitor.
    running: Cell<Option<Slot<P>>>,
}

/// What code on a worker's stack may do. Borrowed from the worker; cannot be kept.
pub struct Worker<'a, P: Program> {
    core: &'a Core<P>,
}

impl<P: Program> Core<P> {
    pub(crate) fn new(id: usize, handle: Handle<P>, queues: Queues<Slot<P>>) -> Self {
        // SAFETY: this worker's, in what `handle` keeps.
        let current = unsafe { Current::new::<P>(&handle.shared().beats[id]) };
        Self {
            id,
            handle,
            queues,
            clock_in: Cell::new(0),
            keeper_wanted: Cell::new(false),
            glance_in: Cell::new(GLANCE_EVERY),
            reported: RefCell::default(),
            ends: Cell::new(0),
            random: Cell::new(0x9E37_79B9 ^ id as u32),
            cache: RefCell::default(),
            envelopes: Kept::new(),
            sampler: Sampler::new(id),
            current,
            running: Cell::new(None),
        }
    }

    fn shared(&self) -> &Shared<P> {
        self.handle.shared()
    }

    fn beat(&self) -> &Beat {
        &self.shared().beats[self.id]
    }

    fn counters(&self) -> &Block {
        &self.shared().counters[self.id]
    }

    /// The thread's life.
    pub(crate) fn main(&self) {
        self.current.announce(|| {
            while !self.shared().closing.requested() {
                self.fire_timers();
                if self.turn_is_over() {
                    self.glance();
                }
                let taken = self.queues.take(&self.shared().injector);
                self.tell(self.queues.displaced());
                match taken {
                    Some(slot) => {
                        if self.keeper_wanted.take() && self.shared().timers.want_keeper() {
                            self.find_keeper();
                        }
                        self.run(slot);
                    }
                    None => self.idle(),
                }
            }
            self.leave();
        });
    }

    /// Runs no process any more.
    pub(crate) fn leave(&self) {
        if self.shared().closing.leave() {
            self.sweep();
        }
    }

    /// A slice may be long: a sleeper, if there is one, minds the time, else the tick thread.
    #[cold]
    fn find_keeper(&self) {
        let shared = self.shared();
        if !shared.idle.notify()
            && let Some(tick) = &shared.tick
        {
            tick.mind(shared.timers.earliest());
        }
    }

    /// Sees to it that others look, if there is something new for them.
    #[inline]
    fn tell(&self, pushed: Pushed) {
        match pushed {
            Pushed::Visible if self.shared().workers() > 1 => {
                self.shared().idle.notify();
            }
            Pushed::Visible => {}
            Pushed::Hidden => self.beat().hide(),
        }
        self.stir();
    }

    /// The tick thread must not doze.
    #[inline]
    fn stir(&self) {
        if let Some(tick) = &self.shared().tick {
            tick.stir();
        }
    }

    fn push_next(&self, slot: Slot<P>) {
        self.tell(self.queues.push_next(slot));
    }

    /// Runs a process until its next scheduling point.
    fn run(&self, slot: Slot<P>) {
        let header = slot.header();
        match header.state.start() {
            Start::Run => {}
            Start::Killed => return self.end(slot, End::Killed),
            Start::Dying => return self.settle(slot),
        }
        self.counters().switches.add(1);
        header.worker.set(self);
        self.running.set(Some(slot));
        // Relaxed: of this thread. What was meant for an earlier turn is over.
        header.interrupted.store(false, Ordering::Relaxed);
        let long = header.runs_long.get();
        self.beat().begin(slot.pointer().cast(), long, self.queues.hides());
        self.stir();
        self.current.set(slot.pointer());
        // SAFETY: it was popped, so it is ours, so it has been built and not
        // buried.
        let result = unsafe { slot.resume() };
        self.current.clear();
        self.beat().end();
        self.running.set(None);
        match result {
            CoroutineResult::Yield(Command::Park) => {
                self.clock_in.set(self.clock_in.get().saturating_sub(1));
                if long {
                    header.runs_long.set(false);
                }
                match header.state.park() {
                    Rest::Parked => {} // no longer ours: do not touch
                    Rest::Enqueue => self.push_next(slot),
                    Rest::Killed => self.end(slot, End::Killed),
                }
            }
            CoroutineResult::Yield(
                command @ (Command::Yield | Command::Preempt | Command::MakeWay),
            ) => {
                self.clock_in.set(0);
                self.glance_in.set(self.glance_in.get().saturating_sub(GLANCE_PREEMPTED));
                self.counters().preempted.add(u64::from(!matches!(command, Command::Yield)));
                if matches!(command, Command::MakeWay) {
                    header.runs_long.set(true);
                    self.queues.look_outside();
                    self.glance_in.set(0);
                }
                match header.state.yielded() {
                    Rest::Parked => unreachable!("a yield does not park"),
                    Rest::Enqueue => self.tell(self.queues.push_yielded(slot)),
                    Rest::Killed => self.end(slot, End::Killed),
                }
            }
            CoroutineResult::Yield(Command::Exit) => self.end(slot, End::Exited),
            CoroutineResult::Return(Finish::Returned) => self.end(slot, End::Returned),
            CoroutineResult::Return(Finish::Trapped) => self.end(slot, End::Trapped),
            CoroutineResult::Return(Finish::Panicked(text)) => self.end(slot, End::Panicked(text)),
        }
    }

    /// Reaps a process whose body will not run again, and frees its slot.
    fn end(&self, slot: Slot<P>, how: End) {
        let watched = slot.header().state.finish();
        self.shared().slots.peak().look(&self.shared().counters);
        self.counters().ended(&how);
        // SAFETY: `finish` succeeds once in a life, and the fiber is suspended, finished or was
        // never started.
        unsafe { slot.bury() };
        self.conclude(slot, |worker, program| {
            slot.with_inbox(|inbox, arrivals| inbox.close(arrivals));
            let mail = self.drop_mail(slot);
            if let Some(generation) = slot.header().quota.close() {
                worker.dissolve_queue(Pid::new(slot.index(), generation));
            }
            let settled = program.ended(worker, how, watched);
            if mail == Settled::More { mail } else { settled }
        });
    }

    /// Goes on with a process's end.
    #[cold]
    fn settle(&self, slot: Slot<P>) {
        self.conclude(slot, |worker, program| {
            let mail = self.drop_mail(slot);
            let settled = program.settle(worker);
            if mail == Settled::More { mail } else { settled }
        });
    }

    /// Drops a part of what a process that has ended has not received.
    fn drop_mail(&self, slot: Slot<P>) -> Settled {
        let (dropped, more) = slot.with_inbox(|inbox, _| inbox.drop_some(DROPPED_IN_ONE_GO));
        if dropped > 0 {
            self.counters().dropped.add(dropped);
        }
        if more { Settled::More } else { Settled::Done }
    }

    /// Does a part of what is to be done at a process's end, and frees its slot if that was all.
    fn conclude(&self, slot: Slot<P>, part: impl FnOnce(&Worker<'_, P>, &mut P) -> Settled) {
        let worker = self.worker();
        // SAFETY: the fiber has ended. Whoever has a DYING slot in hand is the only one, and puts it
        // back into a queue only if there is more to do.
        let concluded =
            catch_unwind(AssertUnwindSafe(|| unsafe { slot.conclude(|p| part(&worker, p)) }));
        match concluded {
            Ok(Settled::Done) => {}
            // Nobody takes from the queues any more: see `sweep`.
            Ok(Settled::More) if self.shared().closing.swept() => return,
            Ok(Settled::More) => return self.tell(self.queues.push_yielded(slot)),
            Err(payload) => {
                tracing::error!(panic = panic_message(payload), "the end of a process panicked");
            }
        }
        let ends = self.ends.get().wrapping_add(1);
        self.ends.set(ends);
        if ends.is_multiple_of(ENDS_PER_NOTE) {
            self.shared().surplus.note();
        }
        if slot.header().state.free() {
            self.shared().slots.give(&mut self.cache.borrow_mut(), slot.index());
        }
    }

    /// Runs `f` on the worker's stack on behalf of the process whose fiber waits meanwhile.
    #[inline]
    pub(crate) fn visit<R>(
        &self,
        process: Process<P>,
        f: impl FnOnce(&Worker<'_, P>, &mut P) -> R,
    ) -> R {
        /// Puts the fiber back as the current one, also when `f` panics.
        struct Back<'a, P: Program>(&'a Current, NonNull<Header<P>>);
        impl<P: Program> Drop for Back<'_, P> {
            fn drop(&mut self) {
                self.0.set(self.1);
            }
        }
        self.current.leave(process.header_pointer());
        let _back = Back(&self.current, process.header_pointer());
        // SAFETY: the process runs, so its program is there; whoever uses `Process::program`
        // answers for aliasing.
        let program = unsafe { &mut *process.program() };
        f(&self.worker(), program)
    }

    /// What visitors get.
    #[inline]
    pub(crate) fn worker(&self) -> Worker<'_, P> {
        Worker { core: self }
    }

    /// Wakes the processes whose time has come, on whatever worker they set their timers. Reads the
    /// clock only if a timer is pending and some time may have passed.
    #[inline]
    fn fire_timers(&self) {
        if self.clock_in.get() == 0 && self.shared().timers.earliest() != NEVER {
            self.fire_due();
        }
    }

    #[cold]
    fn fire_due(&self) {
        self.clock_in.set(PARKS_PER_CLOCK);
        let timers = &self.shared().timers;
        let now = self.shared().now();
        if timers.earliest() <= now {
            // The earliest runs at once; those that are due with it follow in order, not each
            // before the one before.
            let mut first = true;
            let mut enqueue = |slot| {
                if std::mem::take(&mut first) {
                    self.push_next(slot);
                } else {
                    self.tell(self.queues.push_ready(slot));
                }
            };
            let wake = |pid: Pid| {
                let Some(slot) = self.shared().slots.lookup(pid) else { return };
                if slot.header().state.wake(pid.generation()) == Signal::Enqueue {
                    enqueue(slot);
                }
            };
            let (fired, mail) = timers.fire(self.id, now, wake, |to, mail| self.admit(to, mail));
            self.counters().timers_fired.add(fired);
            for due in mail {
                if let Some(mark) = due.room.mark() {
                    self.counters().refused.add(1);
                    if P::when_full(mark) == WhenFull::Kill {
                        self.worker().kill(due.to);
                    }
                    continue;
                }
                let sample = |units| self.sampler.sample(units);
                match self.shared().post(due.to, due.envelope, || None, sample) {
                    Ok(slot) => {
                        self.counters().sent.add(1);
                        slot.into_iter().for_each(&mut enqueue);
                    }
                    Err(_nobody) => self.counters().refused.add(1),
                }
            }
        }
        let keepers = self.shared().workers() > 1 || self.shared().tick.is_some();
        self.keeper_wanted.set(keepers && timers.want_keeper());
    }

    /// The room that a delayed message has found; `None`: it should try again.
    fn admit(&self, to: Pid, envelope: &mut Envelope<P::Message>) -> Option<Room> {
        let bytes = P::message_bytes(envelope);
        let room = self.shared().reserve(to, || Envelope::<P::Message>::units_for(bytes));
        match room.mark() {
            Some(mark) if P::when_full(mark) == WhenFull::Wait => None,
            _ => {
                envelope.charge(room == Room::Taken);
                Some(room)
            }
        }
    }

    fn wake(&self, pid: Pid) -> bool {
        let Some(slot) = self.shared().slots.lookup(pid) else { return false };
        self.deliver(slot, slot.header().state.wake(pid.generation()))
    }

    fn deliver(&self, slot: Slot<P>, signal: Signal) -> bool {
        match signal {
            Signal::Enqueue => self.push_next(slot),
            Signal::Noted => {}
            Signal::Gone => return false,
        }
        true
    }

    /// No work nearby: search, then sleep. Returns when there may be work, with whatever was found
    /// queued or run.
    fn idle(&self) {
        if self.glance() {
            return;
        }
        let idle = &self.shared().idle;
        let mut searching = idle.start_searching();
        if searching && let Some(slot) = self.search(SEARCH_ROUNDS) {
            idle.found();
            return self.run(slot);
        }
        loop {
            idle.announce(self.id, searching);
            if !self.anything_to_do() {
                self.counters().parks.add(1);
                self.sleep();
            }
            self.clock_in.set(0);
            let woken = idle.rise(self.id);
            let news = self.wake_reported();
            if let Some(tick) = &self.shared().tick {
                tick.rouse();
            }
            match woken {
                Woken::Plain => return,
                Woken::Searching if news => return idle.found(),
                Woken::Searching => searching = true,
            }
            if let Some(slot) = self.search(1) {
                idle.found();
                return self.run(slot);
            }
        }
    }

    fn sleep(&self) {
        let shared = self.shared();
        let (until, keeper) = shared.timers.arm(self.id);
        let limit = (until != NEVER).then(|| shared.epoch + Duration::from_nanos(until));
        match shared.driver.as_deref().filter(|driver| driver.enter()) {
            Some(driver) => {
                shared.idle.sleep_outside(self.id, || {
                    let now = Instant::now();
                    self.listen(driver, limit.map(|limit| limit.saturating_duration_since(now)));
                });
                driver.leave();
            }
            None => shared.idle.sleep(self.id, limit),
        }
        if keeper {
            shared.timers.disarm();
        }
    }

    /// Counts a turn; whether it is time for a glance.
    #[inline]
    fn turn_is_over(&self) -> bool {
        let left = self.glance_in.get().saturating_sub(1);
        self.glance_in.set(if left == 0 { GLANCE_EVERY } else { left });
        left == 0
    }

    /// Waits in the driver's place, and notes whom it names.
    fn listen(&self, driver: &dyn Driver, limit: Option<Duration>) {
        let mut reported = self.reported.borrow_mut();
        driver.wait(limit, &mut |pid| reported.push(pid));
    }

    /// Asks the driver for news, without waiting; whether there was any.
    fn glance(&self) -> bool {
        match self.shared().driver.as_deref().filter(|driver| driver.enter()) {
            Some(driver) => {
                self.listen(driver, Some(Duration::ZERO));
                driver.leave();
                self.wake_reported()
            }
            None => false,
        }
    }

    /// Wakes those whom the driver has named, in order; whether any is now in a queue.
    fn wake_reported(&self) -> bool {
        let mut queued = false;
        for pid in self.reported.borrow_mut().drain(..) {
            let Some(slot) = self.shared().slots.lookup(pid) else { continue };
            if slot.header().state.wake(pid.generation()) == Signal::Enqueue {
                self.tell(self.queues.push_soon(slot));
                queued = true;
            }
        }
        queued
    }

    /// A searcher's look at the injector and every other worker's queue.
    fn search(&self, rounds: u32) -> Option<Slot<P>> {
        let shared = self.shared();
        let workers = shared.workers();
        for round in 0..rounds {
            if round > 0 {
                (0..SEARCH_PAUSES).for_each(|_| std::hint::spin_loop());
            }
            if self.glance() {
                return self.queues.take(&shared.injector);
            }
            if let Some(slot) = self.queues.take_injected(&shared.injector) {
                return Some(slot);
            }
            let start = self.random_below(workers);
            for victim in (start..workers).chain(0..start).filter(|&victim| victim != self.id) {
                let patient = round < rounds / 2;
                if let Some(slot) = self.queues.steal_from(&shared.thieves[victim], patient) {
                    self.counters().steals.add(1);
                    return Some(slot);
                }
            }
            if workers == 1 || shared.closing.requested() {
                return None;
            }
        }
        None
    }

    /// The last look of a worker that has announced its sleep.
    fn anything_to_do(&self) -> bool {
        let shared = self.shared();
        shared.closing.requested()
            || !shared.injector.is_empty()
            || shared.thieves.iter().any(|thief| !thief.is_empty())
    }

    /// xorshift: good enough to keep searchers from following each other.
    fn random_below(&self, n: usize) -> usize {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.random.set(x);
        x as usize % n
    }

    /// The last worker to leave ends every process that still lives.
    #[cold]
    fn sweep(&self) {
        self.shared().close_gate();
        self.shared().blocking.close();
        for slot in self.shared().slots.opened() {
            // Nobody runs processes or spawns any more, so nothing leaves or enters life behind our
            // back; wakes and kills from other threads may still change the word, but not that.
            if slot.pid().is_some() {
                self.end(slot, End::Shutdown);
            }
            while slot.header().state.is_dying() {
                self.settle(slot);
            }
        }
        self.shared().timers.drop_mail();
    }
}

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
        let sender = || core.running.get().and_then(Slot::pid);
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
    fn dissolve_queue(&self, to: Pid) {
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
        let from = self.core.running.get().and_then(Slot::pid);
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
