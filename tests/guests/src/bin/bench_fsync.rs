//! How long a round trip of two processes takes, alone and beside 200 that write to the disk and wait
//! for it (`--dir X::/`). Prints the median and the 99th of 100 trips in microseconds.

use std::fs::{self, File};
use std::io::Write;
use std::time::Instant;

use lunatic::{Channel, Process};

const WRITERS: usize = 200;
const TRIPS: usize = 20_000;

fn main() {
    let there = Channel::<u64>::new(0);
    let back = Channel::<u64>::new(0);
    Process::spawn((there.clone(), back.clone()), answer).expect("there is room");
    trips("alone", &there, &back);
    fs::create_dir_all("/fsync").expect("the directory can be written");
    let synced = Channel::<u64>::new(0);
    for number in 0..WRITERS {
        Process::spawn((number, synced.clone()), write).expect("there is room");
    }
    // All of them have begun.
    for _ in 0..WRITERS {
        synced.receive();
    }
    let begun = Instant::now();
    trips(&format!("beside {WRITERS} that sync"), &there, &back);
    let mut syncs = 0;
    while synced.try_receive().is_ok() {
        syncs += 1;
    }
    println!("{syncs} syncs meanwhile, in {} ms", begun.elapsed().as_millis());
    let _ = fs::remove_dir_all("/fsync");
}

fn answer((there, back): (Channel<u64>, Channel<u64>)) {
    for number in &there {
        back.send(number);
    }
}

fn write((number, synced): (usize, Channel<u64>)) {
    let mut file = File::create(format!("/fsync/{number}")).expect("it can be made");
    loop {
        file.write_all(b"some data\n").expect("there is room");
        file.sync_all().expect("there is a disk");
        synced.send(1);
    }
}

fn trips(what: &str, there: &Channel<u64>, back: &Channel<u64>) {
    let mut times: Vec<u128> = (0..TRIPS)
        .map(|_| {
            let begun = Instant::now();
            there.send(1);
            back.receive();
            begun.elapsed().as_nanos()
        })
        .collect();
    times.sort_unstable();
    let at = |part: usize| times[TRIPS * part / 1000] as f64 / 1000.0;
    println!("{what}: p50 {:.1} us, p99 {:.1} us, p99.9 {:.1} us", at(500), at(990), at(999));
}
