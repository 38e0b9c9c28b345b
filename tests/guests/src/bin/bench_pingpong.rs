//! Round trips of a message of one number between two processes, by mailbox and by channel. Argument: how many, default
//! 1,000,000.

use lunatic::{Channel, Mailbox, Process};
use std::time::Instant;
use test_guests::{count_argument, report};

const ROW: &str = "ping-pong-rust";

fn main() {
    let count = count_argument(1_000_000);
    by_mailbox(count);
    by_channel("channel_unbounded", 0, count);
    by_channel("channel_of_1", 1, count);
}

fn by_mailbox(count: u64) {
    let mailbox: Mailbox<u64> = Mailbox::own();
    let echo = Process::spawn_with_mailbox(mailbox.process(), |parent, mailbox| loop {
        parent.send(mailbox.receive());
    })
    .unwrap();
    let start = Instant::now();
    for number in 0..count {
        echo.send(number);
        assert_eq!(mailbox.receive(), number);
    }
    report(ROW, "mailbox", count, start.elapsed());
    echo.kill();
}

fn by_channel(metric: &str, bound: usize, count: u64) {
    let (ping, pong) = (Channel::new(bound), Channel::new(bound));
    Process::spawn((ping.clone(), pong.clone()), |(ping, pong): (Channel<u64>, _)| {
        for number in &ping {
            Channel::send(&pong, number);
        }
    })
    .unwrap();
    let start = Instant::now();
    for number in 0..count {
        ping.send(number);
        assert_eq!(pong.receive(), number);
    }
    report(ROW, metric, count, start.elapsed());
}
