//! Spawn and finish, with a captured context: one after the other, and in a burst. Argument: how many, default 100,000.
//! The child does nothing but end, so this is the price of a process, of its context and of one message back.

use lunatic::{Channel, Process};
use std::time::Instant;
use test_guests::{count_argument, report};

fn main() {
    let count = count_argument(100_000);
    let done = Channel::new(0);

    let start = Instant::now();
    for number in 0..count {
        Process::spawn((number, done.clone()), finish).unwrap();
        done.receive();
    }
    report("spawn and finish, one after the other", count, start.elapsed());

    let start = Instant::now();
    for number in 0..count {
        Process::spawn((number, done.clone()), finish).unwrap();
    }
    report("spawn in a burst", count, start.elapsed());
    let sum: u64 = (0..count).map(|_| done.receive()).sum();
    report("spawn and finish in a burst", count, start.elapsed());
    assert_eq!(sum, count * count.saturating_sub(1) / 2, "every child has sent its number");
}

fn finish((number, done): (u64, Channel<u64>)) {
    done.send(number);
}
