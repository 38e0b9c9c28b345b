//! How much memory all processes together may have.
//!
//! Two numbers decide. What guests *asked for* is counted here, exactly: what a memory has grown by, a
//! declared memory beyond a part that is free ([`Room::birth_charge`]), and tables that have grown.
//! Address space that nobody touches takes no memory, and most processes touch a page or two of a
//! declared megabyte; so what they *touched* is what the system says of the whole program, and
//! somebody outside looks now and then and tells ([`Room::note_taken`]). If either is all there may
//! be, nobody is given more.
//!
//! **Stocks.** One number that every growth and every end changed would be one cache line for all
//! threads. So each shard (as in `free.rs`: one thread uses it nearly alone) keeps a stock that is
//! counted as given already. `given` never exceeds the limit; what is short takes all stocks back
//! before it refuses. At any moment nobody takes or gives, `given` less all stocks is what instances
//! have.
//!
//! Everything is `Relaxed`: numbers on which nothing else hangs.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam_utils::CachePadded;

use super::free::{SHARDS, shard};

/// What a shard takes at once. By feel: sixteen growths of a small heap.
const STOCK_BYTES: u64 = 1 << 20;

/// The part of a declared memory that is free, unless the limit is small: what compilers reserve for
/// stacks and never touch.
const FREE_BYTES_MAX: u64 = 16 << 20;
/// The part of the limit that it is then.
const FREE_SHARE: u64 = 64;

/// What all memories of a program take, and may take.
pub struct Room {
    limit: AtomicU64,
    /// What the system says that is taken.
    taken: AtomicU64,
    /// Requests refused.
    refused: CachePadded<AtomicU64>,
    given: CachePadded<AtomicU64>,
    /// The most that `given` has been.
    peak: CachePadded<AtomicU64>,
    stocks: [CachePadded<AtomicU64>; SHARDS],
}

