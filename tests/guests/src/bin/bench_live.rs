//! Many processes alive at once, each waiting in `receive`; then one message to each, and as many answers. Argument: how
//! many, default 100,000. At the marks the driver in benches/processes looks at the memory while nothing happens.

use lunatic::{sleep, Mailbox, Process};
use std::time::{Duration, Instant};
use test_guests::{count_argument, report};

const ROW: &str = "live-rust";

fn main() {
    let count = count_argument(100_000);
    let mailbox: Mailbox<u64> = Mailbox::own();
    let mut waiting = Vec::with_capacity(count as usize);
    println!("MARK start");
    sleep(Duration::from_millis(300));

    let start = Instant::now();
    for _ in 0..count {
        waiting.push(Process::spawn_with_mailbox(mailbox.process(), wait).unwrap());
    }
    for _ in 0..count {
        mailbox.receive();
    }
    let blocked = start.elapsed();
    println!("MARK blocked");
    sleep(Duration::from_millis(700));
    report(ROW, "spawn_to_blocked", count, blocked);

    let start = Instant::now();
    for (number, process) in (0..).zip(&waiting) {
        process.send(number);
    }
    let sum: u64 = (0..count).map(|_| mailbox.receive()).sum();
    report(ROW, "send_collect", count, start.elapsed());
    assert_eq!(sum, count * count.saturating_sub(1) / 2, "every process has answered");
}

fn wait(main: Process<u64>, mailbox: Mailbox<u64>) {
    main.send(0); // about to block
    main.send(mailbox.receive());
}
