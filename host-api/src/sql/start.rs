//! SQLite is set up once, before the first connection.

use std::ffi::{CStr, c_int, c_void};
use std::sync::OnceLock;

use rusqlite::ffi;

use super::{files, memory};

/// The way to the operating system that keeps the index of a write-ahead log on the heap.
pub(super) const VFS: &CStr = c"unix-excl";

/// Sets SQLite up, if that has not been done.
///
/// # Errors
/// With what SQLite has refused.
pub(super) fn start() -> Result<(), &'static str> {
    static STARTED: OnceLock<Result<(), &'static str>> = OnceLock::new();
    *STARTED.get_or_init(|| {
        configure()?;
        replace_calls()?;
        let mut seed = [0u8; 8];
        // Its random numbers begin here, while there is no scene and so no guest's file in between.
        // SAFETY: the buffer has so many bytes.
        unsafe { ffi::sqlite3_randomness(8, seed.as_mut_ptr().cast()) };
        Ok(())
    })
}

fn configure() -> Result<(), &'static str> {
    let off: c_int = 0;
    let methods = memory::METHODS;
    // SAFETY: nothing has used SQLite yet, as all do it by `start`; the option takes a pointer to
    // methods, which it copies.
    let memory = unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MALLOC, &raw const methods) };
    // What we count ourselves, and would take a lock for each allocation.
    // SAFETY: as above; the option takes an int.
    let status = unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MEMSTATUS, off) };
    // SAFETY: as above; the option takes an int.
    let uri = unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_URI, off) };
    // SAFETY: as above; the option takes two 64-bit numbers: the default and the limit.
    let mmap = unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_MMAP_SIZE, 0i64, 0i64) };
    let never: c_int = -1;
    // SAFETY: as above; the option takes an int.
    let spill = unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_STMTJRNL_SPILL, never) };
    if [memory, status, uri, mmap, spill].iter().any(|&code| code != ffi::SQLITE_OK) {
        return Err("SQLite refuses its configuration");
    }
    // SAFETY: may be called at any time.
    if unsafe { ffi::sqlite3_initialize() } != ffi::SQLITE_OK {
        return Err("SQLite cannot be initialised");
    }
    Ok(())
}

/// Has SQLite ask for files here.
fn replace_calls() -> Result<(), &'static str> {
    // SAFETY: the name ends with a zero byte.
    let vfs = unsafe { ffi::sqlite3_vfs_find(VFS.as_ptr()) };
    if vfs.is_null() {
        return Err("SQLite has no \"unix-excl\"");
    }
    // SAFETY: it is never unregistered.
    let set = unsafe { (*vfs).xSetSystemCall }.ok_or("SQLite's system calls are fixed")?;
    let calls: [(&CStr, *const c_void); 12] = [
        (c"open", files::open as *const c_void),
        (c"close", files::close as *const c_void),
        (c"fcntl", files::fcntl as *const c_void),
        (c"stat", files::stat as *const c_void),
        (c"lstat", files::lstat as *const c_void),
        (c"access", files::access as *const c_void),
        (c"unlink", files::unlink as *const c_void),
        (c"getcwd", files::getcwd as *const c_void),
        (c"mkdir", files::mkdir as *const c_void),
        (c"rmdir", files::rmdir as *const c_void),
        (c"readlink", files::readlink as *const c_void),
        (c"mmap", files::mmap as *const c_void),
    ];
    for (name, call) in calls {
        // SAFETY: a function's address, which SQLite casts back to the type that this name has, the
        // one that the function was written for.
        let call: ffi::sqlite3_syscall_ptr = unsafe { std::mem::transmute(call) };
        // SAFETY: the table is changed before the first connection.
        if unsafe { set(vfs, name.as_ptr(), call) } != ffi::SQLITE_OK {
            return Err("SQLite does not let a system call be replaced");
        }
    }
    Ok(())
}
