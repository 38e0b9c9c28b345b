//! The system calls that memory management needs: reserving address space, finding the pages that
//! exist, giving them back.

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::ptr;
use std::sync::OnceLock;

/// The size of a page on every target we run on with 4 KiB pages; others only lose precision.
pub(crate) const OS_PAGE_BYTES: usize = 4096;

/// `madvise` advices of Linux 6.13, not yet in every libc.
const MADV_GUARD_INSTALL: libc::c_int = 102;
const MADV_GUARD_REMOVE: libc::c_int = 103;

/// Reserves zeroed, readable and writable address space that takes memory only when touched.
/// `None` if the address space is used up, or would be: as much is left to others, since a heap
/// that finds none aborts.
pub(crate) fn reserve(bytes: usize) -> Option<usize> {
    // SAFETY: a fresh private anonymous mapping at an address of the kernel's choice.
    let base = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes.saturating_mul(2),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if base == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the upper half of the mapping just made, which nobody has seen.
    unsafe { libc::munmap(base.wrapping_byte_add(bytes), bytes) };
    // A process touches single pages of its slot: a huge page each would cost 2 MiB.
    // SAFETY: the range was mapped just above; the advice changes no contents.
    unsafe { libc::madvise(base, bytes, libc::MADV_NOHUGEPAGE) };
    Some(base as usize)
}

/// Reserves address space that nobody can touch yet, beginning at a multiple of `align`; see
/// [`open`]. `None` as for [`reserve`].
pub(crate) fn reserve_closed(bytes: usize, align: usize) -> Option<usize> {
    let whole = map_closed(ptr::null_mut(), bytes.saturating_mul(2).saturating_add(align))?;
    let base = whole.next_multiple_of(align);
    if base > whole {
        unreserve(whole, base - whole);
    }
    unreserve(base + bytes, bytes + align - (base - whole));
    Some(base)
}

fn map_closed(at: *mut libc::c_void, bytes: usize) -> Option<usize> {
    let fixed = if at.is_null() { 0 } else { libc::MAP_FIXED };
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | fixed;
    // SAFETY: a fresh mapping at an address of the kernel's choice, or in place of pages that the
    // caller owns.
    let base = unsafe { libc::mmap(at, bytes, libc::PROT_NONE, flags, -1, 0) };
    (base != libc::MAP_FAILED).then_some(base as usize)
}

/// Makes closed address space readable and writable; it is zero. False if there is no room for the
/// mapping, or for the memory.
pub(crate) fn open(range: Range<usize>) -> bool {
    protect(range, libc::PROT_READ | libc::PROT_WRITE)
}

/// Makes it closed again. What was there stays there: discard it before.
pub(crate) fn close(range: Range<usize>) -> bool {
    protect(range, libc::PROT_NONE)
}

fn protect(range: Range<usize>, protection: libc::c_int) -> bool {
    // SAFETY: the range lies in a private anonymous mapping of ours, whose pages the callers own.
    unsafe { libc::mprotect(range.start as *mut libc::c_void, range.len(), protection) == 0 }
}

/// Makes reserved address space what [`reserve_closed`] gave: pages, page tables and mappings go.
pub(crate) fn reset_closed(range: Range<usize>) -> bool {
    map_closed(range.start as *mut libc::c_void, range.len()).is_some()
}

/// No huge pages in this range: its pages are told apart.
pub(crate) fn forbid_huge_pages(range: Range<usize>) {
    // Fails where there are none.
    let _ = advise(range, libc::MADV_NOHUGEPAGE);
}

/// The limit of this process's address space (`ulimit -v`), if it has one.
pub(crate) fn address_space_max() -> Option<usize> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is valid for the call.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) } == 0;
    (known && limit.rlim_cur != libc::RLIM_INFINITY)
        .then(|| usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX))
}

/// How many mappings a process may have, if the system tells.
pub(crate) fn mappings_max() -> Option<usize> {
    std::fs::read_to_string("/proc/sys/vm/max_map_count").ok()?.trim().parse().ok()
}

