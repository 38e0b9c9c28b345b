//! Where the time goes: what machine code is called, told to `perf` or asked by a sampler.
//!
//! `listing` names the code of a module. Whoever loads one says so here (`code_loaded`), which
//! costs nothing while nobody profiles. Two may want to know: `perf` writes the files that Linux's
//! `perf` reads; `sampler` looks by itself what each worker runs, and `tally` counts what it
//! saw.

mod listing;
mod perf;
mod ring;
mod sample;
mod sampler;
mod tally;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wasmer_compiler::Artifact;

use listing::Listing;

pub use perf::{PerfPaths, tell_perf};
pub use sample::Running;
pub use sampler::{Naming, RunningHook, Sampler, enroll_thread};
pub(crate) use sampler::{SIGNAL, look_here};
pub use tally::{Profile, Stack};

/// Whether anybody wants to know about code.
static WANTED: AtomicBool = AtomicBool::new(false);

/// From now on code is listed when it is loaded.
fn want_listings() {
    // Relaxed: modules that are being loaded meanwhile may be missed, as earlier ones are.
    WANTED.store(true, Ordering::Relaxed);
}

/// Code that is known here while this lives.
#[derive(Debug)]
pub(crate) struct Listed(Option<Arc<Listing>>);

/// A module's code can be run from now on. `artifact` outlives the result.
pub(crate) fn code_loaded(artifact: &Artifact) -> Listed {
    // Relaxed: see `want_listings`.
    if !WANTED.load(Ordering::Relaxed) {
        return Listed(None);
    }
    let listing = Arc::new(Listing::of(artifact));
    perf::code_loaded(&listing);
    sampler::code_loaded(&listing);
    Listed(Some(listing))
}

impl Drop for Listed {
    fn drop(&mut self) {
        if let Some(listing) = &self.0 {
            sampler::code_unloaded(listing);
        }
    }
}
