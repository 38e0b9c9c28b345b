//! What a module's memory holds at the start.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::os::OS_PAGE_BYTES;

/// Pages of which we remember whether processes need them: 2 MiB, the largest memory whose pages
/// are placed when they are touched (`memory/pages.rs`).
const LEARNED_PAGES: usize = 512;

/// Faults on a page before we believe that processes of this image need it.
const FAULTS_MIN: u32 = 4;

/// The bytes that are not zero, at most one run in each page of the system's.
///
/// Copying all of them for each process would cost a page of memory for each page of constants that
/// the process may never read. So memories may leave pages out and have them placed when they are
/// touched; which pages most processes touch is learned from the first ones, and those are copied at
/// once, as a fault costs more than a copy.
#[derive(Debug)]
pub(crate) struct InitialData {
    runs: Box<[DataRun]>,
    /// By page: one more than the index of its run, 0 for none.
    run_of_page: Box<[u16]>,
    learned: Box<[Learned]>,
    /// Memories that were made with pages left out.
    placements: AtomicU32,
}

#[derive(Debug, Default)]
struct Learned {
    faults: AtomicU32,
    wanted: AtomicBool,
}

/// Bytes within one page.
#[derive(Debug)]
struct DataRun {
    offset: usize,
    bytes: Box<[u8]>,
}

impl DataRun {
    fn page(&self) -> usize {
        self.offset / OS_PAGE_BYTES
    }
}

impl InitialData {
    /// From the pages that are not all zero.
    pub(crate) fn new(pages: HashMap<usize, Box<[u8; OS_PAGE_BYTES]>>) -> Self {
        let mut runs: Vec<DataRun> = pages
            .into_iter()
            .filter_map(|(page, bytes)| {
                let first = bytes.iter().position(|&byte| byte != 0)?;
                let last = bytes.iter().rposition(|&byte| byte != 0)?;
                let offset = page * OS_PAGE_BYTES + first;
                Some(DataRun { offset, bytes: bytes[first..=last].into() })
            })
            .collect();
        runs.sort_by_key(|run| run.offset);
        let learnable = runs.iter().take_while(|run| run.page() < LEARNED_PAGES);
        let mut run_of_page = Vec::new();
        for (index, run) in learnable.enumerate() {
            run_of_page.resize(run.page(), 0);
            run_of_page.push(index as u16 + 1);
        }
        let learned = runs.iter().map(|_| Learned::default()).collect();
        Self {
            runs: runs.into(),
            run_of_page: run_of_page.into(),
            learned,
            placements: AtomicU32::new(0),
        }
    }

    /// Copies everything into a zeroed memory.
    ///
    /// # Safety
    /// `memory` is writable and at least as long as the module's initial memory, and nobody else's.
    pub(crate) unsafe fn place_all(&self, memory: *mut u8) {
        for run in &self.runs {
            // SAFETY: forwards the caller's promise.
            unsafe { place(run, memory) };
        }
    }

    /// Copies what lies beyond the first pages into a zeroed memory.
    ///
    /// # Safety
    /// As [`Self::place_all`].
    pub(crate) unsafe fn place_beyond_first_pages(&self, memory: *mut u8) {
        let first = self.runs.partition_point(|run| run.page() < LEARNED_PAGES);
        for run in &self.runs[first..] {
            // SAFETY: forwards the caller's promise.
            unsafe { place(run, memory) };
        }
    }

    /// The run of one of the first pages.
    fn run(&self, page: usize) -> Option<usize> {
        let index = *self.run_of_page.get(page)?;
        usize::from(index).checked_sub(1)
    }

    /// Whether there is something in one of the first pages.
    pub(crate) fn has(&self, page: usize) -> bool {
        self.run(page).is_some()
    }

    /// The pages that something is in, of the first 512.
    pub(crate) fn pages(&self) -> impl Iterator<Item = usize> {
        (0..self.run_of_page.len()).filter(|&page| self.has(page))
    }

    /// One more than the last of these pages.
    pub(crate) fn pages_end(&self) -> usize {
        self.run_of_page.len()
    }

