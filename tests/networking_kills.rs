//! Processes that end in the middle of a call on a socket: what they had open is closed.

mod support;

use std::net::TcpListener;
use std::thread;

use support::server::{open_files_of, sockets_of};
use support::{Running, guest, lunatic};

/// Enough to meet each call at its begin, in its middle, and while it waits.
const ROUNDS: usize = 12;

/// A server that takes connections, keeps them, and never says anything.
fn silent_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let address = listener.local_addr().expect("it listens").to_string();
    thread::spawn(move || {
        let mut kept = Vec::new();
        loop {
            kept.push(listener.accept().expect("there is room"));
        }
    });
    address
}

#[test]
fn who_is_killed_in_a_call_leaves_nothing_open() {
    let Some(guest) = guest("net_killed") else { return };
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).expect("a good name");
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    for workers in ["1", "2"] {
        let mut command = lunatic();
        command.args(["run", "--allow-net", "--workers", workers]).arg(&guest).arg("--");
        command.args([&silent_server(), &cert, &key]);
        let mut running = Running::start(command);
        let mut open = 0;
        for round in 0..ROUNDS {
            running.write("go\n");
            running.wait_for(&format!("round {round} is over"));
            while sockets_of(&running.child) != 0 {
                thread::yield_now();
            }
            // What the runtime keeps for itself is there after the first round.
            if round == 0 {
                open = open_files_of(&running.child).count();
            }
        }
        while open_files_of(&running.child).count() > open {
            thread::yield_now();
        }
        let output = running.finish().expect_quiet_success();
        assert_eq!(output.stdout.lines().count(), ROUNDS, "{output:#?}");
    }
}
