//! The border to the runtime for sockets: the imports of `lunatic::networking`, and those of `lunatic::message` that
//! carry sockets. A part of [`abi`](super), under its rules.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use super::TIMED_OUT;

mod host {
    super::super::imports! { "lunatic::networking";
        resolve(name: *const u8, len: usize, timeout: u64, id: *mut u64) -> i32;
        drop_dns_iterator(id: u64);
        resolve_next(id: u64, kind: *mut u32, bytes: *mut u8, port: *mut u16, flow_info: *mut u32,
            scope_id: *mut u32) -> i32;
        tcp_bind(kind: u32, ip: *const u8, port: u32, flow: u32, scope: u32, id: *mut u64) -> i32;
        drop_tcp_listener(id: u64);
        clone_tcp_listener(id: u64) -> u64;
        tcp_local_addr(id: u64, addresses: *mut u64) -> i32;
        tcp_accept_timeout(id: u64, timeout: u64, stream: *mut u64, peer: *mut u64) -> i32;
        tcp_connect(kind: u32, ip: *const u8, port: u32, flow: u32, scope: u32, timeout: u64, id:
            *mut u64) -> i32;
        tcp_peer_addr(id: u64, addresses: *mut u64) -> i32;
        tcp_stream_local_addr(id: u64, addresses: *mut u64) -> i32;
        drop_tcp_stream(id: u64);
        clone_tcp_stream(id: u64) -> u64;
        tcp_write_vectored(id: u64, buffers: *const u8, count: usize, written: *mut u64) -> i32;
        tcp_read(id: u64, buffer: *mut u8, len: usize, read: *mut u64) -> i32;
        tcp_peek(id: u64, buffer: *mut u8, len: usize, read: *mut u64) -> i32;
        tcp_shutdown(id: u64, how: u32, error: *mut u64) -> i32;
        get_nodelay(id: u64) -> u32;
        set_nodelay(id: u64, nodelay: u32);
        set_read_timeout(id: u64, millis: u64);
        get_read_timeout(id: u64) -> u64;
        set_write_timeout(id: u64, millis: u64);
        get_write_timeout(id: u64) -> u64;
        set_peek_timeout(id: u64, millis: u64);
        get_peek_timeout(id: u64) -> u64;
        tls_bind(kind: u32, ip: *const u8, port: u32, flow: u32, scope: u32, id: *mut u64, certs:
            *const u8, certs_len: usize, keys: *const u8, keys_len: usize) -> i32;
        drop_tls_listener(id: u64);
        tls_local_addr(id: u64, addresses: *mut u64) -> i32;
        tls_accept_timeout(id: u64, timeout: u64, stream: *mut u64, peer: *mut u64) -> i32;
        tls_connect(host: *const u8, host_len: usize, port: u32, timeout: u64, id: *mut u64, roots:
            *const u8, root_count: usize) -> i32;
        drop_tls_stream(id: u64);
        clone_tls_stream(id: u64) -> u64;
        tls_peer_addr(id: u64, addresses: *mut u64) -> i32;
        tls_write_vectored(id: u64, buffers: *const u8, count: usize, written: *mut u64) -> i32;
        tls_read(id: u64, buffer: *mut u8, len: usize, read: *mut u64) -> i32;
        tls_flush(id: u64, error: *mut u64) -> i32;
        set_tls_read_timeout(id: u64, millis: u64);
        get_tls_read_timeout(id: u64) -> u64;
        set_tls_write_timeout(id: u64, millis: u64);
        get_tls_write_timeout(id: u64) -> u64;
        udp_bind(kind: u32, ip: *const u8, port: u32, flow: u32, scope: u32, id: *mut u64) -> i32;
        drop_udp_socket(id: u64);
        udp_local_addr(id: u64, addresses: *mut u64) -> i32;
        udp_peer_addr(id: u64, addresses: *mut u64) -> i32;
        udp_connect(id: u64, kind: u32, ip: *const u8, port: u32, flow: u32, scope: u32, timeout:
            u64, error: *mut u64) -> i32;
        udp_receive_from_timeout(id: u64, buffer: *mut u8, len: usize, timeout: u64, read: *mut u64,
            sender: *mut u64) -> i32;
        udp_send(id: u64, buffer: *const u8, len: usize, sent: *mut u64) -> i32;
        udp_send_to(id: u64, buffer: *const u8, len: usize, kind: u32, ip: *const u8, port: u32,
            flow: u32, scope: u32, sent: *mut u64) -> i32;
        clone_udp_socket(id: u64) -> u64;
        set_udp_socket_broadcast(id: u64, broadcast: u32);
        get_udp_socket_broadcast(id: u64) -> i32;
        set_udp_socket_ttl(id: u64, ttl: u32);
        get_udp_socket_ttl(id: u64) -> u32;
    }
    super::super::imports! { "lunatic::message";
        push_tcp_listener(id: u64) -> u64;
        take_tcp_listener(index: u64) -> u64;
        push_tcp_stream(id: u64) -> u64;
        take_tcp_stream(index: u64) -> u64;
        push_tls_stream(id: u64) -> u64;
        take_tls_stream(index: u64) -> u64;
        push_udp_socket(id: u64) -> u64;
        take_udp_socket(index: u64) -> u64;
    }
}

