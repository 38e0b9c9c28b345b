//! TCP: listeners and streams.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;

use rustix::io::Errno;
use rustix::net::Shutdown;

use super::{AddressAt, Ended, SYSTEM_CALL, gather, poll};
use crate::api::message::TIMEOUT;
use crate::bind::{Call, Fault, host_functions};
use crate::guest_type::{Buffers, Bytes, In, Out};
use crate::memory::Ptr;
use crate::net::{
    Addresses, Connecting, Failure, Listener, Pending, Socket, TcpStream, with_scratch,
};
use crate::ready::Interest;

/// How long an accept that finds no room for another open file takes to say so: a server that asks
/// again at once shall not spin. By feel.
const PAUSE_MS: u64 = 10;

host_functions! {
    /// TCP. Streams are shared by all who hold an id of them, in any process, with their timeouts.
    /// What is written goes out at once (`TCP_NODELAY` is set), unless the other side does not read:
    /// then the writer waits. Another side that has vanished without a farewell is found out after two
    /// minutes without a word (`SO_KEEPALIVE` is set), and is an error then.
    pub(crate) MODULE: "lunatic::networking";

    /// Listens on an address; port 0 lets the system choose one, which `tcp_local_addr` tells. At `[::]` it
    /// hears from IPv4, too, by mapped addresses, if the process may listen at `0.0.0.0` and that port. 0:
    /// the listener's id is at `id_u64_ptr`. 1: an error id is.
    fn tcp_bind(
        call, addr_type: u32, addr_u8_ptr: In<u8>, port: u32, flow_info: u32, scope_id: u32,
        id_u64_ptr: Out<u64>,
    ) -> Result<u32, Fault> {
        let at = AddressAt { kind: addr_type, bytes: addr_u8_ptr, port, flow_info, scope_id };
        match bind(call, at, id_u64_ptr)? {
            Ok(listener) => {
                let id = call.add(Arc::new(listener))?;
                call.done(id_u64_ptr, id)
            }
            Err(failure) => call.failed(id_u64_ptr, failure),
        }
    }

    /// Gives up a listener; the last who does closes it. Traps if there is none with this id.
    fn drop_tcp_listener(call, tcp_listener_id: u64) -> Result<(), Fault> {
        call.give_up::<Arc<Listener>>(tcp_listener_id)
    }

    /// Another id of the same listener. Several processes may accept from one, and each connection goes
    /// to one of them.
    fn clone_tcp_listener(call, tcp_listener_id: u64) -> Result<u64, Fault> {
        let listener = call.shared::<Listener>(tcp_listener_id)?;
        call.add(listener)
    }

    /// Where a listener listens. 0: the id of an iterator over one address is at `id_u64_ptr`. 1: an
    /// error id is.
    fn tcp_local_addr(call, tcp_listener_id: u64, id_u64_ptr: Out<u64>) -> Result<u32, Fault> {
        let local = call.shared::<Listener>(tcp_listener_id)?.local();
        call.tell_address(id_u64_ptr, "cannot tell where a socket listens", local)
    }

    /// Waits for a connection. 0: the stream's id is at `id_u64_ptr`, that of an iterator over the other
    /// side's address at `socket_addr_id_ptr`. 1: an error id is at `id_u64_ptr`; the listener goes on
    /// listening.
    fn tcp_accept(
        call, listener_id: u64, id_u64_ptr: Out<u64>, socket_addr_id_ptr: Out<u64>,
    ) -> Poll<Result<u32, Fault>> {
        poll(accept(call, listener_id, u64::MAX, (id_u64_ptr, socket_addr_id_ptr)))
    }

    /// The same, with a limit to the time. 9027: it has passed.
    fn tcp_accept_timeout(
        call, listener_id: u64, timeout: u64, id_u64_ptr: Out<u64>, socket_addr_id_ptr: Out<u64>,
    ) -> Poll<Result<u32, Fault>> {
        poll(accept(call, listener_id, timeout, (id_u64_ptr, socket_addr_id_ptr)))
    }

    /// Connects to an address. 0: the stream's id is at `id_u64_ptr`. 1 and 9027: an error id is.
    fn tcp_connect(
        call, addr_type: u32, addr_u8_ptr: In<u8>, port: u32, flow_info: u32, scope_id: u32,
        timeout: u64, id_u64_ptr: Out<u64>,
    ) -> Poll<Result<u32, Fault>> {
        let at = AddressAt { kind: addr_type, bytes: addr_u8_ptr, port, flow_info, scope_id };
        poll(connect(call, at, timeout, id_u64_ptr))
    }

    /// The address of the other side. 0: the id of an iterator over one address is at `id_u64_ptr`. 1: an
    /// error id is, as there is nobody any more.
    fn tcp_peer_addr(call, tcp_stream_id: u64, id_u64_ptr: Out<u64>) -> Result<u32, Fault> {
        let peer = call.shared::<TcpStream>(tcp_stream_id)?.peer();
        call.tell_address(id_u64_ptr, "cannot tell the address of the other side", peer)
    }

    /// The address of this side, as `tcp_peer_addr`.
    fn tcp_stream_local_addr(call, tcp_stream_id: u64, id_u64_ptr: Out<u64>) -> Result<u32, Fault> {
        let local = call.shared::<TcpStream>(tcp_stream_id)?.local();
        call.tell_address(id_u64_ptr, "cannot tell the address of this side", local)
    }

    /// Gives up an id of a stream; the last who does closes it. Traps if there is none with this id.
    fn drop_tcp_stream(call, tcp_stream_id: u64) -> Result<(), Fault> {
        call.give_up::<Arc<TcpStream>>(tcp_stream_id)
    }

    /// Another id of the same stream.
    fn clone_tcp_stream(call, tcp_stream_id: u64) -> Result<u64, Fault> {
        let stream = call.shared::<TcpStream>(tcp_stream_id)?;
        call.add(stream)
    }

    /// Writes what is in `ciovec_array_len` buffers, records of an address and a length (u32 each), and
    /// waits until there is room for a part of it. 0: how many bytes were taken (u64) is at
    /// `opaque_ptr`; up to 64 KiB of the first 1024 buffers, perhaps fewer than there are. 1: an error id is. 9027: the stream's
    /// time for writing has passed, and nothing was taken.
    fn tcp_write_vectored(
        call, stream_id: u64, ciovec_array_ptr: In<Buffers>, ciovec_array_len: u32, opaque_ptr: Out<u64>,
    ) -> Poll<Result<u32, Fault>> {
        poll(write(call, stream_id, (ciovec_array_ptr, ciovec_array_len), opaque_ptr))
    }

    /// Reads what there is, up to 64 KiB, waiting for at least a byte. 0: how many bytes (u64) is at
    /// `opaque_ptr`; none: the other side has ended. 1: an error id is. 9027: the stream's time for
    /// reading has passed.
    fn tcp_read(
        call, stream_id: u64, buffer_ptr: Out<Bytes>, buffer_len: u32, opaque_ptr: Out<u64>,
    ) -> Poll<Result<u32, Fault>> {
        poll(read(call, stream_id, (buffer_ptr, buffer_len), opaque_ptr, false))
    }

    /// The same, but what was read is left for the next one. The time is that for peeking.
    fn tcp_peek(
        call, stream_id: u64, buffer_ptr: Out<Bytes>, buffer_len: u32, opaque_ptr: Out<u64>,
    ) -> Poll<Result<u32, Fault>> {
        poll(read(call, stream_id, (buffer_ptr, buffer_len), opaque_ptr, true))
    }

    /// Always 0: what was written is with the system already.
    fn tcp_flush(call, stream_id: u64, error_id_ptr: Out<u64>) -> Result<u32, Fault> {
        call.memory.slice_mut(error_id_ptr, 8)?;
        call.shared::<TcpStream>(stream_id)?;
        Ok(0)
    }

    /// Ends reading (1), writing (2: the other side reads to the end) or both (3) for all who hold the
    /// stream. 0: done. 1: an error id is at `error_id_ptr`.
    fn tcp_shutdown(call, stream_id: u64, how: u32, error_id_ptr: Out<u64>) -> Result<u32, Fault> {
        let stream = call.shared::<TcpStream>(stream_id)?;
        let how = match how {
            1 => Shutdown::Read,
            2 => Shutdown::Write,
            3 => Shutdown::Both,
            _ => return Err(Fault::new(format!("{how} is no way to shut down: 1, 2 or 3"))),
        };
        match stream.shutdown(how) {
            Ok(()) => Ok(0),
            Err(error) => call.failed(error_id_ptr, Failure::os("cannot shut down a stream", error)),
        }
    }

    /// 1 if small pieces are sent at once, as they are from the beginning; 0 if they wait for an answer
    /// to those before.
    fn get_nodelay(call, stream_id: u64) -> Result<u32, Fault> {
        let nodelay = call.shared::<TcpStream>(stream_id)?.nodelay();
        Ok(u32::from(nodelay.unwrap_or(true)))
    }

    /// Sets that. On a connection that has ended nothing happens.
    fn set_nodelay(call, stream_id: u64, nodelay: u32) -> Result<(), Fault> {
        let _ended = call.shared::<TcpStream>(stream_id)?.set_nodelay(nodelay != 0);
        Ok(())
    }

    /// Sets the stream's time for reading, for all who hold it.
    fn set_read_timeout(call, stream_id: u64, duration: u64) -> Result<(), Fault> {
        call.shared::<TcpStream>(stream_id)?.timeouts.read.set(duration);
        Ok(())
    }

    /// The stream's time for reading; at first there is no limit.
    fn get_read_timeout(call, stream_id: u64) -> Result<u64, Fault> {
        Ok(call.shared::<TcpStream>(stream_id)?.timeouts.read.get())
    }

    /// Sets the stream's time for writing, for all who hold it.
    fn set_write_timeout(call, stream_id: u64, duration: u64) -> Result<(), Fault> {
        call.shared::<TcpStream>(stream_id)?.timeouts.write.set(duration);
        Ok(())
    }

    /// The stream's time for writing; at first there is no limit.
    fn get_write_timeout(call, stream_id: u64) -> Result<u64, Fault> {
        Ok(call.shared::<TcpStream>(stream_id)?.timeouts.write.get())
    }

    /// Sets the stream's time for peeking, for all who hold it.
    fn set_peek_timeout(call, stream_id: u64, duration: u64) -> Result<(), Fault> {
        call.shared::<TcpStream>(stream_id)?.timeouts.peek.set(duration);
        Ok(())
    }

    /// The stream's time for peeking; at first there is no limit.
    fn get_peek_timeout(call, stream_id: u64) -> Result<u64, Fault> {
        Ok(call.shared::<TcpStream>(stream_id)?.timeouts.peek.get())
    }
}

