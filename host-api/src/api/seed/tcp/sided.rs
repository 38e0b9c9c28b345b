//! TCP of the crate 0.3.4 to 0.3.10: listeners and streams that are closed, connect, and travel beside
//! a message's bytes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::Poll;

use super::{add, give, give_up, number, socket};
use crate::api::networking::tcp::{connect_to, listen};
use crate::api::networking::{Ended, poll};
use crate::api::seed::FOREVER;
use crate::api::seed::sided::{attach, take};
use crate::api::wasi::Errno;
use crate::bind::{Call, Fault, host_functions};
use crate::memory::{GuestMemory, Ptr};
use crate::message::Resource;
use crate::net::{Failure, Listener, TcpStream};

host_functions! {
    /// TCP of programs built with the crate `lunatic` 0.3.4 to 0.3.10. An address is a pointer to 4
    /// or 16 bytes in network order, their count, and a port. Functions that listen or connect answer
    /// 0 for success, else WASI's number of the error.
    pub(crate) MODULE: "lunatic";

    /// Listens at an address; port 0 lets the system choose one. 0: the listener's handle (u32) is at
    /// `listener_ptr`.
    fn tcp_bind(
        call, ip_ptr: Ptr, ip_len: u32, port: u32, listener_ptr: Ptr,
    ) -> Result<u32, Fault> {
        call.memory.slice_mut(listener_ptr, 4)?;
        let address = address(&call.memory, (ip_ptr, ip_len), port)?;
        match listen(call, address) {
            Ok(listener) => give(call, listener_ptr, Arc::new(listener)),
            Err(failure) => Ok(number(&failure)),
        }
    }

    /// Connects to an address, waiting as long as the system does. 0: the stream's handle (u32) is at
    /// `stream_ptr`.
    fn tcp_connect(
        call, ip_ptr: Ptr, ip_len: u32, port: u32, stream_ptr: Ptr,
    ) -> Poll<Result<u32, Fault>> {
        poll(connect(call, (ip_ptr, ip_len), port, stream_ptr))
    }

    /// Always 0: what was written is with the system already.
    fn tcp_flush(call, stream: u32) -> Result<u32, Fault> {
        socket::<TcpStream>(call, stream).map(|_| 0)
    }

    /// Gives up a listener; the last who does closes it. Traps if it is unknown.
    fn close_tcp_listener(call, listener: u32) -> Result<(), Fault> {
        give_up::<Listener>(call, listener)
    }

    /// Gives up a stream; the last who does closes it. Traps if it is unknown.
    fn close_tcp_stream(call, stream: u32) -> Result<(), Fault> {
        give_up::<TcpStream>(call, stream)
    }

    /// Attaches a listener to the next message; the process keeps its own. Answers the place of the
    /// attachment.
    fn tcp_listener_serialize(call, listener: u32) -> Result<u32, Fault> {
        let listener = socket::<Listener>(call, listener)?;
        attach(call, Resource::TcpListener(listener))
    }

    /// Takes a listener from the last message. Traps if there is none at this place.
    fn tcp_listener_deserialize(call, place: u32) -> Result<u32, Fault> {
        match take(call, place) {
            Some(Resource::TcpListener(listener)) => add(call, listener),
            _ => Err(Fault::new(format!("the last message has no TCP listener at {place}"))),
        }
    }

    /// Attaches a stream to the next message; the process keeps its own.
    fn tcp_stream_serialize(call, stream: u32) -> Result<u32, Fault> {
        let stream = socket::<TcpStream>(call, stream)?;
        attach(call, Resource::TcpStream(stream))
    }

    /// Takes a stream from the last message. Traps if there is none at this place.
    fn tcp_stream_deserialize(call, place: u32) -> Result<u32, Fault> {
        match take(call, place) {
            Some(Resource::TcpStream(stream)) => add(call, stream),
            _ => Err(Fault::new(format!("the last message has no TCP stream at {place}"))),
        }
    }
}

fn address(
    memory: &GuestMemory<'_>,
    (at, len): (Ptr, u32),
    port: u32,
) -> Result<SocketAddr, Fault> {
    let port = u16::try_from(port)
        .map_err(|_| Fault::new(format!("{port} is no port: they end at 65535")))?;
    let bytes = memory.slice(at, len)?;
    let ip = <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .map_err(|_| Fault::new(format!("an address of {len} bytes: they have 4 or 16")))?;
    Ok(SocketAddr::new(ip, port))
}

fn connect(
    call: &mut Call<'_, '_>,
    ip: (Ptr, u32),
    port: u32,
    to: Ptr,
) -> Result<Option<u32>, Fault> {
    call.memory.slice_mut(to, 4)?;
    let address = address(&call.memory, ip, port)?;
    let Some(ended) = connect_to(call, address, FOREVER)? else { return Ok(None) };
    match ended {
        Ok(Ended::Done(socket)) => give(call, to, Arc::new(TcpStream::new(socket))).map(Some),
        Ok(Ended::Failed(error)) => Ok(Some(number(&Failure::io("cannot connect", &error)))),
        Ok(Ended::TimedOut) => Ok(Some(Errno::TimedOut.code().into())),
        Err(_refused) => Ok(Some(Errno::NotCapable.code().into())),
    }
}
