//! Names that no server answers for, asked for by one process, again and again, and by one that has others
//! ask, too. This program is the name server, too.
//! Needs a network of its own, and a resolver that waits for long. Prints `ok <behaviour>` for each.

use lunatic::net::{resolve, resolve_timeout, UdpSocket};
use lunatic::{Mailbox, Process};
use std::collections::HashSet;
use std::io::ErrorKind;
use std::time::Duration;
use test_guests::{check, check_eq};

/// Look-ups of one process that may be under way, and of all that it has spawned.
const SHARE: usize = 4;
const SHARE_OF_BRANCH: usize = 9;

fn main() {
    let names = UdpSocket::bind("127.0.0.1:53").expect("nobody serves names here");
    let mailbox = Mailbox::<usize>::own();
    let own = mailbox.process();
    Process::spawn((names, own), |(names, main)| serve(names, main)).expect("there is room");
    Process::spawn(own, |main| {
        ask_in_vain("one", 40);
        main.send(0);
    })
    .expect("there is room");
    // Who asks first does so in vain.
    check_eq("the first process has given all up", mailbox.receive(), 0);
    check("another one gets its answer", resolve("good.test:80").is_ok());
    let asked = mailbox.receive();
    check("the first one had questions under way", asked > 0);
    check("it did not have all places", asked <= SHARE);
    // As many as it likes, each of which ends when it has given up: none is left, and what they did counts.
    Process::spawn(own, |main| {
        let mailbox = Mailbox::<usize>::own();
        for child in 0..8 {
            Process::spawn(
                (child, mailbox.process()),
                |(child, parent): (usize, Process<usize>)| {
                    ask_in_vain(&format!("many{child}"), 10);
                    parent.send(0);
                },
            )
            .expect("there is room");
        }
        (0..8).for_each(|_| assert_eq!(mailbox.receive(), 0));
        main.send(0);
    })
    .expect("there is room");
    check_eq("all its children have given all up", mailbox.receive(), 0);
    check("another one gets its answer again", resolve("good.other.test:80").is_ok());
    let more = mailbox.receive() - asked;
    check("the children had questions under way", more > 0);
    check("they did not have all places", more <= SHARE_OF_BRANCH);
}

/// So many names, each given up soon.
fn ask_in_vain(label: &str, count: usize) {
    for number in 0..count {
        let name = format!("{label}x{number}.test:80");
        let gone = resolve_timeout(&name, Duration::from_millis(20)).map_err(|error| error.kind());
        assert_eq!(gone, Err(ErrorKind::TimedOut));
    }
}

/// Answers for names that begin with `good`, having told once how many others were asked for before.
fn serve(server: UdpSocket, main: Process<usize>) {
    const HEADER: usize = 12;
    let mut packet = [0; 512];
    let mut others = HashSet::new();
    let mut told = HashSet::new();
    loop {
        let (count, from) = server.recv_from(&mut packet).expect("it receives");
        let Some(end) = packet[HEADER..count].iter().position(|&byte| byte == 0) else { continue };
        let name = &packet[HEADER..HEADER + end];
        if !name.starts_with(b"\x04good") {
            others.insert(name.to_vec());
            continue;
        }
        if told.insert(name.to_vec()) {
            main.send(others.len());
        }
        // Behind the name: its type, of which 1 is an IPv4 address, and its class.
        let is_ipv4 = packet[HEADER + end + 1..HEADER + end + 3] == [0, 1];
        let mut answer = packet[..HEADER + end + 5].to_vec();
        answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_ipv4), 0, 0, 0, 0]);
        if is_ipv4 {
            // The name of the question, an address, for no time, of four bytes.
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 2]);
        }
        let _gone = server.send_to(&answer, from);
    }
}
