//! UDP: datagrams.

use super::{first, limit, travels, Addresses};
use crate::abi::net as abi;
use crate::abi::FOREVER;
use std::fmt;
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::time::Duration;

/// A UDP socket. Clones and messages share it, as with [`TcpStream`](super::TcpStream).
///
/// ```no_run
/// use lunatic::net::UdpSocket;
///
/// let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
/// socket.send_to(b"ping", "127.0.0.1:9999").unwrap();
/// let mut buffer = [0; 1500];
/// let (count, from) = socket.recv_from(&mut buffer).unwrap();
/// println!("{from}: {:?}", &buffer[..count]);
/// ```
pub struct UdpSocket {
    id: u64,
}

impl UdpSocket {
    /// Receives at the first of the addresses that can be had; port 0 lets the system choose one.
    ///
    /// # Errors
    /// If none can be had.
    pub fn bind(addresses: impl Addresses) -> Result<UdpSocket> {
        first(addresses.addresses()?, |address| Ok(UdpSocket { id: abi::udp_bind(address)? }))
    }

    /// Receives from this address only, from now on, and sends there.
    ///
    /// # Errors
    /// If the system refuses, or the process may not.
    pub fn connect(&self, addresses: impl Addresses) -> Result<()> {
        first(addresses.addresses()?, |address| Ok(abi::udp_connect(self.id, address)?))
    }

    /// Sends a datagram to whom the socket is connected to.
    ///
    /// # Errors
    /// If it is connected to nobody, or the datagram is too long.
    pub fn send(&self, bytes: &[u8]) -> Result<usize> {
        Ok(abi::udp_send(self.id, bytes, None)?)
    }

    /// Sends a datagram to the first of the addresses that can be sent to.
    ///
    /// # Errors
    /// If none can, or the datagram is too long.
    pub fn send_to(&self, bytes: &[u8], addresses: impl Addresses) -> Result<usize> {
        first(addresses.addresses()?, |to| Ok(abi::udp_send(self.id, bytes, Some(to))?))
    }

    /// Waits for a datagram; the bytes of it for which there was room.
    ///
    /// # Errors
    /// If the system tells one.
    pub fn recv(&self, buffer: &mut [u8]) -> Result<usize> {
        Ok(abi::udp_receive(self.id, buffer, FOREVER)?.0)
    }

    /// The same, and who has sent it.
    ///
    /// # Errors
    /// As [`recv`](UdpSocket::recv).
    pub fn recv_from(&self, buffer: &mut [u8]) -> Result<(usize, SocketAddr)> {
        Ok(abi::udp_receive(self.id, buffer, FOREVER)?)
    }

    /// The same, with a limit to the time.
    ///
    /// # Errors
    /// As [`recv`](UdpSocket::recv), and `ErrorKind::TimedOut`.
    pub fn recv_from_timeout(
        &self,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<(usize, SocketAddr)> {
        Ok(abi::udp_receive(self.id, buffer, limit(Some(timeout))?)?)
    }

    /// Where it receives.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        Ok(abi::udp_local(self.id)?)
    }

    /// Whom it is connected to.
    ///
    /// # Errors
    /// `ErrorKind::NotConnected`.
    pub fn peer_addr(&self) -> Result<SocketAddr> {
        let not = || Error::new(ErrorKind::NotConnected, "the socket is connected to nobody");
        abi::udp_peer(self.id)?.ok_or_else(not)
    }

    /// Whether it may send to all in a network.
    pub fn broadcast(&self) -> bool {
        abi::get_udp_socket_broadcast(self.id) != 0
    }

    /// Sets that.
    pub fn set_broadcast(&self, broadcast: bool) {
        abi::set_udp_socket_broadcast(self.id, u32::from(broadcast));
    }

    /// How many networks a datagram may pass.
    pub fn ttl(&self) -> u32 {
        abi::get_udp_socket_ttl(self.id)
    }

    /// Sets that.
    ///
    /// # Panics
    /// If it is not between 1 and 255.
    pub fn set_ttl(&self, ttl: u32) {
        assert!((1..=255).contains(&ttl), "a time to live of {ttl}: it is between 1 and 255");
        abi::set_udp_socket_ttl(self.id, ttl);
    }
}

impl Clone for UdpSocket {
    fn clone(&self) -> UdpSocket {
        UdpSocket { id: abi::clone_udp_socket(self.id) }
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        abi::drop_udp_socket(self.id);
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UdpSocket({})", self.id)
    }
}

travels!("UdpSocket", UdpSocket, clone_udp_socket, push_udp_socket, take_udp_socket);
