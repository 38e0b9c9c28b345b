//! `lunatic` 0.14.1: TCP, UDP and the names of hosts.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use lunatic::net::{resolve, resolve_timeout, TcpListener, TcpStream, UdpSocket};
use lunatic::serializer::Bincode;
use lunatic::{spawn_link, Mailbox, Process, Tag, WasmModule};

const HERE: &str = "127.0.0.1:0";

/// Takes a stream out of a message and writes to it.
const OTHER_MODULE: &[u8] = br#"(module
  (import "lunatic::message" "receive" (func $receive (param i32 i32 i64) (result i32)))
  (import "lunatic::message" "take_tcp_stream" (func $take (param i64) (result i64)))
  (import "lunatic::networking" "tcp_write_vectored"
    (func $write (param i64 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\10\00\00\00\05\00\00\00")
  (data (i32.const 16) "there")
  (func (export "serve")
    (drop (call $receive (i32.const 0) (i32.const 0) (i64.const -1)))
    (drop (call $write (call $take (i64.const 0)) (i32.const 0) (i32.const 1) (i32.const 32)))))"#;

#[lunatic::main]
fn main(mailbox: Mailbox<String>) {
    echo(&mailbox);
    peek_and_timeouts();
    streams_travel();
    errors();
    datagrams();
    names();
}

/// A process for each connection, and clients that are processes, too.
fn echo(mailbox: &Mailbox<String>) {
    const CLIENTS: usize = 20;
    let listener = TcpListener::bind(HERE).unwrap();
    let address = listener.local_addr().unwrap();
    for number in 0..CLIENTS {
        let context = (mailbox.this(), address, number);
        Process::spawn(context, |(parent, address, number), _: Mailbox<()>| {
            let mut stream = TcpStream::connect(address).unwrap();
            writeln!(stream, "client {number}").unwrap();
            stream.flush().unwrap();
            let mut line = String::new();
            BufReader::new(stream.clone()).read_line(&mut line).unwrap();
            writeln!(stream, "exit").unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
            parent.send(line);
        });
    }
    for _ in 0..CLIENTS {
        let (stream, peer) = listener.accept().unwrap();
        assert_eq!(stream.peer_addr().unwrap(), peer);
        Process::spawn(stream, |mut stream: TcpStream, _: Mailbox<()>| {
            let mut lines = BufReader::new(stream.clone());
            loop {
                let mut line = String::new();
                if lines.read_line(&mut line).unwrap() == 0 || line.contains("exit") {
                    return;
                }
                stream.write_all(line.as_bytes()).unwrap();
            }
        });
    }
    let mut lines: Vec<String> = (0..CLIENTS).map(|_| mailbox.receive()).collect();
    lines.sort_by_key(|line| line.trim_end()[7..].parse::<usize>().unwrap());
    let expected: Vec<String> = (0..CLIENTS).map(|number| format!("client {number}\n")).collect();
    println!("all echoed {}", lines == expected);
}

/// A connection of the process with itself.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(HERE).unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

fn peek_and_timeouts() {
    let (mut one, mut other) = pair();
    one.write_all(b"hello").unwrap();
    let mut buffer = [0; 16];
    let peeked = (other.peek(&mut buffer[..2]).unwrap(), other.peek(&mut buffer).unwrap());
    println!("peeked {peeked:?} read {}", other.read(&mut buffer).unwrap());

    let short = Some(Duration::from_millis(20));
    println!("no limit {:?} {:?}", other.read_timeout(), other.write_timeout());
    other.set_read_timeout(short).unwrap();
    other.set_peek_timeout(short).unwrap();
    other.set_write_timeout(short).unwrap();
    println!("limits {}", [other.read_timeout(), other.peek_timeout()] == [short, short]);
    println!("read {:?}", other.read(&mut buffer).unwrap_err().kind());
    println!("peek {:?}", other.peek(&mut buffer).unwrap_err().kind());
    let full = loop {
        if let Err(error) = other.write(&[0; 60_000]) {
            break error.kind();
        }
    };
    println!("write {full:?}");
    // Where somebody listened for a moment.
    let address = TcpListener::bind(HERE).and_then(|listener| listener.local_addr()).unwrap();
    let refused = TcpStream::connect_timeout(address, Duration::from_secs(60));
    println!("nobody listens {}", refused.unwrap_err().to_string().contains("refused"));
}

/// In a message, with a tag, there and back.
fn streams_travel() {
    let (mut one, other) = pair();
    let child = spawn_link!(|mailbox: Mailbox<TcpStream>| {
        let mut stream = mailbox.tag_receive(&[Tag::special(64).unwrap()]);
        let mut text = [0; 4];
        stream.read_exact(&mut text).unwrap();
        stream.write_all(&text.map(|byte| byte.to_ascii_uppercase())).unwrap();
        drop(stream);
    });
    child.tag_send(Tag::special(64).unwrap(), other);
    one.write_all(b"text").unwrap();
    let mut answer = String::new();
    one.read_to_string(&mut answer).unwrap();
    println!("from the other process {answer}");

    // Two processes share a stream: one writes, one reads.
    let (one, other) = pair();
    let reader = spawn_link!(@task |one| {
        let mut one: TcpStream = one;
        let mut all = Vec::new();
        one.read_to_end(&mut all).unwrap();
        all.len()
    });
    let mut writer = other.clone();
    Process::spawn(other, |mut other: TcpStream, _: Mailbox<()>| {
        other.write_all(&[1; 100_000]).unwrap();
    });
    writer.write_all(&[2; 200_000]).unwrap();
    drop(writer);
    println!("both halves {}", reader.result());

    // So do two modules.
    let (mut one, mut other) = pair();
    let module = WasmModule::new(OTHER_MODULE).unwrap();
    let process = module.spawn::<TcpStream, Bincode>("serve", &[]).unwrap();
    process.send(other.clone());
    let mut text = [0; 5];
    one.read_exact(&mut text).unwrap();
    other.write_all(b" here").unwrap();
    drop(other);
    let mut rest = String::new();
    one.read_to_string(&mut rest).unwrap();
    println!("two modules {}{rest}", String::from_utf8_lossy(&text));
}

fn errors() {
    let listener = TcpListener::bind(HERE).unwrap();
    let taken = TcpListener::bind(listener.local_addr().unwrap()).unwrap_err();
    println!("taken {}", taken.to_string().contains("in use"));
    let (mut one, other) = pair();
    drop(other);
    println!("ended {}", one.read(&mut [0; 8]).unwrap());
    let error = loop {
        if let Err(error) = one.write(&[0; 8]) {
            break error;
        }
    };
    println!("gone {}", error.to_string().contains("cannot write to a stream"));
}

fn datagrams() {
    let (one, other) = (UdpSocket::bind(HERE).unwrap(), UdpSocket::bind(HERE).unwrap());
    let (at_one, at_other) = (one.local_addr().unwrap(), other.local_addr().unwrap());
    let mut buffer = [0; 32];
    println!("sent {}", one.send_to(b"ping", at_other).unwrap());
    let (count, from) = other.recv_from(&mut buffer).unwrap();
    println!("received {count} {}", from == at_one);
    println!("peer {:?}", one.peer_addr().unwrap_err().kind());
    println!("send {}", one.send(b"x").is_err());
    one.connect(at_other).unwrap();
    println!("connected {}", one.peer_addr().unwrap() == at_other);
    // From another process's clone, and an empty one.
    one.try_clone().unwrap().send(b"a longer one").unwrap();
    one.send(b"").unwrap();
    println!("cut off {}", other.recv(&mut buffer[..3]).unwrap());
    println!("empty {}", other.recv(&mut buffer).unwrap());
    one.set_ttl(42).unwrap();
    one.set_broadcast(true).unwrap();
    println!("options {} {}", one.ttl().unwrap(), one.broadcast().unwrap());
    println!("too long {}", one.send(&[0; 70_000]).is_err());
    // One process waits for what another sends.
    let waiting = spawn_link!(@task |at_other| {
        let socket = UdpSocket::bind(HERE).unwrap();
        let to: SocketAddr = at_other;
        socket.send_to(b"late", to).unwrap();
        let mut buffer = [0; 8];
        socket.recv_from(&mut buffer).unwrap().0
    });
    let (_, from) = other.recv_from(&mut buffer).unwrap();
    other.send_to(b"answer", from).unwrap();
    println!("answered {}", waiting.result());
}

fn names() {
    let here: Vec<SocketAddr> = resolve("127.0.0.1:80").unwrap().collect();
    println!("address {here:?}");
    let mut local = resolve_timeout("localhost:80", Duration::from_secs(60)).unwrap();
    println!(
        "localhost {}",
        local.all(|address| address.ip().is_loopback() && address.port() == 80)
    );
    println!("no port {}", resolve("localhost").is_err());
    println!("nonsense {}", resolve("\0 a..b:80").is_err());
    println!("unknown {:?}", TcpStream::connect("no such name:80").unwrap_err().kind());
}
