//! TCP of the crate 0.3.10: listeners and streams travel, and are closed by the last who has them.
use std::io::{IoSlice, IoSliceMut, Read, Write};

use lunatic::channel::{self, Sender};
use lunatic::net::{TcpListener, TcpStream};
use lunatic::Process;

/// Takes the address to listen at, and a second word if it is to serve without end.
fn main() {
    let address = std::env::args().nth(1).expect("where to listen");
    let listener = match TcpListener::bind(&address) {
        Ok(listener) => listener,
        Err(error) => {
            println!("bind {error}");
            return println!("connect {:?}", TcpStream::connect(&address).err());
        }
    };
    println!("again {:?}", TcpListener::bind(&address).err());
    // Several processes wait at one listener, and none of them is the one that has made it.
    let acceptors: Vec<Process> =
        (0..4).map(|_| Process::spawn_with(listener.clone(), accept)).collect();
    drop(listener);
    talk(&address);
    listing(&address);
    println!("listening on {address}");
    while std::env::args().nth(2).is_some() {
        Process::sleep(1_000_000);
    }
    // They wait, or serve; with them goes the listener.
    drop(acceptors);
    while TcpListener::bind(&address).is_err() {
        lunatic::yield_();
    }
    println!("nobody {:?}", TcpStream::connect(&address).err());
}

fn accept(listener: TcpListener) {
    loop {
        Process::spawn_with(listener.accept().unwrap(), echo).detach();
    }
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 1000];
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => return,
            count => stream.write_all(&buffer[..count]).unwrap(),
        }
        stream.flush().unwrap();
    }
}

/// Clients that are processes, too.
fn talk(address: &str) {
    let (answers, answered) = channel::unbounded();
    for number in 0..20_u32 {
        let context = (address.to_string(), number, answers.clone());
        Process::spawn_with(context, |(address, number, answers): (String, u32, Sender<u32>)| {
            let mut stream = TcpStream::connect(&address).unwrap();
            stream.write_all(&number.to_le_bytes()).unwrap();
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).unwrap();
            answers.send(u32::from_le_bytes(answer)).unwrap();
        })
        .detach();
    }
    let sum: u32 = (0..20).map(|_| answered.receive().unwrap()).sum();
    println!("talked {sum}");
}

/// Several buffers at once, some of them empty.
fn listing(address: &str) {
    let mut stream = TcpStream::connect(address).unwrap();
    let parts = [IoSlice::new(b"one"), IoSlice::new(b""), IoSlice::new(b"two")];
    let written = stream.write_vectored(&parts).unwrap();
    let (mut first, mut rest) = ([0; 2], [0; 4]);
    let (mut have, all) = (0, 6);
    // What comes may come in pieces; the first one fills the buffers in their order.
    let parts =
        &mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut []), IoSliceMut::new(&mut rest)];
    have += stream.read_vectored(parts).unwrap();
    while have < all {
        have += stream.read(&mut rest[have - 2..]).unwrap();
    }
    println!("listed {written} {:?} {:?}", first.map(char::from), rest.map(char::from));
}
