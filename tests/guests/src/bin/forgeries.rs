//! What strangers send to do harm: messages of another type, ends that are none, answers to calls that were not made to
//! them. Prints `ok <behaviour>` for each.

use lunatic::net::{TcpListener, TcpStream, UdpSocket};
use lunatic::{
    Channel, Child, Error, Event, Mailbox, Overflow, Process, ProcessConfig, Reply, Right,
    Shutdown, Spawn, Strategy, Supervisor,
};
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
    forged_ends();
    forged_answers();
    late_answers();
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

// ---- ends that are none ----

/// The reply of somebody who was not asked: as one comes out of a message.
fn forged(process: u64, tag: i64) -> Reply<u64> {
    postcard::from_bytes(&postcard::to_allocvec(&(process, tag, 0u64)).unwrap()).unwrap()
}

/// Asked to end, it says that it has ended, and does not.
fn immortal(started: Channel<u64>) {
    lunatic::survive_links(true);
    started.send(Process::<()>::current().id());
    loop {
        if let Ok(Event::AskedToEnd(by)) = Mailbox::<()>::own().next() {
            (0..64).for_each(|tag| forged(by.id(), i64::MIN / 2 + tag).send(0));
        }
    }
}

/// The context of a child of a supervisor holds no channel: so it finds it by asking.
fn immortal_child(main: Process<Reply<Channel<u64>>>) {
    immortal(main.call(|reply| reply).unwrap());
}

fn forged_ends() {
    let started = Channel::new(0);
    let main = Process::<Reply<Channel<u64>>>::current();
    let short = Shutdown::Within(Duration::from_millis(50));
    let child = Child::new("immortal", main, immortal_child).shutdown(short);
    let supervisor = Supervisor::new(Strategy::OneForOne).child(child).start().unwrap();
    Mailbox::<Reply<Channel<u64>>>::own().receive().send(started.clone());
    let child = Process::<()>::from_id(started.receive());
    check_eq("a supervisor stops", supervisor.stop(), Ok(()));
    check("when the child has ended, not when it says so", !child.is_alive());
}

// ---- answers to others' calls ----

/// A server that answers late, and says before whom it has to answer.
fn slow((asked, go): (Channel<()>, Channel<()>), mailbox: Mailbox<Reply<u64>>) {
    loop {
        let reply = mailbox.receive();
        asked.send(());
        go.receive();
        reply.send(1);
    }
}

/// Calls, and has this done while the server has not answered yet.
fn call_while(what: impl FnOnce(&Process<Reply<u64>>, u64)) -> Result<u64, Error> {
    let (asked, go, done) = (Channel::new(0), Channel::new(0), Channel::new(0));
    let server = Process::spawn_with_mailbox((asked.clone(), go.clone()), slow).unwrap();
    let client = Process::spawn_with_mailbox(
        (server, done.clone()),
        |(server, done): (Process<Reply<u64>>, Channel<Result<u64, String>>), _: Mailbox<()>| {
            // The first call goes to somebody who learns from it what there is to learn.
            let spy = Process::<Reply<u64>>::lookup("spy").unwrap();
            assert_eq!(spy.call_timeout(LONG, |reply| reply), Ok(0));
            done.send(server.call_timeout(LONG, |reply| reply).map_err(|error| error.to_string()));
        },
    )
    .unwrap();
    asked.receive();
    what(&server, client.id());
    go.send(());
    done.receive().map_err(|reason| Error::Spawn { reason })
}

/// Answers each call, and says what it got.
fn spy(learned: Channel<Vec<u8>>, mailbox: Mailbox<Reply<u64>>) {
    loop {
        let reply = mailbox.receive();
        learned.send(postcard::to_allocvec(&reply).unwrap());
        reply.send(0);
    }
}

fn forged_answers() {
    let learned = Channel::new(0);
    Process::spawn_with_mailbox(learned.clone(), spy).unwrap().register("spy");
    let answer = call_while(|_, client| {
        learned.receive();
        (0..256).for_each(|tag| forged(client, i64::MIN + tag).send(666));
    });
    check_eq("a stranger cannot answer a call", answer, Ok(1));
    let answer = call_while(|_, _| {
        let bytes: Vec<u8> = learned.receive();
        let (process, tag, number): (u64, i64, u64) = postcard::from_bytes(&bytes).unwrap();
        for near in -256..256 {
            let forged = (process, tag.wrapping_add(near), number.wrapping_add(near as u64));
            let bytes = postcard::to_allocvec(&forged).unwrap();
            postcard::from_bytes::<Reply<u64>>(&bytes).unwrap().send(666);
            let forged = (process, tag, number.wrapping_add(near as u64));
            let bytes = postcard::to_allocvec(&forged).unwrap();
            postcard::from_bytes::<Reply<u64>>(&bytes).unwrap().send(666);
        }
    });
    check_eq("nor can who was called before", answer, Ok(1));
}

// ---- answers that come late ----

/// Answers each hundred calls when there are so many, and the one that follows them.
fn hesitant((): (), mailbox: Mailbox<Reply<u64>>) {
    loop {
        let replies: Vec<_> = (0..100).map(|_| mailbox.receive()).collect();
        let last = mailbox.receive();
        replies.into_iter().for_each(|reply| reply.send(0));
        last.send(1);
    }
}

/// Calls a hundred times in vain, and once in earnest: that one is answered behind the others.
fn impatient(done: Channel<u64>) {
    let server = Process::spawn_with_mailbox((), hesitant).unwrap();
    for _ in 0..100 {
        for _ in 0..100 {
            let vain = server.call_timeout(Duration::ZERO, |reply| reply);
            assert_eq!(vain, Err(Error::Timeout(Duration::ZERO)));
        }
        assert_eq!(server.call_timeout(LONG, |reply| reply), Ok(1));
    }
    let nothing = Mailbox::<u64>::own().try_receive() == Err(Error::WouldWait);
    done.send(nothing.into());
}

fn late_answers() {
    let done = Channel::new(0);
    let few = ProcessConfig::new().mailbox(1_000, Overflow::Kill);
    let few = few.allow(Right::Spawn);
    let client = Spawn::new().config(&few).monitor().start(done.clone(), impatient).unwrap();
    match Mailbox::<()>::own().next_timeout(LONG) {
        Ok(Event::Ended(notice)) if notice.process == client => {
            check("answers that come too late do not collect", notice.reason.is_normal());
        }
        other => panic!("FAILED: {other:?}"),
    }
    check_eq("nor is any left", done.receive_timeout(LONG), Ok(1));
}
