//! TLS over TCP: a socket, and a session that turns its bytes into the guest's.
//!
//! The session (rustls) does no input or output of its own. Whoever reads or writes moves bytes between
//! it and the socket first, under the stream's lock, for as long as nothing has to wait. Cryptography is
//! done on the worker: a record is 16 KiB at most, and takes some microseconds.
//!
//! What was written counts as written when it is in the session; a writer then waits until it is with
//! the kernel, so that nothing is left lying that nobody will push.

mod certificates;
mod client;
mod listener;

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::Connection;
use rustls::crypto::CryptoProvider;

use super::Socket;
use super::tcp::Timeouts;
use crate::ready::Tried;

pub(crate) use certificates::{BYTES_MAX as PEM_MAX, Pem, certificate_queue};
pub(crate) use client::{Dial, client_config};
pub(crate) use listener::{Accepted, TlsListener};

/// The algorithms: those of ring.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A TLS connection. The last who lets go ends and closes it.
pub(crate) struct TlsStream {
    socket: Socket,
    session: Mutex<Connection>,
    pub(crate) timeouts: Timeouts,
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// The socket, as the session wants it.
struct Wire<'a>(&'a Socket);

fn or_would_block<T>(tried: rustix::io::Result<Tried<T>>) -> io::Result<T> {
    match tried? {
        Tried::Done(value) => Ok(value),
        Tried::NotYet(_) => Err(ErrorKind::WouldBlock.into()),
    }
}

impl Read for Wire<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        or_would_block(self.0.receive(into, false))
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        or_would_block(self.0.send(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn would_block(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}

impl TlsStream {
    fn new(socket: Socket, session: impl Into<Connection>) -> Self {
        Self { socket, session: Mutex::new(session.into()), timeouts: Timeouts::default() }
    }

    /// Goes on with the handshake.
    pub(crate) fn shake_hands(&self) -> io::Result<Tried<()>> {
        let seen = self.socket.source.seen();
        let mut session = self.session.lock();
        loop {
            if !push(&mut session, &self.socket)? {
                return Ok(Tried::NotYet(seen));
            }
            if !session.is_handshaking() {
                return Ok(Tried::Done(()));
            }
            match session.read_tls(&mut Wire(&self.socket)) {
                Ok(0) => {
                    let text = "the other side ended in the middle of the handshake";
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, text));
                }
                Ok(_) => digest(&mut session, &self.socket)?,
                Err(error) if would_block(&error) => return Ok(Tried::NotYet(seen)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads what there is; nothing is the end.
    pub(crate) fn read(&self, into: &mut [u8]) -> io::Result<Tried<usize>> {
        let seen = self.socket.source.seen();
        let mut session = self.session.lock();
        loop {
            match session.reader().read(into) {
                Err(error) if would_block(&error) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    let text = "the other side ended without the farewell that TLS asks for";
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, text));
                }
                other => return other.map(Tried::Done),
            }
            push(&mut session, &self.socket)?;
            match session.read_tls(&mut Wire(&self.socket)) {
                Ok(_) => digest(&mut session, &self.socket)?,
                Err(error) if would_block(&error) => return Ok(Tried::NotYet(seen)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes bytes into the session, which has been [flushed](Self::flush); how many.
    pub(crate) fn take(&self, bytes: &[u8]) -> io::Result<usize> {
        self.session.lock().writer().write(bytes)
    }

    /// Gives the kernel all that is in the session.
    pub(crate) fn flush(&self) -> io::Result<Tried<()>> {
        let seen = self.socket.source.seen();
        let done = push(&mut self.session.lock(), &self.socket)?;
        Ok(if done { Tried::Done(()) } else { Tried::NotYet(seen) })
    }
}

/// Gives the kernel what it takes; whether that was everything.
fn push(session: &mut Connection, socket: &Socket) -> io::Result<bool> {
    while session.wants_write() {
        match session.write_tls(&mut Wire(socket)) {
            Ok(_) => {}
            Err(error) if would_block(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Looks at what has come. Before an error is told, the other side is.
fn digest(session: &mut Connection, socket: &Socket) -> io::Result<()> {
    if let Err(error) = session.process_new_packets() {
        let _gone = push(session, socket);
        return Err(io::Error::new(ErrorKind::InvalidData, error));
    }
    Ok(())
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        let session = self.session.get_mut();
        session.send_close_notify();
        // As far as there is room: nobody is left to wait.
        let _gone = push(session, &self.socket);
    }
}

impl Deref for TlsStream {
    type Target = Socket;
    fn deref(&self) -> &Socket {
        &self.socket
    }
}