/// A new listener, or why there is none.
pub(super) fn bind(
    call: &mut Call<'_, '_>,
    at: AddressAt,
    to: Ptr,
) -> Result<Result<Listener, Failure>, Fault> {
    call.memory.slice_mut(to, 8)?;
    let address = at.read(&call.memory)?;
    Ok(listen(call, address))
}

/// The same at an address that is known.
pub(in crate::api) fn listen(
    call: &mut Call<'_, '_>,
    address: SocketAddr,
) -> Result<Listener, Failure> {
    may_listen(call, address)?;
    call.state.charge(SYSTEM_CALL);
    let tried = || format!("cannot listen on {address}");
    let reach = call.state.reach(address);
    Listener::bind(address, reach).map_err(|error| Failure::os(tried(), error))
}

/// Whether the process may listen there, or why not.
pub(super) fn may_listen(call: &mut Call<'_, '_>, address: SocketAddr) -> Result<(), Failure> {
    let allowed = call.state.may_listen(address);
    allowed.map_err(|refused| Failure::refused(format!("cannot listen on {address}: {refused}")))
}

fn accept(
    call: &mut Call<'_, '_>,
    id: u64,
    timeout: u64,
    (stream_at, peer_at): (Ptr, Ptr),
) -> Result<Option<u32>, Fault> {
    call.memory.slice_mut(stream_at, 8)?;
    call.memory.slice_mut(peer_at, 8)?;
    let listener = call.shared::<Listener>(id)?;
    let accepted = match accept_socket(call, &listener, timeout)? {
        None => return Ok(None),
        Some(accepted) => accepted,
    };
    match accepted {
        Ended::Done((socket, peer)) => {
            let id = call.add(Arc::new(TcpStream::new(socket)))?;
            let peer = call.add(Addresses::new([peer]))?;
            call.memory.write_u64(peer_at, peer)?;
            call.done(stream_at, id).map(Some)
        }
        Ended::Failed(error) => {
            call.failed(stream_at, Failure::io("cannot accept a connection", &error)).map(Some)
        }
        Ended::TimedOut => Ok(Some(TIMEOUT)),
    }
}

