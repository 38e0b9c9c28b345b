//! TCP of crate 0.2.1: what it has otherwise than 0.3.0. A stream is read and written as a
//! descriptor of WASI's; its number is none that WASI gives.

use std::task::Poll;

use super::{Ranged, accept, poll, read, write};
use crate::bind::{Call, Fault, host_functions};
use crate::memory::Ptr;
use crate::net::TcpStream;

host_functions! {
    /// TCP of programs built with the crate `lunatic` 0.2.1.
    pub(crate) MODULE: "lunatic";

    /// Waits for a connection, and writes the stream's handle (u32) to `stream_ptr`. 0, no handle, is
    /// at `address_ptr`: nothing could be done with the address of the other side.
    fn tcp_accept(
        call, listener: u32, stream_ptr: Ptr, address_ptr: Ptr,
    ) -> Poll<Result<u32, Fault>> {
        if let Err(fault) = call.memory.write_u32(address_ptr, 0) {
            return Poll::Ready(Err(fault));
        }
        poll(accept(call, listener, stream_ptr))
    }
}

/// `fd_read` of a stream; `None` if the descriptor is none.
#[inline]
pub(crate) fn read_descriptor(
    call: &mut Call<'_, '_>,
    fd: u32,
    (buffers, count): ((Ptr, u32), Ptr),
) -> Option<Poll<Result<u32, Fault>>> {
    is_stream(call, fd).then(|| poll(read(call, fd, buffers, count)))
}

/// `fd_write` of a stream; `None` if the descriptor is none.
#[inline]
pub(crate) fn write_descriptor(
    call: &mut Call<'_, '_>,
    fd: u32,
    (buffers, count): ((Ptr, u32), Ptr),
) -> Option<Poll<Result<u32, Fault>>> {
    is_stream(call, fd).then(|| poll(write(call, fd, buffers, count)))
}

#[inline]
fn is_stream(call: &Call<'_, '_>, fd: u32) -> bool {
    TcpStream::RANGE.contains(&fd) && super::socket::<TcpStream>(call, fd).is_ok()
}
