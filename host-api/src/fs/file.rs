//! An open file, and what can be done with it.
//!
//! The position is the system's: each file here is opened for one descriptor of one process, so
//! nobody else moves it. That makes pipes and devices work like files.

use std::cell::RefCell;
use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::fs::{Advice, FallocateFlags, SeekFrom};
use rustix::io::ReadWriteFlags;

use super::dir::{OpenHow, Times};
use super::grant::DirAccess;
use super::stat::{FileType, Stat};
use crate::api::wasi::{Errno, fdflags};
use crate::ready::Source;

/// For the system's calls that take an offset: use the file's own position and move it.
const OWN_POSITION: u64 = u64::MAX;

/// Most bytes that [`OpenFile::read_cached`] reads: it runs on a worker, and the copy takes about as
/// long as a slice.
pub(crate) const SCRATCH_BYTES: usize = 64 * 1024;

thread_local! {
    /// A worker's buffer for reads that do not wait: one, warm in its cache, for all processes.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A file that a descriptor stands for.
#[derive(Debug)]
pub(crate) struct OpenFile {
    file: File,
    pub(crate) file_type: FileType,
    pub(crate) readable: bool,
    /// As the guest has asked for it: what is made or cut off when it is opened, the system opens for
    /// writing, too.
    pub(crate) writable: bool,
    /// The specification's flags. Relaxed: only the process that has the descriptor asks.
    flags: AtomicU16,
    access: DirAccess,
    is_local: bool,
    /// For pipes and devices, which one may have to wait for.
    pub(crate) source: Arc<Source>,
}

/// Where to read or write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the file's position, which moves.
    Own,
    At(u64),
}

impl Place {
    /// The same, after so many bytes: its own position has moved by itself.
    pub(crate) fn after(self, bytes: usize) -> Result<Self, Errno> {
        let bytes = u64::try_from(bytes).map_err(|_| Errno::Overflow)?;
        match self {
            Self::Own => Ok(Self::Own),
            Self::At(offset) => offset.checked_add(bytes).map(Self::At).ok_or(Errno::Inval),
        }
    }

    fn for_host(self) -> Result<u64, Errno> {
        match self {
            Self::Own => Ok(OWN_POSITION),
            // Beyond this the system takes it for a negative number, -1 among them.
            Self::At(offset) if i64::try_from(offset).is_err() => Err(Errno::Inval),
            Self::At(offset) => Ok(offset),
        }
    }
}

impl OpenFile {
    pub(super) fn new(
        file: File,
        file_type: FileType,
        how: OpenHow,
        access: DirAccess,
        is_local: bool,
    ) -> Self {
        Self {
            file,
            file_type,
            readable: how.reads(),
            writable: how.write,
            flags: AtomicU16::new(how.fdflags),
            access,
            is_local,
            source: Arc::default(),
        }
    }

    /// The specification's flags.
    pub(crate) fn flags(&self) -> u16 {
        self.flags.load(Ordering::Relaxed)
    }

    /// Changes those that can be changed later.
    pub(crate) fn set_flags(&self, flags: u16) {
        let kept = self.flags() & !fdflags::CHANGEABLE;
        self.flags.store(kept | flags & fdflags::CHANGEABLE, Ordering::Relaxed);
    }

    /// Whether it has a position and an end; others may make one wait.
    pub(crate) fn is_regular(&self) -> bool {
        matches!(self.file_type, FileType::RegularFile | FileType::BlockDevice)
    }

    /// Refuses what would change the file, where that is not granted.
    pub(crate) fn may_change(&self) -> Result<(), Errno> {
        match self.access {
            DirAccess::ReadWrite => Ok(()),
            DirAccess::ReadOnly => Err(Errno::Perm),
        }
    }

