//! How many messages, and of how many bytes, may wait for a process, where somebody limits that.
//!
//! Parties: *senders*, on any worker, take room before they post; the *owner* of the process (see
//! `state.rs`) opens the quota with the slot, gives room back for each message that it receives, and
//! closes it in the end. A sender that finds no room may queue up for it.
//!
//! Fields: `word` is 0 for a process without limit, which costs a sender one load. Else its upper half
//! is the generation that it is for, so that a late sender takes nothing from the next tenant; then two
//! bits that mean something to the program only (what is to happen to a message that finds no room), one
//! that says that somebody queues, one that is always set, and the room that is left, in messages. `units`
//! is the room in units of memory (`mailbox.rs`): a message is accepted while there is any, so that one
//! larger than the limit can be received at all; the last one may go beyond it. `Queue` has those who queue, by the
//! process they queue for; few, so one lock is enough, and nobody takes it but a sender that found no room
//! and an owner whose quota says that somebody queues.
//!
//! Protocol of a sender without room: under the lock it looks once more, sets the bit if there is still
//! none, and adds itself. The owner gives units, then room, and reads the bit with that. So either the
//! sender's look came after, and found room; or the owner sees the bit, and finds the sender once the lock
//! is free. Nobody sleeps beside an empty mailbox.
//!
//! Who is woken is not given the room: a third may be faster, and then it queues anew. Whoever leaves
//! without having used its turn passes it on.
//!
//! Ordering: `Relaxed` but for what ties the two words together: the owner's `Release` in `give` and the
//! senders' `Acquire` of the word before they look at the units. Who has seen the word without what was
//! given fails to exchange it, or somebody else has taken room meanwhile, and the owner will give that
//! back and see the bit. The counts guard no memory: messages travel by `mailbox.rs`, and the queue by
//! its lock.

use crate::{
    mailbox::UNIT_BYTES,
    pid::Pid,
    sync::{
        AtomicU64, Mutex,
        Ordering::{Acquire, Relaxed, Release},
    },
};
use std::collections::{HashMap, VecDeque};

const ROOM: u64 = (1 << 28) - 1;
/// More units than there is memory.
const UNITS_MOST: u64 = 1 << 60;
/// There is a limit. Without it a full mailbox of the first tenant would be a word of zeroes.
const LIMITED: u64 = 1 << 28;
const QUEUED: u64 = 1 << 29;
const MARK_SHIFT: u32 = 30;
const GENERATION_SHIFT: u32 = 32;

/// How many messages may wait for a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxLimit {
    /// At most so many, and at most [`MailboxLimit::MOST`].
    pub messages: u32,
    /// No more come while those that wait take so many bytes. `None`: any number.
    pub bytes: Option<u64>,
    /// Two bits that mean something to the program: what to do with one more.
    pub mark: u8,
}

impl MailboxLimit {
    /// The highest limit there can be.
    pub const MOST: u32 = ROOM as u32;
}

/// What a sender has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Room {
    /// There is no limit, or no such process.
    Unlimited,
    /// It has taken room for one message, which it posts now.
    Taken,
    /// There is none. With the limit's mark.
    Full(u8),
    /// The same, and what lacks is bytes.
    Heavy(u8),
}

impl Room {
    /// The limit's mark, if there is no room.
    pub fn mark(self) -> Option<u8> {
        match self {
            Self::Unlimited | Self::Taken => None,
            Self::Full(mark) | Self::Heavy(mark) => Some(mark),
        }
    }
}

/// The room in one mailbox. All zeroes: without limit.
pub(crate) struct Quota {
    word: AtomicU64,
    /// Signed: the last message may have gone beyond the limit.
    units: AtomicU64,
}

impl Quota {
    #[cfg(any(test, loom))]
    pub(crate) fn new() -> Self {
        Self { word: AtomicU64::new(0), units: AtomicU64::new(0) }
    }