/// The next connection of a listener. Without room for an open file it takes a pause before it says so.
pub(in crate::api) fn accept_socket(
    call: &mut Call<'_, '_>,
    listener: &Arc<Listener>,
    timeout: u64,
) -> Result<Option<Ended<(Socket, SocketAddr)>>, Fault> {
    if let Some(paused) = Paused::go_on(call) {
        return Ok(paused.map(|error| Ended::Failed(error.into())));
    }
    // Before a connection is taken that the process would have no number for.
    if !call.state.resources.has_room_for(2, call.state.config.resources_max) {
        return Ok(Some(Ended::Failed(Errno::MFILE.into())));
    }
    call.state.charge(SYSTEM_CALL);
    let place = (&**listener, &listener.source);
    let mut failed = None;
    let ended = call.until_done(timeout, place, Interest::Read, |_| {
        Ok(listener.accept().inspect_err(|error| failed = Some(*error)).map_err(Into::into))
    })?;
    match failed {
        Some(error) if pause(call, error) => Ok(None),
        _ => Ok(ended),
    }
}

/// A pause before an error is told.
pub(super) struct Paused;

impl Paused {
    /// `None`: there is no pause. Else the error, when it is over.
    pub(super) fn go_on(call: &mut Call<'_, '_>) -> Option<Option<Errno>> {
        let Some(Pending::Pause(error)) = call.state.resources.net().pending else { return None };
        if call.timed_out(PAUSE_MS) {
            return Some(Some(error));
        }
        call.wake_at_deadline();
        Some(None)
    }
}

