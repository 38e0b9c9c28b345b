//! Which pages of a slot are there, and how a used slot becomes a new memory.
//!
//! Giving pages back to the system and taking them again costs microseconds each, and asking the
//! system which pages were touched costs one system call a process. So a slot that is used again
//! keeps its pages, and every *other* page of it is marked as a guard (`MADV_GUARD_INSTALL`: a mark
//! in the page table, no mapping). A process that touches only what its predecessors touched then
//! costs no system call and no fault: its slot's pages are overwritten when the slot is taken. One
//! that touches another page faults once, and the handler ([`resolve_fault`]) lifts the mark and
//! books the page.
//!
//! The same marks let pages of the module's initial data be left out until they are touched
//! (`data.rs`).
//!
//! Parties: the *owner* of a slot (who took it from its class; one thread at a time) and the signal
//! handler on the owner's thread, whether guest code or a host function touched the page. The
//! kernel does not resolve: a system call given an address in a guest's memory would fail with
//! `EFAULT`, so host functions hand it buffers of their own.
//!
//! Behind the pages that its tenant may touch a slot has marks that the handler does not lift, in every
//! state that has a tenant: on one page in a dense slot (the fence, `class.rs`), up to the end in a
//! guarded one (`guarded.rs`). The book knows where they begin.
//!
//! States of a slot: all zero is [`UNTOUCHED`], so that the books of slots never used cost nothing.

use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU16, AtomicU64, AtomicUsize, Ordering};

use crate::data::InitialData;
use crate::os::{self, OS_PAGE_BYTES};

/// Bytes of the largest slot that has a book.
pub(super) const BOOKED_BYTES_MAX: usize = PAGES * OS_PAGE_BYTES;

const WORDS: usize = 8;
const PAGES: usize = WORDS * 64;

/// Pages that a slot may keep for its next tenant: 256 KiB. Felt: overwriting more takes longer than
/// most processes live.
const KEPT_PAGES_MAX: u32 = 64;

/// Tenants of a slot before it begins anew, if it keeps more than [`FEW_PAGES`]: what one tenant
/// touched, all later ones pay for, whether they need it or not. Felt: beginning anew costs some
/// faults, so a tenth of a microsecond a tenant.
const TENANTS_MAX: u8 = 100;
const FEW_PAGES: u32 = 4;
/// In place of the number of tenants: pages are open that are not booked, or marked that should not be.
/// So the slot must begin anew.
const UNSURE: u8 = u8::MAX;

/// Faults of one tenant before its slot is opened: one that touches many new pages should not pay
/// for each.
const FAULTS_MAX: u8 = 8;

/// Nothing is known of the slot's pages, but that those marked are closed to the tenant. Without a
/// tenant, and never used or given back: nothing is there and nothing marked.
const UNTOUCHED: u8 = 0;
/// Pages in `pages` are marked, and placed when touched. Of all others nothing is known, as above:
/// they are there or not, and dirty.
const OPEN: u8 = 1;
/// Pages in `pages` may be there and dirty. All others are marked.
const TRACKED: u8 = 2;

/// The book of one slot. Default ordering `Relaxed`: owner and handler are one thread, and a slot
/// passes from owner to owner under its class's lock.
pub(super) struct Book {
    /// The tenant's initial data, if some of it may not be there yet; null if UNTOUCHED.
    data: AtomicPtr<InitialData>,
    pages: [AtomicU64; WORDS],
    /// Pages at the slot's end that the tenant may not touch. Not UNTOUCHED: there the handler lifts
    /// no marks.
    closed: AtomicU16,
    state: AtomicU8,
    /// Of the present tenant, on pages without initial data.
    faults: AtomicU8,
    /// Since the slot was last empty.
    tenants: AtomicU8,
}

/// How much of a slot its tenant may touch.
#[derive(Clone, Copy)]
pub(super) struct Open {
    /// So many pages at its start.
    pub(super) pages: usize,
    /// So many behind them are to fault. What lies behind those no access can reach.
    pub(super) fence: usize,
}

impl Open {
    fn closed(self) -> Range<usize> {
        self.pages..self.pages + self.fence
    }
}

/// What is known of a slot that is to become a new memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// It is TRACKED.
    Tracked,
    /// Nothing is there, and nothing is marked.
    Empty,
    /// Nothing, as the system has refused. Nobody may have the slot like that.
    Nothing,
}

