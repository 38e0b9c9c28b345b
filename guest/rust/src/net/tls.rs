//! TLS: listeners and streams.

use super::{duration, first, limit, travels, Addresses};
use crate::abi::net::{self as abi, Reading};
use crate::abi::FOREVER;
use std::fmt;
use std::io::{IoSlice, Read, Result, Write};
use std::net::SocketAddr;
use std::time::Duration;

/// A socket that listens for connections with TLS.
///
/// Certificates and keys are PEM. With several certificates and keys, a client gets the one for the name it asks for.
///
/// ```no_run
/// use lunatic::net::TlsListener;
///
/// let (certs, keys) = (std::fs::read("cert.pem").unwrap(), std::fs::read("key.pem").unwrap());
/// let listener = TlsListener::bind("127.0.0.1:8443", &certs, &keys).unwrap();
/// loop {
///     match listener.accept() {
///         Ok((stream, peer)) => println!("{peer}: {stream:?}"),
///         Err(error) => println!("{error}"), // a client whose handshake failed, for example
///     }
/// }
/// ```
pub struct TlsListener {
    id: u64,
}

impl TlsListener {
    /// Listens on the first of the addresses that can be had.
    ///
    /// # Errors
    /// If none can be had, or certificates and keys do not belong together.
    pub fn bind(addresses: impl Addresses, certs: &[u8], keys: &[u8]) -> Result<TlsListener> {
        first(addresses.addresses()?, |address| {
            Ok(TlsListener { id: abi::tls_bind(address, certs, keys)? })
        })
    }

    /// Waits for a connection and its handshake.
    ///
    /// # Errors
    /// If a client's handshake has failed, among others: ask again.
    pub fn accept(&self) -> Result<(TlsStream, SocketAddr)> {
        self.accept_within(FOREVER)
    }

    /// The same, with a limit to the time.
    ///
    /// # Errors
    /// As [`accept`](TlsListener::accept), and `ErrorKind::TimedOut`.
    pub fn accept_timeout(&self, timeout: Duration) -> Result<(TlsStream, SocketAddr)> {
        self.accept_within(limit(Some(timeout))?)
    }

    fn accept_within(&self, timeout_ms: u64) -> Result<(TlsStream, SocketAddr)> {
        let (id, peer) = abi::tls_accept(self.id, timeout_ms)?;
        Ok((TlsStream { id }, peer))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn local_addr(&self) -> Result<SocketAddr> {
        Ok(abi::tls_local(self.id)?)
    }
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        abi::drop_tls_listener(self.id);
    }
}

impl fmt::Debug for TlsListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsListener({})", self.id)
    }
}

/// A TLS connection. Clones and messages share it, as with [`TcpStream`](super::TcpStream).
///
/// ```no_run
/// use lunatic::net::TlsStream;
/// use std::io::{Read, Write};
///
/// let mut stream = TlsStream::connect("example.org", 443).unwrap();
/// stream.write_all(b"GET / HTTP/1.0\r\nHost: example.org\r\n\r\n").unwrap();
/// let mut page = Vec::new();
/// stream.read_to_end(&mut page).unwrap();
/// ```
pub struct TlsStream {
    id: u64,
}

impl TlsStream {
    /// Connects to a host, whose certificate must be signed by someone whom browsers trust.
    ///
    /// # Errors
    /// If there is nobody, or somebody else.
    pub fn connect(host: &str, port: u16) -> Result<TlsStream> {
        Ok(TlsStream { id: abi::tls_connect(host, port, FOREVER, &[])? })
    }

    /// Connects to a host, trusting these certificates (PEM) instead.
    ///
    /// # Errors
    /// As [`connect`](TlsStream::connect).
    pub fn connect_with_certs(host: &str, port: u16, certs: &[&[u8]]) -> Result<TlsStream> {
        Ok(TlsStream { id: abi::tls_connect(host, port, FOREVER, certs)? })
    }

    /// The same (without certificates, as [`connect`](TlsStream::connect)), with a limit to the time for everything.
    ///
    /// # Errors
    /// As [`connect`](TlsStream::connect), and `ErrorKind::TimedOut`.
    pub fn connect_timeout(
        host: &str,
        port: u16,
        certs: &[&[u8]],
        timeout: Duration,
    ) -> Result<TlsStream> {
        Ok(TlsStream { id: abi::tls_connect(host, port, limit(Some(timeout))?, certs)? })
    }

    /// The address of the other side.
    ///
    /// # Errors
    /// If the connection has ended.
    pub fn peer_addr(&self) -> Result<SocketAddr> {
        Ok(abi::tls_peer(self.id)?)
    }

    /// The longest that reading takes; `None` at first, without limit.
    pub fn read_timeout(&self) -> Option<Duration> {
        duration(abi::get_tls_read_timeout(self.id))
    }

    /// Sets that, for all who hold the connection.
    ///
    /// # Errors
    /// If the timeout is zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> Result<()> {
        abi::set_tls_read_timeout(self.id, limit(timeout)?);
        Ok(())
    }

    /// The longest that writing takes; `None` at first, without limit.
    pub fn write_timeout(&self) -> Option<Duration> {
        duration(abi::get_tls_write_timeout(self.id))
    }

    /// Sets that, for all who hold the connection.
    ///
    /// # Errors
    /// If the timeout is zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> Result<()> {
        abi::set_tls_write_timeout(self.id, limit(timeout)?);
        Ok(())
    }
}

impl Read for TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        (&*self).read(buffer)
    }
}

impl Read for &TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        Ok(abi::read(self.id, buffer, Reading::Tls)?)
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        (&*self).write(bytes)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> Result<usize> {
        (&*self).write_vectored(buffers)
    }

    fn flush(&mut self) -> Result<()> {
        (&*self).flush()
    }
}

impl Write for &TlsStream {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> Result<usize> {
        Ok(abi::write(self.id, buffers, true)?)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(abi::tls_flush(self.id)?)
    }
}

impl Clone for TlsStream {
    fn clone(&self) -> TlsStream {
        TlsStream { id: abi::clone_tls_stream(self.id) }
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        abi::drop_tls_stream(self.id);
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsStream({})", self.id)
    }
}

travels!("TlsStream", TlsStream, clone_tls_stream, push_tls_stream, take_tls_stream);
