//! Functions about sockets: those that listen are given to a process, those that come in belong to
//! it. Nothing here blocks; who has to wait is woken when the socket is ready.

use std::sync::Arc;

use rustix::net::Shutdown;

use super::descriptors::known_flags;
use super::errno::Errno;
use super::files::{SYSTEM_CALL, Transfer};
use super::flags::fdflags;
use super::iovec;
use super::table::Descriptor;
use crate::bind::Call;
use crate::memory::Ptr;
use crate::net::{self, Socket};
use crate::ready::{self, Interest, Source, Standing, Tried};
use std::os::fd::AsFd;

/// Flags of `sock_recv`.
const PEEK: u32 = 1;
const WAIT_ALL: u32 = 2;

impl Call<'_, '_> {
    /// Makes sure that the process is woken when the object may be ready; `false` if that cannot be
    /// waited for, as it always is. Others, and the pool, may have tried meanwhile: so it looks again.
    pub(super) fn wait_for(
        &mut self,
        object: impl AsFd,
        source: &Arc<Source>,
        interest: Interest,
    ) -> Result<bool, Errno> {
        let node = self.state.node.get();
        let waits = &mut self.files().waits;
        let standing = loop {
            let seen = source.seen();
            match waits.wait((&node.reactor, node), (&object, source), interest, seen)? {
                Standing::Again => {}
                standing => break standing,
            }
        };
        if standing == Standing::Noted && ready::look(&object, interest)?.is_some() {
            // Woken before it parks, it is queued again.
            self.worker.wake(self.state.pid());
        }
        Ok(standing == Standing::Noted)
    }
}

/// The answer of a socket that is not ready.
fn not_ready<T>(
    call: &mut Call<'_, '_>,
    (object, source, flags): (impl AsFd, &Arc<Source>, u16),
    interest: Interest,
) -> Result<Option<T>, Errno> {
    if flags & fdflags::NONBLOCK != 0 {
        return Err(Errno::Again);
    }
    if call.wait_for(object, source, interest)? { Ok(None) } else { Err(Errno::NotSup) }
}

pub(super) fn accept(
    call: &mut Call<'_, '_>,
    fd: u32,
    flags: u32,
    accepted: Ptr,
) -> Result<Option<()>, Errno> {
    let new_flags = known_flags(flags)?;
    if new_flags & !fdflags::NONBLOCK != 0 {
        return Err(Errno::Inval);
    }
    let Descriptor::Listener(listener, flags) = call.descriptor(fd)? else {
        return Err(Errno::NotSock);
    };
    call.memory.slice_mut(accepted, 4)?;
    // Before a connection is taken that the process would have no number for.
    call.has_room()?;
    call.state.charge(SYSTEM_CALL);
    match listener.accept()? {
        Tried::Done((socket, _)) => {
            let fd = call.insert(Descriptor::Socket(Arc::new(socket), new_flags))?;
            call.memory.write_u32(accepted, fd)?;
            Ok(Some(()))
        }
        Tried::NotYet(_) => not_ready(call, (&*listener, &listener.source, flags), Interest::Read),
    }
}

fn socket(call: &Call<'_, '_>, fd: u32) -> Result<(Arc<Socket>, u16), Errno> {
    match call.descriptor(fd)? {
        Descriptor::Socket(socket, flags) => Ok((socket, flags)),
        Descriptor::Listener(..) => Err(Errno::NotConn),
        _ => Err(Errno::NotSock),
    }
}

pub(super) fn recv(
    call: &mut Call<'_, '_>,
    fd: u32,
    transfer: Transfer,
    flags: u32,
    out_flags: Ptr,
) -> Result<Option<()>, Errno> {
    if flags & !(PEEK | WAIT_ALL) != 0 {
        return Err(Errno::Inval);
    }
    let (socket, set) = socket(call, fd)?;
    // A stream has no messages to be cut off.
    call.memory.write(out_flags, &0u16.to_le_bytes())?;
    receive(call, (&socket, set), transfer, flags)
}