/// A slot's addresses.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) base: usize,
    pub(super) bytes: usize,
}

impl Span {
    pub(super) fn pages(self) -> usize {
        self.bytes / OS_PAGE_BYTES
    }

    fn range(self, pages: Range<usize>) -> Range<usize> {
        self.base + pages.start * OS_PAGE_BYTES..self.base + pages.end * OS_PAGE_BYTES
    }

    pub(super) fn whole(self) -> Range<usize> {
        self.base..self.base + self.bytes
    }

    pub(super) fn memory(self) -> *mut u8 {
        self.base as *mut u8
    }
}

impl Book {
    /// Owner: makes the slot a memory with this data at its start, of which the tenant may touch what
    /// is `open`. `used`: it has had a tenant. False: pages could not be closed or opened, the slot must
    /// not be used. Whoever takes it next may try again, as a slot that was used.
    pub(super) fn prepare(
        &self,
        span: Span,
        used: bool,
        data: Option<&InitialData>,
        open: Open,
    ) -> bool {
        let known = match self.state.load(Ordering::Relaxed) {
            TRACKED if !self.is_stale() => Known::Tracked,
            TRACKED => self.vacate(span),
            _ if used => self.track(span, open.pages),
            _ => Known::Empty,
        };
        match known {
            Known::Tracked => {}
            Known::Empty => return self.prepare_untouched(span, data, open),
            Known::Nothing => return false,
        }
        self.set_open(span, open.pages);
        if !self.close_kept(span, open.pages) {
            return false;
        }
        self.prepare_tracked(span, data);
        true
    }

    /// Pages that the tenant may touch.
    fn open(&self, span: Span) -> usize {
        span.pages() - usize::from(self.closed.load(Ordering::Relaxed))
    }

    fn set_open(&self, span: Span, open: usize) {
        let closed = (span.pages() - open) as u16;
        // Writing what is there would cost memory for the books of a burst.
        if self.closed.load(Ordering::Relaxed) != closed {
            self.closed.store(closed, Ordering::Relaxed);
        }
    }

    /// Owner: the memory has grown from `before` pages of the slot to what is `open` now. False: it has
    /// not, and no access reaches more of it than before.
    pub(super) fn extend(&self, span: Span, before: usize, open: Open) -> bool {
        if open.pages <= before {
            return true;
        }
        let state = self.state.load(Ordering::Relaxed);
        // TRACKED: what is behind is marked, and the marks before it are lifted when they are touched.
        let extended = state == TRACKED
            || if open.fence > 0 {
                move_fence(span.range(before..open.pages), open.fence * OS_PAGE_BYTES)
            } else {
                lift_all_or_none(span.range(before..open.pages))
            };
        if extended && state != UNTOUCHED {
            self.set_open(span, open.pages);
        }
        extended
    }

    /// TRACKED: the last tenant had a larger memory than the next one.
    fn close_kept(&self, span: Span, open: usize) -> bool {
        let first = open / 64;
        let kept = self.pages.get(first..).unwrap_or_default();
        if kept.iter().all(|word| word.load(Ordering::Relaxed) == 0) {
            return true;
        }
        let closed = |page: usize| page >= open && self.holds(page);
        for run in runs(span.pages(), closed) {
            if !os::install_guard(span.range(run.clone())) {
                // Some may be marked: the next tenant begins with an empty slot.
                self.tenants.store(UNSURE, Ordering::Relaxed);
                return false;
            }
            run.for_each(|page| self.unset(page));
        }
        true
    }

    /// TRACKED: counts a tenant; whether there have been enough.
    fn is_stale(&self) -> bool {
        let tenants = self.tenants.load(Ordering::Relaxed);
        if tenants < TENANTS_MAX {
            self.tenants.store(tenants + 1, Ordering::Relaxed);
            return false;
        }
        let kept = self.pages.iter().map(|word| word.load(Ordering::Relaxed).count_ones());
        tenants == UNSURE || kept.sum::<u32>() > FEW_PAGES
    }

    /// Gives all pages back and lifts all marks.
    fn vacate(&self, span: Span) -> Known {
        os::discard(span.whole());
        // Where the system has no marks there are none to be lifted.
        if os::guards_pages() && !os::remove_guard(span.whole()) {
            self.doubt();
            return Known::Nothing;
        }
        self.forget();
        Known::Empty
    }

