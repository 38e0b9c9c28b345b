//! A process's mailbox: any number of senders, one receiver, no lock, no allocation of its own.
//!
//! A message travels in an [`Envelope`], which its sender fills and its receiver may fill again:
//! the link that the mailbox needs is part of it.
//!
//! Parties: *senders* touch only `arrivals`. The *owner* (the worker that runs, builds or reaps the
//! process, or whoever has just made it ACTIVE and not queued it yet: see `state.rs`) takes
//! everything from `arrivals` at once and keeps what it does not want yet in its private `Inbox`.
//! A sender that finds the process parked becomes its owner by waking it, and puts the message
//! straight into the inbox, behind what has arrived before (`Inbox::deliver`).
//!
//! Fields: `arrivals` is one word: the address of the newest message that has arrived (a stack
//! linked by `next`), and in its top 16 bits the low bits of the generation it is open for. Address
//! 0 means closed, so fresh memory is a closed mailbox; address 1 means open and empty.
//!
//! Protocol. A sender links its message to the word it read and exchanges; it succeeds only if the
//! mailbox is still open for its generation, so an accepted message is either received or dropped
//! when that process ends, never stranded in a free slot. The sender that found it empty must wake
//! the owner; later ones need not: their message is in the same pile, and the owner takes the pile
//! as a whole. Therefore an owner that was woken must `collect` before it parks again if it still
//! cares for mail. (A sender that sleeps through exactly 65,536 tenants of a slot between reading
//! and exchanging could slip a message to the wrong tenant; each message carries its full
//! generation, and the owner drops such a one.)
//!
//! Ordering of `arrivals`: `Release` when a message is pushed, `Acquire` when the pile is taken:
//! the message's contents travel that way. That the owner *looks* after the push is the business of
//! `state.rs`.
//!
//! **Weights.** An envelope knows how much memory it takes, in units of [`UNIT_BYTES`]. The owner keeps
//! the sum of what it has taken and not received, which is exact. What lies in the pile senders only
//! estimate (`held.rs`), and the owner forgets that when it takes the pile.
// Unlinking a node is several dereferences under one argument.
#![allow(clippy::multiple_unsafe_ops_per_block)]

use crate::{
    state::{Claim, Signal, State},
    sync::{AtomicU64, Ordering},
};
use std::{
    fmt,
    ops::{Deref, DerefMut},
    ptr,
};

const CLOSED: u64 = 0;
const EMPTY: u64 = 1;
const TAG_SHIFT: u32 = 48;
const ADDRESS: u64 = (1 << TAG_SHIFT) - 1;

/// What weights count.
pub(crate) const UNIT_BYTES: usize = 32;
/// The part of a node's `weight` that is the weight; the other bit says that it is charged.
const WEIGHT: u32 = u32::MAX >> 1;
/// Units that are dropped in one go: 16 MiB.
const DROPPED_WEIGHT: u32 = 1 << 19;

struct Node<M> {
    next: *mut Node<M>,
    generation: u32,
    /// Units of memory that it takes; and a bit that says that it has taken room in a mailbox with a
    /// limit.
    weight: u32,
    message: M,
}

/// A message and its place in a mailbox: one allocation, which moves with the message.
pub struct Envelope<M>(Box<Node<M>>);

// SAFETY: a node outside of a mailbox is a message and two words that mean nothing; inside, it is
// moved between threads by the mailbox's protocol, as a message may be.
unsafe impl<M: Send> Send for Envelope<M> {}
// SAFETY: a shared envelope gives out a shared message and nothing else.
unsafe impl<M: Sync> Sync for Envelope<M> {}

impl<M> Envelope<M> {
    /// Allocates.
    pub fn new(message: M) -> Self {
        let node = Node { next: ptr::null_mut(), generation: 0, weight: 0, message };
        Self(Box::new(node))
    }

