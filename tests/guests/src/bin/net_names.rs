//! Looks up names at a name server that does not answer, which is the program itself. Needs a network
//! where it may be that, and the directory `/d`. With the argument `hang` it is asked by TCP, takes the
//! connections and never answers: the system's resolver then waits for ever, and `main` returns.

use lunatic::net::{resolve, resolve_timeout, TcpListener, UdpSocket};
use lunatic::{Channel, Process};
use std::io::{ErrorKind, Write};
use std::time::Duration;

/// Far more than look-ups that run at the same time.
const ASKING: u32 = 500;

fn main() {
    if std::env::args().nth(1).is_some_and(|word| word == "hang") {
        return hang();
    }
    let server = UdpSocket::bind("127.0.0.1:53").expect("nobody serves names here");
    let told = Channel::new(0);
    for number in 0..ASKING {
        Process::spawn((number, told.clone()), |(number, told): (u32, Channel<bool>)| {
            let name = format!("name{number}.test:80");
            let error = resolve_timeout(&name, Duration::from_millis(50)).unwrap_err();
            told.send(error.kind() == ErrorKind::TimedOut);
        })
        .expect("there is room");
    }
    assert!((0..ASKING).all(|_| told.receive()));
    println!("each was told in time");
    write_a_file();
    // And those that it has taken it gives back.
    Process::spawn(server, serve).expect("there is room");
    let error = resolve("late.test:80").unwrap_err();
    assert_ne!(error.kind(), ErrorKind::TimedOut);
    println!("no such name");
}

/// By threads of which the resolver has not taken all.
fn write_a_file() {
    let mut file = std::fs::File::create("/d/file").expect("it may be made");
    file.write_all(b"text").expect("there is room");
    file.sync_all().expect("the disk is there");
    println!("files are written");
}

fn hang() {
    let server = TcpListener::bind("127.0.0.1:53").expect("nobody serves names here");
    let asking: Vec<Process> = (0..ASKING)
        .map(|number| {
            Process::spawn(number, |number: u32| {
                // Whoever gets an answer gets it as the connections end, with the program.
                let _end = resolve(&format!("name{number}.test:80"));
            })
            .expect("there is room")
        })
        .collect();
    // As many as are asked at the same time, all of which hang from now on.
    let _asked: Vec<_> = (0..16).map(|_| server.accept().expect("it listens")).collect();
    println!("they hang");
    write_a_file();
    for process in &asking[..100] {
        process.kill();
        while process.is_alive() {
            lunatic::yield_now();
        }
    }
    println!("some are killed");
}

/// Tells all who ask that there is no such name.
fn serve(server: UdpSocket) {
    let mut packet = [0; 512];
    loop {
        let (count, from) = server.recv_from(&mut packet).expect("it receives");
        // An answer, of a server that has asked others: there is no such name.
        packet[2..4].copy_from_slice(&[0x81, 0x83]);
        let _gone = server.send_to(&packet[..count], from);
    }
}
