//! Connects to a server that takes nobody, whose address is the argument: with a limit of time, and
//! without, by processes that are killed when something comes on stdin.

use lunatic::net::TcpStream;
use lunatic::{Channel, Process};
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::time::Duration;

const CONNECTING: usize = 50;

fn main() {
    let server: SocketAddr = std::env::args().nth(1).unwrap().parse().unwrap();
    let told = Channel::new(0);
    for _ in 0..CONNECTING {
        Process::spawn((server, told.clone()), |(server, told): (SocketAddr, Channel<bool>)| {
            let connected = TcpStream::connect_timeout(&server, Duration::from_millis(50));
            told.send(connected.is_err_and(|error| error.kind() == ErrorKind::TimedOut));
        })
        .expect("there is room");
    }
    assert!((0..CONNECTING).all(|_| told.receive()));
    println!("each was told in time");
    let connecting: Vec<Process> = (0..CONNECTING)
        .map(|_| {
            Process::spawn(server, |server: SocketAddr| drop(TcpStream::connect(server)))
                .expect("there is room")
        })
        .collect();
    println!("connecting");
    let _ = std::io::stdin().read(&mut [0]);
    for process in connecting {
        process.kill();
    }
    println!("killed");
    let _end = std::io::stdin().read_to_end(&mut Vec::new());
}