    /// Owner of a free slot: for the next tenant.
    pub(crate) fn open(&self, generation: u32, limit: Option<MailboxLimit>) {
        let word = limit.map_or(0, |limit| {
            u64::from(generation) << GENERATION_SHIFT
                | u64::from(limit.mark & 0b11) << MARK_SHIFT
                | LIMITED
                | u64::from(limit.messages).min(ROOM)
        });
        let bytes = limit.and_then(|limit| limit.bytes).unwrap_or(u64::MAX);
        self.units.store((bytes / UNIT_BYTES as u64).min(UNITS_MOST), Relaxed);
        self.word.store(word, Relaxed);
    }

    /// Sender: takes room for a message.
    #[inline]
    pub(crate) fn take(&self, generation: u32, units: impl FnOnce() -> u32) -> Room {
        if self.word.load(Relaxed) == 0 {
            Room::Unlimited
        } else {
            self.take_limited(generation, units())
        }
    }

    #[cold]
    fn take_limited(&self, generation: u32, units: u32) -> Room {
        self.change(generation, units, 0)
    }

    /// Sender, under the queue's lock: the same, or says that somebody queues.
    fn take_or_queue(&self, generation: u32, units: u32) -> Room {
        self.change(generation, units, QUEUED)
    }

    fn change(&self, generation: u32, units: u32, if_none: u64) -> Room {
        // Acquire, here and when it fails: before the look at the units; partner: `give`.
        let mut word = self.word.load(Acquire);
        loop {
            if word >> GENERATION_SHIFT != u64::from(generation) || word == 0 {
                return Room::Unlimited;
            }
            let light = self.units.load(Relaxed).cast_signed() > 0;
            let room = word & ROOM > 0 && light;
            let new = if room { word - 1 } else { word | if_none };
            match self.word.compare_exchange_weak(word, new, Relaxed, Acquire) {
                Ok(_) if room => {
                    // If the owner has ended since and another has the slot, that one has room for
                    // one message less: no harm.
                    self.units.fetch_sub(units.into(), Relaxed);
                    return Room::Taken;
                }
                Ok(_) => {
                    let mark = (word >> MARK_SHIFT) as u8 & 0b11;
                    return if light { Room::Full(mark) } else { Room::Heavy(mark) };
                }
                Err(now) => word = now,
            }
        }
    }

    /// Owner: a message has been received that had taken so much. Whether somebody queues for its room.
    #[must_use]
    pub(crate) fn give(&self, units: u32) -> bool {
        self.units.fetch_add(units.into(), Relaxed);
        // Release: after the units; partner: `change`.
        self.word.fetch_add(1, Release) & QUEUED != 0
    }

    /// Under the queue's lock: nobody queues any more.
    fn nobody_queues(&self) {
        self.word.fetch_and(!QUEUED, Relaxed);
    }

    /// Owner, in the end. The generation that it was for, if somebody queues.
    #[must_use]
    pub(crate) fn close(&self) -> Option<u32> {
        if self.word.load(Relaxed) == 0 {
            return None;
        }
        let last = self.word.swap(0, Relaxed);
        (last & QUEUED != 0).then_some((last >> GENERATION_SHIFT) as u32)
    }
}

/// Who queues for room in whose mailbox.
#[derive(Default)]
pub(crate) struct Queue(Mutex<HashMap<u64, VecDeque<Pid>>>);

impl Queue {
    /// Sender `me`: takes room, or waits in the queue for a wake-up, once however often it asks.
    pub(crate) fn take_or_join(&self, quota: &Quota, to: Pid, me: Pid, units: u32) -> Room {
        let mut all = self.0.lock();
        let room = quota.take_or_queue(to.generation(), units);
        if room.mark().is_some() {
            let queue = all.entry(to.as_u64()).or_default();
            if !queue.contains(&me) {
                queue.push_back(me);
            }
        }
        room
    }

    /// Sender `me` queues no more. Whom to wake in its place, if its turn had come.
    pub(crate) fn leave(&self, quota: Option<&Quota>, to: Pid, me: Pid) -> Option<Pid> {
        let mut all = self.0.lock();
        let queue = all.get_mut(&to.as_u64())?;
        let place = queue.iter().position(|pid| *pid == me);
        let next = match place {
            Some(place) => {
                queue.remove(place);
                None
            }
            None => queue.pop_front(),
        };
        Self::tidy(&mut all, quota, to);
        next
    }

