//! SQLite's files: its own code for the operating system, but every name that it opens, looks at or
//! deletes goes through here, and means a file of the scene's directory and none else.
//!
//! SQLite has a table of the system calls that it makes, meant to be changed. A database is opened as
//! `/NAME`, so all names that SQLite derives (journal, write-ahead log) begin with a slash, and so do
//! those that a forged journal may name. What remains behind the slash is walked beneath the directory
//! as every path of a guest is. Links have been followed before a database is opened
//! ([`OpenDir::parent_of`](crate::fs::OpenDir::parent_of)), so none is followed here.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs::File;
use std::os::fd::{AsRawFd, IntoRawFd};

use parking_lot::Mutex;

use super::scene::here;
use crate::api::wasi::Errno;
use crate::fs::{Follow, OpenDir};

/// Where SQLite gets the seed of its random numbers, once, for all (`start.rs`).
const RANDOM: &str = "/dev/urandom";

/// Leaves the system's error number and answers -1.
fn fail(number: c_int) -> c_int {
    // SAFETY: has no conditions.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: the address of this thread's own number.
    unsafe { *place = number };
    -1
}

/// The system's number for what our files say; those that SQLite tells apart.
fn number_of(errno: Errno) -> c_int {
    match errno {
        Errno::NoEnt => libc::ENOENT,
        Errno::Exist => libc::EEXIST,
        Errno::IsDir => libc::EISDIR,
        Errno::NotDir => libc::ENOTDIR,
        Errno::Loop => libc::ELOOP,
        Errno::MFile => libc::EMFILE,
        Errno::NFile => libc::ENFILE,
        Errno::NoSpc => libc::ENOSPC,
        Errno::Io => libc::EIO,
        _ => libc::EACCES,
    }
}

/// Does something with what a name of SQLite's stands for.
///
/// # Safety
/// `name` is a string with a zero byte at its end.
unsafe fn beneath<T>(
    name: *const c_char,
    work: impl FnOnce(&OpenDir, &str) -> Result<T, Errno>,
) -> Result<T, c_int> {
    // SAFETY: forwards the caller's promise.
    let name = unsafe { CStr::from_ptr(name) };
    let path = name.to_str().ok().and_then(|name| name.strip_prefix('/')).ok_or(libc::EACCES)?;
    let scene = here().ok_or(libc::EACCES)?;
    let dir = scene.dir.as_ref().ok_or(libc::EACCES)?;
    let path = path.trim_start_matches('/');
    work(dir, if path.is_empty() { "." } else { path }).map_err(number_of)
}

/// # Safety
/// As [`beneath`].
pub(super) unsafe extern "C" fn open(name: *const c_char, flags: c_int, mode: c_int) -> c_int {
    // SAFETY: forwards the caller's promise.
    let is_random = here().is_none() && unsafe { CStr::from_ptr(name) }.to_str() == Ok(RANDOM);
    if is_random {
        return File::open(RANDOM).map_or_else(
            |error| fail(error.raw_os_error().unwrap_or(libc::EIO)),
            IntoRawFd::into_raw_fd,
        );
    }
    // The index of a write-ahead log is on the heap. One in a file, which a connection that may only read would
    // make, would be that of those who write, too, and they cannot map it.
    // SAFETY: forwards the caller's promise.
    if unsafe { CStr::from_ptr(name) }.to_bytes().ends_with(b"-shm") {
        return fail(libc::EACCES);
    }
    // SAFETY: forwards the caller's promise.
    let opened = unsafe { beneath(name, |dir, path| dir.open_as_host(path, flags, mode)) };
    opened.map_or_else(fail, IntoRawFd::into_raw_fd)
}

/// # Safety
/// As [`beneath`]; `to` may be written.
pub(super) unsafe extern "C" fn stat(name: *const c_char, to: *mut libc::stat) -> c_int {
    // SAFETY: forwards the caller's promise.
    match unsafe { beneath(name, |dir, path| dir.locate(path, Follow::No)) } {
        // SAFETY: the descriptor is open; the rest is the caller's promise.
        Ok(file) => unsafe { libc::fstat(file.as_raw_fd(), to) },
        Err(number) => fail(number),
    }
}

/// Links have been followed before; whatever there is, it is to be taken as no link.
///
/// # Safety
/// None; the type is SQLite's.
pub(super) unsafe extern "C" fn lstat(_: *const c_char, _: *mut libc::stat) -> c_int {
    fail(libc::ENOENT)
}

/// # Safety
/// As [`beneath`].
pub(super) unsafe extern "C" fn access(name: *const c_char, how: c_int) -> c_int {
    let writes = how & libc::W_OK != 0;
    // SAFETY: forwards the caller's promise.
    let found = unsafe {
        beneath(name, |dir, path| {
            if writes {
                dir.may_change()?;
            }
            dir.locate(path, Follow::No)
        })
    };
    found.map_or_else(fail, |_| 0)
}

