//! Processes that end at once and have a captured context, spawned in a row: a number and a text, which the child
//! checks. Argument: how many, default 100,000.
//!
//! `total` ends when the last one is gone and `all_gone` when each one is, asked for one by one. `one_by_one` waits for
//! each before the next. In `with_channel` the context is a channel, over which each child sends one message.

use lunatic::{sleep, Channel, Process};
use std::time::{Duration, Instant};
use test_guests::{count_argument, report};

const ROW: &str = "spawn-rust";
const TEXT: &str = "a captured context";

fn main() {
    let count = count_argument(100_000).max(1);
    in_a_row(count);
    one_by_one(count.min(100_000));
    with_channel(count.min(100_000));
}

fn in_a_row(count: u64) {
    let limit = count;
    let mut children = Vec::with_capacity(count as usize);
    let start = Instant::now();
    for number in 0..count {
        children.push(Process::spawn((number, limit, TEXT.to_string()), finish).unwrap());
    }
    wait_for(&children[children.len() - 1]);
    let last_gone = start.elapsed();
    children.iter().for_each(wait_for);
    report(ROW, "all_gone", count, start.elapsed());
    report(ROW, "total", count, last_gone);
}

fn finish((number, limit, text): (u64, u64, String)) {
    assert!(number < limit && text == TEXT, "the context is what it was");
}

fn wait_for(process: &Process) {
    while process.is_alive() {
        sleep(Duration::from_millis(1));
    }
}

fn one_by_one(count: u64) {
    let done = Channel::new(0);
    let start = Instant::now();
    for number in 0..count {
        Process::spawn((number, done.clone()), answer).unwrap();
        done.receive();
    }
    report(ROW, "one_by_one", count, start.elapsed());
}

fn with_channel(count: u64) {
    let done = Channel::new(0);
    let start = Instant::now();
    for number in 0..count {
        Process::spawn((number, done.clone()), answer).unwrap();
    }
    let sum: u64 = (0..count).map(|_| done.receive()).sum();
    report(ROW, "with_channel", count, start.elapsed());
    assert_eq!(sum, count * count.saturating_sub(1) / 2, "every child has sent its number");
}

fn answer((number, done): (u64, Channel<u64>)) {
    done.send(number);
}
