//! TCP of crate 0.3.0: a server that binds by name. A stream travels as a number in a message, as a
//! channel does, and is told to who receives it in the same way.

use std::task::Poll;

use super::{add, give, number, socket};
use crate::api::networking::dns::{LookupError, NAME_BYTES_MAX, look_up};
use crate::api::networking::poll;
use crate::api::networking::tcp::listen;
use crate::api::seed::FOREVER;
use crate::api::seed::numbered::Known;
use crate::api::wasi::Errno;
use crate::bind::{Call, Fault, host_functions};
use crate::memory::Ptr;
use crate::net::TcpStream;

use std::sync::Arc;

host_functions! {
    /// TCP of programs built with the crate `lunatic` 0.3.0. Nothing here closes a socket: that
    /// happens when all processes have ended that know it.
    pub(crate) MODULE: "lunatic";

    /// Listens at `HOST:PORT`, at the first address of the name that is free. Waits while the name
    /// is looked up. 0: the listener's handle (u32) is at `listener_ptr`. Others: WASI's number of
    /// the error.
    fn tcp_bind_str(
        call, address_ptr: Ptr, address_len: u32, listener_ptr: Ptr,
    ) -> Poll<Result<u32, Fault>> {
        poll(bind(call, (address_ptr, address_len), listener_ptr))
    }

    /// A number for a stream that may stand in messages: who receives one in which it stands can have
    /// the stream by it. The process keeps its own.
    fn tcp_stream_serialize(call, stream: u32) -> Result<u64, Fault> {
        let shared = socket::<TcpStream>(call, stream)?;
        let max = call.state.config.resources_max;
        let node = call.state.node;
        let numbered = &mut call.state.seed.get_or_insert_default().numbered;
        let number = numbered.number_of_stream(stream, shared, node.get(), max)?;
        call.state.tell_held();
        Ok(number.into())
    }

    /// The stream with this number. Traps if the process was not told of it.
    fn tcp_stream_deserialize(call, number: u64) -> Result<u32, Fault> {
        let unknown = || Fault::new(format!("the process knows no stream with number {number}"));
        let number = u32::try_from(number).map_err(|_| unknown())?;
        let (stream, handle) =
            match call.state.seed.as_ref().and_then(|seed| seed.numbered.known(number)) {
                Some(Known::Stream { stream, handle }) => (Arc::clone(stream), *handle),
                _ => return Err(unknown()),
            };
        // Handles are never used again: it is the same stream, unless it was closed.
        if let Some(handle) = handle
            && socket::<TcpStream>(call, handle).is_ok()
        {
            return Ok(handle);
        }
        let handle = add(call, stream)?;
        call.state.seed.get_or_insert_default().numbered.note_handle(number, handle);
        Ok(handle)
    }
}

fn bind(
    call: &mut Call<'_, '_>,
    (address, len): (Ptr, u32),
    to: Ptr,
) -> Result<Option<u32>, Fault> {
    call.memory.slice_mut(to, 4)?;
    if len > NAME_BYTES_MAX {
        return Ok(Some(Errno::Inval.code().into()));
    }
    let name = std::str::from_utf8(call.memory.slice(address, len)?)
        .map_err(|_| Fault::new("the name is not UTF-8"))?;
    let addresses = match look_up(call, name, FOREVER)? {
        Some(Ok(addresses)) => addresses,
        Some(Err(LookupError::Failed(failure) | LookupError::TimedOut(failure))) => {
            return Ok(Some(number(&failure)));
        }
        None => return Ok(None),
    };
    let mut answer = Errno::Inval.code().into();
    for address in addresses {
        match listen(call, address) {
            Ok(listener) => return give(call, to, Arc::new(listener)).map(Some),
            Err(failure) => answer = number(&failure),
        }
    }
    Ok(Some(answer))
}
