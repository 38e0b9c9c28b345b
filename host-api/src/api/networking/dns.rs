//! Names and addresses.

use std::net::SocketAddr;
use std::task::Poll;

use super::poll;
use crate::bind::{Call, Fault, host_functions};
use crate::guest_type::{In, Out, Text};
use crate::memory::Ptr;
use crate::net::{Addresses, Failure, Lookup, Pending};

/// The longest name that is looked up: that of a host has at most 253 bytes.
pub(in crate::api) const NAME_BYTES_MAX: u32 = 512;

host_functions! {
    /// Sockets. Ids belong to one process; what is not dropped is closed when it ends. A function
    /// answers 0 for success, 1 with an error id (see `lunatic::error`), 9027 when its time has
    /// passed; timeouts are milliseconds, `u64::MAX` for none, and are about all that a call does.
    ///
    /// An address is passed as its type (4 or 6), a pointer to its 4 or 16 bytes in network order, a
    /// port, and for type 6 flow info and scope id. It is returned as an id of a *DNS iterator*, which
    /// `resolve_next` reads and `drop_dns_iterator` forgets.
    ///
    /// What a process may connect to and listen on its configuration says (`--allow-net`); other
    /// attempts are answered with an error.
    pub(crate) MODULE: "lunatic::networking";

    /// Looks a name up, as `HOST:PORT`; an address in the place of the host needs no looking up. 0: the
    /// id of an iterator over the addresses is at `id_u64_ptr`. 1 and 9027: an error id is there.
    fn resolve(
        call, name_str_ptr: In<Text>, name_str_len: u32, timeout: u64, id_u64_ptr: Out<u64>,
    ) -> Poll<Result<u32, Fault>> {
        poll(resolve_name(call, (name_str_ptr, name_str_len), timeout, id_u64_ptr))
    }

    /// Forgets an iterator. Traps if there is none with this id.
    fn drop_dns_iterator(call, dns_iter_id: u64) -> Result<(), Fault> {
        call.give_up::<Addresses>(dns_iter_id)
    }

    /// Takes the next address out of an iterator. 0: its type (u32: 4 or 6), its bytes (room for 16),
    /// its port (u16), and for type 6 flow info and scope id (u32) are written. 1: there is none left.
    /// Traps if there is no iterator with this id.
    fn resolve_next(
        call, dns_iter_id: u64, addr_type_u32_ptr: Out<u32>, addr_u8_ptr: Out<u8>, port_u16_ptr: Out<u16>,
        flow_info_u32_ptr: Out<u32>, scope_id_u32_ptr: Out<u32>,
    ) -> Result<u32, Fault> {
        let Some(address) = call.state.resources.get_mut::<Addresses>(dns_iter_id)?.next() else {
            return Ok(1);
        };
        let memory = &mut call.memory;
        memory.write(port_u16_ptr, &address.port().to_le_bytes())?;
        match address {
            SocketAddr::V4(address) => {
                memory.write_u32(addr_type_u32_ptr, 4)?;
                memory.write(addr_u8_ptr, &address.ip().octets())?;
            }
            SocketAddr::V6(address) => {
                memory.write_u32(addr_type_u32_ptr, 6)?;
                memory.write(addr_u8_ptr, &address.ip().octets())?;
                memory.write_u32(flow_info_u32_ptr, address.flowinfo())?;
                memory.write_u32(scope_id_u32_ptr, address.scope_id())?;
            }
        }
        Ok(0)
    }
}

fn resolve_name(
    call: &mut Call<'_, '_>,
    (name, len): (Ptr, u32),
    timeout: u64,
    to: Ptr,
) -> Result<Option<u32>, Fault> {
    call.memory.slice_mut(to, 8)?;
    if len > NAME_BYTES_MAX {
        let text = format!("cannot look up a name of {len} bytes: at most {NAME_BYTES_MAX} can be");
        return call.failed(to, Failure::invalid(text)).map(Some);
    }
    let name = std::str::from_utf8(call.memory.slice(name, len)?)
        .map_err(|_| Fault::new("the name is not UTF-8"))?;
    match look_up(call, name, timeout)? {
        Some(Ok(addresses)) => {
            let id = call.add(Addresses::new(addresses))?;
            call.done(to, id).map(Some)
        }
        Some(Err(LookupError::Failed(failure))) => call.failed(to, failure).map(Some),
        Some(Err(LookupError::TimedOut(failure))) => call.timed_out_with(to, failure).map(Some),
        None => Ok(None),
    }
}

/// Why there are no addresses.
pub(in crate::api) enum LookupError {
    Failed(Failure),
    TimedOut(Failure),
}

/// The addresses of `HOST:PORT`; `None`: the process waits for them.
pub(in crate::api) fn look_up(
    call: &mut Call<'_, '_>,
    name: &str,
    timeout: u64,
) -> Result<Option<Result<Vec<SocketAddr>, LookupError>>, Fault> {
    let tried = || format!("cannot look up \"{}\"", name.escape_default());
    let host = name.rsplit_once(':').map_or(name, |(host, _)| host);
    if let Some(Pending::Lookup(lookup)) = &call.state.resources.net().pending {
        if let Some(answer) = lookup.take() {
            call.state.resources.net().pending = None;
            if let Ok(found) = &answer {
                call.state.resolved(host, found);
            }
            let answer = answer.map_err(|error| LookupError::Failed(Failure::io(tried(), &error)));
            return Ok(Some(answer));
        }
        if call.timed_out(timeout) {
            let failure = Failure::timed_out(tried(), timeout);
            return Ok(Some(Err(LookupError::TimedOut(failure))));
        }
        call.wake_at_deadline();
        return Ok(None);
    }
    if let Ok(address) = name.parse() {
        return Ok(Some(Ok(vec![address])));
    }
    if let Err(refused) = call.state.may_resolve(host) {
        let failure = Failure::refused(format!("{}: {refused}", tried()));
        return Ok(Some(Err(LookupError::Failed(failure))));
    }
    let node = call.state.node.get();
    match Lookup::begin(node, call.state.owner(), name.to_string()) {
        Ok(lookup) => {
            call.state.resources.net().pending = Some(Pending::Lookup(lookup));
            // Sets the deadline. A look-up without time is not begun in vain: it may be quick.
            call.timed_out(timeout);
            call.wake_at_deadline();
            Ok(None)
        }
        Err(error) => Ok(Some(Err(LookupError::Failed(Failure::io(tried(), &error))))),
    }
}
