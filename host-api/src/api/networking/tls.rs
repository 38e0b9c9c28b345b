//! TLS: listeners and streams.

use std::sync::Arc;
use std::task::Poll;

use super::dns::{LookupError, NAME_BYTES_MAX, look_up};
use super::tcp::{Paused, bind, connect_to, may_listen, pause};
use super::{AddressAt, Ended, SYSTEM_CALL, gather, poll};
use crate::api::message::TIMEOUT;
use crate::bind::{Call, Fault, host_functions};
use crate::guest_type::{Buffers, Bytes, In, Out, Text};
use crate::jobs::Turn;
use crate::memory::{GuestMemory, Ptr};
use crate::net::{
    Accepted, Addresses, Dial, Failure, PEM_MAX, Pem, Pending, TlsListener, TlsStream,
    client_config, with_scratch,
};
use crate::queue::{Queue, Task};
use crate::ready::{Interest, Standing, Tried};

/// Reductions of a handshake: about the time that its signatures take.
const HANDSHAKE: i64 = 500_000;

/// Reductions of reading a byte of certificates. About what it takes.
const READ_A_BYTE: i64 = 10;

/// The same of checking a key. By feel: the slowest take a millisecond.
const READ_A_KEY: i64 = 100_000;

/// Certificates that one connection may trust.
const ROOTS_MAX: u32 = 1024;

/// So far a certificate is looked at for what it is.
const BEGINNING_BYTES: usize = 1024;

