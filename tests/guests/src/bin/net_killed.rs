//! Processes that are killed in each of the calls that wait for a socket: a round for each line on stdin, at
//! other moments each time. Arguments: the address of a server that takes connections and says nothing, a
//! certificate for `localhost`, and its key.

use lunatic::net::{resolve, TcpListener, TcpStream, TlsListener, TlsStream, UdpSocket};
use lunatic::{Channel, Process};
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::net::SocketAddr;

/// Victims of each kind in a round.
const EACH: usize = 3;

const HERE: &str = "127.0.0.1:0";

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum In {
    Accept,
    Read,
    Peek,
    Write,
    Receive,
    Resolve,
    TlsAccept,
    TlsConnect,
    TlsRead,
    TlsWrite,
}

const ALL: [In; 10] = [
    In::Accept,
    In::Read,
    In::Peek,
    In::Write,
    In::Receive,
    In::Resolve,
    In::TlsAccept,
    In::TlsConnect,
    In::TlsRead,
    In::TlsWrite,
];

#[derive(Clone, Serialize, Deserialize)]
struct Context {
    /// Takes connections and says nothing.
    silent: SocketAddr,
    /// The same after a handshake.
    silent_tls: u16,
    cert: String,
    key: String,
    /// For those who have all they need and make the call.
    ready: Channel<()>,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [silent, cert, key] = &args[..] else { panic!("three arguments") };
    let silent = silent.parse().expect("an address");
    for (round, _line) in std::io::stdin().lines().enumerate() {
        let ports = Channel::new(0);
        let context = (cert.clone(), key.clone(), ports.clone());
        let keeper = Process::spawn(context, keep).expect("there is room");
        let context = Context {
            silent,
            silent_tls: ports.receive(),
            cert: cert.clone(),
            key: key.clone(),
            ready: Channel::new(0),
        };
        let victims: Vec<Process> = (0..EACH)
            .flat_map(|_| ALL)
            .map(|call| Process::spawn((call, context.clone()), wait_in).expect("there is room"))
            .collect();
        for _ in &victims {
            context.ready.receive();
        }
        for _ in 0..round * round {
            lunatic::yield_now();
        }
        for process in victims.iter().chain([&keeper]) {
            process.kill();
        }
        while victims.iter().chain([&keeper]).any(Process::is_alive) {
            lunatic::yield_now();
        }
        println!("round {round} is over");
    }
}

/// Shakes hands with all, and says nothing.
fn keep((cert, key, ports): (String, String, Channel<u16>)) {
    let listener = TlsListener::bind(HERE, cert.as_bytes(), key.as_bytes()).expect("a good key");
    ports.send(listener.local_addr().expect("it listens").port());
    let mut kept = Vec::new();
    loop {
        kept.push(listener.accept());
    }
}

/// Never returns: nobody says anything, or reads.
fn wait_in((call, context): (In, Context)) {
    let Context { silent, silent_tls, cert, key, ready } = context;
    let plain = || TcpStream::connect(silent).expect("it listens");
    let tls = |port| TlsStream::connect_with_certs("localhost", port, &[cert.as_bytes()]);
    let begin = || ready.send(());
    let came = match call {
        In::Accept => {
            let listener = TcpListener::bind(HERE).expect("there is a port");
            begin();
            format!("{:?}", listener.accept())
        }
        In::Read => {
            let mut stream = plain();
            begin();
            format!("{:?}", stream.read(&mut [0]))
        }
        In::Peek => {
            let stream = plain();
            begin();
            format!("{:?}", stream.peek(&mut [0]))
        }
        In::Write => {
            let stream = plain();
            begin();
            fill(stream)
        }
        In::Receive => {
            let socket = UdpSocket::bind(HERE).expect("there is a port");
            begin();
            format!("{:?}", socket.recv_from(&mut [0]))
        }
        In::Resolve => {
            begin();
            loop {
                resolve("localhost:1").expect("it has an address");
            }
        }
        In::TlsAccept => {
            let listener = TlsListener::bind(HERE, cert.as_bytes(), key.as_bytes());
            let listener = listener.expect("a good key");
            // In the middle of its handshake.
            let _mute = TcpStream::connect(listener.local_addr().expect("it listens"));
            begin();
            format!("{:?}", listener.accept())
        }
        In::TlsConnect => {
            begin();
            format!("{:?}", tls(silent.port()))
        }
        In::TlsRead => {
            let mut stream = tls(silent_tls).expect("it shakes hands");
            begin();
            format!("{:?}", stream.read(&mut [0]))
        }
        In::TlsWrite => {
            let stream = tls(silent_tls).expect("it shakes hands");
            begin();
            fill(stream)
        }
    };
    panic!("{call:?} came back: {came}");
}

/// Writes for ever.
fn fill(mut stream: impl Write) -> String {
    loop {
        if let Err(error) = stream.write_all(&[7; 64 * 1024]) {
            return error.to_string();
        }
    }
}
