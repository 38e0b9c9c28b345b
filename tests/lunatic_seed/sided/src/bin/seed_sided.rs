//! The crate 0.3.10: senders, receivers, contexts, joining, detaching, dropping.
use lunatic::channel::{self, Receiver, Sender};
use lunatic::Process;

fn main() {
    sums();
    bounded();
    ends_travel();
    closing();
    ends_of_children();
}

fn sums() {
    let (sender, receiver) = channel::unbounded();
    let vec: Vec<i32> = (0..1_000).collect();
    for i in vec.iter() {
        Process::spawn_with((*i, vec.clone(), sender.clone()), child).detach();
    }
    let mut total = 0_i64;
    for _ in vec.iter() {
        let (_, sum): (i32, i32) = receiver.receive().unwrap();
        total += i64::from(sum);
    }
    println!("sums {total}");
}

fn child((i, vec, sender): (i32, Vec<i32>, Sender<(i32, i32)>)) {
    let sum = vec[..=i as usize].iter().sum();
    sender.send((i, sum)).unwrap();
}

fn bounded() {
    let (sender, receiver) = channel::bounded::<u32>(2);
    let child = Process::spawn_with(sender, |sender: Sender<u32>| {
        (0..100).for_each(|i| sender.send(i).unwrap());
    });
    let sum: u32 = (0..100).map(|_| receiver.receive().unwrap()).sum();
    child.join().unwrap();
    println!("bounded {sum}");
}

/// A receiver goes to one process, and senders through another.
fn ends_travel() {
    let (sender, receiver) = channel::unbounded::<(u64, Sender<u64>)>();
    let server = Process::spawn_with(receiver, |requests: Receiver<(u64, Sender<u64>)>| {
        while let Ok((number, answer)) = requests.receive() {
            answer.send(number * number).unwrap();
        }
    });
    let (answer, answers) = channel::unbounded();
    let mut sum = 0;
    for number in 0..10_u64 {
        sender.send((number, answer.clone())).unwrap();
        sum += answers.receive().unwrap();
    }
    drop(sender);
    server.join().unwrap();
    println!("answered {sum}");
}

fn closing() {
    let (sender, receiver) = channel::unbounded::<u32>();
    sender.send(1).unwrap();
    drop(sender);
    println!("left {:?} {:?}", receiver.receive(), receiver.receive());
    let (sender, receiver) = channel::unbounded::<u32>();
    drop(receiver);
    println!("nobody {:?}", sender.send(1));
    // The receiver dies with the one who has it.
    let (sender, receiver) = channel::bounded::<u32>(1);
    let reader = Process::spawn_with(receiver, |receiver: Receiver<u32>| {
        receiver.receive().unwrap();
        panic!("on purpose");
    });
    while sender.send(2).is_ok() {}
    println!("reader {:?}", reader.join());
}

fn ends_of_children() {
    println!("well {:?}", Process::spawn_with((), |_: ()| lunatic::yield_()).join());
    println!("badly {:?}", Process::spawn_with((), |_: ()| panic!("on purpose")).join());
    let (sender, receiver) = channel::unbounded::<u32>();
    // Dropping the handle ends the process, which drops the sender.
    drop(Process::spawn_with(sender, |_sender: Sender<u32>| loop {
        Process::sleep(1_000_000);
    }));
    println!("cancelled {:?}", receiver.receive());
}
