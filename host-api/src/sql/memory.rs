//! SQLite's memory: the system's, counted for the process that has it done something.
//!
//! An allocation beyond what the process may have fails, which SQLite handles as it does on a machine
//! without memory: the statement fails with error 7. A large one fails, too, if nobody waits any more for what
//! SQLite does: it looks for that between rows and at jumps only, and a statement may call thousands of
//! functions in between, each of which makes a megabyte of text. What one connection takes and another gives back
//! (the index of a shared write-ahead log) makes one meter too high and one too low, by little.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use rusqlite::ffi::sqlite3_mem_methods;

use super::scene::{self, metered};
use crate::held;

/// From this size on SQLite is given nothing for those who have gone. By feel: what takes some time to fill.
const LARGE_BYTES: usize = 64 << 10;

/// What SQLite has taken for one process. `Relaxed`: a number on which nothing else hangs.
#[derive(Debug)]
pub(crate) struct Meter {
    used: AtomicI64,
    max: i64,
}

impl Meter {
    /// For a process that may have so many bytes.
    pub(crate) fn new(max: usize) -> Self {
        Self { used: AtomicI64::new(0), max: i64::try_from(max).unwrap_or(i64::MAX) }
    }

    /// Bytes that are in use.
    pub(crate) fn used(&self) -> usize {
        usize::try_from(self.used.load(Relaxed)).unwrap_or(0)
    }

    fn has_room_for(&self, more: i64) -> bool {
        self.used.load(Relaxed).saturating_add(more) <= self.max
    }
}

/// What SQLite is told to use.
pub(super) const METHODS: sqlite3_mem_methods = sqlite3_mem_methods {
    xMalloc: Some(allocate),
    xFree: Some(free),
    xRealloc: Some(reallocate),
    xSize: Some(size),
    xRoundup: Some(round_up),
    xInit: Some(init),
    xShutdown: Some(shut_down),
    pAppData: std::ptr::null_mut(),
};

/// Whether there may be so many bytes more, for an allocation that is then so large.
fn has_room_for(more: i64, whole: usize) -> bool {
    if whole >= LARGE_BYTES && scene::here().is_some_and(|scene| scene.is_abandoned()) {
        return false;
    }
    metered(|meter| meter.has_room_for(more)).unwrap_or(true)
}

fn changed(by: i64) {
    // What others have taken, and this one gives back, makes no room here.
    metered(|meter| {
        let used = |used: i64| Some(used.saturating_add(by).max(0));
        let _always = meter.used.fetch_update(Relaxed, Relaxed, used);
    });
    let bytes = usize::try_from(by.unsigned_abs()).unwrap_or(0);
    if by < 0 { held::sub(bytes) } else { held::add(bytes) }
}

