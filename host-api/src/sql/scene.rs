//! For whom SQLite works on this thread.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use super::memory::Meter;
use crate::fs::OpenDir;
use crate::jobs::Asker;

/// For whom SQLite works.
pub(super) struct Scene {
    /// The only directory whose files it may touch; a database in memory has none.
    pub(super) dir: Option<OpenDir>,
    pub(super) meter: Arc<Meter>,
    /// Knows whether somebody waits for what is done now.
    asker: Mutex<Option<Asker>>,
    /// Instructions of SQLite's that may still be run. `Relaxed`, as the next: numbers only.
    allowance: AtomicU64,
    /// Instructions that have been run since somebody asked.
    run: AtomicU64,
    /// Calls of slow functions in the statement that is compiled. `Relaxed`: a number only.
    slow_calls: AtomicU64,
    /// Why the rules have refused something.
    refusal: Mutex<Option<String>>,
}

impl fmt::Debug for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scene").field("dir", &self.dir).finish_non_exhaustive()
    }
}

thread_local! {
    static HERE: RefCell<Option<Arc<Scene>>> = const { RefCell::new(None) };
    /// Where the stack was when this thread began to work for somebody.
    static STACK_AT: Cell<usize> = const { Cell::new(0) };
}

impl Scene {
    pub(super) fn new(dir: Option<OpenDir>, meter: Arc<Meter>) -> Self {
        Self {
            dir,
            meter,
            asker: Mutex::default(),
            allowance: AtomicU64::new(u64::MAX),
            run: AtomicU64::new(0),
            slow_calls: AtomicU64::new(0),
            refusal: Mutex::default(),
        }
    }

    /// Does something with SQLite, for this scene.
    pub(super) fn within<T>(self: &Arc<Self>, work: impl FnOnce() -> T) -> T {
        /// Puts back what was there, whatever happens.
        struct Leave(Option<Arc<Scene>>, usize);
        impl Drop for Leave {
            fn drop(&mut self) {
                STACK_AT.set(self.1);
                HERE.with(|here| std::mem::swap(&mut *here.borrow_mut(), &mut self.0));
            }
        }
        let before = HERE.with(|here| here.borrow_mut().replace(Arc::clone(self)));
        let _leave = Leave(before, STACK_AT.replace(stack_position()));
        work()
    }

    /// From now on somebody waits, or nobody in particular.
    pub(super) fn set_asker(&self, asker: Option<Asker>) {
        *self.asker.lock() = asker;
    }

    /// Whether somebody waited who does not any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.asker.lock().as_ref().is_some_and(|asker| !asker.is_waiting())
    }

    /// From now on so many instructions may be run.
    pub(super) fn allow(&self, instructions: u64) {
        self.allowance.store(instructions, Relaxed);
    }

    /// So many more instructions have been run: whether that are too many.
    pub(super) fn count(&self, instructions: u64) -> bool {
        let run = self.run.fetch_add(instructions, Relaxed).saturating_add(instructions);
        run > self.allowance.load(Relaxed)
    }

    /// How many have been run since this was called last.
    pub(super) fn take_run(&self) -> u64 {
        self.run.swap(0, Relaxed)
    }

    /// Another statement is compiled.
    pub(super) fn begin_statement(&self) {
        self.slow_calls.store(0, Relaxed);
    }

    /// One more call of a slow function in this statement; how many there are.
    pub(super) fn count_slow_call(&self) -> u64 {
        self.slow_calls.fetch_add(1, Relaxed) + 1
    }

    /// The rules refuse something.
    pub(super) fn refuse(&self, why: String) {
        *self.refusal.lock() = Some(why);
    }

    /// Why they have.
    pub(super) fn take_refusal(&self) -> Option<String> {
        self.refusal.lock().take()
    }
}

/// Where the stack is, as far as a function that is not inlined can tell.
#[inline(never)]
fn stack_position() -> usize {
    let mark = 0_u8;
    (&raw const mark).addr()
}

/// Bytes of stack since this thread began to work for somebody.
pub(super) fn stack_used() -> usize {
    STACK_AT.get().abs_diff(stack_position())
}

/// For whom this thread works, if it does. Also asked while a thread ends.
pub(super) fn here() -> Option<Arc<Scene>> {
    HERE.try_with(|here| here.borrow().clone()).ok().flatten()
}

/// The meter of whom this thread works for.
pub(super) fn metered<T>(work: impl FnOnce(&Meter) -> T) -> Option<T> {
    HERE.try_with(|here| here.borrow().as_ref().map(|scene| work(&scene.meter))).ok().flatten()
}
