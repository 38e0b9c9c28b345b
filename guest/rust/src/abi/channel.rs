//! Channels: a part of [`abi`](super), under its rules.

use super::Status;

mod host {
    super::super::imports! { "lunatic::channel";
        open(bound: u64) -> u64;
        clone_handle(handle: u64) -> u64;
        close(handle: u64);
        send(handle: u64, timeout_ms: u64) -> i32;
        receive(handle: u64, timeout_ms: u64) -> i32;
    }
}

pub(crate) fn channel_open(bound: u64) -> u64 {
    // SAFETY: takes no pointer.
    unsafe { host::open(bound) }
}

pub(crate) fn channel_clone(handle: u64) -> u64 {
    // SAFETY: takes no pointer.
    unsafe { host::clone_handle(handle) }
}

pub(crate) fn channel_close(handle: u64) {
    // SAFETY: takes no pointer.
    unsafe { host::close(handle) }
}

pub(crate) fn channel_send(handle: u64, timeout_ms: u64) -> Status {
    // SAFETY: takes no pointer.
    Status::of_channel(unsafe { host::send(handle, timeout_ms) })
}

pub(crate) fn channel_receive(handle: u64, timeout_ms: u64) -> Status {
    // SAFETY: takes no pointer.
    Status::of_channel(unsafe { host::receive(handle, timeout_ms) })
}
