//! UDP: datagrams.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;

use super::{AddressAt, Ended, SYSTEM_CALL, poll, room};
use crate::api::message::TIMEOUT;
use crate::bind::{Call, Fault, host_functions};
use crate::guest_type::{Bytes, In, Out};
use crate::memory::Ptr;
use crate::net::{Addresses, Failure, SCRATCH_BYTES, UdpSocket, with_scratch};
use crate::ready::{Interest, Tried};

host_functions! {
    /// UDP. A datagram that is longer than the buffer for it is cut off there.
    pub(crate) MODULE: "lunatic::networking";

    /// Makes a socket that receives at an address; port 0 lets the system choose one. 0: the socket's id
    /// is at `id_u64_ptr`. 1: an error id is. If the process may connect, and not listen there, datagrams
    /// reach it from those only to whom it may send. One that listens at `[::]` exchanges datagrams with
    /// IPv4, too, by mapped addresses, if the process may listen at `0.0.0.0` and that port.
    fn udp_bind(
        call, addr_type: u32, addr_u8_ptr: In<u8>, port: u32, flow_info: u32, scope_id: u32,
        id_u64_ptr: Out<u64>,
    ) -> Result<u32, Fault> {
        let at = AddressAt { kind: addr_type, bytes: addr_u8_ptr, port, flow_info, scope_id };
        bind(call, at, id_u64_ptr)
    }

    /// Gives up an id of a socket; the last who does closes it. Traps if there is none with this id.
    fn drop_udp_socket(call, udp_socket_id: u64) -> Result<(), Fault> {
        call.give_up::<Arc<UdpSocket>>(udp_socket_id)
    }

    /// Where a socket receives. 0: the id of an iterator over one address is at `id_u64_ptr`. 1: an error
    /// id is.
    fn udp_local_addr(call, udp_socket_id: u64, id_u64_ptr: Out<u64>) -> Result<u32, Fault> {
        let local = call.shared::<UdpSocket>(udp_socket_id)?.local();
        call.tell_address(id_u64_ptr, "cannot tell the address of a socket", local)
    }

    /// Whom a socket is connected to. 0: the id of an iterator over one address is at `id_u64_ptr`. 1: to
    /// nobody. 2: an error id is there.
    fn udp_peer_addr(call, udp_socket_id: u64, id_u64_ptr: Out<u64>) -> Result<u32, Fault> {
        call.memory.slice_mut(id_u64_ptr, 8)?;
        match call.shared::<UdpSocket>(udp_socket_id)?.peer() {
            Ok(None) => Ok(1),
            Ok(Some(peer)) => {
                let id = call.add(Addresses::new([peer]))?;
                call.done(id_u64_ptr, id)
            }
            Err(error) => {
                let tried = "cannot tell whom a socket is connected to";
                call.failed(id_u64_ptr, Failure::os(tried, error))?;
                Ok(2)
            }
        }
    }

    /// Connects a socket: it receives from this address only, and `udp_send` sends there. Never waits,
    /// whatever the timeout. 0: done, and 0 is at `id_u64_ptr`. 1: an error id is there.
    fn udp_connect(
        call, udp_socket_id: u64, addr_type: u32, addr_u8_ptr: In<u8>, port: u32, flow_info: u32,
        scope_id: u32, timeout: u64, id_u64_ptr: Out<u64>,
    ) -> Result<u32, Fault> {
        let _ = timeout;
        let at = AddressAt { kind: addr_type, bytes: addr_u8_ptr, port, flow_info, scope_id };
        connect(call, udp_socket_id, at, id_u64_ptr)
    }

    /// Waits for a datagram. 0: how many bytes of it were written to the buffer (u64) is at `opaque_ptr`.
    /// 1: an error id is.
    fn udp_receive(
        call, socket_id: u64, buffer_ptr: Out<Bytes>, buffer_len: u32, opaque_ptr: Out<u64>,
    ) -> Poll<Result<u32, Fault>> {
        poll(receive(call, (socket_id, u64::MAX), (buffer_ptr, buffer_len), opaque_ptr, None))
    }

    /// The same, and the id of an iterator over the sender's address is at `dns_iter_ptr`.
    fn udp_receive_from(
        call, socket_id: u64, buffer_ptr: Out<Bytes>, buffer_len: u32, opaque_ptr: Out<u64>, dns_iter_ptr: Out<u64>,
    ) -> Poll<Result<u32, Fault>> {
        let sender = Some(dns_iter_ptr);
        poll(receive(call, (socket_id, u64::MAX), (buffer_ptr, buffer_len), opaque_ptr, sender))
    }

    /// The same, with a limit to the time. 9027: it has passed.
    fn udp_receive_from_timeout(
        call, socket_id: u64, buffer_ptr: Out<Bytes>, buffer_len: u32, timeout: u64, opaque_ptr: Out<u64>,
        dns_iter_ptr: Out<u64>,
    ) -> Poll<Result<u32, Fault>> {
        let sender = Some(dns_iter_ptr);
        poll(receive(call, (socket_id, timeout), (buffer_ptr, buffer_len), opaque_ptr, sender))
    }

    /// Sends a datagram to whom the socket is connected to. 0: how many bytes (u64) is at `opaque_ptr`. 1:
    /// an error id is.
    fn udp_send(
        call, socket_id: u64, buffer_ptr: In<Bytes>, buffer_len: u32, opaque_ptr: Out<u64>,
    ) -> Poll<Result<u32, Fault>> {
        poll(send(call, socket_id, (buffer_ptr, buffer_len), None, opaque_ptr))
    }

    /// The same, to an address.
    fn udp_send_to(
        call, socket_id: u64, buffer_ptr: In<Bytes>, buffer_len: u32, addr_type: u32, addr_u8_ptr: In<u8>,
        port: u32, flow_info: u32, scope_id: u32, opaque_ptr: Out<u64>,
    ) -> Poll<Result<u32, Fault>> {
        let to = AddressAt { kind: addr_type, bytes: addr_u8_ptr, port, flow_info, scope_id };
        poll(send(call, socket_id, (buffer_ptr, buffer_len), Some(to), opaque_ptr))
    }

    /// Another id of the same socket.
    fn clone_udp_socket(call, udp_socket_id: u64) -> Result<u64, Fault> {
        let socket = call.shared::<UdpSocket>(udp_socket_id)?;
        call.add(socket)
    }

    /// Allows to send to all in a network (1) or not (0). Traps if the system refuses.
    fn set_udp_socket_broadcast(call, udp_socket_id: u64, broadcast: u32) -> Result<(), Fault> {
        let socket = call.shared::<UdpSocket>(udp_socket_id)?;
        refuse("broadcast", socket.set_broadcast(broadcast != 0).map_err(Into::into))
    }

    /// Whether that is allowed. Traps if the system does not tell.
    fn get_udp_socket_broadcast(call, udp_socket_id: u64) -> Result<i32, Fault> {
        let broadcast = call.shared::<UdpSocket>(udp_socket_id)?.broadcast();
        Ok(i32::from(refuse("broadcast", broadcast.map_err(Into::into))?))
    }

    /// Sets how many networks a datagram may pass, 1 to 255. Traps if the system refuses.
    fn set_udp_socket_ttl(call, udp_socket_id: u64, ttl: u32) -> Result<(), Fault> {
        refuse("time to live", call.shared::<UdpSocket>(udp_socket_id)?.set_ttl(ttl))
    }

    /// How many that are. Traps if the system does not tell.
    fn get_udp_socket_ttl(call, udp_socket_id: u64) -> Result<u32, Fault> {
        refuse("time to live", call.shared::<UdpSocket>(udp_socket_id)?.ttl())
    }
}

