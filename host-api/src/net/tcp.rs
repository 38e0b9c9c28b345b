//! A connection as guests know it: shared by all who hold it, with its timeouts.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Socket;

/// No limit.
const NONE: u64 = u64::MAX;

/// Milliseconds that calls on a stream may take; of all who hold it. Relaxed: numbers on their own.
#[derive(Debug)]
pub(crate) struct Timeouts {
    pub(crate) read: Timeout,
    pub(crate) write: Timeout,
    pub(crate) peek: Timeout,
}

impl Default for Timeouts {
    fn default() -> Self {
        let none = || Timeout(AtomicU64::new(NONE));
        Self { read: none(), write: none(), peek: none() }
    }
}

/// One of them; `u64::MAX` is none.
#[derive(Debug)]
pub(crate) struct Timeout(AtomicU64);

impl Timeout {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, millis: u64) {
        self.0.store(millis, Ordering::Relaxed);
    }
}

/// A TCP connection. The last who lets go closes it.
#[derive(Debug)]
pub(crate) struct TcpStream {
    socket: Socket,
    pub(crate) timeouts: Timeouts,
}

impl TcpStream {
    pub(crate) fn new(socket: Socket) -> Self {
        Self { socket, timeouts: Timeouts::default() }
    }
}

impl Deref for TcpStream {
    type Target = Socket;
    fn deref(&self) -> &Socket {
        &self.socket
    }
}
