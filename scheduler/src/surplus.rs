//! The thread that gives memory back after a burst of processes.
//!
//! Free slots keep their memory, so that the next process finds it warm. While processes end, this
//! thread calls `trim` at intervals, and goes on until there is nothing left to trim: what nobody
//! has needed for a whole interval goes back to the system. A steady churn needs its slots in each
//! interval and never loses them.
//!
//! Parties: workers, who tell (`note`) now and then that processes have ended; the thread, which is
//! started with the runtime and sleeps until then; whoever ends the runtime.

use crate::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Between two trims. Memory of a burst is back after two of them.
const INTERVAL: Duration = Duration::from_millis(400);

/// Trims without success before the thread goes back to sleep.
const IDLE_ROUNDS: usize = 2;

/// The workers' side, and the thread's. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Surplus(Arc<Shared>);

#[derive(Default)]
struct Shared {
    phase: Mutex<Phase>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Asleep,
    Trimming,
    Over,
}

impl Surplus {
    /// Processes have ended.
    pub(crate) fn note(&self) {
        let mut phase = self.0.phase.lock();
        if *phase == Phase::Asleep {
            *phase = Phase::Trimming;
            self.0.changed.notify_one();
        }
    }

    /// Ends the thread.
    pub(crate) fn close(&self) {
        *self.0.phase.lock() = Phase::Over;
        self.0.changed.notify_one();
    }

    /// The life of the thread. `trim` gives back what nobody needed and returns whether there is more.
    pub(crate) fn serve(&self, mut trim: impl FnMut() -> bool) {
        let mut idle_rounds = 0;
        loop {
            let mut phase = self.0.phase.lock();
            while *phase == Phase::Asleep {
                self.0.changed.wait(&mut phase);
            }
            let until = Instant::now() + INTERVAL;
            while *phase == Phase::Trimming && Instant::now() < until {
                self.0.changed.wait_until(&mut phase, until);
            }
            if *phase == Phase::Over {
                return;
            }
            drop(phase);
            idle_rounds = if trim() { 0 } else { idle_rounds + 1 };
            if idle_rounds > IDLE_ROUNDS {
                idle_rounds = 0;
                let mut phase = self.0.phase.lock();
                if *phase == Phase::Trimming {
                    *phase = Phase::Asleep;
                }
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::{sync::mpsc, thread};

    #[test]
    fn it_trims_after_a_burst_until_nothing_is_left_and_again_after_the_next() {
        let surplus = Surplus::default();
        let (sender, trims) = mpsc::channel();
        let served = surplus.clone();
        let thread = thread::spawn(move || {
            let mut more = [true, false, false, false].into_iter().cycle();
            served.serve(|| {
                sender.send(()).expect("the test listens");
                more.next().expect("it cycles")
            });
        });
        for _ in 0..2 {
            surplus.note();
            for _ in 0..4 {
                trims.recv().expect("a trim");
            }
            while *surplus.0.phase.lock() != Phase::Asleep {
                thread::yield_now();
            }
        }
        surplus.close();
        thread.join().expect("no panic");
        assert!(trims.try_recv().is_err());
    }
}