    /// Owner: some marks may have been lifted, and others not. Whoever takes the slot next finds out:
    /// TRACKED, it is vacated; OPEN or UNTOUCHED, all that is not there is marked again.
    pub(super) fn doubt(&self) {
        if self.state.load(Ordering::Relaxed) != UNTOUCHED {
            self.tenants.store(UNSURE, Ordering::Relaxed);
        }
    }

    /// What is there is known: overwrite it.
    fn prepare_tracked(&self, span: Span, data: Option<&InitialData>) {
        self.begin_tenancy(data);
        for word in 0..WORDS {
            let mut bits = self.pages[word].load(Ordering::Relaxed);
            while bits != 0 {
                let page = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                clean_page(span, page, data);
            }
        }
    }

    /// Nothing is there.
    fn prepare_untouched(&self, span: Span, data: Option<&InitialData>, open: Open) -> bool {
        if open.fence > 0 && !os::install_guard(span.range(open.closed())) {
            return false;
        }
        let Some(data) = data else { return true };
        let Some(leaves_out) = self.leave_out(span, data) else { return false };
        if leaves_out {
            self.set_open(span, open.pages);
            self.begin_tenancy(Some(data));
            self.state.store(OPEN, Ordering::Relaxed);
            data.note_placement();
        }
        for page in data.pages().filter(|&page| !leaves_out || !self.holds(page)) {
            // SAFETY: the slot is zero, ours, and as long as the initial memory.
            unsafe { data.place_page(page, span.memory()) };
        }
        true
    }

    /// Marks pages of data that few tenants want. False: there are none. `None`: some are marked that
    /// should not be.
    fn leave_out(&self, span: Span, data: &InitialData) -> Option<bool> {
        let left_out = |page: usize| data.has(page) && !data.is_wanted(page);
        let mut some = false;
        for run in runs(data.pages_end(), left_out).filter(|_| os::guards_pages()) {
            // A mark costs as much as copying a page.
            if run.len() == 1 {
                continue;
            }
            if os::install_guard(span.range(run.clone())) {
                run.for_each(|page| self.set(page));
                some = true;
            } else if !os::remove_guard(span.range(run)) {
                // What cannot be marked is copied, too, and nothing of it may stay marked.
                self.clear();
                return None;
            }
        }
        Some(some)
    }

    fn begin_tenancy(&self, data: Option<&InitialData>) {
        let data = data.map_or(ptr::null_mut(), |data| ptr::from_ref(data).cast_mut());
        self.data.store(data, Ordering::Relaxed);
        self.faults.store(0, Ordering::Relaxed);
    }

    /// UNTOUCHED (by this book) or OPEN to TRACKED: finds out what is there and marks the rest.
    /// It may be too much to keep: then the slot is empty and UNTOUCHED.
    fn track(&self, span: Span, open: usize) -> Known {
        // Until it is known: so that `forget` has something to forget.
        self.state.store(OPEN, Ordering::Relaxed);
        self.clear();
        let mut kept = 0;
        os::for_each_present(span.whole(), |present| {
            let first = (present.start - span.base) / OS_PAGE_BYTES;
            let end = first + present.len().div_ceil(OS_PAGE_BYTES);
            for page in first..end.min(open) {
                self.set(page);
                kept += 1;
            }
        });
        let mut absent = runs(span.pages(), |page| !self.holds(page));
        if kept <= KEPT_PAGES_MAX && !os::guards_pages() {
            runs(span.pages(), |page| self.holds(page))
                .flatten()
                .for_each(|page| clean_page(span, page, None));
            self.forget();
            return Known::Empty;
        }
        if kept <= KEPT_PAGES_MAX && absent.all(|pages| os::install_guard(span.range(pages))) {
            self.state.store(TRACKED, Ordering::Relaxed);
            return Known::Tracked;
        }
        self.vacate(span)
    }

    /// Owner, when all pages have been given back and all marks lifted.
    pub(super) fn forget(&self) {
        if self.state.load(Ordering::Relaxed) == UNTOUCHED {
            return; // Nothing to forget; writing would cost memory for the books of a burst.
        }
        self.clear();
        self.data.store(ptr::null_mut(), Ordering::Relaxed);
        self.state.store(UNTOUCHED, Ordering::Relaxed);
        self.tenants.store(0, Ordering::Relaxed);
    }

