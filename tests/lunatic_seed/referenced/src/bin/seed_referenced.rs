//! What else the crate 0.2.1 has: bounds, channels inside of messages, clones, joining, sleeping,
//! yielding, and messages that are large or empty.
use lunatic::{Channel, Process};

fn main() {
    bounded();
    channels_travel();
    many_come_and_go();
    sizes();
    joining();
}

fn bounded() {
    let channel = Channel::new(1);
    Process::spawn(channel.clone(), |channel: Channel<u32>| (0..100).for_each(|i| channel.send(i)))
        .unwrap();
    let sum: u32 = (0..100).map(|_| channel.receive()).sum();
    println!("bounded {sum}");
}

/// A request carries the channel for its answer, through a third process, and once more as a clone.
fn channels_travel() {
    type Request = (u64, Vec<Channel<u64>>);
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
            let (number, answers) = server.receive();
            answers.iter().for_each(|answer| answer.send(number * number));
        }
    })
    .unwrap();
    let answer = Channel::new(0);
    let mut sum = 0;
    for number in 0..10 {
        relay.send((number, vec![answer.clone(), answer.clone()]));
        sum += answer.receive() + answer.receive();
    }
    println!("relayed {sum}");
}

/// More channels than a process may have at once: handles that were dropped count no longer.
fn many_come_and_go() {
    let channel = Channel::new(0);
    for number in 0..15_000 {
        let answer = Channel::new(0);
        channel.send(answer.clone());
        channel.receive().send(number);
        assert_eq!(answer.receive(), number);
    }
    println!("came and went");
}

fn sizes() {
    let channel = Channel::new(0);
    Process::spawn(channel.clone(), |channel: Channel<Vec<u8>>| {
        let bytes = channel.receive();
        channel.send(vec![bytes[bytes.len() - 1]; bytes.len() / 2]);
    })
    .unwrap()
    .join_after(|| channel.send(vec![7; 3_000_000]));
    let half: Vec<u8> = channel.receive();
    println!("half {} of {:?}", half.len(), half.last());
    let empty = Channel::new(0);
    empty.send(());
    empty.receive();
}

trait JoinAfter {
    fn join_after(self, action: impl FnOnce());
}

impl JoinAfter for Process {
    fn join_after(self, action: impl FnOnce()) {
        action();
        self.join();
    }
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
