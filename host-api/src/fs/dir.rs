//! A directory and what can be done with the paths beneath it.
//!
//! Opening never waits for anybody: everything is opened with `O_NONBLOCK`, which regular files
//! ignore. So a guest that opens a pipe without a partner holds no thread of the pool.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use cap_fs_ext::{FollowSymlinks, OpenOptionsFollowExt, OpenOptionsSyncExt};
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Timespec, Timestamps};

use super::file::OpenFile;
use super::grant::DirAccess;
use super::listing::{self, Batch};
use super::procfs;
use super::stat::{FileType, Stat};
use crate::api::wasi::{Errno, fdflags, oflags};

/// A directory that a descriptor stands for.
#[derive(Debug)]
pub(crate) struct OpenDir {
    dir: Dir,
    access: DirAccess,
    /// Shared with other processes, so that nobody may move its position.
    is_grant: bool,
    /// On a file system whose answers do not come from elsewhere.
    is_local: bool,
}

/// Whether a path's last part is followed if it is a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follow {
    Yes,
    No,
}

impl From<Follow> for FollowSymlinks {
    fn from(follow: Follow) -> Self {
        match follow {
            Follow::Yes => Self::Yes,
            Follow::No => Self::No,
        }
    }
}

/// How a path is to be opened; the specification's flags.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenHow {
    pub(crate) follow: Follow,
    pub(crate) oflags: u16,
    pub(crate) fdflags: u16,
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl OpenHow {
    pub(super) fn has(self, oflag: u16) -> bool {
        self.oflags & oflag != 0
    }

    /// What is opened for nothing is opened for reading, as reference runtimes do it: the system
    /// knows no third way that works for files and directories alike.
    pub(super) fn reads(self) -> bool {
        self.read || !self.write
    }

    pub(crate) fn writes(self) -> bool {
        self.write || self.has(oflags::CREAT) || self.has(oflags::TRUNC)
    }
}

/// What was opened.
#[derive(Debug)]
pub(crate) enum Opened {
    Dir(OpenDir),
    File(OpenFile),
}

/// Entries of a directory.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) batch: Batch,
    /// Where to go on reading.
    pub(crate) place: Option<Arc<File>>,
}

/// New times of a file: nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NewTime {
    Keep,
    Now,
    At(u64),
}

impl NewTime {
    fn timespec(self) -> Result<Timespec, Errno> {
        /// The kernel's own words for these two, in the field for nanoseconds.
        const NOW: i64 = libc::UTIME_NOW;
        const OMIT: i64 = libc::UTIME_OMIT;
        Ok(match self {
            Self::Keep => Timespec { tv_sec: 0, tv_nsec: OMIT },
            Self::Now => Timespec { tv_sec: 0, tv_nsec: NOW },
            Self::At(nanos) => Timespec {
                tv_sec: i64::try_from(nanos / 1_000_000_000).map_err(|_| Errno::Overflow)?,
                tv_nsec: i64::try_from(nanos % 1_000_000_000).map_err(|_| Errno::Overflow)?,
            },
        })
    }
}

/// Access and modification.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) atim: NewTime,
    pub(crate) mtim: NewTime,
}

impl Times {
    /// The specification's flags: which of both times to set, and whether to the present.
    pub(crate) fn from_flags(atim: u64, mtim: u64, flags: u32) -> Result<Self, Errno> {
        if flags & !0b1111 != 0 {
            return Err(Errno::Inval);
        }
        let one = |time, flags| match flags & 0b11 {
            0 => Ok(NewTime::Keep),
            1 => Ok(NewTime::At(time)),
            2 => Ok(NewTime::Now),
            _ => Err(Errno::Inval),
        };
        Ok(Self { atim: one(atim, flags)?, mtim: one(mtim, flags >> 2)? })
    }

    pub(super) fn for_host(self) -> Result<Timestamps, Errno> {
        Ok(Timestamps {
            last_access: self.atim.timespec()?,
            last_modification: self.mtim.timespec()?,
        })
    }
}

impl OpenDir {
    pub(super) fn granted(dir: Dir, access: DirAccess) -> Self {
        let is_local = is_local(&dir);
        Self { dir, access, is_grant: true, is_local }
    }

