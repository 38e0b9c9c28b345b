//! Two kinds of processes that compute, for tests of profiles.

use lunatic::{Mailbox, Process};
use std::hint::black_box;

fn main() {
    let mailbox: Mailbox<u64> = Mailbox::own();
    for seed in 1..=2 {
        Process::spawn((seed, mailbox.process()), hasher).unwrap();
        Process::spawn((seed, mailbox.process()), sorter).unwrap();
    }
    let sum = (0..4).fold(0_u64, |sum, _| sum.wrapping_add(mailbox.receive()));
    println!("{sum}");
}

fn hasher((seed, reply): (u64, Process<u64>)) {
    let mut hash = seed;
    for byte in 0..30_000_000_u64 {
        hash = black_box((hash ^ (byte & 0xff)).wrapping_mul(0x0100_0000_01b3));
    }
    reply.send(hash);
}

fn sorter((seed, reply): (u64, Process<u64>)) {
    let mut sum = 0_u64;
    for round in 0..40 {
        let mut numbers: Vec<u64> = (0..20_000)
            .map(|n: u64| (n ^ round ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .collect();
        numbers.sort();
        sum = sum.wrapping_add(numbers[seed as usize]);
    }
    reply.send(sum);
}
