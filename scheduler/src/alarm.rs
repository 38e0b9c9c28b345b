//! A sleeper that tells until when it means to sleep, so that others disturb it only for what is
//! earlier.
//!
//! Parties: the sleeper (the tick thread), and anybody who has news with a time. Protocol: the
//! sleeper announces until when it sleeps, then takes a last look at everything that it would get up
//! for, and sleeps. Who has news leaves it where that look will find it, then reads the announcement.
//! With a fence on both sides one of the two sees the other.

use crate::{
    park::Parker,
    sync::{AtomicU64, Ordering, fence},
};
use std::time::Instant;

/// The announcement of one who is up: nothing is earlier.
const UP: u64 = 0;

pub(crate) struct Alarm {
    /// Default ordering `Relaxed`: the fences order it.
    until: AtomicU64,
    bed: Parker,
}

impl Alarm {
    pub(crate) fn new() -> Self {
        Self { until: AtomicU64::new(UP), bed: Parker::new() }
    }

    /// The sleeper: sleeps until the time that it announces, which `limit` is, or until it is
    /// disturbed; not at all if the last look says no.
    pub(crate) fn sleep(
        &self,
        until: u64,
        limit: Option<Instant>,
        last_look: impl FnOnce() -> bool,
    ) {
        self.until.store(until, Ordering::Relaxed);
        // SeqCst fence: the announcement before the look; partner: in `rouse_for`.
        fence(Ordering::SeqCst);
        if last_look() {
            self.bed.park(limit);
        }
        self.until.store(UP, Ordering::Relaxed);
    }

    /// Anybody, who has left news before: the sleeper must be up at this time.
    #[inline]
    pub(crate) fn rouse_for(&self, time: u64) {
        // SeqCst fence: the news before the announcement; partner: in `sleep`.
        fence(Ordering::SeqCst);
        if time < self.until.load(Ordering::Relaxed) {
            self.bed.unpark(|| {});
        }
    }
}
