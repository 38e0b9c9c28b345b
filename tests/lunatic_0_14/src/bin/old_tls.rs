//! `lunatic` 0.14.1: TLS. Arguments: a certificate for `localhost`, its key, and another certificate.

use std::io::{Read, Write};
use std::time::Duration;

use lunatic::net::{TcpStream, TlsListener, TlsStream};
use lunatic::{Mailbox, Process};

#[lunatic::main]
fn main(mailbox: Mailbox<String>) {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [cert, key, other] = &args[..] else { panic!("three arguments") };
    let (cert, key, other) = (cert.as_bytes(), key.as_bytes(), other.as_bytes());
    let listener = TlsListener::bind("127.0.0.1:0", cert.to_vec(), key.to_vec()).unwrap();
    let port = u32::from(listener.local_addr().unwrap().port());

    // Good: a process on each side, and the stream travels with its spawn.
    let context = (mailbox.this(), port, cert.to_vec());
    Process::spawn(context, |(parent, port, cert), _: Mailbox<()>| {
        let mut stream = TlsStream::connect_with_certs("localhost", port, vec![cert]).unwrap();
        stream.write_all(b"hello").unwrap();
        stream.flush().unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        parent.send(format!("answer {answer:?}"));
    });
    let (stream, peer) = listener.accept().unwrap();
    println!("from here {}", peer.ip().is_loopback());
    Process::spawn(stream, |mut stream: TlsStream, _: Mailbox<()>| {
        let mut text = [0; 5];
        stream.read_exact(&mut text).unwrap();
        stream.clone().write_all(&text.map(|byte| byte.to_ascii_uppercase())).unwrap();
    });
    println!("{}", mailbox.receive());

    // Bad: a client that trusts somebody else, one that wants another name, one that speaks no TLS. The
    // server is told and goes on.
    let context = (mailbox.this(), port, cert.to_vec(), other.to_vec());
    Process::spawn(context, |(parent, port, cert, other), _: Mailbox<()>| {
        let stranger = TlsStream::connect_with_certs("localhost", port, vec![other]);
        let name = TlsStream::connect_with_certs("127.0.0.1", port, vec![cert]);
        let mut plain = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        parent.send(format!("refused {} {}", stranger.is_err(), name.is_err()));
        let _end = plain.read_to_end(&mut Vec::new());
    });
    for _ in 0..3 {
        let error = listener.accept().unwrap_err().to_string();
        println!("told {}", error.contains("the handshake failed"));
    }
    println!("{}", mailbox.receive());

    // And it serves on: several certificates to trust, and times.
    let context = (port, other.to_vec(), cert.to_vec());
    Process::spawn(context, |(port, other, cert), _: Mailbox<()>| {
        let time = Duration::from_secs(60);
        let stream = TlsStream::connect_timeout("localhost", time, port, vec![other, cert]);
        let mut stream = stream.unwrap();
        let _end = stream.read(&mut [0]);
    });
    let (mut stream, _) = listener.accept().unwrap();
    let short = Some(Duration::from_millis(20));
    println!("no limit {:?} {:?}", stream.read_timeout(), stream.write_timeout());
    stream.set_read_timeout(short).unwrap();
    stream.set_write_timeout(short).unwrap();
    println!("limits {}", stream.read_timeout() == short && stream.write_timeout() == short);
    println!("silent {:?}", stream.read(&mut [0; 8]).unwrap_err().kind());
    drop(stream);

    println!("no key {}", TlsListener::bind("127.0.0.1:0", cert.to_vec(), Vec::new()).is_err());
    println!("nonsense {}", TlsListener::bind("127.0.0.1:0", vec![1], vec![2]).is_err());
    drop(listener);
    println!("nobody {}", TlsStream::connect("localhost", port).is_err());
}
