//! Sockets that are handed in with `--listen`.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;

use support::server::{Server, ask, ask_for_much};
use support::{guest, lunatic};

fn command(guest: std::path::PathBuf, workers: &str, args: &[&str]) -> Command {
    let mut command = lunatic();
    command.args(["run", "-v", "--workers", workers, "--listen", "127.0.0.1:0"]).arg(guest);
    command.args(args);
    command
}

#[test]
fn one_process_serves_one_connection_after_the_other() {
    let Some(guest) = guest("tcp_echo") else { return };
    let mut server = Server::that_was_given_a_socket(command(guest, "1", &[]));
    assert_eq!(server.line(), "ready");
    for round in 0..20 {
        let mut connection = server.connect();
        ask(&mut connection, format!("hello {round}").as_bytes());
    }
    ask_for_much(server.connect());
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
    let mut server = Server::that_was_given_a_socket(command(guest, "2", &[&SERVERS.to_string()]));
    assert_eq!(server.line(), "ready");
    for _ in 0..3 {
        // All at once: each is held by a process of its own.
        let mut connections: Vec<TcpStream> = (0..SERVERS).map(|_| server.connect()).collect();
        for (number, connection) in connections.iter_mut().enumerate() {
            ask(connection, format!("number {number}").as_bytes());
        }
    }
}

#[test]
fn one_who_waits_for_connections_costs_no_time() {
    let Some(guest) = guest("tcp_echo") else { return };
    let mut server = Server::that_was_given_a_socket(command(guest, "2", &["10"]));
    assert_eq!(server.line(), "ready");
    let used = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.child.id()));
        let stat = stat.expect("it runs");
        let fields: Vec<&str> = stat.rsplit(')').next().expect("a rest").split(' ').collect();
        fields[12].parse::<u64>().expect("ticks") + fields[13].parse::<u64>().expect("ticks")
    };
    ask(server.connect(), b"x");
    let before = used();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(used() - before <= 5, "it spins while nothing comes");
}

/// The calls themselves, by a guest that makes those that a test writes down.
#[test]
fn calls_on_sockets_answer_as_specified() {
    let Some(guest) = guest("wasi_calls") else { return };
    let mut server = Server::that_was_given_a_socket(command(guest, "1", &[]));
    let mut stdin = server.stdin();
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