    /// Owner: copies everything that may not be zero into another memory. False: something is missing.
    ///
    /// # Safety
    /// `to` is writable, at least as long as this slot, and nobody else's.
    pub(super) unsafe fn copy(&self, span: Span, to: *mut u8) -> bool {
        let data = self.data.load(Ordering::Relaxed);
        // SAFETY: the tenant's image outlives its memory.
        let data = unsafe { data.as_ref() };
        let tracked = self.state.load(Ordering::Relaxed) == TRACKED;
        for page in data.into_iter().flat_map(InitialData::pages) {
            // Left out so far: it is placed as if it were touched, but a touch cannot fail.
            if self.holds(page) != tracked && !self.resolve(span, page) {
                return false;
            }
        }
        os::for_each_present(span.whole(), |present| {
            let offset = present.start - span.base;
            let to = to.wrapping_add(offset);
            // SAFETY: the slot's pages are readable; the caller answers for `to`.
            unsafe { ptr::copy_nonoverlapping(present.start as *const u8, to, present.len()) };
        });
        true
    }

    /// The handler, or the owner itself: the owner touched this page. True: it can go on.
    fn resolve(&self, span: Span, page: usize) -> bool {
        if page >= self.open(span) {
            return false;
        }
        let state = self.state.load(Ordering::Relaxed);
        let marked = match state {
            OPEN => self.holds(page),
            TRACKED => !self.holds(page),
            _ => false,
        };
        if !marked {
            return false;
        }
        // SAFETY: the tenant's image outlives its memory.
        let data = unsafe { self.data.load(Ordering::Relaxed).as_ref() };
        if !os::remove_guard(span.range(page..page + 1)) {
            return false;
        }
        if state == OPEN {
            self.unset(page);
        } else {
            self.set(page);
        }
        match data.filter(|data| data.has(page)) {
            Some(data) => {
                data.note_fault(page);
                // SAFETY: the page is zero, the owner's, and its owner stands still.
                unsafe { data.place_page(page, span.memory()) };
            }
            None => self.count_fault(span, data),
        }
        true
    }

    /// TRACKED to OPEN, when the tenant has touched many new pages.
    fn count_fault(&self, span: Span, data: Option<&InitialData>) {
        let faults = self.faults.load(Ordering::Relaxed) + 1;
        self.faults.store(faults, Ordering::Relaxed);
        if faults < FAULTS_MAX {
            return;
        }
        let left_out = |page| data.is_some_and(|data| data.has(page)) && !self.holds(page);
        for run in runs(self.open(span), |page| !left_out(page)) {
            if !os::remove_guard(span.range(run)) {
                // Some are open and some are not: faults on the latter go on as before.
                return self.tenants.store(UNSURE, Ordering::Relaxed);
            }
        }
        for page in 0..span.pages() {
            if left_out(page) { self.set(page) } else { self.unset(page) }
        }
        self.state.store(OPEN, Ordering::Relaxed);
    }

    fn holds(&self, page: usize) -> bool {
        self.pages[page / 64].load(Ordering::Relaxed) & (1 << (page % 64)) != 0
    }

    fn set(&self, page: usize) {
        let word = &self.pages[page / 64];
        word.store(word.load(Ordering::Relaxed) | 1 << (page % 64), Ordering::Relaxed);
    }

    fn unset(&self, page: usize) {
        let word = &self.pages[page / 64];
        word.store(word.load(Ordering::Relaxed) & !(1 << (page % 64)), Ordering::Relaxed);
    }

    fn clear(&self) {
        self.pages.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }
}

/// Moves the fence of so many bytes that lies at the beginning of a range to behind its end. False: it
/// could not be moved, and is where it was.
///
/// The old one is lifted last, and alone: a page's mark is lifted or it is not. What is lifted or marked
/// before that no access reaches; what stays there of it, a later move over it lifts.
pub(super) fn move_fence(over: Range<usize>, fence: usize) -> bool {
    debug_assert!(
        fence == OS_PAGE_BYTES && over.len() > fence,
        "memories grow by more than a page"
    );
    let lifted = over.start..over.start + fence;
    os::install_guard(over.end..over.end + fence)
        && os::remove_guard(lifted.end..over.end)
        && os::remove_guard(lifted)
}

