//! Round trips of an 8-byte message between two processes, by mailbox and by channel. Argument: how many, default
//! 1,000,000.

use lunatic::{Channel, Mailbox, Process};
use std::time::Instant;
use test_guests::{count_argument, report};

fn main() {
    let count = count_argument(1_000_000);

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
    report("mailbox round trip", count, start.elapsed());
    echo.kill();

    for bound in [0, 1] {
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
        report(&format!("channel round trip, bound {bound}"), count, start.elapsed());
    }
}
