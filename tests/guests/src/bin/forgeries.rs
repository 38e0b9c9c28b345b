//! What strangers send to do harm: messages of another type. Prints `ok <behaviour>` for each.

use lunatic::net::{TcpListener, TcpStream, UdpSocket};
use lunatic::{Channel, Error, Mailbox, Process, Reply, Spawn};
use serde::de::DeserializeOwned;
use std::time::Duration;
use test_guests::{check, check_eq};

const LONG: Duration = Duration::from_secs(60);

fn main() {
    lunatic::survive_links(true);
    attachments_in_mailboxes();
    attachments_of_every_kind();
    attachments_in_answers();
    attachments_in_channels();
}

// ---- messages of another type ----

type Request = (u8, Channel<u8>);

/// Answers what is a request, and -1 of what is none.
fn server(log: Process<i32>, mailbox: Mailbox<Request>) {
    loop {
        match mailbox.checked_receive() {
            Ok((number, answer)) => answer.send(number),
            Err(Error::Decode { reason, .. }) if reason.contains("has no Channel at index") => {
                log.send(-1)
            }
            Err(error) => panic!("FAILED: {error}"),
        }
    }
}

fn attachments_in_mailboxes() {
    let own = Mailbox::<i32>::own();
    let server = Spawn::new().start_with_mailbox(own.process(), server).unwrap();
    let stranger = Process::<(u8, u64)>::from_id(server.id());
    let answer = Channel::new(0);
    for index in [0, 1, u64::from(u32::MAX), u64::MAX] {
        stranger.send((7, index));
        check_eq("a channel that is not there is an error", own.receive_timeout(LONG), Ok(-1));
        server.send((8, answer.clone()));
        check_eq("and the receiver lives", answer.receive_timeout(LONG), Ok(8));
    }
    // Twice the same, in a message that has one channel.
    let twice = Mailbox::<(Channel<u8>, Channel<u8>)>::own();
    Process::<(Channel<u8>, u64)>::current().send((answer.clone(), 0));
    check("a channel is there once only", is_decode(twice.receive_timeout(LONG)));
}

fn is_decode<T>(found: Result<T, Error>) -> bool {
    matches!(found, Err(Error::Decode { .. }))
}

/// What is taken for a `T` has a channel where it should be.
fn other_kind<T: DeserializeOwned>() -> bool {
    Process::<Channel<u8>>::current().send(Channel::new(0));
    let other = is_decode(Mailbox::<T>::own().receive_timeout(LONG));
    Process::<u64>::current().send(0);
    other && is_decode(Mailbox::<T>::own().receive_timeout(LONG))
}

fn attachments_of_every_kind() {
    check("a channel is no TCP stream", other_kind::<TcpStream>());
    check("nor a TCP listener", other_kind::<TcpListener>());
    check("nor a UDP socket", other_kind::<UdpSocket>());
    check("nor a TLS stream", other_kind::<lunatic::net::TlsStream>());
    Process::<UdpSocket>::current().send(UdpSocket::bind("127.0.0.1:0").unwrap());
    let found = Mailbox::<Channel<u8>>::own().receive_timeout(LONG);
    check("and a socket no channel", is_decode(found));
    Process::<UdpSocket>::current().send(UdpSocket::bind("127.0.0.1:0").unwrap());
    let found = Mailbox::<UdpSocket>::own().receive_timeout(LONG);
    check("a socket is a socket", found.is_ok());
}

fn attachments_in_answers() {
    let evil = Process::spawn_with_mailbox((), |(), mailbox: Mailbox<Reply<u64>>| loop {
        mailbox.receive().send(0);
    })
    .unwrap();
    let trusting = Process::<Reply<Channel<u8>>>::from_id(evil.id());
    check("an answer without its channel is an error", is_decode(trusting.call(|reply| reply)));
}

fn attachments_in_channels() {
    let numbers: Channel<u64> = Channel::new(0);
    numbers.send(5);
    let own = Mailbox::<Channel<Channel<u8>>>::own();
    Process::<Channel<u64>>::current().send(numbers.clone());
    let channels = own.receive();
    check("nor is there one in a channel's message", is_decode(channels.receive_timeout(LONG)));
    check_eq("the message is gone", channels.try_receive().map(drop), Err(Error::WouldWait));
}
