//! Sockets that programs make by themselves: with real clients and servers on this machine.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Command;

use support::server::{Server, ask, ask_for_much, sockets_of};
use support::{Running, guest, lunatic, run_command, run_guest};

/// What grants the network.
const ALLOW: &str = "--allow-net";

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
        let Some(server) = Server::echo("2", &[how]) else { return };
        let mut connections: Vec<TcpStream> = (0..50).map(|_| server.connect()).collect();
        for round in 0..20 {
            for (number, connection) in connections.iter_mut().enumerate() {
                ask(connection, format!("{round} of {number}").as_bytes());
            }
        }
        ask_for_much(server.connect());
    }
}

#[test]
fn no_socket_is_left_open() {
    let Some(mut server) = Server::echo("2", &["spawn"]) else { return };
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

/// A peer that has lost its power says no farewell: the system is told to ask it now and then.
#[test]
fn silent_peers_are_asked_whether_they_are_still_there() {
    let Some(server) = Server::echo("1", &["spawn"]) else { return };
    let connection = server.connect();
    ask(&connection, b"hello");
    let here = connection.local_addr().expect("it is connected").port();
    // Of each socket: number, its address, the other one, state, queues, and which timer runs.
    let ends = [format!(":{:04X}", server.address.port()), format!(":{here:04X}")];
    let timer = loop {
        let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux tells");
        let line = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let line = line.filter(|line| line.len() > 5);
        let mut line =
            line.filter(|line| line[1].ends_with(&ends[0]) && line[2].ends_with(&ends[1]));
        let timer = line.next().expect("it is connected")[5].to_string();
        // 01: what was sent is not acknowledged yet.
        if !timer.starts_with("01:") {
            break timer;
        }
        std::thread::yield_now();
    };
    assert!(timer.starts_with("02:"), "no timer that asks runs: {timer}");
}

#[test]
fn one_who_reads_slowly_holds_up_nobody_else() {
    let Some(server) = Server::echo("1", &["spawn"]) else { return };
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
        let Some(mut server) = Server::echo(workers, &["spawn"]) else { return };
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

/// Each has a process; the runtime has made room for them by itself.
#[test]
fn ten_thousand_connections_stay_open() {
    let Some(server) = Server::echo("2", &["spawn"]) else { return };
    lunatic_host_api::raise_open_files_limit();
    // What this process may open, less what other tests want.
    let count = 10_000.min(open_files_max().saturating_sub(1_000));
    let connections: Vec<TcpStream> = (0..count).map(|_| server.connect()).collect();
    for round in 0..2 {
        for connection in &connections {
            ask(connection, &[round; 7]);
        }
    }
    server.wait_for_sockets(connections.len() + 1);
    // While they are idle, others are served.
    ask(server.connect(), b"one more");
    drop(connections);
    server.wait_for_sockets(1);
}

fn open_files_max() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("Linux tells");
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = limit.and_then(|limit| limit.split_whitespace().next()).expect("a number");
    soft.parse().expect("a number")
}

#[test]
fn a_storm_of_connections_is_served() {
    let Some(server) = Server::echo("2", &["spawn"]) else { return };
    for _ in 0..2 {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    // All before the first is used.
                    let connections: Vec<_> = (0..100).map(|_| server.connect()).collect();
                    for (number, connection) in connections.iter().enumerate() {
                        match number % 4 {
                            // Gone before anybody has looked, with and without a word.
                            0 => {}
                            1 => drop((&*connection).write(b"gone")),
                            _ => ask(connection, b"hello"),
                        }
                    }
                });
            }
        });
        server.wait_for_sockets(1);
    }
}

/// With a name server that does not answer, in a network of its own. Needs user namespaces.
#[test]
fn a_resolver_that_hangs_holds_up_nobody() {
    let expected = "each was told in time\nfiles are written\nno such name\n";
    looks_up_names("timeout:1 attempts:1", &[], expected);
}

/// For ever: neither processes nor the end of the run wait for it.
#[test]
fn a_resolver_that_never_comes_back_holds_up_no_end() {
    looks_up_names("use-vc", &["hang"], "they hang\nfiles are written\nsome are killed\n");
}

/// Runs `net_names` with these options of the system's resolver.
fn looks_up_names(resolver: &str, args: &[&str], expected: &str) {
    let Some(guest) = guest("net_names") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let conf = directory.path().join("resolv.conf");
    let text = format!("nameserver 127.0.0.1\noptions {resolver}\n");
    std::fs::write(&conf, text).expect("a file");
    let apart = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-rmn", "sh", "-c", script, "sh"]).arg(&conf);
        command
    };
    let prepare = "ip link set lo up && mount --bind \"$1\" /etc/resolv.conf && shift";
    let tried = apart(prepare).output();
    if !tried.as_ref().is_ok_and(|tried| tried.status.success()) {
        eprintln!("SKIPPED: no network namespace can be made here: {tried:?}");
        return;
    }
    for workers in ["1", "2"] {
        let mut command = apart(&format!("{prepare} && exec \"$@\""));
        command.arg(env!("CARGO_BIN_EXE_lunatic")).args(["run", ALLOW, "--workers", workers]);
        command.arg("--dir").arg(format!("{}::/d", directory.path().display())).arg(&guest);
        command.arg("--").args(args);
        let output = run_command(command, b"").expect_quiet_success();
        assert_eq!(output.stdout, expected, "{output:#?}");
    }
}

#[test]
fn too_many_open_files_are_an_error_and_no_end() {
    let Some(guest) = guest("net_echo") else { return };
    let mut command = Command::new("sh");
    // What `lunatic` may open.
    command.args(["-c", "ulimit -n 40; exec \"$@\"", "sh"]).arg(env!("CARGO_BIN_EXE_lunatic"));
    command.args(["run", ALLOW]).arg(guest).arg("spawn");
    let mut server = Server::that_says_so(command);
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
    let server = Server::that_says_so(command);
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

/// Its queue of connections is full, so that the system lets those who knock wait.
#[test]
fn who_waits_for_a_connection_is_told_in_time_and_leaves_no_socket() {
    let Some(guest) = guest("net_connect") else { return };
    let server = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    // SAFETY: takes two numbers; the listener is open.
    assert_eq!(unsafe { libc::listen(server.as_raw_fd(), 0) }, 0);
    let address = server.local_addr().expect("it listens");
    let _in_the_queue = TcpStream::connect(address).expect("there is room for one");
    for workers in ["1", "2"] {
        let mut command = lunatic();
        command.args(["run", ALLOW, "--workers", workers]).arg(&guest).arg(address.to_string());
        let mut running = Running::start(command);
        running.wait_for("connecting");
        while sockets_of(&running.child) != 50 {
            std::thread::yield_now();
        }
        running.write("k");
        running.wait_for("killed");
        while sockets_of(&running.child) != 0 {
            std::thread::yield_now();
        }
        let output = running.finish().expect_quiet_success();
        assert!(output.stdout.starts_with("each was told in time\n"), "{output:#?}");
    }
}
