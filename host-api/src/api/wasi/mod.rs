//! `wasi_snapshot_preview1`: what programs compiled for `wasm32-wasip1` import.
//!
//! This file is the table; each concept has its file. Most functions answer an error number
//! ([`Errno`]), 0 for success. A pointer outside of the guest's memory is error 21 (`fault`): never
//! a trap, and never a crash of anything. Checks come before effects: a call that answers with an
//! error has done nothing, but for errors of the streams and files themselves.
//!
//! Read `table` (what descriptors are) and `jobs` (how a call blocks without blocking) first.

mod errno;
mod flags;

mod args_environ;
mod clocks;
mod random;

mod iovec;
mod jobs;
mod lines;
mod state;
mod table;

mod descriptors;
mod files;
mod paths;
mod poll;
mod sockets;
mod stdio;

pub(crate) mod unstable;

use std::task::Poll;

use crate::api::process::yield_once;
use crate::api::seed;
use crate::bind::{Fault, host_functions};
use crate::memory::Ptr;

use files::StatAt;
use paths::Open;
use poll::Layout;

pub(crate) use errno::Errno;
pub(crate) use flags::{fdflags, oflags};
pub(in crate::api) use jobs::on_pool;
pub(crate) use state::WasiState;

host_functions! {
    /// WASI preview 1, all of its 46 functions. Where a function waits, only its process does; what
    /// would block a thread runs on threads of its own.
    ///
    /// Descriptors 0, 1 and 2 are the standard streams; then come the directories that the process
    /// was given (`--dir`), then the listening sockets (`--listen`). A path is UTF-8 (else 25,
    /// `ilseq`), relative to a directory, and cannot lead out of it: by `..`, as an absolute path or
    /// through a link it is answered with 63 (`perm`), as is every change in a directory that may
    /// only be read.
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

    /// Tells how a part of a file will be used (0 normally, 1 in order, 2 at random, 3 soon, 4 no
    /// more, 5 once). The system may ignore it.
    fn fd_advise(
        call, fd: u32, offset: u64, len: u64, advice: u32,
    ) -> Poll<Result<u32, Fault>> {
        poll_answer(files::advise(call, fd, (offset, len), advice))
    }

    /// Makes room for a part of a file, and the file as long as that needs.
    fn fd_allocate(call, fd: u32, offset: u64, len: u64) -> Poll<Result<u32, Fault>> {
        poll_answer(files::allocate(call, fd, (offset, len)))
    }

    /// Closes a descriptor, for this process only.
    fn fd_close(call, fd: u32) -> Poll<Result<u32, Fault>> {
        poll_answer(descriptors::close(call, fd))
    }

    /// Waits until the data of a file are on the disk.
    fn fd_datasync(call, fd: u32) -> Poll<Result<u32, Fault>> {
        poll_answer(files::sync(call, fd, true))
    }

    /// Writes what a descriptor is and may do (24 bytes). A standard stream is a character device
    /// only if it leads to a terminal.
    fn fd_fdstat_get(call, fd: u32, stat: Ptr) -> Result<u32, Fault> {
        at_once(descriptors::fdstat_get(call, fd, stat))
    }

    /// Sets the flags 1 (append) and 4 (do not wait) of a file or socket; others cannot be changed.
    /// Accepted on standard streams, without effect.
    fn fd_fdstat_set_flags(call, fd: u32, flags: u32) -> Result<u32, Fault> {
        at_once(descriptors::fdstat_set_flags(call, fd, flags))
    }

    /// Rights of descriptors cannot be changed: answers 58 (`notsup`), as reference runtimes do.
    fn fd_fdstat_set_rights(call, fd: u32, base: u64, inheriting: u64) -> Result<u32, Fault> {
        let _ = (base, inheriting);
        at_once(call.descriptor(fd).and(Err(Errno::NotSup)))
    }

    /// Writes what is known of the file behind a descriptor (64 bytes): of a stream or a socket, its
    /// type.
    fn fd_filestat_get(call, fd: u32, buf: Ptr) -> Poll<Result<u32, Fault>> {
        let to = StatAt { at: buf, is_snapshot_0: false };
        poll_answer(files::filestat_get(call, fd, to))
    }

    /// Cuts a file off, or makes it longer with zeroes.
    fn fd_filestat_set_size(call, fd: u32, size: u64) -> Poll<Result<u32, Fault>> {
        poll_answer(files::set_size(call, fd, size))
    }

    /// Sets the times of a file's last access (flag 1, or 2: now) and modification (4, or 8: now).
    fn fd_filestat_set_times(
        call, fd: u32, atim: u64, mtim: u64, fst_flags: u32,
    ) -> Poll<Result<u32, Fault>> {
        poll_answer(files::set_times(call, fd, (atim, mtim, fst_flags)))
    }

    /// Reads from a place of a file; its position stays.
    fn fd_pread(
        call, fd: u32, iovs: Ptr, iovs_len: u32, offset: u64, nread: Ptr,
    ) -> Poll<Result<u32, Fault>> {
        poll_answer(files::pread(call, fd, offset, ((iovs, iovs_len), nread)))
    }

    /// Writes the length of the name of a directory that the process was given (`--dir`): they have
    /// the descriptors from 3 on. Answers 8 (`badf`) behind the last, where programs stop asking.
    fn fd_prestat_get(call, fd: u32, buf: Ptr) -> Result<u32, Fault> {
        at_once(descriptors::prestat_get(call, fd, buf))
    }

    /// Writes the name of a directory that the process was given.
    fn fd_prestat_dir_name(call, fd: u32, path: Ptr, path_len: u32) -> Result<u32, Fault> {
        at_once(descriptors::prestat_dir_name(call, fd, (path, path_len)))
    }

    /// Writes to a place of a file; its position stays. With the flag for appending, to its end.
    fn fd_pwrite(
        call, fd: u32, iovs: Ptr, iovs_len: u32, offset: u64, nwritten: Ptr,
    ) -> Poll<Result<u32, Fault>> {
        poll_answer(files::pwrite(call, fd, offset, ((iovs, iovs_len), nwritten)))
    }

    /// Reads from a file, a socket or standard input what there is, waiting for at least a byte.
    /// Writes how many; 0 is the end. A call takes up to 1 MiB, of a socket 64 KiB.
    fn fd_read(
        call, fd: u32, iovs: Ptr, iovs_len: u32, nread: Ptr,
    ) -> Poll<Result<u32, Fault>> {
        let transfer = ((iovs, iovs_len), nread);
        let of_stream = seed::tcp::referenced::read_descriptor(call, fd, transfer);
        of_stream.unwrap_or_else(|| poll_answer(files::read(call, fd, transfer)))
    }

    /// Writes entries of a directory (24 bytes and the name), from the one behind `cookie` on, 0 for
    /// all. Fills the buffer and cuts the last one off, unless they end before. A cookie is good as
    /// long as the directory is, whatever comes and goes in it.
    fn fd_readdir(
        call, fd: u32, buf: Ptr, buf_len: u32, cookie: u64, bufused: Ptr,
    ) -> Poll<Result<u32, Fault>> {
        poll_answer(paths::readdir(call, fd, (buf, buf_len), cookie, bufused))
    }

    /// Gives a descriptor the number of another one, which is closed.
    fn fd_renumber(call, fd: u32, to: u32) -> Poll<Result<u32, Fault>> {
        poll_answer(descriptors::renumber(call, fd, to))
    }

    /// Moves a file's position: from the beginning (`whence` 0), from where it is (1), from the end
    /// (2). Streams and sockets have none: 70 (`spipe`).
    fn fd_seek(
        call, fd: u32, offset: i64, whence: u32, newoffset: Ptr,
    ) -> Poll<Result<u32, Fault>> {
        poll_answer(files::seek(call, fd, (offset, whence), newoffset))
    }

    /// Waits until a file or directory is on the disk, with all that is known of it.
    fn fd_sync(call, fd: u32) -> Poll<Result<u32, Fault>> {
        poll_answer(files::sync(call, fd, false))
    }

    /// Writes a file's position. Streams and sockets have none: 70 (`spipe`).
    fn fd_tell(call, fd: u32, offset: Ptr) -> Result<u32, Fault> {
        at_once(files::tell(call, fd, offset))
    }

    /// Writes to a file, a socket, standard output or error, and tells how many bytes were taken: up
    /// to 1 MiB, elsewhere than to files 64 KiB. Of the standard streams, a line that is not complete
    /// is held back, up to 8 KiB, until it is, or the process waits or ends, or for about 50 ms; so
    /// lines of several processes do not tear. Waits while the reader is far behind.
    fn fd_write(
        call, fd: u32, iovs: Ptr, iovs_len: u32, nwritten: Ptr,
    ) -> Poll<Result<u32, Fault>> {
        let transfer = ((iovs, iovs_len), nwritten);
        let of_stream = seed::tcp::referenced::write_descriptor(call, fd, transfer);
        of_stream.unwrap_or_else(|| poll_answer(files::write(call, fd, transfer)))
    }

    /// Makes a directory.
    fn path_create_directory(
        call, fd: u32, path: Ptr, path_len: u32,
    ) -> Poll<Result<u32, Fault>> {
        poll_answer(paths::create_directory(call, fd, (path, path_len)))
    }

    /// Writes what is known of a file (64 bytes); with flag 1, of what a link leads to.
    fn path_filestat_get(
        call, fd: u32, flags: u32, path: Ptr, path_len: u32, buf: Ptr,
    ) -> Poll<Result<u32, Fault>> {
        let to = StatAt { at: buf, is_snapshot_0: false };
        poll_answer(paths::filestat_get(call, fd, flags, (path, path_len), to))
    }

    /// As `fd_filestat_set_times`; with flag 1, of what a link leads to.
    fn path_filestat_set_times(
        call, fd: u32, flags: u32, path: Ptr, path_len: u32, atim: u64, mtim: u64,
        fst_flags: u32,
    ) -> Poll<Result<u32, Fault>> {
        let times = (atim, mtim, fst_flags);
        poll_answer(paths::filestat_set_times(call, fd, flags, (path, path_len), times))
    }

    /// Gives a file another name. Links are not followed: flag 1 is answered with 28 (`inval`).
    fn path_link(
        call, old_fd: u32, old_flags: u32, old_path: Ptr, old_path_len: u32, new_fd: u32,
        new_path: Ptr, new_path_len: u32,
    ) -> Poll<Result<u32, Fault>> {
        let (old, new) = ((old_path, old_path_len), (new_path, new_path_len));
        poll_answer(paths::link(call, old_flags, (old_fd, old), (new_fd, new)))
    }

    /// Opens a file or directory and writes its descriptor, the lowest that is free. `oflags`: 1
    /// create, 2 directories only, 4 only if it is new, 8 cut off. Of the rights, reading (2) and
    /// writing (64) say how. `fdflags`: 1 append, 2 data to the disk at each write, 4 do not wait, 8
    /// and 16 everything to the disk.
    fn path_open(
        call, fd: u32, dirflags: u32, path: Ptr, path_len: u32, oflags: u32, rights_base: u64,
        rights_inheriting: u64, fdflags: u32, opened_fd: Ptr,
    ) -> Poll<Result<u32, Fault>> {
        let _ = rights_inheriting;
        let open = Open { dirflags, oflags, rights: rights_base, fdflags };
        poll_answer(paths::open(call, fd, (path, path_len), open, opened_fd))
    }

    /// Writes where a link leads, cut off where the buffer ends, and the number of bytes. A link to
    /// an absolute path is not told: 63 (`perm`).
    fn path_readlink(
        call, fd: u32, path: Ptr, path_len: u32, buf: Ptr, buf_len: u32, bufused: Ptr,
    ) -> Poll<Result<u32, Fault>> {
        poll_answer(paths::readlink(call, fd, (path, path_len), (buf, buf_len), bufused))
    }

    /// Removes an empty directory.
    fn path_remove_directory(
        call, fd: u32, path: Ptr, path_len: u32,
    ) -> Poll<Result<u32, Fault>> {
        poll_answer(paths::remove_directory(call, fd, (path, path_len)))
    }

    /// Renames a file or directory, in place of what has the new name already.
    fn path_rename(
        call, fd: u32, old_path: Ptr, old_path_len: u32, new_fd: u32, new_path: Ptr,
        new_path_len: u32,
    ) -> Poll<Result<u32, Fault>> {
        let (old, new) = ((old_path, old_path_len), (new_path, new_path_len));
        poll_answer(paths::rename(call, (fd, old), (new_fd, new)))
    }

    /// Makes a link that leads to `old_path`, which must not be absolute (63, `perm`).
    fn path_symlink(
        call, old_path: Ptr, old_path_len: u32, fd: u32, new_path: Ptr, new_path_len: u32,
    ) -> Poll<Result<u32, Fault>> {
        let (target, new) = ((old_path, old_path_len), (new_path, new_path_len));
        poll_answer(paths::symlink(call, target, (fd, new)))
    }

    /// Removes a file or link.
    fn path_unlink_file(call, fd: u32, path: Ptr, path_len: u32) -> Poll<Result<u32, Fault>> {
        poll_answer(paths::unlink_file(call, fd, (path, path_len)))
    }

    /// Waits for the first of `nsubscriptions` (at most 1024) records of 48 bytes at `input`:
    /// clocks, input (files, sockets, standard input), room for output. Writes records of 32 bytes
    /// about all that have happened to `output`, and their number to `nevents`. Files are always
    /// ready.
    fn poll_oneoff(
        call, input: Ptr, output: Ptr, nsubscriptions: u32, nevents: Ptr,
    ) -> Poll<Result<u32, Fault>> {
        let subscriptions = (input, nsubscriptions);
        poll_answer(poll::oneoff(call, subscriptions, (output, nevents), Layout::PREVIEW_1))
    }

    /// Ends this process, and no other unless it is the main one. Any code may be given.
    fn proc_exit(_call, code: u32) -> Result<(), Fault> {
        Err(Fault::exit(code))
    }

    /// There are no signals: answers 58 (`notsup`).
    fn proc_raise(_call, signal: u32) -> Result<u32, Fault> {
        let _ = signal;
        at_once(Err(Errno::NotSup))
    }

    /// Lets the others run that are ready.
    [short] fn sched_yield(call) -> Poll<Result<u32, Fault>> {
        yield_once(call)
    }

    /// Fills a buffer with random bytes, fit for keys. Others may run in between if it is large.
    fn random_get(call, buf: Ptr, buf_len: u32) -> Poll<Result<u32, Fault>> {
        poll_answer(random::get(call, buf, buf_len))
    }

    /// Takes a connection from a listening socket, waiting for one, and writes its descriptor, the
    /// lowest that is free. Flag 4: its calls shall not wait. Several processes may ask at once, and
    /// each connection goes to one of them.
    fn sock_accept(call, fd: u32, flags: u32, accepted: Ptr) -> Poll<Result<u32, Fault>> {
        poll_answer(sockets::accept(call, fd, flags, accepted))
    }

    /// As `fd_read`; with flag 1 what is read stays, with flag 2 it waits until the buffers are full.
    fn sock_recv(
        call, fd: u32, iovs: Ptr, iovs_len: u32, ri_flags: u32, nread: Ptr, ro_flags: Ptr,
    ) -> Poll<Result<u32, Fault>> {
        poll_answer(sockets::recv(call, fd, ((iovs, iovs_len), nread), ri_flags, ro_flags))
    }

    /// As `fd_write`. There are no flags.
    fn sock_send(
        call, fd: u32, iovs: Ptr, iovs_len: u32, si_flags: u32, nwritten: Ptr,
    ) -> Poll<Result<u32, Fault>> {
        poll_answer(sockets::sock_send(call, fd, ((iovs, iovs_len), nwritten), si_flags))
    }

    /// Ends a connection's reading (1), writing (2) or both (3).
    fn sock_shutdown(call, fd: u32, how: u32) -> Result<u32, Fault> {
        at_once(sockets::shutdown(call, fd, how))
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
        assert!(size_of::<super::WasiState>() <= 56);
    }
}
