//! A progress line on stderr for compilations that take a while.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lunatic_engine::Progress;

/// Shorter work passes without a word.
const QUIET: Duration = Duration::from_secs(1);
/// A line that changes faster than this is not read.
const REFRESH: Duration = Duration::from_millis(100);

/// Shows progress on a terminal while it lives, and wipes it in the end.
pub(crate) struct Line {
    shared: Arc<Mutex<State>>,
}

struct State {
    begun: Instant,
    shown: Option<Instant>,
}

impl Line {
    /// `None` where nobody looks: stderr is no terminal.
    pub(crate) fn new() -> Option<Self> {
        std::io::stderr().is_terminal().then(|| Self {
            shared: Arc::new(Mutex::new(State { begun: Instant::now(), shown: None })),
        })
    }

    /// What the compiler reports to.
    pub(crate) fn progress(&self) -> Progress {
        let shared = Arc::clone(&self.shared);
        Arc::new(move |done, total| {
            let Ok(mut state) = shared.lock() else { return };
            let now = Instant::now();
            let due = state.shown.map_or(state.begun + QUIET, |shown| shown + REFRESH);
            if now < due {
                return;
            }
            state.shown = Some(now);
            let percent = done.saturating_mul(100).checked_div(total).unwrap_or(0).min(100);
            // A terminal that has gone is no reason not to compile.
            let _ = write!(std::io::stderr(), "\rcompiling: {percent:3} %");
        })
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.shared.lock().is_ok_and(|state| state.shown.is_some()) {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