/// Databases that this program has locked for itself, each with the descriptor that has the lock.
static LOCKED: Mutex<Vec<(FileId, c_int)>> = Mutex::new(Vec::new());

/// A file's device and number.
type FileId = (libc::dev_t, libc::ino_t);

fn id_of(descriptor: c_int) -> Option<FileId> {
    let mut found = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: has room for the answer.
    if unsafe { libc::fstat(descriptor, found.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: the system has filled it in.
    let found = unsafe { found.assume_init() };
    Some((found.st_dev, found.st_ino))
}

/// Locks. What SQLite takes a database with for this program is made a lock of the open file: a plain
/// one is the process's, who loses it as soon as anybody closes any descriptor of that file, be it a guest
/// that has read it, and other programs would write into a database whose state we keep in memory.
///
/// # Safety
/// As the system's `fcntl`, with three arguments. (SQLite calls it as one with any number of them,
/// which on Linux are passed in the same way.)
pub(super) unsafe extern "C" fn fcntl(fd: c_int, command: c_int, argument: *mut c_void) -> c_int {
    if command != libc::F_SETLK {
        // SAFETY: forwards the caller's promise.
        return unsafe { libc::fcntl(fd, command, argument) };
    }
    let Some(id) = id_of(fd) else { return -1 };
    let mut locked = LOCKED.lock();
    // Who only reads, and may not take the lock that is there, has a part in it.
    if locked.iter().any(|(known, _)| *known == id) {
        return 0;
    }
    // SAFETY: the argument of this command is a lock.
    let wanted = unsafe { *argument.cast::<libc::flock>() };
    if c_int::from(wanted.l_type) != libc::F_WRLCK {
        // SAFETY: forwards the caller's promise.
        return unsafe { libc::fcntl(fd, command, argument) };
    }
    let mut result = lock_open_file(fd, wanted);
    if result != 0 && is_kept_by_us(fd, wanted) {
        // Those who only read have plain locks, which give way to this one.
        let mut none = wanted;
        none.l_type = libc::F_UNLCK as _;
        // SAFETY: a lock of its own.
        unsafe { libc::fcntl(fd, libc::F_SETLK, &raw mut none) };
        result = lock_open_file(fd, wanted);
    }
    if result == 0 {
        locked.push((id, fd));
    }
    result
}

fn lock_open_file(fd: c_int, mut lock: libc::flock) -> c_int {
    lock.l_pid = 0;
    // SAFETY: a lock of its own.
    unsafe { libc::fcntl(fd, libc::F_OFD_SETLK, &raw mut lock) }
}

/// Whether it is a plain lock of this program's that is in the way.
fn is_kept_by_us(fd: c_int, mut lock: libc::flock) -> bool {
    lock.l_pid = 0;
    // SAFETY: a lock of its own.
    let asked = unsafe { libc::fcntl(fd, libc::F_OFD_GETLK, &raw mut lock) };
    asked == 0 && u32::try_from(lock.l_pid) == Ok(std::process::id())
}

/// SQLite keeps the descriptor with the lock until the last connection to its file is closed.
///
/// # Safety
/// As the system's `close`.
pub(super) unsafe extern "C" fn close(fd: c_int) -> c_int {
    let mut locked = LOCKED.lock();
    locked.retain(|(_, holder)| *holder != fd);
    // Under the lock: another thread may get this number as soon as it is free.
    // SAFETY: forwards the caller's promise.
    unsafe { libc::close(fd) }
}

/// # Safety
/// As [`beneath`].
pub(super) unsafe extern "C" fn unlink(name: *const c_char) -> c_int {
    // SAFETY: forwards the caller's promise.
    let removed = unsafe {
        beneath(name, |dir, path| {
            dir.may_change()?;
            dir.remove_file(path)
        })
    };
    removed.map_or_else(fail, |()| 0)
}

/// # Safety
/// None; the type is SQLite's.
pub(super) unsafe extern "C" fn getcwd(_: *mut c_char, _: usize) -> *mut c_char {
    fail(libc::EACCES);
    std::ptr::null_mut()
}

/// # Safety
/// None; the type is SQLite's.
pub(super) unsafe extern "C" fn mkdir(_: *const c_char, _: libc::mode_t) -> c_int {
    fail(libc::EACCES)
}

/// # Safety
/// None; the type is SQLite's.
pub(super) unsafe extern "C" fn rmdir(_: *const c_char) -> c_int {
    fail(libc::EACCES)
}

/// # Safety
/// None; the type is SQLite's.
pub(super) unsafe extern "C" fn readlink(_: *const c_char, _: *mut c_char, _: usize) -> isize {
    fail(libc::EINVAL);
    -1
}

/// Nothing of a guest's is mapped: it could shorten the file under us.
///
/// # Safety
/// None; the type is SQLite's.
pub(super) unsafe extern "C" fn mmap(
    _: *mut c_void,
    _: usize,
    _: c_int,
    _: c_int,
    _: c_int,
    _: libc::off_t,
) -> *mut c_void {
    fail(libc::ENOMEM);
    libc::MAP_FAILED
}
