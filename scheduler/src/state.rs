//! The state word of a process: which tenant, where it is in its life, whether it has been killed,
//! and whether anybody must be told of its end.
//!
//! Parties: the *owner* (the worker that popped the process from a queue, or is building or reaping
//! it) and *observers* (anybody with a pid: wakers, killers, senders).
//!
//! ```text
//!          publish             park, unless notified
//!   FREE ----------> ACTIVE --------------------------> IDLE
//!    ^                ^  |  \                             |
//!    | free           |  |   '- wake -> NOTIFIED          |
//!    |                |  '-<--- park ----'                |
//!    |                '----------- wake, kill ------------'
//!    '------ DYING <------ finish (from any living state)
//! ```
//!
//! Protocol. ACTIVE (and NOTIFIED, which is ACTIVE and woken since its last park) means: it is in
//! exactly one run queue, or on its way there in the hands of whoever made it so (who owns it so
//! long), or a worker runs it. Whoever moves the word from IDLE must put the process into a queue; whoever pops it is the
//! owner until it parks, is queued again or ends. So a queue never holds a process twice, and an
//! entry in a queue is never stale. (A process whose end has more to do goes back into a queue while
//! it is DYING; that is its owner's business, and for everybody else it is gone.) Whether it waits in a queue or runs is nobody's business, so
//! starting it and letting it yield write nothing. The kill bit may be set in any living state and
//! is obeyed by the owner at its next scheduling point. So may the watch bit: whoever sets it in time
//! knows that the end will see it, and whoever comes too late is told so, never neither.
//!
//! Ordering: every transition that parks or wakes is a read-modify-write with `AcqRel`, also those
//! that change nothing: a waker whose news the owner must see (a message, a channel's wait list)
//! writes the news first and then this word; the owner parks through this word and then, woken,
//! looks for news. As all of them are read-modify-writes of one word, one of the two comes first,
//! and either the waker finds the owner parked, or the owner's park finds the notification, and
//! acquires the waker's news. What one owner did, the next sees through the queue between them.
//! FREE and DYING words belong to the owner alone (observers' operations fail on them without
//! writing), so it leaves them with plain stores.

use crate::sync::{AtomicU64, Ordering};

/// Nobody lives in the slot; the generation is that of the *next* tenant. Zero, so that fresh
/// memory is a free slot.
const FREE: u64 = 0;
/// Suspended, in no queue: somebody must wake it.
const IDLE: u64 = 1;
/// In exactly one run queue (or on its way there), or a worker runs it.
const ACTIVE: u64 = 2;
/// As ACTIVE, and it has been woken since it last parked: its next park does not suspend.
const NOTIFIED: u64 = 3;
/// Its body has ended; its owner is reaping it. For everybody else it no longer exists.
const DYING: u64 = 4;
/// The bits of the above.
const LIFE: u64 = 7;
/// It must not run its body again: the owner ends it at the next transition. Excludes FREE and
/// DYING.
const KILL: u64 = 8;
/// The program is told at its end that somebody asked for this. Excludes FREE and DYING.
const WATCHED: u64 = 16;
/// The generation lies above.
const GENERATION_SHIFT: u32 = 32;

/// One reading of the word.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Snapshot(u64);

impl Snapshot {
    fn life(self) -> u64 {
        self.0 & LIFE
    }
    fn killed(self) -> bool {
        self.0 & KILL != 0
    }
    fn watched(self) -> bool {
        self.0 & WATCHED != 0
    }
    fn generation(self) -> u32 {
        (self.0 >> GENERATION_SHIFT) as u32
    }
    fn alive(self) -> bool {
        matches!(self.life(), IDLE | ACTIVE | NOTIFIED)
    }
    fn with_life(self, life: u64) -> Self {
        Self(self.0 & !LIFE | life)
    }
}

/// What an observer owes after `wake` or `kill`.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Signal {
    /// The caller made it ACTIVE and must put it into a run queue.
    Enqueue,
    /// Somebody else sees to it.
    Noted,
    /// No such process (any more).
    Gone,
}

/// What a sender may do after `claim`.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Claim {
    /// The caller has woken it and owns it until it puts it into a run queue, which it must.
    Claimed,
    /// It is awake.
    Awake,
    /// No such process (any more).
    Gone,
}

