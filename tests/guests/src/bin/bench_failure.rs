//! What it costs when a process fails and another is told, and when a supervisor starts it again.

use lunatic::{Child, Event, Mailbox, Process, Strategy, Supervisor};
use std::time::{Duration, Instant};
use test_guests::{count_argument, report};

const ROW: &str = "failure";

fn main() {
    let count = count_argument(100_000);
    lunatic::survive_links(true);
    told("exit_told", count, |()| std::process::exit(3));
    told("trap_told", count, trap);
    restarts(count / 10);
}

fn trap((): ()) {
    std::process::abort()
}

/// Spawns a linked child that fails, waits for the notice, spawns the next.
fn told(metric: &str, count: u64, child: fn(())) {
    let mailbox = Mailbox::<()>::own();
    let begun = Instant::now();
    for _ in 0..count {
        Process::spawn_link((), child).unwrap();
        match mailbox.next() {
            Ok(Event::LinkFailed(_)) => {}
            other => panic!("not a notice: {other:?}"),
        }
    }
    report(ROW, metric, count, begun.elapsed());
}

/// A child that fails as soon as it has started, again and again.
fn restarts(count: u64) {
    let begun = Instant::now();
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .intensity(u32::MAX, Duration::ZERO)
        .child(Child::new("bad", (), trap))
        .start()
        .unwrap();
    let restarts = loop {
        lunatic::sleep(Duration::from_millis(2));
        let done = supervisor.children().unwrap()[0].restarts;
        if done >= count {
            break done;
        }
    };
    report(ROW, "restart", restarts, begun.elapsed());
    supervisor.stop().unwrap();
}
