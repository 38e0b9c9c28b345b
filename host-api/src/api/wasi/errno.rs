//! The errors of WASI preview 1, by the specification's names and numbers.

use crate::bind::Fault;

/// An error number. Zero, success, is not one of them.
#[allow(dead_code, reason = "the specification's list; not all of them can come from Linux")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Errno {
    TooBig = 1,
    Acces = 2,
    AddrInUse = 3,
    AddrNotAvail = 4,
    AfNoSupport = 5,
    Again = 6,
    Already = 7,
    BadF = 8,
    BadMsg = 9,
    Busy = 10,
    Canceled = 11,
    Child = 12,
    ConnAborted = 13,
    ConnRefused = 14,
    ConnReset = 15,
    Deadlk = 16,
    DestAddrReq = 17,
    Dom = 18,
    Dquot = 19,
    Exist = 20,
    Fault = 21,
    FBig = 22,
    HostUnreach = 23,
    IdRm = 24,
    IlSeq = 25,
    InProgress = 26,
    Intr = 27,
    Inval = 28,
    Io = 29,
    IsConn = 30,
    IsDir = 31,
    Loop = 32,
    MFile = 33,
    MLink = 34,
    MsgSize = 35,
    Multihop = 36,
    NameTooLong = 37,
    NetDown = 38,
    NetReset = 39,
    NetUnreach = 40,
    NFile = 41,
    NoBufs = 42,
    NoDev = 43,
    NoEnt = 44,
    NoExec = 45,
    NoLck = 46,
    NoLink = 47,
    NoMem = 48,
    NoMsg = 49,
    NoProtoOpt = 50,
    NoSpc = 51,
    NoSys = 52,
    NotConn = 53,
    NotDir = 54,
    NotEmpty = 55,
    NotRecoverable = 56,
    NotSock = 57,
    NotSup = 58,
    NoTty = 59,
    NxIo = 60,
    Overflow = 61,
    OwnerDead = 62,
    Perm = 63,
    Pipe = 64,
    Proto = 65,
    ProtoNoSupport = 66,
    Prototype = 67,
    Range = 68,
    RoFs = 69,
    SPipe = 70,
    Srch = 71,
    Stale = 72,
    TimedOut = 73,
    TxtBsy = 74,
    XDev = 75,
    NotCapable = 76,
}

impl Errno {
    /// As the guest sees it.
    pub(crate) fn code(self) -> u16 {
        self as u16
    }

