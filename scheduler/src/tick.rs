//! The tick thread: sees to it that no process keeps a worker to itself while others wait.
//!
//! It looks at all workers now and then (`beat.rs`). One that has run the same process for a slice
//! while others wait for it gets a signal, after which its process makes way. It minds the timers
//! when all workers are busy: at the deadline it interrupts one of them, which fires them then. It
//! does not hurry when nothing is to be done, and sleeps when all workers do. It also sleeps, until the next
//! timer, when those that do not have run the same processes for a while for which nobody waits
//! (`doze`): then the next turn that begins and the next process that becomes ready disturb it (`stir`).
//!
//! Parties: the thread; workers, which rouse it when they get up and when they set a timer earlier
//! than all others; whoever makes a process ready from outside (`hurry`), kills one (`chase`) or
//! shuts down, and interrupts a worker on the spot, without waiting for the thread's next look.
//!
//! Nothing hangs on a single signal: whatever is missed is found at one of the next looks.

use crate::{
    Program,
    alarm::Alarm,
    barrier::Barrier,
    runtime::Shared,
    slot::Slot,
    sync::{AtomicBool, Ordering},
    timer::NEVER,
};
use std::time::Duration;

/// How workers are interrupted.
#[derive(Clone, Copy, Debug)]
pub struct Preemption {
    /// How long a process runs while others wait.
    pub slice: Duration,
    /// Interrupts a thread, by the system's number for it. The process that the thread runs then
    /// calls [`Process::make_way`](crate::Process::make_way), as soon as it can be left.
    pub interrupt: fn(u32),
}

/// A turn that has been seen for so long may be ended when there is news. By feel: most turns are
/// over before, and it is short beside what one notices.
const GRACE: u64 = 50_000;
/// Slices between two looks when there is nothing to do.
const CALM_SLICES: u64 = 4;
/// Looks in a row at sleeping workers, or at such that nobody waits for, before the thread sleeps itself. By
/// feel: a pause in the traffic should not cost two wake-ups of this thread.
const LINGER_LOOKS: u32 = 16;

/// The thread's side of it, and what others need to reach it.
pub(crate) struct Tick {
    preemption: Preemption,
    alarm: Alarm,
    /// For dozing; without it the thread looks now and then.
    barrier: Option<Barrier>,
    over: AtomicBool,
}

/// What the thread remembers of a worker.
#[derive(Clone, Default)]
struct Seen {
    turn: u64,
    /// In nanoseconds of the runtime.
    since: u64,
}

impl Tick {
    pub(crate) fn new(preemption: Preemption) -> Self {
        Self {
            preemption,
            alarm: Alarm::new(),
            barrier: Barrier::new(),
            over: AtomicBool::new(false),
        }
    }

    fn slice(&self) -> u64 {
        u64::try_from(self.preemption.slice.as_nanos()).unwrap_or(u64::MAX / 8).max(1000)
    }

    /// Ends the thread.
    pub(crate) fn close(&self) {
        // Relaxed: the alarm orders it.
        self.over.store(true, Ordering::Relaxed);
        self.alarm.rouse_for(0);
    }

    /// A worker has got up: somebody must mind it.
    #[inline]
    pub(crate) fn rouse(&self) {
        // Only one who sleeps without a limit sleeps longer than that.
        self.alarm.rouse_for(NEVER - 1);
    }

    /// A turn begins, or a process has become ready: no time to doze.
    #[inline]
    pub(crate) fn stir(&self) {
        self.alarm.stir();
    }

    /// A timer is pending, and maybe no worker sleeps who would get up for it.
    #[inline]
    pub(crate) fn mind(&self, deadline: u64) {
        self.alarm.rouse_for(deadline);
    }
}

impl<P: Program> Shared<P> {
    /// The thread's life.
    pub(crate) fn mind_workers(&self, tick: &Tick) {
        let slice = tick.slice();
        let mut seen = vec![Seen::default(); self.workers()];
        let mut pause = slice;
        let (mut idle_looks, mut calm_looks) = (0, 0);
        while !tick.over.load(Ordering::Relaxed) {
            let now = self.now();
            let found = self.look(tick, &mut seen, now);
            pause = match found {
                Found::Grace => GRACE.min(slice),
                Found::Waiting => slice,
                Found::Calm => (pause.max(slice) * 2).min(CALM_SLICES * slice),
            };
            let all_asleep = self.idle.sleepers() == self.workers();
            idle_looks = if all_asleep { idle_looks + 1 } else { 0 };
            let calm = !all_asleep && matches!(found, Found::Calm);
            calm_looks = if calm { calm_looks + 1 } else { 0 };
            if calm_looks > LINGER_LOOKS
                && let Some(barrier) = &tick.barrier
            {
                // Whatever has ended it, some looks follow.
                calm_looks = 0;
                pause = slice;
                self.doze(tick, barrier, &seen, now);
                continue;
            }
            let deadline = self.deadline();
            let until = match idle_looks > LINGER_LOOKS {
                true => NEVER,
                false => (now + pause).min(deadline.max(now + GRACE)),
            };
            let limit = (until != NEVER).then(|| self.epoch + Duration::from_nanos(until));
            // In a grace whoever asks for a look need not wait for long.
            let in_grace = matches!(found, Found::Grace);
            tick.alarm.sleep(until, limit, || {
                !tick.over.load(Ordering::Relaxed)
                    && (in_grace || !tick.alarm.is_asked())
                    && (until != NEVER || self.idle.sleepers() == self.workers())
                    // What is due already was seen to. To look again at once would take the time from
                    // the very worker that is to fire it.
                    && self.deadline() >= deadline.min(until).min(now + pause)
            });
        }
    }

