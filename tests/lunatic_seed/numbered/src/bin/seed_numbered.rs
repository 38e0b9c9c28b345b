//! What else the crate 0.3.0 has: bounds, channels inside of messages, joining, sleeping, yielding.
use lunatic::{Channel, Process};

fn main() {
    bounded();
    channels_travel();
    joining();
}

fn bounded() {
    let channel = Channel::new(1);
    Process::spawn(channel.clone(), |channel: Channel<u32>| (0..100).for_each(|i| channel.send(i)))
        .unwrap();
    let sum: u32 = (0..100).map(|_| channel.receive()).sum();
    println!("bounded {sum}");
}

/// A request carries the channel for its answer, through a third process.
fn channels_travel() {
    type Request = (u64, Channel<u64>);
    let (relay, server) = (Channel::<Request>::new(0), Channel::<Request>::new(0));
    Process::spawn(
        (relay.clone(), server.clone()),
        |(from, to): (Channel<Request>, Channel<Request>)| {
            for _ in 0..10 {
                to.send(from.receive());
            }
        },
    )
    .unwrap();
    Process::spawn(server, |server: Channel<Request>| {
        for _ in 0..10 {
            let (number, answer) = server.receive();
            answer.send(number * number);
        }
    })
    .unwrap();
    let answer = Channel::new(0);
    let mut sum = 0;
    for number in 0..10 {
        relay.send((number, answer.clone()));
        sum += answer.receive();
    }
    println!("relayed {sum}");
}

fn joining() {
    let done = Channel::new(0);
    let child = Process::spawn(done.clone(), |done: Channel<bool>| {
        lunatic::yield_();
        Process::sleep(20);
        done.send(true);
    });
    child.unwrap().join();
    println!("joined {}", done.receive());
    Process::spawn((), |_: ()| panic!("on purpose")).unwrap().join();
    println!("joined one that failed");
}