/// Lifts the marks of a range, which are all there. False: they are still.
///
/// That marking again what was lifted a moment ago fails as well does not happen: it needs no memory, as
/// the tables for the marks are there. If it did, the tenant could read zeroes behind its memory's end,
/// where it should trap, in a slot that nobody else has; the next tenant's marks are made anew.
fn lift_all_or_none(range: Range<usize>) -> bool {
    if os::remove_guard(range.clone()) {
        return true;
    }
    let _ = os::install_guard(range);
    false
}

/// Makes a page of a used slot what it is at the start.
fn clean_page(span: Span, page: usize, data: Option<&InitialData>) {
    match data.filter(|data| data.has(page)) {
        // SAFETY: the page is there and ours.
        Some(data) => unsafe { data.restore_page(page, span.memory()) },
        None => {
            let start = span.memory().wrapping_add(page * OS_PAGE_BYTES);
            // SAFETY: as above.
            unsafe { start.write_bytes(0, OS_PAGE_BYTES) };
        }
    }
}

/// The longest runs of pages for which the predicate holds.
fn runs(pages: usize, holds: impl Fn(usize) -> bool) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = (at..pages).find(|&page| holds(page))?;
        at = (start..pages).find(|&page| !holds(page)).unwrap_or(pages);
        Some(start..at)
    })
}

/// The regions of slots with books, for the handler: it cannot wait for a lock.
static REGIONS: [Region; REGIONS_MAX] = [const { Region::new() }; REGIONS_MAX];

/// Nodes live at once in one program, times the classes that each uses: more go without marks.
const REGIONS_MAX: usize = 64;

struct Region {
    /// 0: free, 1: being written.
    start: AtomicUsize,
    end: AtomicUsize,
    /// From slot to slot.
    stride: AtomicUsize,
    /// Bytes of a slot that its book is about.
    span: AtomicUsize,
    books: AtomicPtr<Book>,
}

impl Region {
    const fn new() -> Self {
        Self {
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            stride: AtomicUsize::new(0),
            span: AtomicUsize::new(0),
            books: AtomicPtr::new(ptr::null_mut()),
        }
    }
}

/// Makes slots known to the handler: one each `stride` bytes, the first `span` bytes of which its
/// book is about. False: there is no place left.
pub(super) fn register(region: Range<usize>, stride: usize, span: usize, books: *mut Book) -> bool {
    for place in &REGIONS {
        // Acquire: pairs with the Release of `unregister`, whose words we overwrite.
        let claim = place.start.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed);
        if claim.is_ok() {
            place.end.store(region.end, Ordering::Relaxed);
            place.stride.store(stride, Ordering::Relaxed);
            place.span.store(span, Ordering::Relaxed);
            place.books.store(books, Ordering::Relaxed);
            // Release: publishes the words above to a handler that reads the start.
            place.start.store(region.start, Ordering::Release);
            return true;
        }
    }
    false
}

/// Takes them back, when no slot of theirs is in use.
pub(super) fn unregister(region: Range<usize>) {
    let places = REGIONS.iter();
    // Relaxed: only the one who registered it has this address.
    let mut mine = places.filter(|place| place.start.load(Ordering::Relaxed) == region.start);
    if let Some(place) = mine.next() {
        // Release: nobody of ours reads the words any more.
        place.start.store(0, Ordering::Release);
    }
}

/// Whether the fault at `address` was a touch of a marked page, which is there now: the touch may be
/// repeated. Async-signal-safe; called on the thread that touched.
pub(crate) fn resolve_fault(address: usize) -> bool {
    for place in &REGIONS {
        // Acquire: pairs with the Release of `register`.
        let start = place.start.load(Ordering::Acquire);
        if start <= 1 || address < start || address >= place.end.load(Ordering::Relaxed) {
            continue;
        }
        let stride = place.stride.load(Ordering::Relaxed);
        let slot = (address - start) / stride;
        let bytes = place.span.load(Ordering::Relaxed);
        let span = Span { base: start + slot * stride, bytes };
        let book = place.books.load(Ordering::Relaxed).wrapping_add(slot);
        // SAFETY: the region lists a book for each of its slots; the one who touched the slot owns
        // it, so its class is alive.
        let resolve = || unsafe { (*book).resolve(span, (address - span.base) / OS_PAGE_BYTES) };
        // What the system refuses here is the end of whoever touched, which no test outlives.
        #[cfg(test)]
        return os::refusals::never(resolve);
        #[cfg(not(test))]
        return resolve();
    }
    false
}
