//! What memory the host holds for each process, as far as the scheduler knows it.
//!
//! Parties: the *owner* of a process (see `state.rs`) writes `taken`, and its program, while it runs,
//! `own` and `memory`; *senders* estimate what lies in the pile of arrivals, and who has sent most of
//! it; somebody who looks for the largest holder reads it all, at any time. Everything is `Relaxed`:
//! the numbers are of slightly different moments, and serve a choice only.
//!
//! **Samples.** A count that every sender changed would cost each message a contended cache line. So of
//! small messages a sender notes only some, at random gaps that nobody can foresee, and each stands for
//! all in its gap; heavy ones are always noted. Over the thousands of messages that it takes to hold
//! memory worth talking about, the sum is right within a few hundredths.
//!
//! **The flooder** is who has sent more than the others together, found by a vote: a sample of the
//! favourite's raises the votes, one of another's lowers them, and at zero the other becomes the
//! favourite (Boyer and Moore). There are never more votes than what is held, so what was received long
//! ago does not count. A second vote is about groups, as programs tell them: a flood by several, none of
//! whom sends most, or by one after the other.

use crate::{
    Program,
    handle::Handle,
    mailbox::UNIT_BYTES,
    pid::Pid,
    slot::Slot,
    sync::{AtomicU64, Ordering::Relaxed},
};
use std::{cell::Cell, ops::Range};

/// Messages of more units are noted each.
const HEAVY_UNITS: u32 = 64;
/// The mean gap between samples of the others.
const GAP: u32 = 16;

/// What is held for one process.
#[derive(Default)]
pub(crate) struct Holdings {
    /// Units of messages that it has taken from its arrivals and not received.
    pub(crate) taken: AtomicU64,
    /// Bytes that its program has told of: what the host holds for it beside its messages.
    own: AtomicU64,
    /// Address and bytes that its program has told of: the memory that it has itself.
    memory_at: AtomicU64,
    memory: AtomicU64,
    /// The group that its program has told of.
    group: AtomicU64,
    /// Who has sent most of what waits here, and which group.
    process_vote: Vote,
    group_vote: Vote,
}

/// Who has sent most, and by how many units.
#[derive(Default)]
struct Vote {
    favourite: AtomicU64,
    votes: AtomicU64,
}

impl Vote {
    /// One more sample of what waits, of which there are so many units at most.
    fn cast(&self, units: u64, sender: u64, most: u64) {
        let votes = self.votes.load(Relaxed).min(most);
        let votes = if self.favourite.load(Relaxed) == sender {
            votes + units
        } else if votes >= units {
            votes - units
        } else {
            self.favourite.store(sender, Relaxed);
            units - votes
        };
        self.votes.store(votes, Relaxed);
    }

    /// Who has sent more of so many units than all others: a quarter more for the favourite than against
    /// it, so that five parts in eight are its own.
    fn winner(&self, units: u64) -> Option<u64> {
        let votes = self.votes.load(Relaxed);
        (votes > 0 && votes >= units / 4).then(|| self.favourite.load(Relaxed))
    }
}

impl Holdings {
    /// Owner of a free slot: for the next tenant.
    pub(crate) fn open(&self) {
        let votes = [&self.process_vote.votes, &self.group_vote.votes];
        for number in [&self.taken, &self.own, &self.memory, &self.group].into_iter().chain(votes) {
            number.store(0, Relaxed);
        }
    }

    /// Sender: one more sample of what waits here.
    #[cold]
    fn vote(&self, units: u64, sender: Sender, estimate: u64) {
        let most = self.taken.load(Relaxed) + estimate;
        self.process_vote.cast(units, sender.pid.as_u64(), most);
        self.group_vote.cast(units, sender.group, most);
    }
}

/// Decides which messages of one worker are noted.
pub(crate) struct Sampler {
    next_in: Cell<u32>,
    random: Cell<u32>,
}

impl Sampler {
    pub(crate) fn new(seed: usize) -> Self {
        Self { next_in: Cell::new(1), random: Cell::new(0x85EB_CA6B ^ seed as u32) }
    }

    /// For how many units a message stands; 0: it is not noted.
    #[inline]
    pub(crate) fn sample(&self, units: u32) -> u64 {
        if units > HEAVY_UNITS {
            return units.into();
        }
        let left = self.next_in.get() - 1;
        self.next_in.set(left);
        if left == 0 { self.chosen(units) } else { 0 }
    }

    #[cold]
    fn chosen(&self, units: u32) -> u64 {
        // xorshift, as in `worker.rs`. A gap from 1 to 2 * GAP - 1, whose mean is GAP.
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.random.set(x);
        self.next_in.set(1 + x % (2 * GAP - 1));
        u64::from(units) * u64::from(GAP)
    }
}

/// A process that sends, as votes know it.
#[derive(Clone, Copy)]
pub(crate) struct Sender {
    pub(crate) pid: Pid,
    pub(crate) group: u64,
}

