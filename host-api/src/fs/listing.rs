//! Reading a directory.
//!
//! Cookies are the kernel's own: what `telldir` gives, 64 bits that name the place behind an entry.
//! The kernel keeps them valid while entries come and go, and finds the place without counting. So
//! nothing is remembered between calls, and a directory may have any number of entries.

use std::os::fd::AsFd;

use rustix::fs::{RawDir, SeekFrom};

use super::stat::FileType;
use crate::api::wasi::Errno;

/// Bytes of an entry without its name.
const HEADER_BYTES: usize = 24;

/// Bytes that are asked of the kernel at once: at least room for the longest name, at most what a
/// thread's stack should not hold.
const KERNEL_BYTES: std::ops::RangeInclusive<usize> = 512..=32 * 1024;

/// Most bytes of one answer. A shorter answer than was asked for would mean the directory's end, so
/// beyond this the call fails.
const LISTING_BYTES_MAX: usize = 64 << 20;

/// The entries behind `cookie` (0: all), `len` bytes of them; fewer if they end before. The last may
/// be cut off. Both `.` and `..` have the number `own`: what lies above is nobody's business.
pub(super) fn read(dir: impl AsFd, cookie: u64, len: usize, own: u64) -> Result<Vec<u8>, Errno> {
    rustix::fs::seek(&dir, SeekFrom::Start(cookie))?;
    let mut kernel = Vec::with_capacity(len.clamp(*KERNEL_BYTES.start(), *KERNEL_BYTES.end()));
    let mut entries = RawDir::new(&dir, kernel.spare_capacity_mut());
    let mut bytes = Vec::new();
    while bytes.len() < len {
        let Some(entry) = entries.next() else { break };
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        let ino = if matches!(name, b"." | b"..") { own } else { entry.ino() };
        put(&mut bytes, entry.next_entry_cookie(), ino, entry.file_type().into(), name);
        if bytes.len() > LISTING_BYTES_MAX {
            return Err(Errno::NoMem);
        }
    }
    bytes.truncate(len);
    Ok(bytes)
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
}