/// What the owner owes after `start`.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Start {
    /// Resume the body.
    Run,
    /// End it: it was killed.
    Killed,
    /// Go on with its end.
    Dying,
}

/// What the owner owes after `park` or `yielded`.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Rest {
    /// Nothing: it is IDLE and no longer the caller's.
    Parked,
    /// It is ACTIVE and the caller must put it into a run queue.
    Enqueue,
    /// End it: it was killed. It is still ACTIVE and the caller's.
    Killed,
}

/// The word. Default ordering `AcqRel` (see above); weaker ones are argued where they stand.
pub(crate) struct State(AtomicU64);

impl State {
    #[cfg(any(test, loom))]
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(FREE))
    }

    fn load(&self) -> Snapshot {
        // Acquire: a reader that finds a living tenant may then touch what `publish` released.
        Snapshot(self.0.load(Ordering::Acquire))
    }

    /// Is tenant `generation` alive?
    pub(crate) fn is_alive(&self, generation: u32) -> bool {
        let now = self.load();
        now.alive() && now.generation() == generation
    }

    /// Some tenant is alive, and has been killed. A hint.
    pub(crate) fn is_killed(&self) -> bool {
        let now = self.load();
        now.alive() && now.killed()
    }

    /// Some tenant is alive: its generation. Only the sweep at shutdown asks.
    pub(crate) fn living_generation(&self) -> Option<u32> {
        let now = self.load();
        now.alive().then(|| now.generation())
    }

    /// Owner of a free slot: the generation its next tenant will have.
    pub(crate) fn next_generation(&self) -> u32 {
        let now = self.load();
        assert!(now.life() == FREE, "a slot that is given out must be free");
        now.generation()
    }

    /// Owner of a free slot whose memory has been given back: the generation goes on where it was.
    pub(crate) fn restore(&self, generation: u32) {
        // Relaxed: a free slot's word means nothing to observers; `publish` releases what follows.
        self.0.store(u64::from(generation) << GENERATION_SHIFT | FREE, Ordering::Relaxed);
    }

    /// Owner of a free slot: the tenant is built. The caller must put it into a run queue.
    pub(crate) fn publish(&self, generation: u32, watched: bool) {
        let life = if watched { ACTIVE | WATCHED } else { ACTIVE };
        // Release: publishes header and mailbox to observers. A store suffices: nobody else writes
        // a FREE word.
        self.0.store(u64::from(generation) << GENERATION_SHIFT | life, Ordering::Release);
    }

    /// Worker that popped it: may the body run?
    pub(crate) fn start(&self) -> Start {
        // A notification stays until the next park: the waker may have meant a wait yet to begin.
        // Relaxed: as in `owned`; a DYING word was written by the owner before it queued it.
        let now = Snapshot(self.0.load(Ordering::Relaxed));
        if now.life() == DYING {
            return Start::Dying;
        }
        match self.owned().killed() {
            true => Start::Killed,
            false => Start::Run,
        }
    }

    /// Owner: the body wants to go to the back of the queue.
    pub(crate) fn yielded(&self) -> Rest {
        match self.owned().killed() {
            true => Rest::Killed,
            false => Rest::Enqueue,
        }
    }

    fn owned(&self) -> Snapshot {
        // Relaxed: only the kill bit is looked at, which orders nothing; one that comes later is
        // seen at the next scheduling point, whose `park` (if it sleeps there) cannot miss it.
        let now = Snapshot(self.0.load(Ordering::Relaxed));
        debug_assert!(matches!(now.life(), ACTIVE | NOTIFIED), "only an owner asks");
        now
    }

    /// Owner: the body wants to sleep. ACTIVE -> IDLE, NOTIFIED -> ACTIVE.
    pub(crate) fn park(&self) -> Rest {
        let mut now = self.owned();
        loop {
            if now.killed() {
                return Rest::Killed;
            }
            let life = if now.life() == NOTIFIED { ACTIVE } else { IDLE };
            match self.0.compare_exchange_weak(
                now.0,
                now.with_life(life).0,
                Ordering::AcqRel,
                Ordering::Relaxed, // a failed exchange only refreshes the guess
            ) {
                Ok(_) if life == IDLE => return Rest::Parked,
                Ok(_) => return Rest::Enqueue,
                Err(seen) => now = Snapshot(seen),
            }
        }
    }

    /// Observer: make sure it looks around once more.
    pub(crate) fn wake(&self, generation: u32) -> Signal {
        self.signal(generation, |now| match now.life() {
            IDLE => now.with_life(ACTIVE),
            ACTIVE => now.with_life(NOTIFIED),
            _ => now,
        })
    }

    /// Observer: wake it, but only if it is parked. IDLE -> ACTIVE.
    #[inline]
    pub(crate) fn claim(&self, generation: u32) -> Claim {
        // Acquire: a reader that finds a living tenant may then touch what `publish` released.
        let mut now = self.load();
        loop {
            if now.generation() != generation || !now.alive() {
                return Claim::Gone;
            }
            if now.life() != IDLE {
                return Claim::Awake;
            }
            match self.0.compare_exchange_weak(
                now.0,
                now.with_life(ACTIVE).0,
                Ordering::AcqRel,
                Ordering::Acquire, // as the first load
            ) {
                Ok(_) => return Claim::Claimed,
                Err(seen) => now = Snapshot(seen),
            }
        }
    }

    /// Observer: make sure it ends soon. A second kill changes nothing.
    pub(crate) fn kill(&self, generation: u32) -> Signal {
        self.signal(generation, |now| {
            let life = if now.life() == IDLE { ACTIVE } else { now.life() };
            Snapshot(now.with_life(life).0 | KILL)
        })
    }

    /// Observer: have the program told at its end (`finish` says so); whether there is such a
    /// process. What was written before is seen by the end; who is too late must not rely on it.
    pub(crate) fn watch(&self, generation: u32) -> bool {
        self.signal(generation, |now| Snapshot(now.0 | WATCHED)) != Signal::Gone
    }

    /// Only the sweep at shutdown asks: has it ended, and its end has more to do?
    pub(crate) fn is_dying(&self) -> bool {
        self.load().life() == DYING
    }

    fn signal(&self, generation: u32, change: impl Fn(Snapshot) -> Snapshot) -> Signal {
        // Relaxed: a guess, as in `park`. A word once seen with another generation never comes back
        // to ours.
        let mut now = Snapshot(self.0.load(Ordering::Relaxed));
        loop {
            if now.generation() != generation || !now.alive() {
                return Signal::Gone;
            }
            let next = change(now);
            match self.0.compare_exchange_weak(now.0, next.0, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) if now.life() == IDLE && next.life() != IDLE => return Signal::Enqueue,
                Ok(_) => return Signal::Noted,
                Err(seen) => now = Snapshot(seen),
            }
        }
    }

    /// Owner: the body has ended; from here on it does not exist for others. Whether it is watched.
    ///
    /// The owner is the worker that runs it or, at shutdown when no worker runs any more, the
    /// sweeper.
    #[must_use]
    pub(crate) fn finish(&self) -> bool {
        // Relaxed: the owner knows that the word is alive; the generation cannot change under it.
        let generation = Snapshot(self.0.load(Ordering::Relaxed)).generation();
        let dying = u64::from(generation) << GENERATION_SHIFT | DYING;
        let was = Snapshot(self.0.swap(dying, Ordering::AcqRel));
        assert!(was.alive(), "a process ends once");
        was.watched()
    }

    /// Owner: reaped. Returns whether the slot may have another tenant; one whose generations have
    /// run out may not.
    pub(crate) fn free(&self) -> bool {
        // Relaxed, and a store below: nobody else writes a DYING word.
        let now = Snapshot(self.0.load(Ordering::Relaxed));
        debug_assert!(now.life() == DYING, "only the reaped are freed");
        let Some(next) = now.generation().checked_add(1) else { return false };
        // Release: whoever sees the slot free sees it reaped.
        self.0.store(u64::from(next) << GENERATION_SHIFT | FREE, Ordering::Release);
        true
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn running() -> State {
        let state = State::new();
        state.publish(0, false);
        assert_eq!(state.start(), Start::Run);
        state
    }

    #[test]
    fn a_wake_reaches_every_living_state_once() {
        let state = running();
        assert_eq!(state.wake(0), Signal::Noted);
        assert_eq!(state.wake(0), Signal::Noted);
        assert_eq!(state.park(), Rest::Enqueue);
        assert_eq!(state.start(), Start::Run);
        assert_eq!(state.park(), Rest::Parked);
        assert_eq!(state.wake(0), Signal::Enqueue);
    }

    /// Whoever wakes a process that has not come to its park yet must not be in vain.
    #[test]
    fn a_wake_of_a_queued_or_yielding_process_ends_its_next_park() {
        let state = State::new();
        state.publish(0, false);
        assert_eq!(state.wake(0), Signal::Noted);
        assert_eq!(state.start(), Start::Run);
        assert_eq!(state.park(), Rest::Enqueue);
        assert_eq!(state.wake(0), Signal::Noted);
        assert_eq!(state.yielded(), Rest::Enqueue);
        assert_eq!(state.start(), Start::Run);
        assert_eq!(state.park(), Rest::Enqueue);
        assert_eq!(state.start(), Start::Run);
        assert_eq!(state.park(), Rest::Parked);
    }

    #[test]
    fn a_kill_reaches_every_living_state() {
        let queued = State::new();
        queued.publish(0, false);
        assert_eq!(queued.kill(0), Signal::Noted);
        assert_eq!(queued.start(), Start::Killed);

        let parking = running();
        assert_eq!(parking.kill(0), Signal::Noted);
        assert_eq!(parking.park(), Rest::Killed);
        assert_eq!(parking.yielded(), Rest::Killed);

        let idle = running();
        assert_eq!(idle.park(), Rest::Parked);
        assert_eq!(idle.kill(0), Signal::Enqueue);
        assert_eq!(idle.kill(0), Signal::Noted);
        assert_eq!(idle.start(), Start::Killed);
    }

    #[test]
    fn only_the_parked_can_be_claimed_and_only_once() {
        let state = running();
        assert_eq!(state.claim(0), Claim::Awake);
        assert_eq!(state.park(), Rest::Parked);
        assert_eq!(state.claim(1), Claim::Gone);
        assert_eq!(state.claim(0), Claim::Claimed);
        assert_eq!(state.claim(0), Claim::Awake);
        assert_eq!(state.park(), Rest::Parked, "a claim is no notification");
        assert!(!state.finish());
        assert_eq!(state.claim(0), Claim::Gone);
    }

    #[test]
    fn the_dead_and_the_unborn_do_not_hear() {
        let state = State::new();
        assert_eq!(state.wake(0), Signal::Gone);
        state.publish(0, false);
        assert_eq!(state.wake(1), Signal::Gone);
        assert_eq!(state.start(), Start::Run);
        assert!(!state.finish());
        assert_eq!(state.kill(0), Signal::Gone);
        assert!(!state.is_alive(0));
        assert!(state.free());
        assert_eq!(state.wake(0), Signal::Gone);
        assert_eq!(state.next_generation(), 1);
        assert_eq!(state.wake(1), Signal::Gone);
    }

    #[test]
    fn a_watch_is_told_of_at_the_end_wherever_the_process_is() {
        let state = State::new();
        assert!(!state.watch(0), "nobody is there yet");
        state.publish(0, false);
        assert!(state.watch(0) && state.watch(0) && !state.watch(1));
        assert_eq!(state.park(), Rest::Parked);
        assert!(state.watch(0), "and it is left parked");
        assert_eq!(state.wake(0), Signal::Enqueue);
        assert_eq!(state.kill(0), Signal::Noted);
        assert!(state.finish());
        assert!(state.is_dying() && !state.watch(0));
        assert_eq!(state.start(), Start::Dying);
        assert!(state.free());
        assert!(!state.is_dying());
        state.publish(1, false);
        assert!(!state.finish(), "the next tenant has nothing of it");
        assert!(state.free());
        state.publish(2, true);
        assert!(state.finish());
    }

    #[test]
    fn a_slot_whose_generations_run_out_is_retired() {
        let state = State::new();
        state.publish(u32::MAX, false);
        assert_eq!(state.start(), Start::Run);
        assert!(!state.finish());
        assert!(!state.free());
        assert_eq!(state.wake(u32::MAX), Signal::Gone);
    }
}
