//! What a worker shows of itself: which process it runs, and since when.
//!
//! Parties: the worker, who writes at each switch; the tick thread (`tick.rs`), who looks now and
//! then; whoever makes a process ready while all workers are busy, and wants one of them to make
//! room at once.
//!
//! Protocol. Each time the worker resumes a process a *turn* begins, with the next number. A turn is
//! *long* when its number stands in `long`: the tick thread has seen it for a while, or its process
//! is known for long ones. A long turn may be ended at any time, once: who wants to end it takes the
//! number away (`claim`), and only the one who succeeded sends the signal. So however much becomes
//! ready, a process is interrupted once, and one that has just begun is left alone. If it has not made
//! room by the tick thread's next look, that marks the turn once more.
//!
//! Numbers are never used again, so a claim or a mark that comes too late names a turn that is over,
//! and nothing follows from it. A signal that comes too late hits the next turn: a process then
//! makes room too early, which is a matter of fairness only.
//!
//! Default ordering `Relaxed`: these are hints, looked at again and again. The worker's line is
//! read by others some hundred times in a second.

use crate::sync::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::ptr::{NonNull, null_mut};

/// In `long`: none is. Turns count from 1.
const NONE: u64 = 0;

/// One worker's line.
pub(crate) struct Beat {
    /// The header of the process that it runs.
    running: AtomicPtr<()>,
    turn: AtomicU64,
    long: AtomicU64,
    /// Processes wait in cells of the worker's queues that nobody else can look into.
    hidden: AtomicBool,
    /// The system's number of the worker's thread.
    thread: AtomicU32,
}

impl Beat {
    pub(crate) fn new() -> Self {
        Self {
            running: AtomicPtr::new(null_mut()),
            turn: AtomicU64::new(NONE),
            long: AtomicU64::new(NONE),
            hidden: AtomicBool::new(false),
            thread: AtomicU32::new(0),
        }
    }

    /// Worker, once: this is its thread.
    pub(crate) fn set_thread(&self, thread: u32) {
        self.thread.store(thread, Ordering::Relaxed);
    }

    pub(crate) fn thread(&self) -> u32 {
        self.thread.load(Ordering::Relaxed)
    }

    /// Worker: a turn begins; whether it may be ended from its beginning, and whether others wait
    /// out of sight.
    #[inline]
    pub(crate) fn begin(&self, header: NonNull<()>, long: bool, hidden: bool) {
        let turn = self.turn.load(Ordering::Relaxed) + 1;
        self.turn.store(turn, Ordering::Relaxed);
        if long {
            self.long.store(turn, Ordering::Relaxed);
        }
        self.hidden.store(hidden, Ordering::Relaxed);
        // Release: who finds the header there may look into it; partner: in `look`.
        self.running.store(header.as_ptr(), Ordering::Release);
    }

    /// Worker: the turn is over.
    #[inline]
    pub(crate) fn end(&self) {
        self.running.store(null_mut(), Ordering::Relaxed);
    }

    /// Worker: somebody waits out of sight.
    #[inline]
    pub(crate) fn hide(&self) {
        self.hidden.store(true, Ordering::Relaxed);
    }

    pub(crate) fn hides(&self) -> bool {
        self.hidden.load(Ordering::Relaxed)
    }

    /// What runs there.
    #[inline]
    pub(crate) fn running(&self) -> Option<NonNull<()>> {
        // Acquire: partner of the store in `begin`.
        NonNull::new(self.running.load(Ordering::Acquire))
    }

    pub(crate) fn turn(&self) -> u64 {
        self.turn.load(Ordering::Relaxed)
    }

    /// Tick thread: this turn has lasted long.
    pub(crate) fn mark(&self, turn: u64) {
        self.long.store(turn, Ordering::Relaxed);
    }

    /// Anybody: may the present turn be ended? To one caller for each mark the answer is yes.
    pub(crate) fn claim(&self) -> bool {
        let turn = self.turn.load(Ordering::Relaxed);
        self.long.load(Ordering::Relaxed) == turn
            && turn != NONE
            && self.running().is_some()
            && self.long.compare_exchange(turn, NONE, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}