impl Sender {
    /// The process that runs in a slot.
    pub(crate) fn in_slot<P: Program>(slot: Slot<P>) -> Option<Self> {
        let group = slot.header().holdings.group.load(Relaxed);
        Some(Self { pid: slot.pid()?, group })
    }
}

/// Sender: notes a sample in the receiver's header. `piled`: it lies in the arrivals.
#[cold]
pub(crate) fn note<P: Program>(to: Slot<P>, units: u64, sender: Option<Sender>, piled: bool) {
    let header = to.header();
    let estimate = &header.arrivals.estimate;
    let before = if piled { estimate.fetch_add(units, Relaxed) } else { estimate.load(Relaxed) };
    if let Some(sender) = sender {
        header.holdings.vote(units, sender, before);
    }
}

/// What the host holds for a process.
#[derive(Clone, Debug)]
pub struct Holder {
    /// Who it is.
    pub pid: Pid,
    /// Bytes of messages that wait for it, about.
    pub mail_bytes: u64,
    /// Bytes that it has told of ([`Process::tell_held`](crate::Process::tell_held)).
    pub own_bytes: u64,
    /// The memory that it has told of ([`Process::tell_memory`](crate::Process::tell_memory)). It may
    /// be somebody else's by now.
    pub memory: Range<usize>,
    /// Who has sent most of what waits for it, if somebody has sent more than all others.
    pub flooder: Option<Pid>,
    /// The group that it has told of ([`Process::tell_group`](crate::Process::tell_group)); 0 if it has
    /// not.
    pub group: u64,
    /// Which group has sent most of what waits for it, in the same way.
    pub flooding_group: Option<u64>,
}

impl<P: Program> Handle<P> {
    /// All living processes with what is held for them, in no order. Takes a cache miss for each.
    pub fn holders(&self) -> impl Iterator<Item = Holder> {
        self.shared().slots.opened().filter_map(|slot| {
            let pid = slot.pid()?;
            let (holdings, arrivals) = (&slot.header().holdings, &slot.header().arrivals);
            let units = holdings.taken.load(Relaxed) + arrivals.estimate();
            let at = holdings.memory_at.load(Relaxed) as usize;
            Some(Holder {
                pid,
                mail_bytes: units * UNIT_BYTES as u64,
                own_bytes: holdings.own.load(Relaxed),
                memory: at..at.saturating_add(holdings.memory.load(Relaxed) as usize),
                flooder: holdings.process_vote.winner(units).map(Pid::from_u64),
                group: holdings.group.load(Relaxed),
                flooding_group: holdings.group_vote.winner(units),
            })
        })
    }
}

impl Holdings {
    pub(crate) fn tell_own(&self, bytes: u64) {
        self.own.store(bytes, Relaxed);
    }

    pub(crate) fn tell_group(&self, group: u64) {
        self.group.store(group, Relaxed);
    }

    pub(crate) fn tell_memory(&self, at: usize, bytes: usize) {
        self.memory_at.store(at as u64, Relaxed);
        self.memory.store(bytes as u64, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_for_all_and_who_sends_most_is_found() {
        let (sampler, holdings) = (Sampler::new(7), Holdings::default());
        let [flooder, other] =
            [1, 2].map(|slot| Sender { pid: Pid::new(slot, 1), group: slot.into() });
        let mut estimate = 0;
        for number in 0..100_000 {
            let sender = if number % 4 == 0 { other } else { flooder };
            let units = sampler.sample(2);
            if units > 0 {
                holdings.vote(units, sender, estimate);
            }
            estimate += units;
        }
        assert!((180_000..220_000).contains(&estimate), "{estimate}");
        assert_eq!(holdings.process_vote.winner(estimate), Some(flooder.pid.as_u64()));
        assert_eq!(holdings.group_vote.winner(estimate), Some(flooder.group));
        // It has all been received: the next votes begin anew.
        holdings.vote(10, other, 0);
        assert_eq!(holdings.process_vote.winner(10), Some(other.pid.as_u64()));
    }

    #[test]
    fn several_who_flood_together_are_found_by_their_group() {
        let (sampler, holdings) = (Sampler::new(7), Holdings::default());
        let mut estimate = 0;
        for number in 0..100_000_u32 {
            // Four of one group send two thirds of it; others send the rest.
            let sender = if number % 3 == 0 {
                Sender { pid: Pid::new(100 + number % 50, 1), group: u64::from(number % 50) }
            } else {
                Sender { pid: Pid::new(1 + number % 4, 1), group: 1000 }
            };
            let units = sampler.sample(2);
            if units > 0 {
                holdings.vote(units, sender, estimate);
            }
            estimate += units;
        }
        assert_eq!(holdings.process_vote.winner(estimate), None);
        assert_eq!(holdings.group_vote.winner(estimate), Some(1000));
    }
}