    /// Owner: there is room. Whom to wake.
    pub(crate) fn next(&self, quota: &Quota, to: Pid) -> Option<Pid> {
        let mut all = self.0.lock();
        let next = all.get_mut(&to.as_u64()).and_then(VecDeque::pop_front);
        Self::tidy(&mut all, Some(quota), to);
        next
    }

    /// Owner, after `close`: everybody may go.
    pub(crate) fn dissolve(&self, to: Pid) -> VecDeque<Pid> {
        self.0.lock().remove(&to.as_u64()).unwrap_or_default()
    }

    fn tidy(all: &mut HashMap<u64, VecDeque<Pid>>, quota: Option<&Quota>, to: Pid) {
        if all.get(&to.as_u64()).is_none_or(VecDeque::is_empty) {
            all.remove(&to.as_u64());
            if let Some(quota) = quota {
                quota.nobody_queues();
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn quota(generation: u32, messages: u32) -> Quota {
        let quota = Quota::new();
        quota.open(generation, Some(MailboxLimit { messages, bytes: None, mark: 2 }));
        quota
    }

    #[test]
    fn there_is_room_for_so_many_and_only_for_this_tenant() {
        let first = Quota::new();
        first.open(0, Some(MailboxLimit { messages: 1, bytes: None, mark: 0 }));
        assert_eq!([first.take(0, || 1), first.take(0, || 1)], [Room::Taken, Room::Full(0)]);
        let quota = quota(7, 2);
        assert_eq!(quota.take(6, || 1), Room::Unlimited);
        assert_eq!([quota.take(7, || 1), quota.take(7, || 1)], [Room::Taken; 2]);
        assert_eq!(quota.take(7, || 1), Room::Full(2));
        assert!(!quota.give(1));
        assert_eq!(quota.take(7, || 1), Room::Taken);
        assert_eq!(quota.close(), None);
        assert_eq!(quota.take(7, || 1), Room::Unlimited);
        quota.open(8, None);
        assert_eq!(quota.take(8, || 1), Room::Unlimited);
    }

    #[test]
    fn a_message_is_accepted_while_there_is_any_room_in_bytes() {
        let quota = Quota::new();
        let limit = MailboxLimit { messages: 9, bytes: Some(2 * UNIT_BYTES as u64), mark: 1 };
        quota.open(3, Some(limit));
        assert_eq!(quota.take(3, || 1), Room::Taken);
        assert_eq!(quota.take(3, || 100), Room::Taken);
        assert_eq!(quota.take(3, || 1), Room::Heavy(1));
        assert!(!quota.give(1));
        assert_eq!(quota.take(3, || 1), Room::Heavy(1));
        assert!(!quota.give(100));
        assert_eq!(quota.take(3, || 1), Room::Taken);
        quota.open(4, Some(MailboxLimit { bytes: Some(0), ..limit }));
        assert_eq!(quota.take(4, || 1), Room::Heavy(1));
    }

    #[test]
    fn who_queues_is_woken_in_order_and_passes_a_turn_on() {
        let (quota, queue) = (quota(1, 1), Queue::default());
        let (to, [a, b, c]) = (Pid::new(0, 1), [1, 2, 3].map(|slot| Pid::new(slot, 1)));
        assert_eq!(queue.take_or_join(&quota, to, a, 1), Room::Taken);
        for me in [a, b, b, c] {
            assert_eq!(queue.take_or_join(&quota, to, me, 1), Room::Full(2));
        }
        assert!(quota.give(1));
        assert_eq!(queue.next(&quota, to), Some(a));
        // It died before it could use it.
        assert_eq!(queue.leave(Some(&quota), to, a), Some(b));
        assert_eq!(queue.take_or_join(&quota, to, b, 1), Room::Taken);
        assert_eq!(queue.leave(Some(&quota), to, c), None);
        assert!(!quota.give(1), "nobody queues any more");
        assert_eq!(queue.take_or_join(&quota, to, c, 1), Room::Taken);
        assert_eq!(queue.take_or_join(&quota, to, c, 1), Room::Full(2));
        assert_eq!(quota.close(), Some(1));
        assert_eq!(queue.dissolve(to), [c]);
        assert_eq!(queue.take_or_join(&quota, to, c, 1), Room::Unlimited);
    }
}