    /// Notes whether it has taken room in a mailbox with a limit; whether it had before.
    #[cfg_attr(loom, allow(dead_code, reason = "limits are not part of the models"))]
    pub(crate) fn charge(&mut self, charged: bool) -> bool {
        let before = self.0.weight;
        self.0.weight = before & WEIGHT | u32::from(charged) << WEIGHT.count_ones();
        before > WEIGHT
    }

    /// Notes that it takes so many bytes beside the envelope; what it weighs with that.
    #[inline]
    pub(crate) fn weigh(&mut self, bytes: usize) -> u32 {
        let units = Self::units_for(bytes);
        self.0.weight = self.0.weight & !WEIGHT | units;
        units
    }

    /// What an envelope weighs whose message takes so many bytes beside it.
    pub(crate) fn units_for(bytes: usize) -> u32 {
        let units = (size_of::<Node<M>>() + bytes).div_ceil(UNIT_BYTES);
        units.min(WEIGHT as usize) as u32
    }

    /// What it was last found to weigh.
    pub(crate) fn units(&self) -> u32 {
        self.0.weight & WEIGHT
    }

    /// The message alone.
    pub fn into_inner(self) -> M {
        self.0.message
    }

    fn into_raw(self) -> *mut Node<M> {
        Box::into_raw(self.0)
    }

    /// # Safety
    /// Once for each `into_raw`, by the only one who has the pointer.
    unsafe fn from_raw(node: *mut Node<M>) -> Self {
        // SAFETY: forwards the caller's promise.
        Self(unsafe { Box::from_raw(node) })
    }
}

impl<M> From<M> for Envelope<M> {
    fn from(message: M) -> Self {
        Self::new(message)
    }
}

impl<M> Deref for Envelope<M> {
    type Target = M;
    fn deref(&self) -> &M {
        &self.0.message
    }
}

impl<M> DerefMut for Envelope<M> {
    fn deref_mut(&mut self) -> &mut M {
        &mut self.0.message
    }
}

impl<M: fmt::Debug> fmt::Debug for Envelope<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.message.fmt(f)
    }
}

impl<M: PartialEq> PartialEq for Envelope<M> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

/// The senders' side.
pub(crate) struct Arrivals<M> {
    word: AtomicU64,
    /// Units in the pile, as senders estimate. `Relaxed`: nothing hangs on it but a choice.
    pub(crate) estimate: AtomicU64,
    marker: std::marker::PhantomData<fn(M) -> M>,
}

/// The owner's side: what was taken from the arrivals and not yet received, oldest first. All zero
/// is an empty one.
pub(crate) struct Inbox<M> {
    head: *mut Node<M>,
    tail: *mut Node<M>,
    /// The last message that the latest search refused, as it did all before; null after a search
    /// that found one. Always null or in the list, until the mailbox is closed; then it is the pile
    /// that had arrived, a list of its own.
    refused: *mut Node<M>,
    /// Units of all that is in the list.
    weight: u64,
}

/// What a search has come to that looks at so many messages at most.
#[derive(Debug, PartialEq)]
pub enum Found<M> {
    /// This is wanted.
    Message(Envelope<M>),
    /// Nothing is.
    Nothing,
    /// Nothing among those; go on with those behind.
    Unfinished,
}

impl<M> Found<M> {
    fn message(self) -> Option<Envelope<M>> {
        match self {
            Self::Message(message) => Some(message),
            Self::Nothing | Self::Unfinished => None,
        }
    }
}

/// What a sender owes after a push.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Pushed {
    /// Wake the owner.
    First,
    /// Nothing: the one who pushed first wakes it.
    Behind,
}

/// Sender: puts a message into the mailbox of tenant `generation`. True: the process was parked, is
/// ACTIVE now, and the caller must put it into a run queue. `deliver` is called if the caller owns
/// it already before that: it hands the message to [`Inbox::deliver`].
#[inline]
pub(crate) fn post<M>(
    state: &State,
    arrivals: &Arrivals<M>,
    generation: u32,
    envelope: Envelope<M>,
    deliver: impl FnOnce(Envelope<M>),
) -> Result<bool, Envelope<M>> {
    match state.claim(generation) {
        Claim::Claimed => {
            deliver(envelope);
            Ok(true)
        }
        Claim::Awake => match arrivals.push(generation, envelope)? {
            Pushed::First => Ok(state.wake(generation) == Signal::Enqueue),
            Pushed::Behind => Ok(false),
        },
        Claim::Gone => Err(envelope),
    }
}

