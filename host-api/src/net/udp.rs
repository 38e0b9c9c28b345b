//! A socket for datagrams.

use std::net::{SocketAddr, UdpSocket as StdUdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketType, sockopt};

use super::socket::{Reach, address, bound};
use crate::ready::{Source, Tried};

/// A UDP socket. The last who lets go closes it.
#[derive(Debug)]
pub(crate) struct UdpSocket {
    socket: StdUdpSocket,
    pub(crate) source: Arc<Source>,
    /// It was bound by one who may be reached there by whomever.
    pub(crate) listens: bool,
}

impl UdpSocket {
    /// One that may be reached by whomever can reach it.
    pub(crate) fn listen(at: SocketAddr, reach: Reach) -> rustix::io::Result<Self> {
        Self::bind(at, reach, true)
    }

    /// One that talks to others. At `[::]` to those with IPv4, too, by mapped addresses.
    pub(crate) fn talk(at: SocketAddr) -> rustix::io::Result<Self> {
        Self::bind(at, Reach::AsTheSystem, false)
    }

    fn bind(at: SocketAddr, reach: Reach, listens: bool) -> rustix::io::Result<Self> {
        let socket = bound(at, SocketType::DGRAM, reach)?.into();
        Ok(Self { socket, source: Arc::default(), listens })
    }

    /// From now on it hears of nobody else, and need not be told where to send.
    pub(crate) fn connect(&self, to: SocketAddr) -> rustix::io::Result<()> {
        rustix::net::connect(&self.socket, &to)
    }

    /// The next datagram, cut off where the buffer ends, and who has sent it.
    pub(crate) fn receive(
        &self,
        into: &mut [u8],
    ) -> rustix::io::Result<Tried<(usize, SocketAddr)>> {
        let tried = self
            .source
            .attempt(|| rustix::net::recvfrom(&self.socket, &mut *into, RecvFlags::empty()))?;
        match tried {
            Tried::Done((count, _, from)) => Ok(Tried::Done((count, address(from)?))),
            Tried::NotYet(seen) => Ok(Tried::NotYet(seen)),
        }
    }

    /// Sends a datagram to whom it is connected to, or to somebody.
    pub(crate) fn send(
        &self,
        bytes: &[u8],
        to: Option<SocketAddr>,
    ) -> rustix::io::Result<Tried<usize>> {
        self.source.attempt(|| match to {
            Some(to) => rustix::net::sendto(&self.socket, bytes, SendFlags::NOSIGNAL, &to),
            None => rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL),
        })
    }

    pub(crate) fn local(&self) -> rustix::io::Result<SocketAddr> {
        address(Some(rustix::net::getsockname(&self.socket)?))
    }

    /// `None`: it is not connected.
    pub(crate) fn peer(&self) -> rustix::io::Result<Option<SocketAddr>> {
        match rustix::net::getpeername(&self.socket) {
            Ok(peer) => address(peer).map(Some),
            Err(Errno::NOTCONN) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn broadcast(&self) -> rustix::io::Result<bool> {
        sockopt::socket_broadcast(&self.socket)
    }

    pub(crate) fn set_broadcast(&self, broadcast: bool) -> rustix::io::Result<()> {
        sockopt::set_socket_broadcast(&self.socket, broadcast)
    }

    pub(crate) fn ttl(&self) -> std::io::Result<u32> {
        self.socket.ttl()
    }

    pub(crate) fn set_ttl(&self, ttl: u32) -> std::io::Result<()> {
        self.socket.set_ttl(ttl)
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