    /// From the host's number. Open-ended: what nothing of ours reports is an I/O error.
    pub(crate) fn from_host(errno: i32) -> Self {
        match errno {
            libc::E2BIG => Self::TooBig,
            libc::EACCES => Self::Acces,
            libc::EADDRINUSE => Self::AddrInUse,
            libc::EADDRNOTAVAIL => Self::AddrNotAvail,
            libc::EAFNOSUPPORT => Self::AfNoSupport,
            libc::EAGAIN => Self::Again,
            libc::EALREADY => Self::Already,
            libc::EBADF => Self::BadF,
            libc::EBADMSG => Self::BadMsg,
            libc::EBUSY => Self::Busy,
            libc::ECANCELED => Self::Canceled,
            libc::ECONNABORTED => Self::ConnAborted,
            libc::ECONNREFUSED => Self::ConnRefused,
            libc::ECONNRESET => Self::ConnReset,
            libc::EDEADLK => Self::Deadlk,
            libc::EDESTADDRREQ => Self::DestAddrReq,
            libc::EDOM => Self::Dom,
            libc::EDQUOT => Self::Dquot,
            libc::EEXIST => Self::Exist,
            libc::EFAULT => Self::Fault,
            libc::EFBIG => Self::FBig,
            libc::EHOSTUNREACH => Self::HostUnreach,
            libc::EILSEQ => Self::IlSeq,
            libc::EINPROGRESS => Self::InProgress,
            libc::EINTR => Self::Intr,
            libc::EINVAL => Self::Inval,
            libc::EIO => Self::Io,
            libc::EISCONN => Self::IsConn,
            libc::EISDIR => Self::IsDir,
            libc::ELOOP => Self::Loop,
            libc::EMFILE => Self::MFile,
            libc::EMLINK => Self::MLink,
            libc::EMSGSIZE => Self::MsgSize,
            libc::ENAMETOOLONG => Self::NameTooLong,
            libc::ENETDOWN => Self::NetDown,
            libc::ENETRESET => Self::NetReset,
            libc::ENETUNREACH => Self::NetUnreach,
            libc::ENFILE => Self::NFile,
            libc::ENOBUFS => Self::NoBufs,
            libc::ENODEV => Self::NoDev,
            libc::ENOENT => Self::NoEnt,
            libc::ENOLCK => Self::NoLck,
            libc::ENOMEM => Self::NoMem,
            libc::ENOPROTOOPT => Self::NoProtoOpt,
            libc::ENOSPC => Self::NoSpc,
            libc::ENOSYS => Self::NoSys,
            libc::ENOTCONN => Self::NotConn,
            libc::ENOTDIR => Self::NotDir,
            libc::ENOTEMPTY => Self::NotEmpty,
            libc::ENOTSOCK => Self::NotSock,
            libc::EOPNOTSUPP => Self::NotSup,
            libc::ENOTTY => Self::NoTty,
            libc::ENXIO => Self::NxIo,
            libc::EOVERFLOW => Self::Overflow,
            libc::EPERM => Self::Perm,
            libc::EPIPE => Self::Pipe,
            libc::EPROTO => Self::Proto,
            libc::EPROTONOSUPPORT => Self::ProtoNoSupport,
            libc::EPROTOTYPE => Self::Prototype,
            libc::ERANGE => Self::Range,
            libc::EROFS => Self::RoFs,
            libc::ESPIPE => Self::SPipe,
            libc::ESRCH => Self::Srch,
            libc::ESTALE => Self::Stale,
            libc::ETIMEDOUT => Self::TimedOut,
            libc::ETXTBSY => Self::TxtBsy,
            libc::EXDEV => Self::XDev,
            _ => Self::Io,
        }
    }
}

impl From<rustix::io::Errno> for Errno {
    fn from(error: rustix::io::Errno) -> Self {
        Self::from_host(error.raw_os_error())
    }
}

/// Errors without a number are `cap-std`'s own: `PermissionDenied` for a path that leads out of its
/// directory (for us to tell: guests know that as [`Errno::Perm`], see `paths`), and `InvalidInput` for a
/// NUL.
impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        if let Some(number) = error.raw_os_error() {
            return Self::from_host(number);
        }
        match error.kind() {
            ErrorKind::PermissionDenied => Self::NotCapable,
            ErrorKind::NotFound => Self::NoEnt,
            ErrorKind::AlreadyExists => Self::Exist,
            ErrorKind::InvalidInput => Self::Inval,
            _ => Self::Io,
        }
    }
}

/// The only contract that functions of WASI ask others to check is that of pointers. A bad one is
/// answered with an error, as an operating system does; it is no reason to end the process.
impl From<Fault> for Errno {
    fn from(_: Fault) -> Self {
        Self::Fault
    }
}

#[cfg(test)]
mod tests {
    use super::Errno;

    /// Landmarks from the specification: a name left out or doubled would shift them.
    #[test]
    fn numbers_are_those_of_the_specification() {
        let known = [
            (Errno::TooBig, 1),
            (Errno::BadF, 8),
            (Errno::Fault, 21),
            (Errno::Inval, 28),
            (Errno::NoSys, 52),
            (Errno::NotSup, 58),
            (Errno::Pipe, 64),
            (Errno::SPipe, 70),
            (Errno::NotCapable, 76),
        ];
        for (errno, code) in known {
            assert_eq!(errno.code(), code, "{errno:?}");
        }
    }
}
