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
//! sender may end, and the receiver is looked up when the time has come. Whoever fires takes due
//! messages out first, so many in one go, and posts them, in the order of their deadlines, without the
//! lock. One that finds no room in a mailbox whose senders wait stays in the wheel and tries again later.
//! Messages whose sender has ended (*orphans*) are the first to be given up when there is no room in the
//! wheel, or memory is short.

use crate::{
    mailbox::Envelope,
    pid::Pid,
    quota::Room,
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
/// Timers that fire before the worker does something else. By feel: some tenths of a millisecond.
const FIRED_IN_ONE_GO: u64 = 2048;
/// Entries that are looked at for orphans under the lock in one go.
const LOOKED_AT: usize = 8192;
/// A message that finds no room tries again after 8 ms, then each time twice that, up to a second.
const RETRY_SHIFT: u32 = 23;
const RETRY_DOUBLINGS: u8 = 7;
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
    /// What it has found there.
    pub(crate) room: Room,
    pub(crate) envelope: Envelope<M>,
}

/// A message that is to wait.
pub(crate) struct Delayed<M> {
    /// Who sends it, if that is a process.
    pub(crate) from: Option<Pid>,
    pub(crate) to: Pid,
    pub(crate) envelope: Envelope<M>,
}

struct Entry<M> {
    deadline: u64,
    pid: Pid,
    /// Who sends the message.
    from: Option<Pid>,
    /// What the process gets; without it, it is only woken.
    envelope: Option<Envelope<M>>,
    previous: u32,
    next: u32,
    generation: u32,
    /// `level * BUCKETS + bucket`, or `FREE_ENTRY`.
    place: u16,
    /// How often it has found no room.
    tries: u8,
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
    /// Where the search for orphans goes on.
    looked: usize,
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
            looked: 0,
        };
        Self { next: AtomicU64::new(NEVER), wheel: Mutex::new(wheel), id: id as u32 }
    }

    /// Nanoseconds since the runtime's start before which nothing is due; `NEVER` when empty.
    #[inline]
    pub(crate) fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    pub(crate) fn insert(&self, deadline: u64, pid: Pid) -> (TimerId, Inserted) {
        self.insert_into(&mut self.wheel.lock(), deadline, pid, None, None)
    }

    /// Gives the message back if the wheel holds as many as it may.
    pub(crate) fn insert_mail(
        &self,
        deadline: u64,
        Delayed { from, to, envelope }: Delayed<M>,
    ) -> Result<(TimerId, Inserted), Envelope<M>> {
        let mut wheel = self.wheel.lock();
        if wheel.mail == MAIL_MAX {
            return Err(envelope);
        }
        wheel.mail += 1;
        Ok(self.insert_into(&mut wheel, deadline, to, from, Some(envelope)))
    }

    /// Drops orphans among the next so many entries; how many, and whether that was the whole wheel.
    pub(crate) fn drop_orphans(&self, lives: impl Fn(Pid) -> bool) -> (usize, bool) {
        let mut wheel = self.wheel.lock();
        let end = wheel.entries.len().min(wheel.looked + LOOKED_AT);
        let mut orphans = Vec::new();
        for index in wheel.looked..end {
            let entry = &wheel.entries[index];
            if entry.envelope.is_some() && entry.from.is_some_and(|from| !lives(from)) {
                wheel.unlink(index as u32);
                orphans.extend(wheel.release(index as u32));
            }
        }
        let whole = end == wheel.entries.len();
        wheel.looked = if whole { 0 } else { end };
        drop(wheel); // before the messages: destructors are not ours
        (orphans.len(), whole)
    }

    fn insert_into(
        &self,
        wheel: &mut Wheel<M>,
        deadline: u64,
        pid: Pid,
        from: Option<Pid>,
        envelope: Option<Envelope<M>>,
    ) -> (TimerId, Inserted) {
        let deadline = deadline.min(FOREVER);
        let index = wheel.allocate(deadline, pid, envelope);
        wheel.entries[index as usize].from = from;
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

    /// Fires what is due at `now`, earliest bucket first, and returns how much that was; what is too
    /// much for one go stays due. Processes are woken at once; messages are added to `mail` with the
    /// room that they have found, if they need not try again.
    pub(crate) fn fire(
        &self,
        now: u64,
        mail: &mut Vec<Due<M>>,
        mut wake: impl FnMut(Pid),
        mut admit: impl FnMut(Pid, &mut Envelope<M>) -> Option<Room>,
    ) -> u64 {
        let now = now.min(FOREVER);
        let mut wheel = self.wheel.lock();
        let fired = wheel.advance(now, mail, &mut wake, &mut admit);
        let next = if fired < FIRED_IN_ONE_GO { wheel.next() } else { now };
        self.next.store(next, Ordering::Relaxed);
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
            entry.tries = 0;
            return index;
        }
        let index = u32::try_from(self.entries.len())
            .expect("a timer for each process, twice, and MAIL_MAX messages");
        let previous = NIL;
        self.entries.push(Entry {
            deadline,
            pid,
            from: None,
            envelope,
            previous,
            next: NIL,
            generation: 0,
            place: FREE_ENTRY,
            tries: 0,
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

    /// The room that a due message finds. `None`: none, and it has been put off.
    fn admit(
        &mut self,
        index: u32,
        now: u64,
        admit: &mut impl FnMut(Pid, &mut Envelope<M>) -> Option<Room>,
    ) -> Option<Room> {
        let entry = &mut self.entries[index as usize];
        let Some(envelope) = &mut entry.envelope else { return Some(Room::Unlimited) };
        let room = admit(entry.pid, envelope);
        if room.is_none() {
            entry.deadline = (now + (1 << (RETRY_SHIFT + u32::from(entry.tries)))).min(FOREVER);
            entry.tries = (entry.tries + 1).min(RETRY_DOUBLINGS);
            self.unlink(index);
            self.link(index);
        }
        room
    }

    fn advance(
        &mut self,
        now: u64,
        mail: &mut Vec<Due<M>>,
        wake: &mut impl FnMut(Pid),
        admit: &mut impl FnMut(Pid, &mut Envelope<M>) -> Option<Room>,
    ) -> u64 {
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
                    fired += 1;
                    if let Some(room) = self.admit(this, now, admit) {
                        self.unlink(this);
                        match self.release(this) {
                            Some(envelope) => mail.push(Due { deadline, to: pid, room, envelope }),
                            None => wake(pid),
                        }
                    }
                    if fired == FIRED_IN_ONE_GO {
                        return fired;
                    }
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
        let mut wake = |pid: Pid| fired.push(pid.as_u64());
        while timers.fire(now, &mut mail, &mut wake, admit) == FIRED_IN_ONE_GO {}
        assert!(mail.is_empty());
        fired
    }

    fn admit<M>(_to: Pid, _envelope: &mut Envelope<M>) -> Option<Room> {
        Some(Room::Unlimited)
    }

    fn mail<M>(from: u64, message: M) -> Delayed<M> {
        let from = Some(Pid::from_u64(from));
        Delayed { from, to: Pid::from_u64(7), envelope: Envelope::new(message) }
    }

    #[test]
    fn messages_come_out_in_the_order_of_their_deadlines() {
        let wheels = Wheels::<&str>::new(2);
        let insert = |wheel, deadline, text| {
            wheels.insert_mail(wheel, deadline, mail(1, text)).expect("room").0
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
        let (fired, mail) = wheels.fire(1, 100_000_000, |pid| panic!("woke {pid}"), admit);
        let texts: Vec<&str> = mail.into_iter().map(|due| due.envelope.into_inner()).collect();
        assert_eq!(texts, ["first", "second", "third", "fourth"]);
        assert_eq!(fired, 4);
        wheels.drop_mail();
        assert!(wheels.fire(0, 1 << 41, |_| {}, admit).1.is_empty());
    }

    #[test]
    fn one_message_too_many_is_given_back() {
        let timers = Timers::new(0);
        for _ in 0..MAIL_MAX {
            let inserted = timers.insert_mail(1 << 40, mail(1, ()));
            let _ = inserted.expect("room");
        }
        let insert = |timers: &Timers<()>| timers.insert_mail(5, mail(1, ())).is_ok();
        assert!(!insert(&timers));
        let mut mail = Vec::new();
        while timers.fire(1 << 41, &mut mail, |_| {}, admit) == FIRED_IN_ONE_GO {}
        assert_eq!(mail.len(), MAIL_MAX);
        assert!(insert(&timers));
    }

    #[test]
    fn what_finds_no_room_tries_again_later_and_later_and_can_be_cancelled() {
        let timers = Timers::new(0);
        let (id, _) = timers.insert_mail(100, mail(1, "late")).expect("room");
        let mut mail = Vec::new();
        let (mut now, mut tried_at) = (1 << 20, Vec::new());
        while tried_at.len() < 11 {
            timers.fire(
                now,
                &mut mail,
                |_| {},
                |_, _| {
                    tried_at.push(now);
                    None
                },
            );
            assert!(mail.is_empty() && timers.is_pending(id));
            now = timers.next();
        }
        let delays: Vec<u64> =
            tried_at.windows(2).map(|pair| (pair[1] - pair[0]) >> RETRY_SHIFT).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 64, 128, 128, 128]);
        timers.fire(1 << 40, &mut mail, |_| {}, admit);
        assert_eq!(mail.len(), 1);
        assert!(!timers.is_pending(id));
    }

    #[test]
    fn orphans_make_room_and_no_others() {
        let timers = Timers::new(0);
        let ids: Vec<_> = (0..20_000)
            .map(|n| timers.insert_mail(1 << 40, mail(n % 2 + 1, n)).expect("room").0)
            .collect();
        let mut dropped = 0;
        loop {
            let (some, whole) = timers.drop_orphans(|pid| pid == Pid::from_u64(2));
            dropped += some;
            if whole {
                break;
            }
        }
        assert_eq!(dropped, 10_000);
        let pending = ids.iter().filter(|id| timers.is_pending(**id)).count();
        assert_eq!(pending, 10_000);
        assert!(!timers.is_pending(ids[0]) && timers.is_pending(ids[1]));
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