    /// Sleeps until the next timer, or until a turn begins or a process becomes ready.
    fn doze(&self, tick: &Tick, barrier: &Barrier, seen: &[Seen], now: u64) {
        let until = self.deadline();
        let limit = (until != NEVER).then(|| self.epoch + Duration::from_nanos(until));
        tick.alarm.sleep_soundly(until, limit, barrier, || {
            !tick.over.load(Ordering::Relaxed)
                && !tick.alarm.is_asked()
                && !self.closing.requested()
                && self.injector.is_empty()
                && now < until
                && self.deadline() >= until
                && seen.iter().enumerate().all(|(id, seen)| self.is_calm(id, seen))
        });
    }

    /// Whether a worker is in the turn in which it was seen, which nobody wants to end, or in none: one that
    /// begins will disturb.
    fn is_calm(&self, id: usize, seen: &Seen) -> bool {
        let beat = &self.beats[id];
        let Some(running) = beat.running() else { return true };
        // SAFETY: as in `look`.
        let killed = unsafe { Slot::<P>::from_pointer(running.cast()) }.is_killed();
        beat.turn() == seen.turn && !killed && !beat.hides() && self.thieves[id].is_empty()
    }

    /// The time of the next timer, if the thread has to mind it: no worker sleeps, or none that will get
    /// up in time. A process that has set a timer may compute for ever, and none of the sleepers knows.
    fn deadline(&self) -> u64 {
        let minded = self.idle.sleepers() != 0 && !self.timers.want_keeper();
        if minded { NEVER } else { self.timers.earliest() }
    }

    fn look(&self, tick: &Tick, seen: &mut [Seen], now: u64) -> Found {
        let slice = tick.slice();
        let closing = self.closing.requested();
        let outside = !self.injector.is_empty();
        let mut found = Found::Calm;
        let mut all_long = true;
        for (id, seen) in seen.iter_mut().enumerate() {
            let beat = &self.beats[id];
            let turn = beat.turn();
            if turn != seen.turn {
                *seen = Seen { turn, since: now };
            }
            let Some(running) = beat.running() else {
                all_long = false;
                continue;
            };
            // SAFETY: a worker of this runtime has put it there, and headers are never unmapped
            // while it lives. Should another process be there by now: only hints are read.
            let killed = unsafe { Slot::<P>::from_pointer(running.cast()) }.is_killed();
            let age = now - seen.since;
            all_long &= age >= GRACE;
            let waiting = outside || beat.hides() || !self.thieves[id].is_empty();
            if closing || killed || waiting && age >= slice {
                self.interrupt(tick, id);
                // The next turn begins now, whenever it is looked at.
                *seen = Seen { turn: turn + 1, since: now };
            } else if age >= GRACE {
                beat.mark(turn);
            }
            if closing || killed || waiting {
                found = Found::Waiting;
            }
        }
        if let Some(driver) = self.driver.as_deref().filter(|_| all_long) {
            driver.all_busy();
        }
        let due = self.deadline() <= now;
        let asked = tick.alarm.take_request();
        if due || outside || asked {
            // A sleeper that does not know of the timer fires it, and takes nobody's time.
            let risen = due && self.idle.notify();
            let made_room = !risen && self.interrupt_one(tick);
            let owed = due || asked && !self.injector.is_empty();
            if owed && !made_room {
                found = Found::Grace;
                tick.alarm.keep_request();
            }
        }
        found
    }

    fn interrupt(&self, tick: &Tick, worker: usize) {
        (tick.preemption.interrupt)(self.beats[worker].thread());
    }

    /// Interrupts one of the workers that are in a long turn; false if there is none.
    fn interrupt_one(&self, tick: &Tick) -> bool {
        let claimed = self.beats.iter().position(|beat| beat.claim());
        claimed.inspect(|&worker| self.interrupt(tick, worker)).is_some()
    }

    /// Something has become ready from outside, and all workers are busy.
    #[cold]
    pub(crate) fn hurry(&self) {
        let Some(tick) = &self.tick else { return };
        // If nobody is known to be in a long turn, the thread shall find out; else it shall see to it that
        // the signal was not in vain.
        if self.interrupt_one(tick) {
            tick.stir();
        } else {
            tick.alarm.ask();
        }
    }

    /// A process has been killed that may be running somewhere: interrupts it there. A worker that
    /// begins to run it at this very moment will be found by the thread.
    pub(crate) fn chase(&self, slot: Slot<P>) {
        let Some(tick) = &self.tick else { return };
        let here = slot.pointer().cast();
        if let Some(worker) = self.beats.iter().position(|beat| beat.running() == Some(here)) {
            self.interrupt(tick, worker);
        }
        tick.stir();
    }

    /// All shall leave.
    pub(crate) fn interrupt_all(&self) {
        let Some(tick) = &self.tick else { return };
        let busy = (0..self.workers()).filter(|&id| self.beats[id].running().is_some());
        busy.for_each(|id| self.interrupt(tick, id));
        tick.alarm.rouse_for(0);
    }
}

/// What a look has shown.
enum Found {
    /// Nothing to be done.
    Calm,
    /// Processes wait for workers that are busy.
    Waiting,
    /// Something is due, and it is too soon to tell whose turn is long.
    Grace,
}
