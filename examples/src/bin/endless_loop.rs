//! A child that never stops computing and never yields does not keep the others from running, with one worker too
//! (`lunatic run --workers 1`). Nothing in its code helps.

use lunatic::{Channel, Process};
use std::hint::black_box;

fn main() {
    let looping = Process::spawn((), loop_for_ever).unwrap();
    let channel = Channel::new(0);
    for number in 0..10 {
        Process::spawn((number, channel.clone()), greet).unwrap();
    }
    for _ in 0..10 {
        let number: u32 = channel.receive();
        println!("child {number} has run");
    }
    println!("the looping one is {}", if looping.is_alive() { "still at it" } else { "gone" });
}

fn loop_for_ever((): ()) {
    let mut counter = 0u64;
    loop {
        counter = black_box(counter + 1);
    }
}

fn greet((number, channel): (u32, Channel<u32>)) {
    channel.send(number);
}
