//! Many processes alive at once, each waiting in `receive`. Arguments: how many (default 100,000), and `hold` to stay until
//! a line comes on stdin, so that somebody outside can look at the memory.

use lunatic::{Channel, Mailbox, Process};
use std::time::Instant;
use test_guests::{count_argument, report};

fn main() {
    let count = count_argument(100_000);
    let ready = Channel::new(0);
    let start = Instant::now();
    let waiting: Vec<Process<u64>> = (0..count)
        .map(|number| Process::spawn_with_mailbox((number, ready.clone()), wait).unwrap())
        .collect();
    for _ in 0..count {
        ready.receive();
    }
    report("bring to life and wait in receive", count, start.elapsed());
    println!("live: {}", waiting.iter().filter(|process| process.is_alive()).count());

    if std::env::args().nth(2).as_deref() == Some("hold") {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).expect("stdin is readable");
    }

    let start = Instant::now();
    for (number, process) in (0..).zip(&waiting) {
        process.send(number);
    }
    let sum: u64 = (0..count).map(|_| ready.receive()).sum();
    report("wake, answer and end", count, start.elapsed());
    assert_eq!(sum, count * count.saturating_sub(1) / 2, "every process has answered");
}

fn wait((number, ready): (u64, Channel<u64>), mailbox: Mailbox<u64>) {
    ready.send(number);
    ready.send(mailbox.receive());
}
