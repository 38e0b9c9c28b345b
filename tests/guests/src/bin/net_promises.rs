//! What sockets promise, by a program that talks to itself; one line for each promise.

use lunatic::net::{
    resolve, resolve_timeout, TcpListener, TcpStream, TlsListener, TlsStream, UdpSocket,
};
use lunatic::{Channel, Process};
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};
use test_guests::{check, check_eq};

/// Short, but not over before anything has happened.
const SHORT: Duration = Duration::from_millis(30);

fn main() {
    addresses();
    errors();
    streams();
    timeouts();
    back_pressure();
    sharing();
    messages();
    datagrams();
    nonsense();
    println!("all promises of sockets hold");
}

/// A connection of the process with itself.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, peer) = listener.accept().unwrap();
    assert_eq!(peer, one.local_addr().unwrap());
    (one, other)
}

fn addresses() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    check("the system chooses a port", at.port() != 0);
    check_eq(
        "an address is its own name",
        resolve("127.0.0.1:80").unwrap(),
        vec!["127.0.0.1:80".parse().unwrap()],
    );
    check_eq("also in brackets", resolve("[::1]:80").unwrap(), vec!["[::1]:80".parse().unwrap()]);
    check("localhost has an address", !resolve("localhost:80").unwrap().is_empty());
    check("a name without a port has none", resolve("localhost").is_err());
    check("nor has nonsense", resolve("\0\u{7f}:1:2:3").is_err());
    check(
        "a time may be given",
        !resolve_timeout("localhost:1", Duration::from_secs(60)).unwrap().is_empty(),
    );
    let (one, other) = pair();
    check_eq(
        "two sides agree on who they are",
        one.peer_addr().unwrap(),
        other.local_addr().unwrap(),
    );
}

fn errors() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    check_eq(
        "an address can be had once",
        TcpListener::bind(at).unwrap_err().kind(),
        ErrorKind::AddrInUse,
    );
    drop(listener);
    let error = TcpStream::connect(at).unwrap_err();
    check_eq("where nobody listens nobody is reached", error.kind(), ErrorKind::ConnectionRefused);
    check(
        "the text says what was tried",
        error.to_string().contains(&format!("cannot connect to {at}")),
    );
    let (mut one, other) = pair();
    other.shutdown(Shutdown::Both).unwrap();
    drop(other);
    let mut rest = Vec::new();
    check_eq("the end is the end", one.read_to_end(&mut rest).unwrap(), 0);
    let error = loop {
        if let Err(error) = one.write_all(&[0; 1024]) {
            break error.kind();
        }
    };
    check(
        "who writes behind the end is told",
        matches!(error, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
    );
}

fn streams() {
    let (mut one, mut other) = pair();
    one.write_all(b"hello").unwrap();
    let mut buffer = [0; 16];
    for _ in 0..3 {
        check_eq("peeking takes nothing", other.peek(&mut buffer[..3]).unwrap(), 3);
    }
    check_eq("reading takes", other.read(&mut buffer).unwrap(), 5);
    check_eq("all of it", &buffer[..5], &b"hello"[..]);
    let pieces = [IoSlice::new(b"one "), IoSlice::new(b""), IoSlice::new(b"two")];
    check_eq("pieces are written together", one.write_vectored(&pieces).unwrap(), 7);
    check_eq("and read in pieces", other.read(&mut buffer[..2]).unwrap(), 2);
    check_eq("to the last", other.read(&mut buffer).unwrap(), 5);
    check_eq("reading nothing takes no time", other.read(&mut []).unwrap(), 0);
    check_eq("nor does writing nothing", one.write(&[]).unwrap(), 0);
    one.shutdown(Shutdown::Write).unwrap();
    check_eq("one side may end", other.read(&mut buffer).unwrap(), 0);
    other.write_all(b"still").unwrap();
    check_eq("while the other goes on", one.read(&mut buffer).unwrap(), 5);
    check("small pieces are not held back", one.nodelay());
    one.set_nodelay(false);
    check("unless one says so", !one.nodelay());
}

