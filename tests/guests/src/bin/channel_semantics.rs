//! What channels promise, one line for each promise.

use lunatic::{Channel, Error, Process};
use std::time::{Duration, Instant};
use test_guests::{check, check_eq};

const MIB: usize = 1024 * 1024;

fn main() {
    order();
    bound();
    not_waiting();
    closing();
    channels_in_messages();
    sizes();
    println!("all channel promises hold");
}

fn order() {
    let channel = Channel::new(0);
    for number in 0..1_000u32 {
        channel.send(number);
    }
    let received: Vec<u32> = (0..1_000).map(|_| channel.receive()).collect();
    check_eq("messages to oneself stay in order", received, (0..1_000).collect());

    let channel: Channel<(u32, u32)> = Channel::new(3);
    for sender in 0..4u32 {
        Process::spawn((sender, channel.clone()), |(sender, channel)| {
            for number in 0..100u32 {
                channel.send((sender, number));
            }
        })
        .unwrap();
    }
    let mut next = [0; 4];
    for (sender, number) in &channel {
        let next = &mut next[sender as usize];
        assert_eq!(number, *next, "FAILED: messages of sender {sender} are out of order");
        *next += 1;
    }
    check_eq("each sender's messages arrive in order", next, [100; 4]);

    let work: Channel<u32> = Channel::new(0);
    let seen = Channel::new(0);
    for number in 0..100 {
        work.send(number);
    }
    for _ in 0..4 {
        Process::spawn((work.clone(), seen.clone()), |(work, seen): (Channel<u32>, _)| {
            while let Ok(number) = work.try_receive() {
                Channel::send(&seen, number);
            }
        })
        .unwrap();
    }
    let mut all: Vec<u32> = seen.iter().collect();
    all.sort();
    check_eq("each message reaches exactly one of many receivers", all, (0..100).collect());
}

fn bound() {
    let channel = Channel::new(2);
    let progress = Channel::new(0);
    Process::spawn((channel.clone(), progress.clone()), |(channel, progress)| {
        for number in 0..10u32 {
            Channel::send(&channel, number);
            Channel::send(&progress, number);
        }
    })
    .unwrap();
    let (first, second) = (progress.receive(), progress.receive());
    check_eq("a bounded channel takes as many messages as its bound", (first, second), (0, 1));
    let third = progress.receive_timeout(Duration::from_millis(50));
    check("then the sender waits", matches!(third, Err(Error::Timeout(_))));
    let received: Vec<u32> = channel.iter().collect();
    check_eq("a waiting sender goes on when there is room", received, (0..10).collect());
    check_eq("a sender that waited loses nothing", progress.iter().count(), 8);
}

/// Holds what it is given until it is killed, so that a channel does not close.
fn hold<T: serde::Serialize + serde::de::DeserializeOwned>(channel: &Channel<T>) -> Process {
    let holder = Process::spawn((channel.clone(), 0), |(channel, _): (Channel<T>, u32)| {
        lunatic::sleep(Duration::from_secs(3_600));
        drop(channel);
    });
    holder.unwrap()
}

fn not_waiting() {
    let channel: Channel<u32> = Channel::new(1);
    let holder = hold(&channel);
    check_eq("try_receive does not wait", channel.try_receive(), Err(Error::WouldWait));

    let nap = Duration::from_millis(30);
    let start = Instant::now();
    check_eq("receive_timeout ends", channel.receive_timeout(nap), Err(Error::Timeout(nap)));
    check("receive_timeout waits as long as it was told", start.elapsed() >= nap);

    check_eq("try_send sends while there is room", channel.try_send(1), Ok(()));
    check_eq("try_send does not wait", channel.try_send(2), Err(Error::WouldWait));
    let start = Instant::now();
    check_eq("send_timeout ends", channel.send_timeout(3, nap), Err(Error::Timeout(nap)));
    check("send_timeout waits as long as it was told", start.elapsed() >= nap);

    check_eq("a refused message was not sent", channel.receive(), 1);
    check_eq("nothing else is in the channel", channel.try_receive(), Err(Error::WouldWait));
    check_eq("the channel works after refusals", channel.send_timeout(4, nap), Ok(()));
    check_eq("and gives the next message", channel.receive_timeout(nap), Ok(4));
    holder.kill();
    check_eq(
        "a killed process gives its handle back",
        channel.checked_receive(),
        Err(Error::Closed),
    );
}

