//! The way out: asked for by anybody, taken by each worker, finished by the last.
//!
//! Parties: whoever requests; the workers. Protocol: `request` sets the flag once; each worker that
//! sees it between two processes calls `leave` and touches no queue afterwards; the one that is
//! told it is the last ends what still lives.

use crate::sync::{AtomicBool, AtomicUsize, Ordering};

pub(crate) struct Closing {
    /// Default ordering `SeqCst`, as the sleeping workers' last look includes it
    /// (`park/README.md`).
    requested: AtomicBool,
    /// Workers that have not left.
    present: AtomicUsize,
    swept: AtomicBool,
}

impl Closing {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            requested: AtomicBool::new(false),
            present: AtomicUsize::new(workers),
            swept: AtomicBool::new(false),
        }
    }

    /// Whether this call is the first to ask; that one must unpark all workers.
    pub(crate) fn request(&self) -> bool {
        !self.requested.swap(true, Ordering::SeqCst)
    }

    #[inline]
    pub(crate) fn requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// A worker leaves; whether it is the last.
    pub(crate) fn leave(&self) -> bool {
        // AcqRel: what the others did to processes, the last one sees.
        let last = self.present.fetch_sub(1, Ordering::AcqRel) == 1;
        if last {
            // Relaxed: read by the sweeping worker itself.
            self.swept.store(true, Ordering::Relaxed);
        }
        last
    }

    /// Whether the last worker has begun to sweep.
    #[inline]
    pub(crate) fn swept(&self) -> bool {
        // Relaxed: only the sweeping worker's own spawns depend on it; other threads go through the
        // gate.
        self.swept.load(Ordering::Relaxed)
    }
}
