//! A worker's run queues, and the order in which they are served.
//!
//! Parties: the worker's own thread owns `Queues`; other workers hold its `Thief` and take what
//! they find. Two cells are out of their reach on purpose: the process woken last (`next`) and the
//! one spawned last (`newborn`) run here before anything else, while what they share with the
//! process that made them ready is still in the cache. Whoever is displaced from a cell goes to a
//! queue, where it may be stolen.
//!
//! - `ready` (first in, first out): processes that have run before.
//! - `fresh` (last in, first out): processes that have not begun. The newest first: a tree of
//!   processes is then walked to its leaves, which end and leave their warm slots to the next,
//!   instead of being alive all at once. Thieves take the oldest, which have the most to do.
//!
//! Order of service: every `INJECTOR_EVERY` turns the shared injector, and half a period later the
//! oldest of the fresh, which the newer ones would otherwise starve; then `next` (at most
//! `NEXT_RUNS` times in a row, so that two processes that wake each other cannot starve the rest);
//! then `newborn` and `fresh` (at most `FRESH_RUNS` times in a row, so that processes that only
//! ever spawn cannot starve the rest); then `ready`; then the injector.

use crossbeam_deque::{Injector, Steal, Stealer, Worker as Deque};
use std::cell::Cell;

/// Turns between two looks at the injector. By feel, prime as in Go and tokio so that it falls into
/// no pattern.
const INJECTOR_EVERY: u32 = 61;
/// Runs out of `next` before the queues are served. By feel: long enough for a ping-pong to stay
/// warm, short enough that the queue's head waits for some microseconds.
const NEXT_RUNS: u32 = 16;
/// Processes that begin before one of `ready` gets its turn. More than a process can spawn in a
/// slice, so that one that spawns without end does not get ahead of its children.
const FRESH_RUNS: u32 = 61;
/// Fresh processes that a patient thief leaves alone, and of which nobody is told: the owner begins
/// them sooner than a thief could, in whose cache they are not. Without this a thief takes the
/// children of a process that spawns in a loop one by one, as they are made.
const FRESH_LEFT: usize = 4;

/// So many of `ready` are told of only if they wait for long: the owner comes to a single one sooner than a
/// sleeper gets up, and takes less time for it than the waking does. So a handful of processes that hand
/// work to each other, as for one request of a server, stay on one worker.
const READY_LEFT: usize = 1;
/// For how many turns. By feel: more than a process that is overtaken by those woken after it waits for. A
/// turn that takes long ends when others wait (`tick.rs`), and who has been interrupted is told of.
const TURNS_UNTOLD: u32 = 4;

/// The owner's side.
pub(crate) struct Queues<T> {
    ready: Deque<T>,
    fresh: Deque<T>,
    oldest_fresh: Stealer<T>,
    next: Cell<Option<T>>,
    newborn: Cell<Option<T>>,
    next_runs: Cell<u32>,
    fresh_runs: Cell<u32>,
    turn: Cell<u32>,
    /// Turns until others are told of what waits in `ready`, if it still does; 0: they have been.
    untold: Cell<u32>,
}

/// The others' side.
pub(crate) struct Thief<T> {
    ready: Stealer<T>,
    fresh: Stealer<T>,
}

/// What a push owes.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Pushed {
    /// Something has become visible to thieves: tell them.
    Visible,
    /// Nothing.
    Hidden,
}

impl<T: Copy> Queues<T> {
    pub(crate) fn new() -> Self {
        let fresh = Deque::new_lifo();
        Self {
            ready: Deque::new_fifo(),
            oldest_fresh: fresh.stealer(),
            fresh,
            next: Cell::new(None),
            newborn: Cell::new(None),
            next_runs: Cell::new(0),
            fresh_runs: Cell::new(0),
            turn: Cell::new(0),
            untold: Cell::new(0),
        }
    }

    /// After each `take`: whether others should be told of what waits.
    #[inline]
    pub(crate) fn must_tell(&self) -> bool {
        match self.untold.get() {
            0 => false,
            turns => {
                self.untold.set(turns - 1);
                turns == 1 && !self.ready.is_empty()
            }
        }
    }

    pub(crate) fn thief(&self) -> Thief<T> {
        Thief { ready: self.ready.stealer(), fresh: self.fresh.stealer() }
    }

