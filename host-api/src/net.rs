//! Sockets that a process is given, and those that come in through them.
//!
//! All are non-blocking, so a call is made on the worker and either done at once or waits in
//! `ready.rs`.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags};

use crate::api::wasi::Errno;
use crate::ready::Source;

/// A listening socket that a process is given; clones, and all processes, share it.
#[derive(Debug, Clone)]
pub struct ListenGrant(pub(crate) Arc<Listener>);

impl ListenGrant {
    /// Listens on the first address of this name that is free.
    ///
    /// # Errors
    /// When the name means no address, or none of them can be had.
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        let socket = TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        Ok(Self(Arc::new(Listener { socket, source: Arc::default() })))
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

/// A connection.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: OwnedFd,
    pub(crate) source: Arc<Source>,
}

impl Listener {
    /// The next connection; [`Errno::Again`] if there is none.
    pub(crate) fn accept(&self) -> Result<Socket, Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = loop {
            match rustix::net::accept_with(&self.socket, flags) {
                // It came and went; the next one is as good.
                Err(rustix::io::Errno::CONNABORTED | rustix::io::Errno::INTR) => {}
                other => break other?,
            }
        };
        // Guests cannot ask for it, and answers in two pieces would wait 40 ms without. A socket
        // that is already gone may refuse.
        let _set = rustix::net::sockopt::set_tcp_nodelay(&socket, true);
        Ok(Socket { socket, source: Arc::default() })
    }
}

impl Socket {
    /// What has come, at most `len` bytes; nothing is the end.
    pub(crate) fn receive(&self, len: usize, peek: bool) -> Result<Vec<u8>, Errno> {
        let mut bytes = vec![0; len];
        let flags = if peek { RecvFlags::PEEK } else { RecvFlags::empty() };
        let (count, _) = rustix::net::recv(&self.socket, &mut bytes[..], flags)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    /// Sends what there is room for.
    pub(crate) fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        Ok(rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL)?)
    }

    /// Ends one direction or both.
    pub(crate) fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        Ok(rustix::net::shutdown(&self.socket, how)?)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
