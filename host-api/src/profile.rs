//! Which process a worker runs, for the engine's sampler.

use std::io;

use lunatic_engine::profile::{Profile, Running, Sampler};
use lunatic_scheduler::current_turn;

use crate::process::ProcessState;

/// The guest crates for Rust start all children at one export, whose name begins like this; its last
/// argument is the user's function, as an index of the function table.
const ENTRY_OF_CRATES: &str = "_lunatic_spawn";

/// Notes where the processor time of all processes goes, without help of the system's tools.
pub struct Profiler(Sampler);

impl Profiler {
    /// Begins. Modules that are loaded and nodes that are started from now on are looked at.
    ///
    /// # Errors
    /// When a profile is being made already, or a thread cannot be had.
    pub fn start() -> io::Result<Self> {
        Sampler::start(running, |name| name.starts_with(ENTRY_OF_CRATES)).map(Self)
    }

    /// What was seen.
    #[must_use]
    pub fn finish(self) -> Profile {
        self.0.finish()
    }
}

/// The process whose turn it is on the calling thread. Async-signal-safe.
fn running() -> Option<Running> {
    let turn = current_turn()?;
    // SAFETY: its program is a process's state, and it is its turn here.
    let (vmctx, entry, argument) = unsafe { ProcessState::observe(turn.program.cast()) };
    Some(Running { stack: turn.stack, on_fiber: turn.on_fiber, vmctx, entry, argument })
}