    /// A directory beneath it, to be shared with other processes.
    pub(super) fn grant_beneath(&self, path: &str, access: DirAccess) -> Result<Self, Errno> {
        let oflags = oflags::DIRECTORY;
        let how = OpenHow { follow: Follow::Yes, oflags, fdflags: 0, read: true, write: false };
        match self.open(path, how)? {
            Opened::Dir(dir) => Ok(Self { access, is_grant: true, ..dir }),
            Opened::File(_) => Err(Errno::NotDir),
        }
    }

    /// Refuses what would change something, where that is not granted.
    pub(crate) fn may_change(&self) -> Result<(), Errno> {
        match self.access {
            DirAccess::ReadWrite => Ok(()),
            DirAccess::ReadOnly => Err(Errno::Perm),
        }
    }

    /// What may be done beneath it.
    pub(crate) fn access(&self) -> DirAccess {
        self.access
    }

    /// Opens or creates.
    pub(crate) fn open(&self, path: &str, how: OpenHow) -> Result<Opened, Errno> {
        let OpenHow { follow, fdflags, write, .. } = how;
        let (creates, exclusive) = (how.has(oflags::CREAT), how.has(oflags::EXCL));
        let truncates = how.has(oflags::TRUNC);
        if how.has(oflags::DIRECTORY) && (creates || exclusive || truncates) {
            return Err(Errno::Inval);
        }
        if how.writes() {
            self.may_change()?;
        }
        // A terminal that a guest opens must not become that of the runtime.
        let no_terminal = i32::try_from(OFlags::NOCTTY.bits()).map_err(|_| Errno::NotSup)?;
        let mut options = OpenOptions::new();
        options
            .read(how.reads())
            .write(how.writes())
            .create(creates && !exclusive)
            .create_new(creates && exclusive)
            .truncate(truncates)
            .follow(follow.into())
            .nonblock(true)
            .custom_flags(no_terminal)
            .sync(fdflags & fdflags::SYNC != 0)
            .dsync(fdflags & fdflags::DSYNC != 0)
            .rsync(fdflags & fdflags::RSYNC != 0);
        debug_assert!(how.reads() || write, "a way to open it");
        self.opened(self.dir.open_with(path, &options)?.into_std(), how)
    }

    fn opened(&self, file: File, how: OpenHow) -> Result<Opened, Errno> {
        let stat = Stat::from(rustix::fs::fstat(&file)?);
        let is_local = is_local(&file);
        if !is_local {
            procfs::check(&file)?;
        }
        if stat.file_type == FileType::Directory {
            let dir = Dir::from_std_file(file);
            return Ok(Opened::Dir(Self { dir, access: self.access, is_grant: false, is_local }));
        }
        if how.has(oflags::DIRECTORY) {
            return Err(Errno::NotDir);
        }
        Ok(Opened::File(OpenFile::new(file, stat.file_type, how, self.access, is_local)))
    }

