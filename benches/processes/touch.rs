//! The price of a page's first touch on this machine, now.
//!
//! A fresh process is fresh pages, and each costs a fault, a cleared page and, on a virtual machine,
//! often the host's work too. So the time to make many processes is held against what the kernel
//! takes for the same number of pages in a plain loop: an anonymous private mapping, without huge
//! pages, one byte written to each page of 4 KiB in order.
//!
//! Two prices are measured, both as time on the clock divided by pages: with as many threads as
//! there are workers, each with a part of its own, which is the most the machine can do; and with
//! one thread. The aim is twice the first.

use std::ptr::{self, NonNull};
use std::thread;
use std::time::Instant;

use crate::memory;

pub(crate) const PAGE_BYTES: usize = 4096;

/// A mapping of fresh pages.
struct Pages {
    start: NonNull<u8>,
    count: usize,
}

/// The part of a thread.
struct Part(NonNull<u8>, usize);

// SAFETY: whoever has a part is the only one to write to its pages, and the mapping outlives it:
// see `Pages::touch`.
unsafe impl Send for Part {}

impl Pages {
    fn map(count: usize) -> Result<Self, String> {
        let failed = |what: &str| {
            format!("{what} {count} pages to touch: {}", std::io::Error::last_os_error())
        };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice harms nothing that is there.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), count * PAGE_BYTES, access, flags, -1, 0) };
        let start = match NonNull::new(start.cast::<u8>()) {
            Some(start) if start.as_ptr().cast() != libc::MAP_FAILED => start,
            _ => return Err(failed("mapping")),
        };
        let pages = Self { start, count };
        // SAFETY: it is the mapping just made, and the advice changes no contents.
        let advised = unsafe {
            libc::madvise(start.as_ptr().cast(), count * PAGE_BYTES, libc::MADV_NOHUGEPAGE)
        };
        // A kernel without huge pages knows no such advice, and needs none.
        let unknown = std::io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL);
        if advised != 0 && !unknown { Err(failed("advising on")) } else { Ok(pages) }
    }

    /// Writes to each page once and gives the nanoseconds that took.
    fn touch(self, threads: usize) -> f64 {
        let each = self.count.div_ceil(threads);
        let begun = Instant::now();
        thread::scope(|scope| {
            for first in (0..self.count).step_by(each) {
                // SAFETY: `first` is below `count`, so that this is inside of the mapping.
                let start = unsafe { self.start.add(first * PAGE_BYTES) };
                let part = Part(start, each.min(self.count - first));
                scope.spawn(move || part.touch());
            }
        });
        begun.elapsed().as_nanos() as f64
    }
}

impl Part {
    fn touch(self) {
        for page in 0..self.1 {
            // SAFETY: the part has so many pages, all inside of the mapping.
            let page = unsafe { self.0.add(page * PAGE_BYTES) };
            // SAFETY: the page is mapped for writing, and no one else uses it.
            unsafe { page.write_volatile(1) };
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped, and nobody has a part of it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.count * PAGE_BYTES) };
    }
}

/// Nanoseconds on the clock for each of so many pages, touched by so many threads; and how many
/// they were: fewer than wanted if the machine has not so much memory left.
pub(crate) fn price(wanted: u64, threads: usize) -> Result<(f64, u64), String> {
    let room = memory::available().unwrap_or(u64::MAX).saturating_sub(memory::KEEP_FREE_BYTES);
    let count = wanted.min(room / PAGE_BYTES as u64).max(1);
    let pages = Pages::map(usize::try_from(count).map_err(|error| error.to_string())?)?;
    Ok((pages.touch(threads) / count as f64, count))
}