fn closing() {
    let alone: Channel<u32> = Channel::new(0);
    check_eq("a receive nobody can satisfy fails", alone.checked_receive(), Err(Error::Closed));

    let full: Channel<u32> = Channel::new(1);
    full.send(1);
    check_eq("a send nobody can make room for fails", full.checked_send(2), Err(Error::Closed));
    check_eq("what was in the channel stays", full.receive(), 1);

    let channel: Channel<u32> = Channel::new(0);
    Process::spawn(channel.clone(), |channel| {
        for number in 0..3 {
            channel.send(number);
        }
    })
    .unwrap();
    let received: Vec<u32> = channel.iter().collect();
    check_eq("messages of one who ended arrive before the end", received, vec![0, 1, 2]);

    let channel: Channel<u32> = Channel::new(0);
    Process::spawn(channel.clone(), |_channel| std::process::exit(3)).unwrap();
    check_eq("exit gives handles back", channel.checked_receive(), Err(Error::Closed));

    let channel: Channel<u32> = Channel::new(0);
    Process::spawn(channel.clone(), |_channel| panic!("on purpose, with a channel in hand"))
        .unwrap();
    check_eq("a trap gives handles back", channel.checked_receive(), Err(Error::Closed));

    let channel: Channel<u32> = Channel::new(0);
    let refused: Channel<Channel<u32>> = Channel::new(1);
    let holder = hold(&refused);
    refused.send(Channel::new(0));
    check_eq("a refused message", refused.try_send(channel.clone()), Err(Error::WouldWait));
    check_eq("does not hold its channels", channel.checked_receive(), Err(Error::Closed));
    holder.kill();

    let inner: Channel<u32> = Channel::new(0);
    let outer: Channel<Channel<u32>> = Channel::new(0);
    outer.send(inner.clone());
    drop(outer);
    check_eq("channels in a lost queue are let go", inner.checked_receive(), Err(Error::Closed));
}

fn channels_in_messages() {
    let requests: Channel<(u32, Channel<u32>)> = Channel::new(0);
    Process::spawn(requests.clone(), |requests| {
        for (number, reply) in &requests {
            reply.send(number + 1);
        }
    })
    .unwrap();
    let reply = Channel::new(1);
    requests.send((41, reply.clone()));
    check_eq("a channel inside a message works", reply.receive(), 42);

    let pair = Channel::new(0);
    let inner: Channel<u32> = Channel::new(0);
    pair.send((inner.clone(), vec![inner.clone(), inner.clone()], Some(inner.clone())));
    let (a, list, b) = pair.receive();
    a.send(1);
    list[1].send(2);
    b.expect("it was sent").send(3);
    drop((a, list));
    let received: Vec<u32> = (0..3).map(|_| inner.receive()).collect();
    check_eq("one channel several times in a message is one channel", received, vec![1, 2, 3]);

    let nested: Channel<Channel<Channel<Channel<u32>>>> = Channel::new(0);
    let (b, c, d) = (Channel::new(0), Channel::new(0), Channel::new(0));
    d.send(7);
    c.send(d);
    b.send(c);
    nested.send(b);
    check_eq("channels nest", nested.receive().receive().receive().receive(), 7);

    check("a channel does not serialise outside a message", postcard::to_allocvec(&inner).is_err());
    let outside = postcard::from_bytes::<Channel<u32>>(&[0]);
    check("nor does it deserialise", outside.is_err());
}

fn sizes() {
    // Around the encoder's buffer, and well above a page.
    let sizes = [0, 1, 125, 126, 127, 128, 129, 130, 255, 256, 257, 16_383, 16_384, 3 * MIB];
    let (there, back) = (Channel::new(1), Channel::new(1));
    Process::spawn((there.clone(), back.clone()), |(there, back): (Channel<String>, _)| {
        for text in &there {
            Channel::send(&back, text);
        }
    })
    .unwrap();
    for size in sizes {
        let text: String = (0..size).map(|i| (b'a' + (i % 26) as u8) as char).collect();
        there.send(text.clone());
        assert!(back.receive() == text, "FAILED: a text of {size} bytes came back changed");
    }
    check("messages of all sizes arrive whole", true);

    let numbers: Vec<u64> = (0..100_000).map(|i| i * i).collect();
    let channel = Channel::new(0);
    channel.send(numbers.clone());
    check("a long list arrives whole", channel.receive() == numbers);

    let too_large = "x".repeat(65 * MIB);
    let refused = matches!(there.checked_send(too_large), Err(Error::MessageTooLarge { .. }));
    check("a message over the limit is refused", refused);
    there.send("still here".to_string());
    check_eq("and the channel works after it", back.receive(), "still here".to_string());
}
