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

use crate::{
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

struct Entry {
    deadline: u64,
    pid: Pid,
    previous: u32,
    next: u32,
    generation: u32,
    /// `level * BUCKETS + bucket`, or `FREE_ENTRY`.
    place: u16,
}

const FREE_ENTRY: u16 = u16::MAX;

/// One worker's timers.
pub(crate) struct Timers {
    /// Default ordering `Relaxed`: written under the lock; for its worker a hint that it reads
    /// again and again, and after it has announced its sleep (see `park/README.md`).
    next: AtomicU64,
    wheel: Mutex<Wheel>,
    id: u32,
}

struct Wheel {
    /// Ticks: everything before has been fired or moved.
    elapsed: u64,
    occupied: [u64; LEVELS],
    heads: [[u32; BUCKETS]; LEVELS],
    entries: Vec<Entry>,
    free: u32,
}

impl Timers {
    pub(crate) fn new(id: usize) -> Self {
        let wheel = Wheel {
            elapsed: 0,
            occupied: [0; LEVELS],
            heads: [[NIL; BUCKETS]; LEVELS],
            entries: Vec::new(),
            free: NIL,
        };
        Self { next: AtomicU64::new(NEVER), wheel: Mutex::new(wheel), id: id as u32 }
    }

    /// Nanoseconds since the runtime's start before which nothing is due; `NEVER` when empty.
    #[inline]
    pub(crate) fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    pub(crate) fn insert(&self, deadline: u64, pid: Pid) -> (TimerId, Inserted) {
        let deadline = deadline.min(FOREVER);
        let mut wheel = self.wheel.lock();
        let index = wheel.allocate(deadline, pid);
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
        match wheel.entries.get(id.index as usize) {
            Some(e) if e.generation == id.generation && e.place != FREE_ENTRY => {}
            _ => return false,
        }
        wheel.unlink(id.index);
        wheel.release(id.index);
        // `next` may now be too early: one look for nothing, then it is right again.
        true
    }

    /// Fires everything due at `now`, earliest bucket first, and returns how much that was.
    pub(crate) fn fire(&self, now: u64, mut wake: impl FnMut(Pid)) -> u64 {
        let mut wheel = self.wheel.lock();
        let fired = wheel.advance(now.min(FOREVER), &mut wake);
        self.next.store(wheel.next(), Ordering::Relaxed);
        fired
    }
}

/// All workers' wheels, and which deadline comes first.
pub(crate) struct Wheels {
    wheels: Box<[Timers]>,
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

impl Wheels {
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
        let (id, inserted) = self.wheels[wheel].insert(deadline, pid);
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

    /// Fires what is due in any wheel, `own` first, and returns how much that was.
    pub(crate) fn fire(&self, own: usize, now: u64, mut wake: impl FnMut(Pid)) -> u64 {
        let (before, from) = self.wheels.split_at(own);
        let mut fired = 0;
        for timers in from.iter().chain(before).filter(|timers| timers.next() <= now) {
            fired += timers.fire(now, &mut wake);
        }
        self.refresh();
        fired
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

impl Wheel {
    fn allocate(&mut self, deadline: u64, pid: Pid) -> u32 {
        let index = self.free;
        if index != NIL {
            let entry = &mut self.entries[index as usize];
            self.free = entry.next;
            entry.deadline = deadline;
            entry.pid = pid;
            return index;
        }
        let index = u32::try_from(self.entries.len()).expect("fewer timers than processes, twice");
        let previous = NIL;
        self.entries.push(Entry {
            deadline,
            pid,
            previous,
            next: NIL,
            generation: 0,
            place: FREE_ENTRY,
        });
        index
    }

    fn release(&mut self, index: u32) {
        let free = self.free;
        let entry = &mut self.entries[index as usize];
        entry.place = FREE_ENTRY;
        entry.generation = entry.generation.wrapping_add(1);
        entry.next = free;
        self.free = index;
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
        let Entry { previous, next, place, .. } = self.entries[index as usize];
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

    fn advance(&mut self, now: u64, wake: &mut impl FnMut(Pid)) -> u64 {
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
                    self.release(this);
                    wake(pid);
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

    fn fire(timers: &Timers, now: u64) -> Vec<u64> {
        let mut fired = Vec::new();
        timers.fire(now, |pid| fired.push(pid.as_u64()));
        fired
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