/// Why a call on a socket failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The time was over first.
    TimedOut,
    /// The runtime's words, and WASI's number for it; 0 if there is none.
    Said(String, u16),
}

/// What a status means; the number behind it is an error id if it says so.
fn settle(status: i32, id: u64) -> Result<u64, Failure> {
    match status {
        0 => Ok(id),
        TIMED_OUT => Err(Failure::TimedOut),
        _ => {
            let code = super::error_code(id);
            Err(Failure::Said(super::take_error_text(id), code))
        }
    }
}

/// The same for calls that leave an error id when their time was over, too.
fn settle_with_id(status: i32, id: u64) -> Result<u64, Failure> {
    if status == TIMED_OUT {
        super::take_error_text(id);
    }
    settle(status, id)
}

/// An address as it is passed.
struct Passed {
    kind: u32,
    ip: [u8; 16],
    port: u32,
    flow: u32,
    scope: u32,
}

impl From<SocketAddr> for Passed {
    fn from(address: SocketAddr) -> Passed {
        let mut ip = [0; 16];
        let port = u32::from(address.port());
        match address {
            SocketAddr::V4(address) => {
                ip[..4].copy_from_slice(&address.ip().octets());
                Passed { kind: 4, ip, port, flow: 0, scope: 0 }
            }
            SocketAddr::V6(address) => {
                ip = address.ip().octets();
                let (flow, scope) = (address.flowinfo(), address.scope_id());
                Passed { kind: 6, ip, port, flow, scope }
            }
        }
    }
}

/// Takes all addresses out of an iterator and gives it back.
fn addresses(id: u64) -> Vec<SocketAddr> {
    let mut all = Vec::new();
    let (mut kind, mut ip, mut port, mut flow, mut scope) = (0, [0; 16], 0, 0, 0);
    // SAFETY: five places of the sizes the runtime writes: u32, 16 bytes, u16, u32, u32.
    while unsafe {
        host::resolve_next(id, &mut kind, ip.as_mut_ptr(), &mut port, &mut flow, &mut scope)
    } == 0
    {
        all.push(if kind == 4 {
            SocketAddrV4::new(Ipv4Addr::new(ip[0], ip[1], ip[2], ip[3]), port).into()
        } else {
            SocketAddrV6::new(Ipv6Addr::from(ip), port, flow, scope).into()
        });
    }
    // SAFETY: takes no pointer; the id is not used again.
    unsafe { host::drop_dns_iterator(id) };
    all
}

/// The one address of an iterator.
fn address(id: u64) -> SocketAddr {
    addresses(id).into_iter().next().expect("the runtime gives one address")
}

pub(crate) fn resolve(name: &str, timeout_ms: u64) -> Result<Vec<SocketAddr>, Failure> {
    let mut id = 0;
    // SAFETY: the pointer is readable for the length given, `id` is 8 writable bytes.
    let status = unsafe { host::resolve(name.as_ptr(), name.len(), timeout_ms, &mut id) };
    settle_with_id(status, id).map(addresses)
}