    /// Reads what is in memory already, without waiting for a disk; `take` gets it. `None`: that
    /// cannot be said, or nothing is. Never blocks.
    pub(crate) fn read_cached<T>(
        &self,
        place: Place,
        len: usize,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Option<T> {
        if !self.is_regular() || len > SCRATCH_BYTES {
            return None;
        }
        let offset = place.for_host().ok()?;
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(SCRATCH_BYTES, 0);
            let mut buffers = [IoSliceMut::new(&mut scratch[..len])];
            let flags = ReadWriteFlags::NOWAIT;
            let count = rustix::io::preadv2(&self.file, &mut buffers, offset, flags).ok()?;
            Some(take(&scratch[..count]))
        })
    }

    pub(crate) fn read(&self, place: Place, len: usize) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; len];
        let count = match place {
            Place::Own => retry(|| rustix::io::read(&self.file, &mut bytes[..]))?,
            Place::At(_) => {
                let offset = place.for_host()?;
                retry(|| rustix::io::pread(&self.file, &mut bytes[..], offset))?
            }
        };
        bytes.truncate(count);
        Ok(bytes)
    }

    /// With the flag for that, all writes go to the end, wherever they say: as in Linux.
    pub(crate) fn write(&self, place: Place, bytes: &[u8]) -> Result<usize, Errno> {
        let offset = place.for_host()?;
        if !self.writable {
            return Err(Errno::BadF);
        }
        if self.flags() & fdflags::APPEND != 0 && self.is_regular() {
            let buffers = [IoSlice::new(bytes)];
            let append = ReadWriteFlags::APPEND;
            return retry(|| rustix::io::pwritev2(&self.file, &buffers, offset, append));
        }
        match place {
            Place::Own => retry(|| rustix::io::write(&self.file, bytes)),
            Place::At(_) => retry(|| rustix::io::pwrite(&self.file, bytes, offset)),
        }
    }

    /// Moves the position. Blocks only if asked for the end of a file elsewhere.
    pub(crate) fn seek(&self, to: SeekFrom) -> Result<u64, Errno> {
        Ok(rustix::fs::seek(&self.file, to)?)
    }

    /// Never blocks.
    pub(crate) fn tell(&self) -> Result<u64, Errno> {
        Ok(rustix::fs::tell(&self.file)?)
    }

    pub(crate) fn stat(&self) -> Result<Stat, Errno> {
        Ok(rustix::fs::fstat(&self.file)?.into())
    }

    /// The same if it does not block.
    pub(crate) fn stat_cached(&self) -> Option<Result<Stat, Errno>> {
        self.is_local.then(|| self.stat())
    }

    /// Whether closing it writes nothing and frees no blocks, so that it may be done at once.
    pub(crate) fn closes_at_once(&self) -> bool {
        !self.writable && self.stat_cached().is_some_and(|stat| stat.is_ok_and(|it| it.nlink > 0))
    }

    /// How many bytes there are from the position on, as far as is known here. Never blocks: of a
    /// file on another machine it asks what this one knows.
    pub(crate) fn bytes_left(&self) -> Result<u64, Errno> {
        use rustix::fs::{AtFlags, StatxFlags};
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let size = rustix::fs::statx(&self.file, c"", flags, StatxFlags::SIZE)?.stx_size;
        Ok(size.saturating_sub(self.tell()?))
    }

    pub(crate) fn set_len(&self, len: u64) -> Result<(), Errno> {
        if i64::try_from(len).is_err() || !self.writable {
            return Err(Errno::Inval);
        }
        Ok(rustix::fs::ftruncate(&self.file, len)?)
    }

    pub(crate) fn allocate(&self, offset: u64, len: u64) -> Result<(), Errno> {
        if i64::try_from(offset).is_err() || i64::try_from(len).is_err() {
            return Err(Errno::Inval);
        }
        if !self.writable {
            return Err(Errno::BadF);
        }
        Ok(rustix::fs::fallocate(&self.file, FallocateFlags::empty(), offset, len)?)
    }

    /// Advice may be ignored, and is where it makes no sense.
    pub(crate) fn advise(&self, offset: u64, len: u64, advice: Advice) -> Result<(), Errno> {
        if i64::try_from(offset).is_err() || i64::try_from(len).is_err() {
            return Err(Errno::Inval);
        }
        Ok(rustix::fs::fadvise(&self.file, offset, std::num::NonZeroU64::new(len), advice)?)
    }

    pub(crate) fn set_times(&self, times: Times) -> Result<(), Errno> {
        Ok(rustix::fs::futimens(&self.file, &times.for_host()?)?)
    }

    /// Waits until what was written is on the disk: all of it, or what is needed to find it.
    pub(crate) fn sync(&self, data_only: bool) -> Result<(), Errno> {
        let sync = if data_only { rustix::fs::fdatasync } else { rustix::fs::fsync };
        Ok(sync(&self.file)?)
    }
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A signal may interrupt a call before it has done anything.
fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}