/// These functions have no place for an error.
fn refuse<T>(what: &str, result: std::io::Result<T>) -> Result<T, Fault> {
    result.map_err(|error| Fault::new(format!("the {what} of a UDP socket: {error}")))
}

fn bind(call: &mut Call<'_, '_>, at: AddressAt, to: Ptr) -> Result<u32, Fault> {
    call.memory.slice_mut(to, 8)?;
    let address = at.read(&call.memory)?;
    let tried = || format!("cannot receive datagrams at {address}");
    if let Err(refused) = call.state.may_bind_datagrams(address) {
        return call.failed(to, Failure::refused(format!("{}: {refused}", tried())));
    }
    call.state.charge(SYSTEM_CALL);
    let bound = if call.state.listens(address) {
        UdpSocket::listen(address, call.state.reach(address))
    } else {
        UdpSocket::talk(address)
    };
    match bound {
        Ok(socket) => {
            let id = call.add(Arc::new(socket))?;
            call.done(to, id)
        }
        Err(error) => call.failed(to, Failure::os(tried(), error)),
    }
}

fn connect(call: &mut Call<'_, '_>, id: u64, at: AddressAt, to: Ptr) -> Result<u32, Fault> {
    call.memory.slice_mut(to, 8)?;
    let address = at.read(&call.memory)?;
    let socket = call.shared::<UdpSocket>(id)?;
    let tried = || format!("cannot connect a UDP socket to {address}");
    if let Err(refused) = call.state.may_connect(address) {
        return call.failed(to, Failure::refused(format!("{}: {refused}", tried())));
    }
    match socket.connect(address) {
        Ok(()) => call.done(to, 0),
        Err(error) => call.failed(to, Failure::os(tried(), error)),
    }
}

