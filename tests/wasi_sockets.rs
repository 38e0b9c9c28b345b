//! Sockets that are handed in with `--listen`.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};

use support::{guest, lunatic};

/// A guest that listens.
struct Server {
    child: Child,
    address: String,
    stdout: BufReader<std::process::ChildStdout>,
    /// Kept open: who writes to it would be told otherwise.
    _stderr: BufReader<std::process::ChildStderr>,
}

impl Server {
    /// Starts the guest; `-v` makes the runtime say which port it was given.
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary was built");
        let mut stderr = BufReader::new(child.stderr.take().expect("it is a pipe"));
        let stdout = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let mut line = String::new();
        let address = loop {
            line.clear();
            let count = stderr.read_line(&mut line).expect("text");
            assert!(count > 0, "it has said nothing of where it listens");
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split(',').next().expect("a first part").to_string();
            }
        };
        Self { child, address, stdout, _stderr: stderr }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).expect("it listens")
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("text");
        line.trim_end().to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(guest: std::path::PathBuf, workers: &str, args: &[&str]) -> Command {
    let mut command = lunatic();
    command.args(["run", "-v", "--workers", workers, "--listen", "127.0.0.1:0"]).arg(guest);
    command.args(args);
    command
}

fn ask(connection: &mut TcpStream, text: &str) -> String {
    connection.write_all(text.as_bytes()).expect("it reads");
    let mut answer = vec![0; text.len()];
    connection.read_exact(&mut answer).expect("it answers");
    String::from_utf8(answer).expect("what was sent was text")
}

#[test]
fn one_process_serves_one_connection_after_the_other() {
    let Some(guest) = guest("tcp_echo") else { return };
    let mut server = Server::start(command(guest, "1", &[]));
    assert_eq!(server.line(), "ready");
    for round in 0..20 {
        let mut connection = server.connect();
        let text = format!("hello {round}");
        assert_eq!(ask(&mut connection, &text), text);
    }
    // Much, in both directions at once: it has to wait for room, too.
    let mut connection = server.connect();
    let data: Vec<u8> = (0..5_000_000u32).map(|number| number as u8).collect();
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
    ask_to_quit(server);
}

fn ask_to_quit(mut server: Server) {
    server.connect().write_all(b"quit").expect("it reads");
    assert_eq!(server.line(), "quit");
    assert_eq!(server.child.wait().expect("it ends").code(), Some(7));
}

#[test]
fn many_processes_share_a_listening_socket() {
    const SERVERS: usize = 50;
    let Some(guest) = guest("tcp_echo") else { return };
    let mut server = Server::start(command(guest, "2", &[&SERVERS.to_string()]));
    assert_eq!(server.line(), "ready");
    for _ in 0..3 {
        // All at once: each is held by a process of its own.
        let mut connections: Vec<TcpStream> = (0..SERVERS).map(|_| server.connect()).collect();
        for (number, connection) in connections.iter_mut().enumerate() {
            let text = format!("number {number}");
            assert_eq!(ask(connection, &text), text);
        }
    }
}

#[test]
fn one_who_waits_for_connections_costs_no_time() {
    let Some(guest) = guest("tcp_echo") else { return };
    let mut server = Server::start(command(guest, "2", &["10"]));
    assert_eq!(server.line(), "ready");
    let used = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.child.id()));
        let stat = stat.expect("it runs");
        let fields: Vec<&str> = stat.rsplit(')').next().expect("a rest").split(' ').collect();
        fields[12].parse::<u64>().expect("ticks") + fields[13].parse::<u64>().expect("ticks")
    };
    assert_eq!(ask(&mut server.connect(), "x"), "x");
    let before = used();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(used() - before <= 5, "it spins while nothing comes");
}

