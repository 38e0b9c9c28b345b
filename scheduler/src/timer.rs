//! Timers: a hierarchical wheel for each worker.
//!
//! Parties: any worker or outside thread inserts and cancels, under the wheel's lock; any worker
//! fires. Protocol: `next` is never later than the earliest deadline in the wheel, and `earliest`
//! never later than the earliest `next`, so a worker reads one word to know that there is nothing
//! to do. A worker that sleeps gets up for its own wheel, and one of the sleepers (the keeper) for
//! the earliest of all, so that a worker in a long slice does not hold up its timers. Who inserts
//! something earlier into a sleeping worker's wheel from outside must unpark it (the answer of
//! `insert` says so).
//!
//! Eight levels of 64 buckets; a bucket of the lowest level spans 2^14 ns, of the next 64 times
//! that, and so on for 146 years. An entry lies at the level of the highest group of six bits in
//! which its time differs from the wheel's, so buckets of lower levels always come first and each
//! entry moves at most seven times. Within the lowest bucket deadlines are exact.
//!
//! A timer wakes a process or brings it a message. A message that waits belongs to its wheel: its
//! sender may end, and the receiver is looked up when the time has come. Whoever fires takes all
//! due messages out first and posts them, in the order of their deadlines, without the lock.

use crate::{
    mailbox::Envelope,
    pid::Pid,
    sync::{AtomicU64, Mutex, Ordering, fence},
};
use crossbeam_utils::CachePadded;

const TICK_SHIFT: u32 = 14;
const LEVELS: usize = 8;
const BUCKETS: usize = 64;
/// The end of time for the wheel: later deadlines count as this one.
const FOREVER: u64 = (1 << 62) - 1;
const NIL: u32 = u32::MAX;
/// Messages that may wait in one worker's wheel. By feel: 100 MB of entries and envelopes.
const MAIL_MAX: usize = 1 << 20;
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
    pub(crate) to: Pid,
    pub(crate) envelope: Envelope<M>,
}

struct Entry<M> {
    deadline: u64,
    pid: Pid,
    /// What the process gets; without it, it is only woken.
    envelope: Option<Envelope<M>>,
    previous: u32,
    next: u32,
    generation: u32,
    /// `level * BUCKETS + bucket`, or `FREE_ENTRY`.
    place: u16,
}

const FREE_ENTRY: u16 = u16::MAX;

/// One worker's timers.
pub(crate) struct Timers<M> {
    /// Default ordering `Relaxed`: written under the lock; for its worker a hint that it reads
    /// again and again, and after it has announced its sleep (see `park/README.md`).
    next: AtomicU64,
    wheel: Mutex<Wheel<M>>,
    id: u32,
}

struct Wheel<M> {
    /// Ticks: everything before has been fired or moved.
    elapsed: u64,
    occupied: [u64; LEVELS],
    heads: [[u32; BUCKETS]; LEVELS],
    entries: Vec<Entry<M>>,
    free: u32,
    /// Entries with a message.
    mail: usize,
}

impl<M> Timers<M> {
    pub(crate) fn new(id: usize) -> Self {
        let wheel = Wheel {
            elapsed: 0,
            occupied: [0; LEVELS],
            heads: [[NIL; BUCKETS]; LEVELS],
            entries: Vec::new(),
            free: NIL,
            mail: 0,
        };
        Self { next: AtomicU64::new(NEVER), wheel: Mutex::new(wheel), id: id as u32 }
    }

    /// Nanoseconds since the runtime's start before which nothing is due; `NEVER` when empty.
    #[inline]
    pub(crate) fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    pub(crate) fn insert(&self, deadline: u64, pid: Pid) -> (TimerId, Inserted) {
        self.insert_into(&mut self.wheel.lock(), deadline, pid, None)
    }

    /// Gives the message back if the wheel holds as many as it may.
    pub(crate) fn insert_mail(
        &self,
        deadline: u64,
        to: Pid,
        envelope: Envelope<M>,
    ) -> Result<(TimerId, Inserted), Envelope<M>> {
        let mut wheel = self.wheel.lock();
        if wheel.mail == MAIL_MAX {
            return Err(envelope);
        }
        wheel.mail += 1;
        Ok(self.insert_into(&mut wheel, deadline, to, Some(envelope)))
    }

