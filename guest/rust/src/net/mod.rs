//! Sockets: TCP, UDP, TLS, and names.
//!
//! They look like those of `std::net`. A call that has to wait suspends its process and never a thread, so a process for
//! each connection is the way to write a server; tens of thousands are no problem. Streams travel in messages and in the
//! context of [`Process::spawn`](crate::Process::spawn).
//!
//! ```no_run
//! use lunatic::net::{TcpListener, TcpStream};
//! use lunatic::Process;
//! use std::io::{Read, Write};
//!
//! fn main() -> std::io::Result<()> {
//!     let listener = TcpListener::bind("127.0.0.1:8080")?;
//!     loop {
//!         let (stream, _) = listener.accept()?;
//!         Process::spawn(stream, echo).expect("there is room");
//!     }
//! }
//!
//! fn echo(mut stream: TcpStream) {
//!     let mut buffer = [0; 4096];
//!     while let Ok(count @ 1..) = stream.read(&mut buffer) {
//!         if stream.write_all(&buffer[..count]).is_err() {
//!             break;
//!         }
//!     }
//! }
//! ```
//!
//! # What travels
//! Serialised into a message, a stream gets a handle of its own there, as a [`Channel`](crate::Channel) does; the sender
//! keeps his, and the connection is closed when the last is dropped. A stream in a message that nobody receives is
//! dropped with it.
//!
//! # Rights
//! `lunatic run` grants no network unless it is told to: `--allow-net`. What is not allowed fails with
//! `ErrorKind::PermissionDenied` or the like, and a text that names the rule to add.

mod resolve;
mod tcp;
mod tls;
mod udp;

pub use resolve::{resolve, resolve_timeout, Addresses};
pub use tcp::{Incoming, TcpListener, TcpStream};
pub use tls::{TlsListener, TlsStream};
pub use udp::UdpSocket;

use crate::abi::net::Failure;
use crate::abi::FOREVER;
use crate::time::milliseconds;
use std::io::{Error, ErrorKind};
use std::time::Duration;

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::TimedOut => Error::new(ErrorKind::TimedOut, "the time was over first"),
            Failure::Said(text, code) => Error::new(kind(code), text),
        }
    }
}

/// The kind of one of WASI's numbers.
fn kind(code: u16) -> ErrorKind {
    match code {
        2 | 63 | 76 => ErrorKind::PermissionDenied,
        3 => ErrorKind::AddrInUse,
        4 => ErrorKind::AddrNotAvailable,
        13 => ErrorKind::ConnectionAborted,
        14 => ErrorKind::ConnectionRefused,
        15 => ErrorKind::ConnectionReset,
        28 => ErrorKind::InvalidInput,
        48 => ErrorKind::OutOfMemory,
        53 => ErrorKind::NotConnected,
        64 => ErrorKind::BrokenPipe,
        73 => ErrorKind::TimedOut,
        _ => ErrorKind::Other,
    }
}

/// A time as the runtime takes it. As with `std::net`, a limit of no time at all is none.
fn limit(timeout: Option<Duration>) -> std::io::Result<u64> {
    match timeout {
        None => Ok(FOREVER),
        Some(Duration::ZERO) => {
            let text = "a timeout of zero; leave it out for no limit";
            Err(Error::new(ErrorKind::InvalidInput, text))
        }
        Some(timeout) => Ok(milliseconds(timeout)),
    }
}

/// A time as the runtime gives it.
fn duration(millis: u64) -> Option<Duration> {
    (millis != FOREVER).then(|| Duration::from_millis(millis))
}

/// Tries all addresses; the first success, or the last error.
fn first<T>(
    addresses: Vec<std::net::SocketAddr>,
    mut attempt: impl FnMut(std::net::SocketAddr) -> std::io::Result<T>,
) -> std::io::Result<T> {
    let mut last = Error::new(ErrorKind::InvalidInput, "there is no address to try");
    for address in addresses {
        match attempt(address) {
            Ok(done) => return Ok(done),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Serialises a socket: a handle of its own goes into the message, and the number of its place is written.
macro_rules! travels {
    ($name:literal, $ty:ident, $clone:ident, $push:ident, $take:ident) => {
        /// Only into a lunatic message, which gets a handle of its own.
        impl serde::Serialize for $ty {
            fn serialize<S: serde::Serializer>(
                &self,
                serializer: S,
            ) -> std::result::Result<S::Ok, S::Error> {
                let push = || crate::abi::net::$push(crate::abi::net::$clone(self.id));
                let index = crate::codec::attach_with(push).ok_or_else(|| {
                    let text =
                        concat!("a lunatic ", $name, " can be serialised only into a message");
                    serde::ser::Error::custom(text)
                })?;
                serializer.serialize_u64(index)
            }
        }

        impl<'de> serde::Deserialize<'de> for $ty {
            fn deserialize<D: serde::Deserializer<'de>>(
                deserializer: D,
            ) -> std::result::Result<$ty, D::Error> {
                let index = u64::deserialize(deserializer)?;
                let kind = crate::codec::Attachment::$ty;
                crate::codec::detach(kind, index, crate::abi::net::$take).map(|id| $ty { id })
            }
        }
    };
}
use travels;
