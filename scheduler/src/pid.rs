//! What a process is called: the slot it lives in and which of the slot's tenants it is.
//!
//! Parties: everybody, guests included: a pid crosses every boundary as a `u64`. Protocol: a pid is
//! only a claim. Whoever looks one up compares its generation with the slot's state word
//! (`state.rs`), so a stale number finds nobody. It is no secret: it can be guessed. A slot whose
//! generations run out is retired, so a number never comes to mean a second process.

use std::fmt;

/// The name of a process; never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid(u64);

impl Pid {
    /// The pid of tenant `generation` of slot `index`.
    pub(crate) fn new(index: u32, generation: u32) -> Self {
        // `index + 1` in the low half keeps every pid different from zero.
        Self((u64::from(generation) << 32) | (u64::from(index) + 1))
    }

    /// Any number as a pid: a number that names nobody is harmless.
    pub fn from_u64(raw: u64) -> Self {
        Self(raw)
    }

    /// The number that crosses boundaries.
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// The slot this pid claims to live in; `None` for numbers that no process can have.
    ///
    /// Unique among live processes and dense from zero, so other arenas may be indexed by it.
    pub fn slot_index(self) -> Option<u32> {
        (self.0 as u32).checked_sub(1)
    }

    /// Which tenant of the slot.
    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl fmt::Display for Pid {
    /// `slot.generation`, as Erlang prints `<0.85.0>`: short for the young, unambiguous for the
    /// rest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}.{}>", self.0 as u32, self.generation())
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pid{self}")
    }
}
