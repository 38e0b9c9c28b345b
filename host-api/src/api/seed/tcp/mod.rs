//! `lunatic`: TCP of 2021's first months. What both interfaces have is here, the rest in `numbered.rs`
//! and `sided.rs`.
//!
//! The sockets are those of `lunatic::networking`, with its rights and its way to wait; only ids and
//! answers are 32 bits wide. Where these interfaces had one number for any failure, a guest is told
//! WASI's for what has happened.

pub(crate) mod numbered;
pub(crate) mod sided;

use std::sync::Arc;
use std::task::Poll;

use smallvec::SmallVec;

use super::slices;
use crate::api::networking::tcp::{accept_socket, write_some};
use crate::api::networking::{BUFFERS_MAX, Ended, SYSTEM_CALL, poll};
use crate::api::wasi::Errno;
use crate::bind::{Call, Fault, host_functions};
use crate::memory::Ptr;
use crate::net::{Failure, Listener, SCRATCH_BYTES, TcpStream, with_scratch};
use crate::ready::Interest;
use crate::resources::Kind;

use super::FOREVER;

/// A failure that WASI has no number for.
const FAILED: u32 = 1;

host_functions! {
    /// TCP of the crate `lunatic` 0.3. Handles are numbers of one process; an unknown one traps. A
    /// function answers 0 for success, else WASI's number of the error (76: not allowed, see
    /// `--allow-net`). What waits lets others run.
    pub(crate) MODULE: "lunatic";

    /// Waits for a connection, and writes the stream's handle (u32) to `stream_ptr`.
    fn tcp_accept(call, listener: u32, stream_ptr: Ptr) -> Poll<Result<u32, Fault>> {
        poll(accept(call, listener, stream_ptr))
    }

    /// Writes what is in `slices_len` slices (address and length, 32 bits each), and waits until
    /// there is room for a part of it. How many bytes were taken (u32) is at `count_ptr`: up to 64
    /// KiB, perhaps fewer than there are.
    fn tcp_write_vectored(
        call, stream: u32, slices_ptr: Ptr, slices_len: u32, count_ptr: Ptr,
    ) -> Poll<Result<u32, Fault>> {
        poll(write(call, stream, (slices_ptr, slices_len), count_ptr))
    }

    /// Waits until something has come, and fills the slices one after the other. How many bytes were
    /// read (u32) is at `count_ptr`, up to 64 KiB; 0 is the end of the stream.
    fn tcp_read_vectored(
        call, stream: u32, slices_ptr: Ptr, slices_len: u32, count_ptr: Ptr,
    ) -> Poll<Result<u32, Fault>> {
        poll(read(call, stream, (slices_ptr, slices_len), count_ptr))
    }
}

fn accept(call: &mut Call<'_, '_>, listener: u32, to: Ptr) -> Result<Option<u32>, Fault> {
    call.memory.slice_mut(to, 4)?;
    let listener = call.shared::<Listener>(listener.into())?;
    let Some(ended) = accept_socket(call, &listener, FOREVER)? else { return Ok(None) };
    match ended {
        Ended::Done((socket, _)) => give(call, to, Arc::new(TcpStream::new(socket))).map(Some),
        Ended::Failed(error) => Ok(Some(number(&Failure::io("cannot accept", &error)))),
        Ended::TimedOut => Ok(Some(Errno::TimedOut.code().into())),
    }
}

fn write(
    call: &mut Call<'_, '_>,
    stream: u32,
    (list, count): (Ptr, u32),
    to: Ptr,
) -> Result<Option<u32>, Fault> {
    call.memory.slice_mut(to, 4)?;
    let stream = call.shared::<TcpStream>(stream.into())?;
    let ended = write_some(call, &stream, (list, count))?;
    ended.map(|ended| moved(call, to, ended)).transpose()
}

fn read(
    call: &mut Call<'_, '_>,
    stream: u32,
    (list, count): (Ptr, u32),
    to: Ptr,
) -> Result<Option<u32>, Fault> {
    call.memory.slice_mut(to, 4)?;
    let stream = call.shared::<TcpStream>(stream.into())?;
    // Looked at before anything is read: a slice that lies outside must not cost what has come.
    let mut places = SmallVec::<[(Ptr, u32); 4]>::new();
    let mut room = 0;
    for (at, len) in slices(call, list, count.min(BUFFERS_MAX))? {
        call.memory.slice_mut(at, len)?;
        let len = usize::try_from(len).map_or(SCRATCH_BYTES, |len| len.min(SCRATCH_BYTES - room));
        places.push((at, len as u32));
        room += len;
        if room == SCRATCH_BYTES {
            break;
        }
    }
    call.state.charge(SYSTEM_CALL);
    let (timeout, place) = (stream.timeouts.read.get(), (&**stream, &stream.source));
    let ended = call.until_done(timeout, place, Interest::Read, |call| {
        with_scratch(|scratch| {
            let scratch = &mut scratch[..room];
            let tried = stream.receive(scratch, false).map_err(Into::into);
            if let Ok(crate::ready::Tried::Done(bytes)) = tried {
                let mut rest = &scratch[..bytes];
                for &(at, len) in &places {
                    let (piece, others) = rest.split_at(rest.len().min(len as usize));
                    call.memory.write(at, piece)?;
                    rest = others;
                }
            }
            Ok(tried)
        })
    })?;
    ended.map(|ended| moved(call, to, ended)).transpose()
}

/// The answer of a read or write.
fn moved(call: &mut Call<'_, '_>, to: Ptr, ended: Ended<usize>) -> Result<u32, Fault> {
    match ended {
        // At most what the worker's buffer holds.
        Ended::Done(bytes) => call.memory.write_u32(to, bytes as u32).map(|()| 0),
        Ended::Failed(error) => Ok(number(&Failure::io("cannot read or write", &error))),
        Ended::TimedOut => Ok(Errno::TimedOut.code().into()),
    }
}

/// Gives the process a socket, and writes its handle.
fn give<T>(call: &mut Call<'_, '_>, to: Ptr, socket: Arc<T>) -> Result<u32, Fault>
where
    Arc<T>: Kind,
{
    let handle = add(call, socket)?;
    call.memory.write_u32(to, handle).map(|()| 0)
}

/// The same, without writing.
fn add<T>(call: &mut Call<'_, '_>, socket: Arc<T>) -> Result<u32, Fault>
where
    Arc<T>: Kind,
{
    let id = call.add(socket)?;
    u32::try_from(id).map_err(|_| Fault::new("the process has used up all numbers of handles"))
}

/// What a guest is told of a failure.
fn number(failure: &Failure) -> u32 {
    match failure.code {
        0 => FAILED,
        code => code.into(),
    }
}
