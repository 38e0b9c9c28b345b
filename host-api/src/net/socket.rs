//! A connection: the descriptor, and those who wait for it.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrAny, SocketFlags, SocketType, sockopt,
};

use crate::ready::{self, Interest, Source, Tried};

/// The system asks whether the other side is still there after this time without a word, and again at
/// this interval. By feel: a vanished one is found out within two minutes, and ten thousand idle
/// connections cost some hundred packets a second.
const ASK_AFTER: Duration = Duration::from_secs(60);
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(15);
/// Questions without an answer after which it has vanished.
const ASK_TIMES: u32 = 4;

/// How our connections behave: set for one, or for the listening socket of which they have it.
pub(super) fn prepare(socket: impl AsFd) -> rustix::io::Result<()> {
    // Answers in two pieces would wait 40 ms without.
    sockopt::set_tcp_nodelay(&socket, true)?;
    // Who has lost power or network says no farewell, and would be waited for for ever.
    sockopt::set_tcp_keepidle(&socket, ASK_AFTER)?;
    sockopt::set_tcp_keepintvl(&socket, ASK_AGAIN_AFTER)?;
    sockopt::set_tcp_keepcnt(&socket, ASK_TIMES)?;
    sockopt::set_socket_keepalive(&socket, true)
}

/// A connected socket.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    pub(crate) source: Arc<Source>,
}

impl Socket {
    /// One that is [prepared](prepare).
    pub(super) fn new(fd: OwnedFd) -> Self {
        Self { fd, source: Arc::default() }
    }

    /// What has come, as much as there is room for; nothing is the end.
    pub(crate) fn receive(&self, into: &mut [u8], peek: bool) -> rustix::io::Result<Tried<usize>> {
        if into.is_empty() {
            return Ok(Tried::Done(0)); // the kernel would wait for something to come
        }
        let seen = self.source.seen();
        if self.source.is_drained(seen) {
            return Ok(Tried::NotYet(seen));
        }
        let flags = if peek { RecvFlags::PEEK } else { RecvFlags::empty() };
        let tried = self.source.attempt(|| rustix::net::recv(&self.fd, &mut *into, flags))?;
        if let Tried::Done((count, _)) = tried
            && !peek
            && count > 0
            && count < into.len()
        {
            self.source.drained(seen);
        }
        Ok(match tried {
            Tried::Done((count, _)) => Tried::Done(count),
            Tried::NotYet(seen) => Tried::NotYet(seen),
        })
    }

    /// Sends what there is room for.
    pub(crate) fn send(&self, bytes: &[u8]) -> rustix::io::Result<Tried<usize>> {
        self.source.attempt(|| rustix::net::send(&self.fd, bytes, SendFlags::NOSIGNAL))
    }

    /// Ends one direction or both.
    pub(crate) fn shutdown(&self, how: Shutdown) -> rustix::io::Result<()> {
        rustix::net::shutdown(&self.fd, how)
    }

    pub(crate) fn peer(&self) -> rustix::io::Result<SocketAddr> {
        address(rustix::net::getpeername(&self.fd)?)
    }

    pub(crate) fn local(&self) -> rustix::io::Result<SocketAddr> {
        address(Some(rustix::net::getsockname(&self.fd)?))
    }

    /// Whether small pieces are sent at once; they are, unless told otherwise.
    pub(crate) fn nodelay(&self) -> rustix::io::Result<bool> {
        sockopt::tcp_nodelay(&self.fd)
    }

    pub(crate) fn set_nodelay(&self, nodelay: bool) -> rustix::io::Result<()> {
        sockopt::set_tcp_nodelay(&self.fd, nodelay)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A connection that is being made.
#[derive(Debug)]
pub(crate) struct Connecting(Socket);

impl Connecting {
    /// Asks the kernel to connect.
    pub(crate) fn new(to: SocketAddr) -> rustix::io::Result<Self> {
        let fd = open(to, SocketType::STREAM)?;
        prepare(&fd)?;
        match rustix::net::connect(&fd, &to) {
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        Ok(Self(Socket::new(fd)))
    }

    /// Whether the connection stands.
    pub(crate) fn attempt(&self) -> rustix::io::Result<Tried<()>> {
        let socket = &self.0;
        socket.source.attempt(|| {
            if ready::look(&socket.fd, Interest::Write)?.is_none() {
                return Err(Errno::AGAIN);
            }
            sockopt::socket_error(&socket.fd)?
        })
    }

    pub(crate) fn socket(&self) -> &Socket {
        &self.0
    }

    /// The connection, which stands.
    pub(crate) fn into_socket(self) -> Socket {
        self.0
    }
}

/// A socket for such an address.
fn open(address: SocketAddr, kind: SocketType) -> rustix::io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    rustix::net::socket_with(family, kind, flags, None)
}

/// Who reaches a socket that is bound to `[::]`, where the system lets IPv4 in by mapped addresses. To
/// all other addresses this makes no difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// IPv4, too, as the system has it.
    AsTheSystem,
    /// IPv6 alone.
    V6Only,
}

/// A socket that is bound to this address. Without a name to look up it never blocks.
pub(super) fn bound(at: SocketAddr, kind: SocketType, reach: Reach) -> rustix::io::Result<OwnedFd> {
    let fd = open(at, kind)?;
    if kind == SocketType::STREAM {
        // A server that is started again need not wait until the connections of the last are forgotten.
        sockopt::set_socket_reuseaddr(&fd, true)?;
    }
    if reach == Reach::V6Only && at.is_ipv6() && at.ip().is_unspecified() {
        sockopt::set_ipv6_v6only(&fd, true)?;
    }
    rustix::net::bind(&fd, &at)?;
    Ok(fd)
}

/// An address of the internet; there are no others here.
pub(super) fn address(any: Option<SocketAddrAny>) -> rustix::io::Result<SocketAddr> {
    any.ok_or(Errno::NOTCONN)?.try_into()
}
