//! What makes processes ready from outside and can be waited for: the kernel's news of sockets.
//!
//! Parties: workers that have nothing to do; whoever else the driver lets wait. One at a time has the
//! *place* of the one who waits. Protocol: [`enter`](Driver::enter), [`wait`](Driver::wait), as often as
//! one likes, [`leave`](Driver::leave). A worker that falls asleep in the place is woken by
//! [`interrupt`](Driver::interrupt) (`park/parker.rs`), a busy one takes a glance now and then. That
//! news is not left lying while all workers compute, the driver sees to by itself, sooner if it is told
//! that they do ([`all_busy`](Driver::all_busy)).

use crate::Pid;
use std::time::Duration;

/// A source of wake-ups.
pub trait Driver: Send + Sync {
    /// Takes the place of the one who waits; `false` if it is taken, or nothing can happen.
    fn enter(&self) -> bool;

    /// Waits until something has happened, the limit has passed or somebody interrupts, and names
    /// whom to wake. May return for no reason. Only in the place.
    fn wait(&self, limit: Option<Duration>, wake: &mut dyn FnMut(Pid));

    /// Leaves the place.
    fn leave(&self);

    /// Ends the present wait, or the next.
    fn interrupt(&self);

    /// All workers are in long turns: none is about to take the place.
    fn all_busy(&self) {}
}