/// What has come; with [`WAIT_ALL`], when all of it has.
pub(super) fn receive(
    call: &mut Call<'_, '_>,
    socket: (&Arc<Socket>, u16),
    (buffers, count): Transfer,
    flags: u32,
) -> Result<Option<()>, Errno> {
    call.memory.slice_mut(count, 4)?;
    let buffers = iovec::list(&call.memory, buffers)?;
    let received = receive_some(call, socket, &buffers, flags);
    if let Ok(None) = received {
        return Ok(None);
    }
    let before = std::mem::take(&mut call.state.wasi.bytes_done);
    let bytes = match received {
        Ok(bytes) => before + bytes.unwrap_or(0),
        // What has come before is not lost.
        Err(_) if before > 0 => before,
        Err(error) => return Err(error),
    };
    call.memory.write_u32(count, bytes)?;
    Ok(Some(()))
}

/// The number of bytes behind those that are counted already; they are counted if there must be more.
fn receive_some(
    call: &mut Call<'_, '_>,
    (socket, set): (&Arc<Socket>, u16),
    buffers: &iovec::Buffers,
    flags: u32,
) -> Result<Option<u32>, Errno> {
    let peeks = flags & PEEK != 0;
    let waits_for_all = flags & WAIT_ALL != 0 && !peeks;
    let done = usize::try_from(call.state.wasi.bytes_done).map_err(|_| Errno::Overflow)?;
    let wanted = iovec::total(buffers, u32::MAX as usize) - done;
    call.state.charge(SYSTEM_CALL);
    let tried = net::with_scratch(|scratch| {
        let room = &mut scratch[..wanted.min(net::SCRATCH_BYTES)];
        let tried = socket.receive(room, peeks)?;
        if let Tried::Done(bytes) = tried {
            iovec::scatter_behind(&mut call.memory, buffers, done, &room[..bytes])?;
        }
        Ok::<_, Errno>(tried)
    })?;
    let bytes = match tried {
        Tried::Done(bytes) => bytes,
        Tried::NotYet(_) => {
            return not_ready(call, (&**socket, &socket.source, set), Interest::Read);
        }
    };
    let count = u32::try_from(bytes).map_err(|_| Errno::Overflow)?;
    if waits_for_all && bytes > 0 && bytes < wanted {
        call.state.wasi.bytes_done += count;
        return not_ready(call, (&**socket, &socket.source, set), Interest::Read);
    }
    Ok(Some(count))
}

pub(super) fn sock_send(
    call: &mut Call<'_, '_>,
    fd: u32,
    transfer: Transfer,
    flags: u32,
) -> Result<Option<()>, Errno> {
    if flags != 0 {
        return Err(Errno::Inval);
    }
    let (socket, set) = socket(call, fd)?;
    send(call, (&socket, set), transfer)
}

/// Sends what there is room for, at least a byte.
pub(super) fn send(
    call: &mut Call<'_, '_>,
    (socket, set): (&Arc<Socket>, u16),
    (buffers, count): Transfer,
) -> Result<Option<()>, Errno> {
    call.memory.slice_mut(count, 4)?;
    let buffers = iovec::list(&call.memory, buffers)?;
    call.state.charge(SYSTEM_CALL);
    // A copy: the system's own reading of a guest's memory could fail.
    let tried = net::with_scratch(|scratch| {
        let len = iovec::gather_into(&call.memory, &buffers, scratch)?;
        Ok::<_, Errno>(socket.send(&scratch[..len])?)
    })?;
    match tried {
        Tried::Done(sent) => {
            call.memory.write_u32(count, u32::try_from(sent).map_err(|_| Errno::Overflow)?)?;
            Ok(Some(()))
        }
        Tried::NotYet(_) => not_ready(call, (&**socket, &socket.source, set), Interest::Write),
    }
}

pub(super) fn shutdown(call: &mut Call<'_, '_>, fd: u32, how: u32) -> Result<(), Errno> {
    let how = match how {
        1 => Shutdown::Read,
        2 => Shutdown::Write,
        3 => Shutdown::Both,
        _ => {
            socket(call, fd)?;
            return Err(Errno::Inval);
        }
    };
    // One that listens is shared: no process may close it for the others.
    let (socket, _) = socket(call, fd)?;
    Ok(socket.shutdown(how)?)
}
