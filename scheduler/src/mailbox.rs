//! A process's mailbox: any number of senders, one receiver, no lock, one allocation a message.
//!
//! Parties: *senders* touch only `arrivals`. The *owner* (the worker that runs, builds or reaps the
//! process: see `state.rs`) takes everything from `arrivals` at once and keeps what it does not
//! want yet in its private `Inbox`.
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
// Unlinking a node is several dereferences under one argument.
#![allow(clippy::multiple_unsafe_ops_per_block)]

use crate::sync::{AtomicU64, Ordering};
use std::ptr;

const CLOSED: u64 = 0;
const EMPTY: u64 = 1;
const TAG_SHIFT: u32 = 48;
const ADDRESS: u64 = (1 << TAG_SHIFT) - 1;

struct Node<M> {
    next: *mut Node<M>,
    generation: u32,
    message: M,
}

/// The senders' side.
pub(crate) struct Arrivals<M> {
    word: AtomicU64,
    marker: std::marker::PhantomData<fn(M) -> M>,
}

/// The owner's side: what was taken from the arrivals and not yet received, oldest first.
pub(crate) struct Inbox<M> {
    head: *mut Node<M>,
    tail: *mut Node<M>,
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

fn tag(generation: u32) -> u64 {
    u64::from(generation as u16) << TAG_SHIFT
}

impl<M> Arrivals<M> {
    #[cfg(any(test, loom))]
    pub(crate) fn new() -> Self {
        Self { word: AtomicU64::new(CLOSED), marker: std::marker::PhantomData }
    }

    /// Owner of a free slot: accept messages for this generation.
    pub(crate) fn open(&self, generation: u32) {
        // Relaxed: `State::publish` releases it, and nobody has the pid before.
        self.word.store(tag(generation) | EMPTY, Ordering::Relaxed);
    }

