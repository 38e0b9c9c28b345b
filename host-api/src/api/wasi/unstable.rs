//! `wasi_unstable`: snapshot 0, which programs of 2019 import.
//!
//! Four of its functions differ from preview 1, in the order of `whence` and the layout of two
//! records; the others are preview 1's under another name.

use std::task::Poll;

use lunatic_engine::HostFunction;

use super::files::{self, StatAt};
use super::poll::Layout;
use super::{Errno, paths, poll, poll_answer};
use crate::bind::{Fault, host_functions};
use crate::memory::Ptr;

host_functions! {
    /// WASI's snapshot 0, for old programs. These functions differ from those of
    /// `wasi_snapshot_preview1`; all others, but for `sock_accept`, are the same under this name.
    pub(crate) MODULE: "wasi_unstable";

    /// As in preview 1, but the record has 56 bytes: the number of links has 32 bits.
    fn fd_filestat_get(call, fd: u32, buf: Ptr) -> Poll<Result<u32, Fault>> {
        poll_answer(files::filestat_get(call, fd, StatAt { at: buf, is_snapshot_0: true }))
    }

    /// As in preview 1, but `whence` is 0 from where it is, 1 from the end, 2 from the beginning.
    fn fd_seek(
        call, fd: u32, offset: i64, whence: u32, newoffset: Ptr,
    ) -> Poll<Result<u32, Fault>> {
        let whence = match whence {
            0 => Ok(1),
            1 => Ok(2),
            2 => Ok(0),
            _ => Err(Errno::Inval),
        };
        poll_answer(whence.and_then(|whence| files::seek(call, fd, (offset, whence), newoffset)))
    }

    /// As in preview 1, but the record has 56 bytes: the number of links has 32 bits.
    fn path_filestat_get(
        call, fd: u32, flags: u32, path: Ptr, path_len: u32, buf: Ptr,
    ) -> Poll<Result<u32, Fault>> {
        let to = StatAt { at: buf, is_snapshot_0: true };
        poll_answer(paths::filestat_get(call, fd, flags, (path, path_len), to))
    }

    /// As in preview 1, but a subscription has 56 bytes: the fields of a clock lie 8 bytes later.
    fn poll_oneoff(
        call, input: Ptr, output: Ptr, nsubscriptions: u32, nevents: Ptr,
    ) -> Poll<Result<u32, Fault>> {
        let subscriptions = (input, nsubscriptions);
        poll_answer(poll::oneoff(call, subscriptions, (output, nevents), Layout::SNAPSHOT_0))
    }
}

/// The functions that are those of preview 1.
pub(crate) fn inherited() -> impl Iterator<Item = HostFunction> {
    let differs = |name| {
        name == "sock_accept" || MODULE.functions.iter().any(|own| own.function.name == name)
    };
    let functions = super::MODULE.functions.iter().map(|doc| doc.function);
    functions
        .filter(move |function| !differs(function.name))
        .map(|function| HostFunction { module: MODULE.name, ..function })
}
