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

mod calls;

use crate::{
    End, Program, Settled, WhenFull,
    beat::Beat,
    counters::Block,
    current::Current,
    driver::Driver,
    envelopes::Kept,
    handle::Handle,
    held::Sampler,
    mailbox::Envelope,
    park::Woken,
    pid::Pid,
    pool::Cache,
    process::Process,
    queues::{Pushed, Queues},
    quota::Room,
    runtime::Shared,
    slot::{Command, Finish, Header, Slot, panic_message},
    state::{Rest, Signal, Start},
    sync::Ordering,
    timer::NEVER,
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
/// In nanoseconds: a timer that is so far away needs no sleeper that gets up for it. By feel: some looks of the
/// tick thread.
const FAR: u64 = 10_000_000;
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
                if self.queues.must_tell() {
                    self.tell(Pushed::Visible);
                }
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
                match self.shared().post(due.to, due.envelope, || due.from, sample) {
                    Ok(slot) => {
                        self.counters().sent.add(1);
                        slot.into_iter().for_each(&mut enqueue);
                    }
                    Err(_nobody) => self.counters().refused.add(1),
                }
            }
        }
        self.keeper_wanted.set(timers.want_keeper() && self.keeper_must_rise(now));
    }

    /// Whether somebody must get up to mind the earliest timer. The tick thread minds one that is far away, if
    /// there is one: most are cancelled or have company before, as those of requests that may take long.
    fn keeper_must_rise(&self, now: u64) -> bool {
        let shared = self.shared();
        match &shared.tick {
            Some(tick) if shared.timers.earliest() > now + FAR => {
                tick.mind(shared.timers.earliest());
                false
            }
            Some(_) => true,
            None => shared.workers() > 1,
        }
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