/// Ends what [`reserve`] began. Nothing may use the range any more.
pub(crate) fn unreserve(base: usize, bytes: usize) {
    // SAFETY: the caller owns the whole mapping and is done with it.
    unsafe { libc::munmap(base as *mut libc::c_void, bytes) };
}

/// Gives the pages of a range back to the system; it reads as zeroes afterwards.
pub(crate) fn discard(range: Range<usize>) {
    if range.is_empty() {
        return;
    }
    // SAFETY: the range lies in a private anonymous mapping of ours; its contents are dropped on
    // purpose.
    let result = unsafe {
        libc::madvise(range.start as *mut libc::c_void, range.len(), libc::MADV_DONTNEED)
    };
    assert_eq!(result, 0, "giving back pages of our own mapping cannot fail");
}

/// Whether single pages can be marked as guards, and told from dirty ones afterwards (Linux 6.15).
/// Always the same answer: compiled code may rely on it.
#[inline]
pub(crate) fn guards_pages() -> bool {
    *GUARDS_PAGES
        .get_or_init(|| pagemap().is_some_and(|pagemap| pagemap.knows_guards) && can_mark())
}

/// Tries it: a sandbox may forbid what the kernel can do.
fn can_mark() -> bool {
    let Some(base) = reserve(OS_PAGE_BYTES) else { return false };
    let page = base..base + OS_PAGE_BYTES;
    let marked = install_guard(page.clone()) && remove_guard(page);
    unreserve(base, OS_PAGE_BYTES);
    marked
}

static GUARDS_PAGES: OnceLock<bool> = OnceLock::new();

/// Goes without marks in page tables from now on, as on kernels before 6.15. For tests of that way.
///
/// # Panics
/// When a module has been compiled or a memory made that relies on marks.
pub fn do_without_page_guards() {
    assert!(
        !*GUARDS_PAGES.get_or_init(|| false),
        "marks in page tables are in use already: go without them before the first module is compiled"
    );
}

/// Marks pages: touching them is a fault until the mark is lifted. What was in them is lost. False
/// if the system cannot.
pub(crate) fn install_guard(range: Range<usize>) -> bool {
    advise(range, MADV_GUARD_INSTALL)
}

/// Lifts the marks of a range; pages without one stay as they are. Async-signal-safe.
pub(crate) fn remove_guard(range: Range<usize>) -> bool {
    advise(range, MADV_GUARD_REMOVE)
}

fn advise(range: Range<usize>, advice: libc::c_int) -> bool {
    #[cfg(test)]
    let range = match refusals::answer(range) {
        Ok(range) => range,
        Err(half) => {
            // SAFETY: as below.
            unsafe { libc::madvise(half.start as *mut libc::c_void, half.len(), advice) };
            return false;
        }
    };
    // SAFETY: the range lies in a private anonymous mapping of ours, whose pages the callers own.
    unsafe { libc::madvise(range.start as *mut libc::c_void, range.len(), advice) == 0 }
}

/// For tests: the system refuses to mark pages or to lift marks, as it hardly ever does.
#[cfg(test)]
pub(crate) mod refusals {
    use std::cell::Cell;
    use std::ops::Range;

    use super::OS_PAGE_BYTES;

    thread_local! {
        /// Requests before the one that is refused; counted while they may be.
        static BEFORE: Cell<usize> = const { Cell::new(usize::MAX) };
        static COUNTED: Cell<bool> = const { Cell::new(false) };
    }

    /// Has one request of this thread refused, behind so many others.
    pub(crate) fn refuse(before: usize) {
        BEFORE.set(before);
    }

    /// Whether it has been refused.
    pub(crate) fn was_refused() -> bool {
        BEFORE.get() == usize::MAX
    }

    /// Only requests made meanwhile are refused: a fault that is not resolved is the end.
    pub(crate) fn meanwhile<T>(ask: impl FnOnce() -> T) -> T {
        COUNTED.set(true);
        let answer = ask();
        COUNTED.set(false);
        answer
    }

    /// None is refused meanwhile.
    pub(crate) fn never<T>(ask: impl FnOnce() -> T) -> T {
        let counted = COUNTED.replace(false);
        let answer = ask();
        COUNTED.set(counted);
        answer
    }