host_functions! {
    /// TLS 1.2 and 1.3 over TCP. Certificates and keys are PEM; of one certificate or key also the bytes
    /// that PEM stands for (DER). A handshake that fails is an error like others, and the listener goes
    /// on listening.
    pub(crate) MODULE: "lunatic::networking";

    /// As `tcp_bind`, with `certs_array_len` bytes of certificates and `keys_array_len` bytes of private
    /// keys (PKCS#8, PKCS#1 or SEC1), a megabyte of each at most. One key: its certificate, and the others of the chain. Several:
    /// each certificate with its chain behind it; a client gets the one for the name it asks for, else
    /// the first.
    fn tls_bind(
        call, addr_type: u32, addr_u8_ptr: In<u8>, port: u32, flow_info: u32, scope_id: u32,
        id_u64_ptr: Out<u64>, certs_array_ptr: In<Bytes>, certs_array_len: u32, keys_array_ptr: In<Bytes>,
        keys_array_len: u32,
    ) -> Poll<Result<u32, Fault>> {
        let at = AddressAt { kind: addr_type, bytes: addr_u8_ptr, port, flow_info, scope_id };
        let (certs, keys) = ((certs_array_ptr, certs_array_len), (keys_array_ptr, keys_array_len));
        poll(listen(call, at, id_u64_ptr, (certs, keys)))
    }

    /// Closes a listener. Traps if there is none with this id.
    fn drop_tls_listener(call, tls_listener_id: u64) -> Result<(), Fault> {
        call.give_up::<Arc<TlsListener>>(tls_listener_id)
    }

    /// As `tcp_local_addr`.
    fn tls_local_addr(call, tls_listener_id: u64, id_u64_ptr: Out<u64>) -> Result<u32, Fault> {
        let local = call.shared::<TlsListener>(tls_listener_id)?.listener.local();
        call.tell_address(id_u64_ptr, "cannot tell where a socket listens", local)
    }

    /// Waits for a connection and its handshake. 0: the stream's id is at `id_u64_ptr`, that of an iterator
    /// over the other side's address at `socket_addr_id_ptr`. 1: an error id is at `id_u64_ptr`, perhaps
    /// of a handshake that failed; ask again. Several clients shake hands at the same time, for 10
    /// seconds at most.
    fn tls_accept(
        call, listener_id: u64, id_u64_ptr: Out<u64>, socket_addr_id_ptr: Out<u64>,
    ) -> Poll<Result<u32, Fault>> {
        poll(accept(call, listener_id, u64::MAX, (id_u64_ptr, socket_addr_id_ptr)))
    }

    /// The same, with a limit to the time. 9027: it has passed.
    fn tls_accept_timeout(
        call, listener_id: u64, timeout: u64, id_u64_ptr: Out<u64>, socket_addr_id_ptr: Out<u64>,
    ) -> Poll<Result<u32, Fault>> {
        poll(accept(call, listener_id, timeout, (id_u64_ptr, socket_addr_id_ptr)))
    }

    /// Looks a host up, connects to it and shakes hands; the timeout is for all of that. Trusted are the
    /// certificates of `certs_array_len` records of an address and a length (u32 each), one of which may
    /// also be the server's own; without records, those that browsers trust. 0: the stream's id is at
    /// `id_u64_ptr`. 1 and 9027: an error id is.
    fn tls_connect(
        call, addr_str_ptr: In<Text>, addr_str_len: u32, port: u32, timeout: u64, id_u64_ptr: Out<u64>,
        certs_array_ptr: In<Buffers>, certs_array_len: u32,
    ) -> Poll<Result<u32, Fault>> {
        let roots = (certs_array_ptr, certs_array_len);
        poll(connect(call, ((addr_str_ptr, addr_str_len), port), timeout, id_u64_ptr, roots))
    }

    /// Gives up an id of a stream; the last who does ends and closes it. Traps if there is none with this
    /// id.
    fn drop_tls_stream(call, tls_stream_id: u64) -> Result<(), Fault> {
        call.give_up::<Arc<TlsStream>>(tls_stream_id)
    }

    /// Another id of the same stream.
    fn clone_tls_stream(call, tls_stream_id: u64) -> Result<u64, Fault> {
        let stream = call.shared::<TlsStream>(tls_stream_id)?;
        call.add(stream)
    }

    /// As `tcp_peer_addr`.
    fn tls_peer_addr(call, tls_stream_id: u64, id_u64_ptr: Out<u64>) -> Result<u32, Fault> {
        let peer = call.shared::<TlsStream>(tls_stream_id)?.peer();
        call.tell_address(id_u64_ptr, "cannot tell the address of the other side", peer)
    }

    /// As `tcp_write_vectored`. When the time for writing has passed after bytes were taken, they count as
    /// written, and go out with the next call.
    fn tls_write_vectored(
        call, stream_id: u64, ciovec_array_ptr: In<Buffers>, ciovec_array_len: u32, opaque_ptr: Out<u64>,
    ) -> Poll<Result<u32, Fault>> {
        poll(write(call, stream_id, (ciovec_array_ptr, ciovec_array_len), opaque_ptr))
    }

    /// As `tcp_read`. The end is an error if the other side has not said that it is.
    fn tls_read(
        call, stream_id: u64, buffer_ptr: Out<Bytes>, buffer_len: u32, opaque_ptr: Out<u64>,
    ) -> Poll<Result<u32, Fault>> {
        poll(read(call, stream_id, (buffer_ptr, buffer_len), opaque_ptr))
    }

    /// Waits until all that was written is with the system, up to the stream's time for writing. 0: it
    /// is. 1 and 9027: an error id is at `error_id_ptr`.
    fn tls_flush(call, stream_id: u64, error_id_ptr: Out<u64>) -> Poll<Result<u32, Fault>> {
        poll(flush(call, stream_id, error_id_ptr))
    }

    /// Sets the stream's time for reading, for all who hold it.
    fn set_tls_read_timeout(call, stream_id: u64, duration: u64) -> Result<(), Fault> {
        call.shared::<TlsStream>(stream_id)?.timeouts.read.set(duration);
        Ok(())
    }

    /// The stream's time for reading; at first there is no limit.
    fn get_tls_read_timeout(call, stream_id: u64) -> Result<u64, Fault> {
        Ok(call.shared::<TlsStream>(stream_id)?.timeouts.read.get())
    }

    /// Sets the stream's time for writing, for all who hold it.
    fn set_tls_write_timeout(call, stream_id: u64, duration: u64) -> Result<(), Fault> {
        call.shared::<TlsStream>(stream_id)?.timeouts.write.set(duration);
        Ok(())
    }

    /// The stream's time for writing; at first there is no limit.
    fn get_tls_write_timeout(call, stream_id: u64) -> Result<u64, Fault> {
        Ok(call.shared::<TlsStream>(stream_id)?.timeouts.write.get())
    }
}

