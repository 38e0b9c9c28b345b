//! The standard streams, which all processes share.

use super::errno::Errno;
use super::flags::rights;
use super::iovec;
use super::state::{Output, split};
use crate::bind::Call;
use crate::fs::FileType;
use crate::memory::Ptr;
use crate::stdio::{Input, Stdio, StreamType, Wrote};

/// Bytes that one `fd_write` takes; the guest's library comes again for the rest. With a held line
/// this must fit the sink's buffer.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    In,
    Out(Output),
}

/// What may be done with them. `fd_seek` and `fd_tell` are never among it: by that, together with
/// the file type, libc's `isatty` knows a terminal.
const RIGHTS: u64 =
    rights::FD_FDSTAT_SET_FLAGS | rights::FD_FILESTAT_GET | rights::POLL_FD_READWRITE;

pub(super) fn write(
    call: &mut Call<'_, '_>,
    output: Output,
    buffers: (Ptr, u32),
    nwritten: Ptr,
) -> Result<Option<()>, Errno> {
    call.memory.slice_mut(nwritten, 4)?;
    let buffers = iovec::list(&call.memory, buffers)?;
    // A copy: the system's own reading of a guest's memory could fail.
    let bytes = iovec::gather(&call.memory, &buffers, WRITE_BYTES_MAX)?.into_owned();
    let (wasi, stdio, waiter) = split(call);
    let ticket = wasi.tickets.output(output);
    let wrote = wasi.lines.write(output, &bytes, output.sink(stdio), waiter, ticket);
    wasi.in_write = wrote == Wrote::Full;
    match wrote {
        Wrote::All => {
            let count = u32::try_from(bytes.len()).map_err(|_| Errno::Overflow)?;
            call.memory.write_u32(nwritten, count)?;
            Ok(Some(()))
        }
        // The run ends: waiting for that is quieter than a program that complains.
        Wrote::Full | Wrote::BrokenPipe => Ok(None),
        Wrote::Failed(errno) => Err(Errno::from_host(errno)),
    }
}

pub(super) fn read(
    call: &mut Call<'_, '_>,
    buffers: (Ptr, u32),
    nread: Ptr,
) -> Result<Option<()>, Errno> {
    call.memory.slice_mut(nread, 4)?;
    let buffers = iovec::list(&call.memory, buffers)?;
    // Whoever answers may want to see the question first.
    call.state.flush_lines();
    let mut room = buffers.iter().map(|&(_, len)| len);
    let outcome = if room.all(|len| len == 0) {
        Input::Bytes(0)
    } else {
        let state = &mut *call.state;
        let waiter = super::state::waiter(&state.node, state.pid());
        let memory = &mut call.memory;
        state.config.stdio.stdin.try_read(waiter, &mut state.wasi.tickets.input, |bytes| {
            iovec::scatter(memory, &buffers, bytes).expect("the list was checked")
        })
    };
    let count = match outcome {
        Input::Bytes(count) => u32::try_from(count).map_err(|_| Errno::Overflow)?,
        Input::EndOfFile => 0,
        Input::Wait => return Ok(None),
        Input::Failed(errno) => return Err(Errno::from_host(errno)),
    };
    call.memory.write_u32(nread, count)?;
    Ok(Some(()))
}

/// What a stream is and may do.
pub(super) fn fdstat(call: &Call<'_, '_>, stream: Stream) -> (FileType, u64) {
    let direction = match stream {
        Stream::In => rights::FD_READ,
        Stream::Out(_) => rights::FD_WRITE,
    };
    (file_type(stream, &call.state.config.stdio), direction | RIGHTS)
}

pub(super) fn file_type(stream: Stream, stdio: &Stdio) -> FileType {
    let stream_type = match stream {
        Stream::In => stdio.stdin.stream_type(),
        Stream::Out(output) => output.sink(stdio).stream_type(),
    };
    match stream_type {
        StreamType::Terminal => FileType::CharacterDevice,
        StreamType::RegularFile => FileType::RegularFile,
        StreamType::Socket => FileType::SocketStream,
        StreamType::Other => FileType::Unknown,
    }
}