    fn insert_into(
        &self,
        wheel: &mut Wheel<M>,
        deadline: u64,
        pid: Pid,
        envelope: Option<Envelope<M>>,
    ) -> (TimerId, Inserted) {
        let deadline = deadline.min(FOREVER);
        let index = wheel.allocate(deadline, pid, envelope);
        wheel.link(index);
        let generation = wheel.entries[index as usize].generation;
        let inserted = if deadline < self.next() {
            self.next.store(deadline, Ordering::Relaxed);
            Inserted::Earliest
        } else {
            Inserted::Later
        };
        (TimerId { wheel: self.id, index, generation }, inserted)
    }

    /// Whether the timer was still pending.
    pub(crate) fn cancel(&self, id: TimerId) -> bool {
        let mut wheel = self.wheel.lock();
        if !wheel.is_pending(id) {
            return false;
        }
        wheel.unlink(id.index);
        let envelope = wheel.release(id.index);
        // `next` may now be too early: one look for nothing, then it is right again.
        drop(wheel);
        drop(envelope); // without the lock: destructors are not ours
        true
    }

    pub(crate) fn is_pending(&self, id: TimerId) -> bool {
        self.wheel.lock().is_pending(id)
    }

    /// Fires everything due at `now`, earliest bucket first, and returns how much that was.
    /// Processes are woken at once, messages are added to `mail`.
    pub(crate) fn fire(&self, now: u64, mail: &mut Vec<Due<M>>, mut wake: impl FnMut(Pid)) -> u64 {
        let mut wheel = self.wheel.lock();
        let fired = wheel.advance(now.min(FOREVER), mail, &mut wake);
        self.next.store(wheel.next(), Ordering::Relaxed);
        fired
    }