/// Keys and certificates are read on a thread that may take its time.
fn listen(
    call: &mut Call<'_, '_>,
    at: AddressAt,
    to: Ptr,
    (certs, keys): ((Ptr, u32), (Ptr, u32)),
) -> Result<Option<u32>, Fault> {
    call.memory.slice_mut(to, 8)?;
    let address = at.read(&call.memory)?;
    if let Err(failure) = may_listen(call, address) {
        return call.failed(to, failure).map(Some);
    }
    let config = call.job(|call, turn: Turn<Result<_, String>>| {
        let certs = call.memory.slice(certs.0, certs.1)?;
        let keys = call.memory.slice(keys.0, keys.1)?;
        if let Some(bytes) = [certs, keys].map(<[u8]>::len).into_iter().find(|len| *len > PEM_MAX) {
            let text = format!("{bytes} bytes of certificates or keys: at most {PEM_MAX} can be");
            turn.finish(Err(text));
            return Ok(());
        }
        let pem = Arc::new(Pem::new(certs, keys));
        call.state.charge(pem.bytes() as i64 * READ_A_BYTE);
        let (given, asker) = (Arc::downgrade(&pem), turn.asker());
        call.state.resources.net().pem = Some(pem);
        call.state.tell_held();
        let work = Box::new(move || {
            // It goes with its process.
            if let Some(pem) = given.upgrade() {
                turn.finish(TlsListener::config(&pem));
            }
        });
        let task = Task { owner: Some(call.state.owner()), asker: Some(asker), work };
        let begun = Queue::put(call.state.node.get(), |node| &node.certificates, task);
        begun.map_err(|error| Fault::new(format!("no thread to read certificates in: {error}")))
    });
    let config = match config {
        Poll::Pending => return Ok(None),
        Poll::Ready(config) => config?,
    };
    call.state.resources.net().pem = None;
    call.state.tell_held();
    let listener = match config {
        Ok(shown) => {
            call.state.charge(shown.keys as i64 * READ_A_KEY);
            bind(call, at, to)?.map(|listener| TlsListener::new(listener, shown))
        }
        Err(text) => Err(Failure::invalid(format!("cannot listen for TLS: {text}"))),
    };
    match listener {
        Ok(listener) => {
            let id = call.add(Arc::new(listener))?;
            call.state.tell_held();
            call.done(to, id).map(Some)
        }
        Err(failure) => call.failed(to, failure).map(Some),
    }
}

fn accept(
    call: &mut Call<'_, '_>,
    id: u64,
    timeout: u64,
    (stream_at, peer_at): (Ptr, Ptr),
) -> Result<Option<u32>, Fault> {
    call.memory.slice_mut(stream_at, 8)?;
    call.memory.slice_mut(peer_at, 8)?;
    let tried = "cannot accept a TLS connection";
    let listener = call.shared::<TlsListener>(id)?;
    if let Some(paused) = Paused::go_on(call) {
        return paused.map(|error| call.failed(stream_at, Failure::os(tried, error))).transpose();
    }
    // Before a connection is taken that the process would have no number for.
    if !call.state.resources.has_room_for(2, call.state.config.resources_max) {
        let failure = Failure::os(tried, rustix::io::Errno::MFILE);
        return call.failed(stream_at, failure).map(Some);
    }
    call.state.charge(SYSTEM_CALL);
    loop {
        match listener.attempt() {
            Ok(Accepted::Stream(stream, peer)) => {
                call.state.charge(HANDSHAKE);
                let id = call.add(stream)?;
                let peer = call.add(Addresses::new([peer]))?;
                call.memory.write_u64(peer_at, peer)?;
                return call.done(stream_at, id).map(Some);
            }
            Ok(Accepted::Failed(peer, error)) => {
                let tried = format!("{tried} from {peer}: the handshake failed");
                return call.failed(stream_at, Failure::io(tried, &error)).map(Some);
            }
            Ok(Accepted::NotYet { listener: seen, streams, until }) => {
                if call.timed_out(timeout) {
                    return Ok(Some(TIMEOUT));
                }
                let mut standing = Ok(Standing::Noted);
                if let Some(seen) = seen {
                    let place = (&listener.listener, &listener.listener.source);
                    standing = call.wait_at(place.0, place.1, Interest::Read, seen);
                }
                for (stream, seen) in streams {
                    if matches!(standing, Ok(Standing::Noted)) {
                        standing = call.wait_at(&**stream, &stream.source, Interest::Both, seen);
                    }
                }
                match standing {
                    Ok(Standing::Again) => {}
                    Ok(_) => {
                        call.wake_at_deadline_or(until);
                        return Ok(None);
                    }
                    Err(error) => {
                        return call.failed(stream_at, Failure::os(tried, error)).map(Some);
                    }
                }
            }
            Err(error) if pause(call, error) => return Ok(None),
            Err(error) => return call.failed(stream_at, Failure::os(tried, error)).map(Some),
        }
    }
}

