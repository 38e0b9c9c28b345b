//! A hundred processes each call `std::thread::sleep`: they must sleep at the same time, on however few workers.

use lunatic::{Channel, Process};
use std::time::{Duration, Instant};

const SLEEPERS: u32 = 100;
const NAP: Duration = Duration::from_millis(200);

fn main() {
    let start = Instant::now();
    let woken = Channel::new(0);
    for number in 0..SLEEPERS {
        Process::spawn((number, woken.clone()), sleep_and_tell).unwrap();
    }
    let mut numbers: Vec<u32> = woken.iter().collect();
    numbers.sort();
    let elapsed = start.elapsed();
    test_guests::check_eq("all have slept", numbers, (0..SLEEPERS).collect());
    test_guests::check("nobody woke early", elapsed >= NAP);
    // One after the other would be 20 s; the margin is for a loaded machine.
    test_guests::check("they slept at the same time", elapsed < 25 * NAP);
}

fn sleep_and_tell((number, woken): (u32, Channel<u32>)) {
    std::thread::sleep(NAP);
    woken.send(number);
}