    /// The range to be marked, or the half of it that is before the request fails.
    pub(super) fn answer(range: Range<usize>) -> Result<Range<usize>, Range<usize>> {
        if !COUNTED.get() || BEFORE.get() == usize::MAX {
            return Ok(range);
        }
        match BEFORE.get().checked_sub(1) {
            Some(before) => BEFORE.set(before),
            None => {
                BEFORE.set(usize::MAX);
                let half = range.len() / 2 / OS_PAGE_BYTES * OS_PAGE_BYTES;
                return Err(range.start..range.start + half);
            }
        }
        Ok(range)
    }
}

/// `struct pm_scan_arg` of linux/fs.h.
#[repr(C)]
struct ScanArguments {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    regions: u64,
    regions_len: u64,
    pages_max: u64,
    category_inverted: u64,
    category_mask: u64,
    category_any_of_mask: u64,
    return_mask: u64,
}

/// `struct page_region` of linux/fs.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// `_IOWR('f', 16, struct pm_scan_arg)`
const PAGEMAP_SCAN: libc::c_ulong =
    (3 << 30) | ((size_of::<ScanArguments>() as libc::c_ulong) << 16) | ((b'f' as u64) << 8) | 16;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;
/// The one page of zeros for all that were only read.
const PAGE_IS_ZEROS: u64 = 1 << 5;
/// Linux 6.15; marked pages are "swapped" as well.
const PAGE_IS_GUARD: u64 = 1 << 8;

/// Regions asked for in one system call; a small process has two or three.
const REGIONS: usize = 16;

/// Calls `visit` with the parts of `range` that may be other than zero: the pages that exist, in
/// ascending order, or the whole range where the kernel cannot tell.
pub(crate) fn for_each_present(range: Range<usize>, mut visit: impl FnMut(Range<usize>)) {
    for_each_present_while(range, |present| {
        visit(present);
        true
    });
}

/// The same until `visit` answers false; whether it never did.
pub(crate) fn for_each_present_while(
    range: Range<usize>,
    visit: impl FnMut(Range<usize>) -> bool,
) -> bool {
    let Some(pagemap) = pagemap() else {
        let mut visit = visit;
        return visit(range);
    };
    for_each_page_of(pagemap, range, 0, visit)
}

/// Pages of the categories `but` are left out, as are those with a mark.
fn for_each_page_of(
    pagemap: &Pagemap,
    range: Range<usize>,
    but: u64,
    mut visit: impl FnMut(Range<usize>) -> bool,
) -> bool {
    let but = but | if pagemap.knows_guards { PAGE_IS_GUARD } else { 0 };
    let end = range.end.next_multiple_of(OS_PAGE_BYTES);
    let mut from = range.start;
    while from < end {
        let mut regions = [Region::default(); REGIONS];
        let mut arguments = ScanArguments {
            size: size_of::<ScanArguments>() as u64,
            flags: 0,
            start: from as u64,
            end: end as u64,
            walk_end: 0,
            regions: regions.as_mut_ptr() as u64,
            regions_len: REGIONS as u64,
            pages_max: 0,
            // All pages without the mark that are present or swapped.
            category_inverted: but,
            category_mask: but,
            category_any_of_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
            return_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
        };
        // SAFETY: the structure has the kernel's layout and names an array of REGIONS regions.
        let found =
            unsafe { libc::ioctl(pagemap.file.as_raw_fd(), PAGEMAP_SCAN, &raw mut arguments) };
        let Ok(found) = usize::try_from(found) else {
            return visit(from..range.end);
        };
        let mut present = regions[..found]
            .iter()
            .map(|region| region.start as usize..(region.end as usize).min(range.end));
        if !present.all(&mut visit) {
            return false;
        }
        from = arguments.walk_end as usize;
    }
    true
}

