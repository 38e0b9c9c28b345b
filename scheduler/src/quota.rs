//! How many messages may wait for a process, where somebody limits that.
//!
//! Parties: *senders*, on any worker, take room before they post; the *owner* of the process (see
//! `state.rs`) opens the quota with the slot, gives room back for each message that it receives, and
//! closes it in the end. A sender that finds no room may queue up for it.
//!
//! Fields: `word` is 0 for a process without limit, which costs a sender one load. Else its upper half
//! is the generation that it is for, so that a late sender takes nothing from the next tenant; then two
//! bits that mean something to the program only (what is to happen to a message that finds no room), one
//! that says that somebody queues, one that is always set, and the room that is left. `Queue` has those who queue, by the
//! process they queue for; few, so one lock is enough, and nobody takes it but a sender that found no room
//! and an owner whose quota says that somebody queues.
//!
//! Protocol of a sender without room: under the lock it looks once more, sets the bit if there is still
//! none, and adds itself. The owner gives room and reads the bit in one operation. So either the
//! sender's look came after, and found room; or the owner sees the bit, and finds the sender once the lock
//! is free. Nobody sleeps beside an empty mailbox.
//!
//! Who is woken is not given the room: a third may be faster, and then it queues anew. Whoever leaves
//! without having used its turn passes it on.
//!
//! Ordering: `Relaxed` throughout. The count guards no memory: messages travel by `mailbox.rs`, and the
//! queue by its lock.

use crate::{
    pid::Pid,
    sync::{AtomicU64, Mutex, Ordering::Relaxed},
};
use std::collections::{HashMap, VecDeque};

const ROOM: u64 = (1 << 28) - 1;
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
}

/// The room in one mailbox. All zeroes: without limit.
pub(crate) struct Quota {
    word: AtomicU64,
}

impl Quota {
    /// Owner of a free slot: for the next tenant.
    pub(crate) fn open(&self, generation: u32, limit: Option<MailboxLimit>) {
        let word = limit.map_or(0, |limit| {
            u64::from(generation) << GENERATION_SHIFT
                | u64::from(limit.mark & 0b11) << MARK_SHIFT
                | LIMITED
                | u64::from(limit.messages).min(ROOM)
        });
        self.word.store(word, Relaxed);
    }

    /// Sender: takes room for a message.
    #[inline]
    pub(crate) fn take(&self, generation: u32) -> Room {
        if self.word.load(Relaxed) == 0 { Room::Unlimited } else { self.take_limited(generation) }
    }

    #[cold]
    fn take_limited(&self, generation: u32) -> Room {
        self.change(generation, |word| if word & ROOM > 0 { word - 1 } else { word })
    }

    /// Sender, under the queue's lock: the same, or says that somebody queues.
    fn take_or_queue(&self, generation: u32) -> Room {
        self.change(generation, |word| if word & ROOM > 0 { word - 1 } else { word | QUEUED })
    }

    fn change(&self, generation: u32, new: impl Fn(u64) -> u64) -> Room {
        let mut word = self.word.load(Relaxed);
        loop {
            if word >> GENERATION_SHIFT != u64::from(generation) || word == 0 {
                return Room::Unlimited;
            }
            match self.word.compare_exchange_weak(word, new(word), Relaxed, Relaxed) {
                Ok(_) if word & ROOM > 0 => return Room::Taken,
                Ok(_) => return Room::Full((word >> MARK_SHIFT) as u8 & 0b11),
                Err(now) => word = now,
            }
        }
    }

    /// Owner: a message has been received. Whether somebody queues for its room.
    #[must_use]
    pub(crate) fn give(&self) -> bool {
        self.word.fetch_add(1, Relaxed) & QUEUED != 0
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
    pub(crate) fn take_or_join(&self, quota: &Quota, to: Pid, me: Pid) -> Room {
        let mut all = self.0.lock();
        let room = quota.take_or_queue(to.generation());
        if let Room::Full(_) = room {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(generation: u32, messages: u32) -> Quota {
        let quota = Quota { word: AtomicU64::new(0) };
        quota.open(generation, Some(MailboxLimit { messages, mark: 2 }));
        quota
    }

    #[test]
    fn there_is_room_for_so_many_and_only_for_this_tenant() {
        let first = Quota { word: AtomicU64::new(0) };
        first.open(0, Some(MailboxLimit { messages: 1, mark: 0 }));
        assert_eq!([first.take(0), first.take(0)], [Room::Taken, Room::Full(0)]);
        let quota = quota(7, 2);
        assert_eq!(quota.take(6), Room::Unlimited);
        assert_eq!([quota.take(7), quota.take(7)], [Room::Taken; 2]);
        assert_eq!(quota.take(7), Room::Full(2));
        assert!(!quota.give());
        assert_eq!(quota.take(7), Room::Taken);
        assert_eq!(quota.close(), None);
        assert_eq!(quota.take(7), Room::Unlimited);
        quota.open(8, None);
        assert_eq!(quota.take(8), Room::Unlimited);
    }

    #[test]
    fn who_queues_is_woken_in_order_and_passes_a_turn_on() {
        let (quota, queue) = (quota(1, 1), Queue::default());
        let (to, [a, b, c]) = (Pid::new(0, 1), [1, 2, 3].map(|slot| Pid::new(slot, 1)));
        assert_eq!(queue.take_or_join(&quota, to, a), Room::Taken);
        for me in [a, b, b, c] {
            assert_eq!(queue.take_or_join(&quota, to, me), Room::Full(2));
        }
        assert!(quota.give());
        assert_eq!(queue.next(&quota, to), Some(a));
        // It died before it could use it.
        assert_eq!(queue.leave(Some(&quota), to, a), Some(b));
        assert_eq!(queue.take_or_join(&quota, to, b), Room::Taken);
        assert_eq!(queue.leave(Some(&quota), to, c), None);
        assert!(!quota.give(), "nobody queues any more");
        assert_eq!(queue.take_or_join(&quota, to, c), Room::Taken);
        assert_eq!(queue.take_or_join(&quota, to, c), Room::Full(2));
        assert_eq!(quota.close(), Some(1));
        assert_eq!(queue.dissolve(to), [c]);
        assert_eq!(queue.take_or_join(&quota, to, c), Room::Unlimited);
    }
}