/// Begins a pause, if the error is one that stays for a while.
pub(super) fn pause(call: &mut Call<'_, '_>, error: Errno) -> bool {
    if !matches!(error, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) {
        return false;
    }
    call.restart_wait();
    call.state.resources.net().pending = Some(Pending::Pause(error));
    call.timed_out(PAUSE_MS);
    call.wake_at_deadline();
    true
}

fn connect(
    call: &mut Call<'_, '_>,
    at: AddressAt,
    timeout: u64,
    to: Ptr,
) -> Result<Option<u32>, Fault> {
    call.memory.slice_mut(to, 8)?;
    let address = at.read(&call.memory)?;
    let ended = match connect_to(call, address, timeout)? {
        None => return Ok(None),
        Some(ended) => ended,
    };
    let tried = || format!("cannot connect to {address}");
    match ended {
        Ok(Ended::Done(socket)) => {
            let id = call.add(Arc::new(TcpStream::new(socket)))?;
            call.done(to, id).map(Some)
        }
        Ok(Ended::Failed(error)) => call.failed(to, Failure::io(tried(), &error)).map(Some),
        Ok(Ended::TimedOut) => {
            call.timed_out_with(to, Failure::timed_out(tried(), timeout)).map(Some)
        }
        Err(refused) => {
            call.failed(to, Failure::refused(format!("{}: {refused}", tried()))).map(Some)
        }
    }
}

