//! The descriptors 0, 1 and 2: the standard streams, which are all that is open in this version.

use super::errno::Errno;
use super::iovec;
use super::state::{Output, Stream, split};
use crate::bind::Call;
use crate::memory::Ptr;
use crate::stdio::{Input, Stdio, StreamType, Wrote};

/// Bytes that one `fd_write` takes; the guest's library comes again for the rest. With a held line
/// this must fit the sink's buffer.
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// The specification's file types.
const FILE_TYPE_UNKNOWN: u8 = 0;
const FILE_TYPE_CHARACTER_DEVICE: u8 = 2;
const FILE_TYPE_REGULAR_FILE: u8 = 4;
const FILE_TYPE_SOCKET_STREAM: u8 = 6;

/// The specification's rights. `fd_seek` and `fd_tell` are never among them: by that, together with
/// the file type, libc's `isatty` knows a terminal.
const RIGHT_READ: u64 = 1 << 1;
const RIGHT_SET_FLAGS: u64 = 1 << 3;
const RIGHT_WRITE: u64 = 1 << 6;
const RIGHT_FILESTAT_GET: u64 = 1 << 21;
const RIGHT_POLL: u64 = 1 << 27;

pub(super) fn write(
    call: &mut Call<'_, '_>,
    fd: u32,
    buffers: (Ptr, u32),
    nwritten: Ptr,
) -> Result<Option<()>, Errno> {
    let output = output(call, fd)?;
    call.memory.slice_mut(nwritten, 4)?;
    let buffers = iovec::list(&call.memory, buffers)?;
    let bytes = iovec::gather(&call.memory, &buffers, WRITE_BYTES_MAX)?;
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
    fd: u32,
    buffers: (Ptr, u32),
    nread: Ptr,
) -> Result<Option<()>, Errno> {
    if call.state.wasi.stream(fd)? != Stream::In {
        return Err(Errno::BadF);
    }
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

pub(super) fn close(call: &mut Call<'_, '_>, fd: u32) -> Result<(), Errno> {
    call.state.wasi.close(fd)?;
    call.state.flush_lines();
    Ok(())
}

pub(super) fn fdstat_get(call: &mut Call<'_, '_>, fd: u32, stat: Ptr) -> Result<(), Errno> {
    let stream = call.state.wasi.stream(fd)?;
    let direction = match stream {
        Stream::In => RIGHT_READ,
        Stream::Out(_) => RIGHT_WRITE,
    };
    let rights = direction | RIGHT_SET_FLAGS | RIGHT_FILESTAT_GET | RIGHT_POLL;
    let mut record = [0; 24];
    record[0] = file_type(stream, &call.state.config.stdio);
    record[8..16].copy_from_slice(&rights.to_le_bytes());
    Ok(call.memory.write(stat, &record)?)
}

pub(super) fn filestat_get(call: &mut Call<'_, '_>, fd: u32, stat: Ptr) -> Result<(), Errno> {
    let stream = call.state.wasi.stream(fd)?;
    let mut record = [0; 64];
    record[16] = file_type(stream, &call.state.config.stdio);
    Ok(call.memory.write(stat, &record)?)
}

fn file_type(stream: Stream, stdio: &Stdio) -> u8 {
    let stream_type = match stream {
        Stream::In => stdio.stdin.stream_type(),
        Stream::Out(output) => output.sink(stdio).stream_type(),
    };
    match stream_type {
        StreamType::Terminal => FILE_TYPE_CHARACTER_DEVICE,
        StreamType::RegularFile => FILE_TYPE_REGULAR_FILE,
        StreamType::Socket => FILE_TYPE_SOCKET_STREAM,
        StreamType::Other => FILE_TYPE_UNKNOWN,
    }
}

fn output(call: &Call<'_, '_>, fd: u32) -> Result<Output, Errno> {
    match call.state.wasi.stream(fd)? {
        Stream::Out(output) => Ok(output),
        Stream::In => Err(Errno::BadF),
    }
}
