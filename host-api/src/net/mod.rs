//! Sockets: those that a process is given, and those that it makes.
//!
//! All are non-blocking, so a call is made on the worker and either done at once or waits in
//! `ready/`. Bytes go through a buffer of the worker's (`scratch`): the kernel never sees a guest's
//! memory. Read in this order: `socket` (a connection), `listener`, `tcp` (a connection as guests
//! share it), `udp`, `lookup` (names to addresses), `tls`, `state` (what a call of one process is at).

mod failure;
mod listener;
mod lookup;
mod scratch;
mod socket;
mod state;
mod tcp;
mod tls;
mod udp;

pub(crate) use failure::Failure;
pub use listener::ListenGrant;
pub(crate) use listener::Listener;
pub(crate) use lookup::{Lookup, lookup_queue};
pub(crate) use scratch::{SCRATCH_BYTES, with_scratch};
pub(crate) use socket::{Connecting, Reach, Socket};
pub(crate) use state::{Net, Pending};
pub(crate) use tcp::TcpStream;
pub(crate) use tls::{
    Accepted, Dial, PEM_MAX, Pem, TlsListener, TlsStream, certificate_queue, client_config,
};
pub(crate) use udp::UdpSocket;

/// Addresses that are given out one by one.
#[derive(Debug)]
pub(crate) struct Addresses(smallvec::IntoIter<[std::net::SocketAddr; 1]>);

impl Addresses {
    pub(crate) fn new(addresses: impl IntoIterator<Item = std::net::SocketAddr>) -> Self {
        Self(addresses.into_iter().collect::<smallvec::SmallVec<_>>().into_iter())
    }

    /// The next one; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<std::net::SocketAddr> {
        self.0.next()
    }
}
