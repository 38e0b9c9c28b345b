//! Timers: a hierarchical wheel for each worker.
//!
//! Parties: any worker or outside thread inserts and cancels, under the wheel's lock; any worker
//! fires. Protocol: `next` is never later than the earliest deadline in the wheel, and `earliest`
//! never later than the earliest `next`, so a worker reads one word to know that there is nothing
//! to do. A worker that sleeps gets up for its own wheel, and one of the sleepers (the keeper) for
//! the earliest of all, so that a worker in a long slice does not hold up its timers. Who inserts
//! something earlier into a sleeping worker's wheel from outside must unpark it (the answer of
//! `insert` says so). How a wheel orders its entries: `wheel.rs`.
//!
//! A timer wakes a process or brings it a message. A message that waits belongs to its wheel: its
//! sender may end, and the receiver is looked up when the time has come. Whoever fires takes due
//! messages out first, so many in one go, and posts them, in the order of their deadlines, without the
//! lock. One that finds no room in a mailbox whose senders wait stays in the wheel and tries again later.
//! Messages whose sender has ended (*orphans*) are the first to be given up when there is no room in the
//! wheel, or memory is short.

mod wheel;

#[cfg(all(test, not(loom)))]
mod tests;

use self::wheel::Timers;
use crate::{
    held::Sender,
    mailbox::Envelope,
    pid::Pid,
    quota::Room,
    sync::{AtomicU64, Ordering, fence},
};
use crossbeam_utils::CachePadded;

/// `next` of an empty wheel.
pub(crate) const NEVER: u64 = u64::MAX;

/// A timer, for cancelling it. Cancelling one that fired, or twice, does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerId {
    pub(crate) wheel: u32,
    index: u32,
    generation: u32,
}

/// What whoever inserts owes.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Inserted {
    /// It became the wheel's earliest: unpark its worker if that is somebody else.
    Earliest,
    /// Nothing.
    Later,
}

/// A message whose time has come.
pub(crate) struct Due<M> {
    deadline: u64,
    /// Who has sent it, if that is a process.
    pub(crate) from: Option<Sender>,
    pub(crate) to: Pid,
    /// What it has found there.
    pub(crate) room: Room,
    pub(crate) envelope: Envelope<M>,
}

/// A message that is to wait.
pub(crate) struct Delayed<M> {
    /// Who sends it, if that is a process.
    pub(crate) from: Option<Sender>,
    pub(crate) to: Pid,
    pub(crate) envelope: Envelope<M>,
}

/// All workers' wheels, and which deadline comes first.
pub(crate) struct Wheels<M> {
    wheels: Box<[Timers<M>]>,
    /// Never later than the earliest deadline, but for the moment in which `refresh` works it out.
    ///
    /// An inserter writes its wheel's `next`, fence, reads this; `refresh` resets this, fence,
    /// reads every `next`: one of them sees the other.
    earliest: CachePadded<AtomicU64>,
    /// By when some sleeping worker gets up by itself (`NEVER`: none need). `Relaxed`, as it is a
    /// hint: each sleeper minds its own wheel anyway, so a wrong value makes a timer late, not
    /// lost.
    armed: CachePadded<AtomicU64>,
}

