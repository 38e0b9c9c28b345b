//! TCP of the crate 0.2.1: streams that travel, and a server of a process for each connection.
use std::io::{Read, Write};

use lunatic::net::{TcpListener, TcpStream};
use lunatic::{Channel, Process};

/// Takes the address to listen at, and how many connections there will be.
fn main() {
    let mut args = std::env::args().skip(1);
    let address = args.next().expect("where to listen");
    let connections: usize = args.next().and_then(|count| count.parse().ok()).expect("a number");
    let listener = match TcpListener::bind(&address) {
        Ok(listener) => listener,
        Err(error) => return println!("bind {error}"),
    };
    let again = TcpListener::bind(&address).err();
    println!("listening on {address}");
    let done = Channel::new(0);
    let router = Channel::new(1);
    Process::spawn((router.clone(), done.clone()), route).unwrap();
    for _ in 0..connections {
        // By way of another process, so that a stream changes hands twice.
        router.send(listener.accept().unwrap());
    }
    let bytes: usize = (0..connections).map(|_| done.receive()).sum();
    println!("echoed {bytes}, again {again:?}");
}

fn route((streams, done): (Channel<TcpStream>, Channel<usize>)) {
    loop {
        Process::spawn((streams.receive(), done.clone()), echo).unwrap();
    }
}

fn echo((mut stream, done): (TcpStream, Channel<usize>)) {
    let (mut buffer, mut bytes) = ([0; 1000], 0);
    loop {
        let count = stream.read(&mut buffer).unwrap();
        if count == 0 {
            return done.send(bytes);
        }
        stream.write_all(&buffer[..count]).unwrap();
        bytes += count;
    }
}