/// Without a limit.
impl Default for Room {
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

impl Room {
    /// Room for so many bytes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self {
            limit: AtomicU64::new(limit),
            taken: AtomicU64::new(0),
            refused: CachePadded::new(AtomicU64::new(0)),
            given: CachePadded::new(AtomicU64::new(0)),
            peak: CachePadded::new(AtomicU64::new(0)),
            stocks: std::array::from_fn(|_| CachePadded::new(AtomicU64::new(0))),
        }
    }

    /// Bytes that there may be.
    pub fn limit(&self) -> u64 {
        self.limit.load(Relaxed)
    }

    /// There may be so many from now on; who has more keeps it.
    pub fn set_limit(&self, bytes: u64) {
        self.limit.store(bytes, Relaxed);
    }

    /// The system says that so many bytes are taken: nobody is given more while that is more than the
    /// limit.
    pub fn note_taken(&self, bytes: u64) {
        self.taken.store(bytes, Relaxed);
    }

    /// Bytes that guests have asked for and have; exact while nobody takes or gives.
    pub fn used(&self) -> u64 {
        let stocks: u64 = self.stocks.iter().map(|stock| stock.load(Relaxed)).sum();
        self.given.load(Relaxed).saturating_sub(stocks)
    }

    /// What the system said last.
    pub fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }

    /// The larger of what is used and what the system says.
    pub fn used_or_taken(&self) -> u64 {
        self.used().max(self.taken.load(Relaxed))
    }

    /// The most bytes that were used at once; too high by a megabyte for each thread at most.
    pub fn peak(&self) -> u64 {
        self.peak.load(Relaxed)
    }

    /// How often somebody was refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Whether the system says that all is taken.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.taken.load(Relaxed) > self.limit.load(Relaxed)
    }

    /// What a declared memory of `bytes` has to ask for.
    #[inline]
    pub(crate) fn birth_charge(&self, bytes: usize) -> u64 {
        let free = FREE_BYTES_MAX.min(self.limit() / FREE_SHARE);
        (bytes as u64).saturating_sub(free)
    }

    /// Takes room for so many bytes. False: there is none, and the caller refuses.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        let has_room = || self.take_from_stock(bytes) || self.take_given(bytes);
        if bytes == 0 || !self.is_full() && has_room() {
            return true;
        }
        self.note_refusal();
        false
    }

    /// Somebody was refused.
    #[cold]
    pub(crate) fn note_refusal(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    fn take_from_stock(&self, bytes: u64) -> bool {
        let stock = &self.stocks[shard()];
        stock.fetch_update(Relaxed, Relaxed, |stock| stock.checked_sub(bytes)).is_ok()
    }

    #[cold]
    fn take_given(&self, bytes: u64) -> bool {
        if self.give_out(bytes.saturating_add(STOCK_BYTES)) {
            self.stocks[shard()].fetch_add(STOCK_BYTES, Relaxed);
            return true;
        }
        self.give_out(bytes) || {
            self.take_stocks_back();
            self.give_out(bytes)
        }
    }

    fn give_out(&self, bytes: u64) -> bool {
        let limit = self.limit();
        let within = |given: u64| given.checked_add(bytes).filter(|&given| given <= limit);
        let Ok(before) = self.given.fetch_update(Relaxed, Relaxed, within) else { return false };
        self.peak.fetch_max(before + bytes, Relaxed);
        true
    }

    fn take_stocks_back(&self) {
        for stock in &self.stocks {
            let bytes = stock.swap(0, Relaxed);
            self.given.fetch_sub(bytes, Relaxed);
        }
    }

    /// Gives back what was taken.
    #[inline]
    pub(crate) fn give(&self, bytes: u64) {
        if bytes > 0 {
            self.put(bytes);
        }
    }

    fn put(&self, bytes: u64) {
        let stock = &self.stocks[shard()];
        if stock.fetch_add(bytes, Relaxed) + bytes <= 2 * STOCK_BYTES {
            return;
        }
        let surplus = |stock: u64| (stock > STOCK_BYTES).then_some(STOCK_BYTES);
        // Somebody may have taken it meanwhile.
        if let Ok(before) = stock.fetch_update(Relaxed, Relaxed, surplus) {
            self.given.fetch_sub(before - STOCK_BYTES, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const MIB: u64 = 1 << 20;

    #[test]
    fn all_of_the_limit_can_be_had_and_nothing_beyond() {
        let room = Room::new(10 * MIB);
        for used in 1..=160 {
            assert!(room.take(MIB / 16));
            assert_eq!(room.used(), used * MIB / 16);
        }
        assert!(!room.take(1));
        assert_eq!(room.refused(), 1);
        room.give(3 * MIB);
        assert_eq!(room.used(), 7 * MIB);
        assert!(room.take(3 * MIB) && !room.take(1));
        assert_eq!(room.peak(), 10 * MIB);
        room.give(10 * MIB);
        assert_eq!(room.used(), 0);
        assert!(!room.take(u64::MAX));
    }

    #[test]
    fn what_the_system_says_counts_as_well() {
        let room = Room::new(10 * MIB);
        room.note_taken(10 * MIB);
        assert!(room.take(1));
        room.note_taken(10 * MIB + 1);
        assert!(room.is_full() && !room.take(1));
        assert_eq!(room.used_or_taken(), 10 * MIB + 1);
        room.note_taken(0);
        assert!(room.take(1));
    }

    #[test]
    fn a_small_part_of_a_declared_memory_is_free() {
        let room = Room::new(64 * MIB);
        assert_eq!(room.birth_charge(1 << 20), 0);
        assert_eq!(room.birth_charge(3 << 20), 2 * MIB);
        assert_eq!(Room::default().birth_charge(20 << 20), 4 * MIB);
    }

    #[test]
    fn stocks_of_threads_that_have_ended_are_not_lost() {
        let room = Room::new(8 * MIB);
        thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    room.take(1) && {
                        room.give(1);
                        true
                    }
                });
            }
        });
        assert_eq!(room.used(), 0);
        assert!(room.take(8 * MIB));
    }

    #[test]
    fn threads_that_take_and_give_never_exceed_the_limit_and_leave_nothing() {
        let room = Room::new(6 * MIB);
        thread::scope(|scope| {
            for seed in 1..5_u64 {
                let room = &room;
                scope.spawn(move || {
                    let (mut x, mut mine) = (seed, Vec::new());
                    for _ in 0..20_000 {
                        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let bytes = (x >> 33) % (MIB / 2);
                        if x >> 63 == 0 && room.take(bytes) {
                            mine.push(bytes);
                        } else if let Some(bytes) = mine.pop() {
                            room.give(bytes);
                        }
                        assert!(room.given.load(Relaxed) <= 6 * MIB);
                    }
                    mine.into_iter().for_each(|bytes| room.give(bytes));
                });
            }
        });
        assert_eq!(room.used(), 0);
        assert!(room.peak() > 0 && room.peak() <= 6 * MIB);
    }
}
