//! Reading a directory.
//!
//! Cookies are the kernel's own: what `telldir` gives, 64 bits that name the place behind an entry.
//! The kernel keeps them valid while entries come and go, and finds the place without counting. So a
//! directory may have any number of entries.
//!
//! Guests' libraries ask for little at a time, some for three names, and going to a place has its
//! price. So a [`Batch`] is read, and kept for the calls that follow; as with every `readdir`, what
//! comes and goes meanwhile may or may not be seen.

use std::os::fd::AsFd;

use rustix::fs::{RawDir, SeekFrom};

use super::stat::FileType;
use crate::api::wasi::Errno;

/// Bytes of an entry without its name.
const HEADER_BYTES: usize = 24;

/// Bytes that are read at once at least, of entries as the specification lays them out. By feel: a
/// few hundred names.
const BATCH_BYTES: usize = 16 * 1024;

/// Bytes of a batch that is kept.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// Bytes that are asked of the kernel at once, in its own, similar layout.
const KERNEL_BYTES: usize = 16 * 1024;

/// Most bytes of one answer. A shorter answer than was asked for would mean the directory's end, so
/// beyond this the call fails.
const LISTING_BYTES_MAX: usize = 64 << 20;

/// Entries of a directory that follow one another, all of them whole.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The cookie of the place where they begin.
    from: u64,
    bytes: Vec<u8>,
    /// There are none behind them.
    at_end: bool,
}

impl Batch {
    /// The entries behind `cookie`, `len` bytes of them; the last may be cut off. Fewer only if the
    /// directory ends there. `None` if the batch does not have them.
    pub(crate) fn part(&self, cookie: u64, len: usize) -> Option<&[u8]> {
        let rest = &self.bytes[self.find(cookie)?..];
        (self.at_end || rest.len() >= len).then(|| &rest[..len.min(rest.len())])
    }

    /// Where the entry behind a cookie begins.
    fn find(&self, cookie: u64) -> Option<usize> {
        let mut at = 0;
        let mut here = self.from;
        while here != cookie {
            let header = self.bytes.get(at..at + HEADER_BYTES)?;
            here = u64::from_le_bytes(header[0..8].try_into().expect("eight bytes"));
            let name = u32::from_le_bytes(header[16..20].try_into().expect("four bytes"));
            at += HEADER_BYTES + name as usize;
        }
        Some(at)
    }

    /// Whether it is worth its memory.
    pub(crate) fn may_be_kept(&self) -> bool {
        self.bytes.len() <= KEPT_BYTES_MAX
    }
}

/// The entries behind `cookie` (0: all), so that [`Batch::part`] has `len` bytes of them. Both `.`
/// and `..` have the number `own`: what lies above is nobody's business.
pub(super) fn read(dir: impl AsFd, cookie: u64, len: usize, own: u64) -> Result<Batch, Errno> {
    rustix::fs::seek(&dir, SeekFrom::Start(cookie))?;
    let mut kernel = Vec::with_capacity(KERNEL_BYTES);
    let mut entries = RawDir::new(&dir, kernel.spare_capacity_mut());
    let mut batch = Batch { from: cookie, ..Batch::default() };
    while batch.bytes.len() < len.max(BATCH_BYTES) {
        let Some(entry) = entries.next() else {
            batch.at_end = true;
            break;
        };
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        let ino = if matches!(name, b"." | b"..") { own } else { entry.ino() };
        let file_type = entry.file_type().into();
        put(&mut batch.bytes, entry.next_entry_cookie(), ino, file_type, name);
        if batch.bytes.len() > LISTING_BYTES_MAX {
            return Err(Errno::NoMem);
        }
    }
    Ok(batch)
}

fn put(bytes: &mut Vec<u8>, next: u64, ino: u64, file_type: FileType, name: &[u8]) {
    let name_len = u32::try_from(name.len()).expect("the kernel's names have 255 bytes at most");
    let mut header = [0; HEADER_BYTES];
    header[0..8].copy_from_slice(&next.to_le_bytes());
    header[8..16].copy_from_slice(&ino.to_le_bytes());
    header[16..20].copy_from_slice(&name_len.to_le_bytes());
    header[20] = file_type as u8;
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_laid_out_as_the_specification_says() {
        let mut bytes = Vec::new();
        put(&mut bytes, 0x0102, 0x0304, FileType::RegularFile, b"name");
        assert_eq!(bytes.len(), HEADER_BYTES + 4);
        assert_eq!((bytes[0], bytes[1], bytes[8], bytes[9]), (2, 1, 4, 3));
        assert_eq!((bytes[16], bytes[20]), (4, 4));
        assert_eq!(&bytes[24..], b"name");
    }

    #[test]
    fn a_batch_has_what_lies_in_it_and_says_so() {
        let mut batch = Batch { from: 5, ..Batch::default() };
        for (next, name) in [(9, "one"), (7, "two"), (20, "three")] {
            put(&mut batch.bytes, next, 1, FileType::RegularFile, name.as_bytes());
        }
        let whole = batch.bytes.clone();
        assert_eq!(whole.len(), 27 + 27 + 29);
        assert_eq!(batch.part(5, 10), Some(&whole[..10]));
        assert_eq!(batch.part(9, 27), Some(&whole[27..54]));
        assert_eq!(batch.part(7, 29), Some(&whole[54..]));
        assert_eq!(batch.part(7, 30), None, "there may be more");
        assert_eq!(batch.part(20, 1), None);
        assert_eq!(batch.part(0, 1), None);
        assert_eq!(batch.part(6, 1), None);
        batch.at_end = true;
        assert_eq!(batch.part(7, 30), Some(&whole[54..]));
        assert_eq!(batch.part(20, 1), Some(&[][..]));
        assert_eq!(batch.part(6, 1), None);
    }
}
