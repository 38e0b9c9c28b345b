//! A listening socket: one that a process is given, or has made.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::SocketFlags;

use super::socket::{Socket, address, prepare};
use crate::ready::{Source, Tried};

/// Connections that may wait to be accepted; the system has a limit of its own.
const BACKLOG: i32 = 4096;

/// A listening socket that a process is given; clones, and all processes, share it.
#[derive(Debug, Clone)]
pub struct ListenGrant(pub(crate) Arc<Listener>);

impl ListenGrant {
    /// Listens on the first address of this name that is free.
    ///
    /// # Errors
    /// When the name means no address, or none of them can be had.
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        Listener::bind(address).map(|listener| Self(Arc::new(listener)))
    }

    /// Where it listens: with the port that the system chose, if it was asked to.
    ///
    /// # Errors
    /// When the system does not know.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.socket.local_addr()
    }
}

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: TcpListener,
    pub(crate) source: Arc<Source>,
}

impl Listener {
    /// Never blocks if it is given addresses instead of names.
    pub(crate) fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        let socket = TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        prepare(&socket)?;
        // Once more, as the library's backlog is small: a storm would be refused.
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
