//! The crate 0.3.4, in which only senders travel.
use lunatic::channel::{self, Sender};
use lunatic::Process;

fn main() {
    let (sender, receiver) = channel::bounded(3);
    for i in 0..1_000_u64 {
        Process::spawn_with((i, sender.clone()), child).detach();
    }
    let sum: u64 = (0..1_000).map(|_| receiver.receive().unwrap()).sum();
    println!("sum {sum}");
    println!("well {:?}", Process::spawn_with((), |_: ()| Process::sleep(1)).join());
    println!("badly {:?}", Process::spawn_with((), |_: ()| panic!("on purpose")).join());
    drop(sender);
    println!("closed {:?}", receiver.receive());
}

fn child((i, sender): (u64, Sender<u64>)) {
    lunatic::yield_();
    sender.send(i * 2).unwrap();
}
