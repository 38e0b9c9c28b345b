//! The work of the benches for tokio. Usage: BENCH_WORKERS=2 bench-tokio ROW COUNT
//!
//! It prints the lines that benches/processes/output.rs describes. A task stands for a process and
//! an unbounded mpsc channel for its mailbox; messages are one number. Everything runs in tasks on
//! the workers, the one that measures too. A row with endless loops does not exist: tokio has no
//! preemption, and a loop would keep its worker for ever.

use std::env;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task;

const NOBODY_LEFT: &str = "the other side waits";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    let workers = env::var("BENCH_WORKERS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let count = arguments.get(2).and_then(|text| text.parse().ok());
    let (Some(row), Some(n)) = (arguments.get(1).cloned(), count) else {
        eprintln!("usage: bench-tokio ROW COUNT");
        return ExitCode::from(2);
    };
    let runtime = Builder::new_multi_thread().worker_threads(workers).build().expect("threads");
    runtime.block_on(async move { task::spawn(run(row, n)).await.expect("a bench does not panic") })
}

async fn run(row: String, n: u64) -> ExitCode {
    match row.as_str() {
        "spawn" => spawn(n).await,
        "spawn-wait" => spawn_wait(n).await,
        "live" => live(n).await,
        "ping-pong" => pairs(&row, 1, n).await,
        "ping-pong-2" => pairs(&row, 2, n).await,
        "ring" => ring(1000, n).await,
        "fan-in" => fan_in(1000, n).await,
        "skynet" => skynet(n).await,
        "yield" => yields(n).await,
        _ => {
            eprintln!("no such row: {row}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn report(row: &str, metric: &str, count: u64, elapsed: Duration) {
    println!("NS {row} {metric} {count} {}", elapsed.as_nanos());
}

/// `n` tasks that end at once; the last one to count says so.
async fn spawn(n: u64) {
    let ended = Arc::new(AtomicU64::new(0));
    let (done, mut all_done) = unbounded_channel();
    let begun = Instant::now();
    for _ in 0..n {
        let (ended, done) = (ended.clone(), done.clone());
        task::spawn(async move {
            if ended.fetch_add(1, Relaxed) + 1 == n {
                done.send(()).expect(NOBODY_LEFT);
            }
        });
    }
    let called = begun.elapsed();
    all_done.recv().await.expect(NOBODY_LEFT);
    let total = begun.elapsed();
    report("spawn", "spawn_call", n, called);
    report("spawn", "total", n, total);
}

/// Spawn one, wait for its message.
async fn spawn_wait(n: u64) {
    let (sender, mut mailbox) = unbounded_channel();
    let begun = Instant::now();
    for number in 0..n {
        let sender = sender.clone();
        task::spawn(async move { sender.send(number).expect(NOBODY_LEFT) });
        mailbox.recv().await.expect(NOBODY_LEFT);
    }
    report("spawn-wait", "latency", n, begun.elapsed());
}

/// `n` tasks blocked in receive, each on a channel of its own; then one message to each and `n`
/// replies.
async fn live(n: u64) {
    let alive = Arc::new(AtomicU64::new(0));
    let (ready, mut all_ready) = unbounded_channel();
    let (reply, mut replies) = unbounded_channel();
    println!("MARK start");
    thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    let mut waiting = Vec::new();
    for _ in 0..n {
        let (sender, mut mailbox) = unbounded_channel::<u64>();
        waiting.push(sender);
        let (alive, ready, reply) = (alive.clone(), ready.clone(), reply.clone());
        task::spawn(async move {
            if alive.fetch_add(1, Relaxed) + 1 == n {
                ready.send(()).expect(NOBODY_LEFT);
            }
            let number = mailbox.recv().await.expect(NOBODY_LEFT);
            reply.send(number).expect(NOBODY_LEFT);
        });
    }
    all_ready.recv().await.expect(NOBODY_LEFT);
    let blocked = begun.elapsed();
    println!("MARK blocked");
    thread::sleep(Duration::from_millis(700));
    report("live", "spawn_to_blocked", n, blocked);
    let begun = Instant::now();
    for (number, task) in (1..).zip(&waiting) {
        task.send(number).expect(NOBODY_LEFT);
    }
    let mut sum = 0;
    for _ in 0..n {
        sum += replies.recv().await.expect(NOBODY_LEFT);
    }
    let elapsed = begun.elapsed();
    assert_eq!(sum, n * (n + 1) / 2, "every task has answered");
    report("live", "send_collect", n, elapsed);
}

/// Round trips of pairs, all at once.
async fn pairs(row: &str, count: u64, n: u64) {
    let (done, mut all_done) = unbounded_channel();
    let mut starts = Vec::new();
    for _ in 0..count {
        let (start, mut go) = unbounded_channel::<()>();
        starts.push(start);
        let ((to_pong, mut at_pong), (to_ping, mut at_ping)) =
            (unbounded_channel(), unbounded_channel());
        task::spawn(async move {
            for _ in 0..n {
                to_ping.send(at_pong.recv().await.expect(NOBODY_LEFT)).expect(NOBODY_LEFT);
            }
        });
        let done = done.clone();
        task::spawn(async move {
            go.recv().await.expect(NOBODY_LEFT);
            for number in 0..n {
                to_pong.send(number).expect(NOBODY_LEFT);
                assert_eq!(at_ping.recv().await, Some(number));
            }
            done.send(()).expect(NOBODY_LEFT);
        });
    }
    thread::sleep(Duration::from_millis(10));
    let begun = Instant::now();
    for start in &starts {
        start.send(()).expect(NOBODY_LEFT);
    }
    for _ in 0..count {
        all_done.recv().await.expect(NOBODY_LEFT);
    }
    report(row, "rtt", n, begun.elapsed());
}

/// A token goes round so many tasks, so many hops.
async fn ring(tasks: u64, hops: u64) {
    let (done, mut all_done) = unbounded_channel();
    let (first, mut mailbox) = unbounded_channel::<u64>();
    for number in 0..tasks {
        let (next, next_mailbox) = if number + 1 == tasks {
            (first.clone(), unbounded_channel().1)
        } else {
            unbounded_channel()
        };
        let mine = std::mem::replace(&mut mailbox, next_mailbox);
        task::spawn(ring_node(mine, next, done.clone()));
    }
    let begun = Instant::now();
    first.send(hops).expect(NOBODY_LEFT);
    all_done.recv().await.expect(NOBODY_LEFT);
    report("ring", "hop", hops, begun.elapsed());
}

async fn ring_node(
    mut mailbox: UnboundedReceiver<u64>,
    next: UnboundedSender<u64>,
    done: UnboundedSender<()>,
) {
    while let Some(hops) = mailbox.recv().await {
        if hops == 0 {
            return done.send(()).expect(NOBODY_LEFT);
        }
        next.send(hops - 1).expect(NOBODY_LEFT);
    }
}

/// So many tasks send `n` messages together to one.
async fn fan_in(tasks: u64, n: u64) {
    let (sender, mut mailbox) = unbounded_channel();
    let consumer = task::spawn(async move {
        for _ in 0..n {
            mailbox.recv().await.expect(NOBODY_LEFT);
        }
        Instant::now()
    });
    let begun = Instant::now();
    for _ in 0..tasks {
        let sender = sender.clone();
        task::spawn(async move {
            for number in 0..n / tasks {
                sender.send(number).expect(NOBODY_LEFT);
            }
        });
    }
    let ended = consumer.await.expect("it does not panic");
    report("fan-in", "per_message", n, ended - begun);
}

/// A tree of tasks with `n` leaves.
async fn skynet(n: u64) {
    let (sender, mut mailbox) = unbounded_channel();
    let begun = Instant::now();
    sky(sender, 0, n);
    let sum = mailbox.recv().await.expect(NOBODY_LEFT);
    report("skynet", "total", 1, begun.elapsed());
    assert_eq!(sum, n * n.saturating_sub(1) / 2, "every leaf was added");
}

/// Spawns a task of the tree. Not an async function, because it would contain itself.
fn sky(parent: UnboundedSender<u64>, number: u64, size: u64) {
    task::spawn(async move {
        if size == 1 {
            return parent.send(number).expect(NOBODY_LEFT);
        }
        let (sender, mut mailbox) = unbounded_channel();
        let size = size / 10;
        for child in 0..10 {
            sky(sender.clone(), number + child * size, size);
        }
        let mut sum = 0;
        for _ in 0..10 {
            sum += mailbox.recv().await.expect(NOBODY_LEFT);
        }
        parent.send(sum).expect(NOBODY_LEFT);
    });
}

/// Four tasks yield `n` times each, on two workers: each does two times as many.
async fn yields(n: u64) {
    let begun = Instant::now();
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            task::spawn(async move {
                for _ in 0..n {
                    task::yield_now().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("it does not panic");
    }
    report("yield", "per_yield", 2 * n, begun.elapsed());
}
