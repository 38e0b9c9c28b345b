//! How much memory the host holds for guests beside their linear memories: messages with what they
//! carry, wherever they are (in a mailbox, a channel, a timer, the sender's hands), and resources.
//!
//! Counted where memory is taken and given back, for the whole program, as memory is the whole
//! program's. A message that travels in a used envelope takes none and costs nothing here. Parties: each
//! thread has a sum of its own that it adds to the total now and then; the warden (`warden.rs`) is woken
//! when the total exceeds what may be held.
//!
//! Everything is `Relaxed`: numbers on which nothing else hangs.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::warden;

/// What a thread adds at once. By feel: rarely enough, and all threads together are off by little.
const BATCH_BYTES: i64 = 64 * 1024;

/// What one resource takes: more than most, less than a TLS session.
pub(crate) const RESOURCE_BYTES: usize = 512;

/// Buffers of this size go back to the system: that takes a while, which is not a worker's.
const FREED_ELSEWHERE_BYTES: usize = 256 * 1024;
/// Those that may wait for that.
const WAITING_MAX: usize = 1024;

static TOTAL: AtomicI64 = AtomicI64::new(0);
static MAX: AtomicI64 = AtomicI64::new(i64::MAX);
/// The warden has been woken and has not looked yet.
static ALARMED: AtomicBool = AtomicBool::new(false);
static TO_FREE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

thread_local! {
    /// Without destructor: it may be used by those of others.
    static MINE: Cell<i64> = const { Cell::new(0) };
}

/// So many bytes have been taken.
#[inline]
pub(crate) fn add(bytes: usize) {
    change(bytes as i64);
}

/// So many bytes have been given back.
#[inline]
pub(crate) fn sub(bytes: usize) {
    change(-(bytes as i64));
}

#[inline]
fn change(by: i64) {
    let mine = MINE.get() + by;
    MINE.set(mine);
    if mine.unsigned_abs() >= BATCH_BYTES.unsigned_abs() {
        fold(mine);
    }
}

#[cold]
fn fold(mine: i64) {
    MINE.set(0);
    let total = TOTAL.fetch_add(mine, Relaxed) + mine;
    if total > MAX.load(Relaxed) && !ALARMED.swap(true, Relaxed) {
        warden::wake();
    }
}

/// What may be held. The latest says it for all.
pub(crate) fn set_max(bytes: u64) {
    MAX.store(i64::try_from(bytes).unwrap_or(i64::MAX), Relaxed);
}

/// What may be held.
pub(crate) fn max() -> u64 {
    MAX.load(Relaxed).unsigned_abs()
}

/// What is held, about.
pub(crate) fn total() -> u64 {
    u64::try_from(TOTAL.load(Relaxed)).unwrap_or(0)
}

/// Whether more is held than may be, about.
pub(crate) fn is_full() -> bool {
    total() > max()
}

/// The warden: whether there is too much; if not, it will be woken when there is.
pub(crate) fn is_too_much() -> bool {
    if is_full() {
        return true;
    }
    ALARMED.store(false, Relaxed);
    // Once more: who exceeded it meanwhile has not woken us.
    is_full()
}

/// What this thread has added or taken counts now: it will be idle.
pub(crate) fn settle() {
    fold(MINE.get());
}

/// Gives a counted buffer back.
#[inline]
pub(crate) fn free(buffer: Vec<u8>) {
    if buffer.capacity() >= FREED_ELSEWHERE_BYTES {
        free_elsewhere(buffer);
    } else if buffer.capacity() > 0 {
        sub(buffer.capacity());
    }
}

#[cold]
fn free_elsewhere(buffer: Vec<u8>) {
    let mut waiting = TO_FREE.lock();
    if waiting.len() < WAITING_MAX {
        waiting.push(buffer);
        let first = waiting.len() == 1;
        drop(waiting);
        if first {
            warden::wake();
        }
    } else {
        drop(waiting);
        sub(buffer.capacity());
    }
}

/// The warden: gives back what waits for it.
pub(crate) fn free_waiting() {
    loop {
        // One after the other: the lock is held for a moment only.
        let Some(buffer) = TO_FREE.lock().pop() else { return };
        let bytes = buffer.capacity();
        drop(buffer);
        change(-(bytes as i64));
        settle();
    }
}
