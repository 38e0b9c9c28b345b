//! Whom a client trusts, and what it is at while it connects.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, OtherError,
    RootCertStore, SignatureScheme,
};

use super::certificates::{BYTES_MAX, certificates, is_for};
use super::{TlsStream, provider};
use crate::net::{Failure, Socket};

/// A connection to a name on its way: the addresses of the name are tried in turn.
#[derive(Debug)]
pub(crate) struct Dial {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    /// `None` until the name has been looked up.
    pub(crate) addresses: Option<std::vec::IntoIter<SocketAddr>>,
    /// The one that is tried.
    pub(crate) address: Option<SocketAddr>,
    /// Connected there, and in the handshake.
    pub(crate) stream: Option<TlsStream>,
    /// Why the last one failed.
    pub(crate) failed: Option<Failure>,
}

impl Dial {
    pub(crate) fn new(config: Arc<ClientConfig>, host: &str) -> Result<Self, String> {
        let name = ServerName::try_from(host.to_string());
        let name =
            name.map_err(|_| format!("\"{}\" is no name of a host", host.escape_default()))?;
        Ok(Self { config, name, addresses: None, address: None, stream: None, failed: None })
    }

    /// Begins the handshake.
    pub(crate) fn connected(&mut self, socket: Socket) -> Result<(), String> {
        let session = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        let session = session.map_err(|error| error.to_string())?;
        self.stream = Some(TlsStream::new(socket, session));
        Ok(())
    }
}

/// A client that trusts these certificates; without any, those that browsers do.
pub(crate) fn client_config(roots: &[&[u8]]) -> Result<Arc<ClientConfig>, String> {
    static USUAL: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if roots.is_empty() {
        if let Some(usual) = USUAL.get() {
            return Ok(Arc::clone(usual));
        }
        let store = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let config = config(store, Vec::new())?;
        return Ok(Arc::clone(USUAL.get_or_init(|| config)));
    }
    // All together: the same megabyte may be named a thousand times.
    let bytes: usize = roots.iter().map(|root| root.len()).sum();
    if bytes > BYTES_MAX {
        return Err(format!("{bytes} bytes of certificates to trust: at most {BYTES_MAX} can be"));
    }
    let (mut store, mut all) = (RootCertStore::empty(), Vec::new());
    for root in roots {
        for cert in certificates(root)? {
            let added = store.add(cert.clone());
            added.map_err(|error| format!("a certificate cannot be trusted: {error}"))?;
            all.push(cert);
        }
    }
    config(store, all)
}

fn config(
    store: RootCertStore,
    given: Vec<CertificateDer<'static>>,
) -> Result<Arc<ClientConfig>, String> {
    let provider = provider();
    let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider));
    let usual = usual.build().map_err(|error| error.to_string())?;
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = config
        .map_err(|error| error.to_string())?
        .dangerous() // as far as the verifier is ours; what it adds is below
        .with_custom_certificate_verifier(Arc::new(Verifier { usual, given }))
        .with_no_client_auth();
    // Sessions that are taken up again would be remembered across processes.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// The usual rules, and one more: a certificate that the guest has given to be trusted is also trusted
/// as the server's own. The usual ones refuse that if it may sign others, as what `openssl req -x509`
/// makes does.
#[derive(Debug)]
struct Verifier {
    usual: Arc<WebPkiServerVerifier>,
    given: Vec<CertificateDer<'static>>,
}

impl Verifier {
    /// This is checked after the certificate's time, and before its name.
    fn is_only_that(&self, error: &Error, cert: &CertificateDer<'_>) -> bool {
        let Error::InvalidCertificate(CertificateError::Other(OtherError(error))) = error else {
            return false;
        };
        error.downcast_ref() == Some(&webpki::Error::CaUsedAsEndEntity) && self.given.contains(cert)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        cert: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.usual.verify_server_cert(cert, others, name, ocsp, now) {
            Err(error) if self.is_only_that(&error, cert) => {
                if is_for(cert, name) {
                    Ok(ServerCertVerified::assertion())
                } else {
                    Err(Error::InvalidCertificate(CertificateError::NotValidForName))
                }
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}
