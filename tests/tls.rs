//! TLS, with real clients and servers on this machine and certificates of their own.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use support::run_guest;
use support::server::{Server, ask};

/// What grants the network.
const ALLOW: &str = "--allow-net";

/// A certificate for these names, signed by itself, and its key.
fn certificate(names: &[&str]) -> (String, String) {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("the names are good");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// A client that trusts this certificate.
fn tls_client(
    server: &Server,
    pem: &str,
    name: &str,
) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(cert.expect("it was just made")).expect("it can be trusted");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("they go together")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_string()).expect("a name");
    let session = rustls::ClientConnection::new(Arc::new(config), name).expect("it can be");
    rustls::StreamOwned::new(session, server.connect())
}

#[test]
fn tls_serves_real_clients_and_minds_no_others() {
    let (cert, key) = certificate(&["one.test", "localhost"]);
    let Some(mut server) = Server::echo("2", &["tls", &cert, &key]) else { return };
    // Who says nothing holds up nobody; who talks nonsense gets an error, and so does who trusts
    // somebody else.
    let silent: Vec<TcpStream> = (0..10).map(|_| server.connect()).collect();
    server.connect().write_all(b"GET / HTTP/1.1\r\n\r\n").expect("it reads");
    let line = server.line();
    assert!(line.contains("the handshake failed"), "{line:?}");
    let (other, _) = certificate(&["one.test"]);
    let mut stranger = tls_client(&server, &other, "one.test");
    assert!(stranger.write_all(b"hello").is_err());
    assert!(server.line().contains("the handshake failed"));
    let mut connection = tls_client(&server, &cert, "one.test");
    ask(&mut connection, b"hello");
    let data: Vec<u8> = (0..300_000u32).map(|number| number as u8).collect();
    for piece in data.chunks(10_000) {
        ask(&mut connection, piece);
    }
    let mut connections: Vec<_> =
        (0..20).map(|_| tls_client(&server, &cert, "localhost")).collect();
    for connection in &mut connections {
        ask(connection, b"several");
    }
    drop(silent);
}

#[test]
fn a_tls_server_has_several_certificates() {
    let ((one, key_one), (two, key_two)) = (certificate(&["one.test"]), certificate(&["two.test"]));
    let (certs, keys) = (format!("{one}{two}"), format!("{key_two}{key_one}"));
    let Some(server) = Server::echo("1", &["tls", &certs, &keys]) else { return };
    ask(tls_client(&server, &one, "one.test"), b"one");
    ask(tls_client(&server, &two, "two.test"), b"two");
}

/// The key inside of one in PKCS#8, in its older form (SEC1).
fn older_form(pem: &str) -> String {
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).expect("a key");
    // A sequence: version, algorithm, and a string of bytes, which is the key.
    let der = key.secret_pkcs8_der();
    let algorithm = 2 + usize::from(der[0] == 0x30 && der[1] == 0x81) + 3;
    let key = algorithm + 2 + usize::from(der[algorithm + 1]);
    assert_eq!(der[key], 4, "a string of bytes");
    let begin = key + if der[key + 1] == 0x81 { 3 } else { 2 };
    let text = base64(&der[begin..begin + usize::from(der[begin - 1])]);
    format!("-----BEGIN EC PRIVATE KEY-----\n{text}\n-----END EC PRIVATE KEY-----\n")
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for piece in bytes.chunks(3) {
        let number = piece.iter().fold(0, |all, byte| all << 8 | usize::from(*byte));
        let number = number << (8 * (3 - piece.len()));
        for digit in 0..4 {
            let value = number >> (18 - 6 * digit) & 63;
            text.push(if digit > piece.len() { '=' } else { char::from(DIGITS[value]) });
        }
    }
    text
}

#[test]
fn a_key_may_be_in_its_older_form() {
    let (cert, key) = certificate(&["old.test"]);
    let Some(server) = Server::echo("1", &["tls", &cert, &older_form(&key)]) else { return };
    ask(tls_client(&server, &cert, "old.test"), b"old");
}

#[test]
fn a_guest_is_a_client_of_servers_on_this_machine() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let port = listener.local_addr().expect("it listens").port();
    let (cert, key) = certificate(&["localhost"]);
    let (_, wrong) = (certificate(&["localhost"]), certificate(&["elsewhere.test"]));
    let serving = std::thread::spawn({
        let cert = cert.clone();
        move || serve_tls(&listener, &cert, &key)
    });
    let args = [&port.to_string()[..], &cert, &wrong.0];
    let Some(output) = run_guest(&[ALLOW], "net_client", &args, b"") else { return };
    let output = output.expect_quiet_success();
    assert_eq!(output.stdout, "hello\nwrong certificate\nwrong name\ntimed out\n", "{output:#?}");
    serving.join().expect("it serves four");
}

/// Serves four: one who wants an echo, two who will not trust us, one who gets no answer.
fn serve_tls(listener: &TcpListener, cert: &str, key: &str) {
    let certs = CertificateDer::pem_slice_iter(cert.as_bytes()).map(Result::unwrap).collect();
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("they go together")
        .with_no_client_auth()
        .with_single_cert(certs, key)
        .expect("they belong together");
    let config = Arc::new(config);
    for _ in 0..3 {
        let (socket, _) = listener.accept().expect("it comes");
        let session = rustls::ServerConnection::new(Arc::clone(&config)).expect("it can be");
        let mut stream = rustls::StreamOwned::new(session, socket);
        let mut buffer = [0; 5];
        if stream.read_exact(&mut buffer).is_ok() {
            stream.write_all(&buffer).expect("it reads");
            stream.conn.send_close_notify();
            let _gone = stream.flush();
        }
    }
    let (mut silent, _) = listener.accept().expect("it comes");
    let _gone = silent.read_to_end(&mut Vec::new());
}
