//! `lunatic`: TCP of the first months. What more than one interface has is here, the rest in
//! `referenced.rs`, `numbered.rs` and `sided.rs`.
//!
//! The sockets are those of `lunatic::networking`, with its rights and its way to wait; only ids and
//! answers are 32 bits wide. Where these interfaces had one number for any failure, a guest is told
//! WASI's for what has happened.

pub(crate) mod numbered;
pub(crate) mod referenced;
pub(crate) mod sided;

use std::ops::Range;
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
    let listener = socket::<Listener>(call, listener)?;
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
    let stream = socket::<TcpStream>(call, stream)?;
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
    let stream = socket::<TcpStream>(call, stream)?;
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
fn give<T: Ranged>(call: &mut Call<'_, '_>, to: Ptr, socket: Arc<T>) -> Result<u32, Fault>
where
    Arc<T>: Kind,
{
    let handle = add(call, socket)?;
    call.memory.write_u32(to, handle).map(|()| 0)
}

/// The same, without writing.
fn add<T: Ranged>(call: &mut Call<'_, '_>, socket: Arc<T>) -> Result<u32, Fault>
where
    Arc<T>: Kind,
{
    let id = call.add(socket)?;
    let handle = u32::try_from(id).ok().and_then(|id| id.checked_add(T::RANGE.start));
    let used_up = || Fault::new("the process has used up all numbers of handles");
    handle.filter(|handle| T::RANGE.contains(handle)).ok_or_else(used_up)
}

/// Sockets that have handles. Crate 0.2 drops handles without a word of what they are of, and writes
/// to streams as to descriptors: so each kind has its own, apart from all others.
pub(super) trait Ranged: Sized {
    const RANGE: Range<u32>;
}

impl Ranged for Listener {
    const RANGE: Range<u32> = 0x8000_0000..0xa000_0000;
}

impl Ranged for TcpStream {
    const RANGE: Range<u32> = 0xa000_0000..u32::MAX;
}

/// The id of what has this handle.
fn id_of<T: Ranged>(handle: u32) -> Result<u64, Fault>
where
    Arc<T>: Kind,
{
    let none = || {
        Fault::new(format!("the process has no {} with number {handle}", <Arc<T> as Kind>::NAME))
    };
    if !T::RANGE.contains(&handle) {
        return Err(none());
    }
    Ok(u64::from(handle - T::RANGE.start))
}

/// What has this handle.
fn socket<T: Ranged>(call: &Call<'_, '_>, handle: u32) -> Result<Arc<T>, Fault>
where
    Arc<T>: Kind,
{
    call.shared::<T>(id_of::<T>(handle)?)
}

/// Gives a handle up; the last who does closes the socket.
pub(super) fn give_up<T: Ranged>(call: &mut Call<'_, '_>, handle: u32) -> Result<(), Fault>
where
    Arc<T>: Kind,
{
    call.give_up::<Arc<T>>(id_of::<T>(handle)?)
}

/// Another handle of the same socket.
pub(super) fn another<T: Ranged>(call: &mut Call<'_, '_>, handle: u32) -> Result<u32, Fault>
where
    Arc<T>: Kind,
{
    let socket = socket::<T>(call, handle)?;
    add(call, socket)
}

/// What a guest is told of a failure.
fn number(failure: &Failure) -> u32 {
    match failure.code {
        0 => FAILED,
        code => code.into(),
    }
}
