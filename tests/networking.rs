//! Sockets that programs make by themselves: with real clients and servers on this machine.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use support::{guest, lunatic, run_guest};

/// What grants the network.
const ALLOW: &str = "--allow-net";

/// A guest that listens.
struct Server {
    child: Child,
    address: SocketAddr,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Server {
    fn start(workers: &str, args: &[&str]) -> Option<Self> {
        let mut command = lunatic();
        command
            .args(["run", ALLOW, "--workers", workers])
            .arg(guest("net_echo")?)
            .arg("--")
            .args(args);
        Some(Self::of(command))
    }

    fn of(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("the binary was built");
        let mut stdout = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("text");
        let address = line.trim().strip_prefix("listening on ").expect("it says where");
        Self { address: address.parse().expect("an address"), child, stdout }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).expect("it listens")
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("text");
        line.trim_end().to_string()
    }

    /// Sockets that the runtime has open.
    fn sockets(&self) -> usize {
        let fds = format!("/proc/{}/fd", self.child.id());
        let links = std::fs::read_dir(fds).expect("it runs").flatten();
        let is_socket = |path| {
            std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
        };
        links.filter(|entry| is_socket(entry.path())).count()
    }

    /// Waits until so many sockets are open.
    fn wait_for_sockets(&self, count: usize) {
        while self.sockets() != count {
            std::thread::yield_now();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(mut connection: impl Read + Write, text: &[u8]) {
    connection.write_all(text).expect("it reads");
    let mut answer = vec![0; text.len()];
    connection.read_exact(&mut answer).expect("it answers");
    assert_eq!(answer, text);
}

#[test]
fn sockets_keep_their_promises() {
    for workers in ["1", "2", "4"] {
        let options = [ALLOW, "--workers", workers];
        let Some(output) = run_guest(&options, "net_promises", &[], b"") else { return };
        let output = output.expect_quiet_success();
        assert!(output.stdout.ends_with("all promises of sockets hold\n"), "{output:#?}");
    }
}

#[test]
fn a_process_serves_each_connection() {
    for how in ["spawn", "message"] {
        let Some(server) = Server::start("2", &[how]) else { return };
        let mut connections: Vec<TcpStream> = (0..50).map(|_| server.connect()).collect();
        for round in 0..20 {
            for (number, connection) in connections.iter_mut().enumerate() {
                ask(connection, format!("{round} of {number}").as_bytes());
            }
        }
        // Much at once, in both directions.
        let data: Vec<u8> = (0..5_000_000u32).map(|number| number as u8).collect();
        let mut connection = server.connect();
        let mut writer = connection.try_clone().expect("it can be");
        let sent = data.clone();
        let writing = std::thread::spawn(move || {
            writer.write_all(&sent).expect("it reads");
            writer.shutdown(Shutdown::Write).expect("it is open");
        });
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).expect("it answers");
        writing.join().expect("it only writes");
        assert!(answer == data, "{} bytes came back", answer.len());
    }
}

#[test]
fn no_socket_is_left_open() {
    let Some(mut server) = Server::start("2", &["spawn"]) else { return };
    let before = server.sockets();
    for round in 0..3 {
        let connections: Vec<TcpStream> = (0..40).map(|_| server.connect()).collect();
        for connection in &connections {
            ask(connection, b"hello");
        }
        // Ended, reset (unread bytes are left behind), half ended, crashed, killed while it writes to
        // somebody who does not read.
        for (number, mut connection) in connections.into_iter().enumerate() {
            match number % 5 {
                0 => drop(connection),
                1 => connection.write_all(b"unread").expect("it reads"),
                2 => {
                    connection.shutdown(Shutdown::Write).expect("it is open");
                    assert_eq!(connection.read(&mut [0]).expect("it ends, too"), 0);
                }
                3 => {
                    connection.write_all(b"crash").expect("it reads");
                    let _ended = connection.read(&mut [0]);
                }
                _ => {
                    connection.write_all(b"stuck").expect("it reads");
                    while server.line() != "stuck" {}
                    ask(server.connect(), b"kill");
                    while server.line() != "killed" {}
                }
            }
        }
        server.wait_for_sockets(before);
        ask(server.connect(), format!("round {round}").as_bytes());
    }
}

#[test]
fn one_who_reads_slowly_holds_up_nobody_else() {
    let Some(server) = Server::start("1", &["spawn"]) else { return };
    let mut slow = server.connect();
    slow.set_nonblocking(true).expect("it can be");
    // Until neither side takes more: the process waits for room, for as long as nobody reads.
    let piece = [1; 64 * 1024];
    let (mut sent, mut refused) = (0, 0);
    while refused < 50 {
        match slow.write(&piece) {
            Ok(count) => (sent, refused) = (sent + count, 0),
            Err(_) => {
                refused += 1;
                ask(server.connect(), b"quick");
            }
        }
    }
    slow.set_nonblocking(false).expect("it can be");
    slow.shutdown(Shutdown::Write).expect("it is open");
    let mut answer = Vec::new();
    slow.read_to_end(&mut answer).expect("it answers");
    assert_eq!(answer.len(), sent);
}

#[test]
fn those_who_compute_hold_up_nobody_else() {
    for workers in ["1", "2"] {
        let Some(mut server) = Server::start(workers, &["spawn"]) else { return };
        // More than there are workers: none is ever without work.
        for _ in 0..3 {
            server.connect().write_all(b"spin").expect("it reads");
            while server.line() != "spins" {}
        }
        let connection = server.connect();
        for round in 0..20 {
            ask(&connection, &[round; 9]);
            ask(server.connect(), b"new");
        }
    }
}

#[test]
fn thousands_of_connections_stay_open() {
    let Some(server) = Server::start("2", &["spawn"]) else { return };
    // Half of what this process may open itself.
    let connections: Vec<TcpStream> = (0..450).map(|_| server.connect()).collect();
    for round in 0..3 {
        for connection in &connections {
            ask(connection, &[round; 7]);
        }
    }
    server.wait_for_sockets(connections.len() + 1);
}

#[test]
fn too_many_open_files_are_an_error_and_no_end() {
    let Some(guest) = guest("net_echo") else { return };
    let mut command = Command::new("sh");
    // What `lunatic` may open.
    command.args(["-c", "ulimit -n 40; exec \"$@\"", "sh"]).arg(env!("CARGO_BIN_EXE_lunatic"));
    command.args(["run", ALLOW]).arg(guest).arg("spawn");
    let mut server = Server::of(command);
    let connections: Vec<TcpStream> = (0..60).map(|_| server.connect()).collect();
    let line = server.line();
    assert!(line.starts_with("accept: cannot accept a connection: "), "{line:?}");
    assert!(line.contains("os error 24"), "{line:?}");
    // Those that were accepted go on, and so do the others when there is room again.
    ask(&connections[0], b"first");
    let mut last = connections.into_iter().next_back().expect("there are many");
    ask(&mut last, b"last");
}

#[test]
fn what_no_rule_allows_is_an_error_that_names_the_rule() {
    // Each call's status as a byte, and the text behind its error id.
    let text = r#"(module
      (import "lunatic::networking" "tcp_bind"
        (func $bind (param i32 i32 i32 i32 i32 i32) (result i32)))
      (import "lunatic::networking" "tcp_connect"
        (func $connect (param i32 i32 i32 i32 i32 i64 i32) (result i32)))
      (import "lunatic::networking" "udp_bind"
        (func $udp_bind (param i32 i32 i32 i32 i32 i32) (result i32)))
      (import "lunatic::error" "string_size" (func $size_of (param i64) (result i32)))
      (import "lunatic::error" "to_string" (func $text (param i64 i32)))
      (import "wasi_snapshot_preview1" "fd_write"
        (func $fd_write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 2)
      (data (i32.const 1024) "\7f\00\00\01")
      (func $tell (param i32)
        (i32.store8 (i32.const 4095) (i32.add (i32.const 48) (local.get 0)))
        (call $text (i64.load (i32.const 2048)) (i32.const 4096))
        (i32.store (i32.const 64) (i32.const 4095))
        (i32.store (i32.const 68)
          (i32.add (i32.const 1) (call $size_of (i64.load (i32.const 2048)))))
        (drop (call $fd_write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 72))))
      (func (export "_start")
        (call $tell (call $bind (i32.const 4) (i32.const 1024) (i32.const 8080)
          (i32.const 0) (i32.const 0) (i32.const 2048)))
        (call $tell (call $connect (i32.const 4) (i32.const 1024) (i32.const 80)
          (i32.const 0) (i32.const 0) (i64.const -1) (i32.const 2048)))
        (call $tell (call $udp_bind (i32.const 4) (i32.const 1024) (i32.const 0)
          (i32.const 0) (i32.const 0) (i32.const 2048)))))"#;
    let output = support::run_wat(text).expect(0);
    for rule in ["--allow-net listen:127.0.0.1:8080", "--allow-net connect:127.0.0.1:80"] {
        assert!(output.stdout.contains(rule), "{output:#?}");
    }
    assert_eq!(output.stdout.matches("the process may not").count(), 3, "{output:#?}");
}

#[test]
fn the_examples_serve_and_fetch() {
    let Some(echo) = guest("echo_server") else { return };
    let mut command = lunatic();
    command.args(["run", ALLOW]).arg(echo);
    let server = Server::of(command);
    ask(server.connect(), b"hello");
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let port = listener.local_addr().expect("it listens").port();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("it comes");
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).expect("text");
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nhere").expect("it reads");
        line
    });
    let (there, nowhere) = (format!("http://localhost:{port}/page"), "https://127.0.0.1:1/");
    let Some(output) = run_guest(&[ALLOW], "fetch", &[&there, nowhere], b"") else { return };
    let output = output.expect_quiet_success();
    assert!(output.stdout.contains(&format!("{there}: 23 bytes\n")), "{output:#?}");
    assert!(
        output.stdout.contains("cannot connect to 127.0.0.1:1: Connection refused"),
        "{output:#?}"
    );
    assert_eq!(serving.join().expect("it serves"), "GET /page HTTP/1.0\r\n");
}

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
    let Some(mut server) = Server::start("2", &["tls", &cert, &key]) else { return };
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
    let Some(server) = Server::start("1", &["tls", &certs, &keys]) else { return };
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
    let Some(server) = Server::start("1", &["tls", &cert, &older_form(&key)]) else { return };
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