    /// Copies a page's bytes into a zeroed page of `memory`.
    ///
    /// # Safety
    /// As [`Self::place_all`].
    pub(crate) unsafe fn place_page(&self, page: usize, memory: *mut u8) {
        if let Some(run) = self.run(page) {
            // SAFETY: forwards the caller's promise.
            unsafe { place(&self.runs[run], memory) };
        }
    }

    /// Makes a used page of `memory` what it was at the start.
    ///
    /// # Safety
    /// The page is writable and nobody else's.
    pub(crate) unsafe fn restore_page(&self, page: usize, memory: *mut u8) {
        let start = memory.wrapping_add(page * OS_PAGE_BYTES);
        let (before, len) = self.run(page).map_or((0, 0), |run| {
            let run = &self.runs[run];
            (run.offset % OS_PAGE_BYTES, run.bytes.len())
        });
        let after = before + len;
        // SAFETY: the parts before and after the run lie in the page, as the run does.
        unsafe { start.write_bytes(0, before) };
        // SAFETY: as above.
        unsafe { start.wrapping_add(after).write_bytes(0, OS_PAGE_BYTES - after) };
        // SAFETY: as above; the run is copied between the parts.
        unsafe { self.place_page(page, memory) };
    }

    /// A memory is made with pages left out.
    pub(crate) fn note_placement(&self) {
        // Relaxed, here and below: statistics that steer a choice.
        self.placements.fetch_add(1, Ordering::Relaxed);
    }

    /// A page that had been left out was touched. Async-signal-safe.
    pub(crate) fn note_fault(&self, page: usize) {
        let Some(run) = self.run(page) else { return };
        let learned = &self.learned[run];
        let faults = learned.faults.fetch_add(1, Ordering::Relaxed) + 1;
        let placements = self.placements.load(Ordering::Relaxed);
        if faults >= FAULTS_MIN && faults.saturating_mul(2) >= placements {
            learned.wanted.store(true, Ordering::Relaxed);
        }
    }

    /// Whether most processes touch this page.
    pub(crate) fn is_wanted(&self, page: usize) -> bool {
        self.run(page).is_some_and(|run| self.learned[run].wanted.load(Ordering::Relaxed))
    }
}

/// # Safety
/// As [`InitialData::place_all`].
unsafe fn place(run: &DataRun, memory: *mut u8) {
    let to = memory.wrapping_add(run.offset);
    // SAFETY: the builder of the image checked that the run lies inside the initial memory.
    unsafe { run.bytes.as_ptr().copy_to_nonoverlapping(to, run.bytes.len()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> InitialData {
        let mut page = Box::new([0; OS_PAGE_BYTES]);
        page[100..104].copy_from_slice(&[1, 0, 0, 2]);
        let last = Box::new([7; OS_PAGE_BYTES]);
        InitialData::new([(2, page), (700, last), (1, Box::new([0; OS_PAGE_BYTES]))].into())
    }

    #[test]
    fn pages_are_placed_and_restored() {
        let data = data();
        assert_eq!(data.pages().collect::<Vec<_>>(), [2]);
        let mut memory = vec![0xee; 701 * OS_PAGE_BYTES];
        for page in 0..3 {
            // SAFETY: the pages lie in the vector.
            unsafe { data.restore_page(page, memory.as_mut_ptr()) };
        }
        let mut expected = vec![0; 3 * OS_PAGE_BYTES];
        expected[2 * OS_PAGE_BYTES + 100] = 1;
        expected[2 * OS_PAGE_BYTES + 103] = 2;
        assert_eq!(memory[..3 * OS_PAGE_BYTES], expected);
        assert_eq!(memory[3 * OS_PAGE_BYTES], 0xee);
        // SAFETY: the vector has room for the last page of the data.
        unsafe { data.place_all(memory.as_mut_ptr()) };
        assert!(memory[700 * OS_PAGE_BYTES..].iter().all(|&byte| byte == 7));
    }

    #[test]
    fn a_page_that_most_touch_is_wanted() {
        let data = data();
        for touched in [true, true, false, true, false] {
            data.note_placement();
            if touched {
                data.note_fault(2);
            }
        }
        assert!(!data.is_wanted(2), "three are too few");
        data.note_fault(2);
        assert!(data.is_wanted(2));
        assert!(!data.is_wanted(1));
    }
}