/// A connection to an address, or the rule that forbids it.
#[allow(clippy::type_complexity, reason = "not yet, a fault, refused, or how it ended")]
pub(in crate::api) fn connect_to(
    call: &mut Call<'_, '_>,
    address: SocketAddr,
    timeout: u64,
) -> Result<Option<Result<Ended<Socket>, String>>, Fault> {
    let connecting = match call.state.resources.net().pending.take() {
        Some(Pending::Connecting(connecting)) => connecting,
        _ => {
            if let Err(refused) = call.state.may_connect(address) {
                return Ok(Some(Err(refused.to_string())));
            }
            call.state.charge(SYSTEM_CALL);
            match Connecting::new(address) {
                Ok(connecting) => connecting,
                Err(error) => return Ok(Some(Ok(Ended::Failed(error.into())))),
            }
        }
    };
    let socket = connecting.socket();
    let place = (socket, &socket.source);
    let ended = call.until_done(timeout, place, Interest::Write, |_| {
        Ok(connecting.attempt().map_err(Into::into))
    })?;
    Ok(match ended {
        Some(Ended::Done(())) => Some(Ok(Ended::Done(connecting.into_socket()))),
        Some(Ended::Failed(error)) => Some(Ok(Ended::Failed(error))),
        Some(Ended::TimedOut) => Some(Ok(Ended::TimedOut)),
        None => {
            call.state.resources.net().pending = Some(Pending::Connecting(connecting));
            None
        }
    })
}

fn write(
    call: &mut Call<'_, '_>,
    id: u64,
    buffers: (Ptr, u32),
    count: Ptr,
) -> Result<Option<u32>, Fault> {
    call.memory.slice_mut(count, 8)?;
    let stream = call.shared::<TcpStream>(id)?;
    let ended = write_some(call, &stream, buffers)?;
    ended.map(|ended| call.answer(count, "cannot write to a stream", ended)).transpose()
}

/// Writes what there is room for of a list of buffers; how many bytes.
pub(in crate::api) fn write_some(
    call: &mut Call<'_, '_>,
    stream: &TcpStream,
    buffers: (Ptr, u32),
) -> Result<Option<Ended<usize>>, Fault> {
    call.state.charge(SYSTEM_CALL);
    let (timeout, place) = (stream.timeouts.write.get(), (&**stream, &stream.source));
    call.until_done(timeout, place, Interest::Write, |call| {
        with_scratch(|scratch| {
            let len = gather(&call.memory, buffers, scratch)?;
            Ok(stream.send(&scratch[..len]).map_err(Into::into))
        })
    })
}

fn read(
    call: &mut Call<'_, '_>,
    id: u64,
    (buffer, len): (Ptr, u32),
    count: Ptr,
    peek: bool,
) -> Result<Option<u32>, Fault> {
    call.memory.slice_mut(count, 8)?;
    call.memory.slice_mut(buffer, len)?;
    let stream = call.shared::<TcpStream>(id)?;
    call.state.charge(SYSTEM_CALL);
    let timeouts = &stream.timeouts;
    let timeout = if peek { timeouts.peek.get() } else { timeouts.read.get() };
    let place = (&**stream, &stream.source);
    let ended = call.fill((buffer, len), timeout, place, |into| {
        stream.receive(into, peek).map_err(Into::into)
    })?;
    ended.map(|ended| call.answer(count, "cannot read from a stream", ended)).transpose()
}
