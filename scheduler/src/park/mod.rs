//! Sleeping and waking of workers; `README.md` beside this file has the protocol and why no wake-up
//! is lost.
//!
//! Parties: workers that find no work, and whoever makes work. This module knows neither queues nor
//! processes, and has no unsafe code.

mod parker;

use crate::sync::{AtomicUsize, Mutex, Ordering, fence};
pub(crate) use parker::Parker;
use std::time::Instant;

/// Added to the word for each sleeper; searchers count in the bits below.
const SLEEPER: usize = 1 << 16;
const SEARCHERS: usize = SLEEPER - 1;

/// Who sleeps and who searches.
pub(crate) struct Idle {
    /// `sleepers * SLEEPER + searchers`. Default ordering `SeqCst`: half of the store-then-load
    /// handshake with the queues.
    word: AtomicUsize,
    /// The sleeping workers; the last to fall asleep is woken first (its caches are warmest).
    sleepers: Mutex<Vec<usize>>,
    parkers: Box<[Parker]>,
    /// Ends the wait of one who sleeps outside.
    bell: Box<dyn Fn() + Send + Sync>,
}

/// What a worker is when it leaves its sleep.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Woken {
    /// Somebody woke it for work and has already counted it as a searcher.
    Searching,
    /// It got up by itself: a timer, a shutdown, or work seen at the last look.
    Plain,
}

impl Idle {
    pub(crate) fn new(workers: usize) -> Self {
        Self::with_bell(workers, || {})
    }

    /// With a bell for those who sleep outside.
    pub(crate) fn with_bell(workers: usize, bell: impl Fn() + Send + Sync + 'static) -> Self {
        assert!(workers > 0 && workers < SEARCHERS, "between one and 65,534 workers");
        Self {
            word: AtomicUsize::new(0),
            sleepers: Mutex::new(Vec::with_capacity(workers)),
            parkers: (0..workers).map(|_| Parker::new()).collect(),
            bell: Box::new(bell),
        }
    }

    /// Work has been made visible in a queue: sees to it that somebody looks. False: all workers
    /// are busy.
    #[inline]
    pub(crate) fn notify(&self) -> bool {
        // SeqCst fence: orders the push before the reading of the word; partner: the fence in
        // `announce`.
        fence(Ordering::SeqCst);
        let now = self.word.load(Ordering::Relaxed); // the fence orders it
        if now >= SLEEPER && now & SEARCHERS == 0 {
            self.wake_one();
        }
        now != 0
    }

    /// How many sleep, or are about to.
    pub(crate) fn sleepers(&self) -> usize {
        self.word.load(Ordering::SeqCst) / SLEEPER
    }

    #[cold]
    fn wake_one(&self) {
        let mut sleepers = self.sleepers.lock();
        if self.word.load(Ordering::SeqCst) & SEARCHERS != 0 {
            return; // somebody has been woken meanwhile, and looks at everything
        }
        let Some(worker) = sleepers.pop() else { return };
        // It is a searcher from now on, so that a burst of work wakes one worker, not all.
        self.word.fetch_sub(SLEEPER - 1, Ordering::SeqCst);
        drop(sleepers);
        self.unpark(worker);
    }

    /// A worker without work asks whether it should search the others' queues. At most half of the
    /// workers do.
    #[must_use]
    pub(crate) fn start_searching(&self) -> bool {
        let now = self.word.load(Ordering::SeqCst);
        if 2 * (now & SEARCHERS) >= self.parkers.len() {
            return false;
        }
        self.word.fetch_add(1, Ordering::SeqCst);
        true
    }

    /// A searcher has found something. The last one wakes a successor: where there was one thing
    /// there may be two.
    pub(crate) fn found(&self) {
        if self.word.fetch_sub(1, Ordering::SeqCst) & SEARCHERS == 1 {
            self.notify();
        }
    }

    /// A worker is about to sleep; it must look at every queue once more before it calls `sleep`.
    pub(crate) fn announce(&self, worker: usize, searching: bool) {
        let mut sleepers = self.sleepers.lock();
        sleepers.push(worker);
        self.word.fetch_add(SLEEPER - usize::from(searching), Ordering::SeqCst);
        drop(sleepers);
        // SeqCst fence: orders the announcement before the last look; partner: the fence in
        // `notify`.
        fence(Ordering::SeqCst);
    }

    /// Sleeps until unparked or until `limit`; returns at once if unparked since the last sleep.
    pub(crate) fn sleep(&self, worker: usize, limit: Option<Instant>) {
        self.parkers[worker].park(limit);
    }

    /// The same in a wait of the caller's, which ends when the bell is rung.
    pub(crate) fn sleep_outside(&self, worker: usize, wait: impl FnOnce()) {
        self.parkers[worker].park_outside(wait);
    }

    /// A worker gets up, for whatever reason.
    pub(crate) fn rise(&self, worker: usize) -> Woken {
        let mut sleepers = self.sleepers.lock();
        let Some(place) = sleepers.iter().position(|&s| s == worker) else {
            return Woken::Searching;
        };
        sleepers.swap_remove(place);
        self.word.fetch_sub(SLEEPER, Ordering::SeqCst);
        Woken::Plain
    }

    /// Gets one particular worker up: its next sleep ends at once, or the present one does.
    pub(crate) fn unpark(&self, worker: usize) {
        self.parkers[worker].unpark(&self.bell);
    }

    /// Gets everybody up.
    pub(crate) fn unpark_all(&self) {
        self.parkers.iter().for_each(|parker| parker.unpark(&self.bell));
    }
}