    /// The next to run.
    #[inline]
    pub(crate) fn take(&self, injector: &Injector<T>) -> Option<T> {
        let turn = self.turn.get() + 1;
        self.turn.set(if turn == INJECTOR_EVERY { 0 } else { turn });
        if (turn == INJECTOR_EVERY || turn == INJECTOR_EVERY / 2)
            && let Some(item) = self.take_neglected(turn, injector)
        {
            return Some(item);
        }
        if let Some(item) = self.next.take() {
            let runs = self.next_runs.get() + 1;
            if runs <= NEXT_RUNS {
                self.next_runs.set(runs);
                return Some(item);
            }
            if !self.ready.is_empty() {
                self.untold.set(1);
            }
            self.ready.push(item);
        }
        self.next_runs.set(0);
        let begun = self.fresh_runs.get();
        if begun < FRESH_RUNS
            && let Some(item) = self.newborn.take().or_else(|| self.fresh.pop())
        {
            self.fresh_runs.set(begun + 1);
            return Some(item);
        }
        self.fresh_runs.set(0);
        let item = self.ready.pop().or_else(|| self.newborn.take());
        item.or_else(|| self.fresh.pop()).or_else(|| self.take_injected(injector))
    }

    #[cold]
    fn take_neglected(&self, turn: u32, injector: &Injector<T>) -> Option<T> {
        let taken = match turn {
            INJECTOR_EVERY => injector.steal(),
            _ => self.oldest_fresh.steal(),
        };
        taken.success() // another's success is no reason to insist
    }

    /// From outside; what comes along is queued.
    #[cold]
    pub(crate) fn take_injected(&self, injector: &Injector<T>) -> Option<T> {
        insist(|| injector.steal_batch_and_pop(&self.ready))
    }

    /// From another worker; what comes along is queued. A patient thief leaves a few fresh ones.
    pub(crate) fn steal_from(&self, victim: &Thief<T>, patient: bool) -> Option<T> {
        let fresh = || insist(|| victim.fresh.steal_batch_and_pop(&self.fresh));
        let left = if patient { FRESH_LEFT } else { 0 };
        let fresh = if victim.fresh.len() > left { fresh() } else { None };
        fresh.or_else(|| insist(|| victim.ready.steal_batch_and_pop(&self.ready)))
    }

    /// To the front: runs next here, unless something else is woken meanwhile.
    #[inline]
    pub(crate) fn push_next(&self, item: T) -> Pushed {
        match self.next.replace(Some(item)) {
            Some(displaced) => self.push_ready(displaced),
            None => Pushed::Hidden,
        }
    }

    /// To the front if nobody is there, else to the back: one that is ready for a reason from outside.
    pub(crate) fn push_soon(&self, item: T) -> Pushed {
        match self.next.take() {
            None => {
                self.next.set(Some(item));
                Pushed::Hidden
            }
            first => {
                self.next.set(first);
                self.push_ready(item)
            }
        }
    }

    /// One that has not begun.
    #[inline]
    pub(crate) fn push_fresh(&self, item: T) -> Pushed {
        match self.newborn.replace(Some(item)) {
            Some(displaced) => {
                self.fresh.push(displaced);
                if self.fresh.len() > FRESH_LEFT { Pushed::Visible } else { Pushed::Hidden }
            }
            None => Pushed::Hidden,
        }
    }

    /// To the back.
    pub(crate) fn push_ready(&self, item: T) -> Pushed {
        self.ready.push(item);
        if self.ready.len() > READY_LEFT {
            return Pushed::Visible;
        }
        self.untold.set(TURNS_UNTOLD);
        Pushed::Hidden
    }

    /// One that wants to let others run. If there are no others, the owner takes it back at once:
    /// no reason to tell.
    pub(crate) fn push_yielded(&self, item: T) -> Pushed {
        let alone = self.is_empty();
        self.ready.push(item);
        if alone { Pushed::Hidden } else { Pushed::Visible }
    }

    /// Lets the next `take` look outside first, and then at what was woken last.
    pub(crate) fn look_outside(&self) {
        self.turn.set(INJECTOR_EVERY - 1);
        self.next_runs.set(0);
    }

    /// Whether somebody waits where thieves do not see it.
    #[inline]
    pub(crate) fn hides(&self) -> bool {
        self.next.get().is_some() || self.newborn.get().is_some()
    }

    fn is_empty(&self) -> bool {
        !self.hides() && self.fresh.is_empty() && self.ready.is_empty()
    }
}

impl<T> Thief<T> {
    /// Nothing to steal.
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.fresh.is_empty()
    }
}

