//! Names to addresses.

use super::limit;
use crate::abi::net as abi;
use std::io::Result;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// Looks up `HOST:PORT`.
///
/// ```no_run
/// for address in lunatic::net::resolve("localhost:80").expect("it has an address") {
///     println!("{address}");
/// }
/// ```
///
/// # Errors
/// If the name means nothing, or the process may not use the network.
pub fn resolve(name: &str) -> Result<Vec<SocketAddr>> {
    Ok(abi::resolve(name, crate::abi::FOREVER)?)
}

/// The same, with a limit to the time.
///
/// ```no_run
/// # use std::time::Duration;
/// let addresses = lunatic::net::resolve_timeout("example.org:443", Duration::from_secs(2));
/// ```
///
/// # Errors
/// As [`resolve`], and `ErrorKind::TimedOut`.
pub fn resolve_timeout(name: &str, timeout: Duration) -> Result<Vec<SocketAddr>> {
    Ok(abi::resolve(name, limit(Some(timeout))?)?)
}

/// What a `bind` or `connect` may be given.
///
/// Everything that `std::net` takes, too; names are looked up by the runtime, as WASI's library cannot.
pub trait Addresses {
    /// The addresses that are meant.
    ///
    /// # Errors
    /// As [`resolve`].
    fn addresses(&self) -> Result<Vec<SocketAddr>>;
}

impl Addresses for str {
    fn addresses(&self) -> Result<Vec<SocketAddr>> {
        resolve(self)
    }
}

impl Addresses for String {
    fn addresses(&self) -> Result<Vec<SocketAddr>> {
        resolve(self)
    }
}

impl Addresses for (&str, u16) {
    fn addresses(&self) -> Result<Vec<SocketAddr>> {
        let (host, port) = self;
        if host.parse::<std::net::Ipv6Addr>().is_ok() {
            return resolve(&format!("[{host}]:{port}"));
        }
        resolve(&format!("{host}:{port}"))
    }
}

impl Addresses for SocketAddr {
    fn addresses(&self) -> Result<Vec<SocketAddr>> {
        Ok(vec![*self])
    }
}

impl Addresses for [SocketAddr] {
    fn addresses(&self) -> Result<Vec<SocketAddr>> {
        Ok(self.to_vec())
    }
}

impl Addresses for (std::net::IpAddr, u16) {
    fn addresses(&self) -> Result<Vec<SocketAddr>> {
        Ok(self.to_socket_addrs()?.collect())
    }
}

impl Addresses for (std::net::Ipv4Addr, u16) {
    fn addresses(&self) -> Result<Vec<SocketAddr>> {
        Ok(self.to_socket_addrs()?.collect())
    }
}

impl<A: Addresses + ?Sized> Addresses for &A {
    fn addresses(&self) -> Result<Vec<SocketAddr>> {
        (**self).addresses()
    }
}