fn connect(
    call: &mut Call<'_, '_>,
    ((name, len), port): ((Ptr, u32), u32),
    timeout: u64,
    to: Ptr,
    roots: (Ptr, u32),
) -> Result<Option<u32>, Fault> {
    call.memory.slice_mut(to, 8)?;
    if len > NAME_BYTES_MAX {
        let text =
            format!("cannot connect to a name of {len} bytes: at most {NAME_BYTES_MAX} can be");
        return call.failed(to, Failure::invalid(text)).map(Some);
    }
    let host = std::str::from_utf8(call.memory.slice(name, len)?)
        .map_err(|_| Fault::new("the name is not UTF-8"))?;
    let tried = || format!("cannot connect to \"{}\" port {port} with TLS", host.escape_default());
    let mut dial = match call.state.resources.net().dial.take() {
        Some(dial) => dial,
        None => {
            let roots = root_certificates(&call.memory, roots)?;
            let bytes: usize = roots.iter().map(|root| root.len()).sum();
            call.state.charge(bytes.min(PEM_MAX) as i64 * READ_A_BYTE);
            let dial = client_config(&roots).and_then(|config| Dial::new(config, host));
            match dial {
                Ok(dial) => Box::new(dial),
                Err(text) => {
                    let failure = Failure::invalid(format!("{}: {text}", tried()));
                    return call.failed(to, failure).map(Some);
                }
            }
        }
    };
    match go_on(call, &mut dial, (host, port), timeout)? {
        None => {
            call.state.resources.net().dial = Some(dial);
            Ok(None)
        }
        Some(Ok(stream)) => {
            call.state.charge(HANDSHAKE);
            let id = call.add(Arc::new(stream))?;
            call.done(to, id).map(Some)
        }
        Some(Err(NoStream::Failed(failure))) => call.failed(to, failure).map(Some),
        Some(Err(NoStream::TimedOut)) => {
            call.timed_out_with(to, Failure::timed_out(tried(), timeout)).map(Some)
        }
    }
}

/// Why there is no stream.
enum NoStream {
    Failed(Failure),
    TimedOut,
}