fn tag(generation: u32) -> u64 {
    u64::from(generation as u16) << TAG_SHIFT
}

impl<M> Arrivals<M> {
    #[cfg(any(test, loom))]
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicU64::new(CLOSED),
            estimate: AtomicU64::new(0),
            marker: std::marker::PhantomData,
        }
    }

    /// Units in the pile, about.
    #[cfg_attr(loom, allow(dead_code, reason = "limits are not part of the models"))]
    pub(crate) fn estimate(&self) -> u64 {
        self.estimate.load(Ordering::Relaxed)
    }

    /// Owner of a free slot: accept messages for this generation.
    pub(crate) fn open(&self, generation: u32) {
        // Relaxed: `State::publish` releases it, and nobody has the pid before.
        self.word.store(tag(generation) | EMPTY, Ordering::Relaxed);
        self.estimate.store(0, Ordering::Relaxed);
    }

    /// Sender: hands the message over, or back if the mailbox is not open for that generation.
    pub(crate) fn push(
        &self,
        generation: u32,
        mut envelope: Envelope<M>,
    ) -> Result<Pushed, Envelope<M>> {
        // Relaxed: a guess that the exchange checks.
        let mut now = self.word.load(Ordering::Relaxed);
        envelope.0.generation = generation;
        let node = envelope.into_raw();
        let address = node.expose_provenance() as u64;
        assert!(address & !ADDRESS == 0 && address > EMPTY, "user addresses have at most 48 bits");
        loop {
            if now & !ADDRESS != tag(generation) || now & ADDRESS == CLOSED {
                // SAFETY: `node` comes from `into_raw` above and was not published.
                return Err(unsafe { Envelope::from_raw(node) });
            }
            let next = pointer(now);
            // SAFETY: `node` is ours alone until the exchange succeeds.
            unsafe { (*node).next = next };
            // Release: publishes the node. Relaxed on failure: only refreshes the guess.
            match self.word.compare_exchange_weak(
                now,
                tag(generation) | address,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(if next.is_null() { Pushed::First } else { Pushed::Behind }),
                Err(seen) => now = seen,
            }
        }
    }

    /// Owner: takes the pile, newest first, and leaves `rest` (open or closed).
    fn take(&self, rest: u64) -> *mut Node<M> {
        // Acquire: pairs with the Release of every push in the pile (they form one release
        // sequence).
        pointer(self.word.swap(rest, Ordering::Acquire))
    }
}

fn pointer<M>(word: u64) -> *mut Node<M> {
    match word & ADDRESS {
        CLOSED | EMPTY => ptr::null_mut(),
        address => ptr::with_exposed_provenance_mut(address as usize),
    }
}

impl<M> Inbox<M> {
    #[cfg(any(test, loom))]
    pub(crate) fn new() -> Self {
        let null = ptr::null_mut();
        Self { head: null, tail: null, refused: null, weight: 0 }
    }

    /// Units of memory that the messages take which were taken from the arrivals and not received.
    #[cfg_attr(loom, allow(dead_code, reason = "limits are not part of the models"))]
    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    /// Owner: puts a message behind all that has arrived.
    pub(crate) fn deliver(
        &mut self,
        arrivals: &Arrivals<M>,
        generation: u32,
        envelope: Envelope<M>,
    ) {
        self.collect(arrivals, generation);
        let node = envelope.into_raw();
        // SAFETY: `node` is ours alone.
        unsafe { (*node).next = ptr::null_mut() };
        // SAFETY: as above.
        self.weight += u64::from(unsafe { (*node).weight } & WEIGHT);
        self.append(node, node);
    }

