//! What there is to know of a file.

use rustix::fs::Stat as HostStat;

/// The specification's file types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FileType {
    Unknown = 0,
    BlockDevice = 1,
    CharacterDevice = 2,
    Directory = 3,
    RegularFile = 4,
    SocketStream = 6,
    SymbolicLink = 7,
}

impl From<rustix::fs::FileType> for FileType {
    fn from(kind: rustix::fs::FileType) -> Self {
        use rustix::fs::FileType as Host;
        match kind {
            Host::RegularFile => Self::RegularFile,
            Host::Directory => Self::Directory,
            Host::Symlink => Self::SymbolicLink,
            Host::CharacterDevice => Self::CharacterDevice,
            Host::BlockDevice => Self::BlockDevice,
            Host::Socket => Self::SocketStream,
            // The specification has no type for pipes.
            Host::Fifo | Host::Unknown => Self::Unknown,
        }
    }
}

/// Attributes of a file; times in nanoseconds since 1970, 0 before that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) file_type: FileType,
    pub(crate) nlink: u64,
    pub(crate) size: u64,
    pub(crate) atim: u64,
    pub(crate) mtim: u64,
    pub(crate) ctim: u64,
}

impl Stat {
    /// Of something of which nothing else is known.
    pub(crate) fn of_type(file_type: FileType) -> Self {
        Self { dev: 0, ino: 0, file_type, nlink: 0, size: 0, atim: 0, mtim: 0, ctim: 0 }
    }
}

impl From<HostStat> for Stat {
    #[allow(clippy::useless_conversion, reason = "the fields' types differ between targets")]
    fn from(stat: HostStat) -> Self {
        Self {
            dev: stat.st_dev.into(),
            ino: stat.st_ino.into(),
            file_type: rustix::fs::FileType::from_raw_mode(stat.st_mode).into(),
            nlink: stat.st_nlink.into(),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            atim: nanos(stat.st_atime.into(), stat.st_atime_nsec.into()),
            mtim: nanos(stat.st_mtime.into(), stat.st_mtime_nsec.into()),
            ctim: nanos(stat.st_ctime.into(), stat.st_ctime_nsec.into()),
        }
    }
}

/// What lies before 1970 or after 2554 has no number here.
fn nanos(seconds: i64, nanos: u64) -> u64 {
    let Ok(seconds) = u64::try_from(seconds) else { return 0 };
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::nanos;

    #[test]
    fn times_saturate() {
        assert_eq!(nanos(2, 5), 2_000_000_005);
        assert_eq!(nanos(-1, 5), 0);
        assert_eq!(nanos(i64::MAX, 5), u64::MAX);
    }
}