/// Looks up, connects to one address after the other, shakes hands.
fn go_on(
    call: &mut Call<'_, '_>,
    dial: &mut Dial,
    (host, port): (&str, u32),
    timeout: u64,
) -> Result<Option<Result<TlsStream, NoStream>>, Fault> {
    if dial.addresses.is_none() {
        let is_v6 = host.parse::<std::net::Ipv6Addr>().is_ok();
        let name = if is_v6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        match look_up(call, &name, timeout)? {
            None => return Ok(None),
            Some(Ok(addresses)) => dial.addresses = Some(addresses.into_iter()),
            Some(Err(LookupError::Failed(failure))) => {
                return Ok(Some(Err(NoStream::Failed(failure))));
            }
            Some(Err(LookupError::TimedOut(_))) => return Ok(Some(Err(NoStream::TimedOut))),
        }
    }
    loop {
        if let Some(stream) = dial.stream.take() {
            let place = (&*stream, &stream.source);
            let ended =
                call.until_done(timeout, place, Interest::Both, |_| Ok(stream.shake_hands()));
            return Ok(match ended? {
                Some(Ended::Done(())) => Some(Ok(stream)),
                Some(Ended::Failed(error)) => {
                    let tried =
                        format!("the TLS handshake with \"{}\" failed", host.escape_default());
                    Some(Err(NoStream::Failed(Failure::io(tried, &error))))
                }
                Some(Ended::TimedOut) => Some(Err(NoStream::TimedOut)),
                None => {
                    dial.stream = Some(stream);
                    None
                }
            });
        }
        let next = dial.address.take().or_else(|| dial.addresses.as_mut().and_then(Iterator::next));
        let Some(address) = next else {
            let none = || Failure::invalid("the name has no address".to_string());
            return Ok(Some(Err(NoStream::Failed(dial.failed.take().unwrap_or_else(none)))));
        };
        let tried = || format!("cannot connect to {address}");
        match connect_to(call, address, timeout)? {
            None => {
                dial.address = Some(address);
                return Ok(None);
            }
            Some(Ok(Ended::Done(socket))) => {
                if let Err(text) = dial.connected(socket) {
                    return Ok(Some(Err(NoStream::Failed(Failure::invalid(text)))));
                }
            }
            Some(Ok(Ended::Failed(error))) => dial.failed = Some(Failure::io(tried(), &error)),
            Some(Err(refused)) => {
                dial.failed = Some(Failure::refused(format!("{}: {refused}", tried())));
            }
            Some(Ok(Ended::TimedOut)) => return Ok(Some(Err(NoStream::TimedOut))),
        }
    }
}

/// The certificates of a list of records. The crate `lunatic` 0.14 writes the length in front of the
/// address: whichever order leads to a certificate is meant.
fn root_certificates<'a>(
    memory: &GuestMemory<'a>,
    (list, count): (Ptr, u32),
) -> Result<Vec<&'a [u8]>, Fault> {
    if count > ROOTS_MAX {
        return Err(Fault::new(format!(
            "{count} certificates to trust: at most {ROOTS_MAX} can be"
        )));
    }
    let records = memory.slice(list, count * super::RECORD_BYTES)?;
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    let records = records.chunks_exact(super::RECORD_BYTES as usize);
    let mut total = 0;
    records
        .map(|record| {
            let (first, second) = (word(&record[..4]), word(&record[4..]));
            let usual = memory.slice(Ptr(first), second);
            let other = memory.slice(Ptr(second), first);
            let chosen = match (usual, other) {
                (Ok(usual), Ok(other)) => {
                    if !is_text(usual) && is_text(other) {
                        other
                    } else {
                        usual
                    }
                }
                (Err(_), Ok(other)) if is_text(other) => other,
                (usual, _) => usual?,
            };
            total += chosen.len();
            if total > PEM_MAX {
                return Err(Fault::new(format!(
                    "more than {PEM_MAX} bytes of certificates to trust, the most \
                     that can be"
                )));
            }
            Ok(chosen)
        })
        .collect()
}

fn is_text(bytes: &[u8]) -> bool {
    let beginning = &bytes[..bytes.len().min(BEGINNING_BYTES)];
    beginning.trim_ascii_start().starts_with(b"-----BEGIN")
}