    /// Owner: the first message, in order of arrival, that the filter wants; the others stay in
    /// order.
    pub(crate) fn receive(
        &mut self,
        arrivals: &Arrivals<M>,
        generation: u32,
        filter: impl FnMut(&M) -> bool,
    ) -> Option<Envelope<M>> {
        self.collect(arrivals, generation);
        self.search(ptr::null_mut(), filter, usize::MAX).message()
    }

    /// Owner: like `receive` and, if `new`, like `receive_new`; looks at so many messages at most.
    pub(crate) fn receive_some(
        &mut self,
        arrivals: &Arrivals<M>,
        generation: u32,
        filter: impl FnMut(&M) -> bool,
        new: bool,
        limit: usize,
    ) -> Found<M> {
        self.collect(arrivals, generation);
        let after = if new { self.refused } else { ptr::null_mut() };
        self.search(after, filter, limit)
    }

    /// Owner: like `receive`, but looks only at what came after the messages that the last search
    /// refused. For a wait that is polled again with the same filter.
    pub(crate) fn receive_new(
        &mut self,
        arrivals: &Arrivals<M>,
        generation: u32,
        filter: impl FnMut(&M) -> bool,
    ) -> Option<Envelope<M>> {
        self.collect(arrivals, generation);
        self.search(self.refused, filter, usize::MAX).message()
    }

    /// Owner: as if all messages that have come so far had been refused.
    pub(crate) fn skip(&mut self, arrivals: &Arrivals<M>, generation: u32) {
        self.collect(arrivals, generation);
        self.refused = self.tail;
    }

    fn search(
        &mut self,
        after: *mut Node<M>,
        filter: impl FnMut(&M) -> bool,
        limit: usize,
    ) -> Found<M> {
        let found = self.unlink_first(after, filter, limit);
        match found {
            Found::Message(_) => self.refused = ptr::null_mut(),
            Found::Nothing => self.refused = self.tail,
            Found::Unfinished => {}
        }
        found
    }

    /// Owner: closes the mailbox. What nobody received waits for `drop_some`.
    pub(crate) fn close(&mut self, arrivals: &Arrivals<M>) {
        // As it is: nobody asks for an order any more, and a pile may be long.
        self.refused = arrivals.take(CLOSED);
        self.tail = ptr::null_mut();
        self.weight = 0;
    }

    /// Owner of a closed mailbox: drops so many messages at most; how many, and whether there are
    /// more.
    pub(crate) fn drop_some(&mut self, limit: u64) -> (u64, bool) {
        let (mut dropped, mut weight) = (0, 0);
        while dropped < limit && weight < DROPPED_WEIGHT {
            let list = if self.head.is_null() { &mut self.refused } else { &mut self.head };
            let node = *list;
            if node.is_null() {
                break;
            }
            // SAFETY: `close` has taken the pile, so both lists are ours alone; every node comes
            // from `into_raw`, and this one is unlinked first.
            *list = unsafe { (*node).next };
            // SAFETY: as above.
            let envelope = unsafe { Envelope::from_raw(node) };
            weight += envelope.units();
            drop(envelope);
            dropped += 1;
        }
        (dropped, !self.head.is_null() || !self.refused.is_null())
    }

    #[inline]
    fn collect(&mut self, arrivals: &Arrivals<M>, generation: u32) {
        // Relaxed: the owner's last transition of the state word made every push it was woken for
        // visible.
        if arrivals.word.load(Ordering::Relaxed) & ADDRESS != EMPTY {
            self.collect_pile(arrivals, generation);
        }
    }

    #[inline(never)]
    fn collect_pile(&mut self, arrivals: &Arrivals<M>, generation: u32) {
        let pile = arrivals.take(tag(generation) | EMPTY);
        arrivals.estimate.store(0, Ordering::Relaxed);
        self.append_reversed(pile, Some(generation));
    }

