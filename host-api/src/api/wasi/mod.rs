//! `wasi_snapshot_preview1`: what programs compiled for `wasm32-wasip1` import.
//!
//! This file is the table; each concept has its file. Most functions answer an error number
//! ([`Errno`]), 0 for success. A pointer outside of the guest's memory is error 21 (`fault`): never
//! a trap, and never a crash of anything. Checks come before effects: a call that answers with an
//! error has done nothing, but for errors of the streams themselves.

mod args_environ;
mod clocks;
mod errno;
mod iovec;
mod lines;
mod poll;
mod preopens;
mod random;
mod state;
mod stdio;

use std::task::Poll;

use crate::api::process::yield_once;
use crate::bind::{Fault, host_functions};
use crate::memory::Ptr;

use errno::Errno;
pub(crate) use state::WasiState;

host_functions! {
    /// WASI preview 1. All of its 46 functions can be imported; those about files and sockets
    /// answer 52 (`nosys`) in this version. Where a function waits, only its process does.
    pub(crate) MODULE: "wasi_snapshot_preview1";

    /// Writes pointers to the arguments to `argv` and their text, with terminators, to `argv_buf`.
    fn args_get(call, argv: Ptr, argv_buf: Ptr) -> Result<u32, Fault> {
        at_once(args_environ::args_get(call, argv, argv_buf))
    }

    /// Writes the number of arguments and the bytes of their text with terminators.
    fn args_sizes_get(call, argc: Ptr, argv_buf_size: Ptr) -> Result<u32, Fault> {
        at_once(args_environ::args_sizes_get(call, argc, argv_buf_size))
    }

    /// Writes pointers to the variables to `environ` and their text (`KEY=value`), with
    /// terminators, to `environ_buf`.
    fn environ_get(call, environ: Ptr, environ_buf: Ptr) -> Result<u32, Fault> {
        at_once(args_environ::environ_get(call, environ, environ_buf))
    }

    /// Writes the number of variables and the bytes of their text with terminators.
    fn environ_sizes_get(call, count: Ptr, environ_buf_size: Ptr) -> Result<u32, Fault> {
        at_once(args_environ::environ_sizes_get(call, count, environ_buf_size))
    }

    /// Writes the resolution of a clock, in nanoseconds (u64).
    fn clock_res_get(call, clock_id: u32, resolution: Ptr) -> Result<u32, Fault> {
        at_once(clocks::res_get(call, clock_id, resolution))
    }

    /// Writes the time of a clock (0 real time, 1 monotonic, 2 and 3 processor time of the whole
    /// run), in nanoseconds (u64). `precision` is ignored: it is always the best there is.
    [short] fn clock_time_get(call, clock_id: u32, precision: u64, time: Ptr) -> Result<u32, Fault> {
        let _ = precision;
        at_once(clocks::time_get(call, clock_id, time))
    }

    /// Not in this version: answers 52 (`nosys`).
    fn fd_advise(_call, fd: u32, offset: u64, len: u64, advice: u32) -> Result<u32, Fault> {
        not_yet((fd, offset, len, advice))
    }

    /// Not in this version: answers 52 (`nosys`).
    fn fd_allocate(_call, fd: u32, offset: u64, len: u64) -> Result<u32, Fault> {
        not_yet((fd, offset, len))
    }

    /// Closes a descriptor, for this process only.
    fn fd_close(call, fd: u32) -> Result<u32, Fault> {
        at_once(stdio::close(call, fd))
    }

    /// Not in this version: answers 52 (`nosys`).
    fn fd_datasync(_call, fd: u32) -> Result<u32, Fault> {
        not_yet(fd)
    }

    /// Writes what a descriptor is and may do (24 bytes). A standard stream is a character device
    /// only if it leads to a terminal.
    fn fd_fdstat_get(call, fd: u32, stat: Ptr) -> Result<u32, Fault> {
        at_once(match stdio::fdstat_get(call, fd, stat) {
            Err(Errno::BadF) => preopens::fdstat_get(call, fd, stat),
            other => other,
        })
    }

    /// Accepted on standard streams, without effect.
    fn fd_fdstat_set_flags(call, fd: u32, flags: u32) -> Result<u32, Fault> {
        let _ = flags;
        at_once(call.state.wasi.stream(fd).map(|_| ()))
    }

    /// Not in this version: answers 52 (`nosys`).
    fn fd_fdstat_set_rights(_call, fd: u32, base: u64, inheriting: u64) -> Result<u32, Fault> {
        not_yet((fd, base, inheriting))
    }

    /// Writes what is known of the file behind a descriptor (64 bytes): of a standard stream, its
    /// type.
    fn fd_filestat_get(call, fd: u32, buf: Ptr) -> Result<u32, Fault> {
        at_once(stdio::filestat_get(call, fd, buf))
    }

    /// Not in this version: answers 52 (`nosys`).
    fn fd_filestat_set_size(_call, fd: u32, size: u64) -> Result<u32, Fault> {
        not_yet((fd, size))
    }

    /// Not in this version: answers 52 (`nosys`).
    fn fd_filestat_set_times(
        _call, fd: u32, atim: u64, mtim: u64, fst_flags: u32,
    ) -> Result<u32, Fault> {
        not_yet((fd, atim, mtim, fst_flags))
    }

    /// Not in this version: answers 52 (`nosys`).
    fn fd_pread(
        _call, fd: u32, iovs: Ptr, iovs_len: u32, offset: u64, nread: Ptr,
    ) -> Result<u32, Fault> {
        not_yet((fd, iovs, iovs_len, offset, nread))
    }

    /// Writes the length of the name of a directory that the process was given (`--dir`): they have
    /// the descriptors from 3 on. Answers 8 (`badf`) behind the last, where programs stop asking.
    fn fd_prestat_get(call, fd: u32, buf: Ptr) -> Result<u32, Fault> {
        at_once(preopens::prestat_get(call, fd, buf))
    }

    /// Writes the name of a directory that the process was given.
    fn fd_prestat_dir_name(call, fd: u32, path: Ptr, path_len: u32) -> Result<u32, Fault> {
        at_once(preopens::dir_name(call, fd, path, path_len))
    }

    /// Not in this version: answers 52 (`nosys`).
    fn fd_pwrite(
        _call, fd: u32, iovs: Ptr, iovs_len: u32, offset: u64, nwritten: Ptr,
    ) -> Result<u32, Fault> {
        not_yet((fd, iovs, iovs_len, offset, nwritten))
    }

    /// Reads from standard input what there is, waiting for at least a byte. Writes how many; 0 is
    /// the end.
    fn fd_read(
        call, fd: u32, iovs: Ptr, iovs_len: u32, nread: Ptr,
    ) -> Poll<Result<u32, Fault>> {
        poll_answer(stdio::read(call, fd, (iovs, iovs_len), nread))
    }

    /// Not in this version: answers 52 (`nosys`).
    fn fd_readdir(
        _call, fd: u32, buf: Ptr, buf_len: u32, cookie: u64, bufused: Ptr,
    ) -> Result<u32, Fault> {
        not_yet((fd, buf, buf_len, cookie, bufused))
    }

    /// Not in this version: answers 52 (`nosys`).
    fn fd_renumber(_call, fd: u32, to: u32) -> Result<u32, Fault> {
        not_yet((fd, to))
    }

    /// Standard streams cannot seek: answers 70 (`spipe`).
    fn fd_seek(
        call, fd: u32, offset: i64, whence: u32, newoffset: Ptr,
    ) -> Result<u32, Fault> {
        let _ = (offset, whence, newoffset);
        at_once(call.state.wasi.stream(fd).and(Err(Errno::SPipe)))
    }

    /// Not in this version: answers 52 (`nosys`).
    fn fd_sync(_call, fd: u32) -> Result<u32, Fault> {
        not_yet(fd)
    }

    /// Standard streams have no position: answers 70 (`spipe`).
    fn fd_tell(call, fd: u32, offset: Ptr) -> Result<u32, Fault> {
        let _ = offset;
        at_once(call.state.wasi.stream(fd).and(Err(Errno::SPipe)))
    }

    /// Writes to standard output or error. A line that is not complete is held back, up to 8 KiB,
    /// until it is, or the process waits or ends, or for about 50 ms; so lines of several processes
    /// do not tear. Waits while the reader is far behind. Writes how many bytes were taken; a call
    /// takes up to 64 KiB.
    fn fd_write(
        call, fd: u32, iovs: Ptr, iovs_len: u32, nwritten: Ptr,
    ) -> Poll<Result<u32, Fault>> {
        poll_answer(stdio::write(call, fd, (iovs, iovs_len), nwritten))
    }

    /// Not in this version: answers 52 (`nosys`).
    fn path_create_directory(_call, fd: u32, path: Ptr, path_len: u32) -> Result<u32, Fault> {
        not_yet((fd, path, path_len))
    }

    /// Not in this version: answers 52 (`nosys`).
    fn path_filestat_get(
        _call, fd: u32, flags: u32, path: Ptr, path_len: u32, buf: Ptr,
    ) -> Result<u32, Fault> {
        not_yet((fd, flags, path, path_len, buf))
    }

    /// Not in this version: answers 52 (`nosys`).
    fn path_filestat_set_times(
        _call, fd: u32, flags: u32, path: Ptr, path_len: u32, atim: u64, mtim: u64,
        fst_flags: u32,
    ) -> Result<u32, Fault> {
        not_yet((fd, flags, path, path_len, atim, mtim, fst_flags))
    }

    /// Not in this version: answers 52 (`nosys`).
    fn path_link(
        _call, old_fd: u32, old_flags: u32, old_path: Ptr, old_path_len: u32, new_fd: u32,
        new_path: Ptr, new_path_len: u32,
    ) -> Result<u32, Fault> {
        not_yet((old_fd, old_flags, old_path, old_path_len, new_fd, new_path, new_path_len))
    }

    /// Not in this version: answers 52 (`nosys`).
    fn path_open(
        _call, fd: u32, dirflags: u32, path: Ptr, path_len: u32, oflags: u32, rights_base: u64,
        rights_inheriting: u64, fdflags: u32, opened_fd: Ptr,
    ) -> Result<u32, Fault> {
        not_yet((
            (fd, dirflags, path, path_len, oflags),
            (rights_base, rights_inheriting, fdflags, opened_fd),
        ))
    }

    /// Not in this version: answers 52 (`nosys`).
    fn path_readlink(
        _call, fd: u32, path: Ptr, path_len: u32, buf: Ptr, buf_len: u32, bufused: Ptr,
    ) -> Result<u32, Fault> {
        not_yet((fd, path, path_len, buf, buf_len, bufused))
    }

    /// Not in this version: answers 52 (`nosys`).
    fn path_remove_directory(_call, fd: u32, path: Ptr, path_len: u32) -> Result<u32, Fault> {
        not_yet((fd, path, path_len))
    }

    /// Not in this version: answers 52 (`nosys`).
    fn path_rename(
        _call, fd: u32, old_path: Ptr, old_path_len: u32, new_fd: u32, new_path: Ptr,
        new_path_len: u32,
    ) -> Result<u32, Fault> {
        not_yet((fd, old_path, old_path_len, new_fd, new_path, new_path_len))
    }

    /// Not in this version: answers 52 (`nosys`).
    fn path_symlink(
        _call, old_path: Ptr, old_path_len: u32, fd: u32, new_path: Ptr, new_path_len: u32,
    ) -> Result<u32, Fault> {
        not_yet((old_path, old_path_len, fd, new_path, new_path_len))
    }

    /// Not in this version: answers 52 (`nosys`).
    fn path_unlink_file(_call, fd: u32, path: Ptr, path_len: u32) -> Result<u32, Fault> {
        not_yet((fd, path, path_len))
    }

    /// Waits for the first of `nsubscriptions` (at most 1024) records of 48 bytes at `input`:
    /// clocks, standard input, room in standard output or error. Writes records of 32 bytes about
    /// all that have happened to `output`, and their number to `nevents`.
    fn poll_oneoff(
        call, input: Ptr, output: Ptr, nsubscriptions: u32, nevents: Ptr,
    ) -> Poll<Result<u32, Fault>> {
        poll_answer(poll::oneoff(call, (input, nsubscriptions), output, nevents))
    }

    /// Ends this process, and no other unless it is the main one. Any code may be given.
    fn proc_exit(_call, code: u32) -> Result<(), Fault> {
        Err(Fault::exit(code))
    }

    /// There are no signals: answers 52 (`nosys`).
    fn proc_raise(_call, signal: u32) -> Result<u32, Fault> {
        not_yet(signal)
    }

    /// Lets the others run that are ready.
    [short] fn sched_yield(call) -> Poll<Result<u32, Fault>> {
        yield_once(call)
    }

    /// Fills a buffer with random bytes, fit for keys. Others may run in between if it is large.
    fn random_get(call, buf: Ptr, buf_len: u32) -> Poll<Result<u32, Fault>> {
        poll_answer(random::get(call, buf, buf_len))
    }

    /// Not in this version: answers 52 (`nosys`).
    fn sock_accept(_call, fd: u32, flags: u32, accepted: Ptr) -> Result<u32, Fault> {
        not_yet((fd, flags, accepted))
    }

    /// Not in this version: answers 52 (`nosys`).
    fn sock_recv(
        _call, fd: u32, iovs: Ptr, iovs_len: u32, ri_flags: u32, nread: Ptr, ro_flags: Ptr,
    ) -> Result<u32, Fault> {
        not_yet((fd, iovs, iovs_len, ri_flags, nread, ro_flags))
    }

    /// Not in this version: answers 52 (`nosys`).
    fn sock_send(
        _call, fd: u32, iovs: Ptr, iovs_len: u32, si_flags: u32, nwritten: Ptr,
    ) -> Result<u32, Fault> {
        not_yet((fd, iovs, iovs_len, si_flags, nwritten))
    }

    /// Not in this version: answers 52 (`nosys`).
    fn sock_shutdown(_call, fd: u32, how: u32) -> Result<u32, Fault> {
        not_yet((fd, how))
    }
}

/// What a function of an interface without traps has to say to the guest.
fn at_once(result: Result<(), Errno>) -> Result<u32, Fault> {
    Ok(match result {
        Ok(()) => 0,
        Err(errno) => errno.code().into(),
    })
}

/// The same for one that may wait: `None` is "not yet".
fn poll_answer(result: Result<Option<()>, Errno>) -> Poll<Result<u32, Fault>> {
    match result {
        Ok(None) => Poll::Pending,
        Ok(Some(())) => Poll::Ready(at_once(Ok(()))),
        Err(errno) => Poll::Ready(at_once(Err(errno))),
    }
}

/// Takes the arguments so that the table can name them.
fn not_yet<T>(_arguments: T) -> Result<u32, Fault> {
    at_once(Err(Errno::NoSys))
}

#[cfg(test)]
mod tests {
    /// One name missing, and programs that import it cannot be loaded.
    #[test]
    fn all_46_functions_exist_once() {
        let mut names: Vec<_> =
            super::MODULE.functions.iter().map(|doc| doc.function.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 46);
    }

    /// It lies in the slot of every process, of which there may be a million.
    #[test]
    fn the_state_is_small() {
        assert!(size_of::<super::WasiState>() <= 48);
    }
}
