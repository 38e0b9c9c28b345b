//! A sleeper that tells until when it means to sleep, so that others disturb it only for what is
//! earlier.
//!
//! Parties: the sleeper (the tick thread), and anybody who has news with a time. Protocol: the
//! sleeper announces until when it sleeps, then takes a last look at everything that it would get up
//! for, and sleeps. Who has news leaves it where that look will find it, then reads the announcement.
//! With a fence on both sides one of the two sees the other.
//!
//! Who wants the sleeper at once asks (`ask`), and rouses it if nobody else has asked since it took the
//! last request (`take_request`) or kept it. So a storm of requests wakes it once. The sleeper takes a
//! request before it looks at what the request is about; as long as it keeps one it sleeps for a short
//! time only.
//!
//! The sleeper may also sleep *soundly*: until there is news of a kind that comes millions of times in a
//! second, from those who can afford no fence for it. They leave their news, and `stir`; the fence is on the
//! sleeper's side alone (`barrier.rs`), which is why it does so only after a calm while.

use crate::{
    barrier::{Barrier, light},
    park::Parker,
    sync::{AtomicBool, AtomicU64, Ordering, fence},
};
use std::time::Instant;

/// The announcement of one who is up: nothing is earlier.
const UP: u64 = 0;

pub(crate) struct Alarm {
    /// Default ordering `Relaxed`: the fences order it.
    until: AtomicU64,
    /// Somebody has asked. Default ordering `AcqRel`: who takes the request sees what it is about.
    asked: AtomicBool,
    /// The sleeper sleeps soundly. Default ordering `Relaxed`: the barrier orders it.
    sound: AtomicBool,
    bed: Parker,
}

impl Alarm {
    pub(crate) fn new() -> Self {
        Self {
            until: AtomicU64::new(UP),
            asked: AtomicBool::new(false),
            sound: AtomicBool::new(false),
            bed: Parker::new(),
        }
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

    /// The same, but the least news disturbs it.
    pub(crate) fn sleep_soundly(
        &self,
        until: u64,
        limit: Option<Instant>,
        barrier: &Barrier,
        last_look: impl FnOnce() -> bool,
    ) {
        self.sound.store(true, Ordering::Relaxed);
        self.sleep(until, limit, || {
            // After the announcements, before the look.
            barrier.heavy() && last_look()
        });
        self.sound.store(false, Ordering::Relaxed);
    }

    /// Anybody, who has left any news before: the sleeper must not sleep soundly.
    #[inline]
    pub(crate) fn stir(&self) {
        light();
        if self.sound.load(Ordering::Relaxed) {
            self.disturb();
        }
    }

    #[cold]
    fn disturb(&self) {
        // One of those who stir does it.
        if self.sound.swap(false, Ordering::Relaxed) {
            self.bed.unpark(|| {});
        }
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

    /// Anybody, who has left news before: the sleeper must look soon.
    pub(crate) fn ask(&self) {
        if !self.asked.swap(true, Ordering::AcqRel) {
            self.rouse_for(0);
        }
    }

    /// The sleeper, in its last look. Relaxed: the fences order it.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// The sleeper, before a look: whether somebody has asked since the last time.
    pub(crate) fn take_request(&self) -> bool {
        self.is_asked() && self.asked.swap(false, Ordering::AcqRel)
    }

    /// The sleeper, after the look: nothing could be done. It looks again soon, whoever asks.
    pub(crate) fn keep_request(&self) {
        // Relaxed: nobody learns anything from it.
        self.asked.store(true, Ordering::Relaxed);
    }
}
