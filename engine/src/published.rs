//! A value that signal handlers may look at while others replace it.
//!
//! Parties: *readers*, which may be signal handlers on any thread, and so take no lock; *writers*, one
//! at a time under a lock. The value never changes: a writer makes a new one, publishes it, and frees
//! the old one when nobody looks at it any more.
//!
//! Protocol. A reader counts itself in one of two counters, that of the present phase, then takes
//! the published value, and in the end counts itself out. A writer publishes the new value, then turns
//! the phase, so that new readers come to the other counter, and waits until the old counter is
//! zero. A reader may have read the phase before the turn and count itself after the writer's look:
//! so it looks at the phase again when it has counted itself, and begins anew if that has turned.
//!
//! Why that is enough. The second look is a read-modify-write, so it comes either before the turn or
//! after it, and never finds an old phase. Before: its release and the turn's acquire put the count
//! before the writer's look, which sees it, and waits. After: the reader begins anew; the look that
//! lets it go on has acquired all turns that it found done, and so finds none of the values that were
//! replaced before them. A later writer turns the phase once more only when this counter was zero,
//! so a reader is never missed for being two phases behind. Models: `tests/loom.rs`.

use std::ptr;

use crate::sync::{AtomicPtr, AtomicUsize, Mutex, Ordering, thread};

/// The value, none at the beginning.
pub(crate) struct Published<T> {
    /// Made by `Box::into_raw`, or null. Swapped with `AcqRel`: publishes what is in the new one.
    current: AtomicPtr<T>,
    /// Its lowest bit tells which of the counters is in use.
    phase: AtomicUsize,
    readers: [AtomicUsize; 2],
    writer: Mutex<()>,
}

// SAFETY: readers of several threads share the value, and any writer may drop it.
unsafe impl<T: Send + Sync> Sync for Published<T> {}

/// A reader that has counted itself.
struct Reader<'a>(&'a AtomicUsize);

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        // Release: what the reader did with the value comes before the writer's look, and its freeing.
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl<T> Published<T> {
    /// Nothing yet.
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self {
            current: AtomicPtr::new(ptr::null_mut()),
            phase: AtomicUsize::new(0),
            readers: [AtomicUsize::new(0), AtomicUsize::new(0)],
            writer: Mutex::new(()),
        }
    }

    /// Nothing yet.
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self {
            current: AtomicPtr::new(ptr::null_mut()),
            phase: AtomicUsize::new(0),
            readers: [AtomicUsize::new(0), AtomicUsize::new(0)],
            writer: Mutex::new(()),
        }
    }

    fn enter(&self) -> Reader<'_> {
        loop {
            // Relaxed: only a guess, which the second look verifies.
            let phase = self.phase.load(Ordering::Relaxed);
            let reader = Reader(&self.readers[phase & 1]);
            // Relaxed: the second look's release publishes it.
            reader.0.fetch_add(1, Ordering::Relaxed);
            // AcqRel, and no mere load: see the head of the file.
            if self.phase.fetch_add(0, Ordering::AcqRel) == phase {
                return reader;
            }
        }
    }

    /// Runs `look` on the value published now. Async-signal-safe, if `look` is.
    pub(crate) fn with<R>(&self, look: impl FnOnce(Option<&T>) -> R) -> R {
        let _reader = self.enter();
        // Acquire: pairs with the swap of `change`.
        let current = self.current.load(Ordering::Acquire);
        // SAFETY: null, or published by `change` and not freed while this reader is counted.
        look(unsafe { current.as_ref() })
    }

    /// Puts in the place of the present value what `make` makes of it.
    pub(crate) fn change(&self, make: impl FnOnce(Option<&T>) -> T) {
        let _writer = self.writer.lock();
        // Relaxed: only writers change it, and the lock orders those.
        // SAFETY: only writers free values, and this is the only one.
        let new = make(unsafe { self.current.load(Ordering::Relaxed).as_ref() });
        let old = self.current.swap(Box::into_raw(Box::new(new)), Ordering::AcqRel);
        // AcqRel: acquires the counts of readers that found this phase, publishes the swap to those
        // that find the next one.
        let phase = self.phase.fetch_add(1, Ordering::AcqRel);
        // Acquire: pairs with the readers' counting out.
        while self.readers[phase & 1].load(Ordering::Acquire) != 0 {
            // Some hundred instructions, unless the reader's thread has lost its processor.
            thread::yield_now();
        }
        if !old.is_null() {
            // SAFETY: made by `Box::into_raw` in an earlier call; unpublished, and its readers are gone.
            drop(unsafe { Box::from_raw(old) });
        }
    }
}

impl<T> Drop for Published<T> {
    fn drop(&mut self) {
        // Relaxed: nobody else has it.
        let current = self.current.load(Ordering::Relaxed);
        if !current.is_null() {
            // SAFETY: made by `Box::into_raw`; nobody can look any more.
            drop(unsafe { Box::from_raw(current) });
        }
    }
}
