//! Rights, as host functions ask for them.
//!
//! A right is checked in the host call itself, against the configuration of the process that calls.
//! What is refused is answered with the interface's own error, and logged once for each process: a
//! guest that tries again and again says nothing new.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use lunatic_engine::text::cut;

use crate::config::{Resolved, Right};
use crate::net::Reach;
use crate::process::ProcessState;

/// Something that the process may not do; its text says what, and what would allow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denied(Box<str>);

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What of its rights a process has used.
#[derive(Debug, Default)]
pub(crate) struct RightsState {
    resolved: Option<Box<Resolved>>,
    /// The log has been told that something was denied.
    is_logged: bool,
}

impl ProcessState {
    /// Before something that needs a right.
    #[inline]
    pub(crate) fn may(&mut self, right: Right) -> Result<(), Denied> {
        if self.config.has(right) { Ok(()) } else { Err(self.denied_right(right)) }
    }

    #[cold]
    fn denied_right(&mut self, right: Right) -> Denied {
        self.denied(format!("the process may not {}", right.verb()))
    }

    /// Before a connection to this address, or a datagram. The address is what the system will be
    /// given, as the very last thing before.
    pub(crate) fn may_connect(&mut self, to: SocketAddr) -> Result<(), Denied> {
        if self.connects(to) {
            return Ok(());
        }
        Err(self.denied(format!(
            "the process may not connect to {to}; \
             lunatic run --allow-net connect:{to} would allow it"
        )))
    }

    /// Whether the process may talk to this address. A socket for datagrams that does not listen hears
    /// from nobody else.
    pub(crate) fn connects(&self, to: SocketAddr) -> bool {
        let rules = &self.config.network;
        rules.may_connect(to)
            || self.rights.resolved.as_ref().is_some_and(|all| all.may_connect(rules, to))
    }

    /// Before a socket listens at this address.
    pub(crate) fn may_listen(&mut self, at: SocketAddr) -> Result<(), Denied> {
        if self.listens(at) {
            return Ok(());
        }
        Err(self.denied(format!(
            "the process may not listen at {at}; lunatic run --allow-net listen:{at} would allow it"
        )))
    }

    /// Whether the process may be reached at this address by whomever.
    pub(crate) fn listens(&self, at: SocketAddr) -> bool {
        let rules = &self.config.network;
        rules.may_listen(at)
            || self.rights.resolved.as_ref().is_some_and(|all| all.may_listen(rules, at))
    }

    /// Who may reach a socket of the process that listens at this address: at `[::]` the system would let
    /// IPv4 in, too, which is to listen at `0.0.0.0`.
    pub(crate) fn reach(&self, at: SocketAddr) -> Reach {
        let as_ipv4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), at.port());
        if self.listens(as_ipv4) { Reach::AsTheSystem } else { Reach::V6Only }
    }

    /// Before a socket for datagrams is bound to this address. One whose port the system chooses is
    /// what a client has: it needs the right to connect somewhere, and each datagram is checked, those
    /// that arrive, too.
    pub(crate) fn may_bind_datagrams(&mut self, at: SocketAddr) -> Result<(), Denied> {
        if at.port() == 0 && self.config.network.may_connect_somewhere() {
            return Ok(());
        }
        self.may_listen(at)
    }

    /// Before the addresses of a name are looked up. After it, [`Self::resolved`].
    pub(crate) fn may_resolve(&mut self, host: &str) -> Result<(), Denied> {
        if host.parse::<std::net::IpAddr>().is_ok() || self.config.network.may_resolve() {
            return Ok(());
        }
        Err(self.denied(format!(
            "the process may not look up \"{host}\", as it may not use the network; \
             lunatic run --allow-net connect:{host}:* would allow it"
        )))
    }

    /// The runtime has found these addresses for a name: what the rules say about the name holds for
    /// them.
    pub(crate) fn resolved(&mut self, host: &str, found: &[SocketAddr]) {
        let rules = &self.config.network;
        if rules.names(host) {
            self.rights.resolved.get_or_insert_default().note(rules, host, found);
        }
    }

    /// Refuses something, and logs it if it is the first thing that this process is refused.
    #[cold]
    pub(crate) fn denied(&mut self, what: String) -> Denied {
        let what = cut(what);
        if !std::mem::replace(&mut self.rights.is_logged, true) {
            tracing::info!("process {}: denied: {what}", self.pid());
        }
        Denied(what.into())
    }
}