    /// Appends a pile (newest first) so that the oldest comes first, dropping messages for other
    /// generations.
    fn append_reversed(&mut self, mut pile: *mut Node<M>, generation: Option<u32>) {
        let mut first = ptr::null_mut::<Node<M>>();
        let mut last = ptr::null_mut::<Node<M>>();
        while !pile.is_null() {
            let node = pile;
            // SAFETY: a taken pile belongs to the owner alone; every `next` in it was written
            // before its push.
            pile = unsafe { (*node).next };
            // SAFETY: as above.
            if generation.is_some_and(|mine| unsafe { (*node).generation } != mine) {
                // SAFETY: every node comes from `into_raw` and has just been unlinked.
                drop(unsafe { Envelope::from_raw(node) });
                continue;
            }
            // SAFETY: `node` is ours.
            unsafe { (*node).next = first };
            // SAFETY: as above.
            self.weight += u64::from(unsafe { (*node).weight } & WEIGHT);
            first = node;
            if last.is_null() {
                last = node;
            }
        }
        if !first.is_null() {
            self.append(first, last);
        }
    }

    /// Appends a chain of nodes that ends in `last`.
    fn append(&mut self, first: *mut Node<M>, last: *mut Node<M>) {
        if self.tail.is_null() {
            self.head = first;
        } else {
            // SAFETY: `tail` is the last node of our own list.
            unsafe { (*self.tail).next = first };
        }
        self.tail = last;
    }

