//! One worker's wheel.
//!
//! Eight levels of 64 buckets; a bucket of the lowest level spans 2^14 ns, of the next 64 times
//! that, and so on for 146 years. An entry lies at the level of the highest group of six bits in
//! which its time differs from the wheel's, so buckets of lower levels always come first and each
//! entry moves at most seven times. Within the lowest bucket deadlines are exact.

use super::{Delayed, Due, Inserted, NEVER, TimerId};
use crate::{
    held::Sender,
    mailbox::Envelope,
    pid::Pid,
    quota::Room,
    sync::{AtomicU64, Mutex, Ordering},
};

const TICK_SHIFT: u32 = 14;
const LEVELS: usize = 8;
const BUCKETS: usize = 64;
/// The end of time for the wheel: later deadlines count as this one.
pub(super) const FOREVER: u64 = (1 << 62) - 1;
const NIL: u32 = u32::MAX;
/// Messages that may wait in one worker's wheel. By feel: 100 MB of entries and envelopes.
pub(super) const MAIL_MAX: usize = 1 << 20;
/// Timers that fire before the worker does something else. By feel: some tenths of a millisecond.
pub(super) const FIRED_IN_ONE_GO: u64 = 2048;
/// Entries that are looked at for orphans under the lock in one go.
const LOOKED_AT: usize = 8192;
/// A message that finds no room tries again after 8 ms, then each time twice that, up to a second.
pub(super) const RETRY_SHIFT: u32 = 23;
const RETRY_DOUBLINGS: u8 = 7;
struct Entry<M> {
    deadline: u64,
    pid: Pid,
    /// Who sends the message.
    from: Option<Sender>,
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
pub(super) struct Timers<M> {
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
    pub(super) fn new(id: usize) -> Self {
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
    pub(super) fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    pub(super) fn insert(&self, deadline: u64, pid: Pid) -> (TimerId, Inserted) {
        self.insert_into(&mut self.wheel.lock(), deadline, pid, None, None)
    }

    /// Gives the message back if the wheel holds as many as it may.
    pub(super) fn insert_mail(
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
    pub(super) fn drop_orphans(&self, lives: impl Fn(Pid) -> bool) -> (usize, bool) {
        let mut wheel = self.wheel.lock();
        let end = wheel.entries.len().min(wheel.looked + LOOKED_AT);
        let mut orphans = Vec::new();
        for index in wheel.looked..end {
            let entry = &wheel.entries[index];
            if entry.envelope.is_some() && entry.from.is_some_and(|from| !lives(from.pid)) {
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
        from: Option<Sender>,
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
    pub(super) fn cancel(&self, id: TimerId) -> bool {
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

    pub(super) fn is_pending(&self, id: TimerId) -> bool {
        self.wheel.lock().is_pending(id)
    }

    /// Fires what is due at `now`, earliest bucket first, and returns how much that was; what is too
    /// much for one go stays due. Processes are woken at once; messages are added to `mail` with the
    /// room that they have found, if they need not try again.
    pub(super) fn fire(
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
    pub(super) fn take_mail(&self) -> Vec<Envelope<M>> {
        let mut wheel = self.wheel.lock();
        wheel.mail = 0;
        wheel.entries.iter_mut().filter_map(|entry| entry.envelope.take()).collect()
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
                let (this, deadline, pid, from) = (index, entry.deadline, entry.pid, entry.from);
                index = entry.next;
                if deadline <= now {
                    fired += 1;
                    if let Some(room) = self.admit(this, now, admit) {
                        self.unlink(this);
                        match self.release(this) {
                            Some(envelope) => {
                                mail.push(Due { deadline, from, to: pid, room, envelope })
                            }
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
