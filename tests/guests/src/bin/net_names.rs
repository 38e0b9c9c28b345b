//! Looks up names at a name server that does not answer, which is the program itself. Needs a network
//! where it may be that, and the directory `/d`.

use lunatic::net::{resolve, resolve_timeout, UdpSocket};
use lunatic::{Channel, Process};
use std::io::{ErrorKind, Write};
use std::time::Duration;

/// Far more than look-ups that run at the same time.
const ASKING: u32 = 500;

fn main() {
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
    // By threads of which the resolver has not taken all.
    let mut file = std::fs::File::create("/d/file").expect("it may be made");
    file.write_all(b"text").expect("there is room");
    file.sync_all().expect("the disk is there");
    println!("files are written");
    // And those that it has taken it gives back.
    Process::spawn(server, serve).expect("there is room");
    let error = resolve("late.test:80").unwrap_err();
    assert_ne!(error.kind(), ErrorKind::TimedOut);
    println!("no such name");
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