/// The calls themselves, by a guest that makes those that a test writes down.
#[test]
fn calls_on_sockets_answer_as_specified() {
    let Some(guest) = guest("wasi_calls") else { return };
    let mut server = Server::start(command(guest, "1", &[]));
    let mut stdin = server.child.stdin.take().expect("it is a pipe");
    let mut call = |server: &mut Server, call: &str| {
        writeln!(stdin, "{call}").expect("it reads");
        server.line()
    };
    let (again, badf, inval, notsock, notconn, spipe, pipe) =
        ("6", "8", "28", "57", "53", "70", "64");
    assert!(call(&mut server, "fd_fdstat_get 3").starts_with("0 type 6 flags 0"));
    assert_eq!(call(&mut server, "fd_filestat_get 3"), "0 type 6 links 0 size 0 mtim 0");
    assert_eq!(call(&mut server, "fd_prestat_get 3"), badf);
    assert_eq!(call(&mut server, "fd_fdstat_set_flags 3 4"), "0");
    assert!(call(&mut server, "fd_fdstat_get 3").starts_with("0 type 6 flags 4"));
    assert_eq!(call(&mut server, "sock_accept 3 0"), again);
    assert_eq!(call(&mut server, "sock_accept 3 1"), inval);
    assert_eq!(call(&mut server, "sock_accept 3 64"), inval);
    assert_eq!(call(&mut server, "sock_accept 0 0"), notsock);
    assert_eq!(call(&mut server, "sock_accept 9 0"), badf);
    assert_eq!(call(&mut server, "sock_recv 3 1 0"), notconn);
    assert_eq!(call(&mut server, "sock_shutdown 3 1"), notconn);
    let timed_out = "0 [1 error 0 bytes 0 flags 0]";
    assert_eq!(call(&mut server, "poll_oneoff 1 3 1000000"), timed_out);
    assert_eq!(call(&mut server, "fd_fdstat_set_flags 3 0"), "0");

    let mut connection = server.connect();
    assert!(call(&mut server, "poll_oneoff 1 3 1000000000000").starts_with("0 [0 error 0"));
    assert_eq!(call(&mut server, "sock_accept 3 4"), "0 4");
    assert!(call(&mut server, "fd_fdstat_get 4").starts_with("0 type 6 flags 4"));
    assert_eq!(call(&mut server, "sock_recv 4 10 0"), again);
    assert_eq!(call(&mut server, "fd_read 4 10"), again);
    assert_eq!(call(&mut server, "poll_oneoff 1 4 1000000"), timed_out);
    assert_eq!(call(&mut server, "poll_oneoff 2 4 1000000000000"), "0 [0 error 0 bytes 1 flags 0]");
    connection.write_all(b"hello").expect("it is open");
    assert_eq!(call(&mut server, "poll_oneoff 1 4 1000000000000"), "0 [0 error 0 bytes 5 flags 0]");
    assert_eq!(call(&mut server, "sock_recv 4 2 1"), "0 he");
    assert_eq!(call(&mut server, "sock_recv 4 2 0"), "0 he");
    assert_eq!(call(&mut server, "fd_read 4 10"), "0 llo");
    assert_eq!(call(&mut server, "sock_recv 4 2 4"), inval);
    assert_eq!(call(&mut server, "fd_seek 4 0 0"), spipe);
    assert_eq!(call(&mut server, "fd_tell 4"), spipe);
    assert_eq!(call(&mut server, "fd_pread 4 1 0"), spipe);
    assert_eq!(call(&mut server, "fd_pwrite 4 x 0"), spipe);
    assert_eq!(call(&mut server, "sock_send 4 ab 1"), inval);
    assert_eq!(call(&mut server, "sock_send 4 ab 0"), "0 2");
    assert_eq!(call(&mut server, "fd_write 4 cd"), "0 2");
    let mut answer = [0; 4];
    connection.read_exact(&mut answer).expect("it came");
    assert_eq!(&answer, b"abcd");
    // All of it or nothing: what comes in two pieces is one.
    assert_eq!(call(&mut server, "fd_fdstat_set_flags 4 0"), "0");
    connection.write_all(b"12").expect("it is open");
    let mut rest = connection.try_clone().expect("it can be");
    let later = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(20));
        rest.write_all(b"34").expect("it is open");
    });
    assert_eq!(call(&mut server, "sock_recv 4 4 2"), "0 1234");
    later.join().expect("it only writes");
    connection.write_all(b"end").expect("it is open");
    connection.shutdown(Shutdown::Write).expect("it is open");
    assert_eq!(call(&mut server, "sock_recv 4 10 2"), "0 end");
    assert_eq!(call(&mut server, "sock_recv 4 10 0"), "0");
    assert!(call(&mut server, "poll_oneoff 1 4 1000000").ends_with("flags 1]"));
    assert_eq!(call(&mut server, "sock_shutdown 4 0"), inval);
    assert_eq!(call(&mut server, "sock_shutdown 4 4"), inval);
    assert_eq!(call(&mut server, "sock_shutdown 4 2"), "0");
    let mut nothing = Vec::new();
    connection.read_to_end(&mut nothing).expect("it ends");
    assert_eq!(call(&mut server, "fd_write 4 x"), pipe);
    assert_eq!(call(&mut server, "fd_close 4"), "0");
    assert_eq!(call(&mut server, "sock_send 4 x 0"), badf);
}