impl<M> Wheels<M> {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            wheels: (0..workers).map(Timers::new).collect(),
            earliest: CachePadded::new(AtomicU64::new(NEVER)),
            armed: CachePadded::new(AtomicU64::new(NEVER)),
        }
    }

    /// Nothing is due before; `NEVER` when there are no timers.
    #[inline]
    pub(crate) fn earliest(&self) -> u64 {
        // Relaxed: read again and again; who goes to sleep reads the wheels themselves.
        self.earliest.load(Ordering::Relaxed)
    }

    pub(crate) fn insert(&self, wheel: usize, deadline: u64, pid: Pid) -> (TimerId, Inserted) {
        self.note(deadline, self.wheels[wheel].insert(deadline, pid))
    }

    /// Gives the message back if the wheel holds as many as it may.
    pub(crate) fn insert_mail(
        &self,
        wheel: usize,
        deadline: u64,
        mail: Delayed<M>,
    ) -> Result<(TimerId, Inserted), Envelope<M>> {
        Ok(self.note(deadline, self.wheels[wheel].insert_mail(deadline, mail)?))
    }

    /// Drops orphans in a part of one wheel; whether there were any.
    pub(crate) fn drop_some_orphans(&self, wheel: usize, lives: impl Fn(Pid) -> bool) -> bool {
        self.wheels[wheel].drop_orphans(lives).0 > 0
    }

    /// Drops all orphans; how many there were.
    pub(crate) fn drop_orphans(&self, lives: impl Fn(Pid) -> bool) -> usize {
        let mut dropped = 0;
        for timers in &self.wheels {
            loop {
                let (some, whole) = timers.drop_orphans(&lives);
                dropped += some;
                if whole {
                    break;
                }
            }
        }
        dropped
    }

    fn note(&self, deadline: u64, (id, inserted): (TimerId, Inserted)) -> (TimerId, Inserted) {
        if inserted == Inserted::Earliest {
            // SeqCst fence: the wheel's `next` before the look at `earliest`; partner: in
            // `refresh`.
            fence(Ordering::SeqCst);
            if deadline < self.earliest() {
                self.earliest.fetch_min(deadline, Ordering::Relaxed);
            }
        }
        (id, inserted)
    }

    pub(crate) fn cancel(&self, id: TimerId) -> bool {
        self.wheels.get(id.wheel as usize).is_some_and(|timers| timers.cancel(id))
    }

    pub(crate) fn is_pending(&self, id: TimerId) -> bool {
        self.wheels.get(id.wheel as usize).is_some_and(|timers| timers.is_pending(id))
    }

    /// Fires what is due in any wheel, `own` first, and returns how much that was, with the
    /// messages among it: the earliest first.
    pub(crate) fn fire(
        &self,
        own: usize,
        now: u64,
        mut wake: impl FnMut(Pid),
        mut admit: impl FnMut(Pid, &mut Envelope<M>) -> Option<Room>,
    ) -> (u64, Vec<Due<M>>) {
        let (before, from) = self.wheels.split_at(own);
        let (mut fired, mut mail) = (0, Vec::new());
        for timers in from.iter().chain(before).filter(|timers| timers.next() <= now) {
            fired += timers.fire(now, &mut mail, &mut wake, &mut admit);
        }
        self.refresh();
        mail.sort_by_key(|due| due.deadline);
        (fired, mail)
    }

    /// At the end of a run: drops the messages that will not be sent any more.
    pub(crate) fn drop_mail(&self) {
        self.wheels.iter().for_each(|timers| drop(timers.take_mail()));
    }

    fn refresh(&self) {
        self.earliest.store(NEVER, Ordering::Relaxed);
        // SeqCst fence: the reset before the look at the wheels; partner: in `insert`.
        fence(Ordering::SeqCst);
        self.earliest.fetch_min(self.scan(), Ordering::Relaxed);
    }

    fn scan(&self) -> u64 {
        self.wheels.iter().map(Timers::next).min().unwrap_or(NEVER)
    }

    /// Does the next deadline depend on workers that may be in a long slice?
    #[inline]
    pub(crate) fn want_keeper(&self) -> bool {
        self.earliest() < self.armed.load(Ordering::Relaxed)
    }

    /// A worker that has announced its sleep: until when it may sleep, and whether it has thereby
    /// become the keeper of everybody's time and must call `disarm` when it gets up.
    pub(crate) fn arm(&self, own: usize) -> (u64, bool) {
        let armed = self.armed.load(Ordering::Relaxed);
        let earliest = self.scan();
        let until = if earliest < armed { earliest } else { self.wheels[own].next() };
        let keeper = until < armed;
        if keeper {
            self.armed.store(until, Ordering::Relaxed);
        }
        (until, keeper)
    }

    pub(crate) fn disarm(&self) {
        self.armed.store(NEVER, Ordering::Relaxed);
    }
}