    /// Takes out all messages that wait.
    fn take_mail(&self) -> Vec<Envelope<M>> {
        let mut wheel = self.wheel.lock();
        wheel.mail = 0;
        wheel.entries.iter_mut().filter_map(|entry| entry.envelope.take()).collect()
    }
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
        to: Pid,
        envelope: Envelope<M>,
    ) -> Result<(TimerId, Inserted), Envelope<M>> {
        Ok(self.note(deadline, self.wheels[wheel].insert_mail(deadline, to, envelope)?))
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
    ) -> (u64, Vec<Due<M>>) {
        let (before, from) = self.wheels.split_at(own);
        let (mut fired, mut mail) = (0, Vec::new());
        for timers in from.iter().chain(before).filter(|timers| timers.next() <= now) {
            fired += timers.fire(now, &mut mail, &mut wake);
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

impl<M> Wheel<M> {
    fn is_pending(&self, id: TimerId) -> bool {
        let entry = self.entries.get(id.index as usize);
        entry.is_some_and(|e| e.generation == id.generation && e.place != FREE_ENTRY)
    }

    fn allocate(&mut self, deadline: u64, pid: Pid, envelope: Option<Envelope<M>>) -> u32 {
        let index = self.free;
        if index != NIL {
            let entry = &mut self.entries[index as usize];
            self.free = entry.next;
            entry.deadline = deadline;
            entry.pid = pid;
            entry.envelope = envelope;
            return index;
        }
        let index = u32::try_from(self.entries.len())
            .expect("a timer for each process, twice, and MAIL_MAX messages");
        let previous = NIL;
        self.entries.push(Entry {
            deadline,
            pid,
            envelope,
            previous,
            next: NIL,
            generation: 0,
            place: FREE_ENTRY,
        });
        index
    }

    /// Frees an entry that is in no list; its message, if it had one.
    fn release(&mut self, index: u32) -> Option<Envelope<M>> {
        let free = self.free;
        let entry = &mut self.entries[index as usize];
        entry.place = FREE_ENTRY;
        entry.generation = entry.generation.wrapping_add(1);
        entry.next = free;
        self.free = index;
        let envelope = entry.envelope.take();
        self.mail -= usize::from(envelope.is_some());
        envelope
    }

    fn link(&mut self, index: u32) {
        let tick = (self.entries[index as usize].deadline >> TICK_SHIFT).max(self.elapsed);
        let differing = tick ^ self.elapsed;
        let level = if differing == 0 { 0 } else { (63 - differing.leading_zeros()) as usize / 6 };
        let bucket = (tick >> (6 * level)) as usize % BUCKETS;
        let head = std::mem::replace(&mut self.heads[level][bucket], index);
        self.occupied[level] |= 1 << bucket;
        if head != NIL {
            self.entries[head as usize].previous = index;
        }
        let entry = &mut self.entries[index as usize];
        entry.previous = NIL;
        entry.next = head;
        entry.place = (level * BUCKETS + bucket) as u16;
    }

    fn unlink(&mut self, index: u32) {
        let &Entry { previous, next, place, .. } = &self.entries[index as usize];
        let (level, bucket) = (place as usize / BUCKETS, place as usize % BUCKETS);
        if next != NIL {
            self.entries[next as usize].previous = previous;
        }
        if previous != NIL {
            self.entries[previous as usize].next = next;
            return;
        }
        self.heads[level][bucket] = next;
        if next == NIL {
            self.occupied[level] &= !(1 << bucket);
        }
    }

    /// The earliest bucket that holds anything: level, bucket, first tick.
    fn first(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|&bits| bits != 0)?;
        // All entries of a level agree with `elapsed` above it and lie ahead of it: no wrap-around.
        let bucket = self.occupied[level].trailing_zeros() as usize;
        let above = self.elapsed >> (6 * (level + 1)).min(63) << (6 * (level + 1)).min(63);
        Some((level, bucket, above | (bucket as u64) << (6 * level)))
    }

    fn next(&self) -> u64 {
        match self.first() {
            None => NEVER,
            Some((0, bucket, _)) => {
                let mut earliest = NEVER;
                let mut index = self.heads[0][bucket];
                while index != NIL {
                    let entry = &self.entries[index as usize];
                    earliest = earliest.min(entry.deadline);
                    index = entry.next;
                }
                earliest
            }
            Some((_, _, start)) => start << TICK_SHIFT,
        }
    }

    fn advance(&mut self, now: u64, mail: &mut Vec<Due<M>>, wake: &mut impl FnMut(Pid)) -> u64 {
        let now_tick = now >> TICK_SHIFT;
        let mut fired = 0;
        while let Some((level, bucket, start)) = self.first() {
            if start > now_tick {
                break;
            }
            self.elapsed = self.elapsed.max(start);
            let mut index = self.heads[level][bucket];
            while index != NIL {
                let entry = &self.entries[index as usize];
                let (this, deadline, pid) = (index, entry.deadline, entry.pid);
                index = entry.next;
                if deadline <= now {
                    self.unlink(this);
                    match self.release(this) {
                        Some(envelope) => mail.push(Due { deadline, to: pid, envelope }),
                        None => wake(pid),
                    }
                    fired += 1;
                } else if level > 0 {
                    self.unlink(this);
                    self.link(this);
                }
            }
            // What is left in the lowest bucket is due later within the present tick.
            if level == 0 && self.heads[0][bucket] != NIL {
                break;
            }
        }
        self.elapsed = self.elapsed.max(now_tick);
        fired
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn fire(timers: &Timers<&'static str>, now: u64) -> Vec<u64> {
        let (mut fired, mut mail) = (Vec::new(), Vec::new());
        timers.fire(now, &mut mail, |pid| fired.push(pid.as_u64()));
        assert!(mail.is_empty());
        fired
    }

    #[test]
    fn messages_come_out_in_the_order_of_their_deadlines() {
        let wheels = Wheels::<&str>::new(2);
        let insert = |wheel, deadline, text| {
            let to = Pid::from_u64(7);
            wheels.insert_mail(wheel, deadline, to, Envelope::new(text)).expect("room").0
        };
        insert(0, 90_000_000, "fourth");
        insert(1, 70_000_000, "second");
        insert(0, 80_000_000, "third");
        insert(1, 60_000_000, "first");
        let cancelled = insert(0, 65_000_000, "never");
        insert(0, 1 << 40, "later");
        assert!(wheels.is_pending(cancelled));
        assert!(wheels.cancel(cancelled));
        assert!(!wheels.cancel(cancelled));
        assert!(!wheels.is_pending(cancelled));
        let (fired, mail) = wheels.fire(1, 100_000_000, |pid| panic!("woke {pid}"));
        let texts: Vec<&str> = mail.into_iter().map(|due| due.envelope.into_inner()).collect();
        assert_eq!(texts, ["first", "second", "third", "fourth"]);
        assert_eq!(fired, 4);
        wheels.drop_mail();
        assert!(wheels.fire(0, 1 << 41, |_| {}).1.is_empty());
    }

    #[test]
    fn one_message_too_many_is_given_back() {
        let timers = Timers::new(0);
        for _ in 0..MAIL_MAX {
            let inserted = timers.insert_mail(1 << 40, Pid::from_u64(1), Envelope::new(()));
            let _ = inserted.expect("room");
        }
        let insert = |timers: &Timers<()>| {
            timers.insert_mail(5, Pid::from_u64(1), Envelope::new(())).is_ok()
        };
        assert!(!insert(&timers));
        let mut mail = Vec::new();
        timers.fire(1 << 41, &mut mail, |_| {});
        assert_eq!(mail.len(), MAIL_MAX);
        assert!(insert(&timers));
    }

    #[test]
    fn a_hundred_thousand_timers_fire_at_their_time_and_not_before() {
        let timers = Timers::new(0);
        let mut seed = 1u64;
        let mut deadlines = Vec::new();
        for n in 0..100_000u64 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            // Spread over all magnitudes, from nanoseconds to hours.
            let deadline = seed >> (20 + n % 40);
            let _ = timers.insert(deadline, Pid::from_u64(n + 1));
            deadlines.push(deadline);
        }
        let mut sorted = deadlines.clone();
        sorted.sort_unstable();
        let (mut now, mut count) = (0, 0);
        while timers.next() != NEVER {
            // Whoever sleeps until `next` and then fires never fires late, and wakes for nothing
            // only to move entries.
            now = timers.next().max(now);
            for n in fire(&timers, now) {
                assert_eq!(deadlines[n as usize - 1], now, "on time to the nanosecond");
                assert_eq!(sorted[count], now);
                count += 1;
            }
        }
        assert_eq!(count, deadlines.len());
    }

    #[test]
    fn a_late_look_fires_all_that_is_due_and_keeps_the_rest() {
        let timers = Timers::new(0);
        for n in 1..=1000u64 {
            let _ = timers.insert(n * 1_000_000, Pid::from_u64(n));
        }
        assert_eq!(fire(&timers, 500_500_000).len(), 500);
        // Never later than the earliest that is left.
        assert!((500_500_001..=501_000_000).contains(&timers.next()));
        assert_eq!(fire(&timers, u64::MAX).len(), 500);
        assert_eq!(timers.next(), NEVER);
    }

    #[test]
    fn cancelled_timers_stay_silent_and_their_ids_stale() {
        let timers = Timers::new(0);
        let ids: Vec<_> = (1..=100).map(|n| timers.insert(n, Pid::from_u64(n)).0).collect();
        for id in ids.iter().step_by(2) {
            assert!(timers.cancel(*id));
            assert!(!timers.cancel(*id));
        }
        let _ = timers.insert(1000, Pid::from_u64(1000)); // takes a cancelled entry's place
        assert!(!timers.cancel(ids[98]));
        assert_eq!(fire(&timers, 100).len(), 50);
        assert!(!timers.cancel(ids[1]));
        assert_eq!(fire(&timers, 1000), [1000]);
    }

    #[test]
    fn the_past_and_the_end_of_time_are_deadlines_too() {
        let timers = Timers::new(0);
        assert_eq!(fire(&timers, 1 << 40), []);
        let (_, inserted) = timers.insert(0, Pid::from_u64(1));
        assert_eq!(inserted, Inserted::Earliest);
        let _ = timers.insert(u64::MAX, Pid::from_u64(2));
        assert_eq!(fire(&timers, 1 << 40), [1]);
        assert_eq!(fire(&timers, FOREVER), [2]);
    }
}
