//! TLS, with real clients and servers on this machine and certificates of their own.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use support::server::{Server, ask, reset};
use support::{Running, guest, lunatic, run_guest};

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

/// Runs `openssl` in a directory; `None` if there is none.
fn openssl(directory: &Path, args: &str) -> Option<Command> {
    let mut command = Command::new("openssl");
    command.current_dir(directory).args(args.split(' '));
    let there = Command::new("openssl").arg("version").output().is_ok();
    if !there {
        eprintln!("SKIPPED: there is no openssl");
    }
    there.then_some(command)
}

/// What `openssl req -x509` is to write into a certificate.
const REQUEST: &str = "[req]\nprompt=no\ndistinguished_name=name\nx509_extensions=more\n\
    [name]\nCN=kind.test\n[more]\nsubjectAltName=DNS:kind.test\nbasicConstraints=CA:FALSE\n";

/// What other software makes and speaks, in both versions of TLS.
#[test]
fn keys_of_each_kind_serve_openssl() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path();
    std::fs::write(place.join("request"), REQUEST).expect("a file");
    let kinds = [
        ("RSA", "rsa:2048", "BEGIN PRIVATE KEY"),
        ("older RSA", "rsa:2048", "BEGIN RSA PRIVATE KEY"),
        ("larger RSA", "rsa:4096", "BEGIN PRIVATE KEY"),
        ("P-256", "ec -pkeyopt ec_paramgen_curve:P-256", "BEGIN PRIVATE KEY"),
        ("P-384", "ec -pkeyopt ec_paramgen_curve:P-384", "BEGIN PRIVATE KEY"),
        ("older P-384", "ec -pkeyopt ec_paramgen_curve:P-384", "BEGIN EC PRIVATE KEY"),
        ("Ed25519", "ed25519", "BEGIN PRIVATE KEY"),
    ];
    for (kind, algorithm, begin) in kinds {
        let make = format!(
            "req -x509 -config request -newkey {algorithm} -nodes -days 30 -keyout key -out cert"
        );
        let Some(mut make) = openssl(place, &make) else { return };
        let made = make.output().expect("it runs");
        assert!(made.status.success(), "{kind}: {made:?}");
        let older = match begin {
            "BEGIN RSA PRIVATE KEY" => Some("rsa -traditional -in key -out key"),
            "BEGIN EC PRIVATE KEY" => Some("ec -in key -out key"),
            _ => None,
        };
        if let Some(older) = older {
            let made = openssl(place, older).expect("it was there").output().expect("it runs");
            assert!(made.status.success(), "{kind}: {made:?}");
        }
        let read = |name| std::fs::read_to_string(place.join(name)).expect("text");
        let (cert, key) = (read("cert"), read("key"));
        assert!(key.contains(begin), "{kind}: {key}");
        let Some(server) = Server::echo("1", &["tls", &cert, &key]) else { return };
        ask(tls_client(&server, &cert, "kind.test"), kind.as_bytes());
        for version in ["-tls1_2", "-tls1_3"] {
            let client = format!(
                "s_client -connect {} -servername kind.test -verify_hostname kind.test -CAfile cert \
                 -verify_return_error -brief {version}",
                server.address
            );
            let mut client = openssl(place, &client).expect("it was there");
            client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut client = client.spawn().expect("it runs");
            let mut input = client.stdin.take().expect("it is a pipe");
            input.write_all(b"hello\n").expect("it reads");
            let mut output = BufReader::new(client.stdout.take().expect("it is a pipe"));
            let mut line = String::new();
            output.read_line(&mut line).expect("text");
            drop(input);
            let rest = client.wait_with_output().expect("it ends");
            assert_eq!(line, "hello\n", "{kind} {version}: {rest:?}");
        }
    }
}

