//! Children die of every kind of mistake, and of no one else's: the good ones finish, main counts them.

use lunatic::{Channel, Process};
use std::hint::black_box;

fn main() {
    let done = Channel::new(0);
    for round in 0..10u32 {
        Process::spawn((), index_out_of_bounds).unwrap();
        Process::spawn(round, overflow_the_stack).unwrap();
        Process::spawn((), panic_with_a_message).unwrap();
        Process::spawn((round, done.clone()), good).unwrap();
    }

    // The channel closes when every child has ended, in whatever way.
    let finished: Vec<u32> = done.iter().collect();
    println!("{} children finished, 30 died alone", finished.len());
}

fn good((round, done): (u32, Channel<u32>)) {
    lunatic::sleep(std::time::Duration::from_millis(5));
    done.send(round);
}

fn index_out_of_bounds((): ()) {
    let numbers = [1, 2, 3];
    println!("never printed: {}", numbers[black_box(3)]);
}

fn panic_with_a_message((): ()) {
    panic!("this child has had enough");
}

#[allow(unconditional_recursion, reason = "running out of stack is the point")]
fn overflow_the_stack(depth: u32) {
    black_box([depth; 64]);
    overflow_the_stack(black_box(depth + 1));
    black_box(depth);
}