/// Wrappers of calls that take an id and leave a number.
macro_rules! asking {
    ($($(#[$doc:meta])* $name:ident => $import:ident, $convert:expr, $ty:ty;)*) => { $(
        $(#[$doc])*
        pub(crate) fn $name(id: u64) -> Result<$ty, Failure> {
            let mut number = 0;
            // SAFETY: `number` is 8 writable bytes.
            let status = unsafe { host::$import(id, &mut number) };
            settle_with_id(status, number).map($convert)
        }
    )* };
}

asking! {
    tcp_local => tcp_local_addr, address, SocketAddr;
    tcp_stream_local => tcp_stream_local_addr, address, SocketAddr;
    tcp_peer => tcp_peer_addr, address, SocketAddr;
    tls_local => tls_local_addr, address, SocketAddr;
    tls_peer => tls_peer_addr, address, SocketAddr;
    tls_flush => tls_flush, drop, ();
    udp_local => udp_local_addr, address, SocketAddr;
}

/// Wrappers of calls that take numbers and give one or none.
macro_rules! plain {
    ($($name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)?;)*) => { $(
        pub(crate) fn $name($($arg: $ty),*) $(-> $ret)? {
            // SAFETY: takes no pointer.
            unsafe { host::$name($($arg),*) }
        }
    )* };
}

plain! {
    drop_tcp_listener(id: u64);
    clone_tcp_listener(id: u64) -> u64;
    push_tcp_listener(id: u64) -> u64;
    take_tcp_listener(index: u64) -> u64;
    drop_tcp_stream(id: u64);
    clone_tcp_stream(id: u64) -> u64;
    get_nodelay(id: u64) -> u32;
    set_nodelay(id: u64, nodelay: u32);
    set_read_timeout(id: u64, millis: u64);
    get_read_timeout(id: u64) -> u64;
    set_write_timeout(id: u64, millis: u64);
    get_write_timeout(id: u64) -> u64;
    set_peek_timeout(id: u64, millis: u64);
    get_peek_timeout(id: u64) -> u64;
    drop_tls_listener(id: u64);
    drop_tls_stream(id: u64);
    clone_tls_stream(id: u64) -> u64;
    set_tls_read_timeout(id: u64, millis: u64);
    get_tls_read_timeout(id: u64) -> u64;
    set_tls_write_timeout(id: u64, millis: u64);
    get_tls_write_timeout(id: u64) -> u64;
    drop_udp_socket(id: u64);
    clone_udp_socket(id: u64) -> u64;
    set_udp_socket_broadcast(id: u64, broadcast: u32);
    get_udp_socket_broadcast(id: u64) -> i32;
    set_udp_socket_ttl(id: u64, ttl: u32);
    get_udp_socket_ttl(id: u64) -> u32;
    push_tcp_stream(id: u64) -> u64;
    take_tcp_stream(index: u64) -> u64;
    push_tls_stream(id: u64) -> u64;
    take_tls_stream(index: u64) -> u64;
    push_udp_socket(id: u64) -> u64;
    take_udp_socket(index: u64) -> u64;
}

pub(crate) fn tcp_bind(at: SocketAddr) -> Result<u64, Failure> {
    let (at, mut id) = (Passed::from(at), 0);
    // SAFETY: 16 readable bytes, 8 writable ones.
    let status =
        unsafe { host::tcp_bind(at.kind, at.ip.as_ptr(), at.port, at.flow, at.scope, &mut id) };
    settle(status, id)
}

pub(crate) fn tcp_connect(to: SocketAddr, timeout_ms: u64) -> Result<u64, Failure> {
    let (to, mut id) = (Passed::from(to), 0);
    // SAFETY: 16 readable bytes, 8 writable ones.
    let status = unsafe {
        host::tcp_connect(to.kind, to.ip.as_ptr(), to.port, to.flow, to.scope, timeout_ms, &mut id)
    };
    settle_with_id(status, id)
}

pub(crate) fn tcp_accept(id: u64, timeout_ms: u64) -> Result<(u64, SocketAddr), Failure> {
    let (mut stream, mut peer) = (0, 0);
    // SAFETY: two times 8 writable bytes.
    let status = unsafe { host::tcp_accept_timeout(id, timeout_ms, &mut stream, &mut peer) };
    Ok((settle(status, stream)?, address(peer)))
}

pub(crate) fn tls_accept(id: u64, timeout_ms: u64) -> Result<(u64, SocketAddr), Failure> {
    let (mut stream, mut peer) = (0, 0);
    // SAFETY: two times 8 writable bytes.
    let status = unsafe { host::tls_accept_timeout(id, timeout_ms, &mut stream, &mut peer) };
    Ok((settle(status, stream)?, address(peer)))
}

/// Reads, peeks: which of the imports is meant the caller says by `Reading`.
#[derive(Clone, Copy)]
pub(crate) enum Reading {
    Tcp,
    TcpPeek,
    Tls,
}

pub(crate) fn read(id: u64, into: &mut [u8], how: Reading) -> Result<usize, Failure> {
    let (buffer, len, mut read) = (into.as_mut_ptr(), into.len(), 0);
    let status = match how {
        // SAFETY: the pointer is writable for the length given, and 8 bytes.
        Reading::Tcp => unsafe { host::tcp_read(id, buffer, len, &mut read) },
        // SAFETY: as above.
        Reading::TcpPeek => unsafe { host::tcp_peek(id, buffer, len, &mut read) },
        // SAFETY: as above.
        Reading::Tls => unsafe { host::tls_read(id, buffer, len, &mut read) },
    };
    settle(status, read).map(|read| read as usize)
}

/// Writes buffers. An `IoSlice` is what the runtime calls a record: an address and a length.
pub(crate) fn write(
    id: u64,
    buffers: &[std::io::IoSlice<'_>],
    tls: bool,
) -> Result<usize, Failure> {
    let (list, count, mut written) = (buffers.as_ptr().cast(), buffers.len(), 0);
    let status = if tls {
        // SAFETY: `count` records (std guarantees the layout of WASI's `ciovec`), whose buffers are borrowed.
        unsafe { host::tls_write_vectored(id, list, count, &mut written) }
    } else {
        // SAFETY: as above.
        unsafe { host::tcp_write_vectored(id, list, count, &mut written) }
    };
    settle(status, written).map(|written| written as usize)
}

pub(crate) fn tcp_shutdown(id: u64, how: u32) -> Result<(), Failure> {
    let mut error = 0;
    // SAFETY: 8 writable bytes.
    settle(unsafe { host::tcp_shutdown(id, how, &mut error) }, error).map(drop)
}

pub(crate) fn tls_bind(at: SocketAddr, certs: &[u8], keys: &[u8]) -> Result<u64, Failure> {
    let (at, mut id) = (Passed::from(at), 0);
    let (certs, certs_len, keys, keys_len) =
        (certs.as_ptr(), certs.len(), keys.as_ptr(), keys.len());
    // SAFETY: 16 readable bytes, 8 writable ones, two slices with their lengths.
    let status = unsafe {
        host::tls_bind(
            at.kind,
            at.ip.as_ptr(),
            at.port,
            at.flow,
            at.scope,
            &mut id,
            certs,
            certs_len,
            keys,
            keys_len,
        )
    };
    settle(status, id)
}

pub(crate) fn tls_connect(
    host: &str,
    port: u16,
    timeout_ms: u64,
    roots: &[&[u8]],
) -> Result<u64, Failure> {
    let records: Vec<[usize; 2]> =
        roots.iter().map(|root| [root.as_ptr() as usize, root.len()]).collect();
    let (list, count, mut id) = (records.as_ptr().cast(), records.len(), 0);
    // SAFETY: a name with its length, 8 writable bytes, `count` records of an address and a length.
    let status = unsafe {
        host::tls_connect(host.as_ptr(), host.len(), port.into(), timeout_ms, &mut id, list, count)
    };
    settle_with_id(status, id)
}

pub(crate) fn udp_bind(at: SocketAddr) -> Result<u64, Failure> {
    let (at, mut id) = (Passed::from(at), 0);
    // SAFETY: 16 readable bytes, 8 writable ones.
    let status =
        unsafe { host::udp_bind(at.kind, at.ip.as_ptr(), at.port, at.flow, at.scope, &mut id) };
    settle(status, id)
}

/// `None`: it is connected to nobody.
pub(crate) fn udp_peer(id: u64) -> Result<Option<SocketAddr>, Failure> {
    const NOT_CONNECTED: i32 = 1;
    let mut number = 0;
    // SAFETY: 8 writable bytes.
    match unsafe { host::udp_peer_addr(id, &mut number) } {
        NOT_CONNECTED => Ok(None),
        status => settle(status, number).map(|id| Some(address(id))),
    }
}

pub(crate) fn udp_connect(id: u64, to: SocketAddr) -> Result<(), Failure> {
    let (to, mut error) = (Passed::from(to), 0);
    // SAFETY: 16 readable bytes, 8 writable ones.
    let status = unsafe {
        host::udp_connect(id, to.kind, to.ip.as_ptr(), to.port, to.flow, to.scope, 0, &mut error)
    };
    settle(status, error).map(drop)
}

pub(crate) fn udp_receive(
    id: u64,
    into: &mut [u8],
    timeout_ms: u64,
) -> Result<(usize, SocketAddr), Failure> {
    let (mut read, mut sender) = (0, 0);
    let (buffer, len) = (into.as_mut_ptr(), into.len());
    // SAFETY: the pointer is writable for the length given, and two times 8 bytes.
    let status = unsafe {
        host::udp_receive_from_timeout(id, buffer, len, timeout_ms, &mut read, &mut sender)
    };
    let read = settle(status, read)?;
    Ok((read as usize, address(sender)))
}

pub(crate) fn udp_send(id: u64, bytes: &[u8], to: Option<SocketAddr>) -> Result<usize, Failure> {
    let (buffer, len, mut sent) = (bytes.as_ptr(), bytes.len(), 0);
    let status = match to.map(Passed::from) {
        // SAFETY: the pointer is readable for the length given, 16 readable bytes, 8 writable ones.
        Some(to) => unsafe {
            host::udp_send_to(
                id,
                buffer,
                len,
                to.kind,
                to.ip.as_ptr(),
                to.port,
                to.flow,
                to.scope,
                &mut sent,
            )
        },
        // SAFETY: the pointer is readable for the length given, 8 writable bytes.
        None => unsafe { host::udp_send(id, buffer, len, &mut sent) },
    };
    settle(status, sent).map(|sent| sent as usize)
}
