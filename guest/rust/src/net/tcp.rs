//! TCP: listeners and streams.

use super::{duration, first, limit, travels, Addresses};
use crate::abi::net::{self as abi, Reading};
use crate::abi::FOREVER;
use std::fmt;
use std::io::{IoSlice, Read, Result, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

/// A socket that listens for connections. Clones and messages share it: several processes may accept from one, and each
/// connection goes to one of them.
///
/// ```no_run
/// use lunatic::net::TcpListener;
///
/// let listener = TcpListener::bind("127.0.0.1:0").unwrap();
/// println!("listening on {}", listener.local_addr().unwrap());
/// let (stream, peer) = listener.accept().unwrap();
/// ```
pub struct TcpListener {
    id: u64,
}

impl TcpListener {
    /// Listens on the first of the addresses that can be had; port 0 lets the system choose one.
    ///
    /// # Errors
    /// If none can be had.
    pub fn bind(addresses: impl Addresses) -> Result<TcpListener> {
        first(addresses.addresses()?, |address| Ok(TcpListener { id: abi::tcp_bind(address)? }))
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// If there are too many open files, for example. The listener goes on listening.
    pub fn accept(&self) -> Result<(TcpStream, SocketAddr)> {
        self.accept_within(FOREVER)
    }

    /// The same, with a limit to the time.
    ///
    /// # Errors
    /// As [`accept`](TcpListener::accept), and `ErrorKind::TimedOut`.
    pub fn accept_timeout(&self, timeout: Duration) -> Result<(TcpStream, SocketAddr)> {
        self.accept_within(limit(Some(timeout))?)
    }

    fn accept_within(&self, timeout_ms: u64) -> Result<(TcpStream, SocketAddr)> {
        let (id, peer) = abi::tcp_accept(self.id, timeout_ms)?;
        Ok((TcpStream { id }, peer))
    }

    /// Connections, one after the other, without end.
    ///
    /// ```no_run
    /// # let listener = lunatic::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// for stream in listener.incoming().flatten() {
    ///     println!("{:?}", stream.peer_addr());
    /// }
    /// ```
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        Ok(abi::tcp_local(self.id)?)
    }
}

impl Clone for TcpListener {
    fn clone(&self) -> TcpListener {
        TcpListener { id: abi::clone_tcp_listener(self.id) }
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        abi::drop_tcp_listener(self.id);
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TcpListener({})", self.id)
    }
}

/// Connections of a listener; made by [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = Result<TcpStream>;

    fn next(&mut self) -> Option<Result<TcpStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

/// A TCP connection.
///
/// A clone is another handle of the same connection, in this process or, sent there, in another one: to read in one and
/// write in another, for example. The last that is dropped closes it. Timeouts belong to the connection.
///
/// ```no_run
/// use lunatic::net::TcpStream;
/// use std::io::{Read, Write};
///
/// let mut stream = TcpStream::connect("127.0.0.1:8080").unwrap();
/// stream.write_all(b"hello").unwrap();
/// let mut answer = [0; 5];
/// stream.read_exact(&mut answer).unwrap();
/// ```
pub struct TcpStream {
    id: u64,
}

impl TcpStream {
    /// Connects to the first of the addresses that answers.
    ///
    /// # Errors
    /// If none does.
    pub fn connect(addresses: impl Addresses) -> Result<TcpStream> {
        first(addresses.addresses()?, |address| {
            Ok(TcpStream { id: abi::tcp_connect(address, FOREVER)? })
        })
    }

    /// Connects to an address, with a limit to the time.
    ///
    /// # Errors
    /// If there is nobody, and `ErrorKind::TimedOut`.
    pub fn connect_timeout(address: &SocketAddr, timeout: Duration) -> Result<TcpStream> {
        Ok(TcpStream { id: abi::tcp_connect(*address, limit(Some(timeout))?)? })
    }

    /// The address of the other side.
    ///
    /// # Errors
    /// If the connection has ended.
    pub fn peer_addr(&self) -> Result<SocketAddr> {
        Ok(abi::tcp_peer(self.id)?)
    }

    /// The address of this side.
    ///
    /// # Errors
    /// If the connection has ended.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        Ok(abi::tcp_stream_local(self.id)?)
    }

    /// Reads without taking: the next read gets the same bytes.
    ///
    /// # Errors
    /// As reading.
    pub fn peek(&self, buffer: &mut [u8]) -> Result<usize> {
        Ok(abi::read(self.id, buffer, Reading::TcpPeek)?)
    }

    /// Ends one direction or both, for all who hold the connection.
    ///
    /// # Errors
    /// If the connection has ended.
    pub fn shutdown(&self, how: Shutdown) -> Result<()> {
        let how = match how {
            Shutdown::Read => 1,
            Shutdown::Write => 2,
            Shutdown::Both => 3,
        };
        Ok(abi::tcp_shutdown(self.id, how)?)
    }

    /// Whether small pieces are sent at once; they are, unless told otherwise.
    pub fn nodelay(&self) -> bool {
        abi::get_nodelay(self.id) != 0
    }

    /// Sets that.
    pub fn set_nodelay(&self, nodelay: bool) {
        abi::set_nodelay(self.id, u32::from(nodelay));
    }

    /// The longest that reading takes; `None` at first, without limit.
    pub fn read_timeout(&self) -> Option<Duration> {
        duration(abi::get_read_timeout(self.id))
    }

    /// Sets that, for all who hold the connection.
    ///
    /// # Errors
    /// If the timeout is zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> Result<()> {
        abi::set_read_timeout(self.id, limit(timeout)?);
        Ok(())
    }

    /// The longest that writing takes; `None` at first, without limit.
    pub fn write_timeout(&self) -> Option<Duration> {
        duration(abi::get_write_timeout(self.id))
    }

    /// Sets that, for all who hold the connection.
    ///
    /// # Errors
    /// If the timeout is zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> Result<()> {
        abi::set_write_timeout(self.id, limit(timeout)?);
        Ok(())
    }

    /// The longest that peeking takes; `None` at first, without limit.
    pub fn peek_timeout(&self) -> Option<Duration> {
        duration(abi::get_peek_timeout(self.id))
    }

    /// Sets that, for all who hold the connection.
    ///
    /// # Errors
    /// If the timeout is zero.
    pub fn set_peek_timeout(&self, timeout: Option<Duration>) -> Result<()> {
        abi::set_peek_timeout(self.id, limit(timeout)?);
        Ok(())
    }
}

impl Read for TcpStream {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        (&*self).read(buffer)
    }
}

impl Read for &TcpStream {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        Ok(abi::read(self.id, buffer, Reading::Tcp)?)
    }
}

impl Write for TcpStream {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        (&*self).write(bytes)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> Result<usize> {
        (&*self).write_vectored(buffers)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Write for &TcpStream {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> Result<usize> {
        Ok(abi::write(self.id, buffers, false)?)
    }

    /// Nothing is held back.
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Clone for TcpStream {
    fn clone(&self) -> TcpStream {
        TcpStream { id: abi::clone_tcp_stream(self.id) }
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        abi::drop_tcp_stream(self.id);
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TcpStream({})", self.id)
    }
}

travels!("TcpListener", TcpListener, clone_tcp_listener, push_tcp_listener, take_tcp_listener);
travels!("TcpStream", TcpStream, clone_tcp_stream, push_tcp_stream, take_tcp_stream);