/// More than there are places for handshakes.
#[test]
fn clients_that_stall_give_way_to_others() {
    let (cert, key) = certificate(&["one.test"]);
    let Some(mut server) = Server::echo("2", &["tls", &cert, &key]) else { return };
    lunatic_host_api::raise_open_files_limit();
    let stalled: Vec<TcpStream> = (0..300)
        .map(|number| {
            let mut stream = server.connect();
            // Some have begun to speak: the head of a record, and a part of it.
            if number % 2 == 0 {
                stream.write_all(&[22, 3, 1, 1, 0, 1]).expect("it reads");
            }
            stream
        })
        .collect();
    ask(tls_client(&server, &cert, "one.test"), b"served");
    let line = server.line();
    assert!(line.contains("given up for another client"), "{line:?}");
    drop(stalled);
    ask(tls_client(&server, &cert, "one.test"), b"again");
    server.wait_for_sockets(1);
}

#[test]
fn both_sides_say_farewell_and_an_end_without_it_is_an_error() {
    let (cert, key) = certificate(&["one.test"]);
    let Some(mut server) = Server::echo("2", &["tls", &cert, &key]) else { return };
    for round in 0..3 {
        let mut client = tls_client(&server, &cert, "one.test");
        ask(&mut client, b"hello");
        client.conn.send_close_notify();
        client.flush().expect("it reads");
        // Without a farewell that would be an error.
        assert_eq!(client.read(&mut [0]).expect("it ends well"), 0);

        let mut client = tls_client(&server, &cert, "one.test");
        ask(&mut client, b"hello");
        let expected = if round == 0 {
            client.sock.shutdown(Shutdown::Write).expect("it is open");
            "without the farewell"
        } else {
            reset(&client.sock);
            "Connection reset by peer"
        };
        drop(client);
        // The one who said farewell was not minded.
        let line = server.line();
        assert!(line.starts_with("read: ") && line.contains(expected), "{line:?}");

        // In the middle of a handshake.
        let mut client = server.connect();
        client.write_all(&[22, 3, 1, 1, 0, 1]).expect("it reads");
        reset(&client);
        drop(client);
        let line = server.line();
        assert!(line.contains("the handshake failed: Connection reset"), "{line:?}");
    }
    server.wait_for_sockets(1);
}

#[test]
fn a_guest_is_a_client_of_servers_on_this_machine() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let port = listener.local_addr().expect("it listens").port();
    let (cert, key) = certificate(&["localhost"]);
    let (_, wrong) = (certificate(&["localhost"]), certificate(&["elsewhere.test"]));
    let serving = std::thread::spawn({
        let (cert, key) = (cert.clone(), key.clone());
        move || serve_tls(&listener, &cert, &key)
    });
    let args = [&port.to_string()[..], &cert, &wrong.0, &key];
    let Some(output) = run_guest(&[ALLOW], "net_client", &args, b"") else { return };
    let output = output.expect_quiet_success();
    assert_eq!(output.stdout, "hello\nwrong certificate\nwrong name\ntimed out\nnobody came\n");
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

#[test]
fn listeners_count_with_their_certificates() {
    let (cert, key) = certificate(&["one.test"]);
    let options = [ALLOW, "--max-host-memory=16M"];
    let Some(output) = run_guest(&options, "tls_binds", &["hoard", &cert, &key], b"") else {
        return;
    };
    output.expect(134).says(&["the main process ran out of host memory", "the most of all"]);
}

#[test]
fn many_who_bind_take_few_threads() {
    let Some(guest) = guest("tls_binds") else { return };
    let (cert, key) = certificate(&["one.test"]);
    let mut command = lunatic();
    command.args(["run", ALLOW]).arg(guest).args(["--", "crowd", &cert, &key]);
    let mut running = Running::start(command);
    running.wait_for("done");
    // They stay for a while when they have nothing to do.
    let threads = std::fs::read_dir(format!("/proc/{}/task", running.child.id())).expect("it runs");
    let names = threads.filter_map(|thread| {
        std::fs::read_to_string(thread.expect("a directory").path().join("comm")).ok()
    });
    let blocking = names.filter(|name| name.starts_with("lunatic-blockin")).count();
    // One more reads the input.
    assert!((1..=5).contains(&blocking), "{blocking} threads");
    running.finish().expect(0);
}