    /// Sender: hands the message over, or back if the mailbox is not open for that generation.
    pub(crate) fn push(&self, generation: u32, message: M) -> Result<Pushed, M> {
        // Relaxed: a guess that the exchange checks.
        let mut now = self.word.load(Ordering::Relaxed);
        if now & !ADDRESS != tag(generation) || now & ADDRESS == CLOSED {
            return Err(message); // before the allocation
        }
        let node = Box::into_raw(Box::new(Node { next: ptr::null_mut(), generation, message }));
        let address = node.expose_provenance() as u64;
        assert!(address & !ADDRESS == 0 && address > EMPTY, "user addresses have at most 48 bits");
        loop {
            if now & !ADDRESS != tag(generation) || now & ADDRESS == CLOSED {
                // SAFETY: `node` comes from `Box::into_raw` above and was not published.
                return Err(unsafe { Box::from_raw(node) }.message);
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
    pub(crate) const fn new() -> Self {
        Self { head: ptr::null_mut(), tail: ptr::null_mut() }
    }

    /// Owner: the first message, in order of arrival, that the filter wants; the others stay in
    /// order.
    pub(crate) fn receive(
        &mut self,
        arrivals: &Arrivals<M>,
        generation: u32,
        filter: impl FnMut(&M) -> bool,
    ) -> Option<M> {
        self.collect(arrivals, generation);
        self.unlink_first(ptr::null_mut(), filter)
    }

    /// Owner: like `receive`, but looks only at what arrived since anything was last collected. For
    /// a wait that is polled again with a filter that has already refused everything older.
    pub(crate) fn receive_new(
        &mut self,
        arrivals: &Arrivals<M>,
        generation: u32,
        filter: impl FnMut(&M) -> bool,
    ) -> Option<M> {
        let seen = self.tail;
        self.collect(arrivals, generation);
        self.unlink_first(seen, filter)
    }

    /// Owner: closes the mailbox and drops what nobody received; returns how much that was.
    pub(crate) fn close(&mut self, arrivals: &Arrivals<M>) -> u64 {
        let pile = arrivals.take(CLOSED);
        self.append_reversed(pile, None);
        let mut dropped = 0;
        while self.unlink_first(ptr::null_mut(), |_| true).is_some() {
            dropped += 1;
        }
        dropped
    }

    fn collect(&mut self, arrivals: &Arrivals<M>, generation: u32) {
        // Relaxed: the owner's last transition of the state word made every push it was woken for
        // visible.
        if arrivals.word.load(Ordering::Relaxed) & ADDRESS == EMPTY {
            return;
        }
        let pile = arrivals.take(tag(generation) | EMPTY);
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
                // SAFETY: every node comes from `Box::into_raw` and has just been unlinked.
                drop(unsafe { Box::from_raw(node) });
                continue;
            }
            // SAFETY: `node` is ours.
            unsafe { (*node).next = first };
            first = node;
            if last.is_null() {
                last = node;
            }
        }
        if first.is_null() {
            return;
        }
        if self.tail.is_null() {
            self.head = first;
        } else {
            // SAFETY: `tail` is the last node of our own list.
            unsafe { (*self.tail).next = first };
        }
        self.tail = last;
    }

    /// Unlinks the first wanted message after `previous` (null: from the start).
    fn unlink_first(
        &mut self,
        mut previous: *mut Node<M>,
        mut filter: impl FnMut(&M) -> bool,
    ) -> Option<M> {
        // SAFETY: `previous` is null or a node of our own list.
        let mut node = if previous.is_null() { self.head } else { unsafe { (*previous).next } };
        while !node.is_null() {
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
                // SAFETY: the node comes from `Box::into_raw` and has just been unlinked.
                return Some(unsafe { Box::from_raw(node) }.message);
            }
            previous = node;
            // SAFETY: as above.
            node = unsafe { (*node).next };
        }
        None
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn selective_receive_keeps_the_rest_in_order() {
        let arrivals = Arrivals::new();
        let mut inbox = Inbox::new();
        assert_eq!(arrivals.push(7, 0), Err(0));
        arrivals.open(7);
        assert_eq!(arrivals.push(7, 1), Ok(Pushed::First));
        for m in 2..=6 {
            assert_eq!(arrivals.push(7, m), Ok(Pushed::Behind));
        }
        assert_eq!(inbox.receive(&arrivals, 7, |m| *m == 6), Some(6));
        assert_eq!(inbox.receive(&arrivals, 7, |m| *m % 2 == 0), Some(2));
        assert_eq!(arrivals.push(7, 8), Ok(Pushed::First));
        assert_eq!(inbox.receive(&arrivals, 7, |m| *m == 9), None);
        assert_eq!(inbox.receive_new(&arrivals, 7, |_| true), None);
        assert_eq!(arrivals.push(7, 9), Ok(Pushed::First));
        assert_eq!(inbox.receive_new(&arrivals, 7, |_| true), Some(9));
        let rest: Vec<i32> = std::iter::from_fn(|| inbox.receive(&arrivals, 7, |_| true)).collect();
        assert_eq!(rest, [1, 3, 4, 5, 8]);
        assert_eq!(inbox.receive_new(&arrivals, 7, |_| true), None);
        assert_eq!(inbox.close(&arrivals), 0);
    }

    #[test]
    fn a_closed_or_reopened_mailbox_refuses_the_late_sender() {
        let arrivals = Arrivals::new();
        let mut inbox = Inbox::new();
        arrivals.open(3);
        assert_eq!(arrivals.push(3, Box::new(1)), Ok(Pushed::First));
        assert_eq!(inbox.close(&arrivals), 1);
        assert!(arrivals.push(3, Box::new(2)).is_err());
        arrivals.open(4);
        assert!(arrivals.push(3, Box::new(3)).is_err());
        assert_eq!(arrivals.push(4, Box::new(4)), Ok(Pushed::First));
        assert_eq!(inbox.close(&arrivals), 1);
    }

    #[test]
    fn a_message_for_an_older_tenant_with_the_same_tag_is_dropped() {
        let arrivals = Arrivals::new();
        let mut inbox = Inbox::new();
        arrivals.open(5);
        assert_eq!(arrivals.push(5 + 65536, "stale"), Ok(Pushed::First));
        assert_eq!(arrivals.push(5, "mine"), Ok(Pushed::Behind));
        assert_eq!(inbox.receive(&arrivals, 5, |_| true), Some("mine"));
        assert_eq!(inbox.receive(&arrivals, 5, |_| true), None);
    }
}