    /// Opens for reading what the kernel finds without asking a disk; `None`: it is to be opened in
    /// the other way. Never blocks.
    pub(crate) fn open_cached(&self, path: &str, how: OpenHow) -> Option<Result<Opened, Errno>> {
        if how.writes() || how.oflags & !oflags::DIRECTORY != 0 {
            return None;
        }
        let found =
            self.find_cached(path, how.follow, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        Some(found.and_then(|file| self.opened(file, how)))
    }

    /// The attributes of what the kernel finds without asking a disk, as above.
    pub(crate) fn stat_at_cached(&self, path: &str, follow: Follow) -> Option<Result<Stat, Errno>> {
        let found = self.find_cached(path, follow, OFlags::PATH)?;
        Some(found.and_then(|file| Ok(rustix::fs::fstat(file)?.into())))
    }

    /// Walks a path as `cap-std` does, but only through what is in memory, and only on the file
    /// system of this directory.
    fn find_cached(&self, path: &str, follow: Follow, how: OFlags) -> Option<Result<File, Errno>> {
        if !self.is_local {
            return None;
        }
        let no_follow = if follow == Follow::No { OFlags::NOFOLLOW } else { OFlags::empty() };
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV
            | ResolveFlags::CACHED;
        let flags = how | no_follow | OFlags::CLOEXEC;
        match rustix::fs::openat2(&self.dir, path, flags, Mode::empty(), resolve) {
            Ok(file) => Some(Ok(File::from(file))),
            // Known not to be there.
            Err(rustix::io::Errno::NOENT) => Some(Err(Errno::NoEnt)),
            // Whatever else it is, the other way will tell.
            Err(_) => None,
        }
    }

    /// Finds what a path leads to, without opening it.
    pub(crate) fn locate(&self, path: &str, follow: Follow) -> Result<File, Errno> {
        let mut options = OpenOptions::new();
        let o_path = i32::try_from(OFlags::PATH.bits()).map_err(|_| Errno::NotSup)?;
        options.read(true).follow(follow.into()).custom_flags(o_path);
        Ok(self.dir.open_with(path, &options)?.into_std())
    }

    /// The directory that a file lies in, or would, and the file's name there, with all links followed;
    /// but for one that leads to where nothing is.
    pub(crate) fn parent_of(&self, path: &str) -> Result<(Self, String), Errno> {
        let path = Path::new(path);
        let whole = match self.dir.canonicalize(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let parent = self.dir.canonicalize(parent.unwrap_or(Path::new(".")))?;
                parent.join(path.file_name().ok_or(Errno::NoEnt)?)
            }
            other => other?,
        };
        let name = whole.file_name().and_then(|name| name.to_str()).ok_or(Errno::IsDir)?;
        let parent = whole.parent().and_then(Path::to_str).filter(|parent| !parent.is_empty());
        let dir = self.grant_beneath(parent.unwrap_or("."), self.access)?;
        Ok((dir, name.to_string()))
    }

    /// Opens a file, or a directory for reading, for code that knows the system's flags. Follows no link
    /// in its place.
    pub(crate) fn open_as_host(&self, path: &str, flags: i32, mode: i32) -> Result<File, Errno> {
        let has = |flag| flags & flag != 0;
        let writes = matches!(flags & libc::O_ACCMODE, libc::O_WRONLY | libc::O_RDWR);
        if writes || has(libc::O_CREAT | libc::O_TRUNC) {
            self.may_change()?;
        }
        let exclusive = has(libc::O_EXCL);
        let mut options = OpenOptions::new();
        options
            .read(flags & libc::O_ACCMODE != libc::O_WRONLY)
            .write(writes)
            .create(has(libc::O_CREAT) && !exclusive)
            .create_new(has(libc::O_CREAT) && exclusive)
            .truncate(has(libc::O_TRUNC))
            .follow(FollowSymlinks::No)
            .nonblock(true)
            .custom_flags(libc::O_NOCTTY)
            .mode(u32::try_from(mode).map_err(|_| Errno::Inval)? & 0o777);
        let file = self.dir.open_with(path, &options)?.into_std();
        procfs::check(&file)?;
        let file_type = Stat::from(rustix::fs::fstat(&file)?).file_type;
        match file_type {
            FileType::RegularFile => Ok(file),
            FileType::Directory if !writes => Ok(file),
            _ => Err(Errno::Acces),
        }
    }

    pub(crate) fn stat_at(&self, path: &str, follow: Follow) -> Result<Stat, Errno> {
        Ok(rustix::fs::fstat(self.locate(path, follow)?)?.into())
    }

    pub(crate) fn stat(&self) -> Result<Stat, Errno> {
        Ok(rustix::fs::fstat(&self.dir)?.into())
    }

    pub(crate) fn set_times_at(
        &self,
        path: &str,
        follow: Follow,
        times: Times,
    ) -> Result<(), Errno> {
        let times = times.for_host()?;
        let found = self.locate(path, follow)?;
        Ok(rustix::fs::utimensat(&found, c"", &times, AtFlags::EMPTY_PATH)?)
    }

    pub(crate) fn set_times(&self, times: Times) -> Result<(), Errno> {
        Ok(rustix::fs::futimens(&self.dir, &times.for_host()?)?)
    }

    pub(crate) fn create_dir(&self, path: &str) -> Result<(), Errno> {
        Ok(self.dir.create_dir(path)?)
    }

