//! Which process a worker runs, for the engine's sampler.

use std::io;
use std::sync::{Arc, Weak};

use lunatic_engine::profile::{Naming, Profile, Running, Sampler};
use lunatic_scheduler::{Pid, current_turn};
use parking_lot::Mutex;

use crate::node::NodeInner;
use crate::process::ProcessState;

/// The node that was started last: the one whose processes have names.
static NODE: Mutex<Weak<NodeInner>> = Mutex::new(Weak::new());

/// Processes of this node may have names.
pub(crate) fn node_started(node: &Arc<NodeInner>) {
    *NODE.lock() = Arc::downgrade(node);
}

/// Names as the guest crates and the registry give them.
struct Names;

impl Naming for Names {
    fn calls_its_argument(&self, entry: &str) -> bool {
        entry.starts_with(ENTRY_OF_CRATES)
    }

    fn registered(&self, process: u64) -> Option<Arc<str>> {
        let node = NODE.lock().upgrade()?;
        node.ties.name_of(Pid::from_u64(process))
    }
}

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
        Sampler::start(running, Box::new(Names)).map(Self)
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
    let (pid, vmctx, entry, argument) = unsafe { ProcessState::observe(turn.program.cast()) };
    let process = pid.as_u64();
    Some(Running { stack: turn.stack, on_fiber: turn.on_fiber, process, vmctx, entry, argument })
}
