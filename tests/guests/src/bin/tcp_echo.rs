//! Answers what comes in over the listening socket 3 with what came, a connection after the other or,
//! with "each", every connection of a process of its own; each such process accepts for itself.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::FromRawFd;

fn main() {
    let each: u32 = std::env::args().nth(1).map_or(0, |count| count.parse().expect("a number"));
    for _ in 0..each {
        lunatic::Process::spawn((), |()| serve()).expect("there is room");
    }
    println!("ready");
    serve();
}

fn serve() {
    // The descriptor is this process's own, and is used by nothing else in it.
    #[allow(unsafe_code)]
    // SAFETY: it is open, and belongs to nobody.
    let listener = unsafe { TcpListener::from_raw_fd(3) };
    loop {
        let (mut connection, _) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) => panic!("accepting: {error}"),
        };
        let mut buffer = [0; 4096];
        loop {
            match connection.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    if buffer.starts_with(b"quit") {
                        println!("quit");
                        std::process::exit(7);
                    }
                    connection.write_all(&buffer[..count]).expect("the other side reads");
                }
                Err(error) => {
                    println!("{}", error.kind());
                    break;
                }
            }
        }
    }
}