    pub(crate) fn remove_dir(&self, path: &str) -> Result<(), Errno> {
        // cap-std takes a slash behind a name for one with a dot behind it, which the system refuses.
        let path = match path.trim_end_matches('/') {
            "" => path,
            name => name,
        };
        Ok(self.dir.remove_dir(path)?)
    }

    pub(crate) fn remove_file(&self, path: &str) -> Result<(), Errno> {
        Ok(self.dir.remove_file(path)?)
    }

    pub(crate) fn rename(&self, from: &str, to_dir: &Self, to: &str) -> Result<(), Errno> {
        // cap-std leaves out the slash, by which the system knows that only a directory will do.
        if to.ends_with('/') && self.stat_at(from, Follow::No)?.file_type != FileType::Directory {
            return Err(Errno::NotDir);
        }
        Ok(self.dir.rename(from, &to_dir.dir, to)?)
    }

    pub(crate) fn hard_link(&self, from: &str, to_dir: &Self, to: &str) -> Result<(), Errno> {
        Ok(self.dir.hard_link(from, &to_dir.dir, to)?)
    }

    /// Absolute targets are refused: nobody inside could follow them, somebody outside would.
    pub(crate) fn symlink(&self, target: &str, path: &str) -> Result<(), Errno> {
        Ok(self.dir.symlink(target, path)?)
    }

    /// What a link says. An absolute target is not told: it is a name of the host's.
    pub(crate) fn read_link(&self, path: &str) -> Result<Vec<u8>, Errno> {
        use std::os::unix::ffi::OsStringExt;
        Ok(self.dir.read_link(path)?.into_os_string().into_vec())
    }

    /// Entries from `cookie` on, enough for `len` bytes.
    ///
    /// A shared directory is read from a `place` of its own: that of an earlier call, or a new one,
    /// to be kept. Cookies would survive without, but on some file systems (merged directories of
    /// overlayfs) only as long as nobody changes the directory.
    pub(crate) fn list(
        &self,
        place: Option<Arc<File>>,
        cookie: u64,
        len: usize,
    ) -> Result<Listing, Errno> {
        let own = self.stat()?.ino;
        if !self.is_grant {
            return Ok(Listing { batch: listing::read(&self.dir, cookie, len, own)?, place: None });
        }
        let place = match place {
            Some(place) => place,
            None => Arc::new(self.reopen()?),
        };
        Ok(Listing { batch: listing::read(&*place, cookie, len, own)?, place: Some(place) })
    }

    /// The same directory with a position of its own.
    fn reopen(&self) -> Result<File, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.dir, c".", flags, Mode::empty())?))
    }

    /// Waits until what was written is on the disk: all of it, or what is needed to find it.
    pub(crate) fn sync(&self, data_only: bool) -> Result<(), Errno> {
        let sync = if data_only { rustix::fs::fdatasync } else { rustix::fs::fsync };
        Ok(sync(&self.dir)?)
    }
}

/// Whether a file's attributes are in this machine's memory once it is open: not so on those that
/// ask another machine, or a process.
fn is_local(file: impl AsFd) -> bool {
    /// Their names for `fstatfs`: ext2 to ext4, XFS, Btrfs, tmpfs, ramfs, F2FS.
    const LOCAL: [u64; 6] =
        [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x8584_58f6, 0xf2f5_2010];
    rustix::fs::fstatfs(file)
        .is_ok_and(|stat| u64::try_from(stat.f_type).is_ok_and(|name| LOCAL.contains(&name)))
}

#[cfg(test)]
mod tests {
    use super::{NewTime, Times};
    use crate::api::wasi::Errno;

    #[test]
    fn times_are_kept_set_or_now() {
        for (flags, atim, mtim) in [
            (0, NewTime::Keep, NewTime::Keep),
            (1, NewTime::At(7), NewTime::Keep),
            (2, NewTime::Now, NewTime::Keep),
            (4, NewTime::Keep, NewTime::At(8)),
            (9, NewTime::At(7), NewTime::Now),
        ] {
            let times = Times::from_flags(7, 8, flags).expect("known flags");
            assert_eq!((times.atim, times.mtim), (atim, mtim), "flags {flags}");
        }
        for flags in [3, 12, 16, u32::MAX] {
            assert_eq!(Times::from_flags(0, 0, flags).err(), Some(Errno::Inval), "flags {flags}");
        }
    }
}