fn receive(
    call: &mut Call<'_, '_>,
    (id, timeout): (u64, u64),
    (buffer, len): (Ptr, u32),
    count: Ptr,
    sender: Option<Ptr>,
) -> Result<Option<u32>, Fault> {
    call.memory.slice_mut(count, 8)?;
    call.memory.slice_mut(buffer, len)?;
    if let Some(sender) = sender {
        call.memory.slice_mut(sender, 8)?;
    }
    let socket = call.shared::<UdpSocket>(id)?;
    call.state.charge(SYSTEM_CALL);
    let place = (&*socket, &socket.source);
    let ended = call.until_done(timeout, place, Interest::Read, |call| {
        with_scratch(|scratch| {
            let scratch = &mut scratch[..room(len)];
            Ok(match socket.receive(scratch) {
                Ok(Tried::Done((bytes, from))) => {
                    let heard = hears(call, &socket, from);
                    if heard {
                        call.memory.write(buffer, &scratch[..bytes])?;
                    }
                    Ok(Tried::Done(heard.then_some((bytes, from))))
                }
                Ok(Tried::NotYet(seen)) => Ok(Tried::NotYet(seen)),
                Err(error) => Err(error.into()),
            })
        })
    })?;
    let Some(ended) = ended else { return Ok(None) };
    let answer = match ended {
        Ended::Done(None) if call.timed_out(timeout) => TIMEOUT,
        Ended::Done(None) => {
            // There may be many of those: others have a turn before the next one.
            call.worker.wake(call.state.pid());
            return Ok(None);
        }
        Ended::Done(Some((bytes, from))) => {
            if let Some(sender) = sender {
                let id = call.add(Addresses::new([from]))?;
                call.memory.write_u64(sender, id)?;
            }
            call.done(count, bytes as u64)?
        }
        Ended::Failed(error) => {
            call.failed(count, Failure::io("cannot receive a datagram", &error))?
        }
        Ended::TimedOut => TIMEOUT,
    };
    Ok(Some(answer))
}

/// Whether a datagram from this address is for the process: if its socket listens, or is connected (the
/// system then drops all others), or the process may talk to that address.
fn hears(call: &Call<'_, '_>, socket: &UdpSocket, from: SocketAddr) -> bool {
    socket.listens || call.state.connects(from) || matches!(socket.peer(), Ok(Some(_)))
}

fn send(
    call: &mut Call<'_, '_>,
    id: u64,
    (buffer, len): (Ptr, u32),
    to: Option<AddressAt>,
    count: Ptr,
) -> Result<Option<u32>, Fault> {
    call.memory.slice_mut(count, 8)?;
    call.memory.slice(buffer, len)?;
    let socket = call.shared::<UdpSocket>(id)?;
    let to = to.map(|to| to.read(&call.memory)).transpose()?;
    if let Some(to) = to
        && let Err(refused) = call.state.may_connect(to)
    {
        let text = format!("cannot send a datagram to {to}: {refused}");
        return call.failed(count, Failure::refused(text)).map(Some);
    }
    if room(len) < len as usize {
        let text = format!("cannot send a datagram of {len} bytes: {SCRATCH_BYTES} are too many");
        return call.failed(count, Failure::invalid(text)).map(Some);
    }
    call.state.charge(SYSTEM_CALL);
    let place = (&*socket, &socket.source);
    let ended = call.until_done(u64::MAX, place, Interest::Write, |call| {
        with_scratch(|scratch| {
            let bytes = call.memory.slice(buffer, len)?;
            let scratch = &mut scratch[..bytes.len()];
            scratch.copy_from_slice(bytes);
            Ok(socket.send(scratch, to).map_err(Into::into))
        })
    })?;
    ended.map(|ended| call.answer(count, "cannot send a datagram", ended)).transpose()
}