    /// Unlinks the first wanted message after `previous` (null: from the start), if it is among so
    /// many; if it is not, and there are more, notes in `refused` where it has stopped.
    fn unlink_first(
        &mut self,
        mut previous: *mut Node<M>,
        mut filter: impl FnMut(&M) -> bool,
        mut limit: usize,
    ) -> Found<M> {
        // SAFETY: `previous` is null or a node of our own list.
        let mut node = if previous.is_null() { self.head } else { unsafe { (*previous).next } };
        while !node.is_null() {
            if limit == 0 {
                self.refused = previous;
                return Found::Unfinished;
            }
            limit -= 1;
            // SAFETY: `node` is a node of our own list; the reference ends with the call.
            if filter(unsafe { &(*node).message }) {
                // SAFETY: as above.
                let next = unsafe { (*node).next };
                if previous.is_null() {
                    self.head = next;
                } else {
                    // SAFETY: `previous` is the node before `node` in our own list.
                    unsafe { (*previous).next = next };
                }
                if next.is_null() {
                    self.tail = previous;
                }
                // SAFETY: as above.
                self.weight -= u64::from(unsafe { (*node).weight } & WEIGHT);
                // SAFETY: the node comes from `into_raw` and has just been unlinked.
                return Found::Message(unsafe { Envelope::from_raw(node) });
            }
            previous = node;
            // SAFETY: as above.
            node = unsafe { (*node).next };
        }
        Found::Nothing
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn close<M>(inbox: &mut Inbox<M>, arrivals: &Arrivals<M>) -> u64 {
        inbox.close(arrivals);
        let (first, more) = inbox.drop_some(1);
        assert!(first == 1 || !more);
        let (rest, more) = inbox.drop_some(u64::MAX);
        assert!(!more);
        assert_eq!(inbox.drop_some(1), (0, false));
        first + rest
    }

    #[test]
    fn a_search_in_parts_finds_what_a_whole_one_does() {
        let arrivals = Arrivals::new();
        let mut inbox = Inbox::new();
        arrivals.open(1);
        for m in 0..10 {
            let _ = arrivals.push(1, m.into());
        }
        let mut some = |new, limit, wanted: i32| {
            inbox.receive_some(&arrivals, 1, |m| *m == wanted, new, limit)
        };
        assert_eq!(some(false, 4, 7), Found::Unfinished);
        assert_eq!(some(true, 3, 7), Found::Unfinished);
        assert_eq!(some(true, 3, 7), Found::Message(7.into()));
        assert_eq!(some(false, 9, 7), Found::Nothing, "all nine were looked at");
        assert_eq!(some(true, 1, 7), Found::Nothing);
        let _ = arrivals.push(1, 7.into());
        assert_eq!(some(true, 1, 7), Found::Message(7.into()));
        assert_eq!(some(false, 1, 0), Found::Message(0.into()));
        assert_eq!(close(&mut inbox, &arrivals), 8);
    }

    #[test]
    fn selective_receive_keeps_the_rest_in_order() {
        let arrivals = Arrivals::new();
        let mut inbox = Inbox::new();
        assert_eq!(arrivals.push(7, 0.into()), Err(0.into()));
        arrivals.open(7);
        assert_eq!(arrivals.push(7, 1.into()), Ok(Pushed::First));
        for m in 2..=6 {
            assert_eq!(arrivals.push(7, m.into()), Ok(Pushed::Behind));
        }
        assert_eq!(inbox.receive(&arrivals, 7, |m| *m == 6), Some(6.into()));
        assert_eq!(inbox.receive(&arrivals, 7, |m| *m % 2 == 0), Some(2.into()));
        assert_eq!(arrivals.push(7, 8.into()), Ok(Pushed::First));
        assert_eq!(inbox.receive(&arrivals, 7, |m| *m == 9), None);
        assert_eq!(inbox.receive_new(&arrivals, 7, |_| true), None);
        assert_eq!(arrivals.push(7, 9.into()), Ok(Pushed::First));
        assert_eq!(inbox.receive_new(&arrivals, 7, |_| true), Some(9.into()));
        let rest: Vec<i32> = std::iter::from_fn(|| inbox.receive(&arrivals, 7, |_| true))
            .map(Envelope::into_inner)
            .collect();
        assert_eq!(rest, [1, 3, 4, 5, 8]);
        assert_eq!(inbox.receive_new(&arrivals, 7, |_| true), None);
        assert_eq!(close(&mut inbox, &arrivals), 0);
    }

    #[test]
    fn a_delivered_message_follows_what_arrived_and_is_new_to_a_waiting_search() {
        let arrivals = Arrivals::new();
        let mut inbox = Inbox::new();
        arrivals.open(1);
        assert_eq!(arrivals.push(1, 1.into()), Ok(Pushed::First));
        assert_eq!(inbox.receive(&arrivals, 1, |m| *m > 1), None);
        assert_eq!(arrivals.push(1, 2.into()), Ok(Pushed::First));
        inbox.deliver(&arrivals, 1, 3.into());
        let mut asked = Vec::new();
        let found = inbox.receive_new(&arrivals, 1, |m| {
            asked.push(*m);
            *m == 3
        });
        assert_eq!((found, asked), (Some(3.into()), vec![2, 3]));
        assert_eq!(inbox.receive(&arrivals, 1, |_| true), Some(1.into()));
        assert_eq!(close(&mut inbox, &arrivals), 1);
    }

    #[test]
    fn a_closed_or_reopened_mailbox_refuses_the_late_sender() {
        let arrivals = Arrivals::new();
        let mut inbox = Inbox::new();
        arrivals.open(3);
        assert_eq!(arrivals.push(3, Box::new(1).into()), Ok(Pushed::First));
        assert_eq!(close(&mut inbox, &arrivals), 1);
        assert!(arrivals.push(3, Box::new(2).into()).is_err());
        arrivals.open(4);
        assert!(arrivals.push(3, Box::new(3).into()).is_err());
        assert_eq!(arrivals.push(4, Box::new(4).into()), Ok(Pushed::First));
        assert_eq!(close(&mut inbox, &arrivals), 1);
    }

    #[test]
    fn a_message_for_an_older_tenant_with_the_same_tag_is_dropped() {
        let arrivals = Arrivals::new();
        let mut inbox = Inbox::new();
        arrivals.open(5);
        assert_eq!(arrivals.push(5 + 65536, "stale".into()), Ok(Pushed::First));
        assert_eq!(arrivals.push(5, "mine".into()), Ok(Pushed::Behind));
        assert_eq!(inbox.receive(&arrivals, 5, |_| true), Some("mine".into()));
        assert_eq!(inbox.receive(&arrivals, 5, |_| true), None);
    }
}
