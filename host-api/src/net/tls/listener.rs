//! A listener whose connections are given out after their handshake.
//!
//! Handshakes take as long as clients like, so several are under way at the same time: a client that is
//! slow, or says nothing, keeps nobody else from being served. One that takes too long is dropped, and
//! fails; when all places are taken and others wait, the oldest fails sooner. They go on while somebody
//! accepts.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::{ServerConfig, ServerConnection};

use super::certificates::{Certificates, Pem};
use super::{TlsStream, provider};
use crate::net::{Listener, Socket};
use crate::ready::{Seen, Tried};

/// Handshakes that are under way at the same time; further clients wait for a place. By feel.
const HANDSHAKES_MAX: usize = 256;

/// How long a handshake keeps its place for certain. By feel: several times across the world, and as
/// long as silent clients can keep others waiting.
const PLACE_TIME: Duration = Duration::from_secs(1);

/// The longest that a handshake may take. By feel: long for a slow network, short for a server that is
/// full of silent clients.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// Listens for TLS.
pub(crate) struct TlsListener {
    pub(crate) listener: Listener,
    config: Arc<ServerConfig>,
    /// What its certificates and keys take.
    bytes: usize,
    /// In the order in which they began.
    handshakes: Mutex<Vec<Handshake>>,
}

impl std::fmt::Debug for TlsListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsListener").field("listener", &self.listener).finish_non_exhaustive()
    }
}

/// What a server shows its clients.
pub(crate) struct Shown {
    config: Arc<ServerConfig>,
    bytes: usize,
    /// How many keys were read.
    pub(crate) keys: usize,
}

struct Handshake {
    stream: Arc<TlsStream>,
    peer: SocketAddr,
    begun: Instant,
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
        /// Of the listening socket; `None` if there is no place for another handshake.
        listener: Option<Seen>,
        /// Of the handshakes.
        streams: Vec<(Arc<TlsStream>, Seen)>,
        /// When the next one has taken too long, or may lose its place.
        until: Option<Instant>,
    },
}

impl TlsListener {
    pub(crate) fn new(listener: Listener, shown: Shown) -> Self {
        let Shown { config, bytes, .. } = shown;
        Self { listener, config, bytes, handshakes: Mutex::default() }
    }

    /// What a server with these certificates and keys shows its clients. Takes a while.
    pub(crate) fn config(pem: &Pem) -> Result<Shown, String> {
        let provider = provider();
        let certificates = Certificates::new(pem, &provider)?;
        let (bytes, keys) = (certificates.bytes(), certificates.keys());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(certificates));
        Ok(Shown { config: Arc::new(config), bytes, keys })
    }

    /// What its certificates and keys take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes connections, and goes on with the handshakes of those that have moved.
    pub(crate) fn attempt(&self) -> rustix::io::Result<Accepted> {
        let mut handshakes = self.handshakes.lock();
        let now = Instant::now();
        // Before anybody loses a place: nobody may have asked for long, and what was missing may have come.
        if let Some(ended) = advance(&mut handshakes, now) {
            return Ok(ended);
        }
        let listener = match self.take_connections(&mut handshakes, now)? {
            Taken::All(seen) => Some(seen),
            Taken::NoPlace => None,
            Taken::PlaceOf(Handshake { peer, .. }) => {
                let text = format!(
                    "given up for another client, as {HANDSHAKES_MAX} handshakes were under way and \
                     this one took longer than {PLACE_TIME:?}"
                );
                let error = io::Error::new(io::ErrorKind::TimedOut, text);
                return Ok(Accepted::Failed(peer, error));
            }
        };
        if let Some(ended) = advance(&mut handshakes, now) {
            return Ok(ended);
        }
        let streams = handshakes
            .iter()
            .filter_map(|handshake| Some((Arc::clone(&handshake.stream), handshake.seen?)));
        let oldest = handshakes.first();
        let until = oldest.map(|oldest| {
            let is_full = handshakes.len() >= HANDSHAKES_MAX && now < oldest.begun + PLACE_TIME;
            oldest.begun + if is_full { PLACE_TIME } else { HANDSHAKE_TIME }
        });
        Ok(Accepted::NotYet { listener, streams: streams.collect(), until })
    }

    /// Begins handshakes with those who wait for one.
    fn take_connections(
        &self,
        handshakes: &mut Vec<Handshake>,
        now: Instant,
    ) -> rustix::io::Result<Taken> {
        loop {
            let is_full = handshakes.len() >= HANDSHAKES_MAX;
            if is_full && now < handshakes[0].begun + PLACE_TIME {
                return Ok(Taken::NoPlace);
            }
            match self.listener.accept() {
                Ok(Tried::Done((socket, peer))) => {
                    let oldest = is_full.then(|| handshakes.remove(0));
                    handshakes.extend(self.handshake(socket, peer, now));
                    if let Some(oldest) = oldest {
                        return Ok(Taken::PlaceOf(oldest));
                    }
                }
                Ok(Tried::NotYet(seen)) => return Ok(Taken::All(seen)),
                // Those that are under way may go on.
                Err(_) if !handshakes.is_empty() => return Ok(Taken::NoPlace),
                Err(error) => return Err(error),
            }
        }
    }

    /// `None`: the library cannot make a session, which it tells for settings that are not ours.
    fn handshake(&self, socket: Socket, peer: SocketAddr, begun: Instant) -> Option<Handshake> {
        let session = ServerConnection::new(Arc::clone(&self.config)).ok()?;
        let stream = Arc::new(TlsStream::new(socket, session));
        Some(Handshake { stream, peer, begun, seen: None })
    }
}

/// Goes on with the handshakes that have moved, until one has ended, well or not.
fn advance(handshakes: &mut Vec<Handshake>, now: Instant) -> Option<Accepted> {
    let mut at = 0;
    while let Some(handshake) = handshakes.get_mut(at) {
        match handshake.go_on(now) {
            Ok(false) => at += 1,
            Ok(true) => {
                let Handshake { stream, peer, .. } = handshakes.remove(at);
                return Some(Accepted::Stream(stream, peer));
            }
            Err(error) => {
                let Handshake { peer, .. } = handshakes.remove(at);
                return Some(Accepted::Failed(peer, error));
            }
        }
    }
    None
}

/// How far those who wait for a handshake were taken.
enum Taken {
    /// Until there were none, as the listening socket said.
    All(Seen),
    /// Others may wait.
    NoPlace,
    /// One was given the place of this one, which had it for long.
    PlaceOf(Handshake),
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
        if now < self.begun + HANDSHAKE_TIME {
            return Ok(false);
        }
        let text = format!("the handshake took longer than {HANDSHAKE_TIME:?}");
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    }
}