/// Bytes of a range of addresses that take memory or swap; all of it where the kernel cannot tell.
/// Pages that were only read take none: there is one of zeros for all. Nothing is touched.
#[must_use]
pub fn resident_bytes(range: Range<usize>) -> usize {
    let Some(pagemap) = pagemap() else { return resident_bytes_by_entries(range) };
    let mut bytes = 0;
    for_each_page_of(pagemap, range, PAGE_IS_ZEROS, |present| {
        bytes += present.len();
        true
    });
    bytes
}

/// The same before Linux 6.7, which has one entry to read for each page. It does not tell which of them
/// are the one of zeros.
fn resident_bytes_by_entries(range: Range<usize>) -> usize {
    /// The upper bits of an entry: the page is in memory, or swapped out.
    const PRESENT_OR_SWAPPED: u64 = 3 << 62;
    const ENTRY_BYTES: usize = size_of::<u64>();
    static ENTRIES: OnceLock<Option<File>> = OnceLock::new();
    let Some(file) = ENTRIES.get_or_init(|| File::open("/proc/self/pagemap").ok()) else {
        return range.len();
    };
    let page = page_bytes().max(OS_PAGE_BYTES);
    let (mut at, end) = (range.start / page, range.end.div_ceil(page));
    let mut pages = 0;
    let mut entries = [0; 4096];
    while at < end {
        let wanted = entries.len().min((end - at) * ENTRY_BYTES);
        let Ok(read @ ENTRY_BYTES..) =
            file.read_at(&mut entries[..wanted], (at * ENTRY_BYTES) as u64)
        else {
            return pages * page + (end - at) * page;
        };
        let (whole, _) = entries[..read].as_chunks();
        let words = whole.iter().map(|entry| u64::from_ne_bytes(*entry));
        pages += words.filter(|entry| entry & PRESENT_OR_SWAPPED != 0).count();
        at += whole.len();
    }
    pages * page
}

/// What answers `PAGEMAP_SCAN`.
struct Pagemap {
    file: File,
    knows_guards: bool,
}

/// The file, if this kernel answers (6.7 and later).
fn pagemap() -> Option<&'static Pagemap> {
    static PAGEMAP: OnceLock<Option<Pagemap>> = OnceLock::new();
    PAGEMAP
        .get_or_init(|| {
            let file = File::open("/proc/self/pagemap").ok()?;
            answers(&file, PAGE_IS_PRESENT).then(|| {
                let knows_guards = page_bytes() == OS_PAGE_BYTES && answers(&file, PAGE_IS_GUARD);
                Pagemap { file, knows_guards }
            })
        })
        .as_ref()
}

fn page_bytes() -> usize {
    // SAFETY: no preconditions.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(0)
}

/// Whether scans for this category are understood.
fn answers(pagemap: &File, category: u64) -> bool {
    let mut nothing = ScanArguments {
        size: size_of::<ScanArguments>() as u64,
        flags: 0,
        start: 0,
        end: 0,
        walk_end: 0,
        regions: 0,
        regions_len: 0,
        pages_max: 0,
        category_inverted: 0,
        category_mask: category,
        category_any_of_mask: 0,
        return_mask: 0,
    };
    // SAFETY: the structure has the kernel's layout and asks for an empty range.
    unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN, &raw mut nothing) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_memory_is_found_by_a_scan_and_by_entries() {
        let page = page_bytes();
        let bytes = 10_000 * page;
        let base = reserve(bytes).expect("address space");
        let count = [resident_bytes as fn(_) -> _, resident_bytes_by_entries];
        assert_eq!(count.map(|count| count(base..base + bytes)), [0, 0]);
        for touched in [0, 7, 5_000, 9_999] {
            let byte = (base + touched * page) as *mut u8;
            // SAFETY: a byte of the range, which is readable and writable and ours.
            unsafe { byte.write_volatile(1) };
        }
        assert_eq!(count.map(|count| count(base..base + bytes)), [4 * page; 2]);
        assert_eq!(count.map(|count| count(base + page..base + 8 * page)), [page; 2]);
        // SAFETY: as above.
        let zero = unsafe { ((base + 100 * page) as *const u8).read_volatile() };
        assert_eq!((zero, resident_bytes(base..base + bytes)), (0, 4 * page));
        unreserve(base, bytes);
    }
}