/// Bytes of an allocation.
///
/// # Safety
/// `at` was allocated here and not given back.
unsafe fn bytes_of(at: *mut c_void) -> i64 {
    // SAFETY: forwards the caller's promise: it came from the system's `malloc`.
    let bytes = unsafe { libc::malloc_usable_size(at) };
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// # Safety
/// None; the type is SQLite's.
unsafe extern "C" fn allocate(bytes: c_int) -> *mut c_void {
    let Ok(wanted) = usize::try_from(bytes) else { return std::ptr::null_mut() };
    if !has_room_for(bytes.into(), wanted) {
        return std::ptr::null_mut();
    }
    // SAFETY: any size may be asked for.
    let at = unsafe { libc::malloc(wanted) };
    if !at.is_null() {
        // SAFETY: just allocated.
        changed(unsafe { bytes_of(at) });
    }
    at
}

/// # Safety
/// As [`bytes_of`]; or null. Gives it back.
unsafe extern "C" fn free(at: *mut c_void) {
    if !at.is_null() {
        // SAFETY: forwards the caller's promise.
        changed(-unsafe { bytes_of(at) });
        // SAFETY: forwards the caller's promise.
        unsafe { libc::free(at) };
    }
}

/// # Safety
/// As [`bytes_of`]. If the answer is not null, the old address is given back.
unsafe extern "C" fn reallocate(at: *mut c_void, bytes: c_int) -> *mut c_void {
    let Ok(wanted) = usize::try_from(bytes) else { return std::ptr::null_mut() };
    // SAFETY: forwards the caller's promise.
    let before = unsafe { bytes_of(at) };
    let more = i64::from(bytes) - before;
    if more > 0 && !has_room_for(more, wanted) {
        return std::ptr::null_mut();
    }
    // SAFETY: forwards the caller's promise; SQLite asks for more than 0 bytes.
    let moved = unsafe { libc::realloc(at, wanted.max(1)) };
    if !moved.is_null() {
        // SAFETY: just allocated.
        changed(unsafe { bytes_of(moved) } - before);
    }
    moved
}

/// # Safety
/// As [`bytes_of`].
unsafe extern "C" fn size(at: *mut c_void) -> c_int {
    if at.is_null() {
        return 0;
    }
    // SAFETY: forwards the caller's promise.
    let bytes = unsafe { bytes_of(at) };
    c_int::try_from(bytes).unwrap_or(c_int::MAX)
}

/// # Safety
/// None; the type is SQLite's.
unsafe extern "C" fn round_up(bytes: c_int) -> c_int {
    bytes.saturating_add(7) & !7
}

/// # Safety
/// None; the type is SQLite's.
unsafe extern "C" fn init(_: *mut c_void) -> c_int {
    rusqlite::ffi::SQLITE_OK
}

/// # Safety
/// None; the type is SQLite's.
unsafe extern "C" fn shut_down(_: *mut c_void) {}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::scene::Scene;
    use super::{LARGE_BYTES, METHODS, Meter};
    use crate::jobs::Asker;

    #[test]
    fn what_is_taken_is_counted_and_too_much_refused() {
        let meter = Arc::new(Meter::new(10_000));
        let scene = Arc::new(Scene::new(None, Arc::clone(&meter)));
        let (malloc, free) = (METHODS.xMalloc.expect("set"), METHODS.xFree.expect("set"));
        let realloc = METHODS.xRealloc.expect("set");
        scene.within(|| {
            // SAFETY: any size may be asked for.
            let one = unsafe { malloc(6_000) };
            assert!(!one.is_null() && meter.used() >= 6_000);
            // SAFETY: as above.
            assert!(unsafe { malloc(6_000) }.is_null());
            // SAFETY: allocated above, and not given back.
            assert!(unsafe { realloc(one, 20_000) }.is_null());
            // SAFETY: the call above has failed, so it is still there.
            let less = unsafe { realloc(one, 100) };
            assert!(meter.used() < 6_000);
            // SAFETY: as above.
            unsafe { free(less) };
            assert_eq!(meter.used(), 0);
            // SAFETY: as above.
            assert!(unsafe { malloc(-1) }.is_null());
        });
    }

    #[test]
    fn who_has_gone_gets_nothing_large() {
        let scene = Arc::new(Scene::new(None, Arc::new(Meter::new(10_000_000))));
        let malloc = METHODS.xMalloc.expect("set");
        let free = METHODS.xFree.expect("set");
        let waits = Arc::new(());
        scene.set_asker(Some(Asker::of(&waits)));
        let gets = |bytes: usize| {
            let bytes = i32::try_from(bytes).expect("small");
            // SAFETY: any size may be asked for.
            let at = scene.within(|| unsafe { malloc(bytes) });
            // SAFETY: allocated above, or null.
            scene.within(|| unsafe { free(at) });
            !at.is_null()
        };
        assert!(gets(LARGE_BYTES));
        drop(waits);
        assert!(!gets(LARGE_BYTES) && gets(LARGE_BYTES - 1));
        scene.set_asker(None);
        assert!(gets(LARGE_BYTES));
    }
}
