//! Certificates and keys, from the text (PEM) or the bytes (DER) that a guest gives.
//!
//! A server may have several certificates, each with the others of its chain behind it, and a key for
//! each, in any order. A client gets the one for the name that it asks for, or else the first.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::held;
use crate::queue::Queue;

/// Bytes of all certificates and of all keys of one call. By feel: a thousand certificates.
pub(crate) const BYTES_MAX: usize = 1 << 20;

/// Keys of one server: each takes up to a millisecond to be checked. By feel.
const KEYS_MAX: usize = 256;

/// Calls whose certificates and keys are read at the same time; others queue. By feel: it is work for
/// processors, of which there are few.
const AT_ONCE: usize = 4;

/// What a key takes that is ready for use. By feel: more than any does.
const KEY_BYTES: usize = 4096;

/// What begins a piece of PEM.
const PEM: &[u8] = b"-----BEGIN";

/// For all certificates and keys of servers of a node that wait to be read.
pub(crate) fn certificate_queue() -> Queue {
    Queue::new(AT_ONCE, AT_ONCE)
}

/// What a guest has given, copied for the thread that reads it. Counts as what the host holds.
pub(crate) struct Pem {
    certs: Vec<u8>,
    keys: Vec<u8>,
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pem")
    }
}

impl Pem {
    pub(crate) fn new(certs: &[u8], keys: &[u8]) -> Self {
        let pem = Self { certs: certs.to_vec(), keys: keys.to_vec() };
        held::add(pem.bytes());
        pem
    }

    /// What it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.certs.capacity() + self.keys.capacity()
    }
}

impl Drop for Pem {
    fn drop(&mut self) {
        held::free(std::mem::take(&mut self.certs));
        held::free(std::mem::take(&mut self.keys));
    }
}

/// All certificates of a text, or the one of these bytes.
pub(super) fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    small_enough(bytes)?;
    if !is_text(bytes) {
        return Ok(vec![CertificateDer::from(bytes.to_vec())]);
    }
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let all = all.map_err(|error| format!("the certificates cannot be read: {error}"))?;
    if all.is_empty() {
        return Err("there is no certificate in the text".to_string());
    }
    Ok(all)
}

/// Whether it looks like PEM.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    bytes.windows(PEM.len()).any(|window| window == PEM)
}

fn small_enough(bytes: &[u8]) -> Result<(), String> {
    if bytes.len() <= BYTES_MAX {
        return Ok(());
    }
    Err(format!("{} bytes of certificates or keys: at most {BYTES_MAX} can be", bytes.len()))
}

/// Keys of any kind: PKCS#8, PKCS#1, SEC1.
fn keys(bytes: &[u8]) -> Result<Vec<PrivateKeyDer<'static>>, String> {
    small_enough(bytes)?;
    if !is_text(bytes) {
        let key = PrivateKeyDer::try_from(bytes.to_vec());
        return key.map(|key| vec![key]).map_err(|error| format!("the key is of no kind: {error}"));
    }
    let all: Result<Vec<_>, _> = PrivateKeyDer::pem_slice_iter(bytes).collect();
    let all = all.map_err(|error| format!("the keys cannot be read: {error}"))?;
    if all.is_empty() {
        return Err("there is no private key in the text".to_string());
    }
    if all.len() > KEYS_MAX {
        return Err(format!("{} private keys: a server can have {KEYS_MAX}", all.len()));
    }
    Ok(all)
}

/// What a server shows its clients. Counts as what the host holds, for as long as anybody has it.
#[derive(Debug)]
pub(super) struct Certificates {
    keys: Vec<Arc<CertifiedKey>>,
    bytes: usize,
}

impl Drop for Certificates {
    fn drop(&mut self) {
        held::sub(self.bytes);
    }
}

impl Certificates {
    /// What they take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many keys there are.
    pub(super) fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Puts certificates and keys together.
    pub(super) fn new(pem: &Pem, provider: &CryptoProvider) -> Result<Self, String> {
        let certs = certificates(&pem.certs)?;
        // Where each public key is found first.
        let mut places = HashMap::new();
        for (place, cert) in certs.iter().enumerate().rev() {
            if let Ok(cert) = ParsedCertificate::try_from(cert) {
                places.insert(cert.subject_public_key_info().to_vec(), place);
            }
        }
        let mut owners = Vec::new();
        for key in keys(&pem.keys)? {
            let key = provider.key_provider.load_private_key(key);
            let key = key.map_err(|error| format!("a private key cannot be used: {error}"))?;
            let owner = key.public_key().and_then(|public| places.get(public.as_ref()));
            let owner = owner.ok_or("a private key belongs to none of the certificates")?;
            owners.push((*owner, key));
        }
        owners.sort_by_key(|(owner, _)| *owner);
        owners.dedup_by_key(|(owner, _)| *owner);
        let mut all = Vec::new();
        for (at, (owner, key)) in owners.iter().enumerate() {
            let chain = if owners.len() == 1 {
                // Its chain is all others, whatever their order.
                let others = certs.iter().enumerate().filter(|(place, _)| place != owner);
                let others = others.map(|(_, cert)| cert.clone());
                std::iter::once(certs[*owner].clone()).chain(others).collect()
            } else {
                let end = owners.get(at + 1).map_or(certs.len(), |(next, _)| *next);
                certs[*owner..end.max(owner + 1)].to_vec()
            };
            all.push(Arc::new(CertifiedKey::new(chain, Arc::clone(key))));
        }
        let certs = all.iter().flat_map(|key| &key.cert).map(|cert| cert.len());
        let bytes = certs.sum::<usize>() + all.len() * KEY_BYTES;
        held::add(bytes);
        Ok(Self { keys: all, bytes })
    }
}

/// Whether a certificate is for this name.
pub(super) fn is_for(cert: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    ParsedCertificate::try_from(cert).is_ok_and(|cert| verify_server_name(&cert, name).is_ok())
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let schemes = hello.signature_schemes();
        let usable = self.keys.iter().filter(|key| key.key.choose_scheme(schemes).is_some());
        let named = |key: &&Arc<CertifiedKey>| {
            name.as_ref()
                .is_some_and(|name| key.cert.first().is_some_and(|cert| is_for(cert, name)))
        };
        usable.clone().find(named).or_else(|| usable.clone().next()).cloned()
    }
}