/// Until nobody is in the way.
fn insist<T>(mut steal: impl FnMut() -> Steal<T>) -> Option<T> {
    loop {
        match steal() {
            Steal::Success(item) => return Some(item),
            Steal::Empty => return None,
            Steal::Retry => {}
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn drain(queues: &Queues<u32>, injector: &Injector<u32>) -> Vec<u32> {
        std::iter::from_fn(|| queues.take(injector)).collect()
    }

    #[test]
    fn the_woken_come_first_then_the_newest_then_the_oldest_ready() {
        let (queues, injector) = (Queues::new(), Injector::new());
        assert_eq!(queues.push_ready(1), Pushed::Hidden);
        assert_eq!(queues.push_ready(2), Pushed::Visible);
        assert_eq!(queues.push_fresh(11), Pushed::Hidden);
        assert_eq!(queues.push_fresh(12), Pushed::Hidden);
        assert_eq!(queues.push_fresh(13), Pushed::Hidden);
        assert_eq!(queues.push_next(21), Pushed::Hidden);
        injector.push(31);
        assert_eq!(drain(&queues, &injector), [21, 13, 12, 11, 1, 2, 31]);
    }

    #[test]
    fn two_that_wake_each_other_and_one_that_spawns_leave_room_for_the_rest() {
        let (queues, injector) = (Queues::new(), Injector::new());
        let _ = queues.push_ready(1);
        let mut turns = 0;
        let _ = queues.push_next(2);
        while queues.take(&injector) != Some(1) {
            let _ = queues.push_next(2);
            let _ = queues.push_fresh(3);
            turns += 1;
        }
        assert!(turns <= 2 * NEXT_RUNS * FRESH_RUNS, "{turns}");
    }

    #[test]
    fn of_those_ready_from_outside_the_first_goes_ahead_and_stays_first() {
        let (queues, injector) = (Queues::new(), Injector::new());
        assert_eq!(queues.push_ready(1), Pushed::Hidden);
        assert_eq!(queues.push_soon(2), Pushed::Hidden);
        assert_eq!(queues.push_soon(3), Pushed::Visible);
        assert_eq!(drain(&queues, &injector), [2, 1, 3]);
    }

    #[test]
    fn the_oldest_fresh_one_is_not_forgotten() {
        let (queues, injector) = (Queues::new(), Injector::new());
        let _ = queues.push_fresh(1);
        let mut turns = 0;
        let _ = queues.push_fresh(2);
        while queues.take(&injector) != Some(1) {
            let _ = queues.push_fresh(2);
            let _ = queues.push_fresh(2);
            turns += 1;
        }
        assert!(turns <= INJECTOR_EVERY, "{turns}");
    }

    #[test]
    fn thieves_take_the_oldest_and_never_the_cells() {
        let (queues, injector) = (Queues::new(), Injector::new());
        let thief = queues.thief();
        let _ = queues.push_next(1);
        let _ = queues.push_fresh(2);
        let other = Queues::new();
        assert!(thief.is_empty());
        assert_eq!(other.steal_from(&thief, false), None);
        for item in 3..=FRESH_LEFT as u32 + 2 {
            assert_eq!(queues.push_fresh(item), Pushed::Hidden);
        }
        assert_eq!(other.steal_from(&thief, true), None);
        assert_eq!(queues.push_fresh(99), Pushed::Visible);
        let mut stolen: Vec<u32> = other.steal_from(&thief, true).into_iter().collect();
        stolen.extend(drain(&other, &injector));
        stolen.sort_unstable();
        assert_eq!(stolen[0], 2, "the oldest is among them");
        let left = drain(&queues, &injector);
        assert_eq!(left[..2], [1, 99]);
        assert!(left[2..].iter().all(|item| !stolen.contains(item)), "{left:?}, {stolen:?}");
    }

    #[test]
    fn two_pairs_on_one_worker_are_told_of() {
        let (queues, injector) = (Queues::new(), Injector::new());
        let _ = queues.push_ready(1);
        let _ = queues.push_next(2);
        let mut told = false;
        for _ in 0..=NEXT_RUNS {
            let item = queues.take(&injector).expect("there are two");
            told |= queues.must_tell();
            let _ = queues.push_next(item);
        }
        assert!(told);
    }

    #[test]
    fn one_that_waits_alone_is_told_of_after_some_turns_and_a_second_one_at_once() {
        let (queues, injector) = (Queues::new(), Injector::new());
        let hand_over = || {
            let _ = queues.push_next(2);
            assert_eq!(queues.take(&injector), Some(2));
            queues.must_tell()
        };
        assert!(!hand_over());
        assert_eq!(queues.push_ready(1), Pushed::Hidden);
        let told: Vec<bool> = (0..=TURNS_UNTOLD).map(|_| hand_over()).collect();
        assert_eq!(told.iter().position(|told| *told), Some(TURNS_UNTOLD as usize - 1));
        assert_eq!(told.iter().filter(|told| **told).count(), 1);
        assert_eq!(queues.push_ready(3), Pushed::Visible);
    }

    #[test]
    fn one_whom_the_owner_comes_to_is_told_nobody_of() {
        let (queues, injector) = (Queues::new(), Injector::new());
        let _ = queues.push_ready(1);
        assert_eq!(drain(&queues, &injector), [1]);
        assert!((0..=TURNS_UNTOLD).all(|_| !queues.must_tell()));
    }

    #[test]
    fn one_that_yields_alone_tells_nobody() {
        let queues = Queues::new();
        assert_eq!(queues.push_yielded(1), Pushed::Hidden);
        assert_eq!(queues.push_yielded(2), Pushed::Visible);
    }
}