fn write(
    call: &mut Call<'_, '_>,
    id: u64,
    buffers: (Ptr, u32),
    count: Ptr,
) -> Result<Option<u32>, Fault> {
    call.memory.slice_mut(count, 8)?;
    let stream = call.shared::<TlsStream>(id)?;
    call.state.charge(SYSTEM_CALL);
    let mut taken = match call.state.resources.net().pending.take() {
        Some(Pending::Taken(taken)) => Some(taken),
        _ => None,
    };
    let (timeout, place) = (stream.timeouts.write.get(), (&**stream, &stream.source));
    let ended = call.until_done(timeout, place, Interest::Both, |call| {
        if taken.is_none() {
            match stream.flush() {
                Ok(Tried::Done(())) => {}
                Ok(Tried::NotYet(seen)) => return Ok(Ok(Tried::NotYet(seen))),
                Err(error) => return Ok(Err(error)),
            }
            let result = with_scratch(|scratch| {
                let len = gather(&call.memory, buffers, scratch)?;
                call.state.charge(len as i64);
                Ok(stream.take(&scratch[..len]))
            })?;
            match result {
                Ok(bytes) => taken = Some(bytes),
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(stream.flush().map(|tried| match tried {
            Tried::Done(()) => Tried::Done(taken.unwrap_or_default()),
            Tried::NotYet(seen) => Tried::NotYet(seen),
        }))
    })?;
    let ended = match (ended, taken) {
        (None, taken) => {
            call.state.resources.net().pending = taken.map(Pending::Taken);
            return Ok(None);
        }
        (Some(Ended::TimedOut), Some(taken)) => Ended::Done(taken),
        (Some(ended), _) => ended,
    };
    call.answer(count, "cannot write to a TLS stream", ended).map(Some)
}

fn read(
    call: &mut Call<'_, '_>,
    id: u64,
    (buffer, len): (Ptr, u32),
    count: Ptr,
) -> Result<Option<u32>, Fault> {
    call.memory.slice_mut(count, 8)?;
    call.memory.slice_mut(buffer, len)?;
    let stream = call.shared::<TlsStream>(id)?;
    call.state.charge(SYSTEM_CALL);
    let (timeout, place) = (stream.timeouts.read.get(), (&**stream, &stream.source));
    let ended = call.fill((buffer, len), timeout, place, |into| stream.read(into))?;
    if let Some(Ended::Done(bytes)) = ended {
        call.state.charge(bytes as i64); // they were deciphered
    }
    ended.map(|ended| call.answer(count, "cannot read from a TLS stream", ended)).transpose()
}

fn flush(call: &mut Call<'_, '_>, id: u64, error: Ptr) -> Result<Option<u32>, Fault> {
    call.memory.slice_mut(error, 8)?;
    let stream = call.shared::<TlsStream>(id)?;
    let (timeout, place) = (stream.timeouts.write.get(), (&**stream, &stream.source));
    let ended = call.until_done(timeout, place, Interest::Both, |_| Ok(stream.flush()))?;
    let Some(ended) = ended else { return Ok(None) };
    let tried = "cannot flush a TLS stream";
    let answer = match ended {
        Ended::Done(()) => 0,
        Ended::Failed(failed) => call.failed(error, Failure::io(tried, &failed))?,
        Ended::TimedOut => call.timed_out_with(error, Failure::timed_out(tried, timeout))?,
    };
    Ok(Some(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A memory with a record at 0 and a text at 16.
    fn memory(record: [u32; 2], text: &[u8]) -> Vec<u8> {
        let mut bytes = record.map(u32::to_le_bytes).concat();
        bytes.resize(16, 0);
        bytes.extend(text);
        bytes
    }

    #[test]
    fn certificates_are_found_in_either_order_of_address_and_length() {
        let text = b"-----BEGIN CERTIFICATE-----";
        let len = text.len() as u32;
        for record in [[16, len], [len, 16]] {
            let mut bytes = memory(record, text);
            let memory = GuestMemory::over(&mut bytes);
            let found = root_certificates(&memory, (Ptr(0), 1)).expect("it lies inside");
            assert_eq!(found, [text]);
        }
        // What is neither is taken as it should be, or refused if that leads out of the memory.
        let mut bytes = memory([16, 4], b"\x30\x82\0\0");
        let memory = GuestMemory::over(&mut bytes);
        assert_eq!(root_certificates(&memory, (Ptr(0), 1)).expect("inside"), [b"\x30\x82\0\0"]);
        assert!(root_certificates(&memory, (Ptr(0), 3)).is_err());
        assert!(root_certificates(&memory, (Ptr(0), u32::MAX)).is_err());
    }
}
