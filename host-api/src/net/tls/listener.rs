//! A listener whose connections are given out after their handshake.
//!
//! Handshakes take as long as clients like, so several are under way at the same time: a client that is
//! slow, or says nothing, keeps nobody else from being served. One that takes too long is dropped, and
//! fails. They go on while somebody accepts.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::{ServerConfig, ServerConnection};

use super::certificates::Certificates;
use super::{TlsStream, provider};
use crate::net::{Listener, Socket};
use crate::ready::{Seen, Tried};

/// Handshakes that are under way at the same time; further clients wait for their turn. By feel.
const HANDSHAKES_MAX: usize = 256;

/// The longest that a handshake may take. By feel: long for a slow network, short for a server that is
/// full of silent clients.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// Listens for TLS.
pub(crate) struct TlsListener {
    pub(crate) listener: Listener,
    config: Arc<ServerConfig>,
    handshakes: Mutex<Vec<Handshake>>,
}

impl std::fmt::Debug for TlsListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsListener").field("listener", &self.listener).finish_non_exhaustive()
    }
}

struct Handshake {
    stream: Arc<TlsStream>,
    peer: SocketAddr,
    until: Instant,
    /// When it was last tried.
    seen: Option<Seen>,
}

/// What an attempt to accept has come to.
pub(crate) enum Accepted {
    /// A connection, and with whom.
    Stream(Arc<TlsStream>, SocketAddr),
    /// A handshake has failed.
    Failed(SocketAddr, io::Error),
    /// Nothing yet.
    NotYet {
        /// Of the listening socket; `None` if there is no room for another handshake.
        listener: Option<Seen>,
        /// Of the handshakes.
        streams: Vec<(Arc<TlsStream>, Seen)>,
        /// When the next one has taken too long.
        until: Option<Instant>,
    },
}

impl TlsListener {
    pub(crate) fn new(listener: Listener, certs: &[u8], keys: &[u8]) -> Result<Self, String> {
        let provider = provider();
        let certificates = Certificates::new(certs, keys, &provider)?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(certificates));
        let config = Arc::new(config);
        Ok(Self { listener, config, handshakes: Mutex::default() })
    }

    /// Takes connections, and goes on with the handshakes of those that have moved.
    pub(crate) fn attempt(&self) -> rustix::io::Result<Accepted> {
        let mut handshakes = self.handshakes.lock();
        let listener = self.take_connections(&mut handshakes)?;
        let now = Instant::now();
        let mut at = 0;
        while let Some(handshake) = handshakes.get_mut(at) {
            match handshake.go_on(now) {
                Ok(false) => at += 1,
                Ok(true) => {
                    let Handshake { stream, peer, .. } = handshakes.remove(at);
                    return Ok(Accepted::Stream(stream, peer));
                }
                Err(error) => {
                    let Handshake { peer, .. } = handshakes.remove(at);
                    return Ok(Accepted::Failed(peer, error));
                }
            }
        }
        let streams = handshakes
            .iter()
            .filter_map(|handshake| Some((Arc::clone(&handshake.stream), handshake.seen?)));
        let until = handshakes.iter().map(|handshake| handshake.until).min();
        Ok(Accepted::NotYet { listener, streams: streams.collect(), until })
    }

    fn take_connections(
        &self,
        handshakes: &mut Vec<Handshake>,
    ) -> rustix::io::Result<Option<Seen>> {
        while handshakes.len() < HANDSHAKES_MAX {
            match self.listener.accept() {
                Ok(Tried::Done((socket, peer))) => handshakes.extend(self.handshake(socket, peer)),
                Ok(Tried::NotYet(seen)) => return Ok(Some(seen)),
                // Those that are under way may go on.
                Err(_) if !handshakes.is_empty() => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// `None`: the library cannot make a session, which it tells for settings that are not ours.
    fn handshake(&self, socket: Socket, peer: SocketAddr) -> Option<Handshake> {
        let session = ServerConnection::new(Arc::clone(&self.config)).ok()?;
        let stream = Arc::new(TlsStream::new(socket, session));
        Some(Handshake { stream, peer, until: Instant::now() + HANDSHAKE_TIME, seen: None })
    }
}

impl Handshake {
    /// Whether it is done.
    fn go_on(&mut self, now: Instant) -> io::Result<bool> {
        if self.seen != Some(self.stream.source.seen()) {
            match self.stream.shake_hands()? {
                Tried::Done(()) => return Ok(true),
                Tried::NotYet(seen) => self.seen = Some(seen),
            }
        }
        if now < self.until {
            return Ok(false);
        }
        let text = format!("the handshake took longer than {HANDSHAKE_TIME:?}");
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    }
}