fn timeouts() {
    let (mut one, mut other) = pair();
    check_eq("at first there is no limit", one.read_timeout(), None);
    check("and zero is none", one.set_read_timeout(Some(Duration::ZERO)).is_err());
    one.set_read_timeout(Some(SHORT)).unwrap();
    check_eq("a limit can be asked for", one.read_timeout(), Some(SHORT));
    check_eq("clones have it too", one.clone().read_timeout(), Some(SHORT));
    let begun = Instant::now();
    let error = one.read(&mut [0; 8]).unwrap_err();
    check_eq("a read ends in time", error.kind(), ErrorKind::TimedOut);
    check("and not before", begun.elapsed() >= SHORT);
    one.set_peek_timeout(Some(SHORT)).unwrap();
    check_eq("so does a peek", one.peek(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
    other.write_all(b"x").unwrap();
    check_eq("what comes is read all the same", one.read(&mut [0; 8]).unwrap(), 1);
    one.set_write_timeout(Some(SHORT)).unwrap();
    let error = loop {
        if let Err(error) = one.write(&[0; 64 * 1024]) {
            break error.kind();
        }
    };
    check_eq("a write to nobody ends in time", error, ErrorKind::TimedOut);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = listener.accept_timeout(SHORT).unwrap_err();
    check_eq("so does an accept", error.kind(), ErrorKind::TimedOut);
    // Nobody is there; whoever lets such packets fall keeps the caller waiting.
    let nobody: SocketAddr = listener.local_addr().unwrap();
    check(
        "a connection is made in time",
        TcpStream::connect_timeout(&nobody, Duration::from_secs(60)).is_ok(),
    );
}

fn back_pressure() {
    const ALL: usize = 20_000_000;
    let (one, mut other) = pair();
    Process::spawn(one, |mut one: TcpStream| {
        let piece: Vec<u8> = (0..100_003).map(|number| number as u8).collect();
        let mut left = ALL;
        while left > 0 {
            let count = one.write(&piece[..piece.len().min(left)]).unwrap();
            left -= count;
        }
    })
    .unwrap();
    let (mut count, mut buffer) = (0, vec![0; 50_001]);
    loop {
        match other.read(&mut buffer).unwrap() {
            0 => break,
            more => count += more,
        }
    }
    check_eq("a writer waits for its reader, and loses nothing", count, ALL);
}

fn sharing() {
    // One process reads, another writes, on the same connection, both waiting.
    let (one, other) = pair();
    let done = Channel::new(0);
    Process::spawn((one.clone(), done.clone()), |(mut stream, done): (TcpStream, Channel<u64>)| {
        let mut buffer = [0; 1000];
        let mut sum = 0;
        loop {
            match stream.read(&mut buffer).unwrap() {
                0 => break,
                count => sum += count as u64,
            }
        }
        done.send(sum);
    })
    .unwrap();
    Process::spawn(one, |mut stream: TcpStream| {
        stream.write_all(&vec![1; 3_000_000]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    })
    .unwrap();
    let mut echo = other;
    let mut buffer = vec![0; 65_536];
    loop {
        match echo.read(&mut buffer).unwrap() {
            0 => break,
            count => echo.write_all(&buffer[..count]).unwrap(),
        }
    }
    drop(echo);
    check_eq("reading and writing are apart", done.receive(), 3_000_000);

    // Many wait for the same bytes: each byte comes to one of them, and no wake-up is lost.
    const READERS: usize = 20;
    let (mut one, other) = pair();
    let got = Channel::new(0);
    for _ in 0..READERS {
        Process::spawn(
            (other.clone(), got.clone()),
            |(mut stream, got): (TcpStream, Channel<u8>)| {
                let mut byte = [0];
                while let Ok(1) = stream.read(&mut byte) {
                    got.send(byte[0]);
                }
                got.send(0);
            },
        )
        .unwrap();
    }
    drop(other);
    let victim = Process::spawn(one.clone(), |mut stream: TcpStream| {
        let _ = stream.read(&mut [0]);
    })
    .unwrap();
    let mut sum = 0u64;
    for round in 0..50u8 {
        let piece = vec![round + 1; 3];
        one.write_all(&piece).unwrap();
        if round == 25 {
            victim.kill();
        }
        for _ in 0..3 {
            sum += u64::from(got.receive());
        }
    }
    check_eq("each byte reached a reader", sum, (1..=50).map(|round| round * 3).sum());
    one.shutdown(Shutdown::Write).unwrap();
    for _ in 0..READERS {
        check_eq("each reader saw the end", got.receive(), 0);
    }
}

fn messages() {
    // Several accept from one listener.
    const ACCEPTORS: u8 = 10;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let done = Channel::new(0);
    for number in 0..ACCEPTORS {
        Process::spawn((listener.clone(), done.clone(), number), |(listener, done, number)| {
            let listener: TcpListener = listener;
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&[number]).unwrap();
            let done: Channel<()> = done;
            done.send(());
        })
        .unwrap();
    }
    drop(listener);
    let mut numbers: Vec<u8> = (0..ACCEPTORS)
        .map(|_| {
            let mut number = [0];
            TcpStream::connect(at).unwrap().read_exact(&mut number).unwrap();
            number[0]
        })
        .collect();
    numbers.sort_unstable();
    check_eq("each of those who accept gets one", numbers, (0..ACCEPTORS).collect());
    for _ in 0..ACCEPTORS {
        done.receive();
    }
    while TcpStream::connect(at).is_ok() {
        lunatic::yield_now();
    }
    check("the last who lets go closes a listener", true);
    let (one, mut other) = pair();
    // To a process that is gone: the message is dropped, and the stream in it.
    let gone: Process<TcpStream> = Process::spawn_with_mailbox((), |(), _| {}).unwrap();
    while gone.is_alive() {
        lunatic::yield_now();
    }
    gone.send(one);
    check_eq("a stream that nobody receives is closed", other.read(&mut [0; 8]).unwrap(), 0);
    // To one that never looks, and is killed.
    let (one, mut other) = pair();
    let deaf: Process<TcpStream> =
        Process::spawn_with_mailbox((), |(), _| lunatic::sleep(Duration::from_secs(3600))).unwrap();
    deaf.send(one);
    deaf.kill();
    check_eq("also in a mailbox", other.read(&mut [0; 8]).unwrap(), 0);
    // A timeout travels along.
    let (one, _other) = pair();
    one.set_read_timeout(Some(SHORT)).unwrap();
    let channel = Channel::new(0);
    channel.send(one);
    let one: TcpStream = channel.receive();
    check_eq("timeouts travel along", one.read_timeout(), Some(SHORT));
}

fn datagrams() {
    let one = UdpSocket::bind("127.0.0.1:0").unwrap();
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (at_one, at_other) = (one.local_addr().unwrap(), other.local_addr().unwrap());
    check_eq("a datagram is sent", one.send_to(b"ping", at_other).unwrap(), 4);
    let mut buffer = [0; 100];
    check_eq("and received", other.recv_from(&mut buffer).unwrap(), (4, at_one));
    check_eq("as it was", &buffer[..4], &b"ping"[..]);
    check_eq(
        "at first it is connected to nobody",
        one.peer_addr().unwrap_err().kind(),
        ErrorKind::NotConnected,
    );
    check("so it cannot just send", one.send(b"x").is_err());
    one.connect(at_other).unwrap();
    check_eq("it can be connected", one.peer_addr().unwrap(), at_other);
    one.send(b"a longer one").unwrap();
    check_eq("what is too long is cut off", other.recv(&mut buffer[..3]).unwrap(), 3);
    let error = other.recv_from_timeout(&mut buffer, SHORT).unwrap_err();
    check_eq("and gone", error.kind(), ErrorKind::TimedOut);
    one.send(b"").unwrap();
    check_eq("an empty one is one", other.recv(&mut buffer).unwrap(), 0);
    check("too much is refused", one.send(&vec![0; 70_000]).is_err());
    one.set_ttl(42);
    check_eq("it lives as long as one says", one.ttl(), 42);
    one.set_broadcast(true);
    check("it may be sent to all", one.broadcast());
    let channel = Channel::new(0);
    channel.send(one);
    let one: UdpSocket = channel.receive();
    check_eq("sockets travel, too", one.local_addr().unwrap(), at_one);
}

/// What no certificate is: an error each, and nothing worse.
fn nonsense() {
    let broken = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    let key = b"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n";
    let cut = b"-----BEGIN CERTIFICATE-----\nMIIB";
    let bytes: [&[u8]; 6] = [b"", b"nonsense", broken, cut, key, &[0x30, 0x82, 0xff, 0xff, 0x30]];
    for certs in bytes {
        for keys in bytes {
            assert!(TlsListener::bind("127.0.0.1:0", certs, keys).is_err());
        }
        let trusted = TlsStream::connect_with_certs("127.0.0.1", 1, &[certs]);
        assert!(trusted.is_err());
    }
    check("what is no certificate is refused", true);
    for host in ["", ".", "a..b", "\u{fc}", "x y", "[::1]", "a\0b"] {
        assert!(TlsStream::connect(host, 1).is_err(), "{host:?}");
    }
    check("and so is what is no host", true);
}
