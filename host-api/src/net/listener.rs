//! A listening socket: one that a process is given, or has made.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{SocketFlags, SocketType};

use super::socket::{Reach, Socket, address, bound, prepare};
use crate::ready::{Source, Tried};

/// Connections that may wait to be accepted, so many that a storm is not refused; the system has a limit
/// of its own.
const BACKLOG: i32 = 4096;

/// A listening socket that a process is given; clones, and all processes, share it.
#[derive(Debug, Clone)]
pub struct ListenGrant(pub(crate) Arc<Listener>);

impl ListenGrant {
    /// Listens on the first address of this name that is free; at `[::]` on IPv4, too, if the system
    /// has it so.
    ///
    /// # Errors
    /// When the name means no address, or none of them can be had.
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
        for at in address.to_socket_addrs()? {
            match Listener::bind(at, Reach::AsTheSystem) {
                Ok(listener) => return Ok(Self(Arc::new(listener))),
                Err(error) => failed = error.into(),
            }
        }
        Err(failed)
    }

    /// Where it listens: with the port that the system chose, if it was asked to.
    ///
    /// # Errors
    /// When the system does not know.
    pub fn address(&self) -> io::Result<SocketAddr> {
        Ok(self.0.local()?)
    }
}

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: OwnedFd,
    pub(crate) source: Arc<Source>,
}

impl Listener {
    pub(crate) fn bind(at: SocketAddr, reach: Reach) -> rustix::io::Result<Self> {
        let socket = bound(at, SocketType::STREAM, reach)?;
        prepare(&socket)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(Self { socket, source: Arc::default() })
    }

    pub(crate) fn local(&self) -> rustix::io::Result<SocketAddr> {
        address(Some(rustix::net::getsockname(&self.socket)?))
    }

    /// The next connection, and who has made it.
    pub(crate) fn accept(&self) -> rustix::io::Result<Tried<(Socket, SocketAddr)>> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let tried = self.source.attempt(|| {
            loop {
                match rustix::net::acceptfrom_with(&self.socket, flags) {
                    // It came and went; the next one is as good.
                    Err(Errno::CONNABORTED) => {}
                    other => break other,
                }
            }
        })?;
        match tried {
            Tried::Done((fd, peer)) => Ok(Tried::Done((Socket::new(fd), address(peer)?))),
            Tried::NotYet(seen) => Ok(Tried::NotYet(seen)),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
