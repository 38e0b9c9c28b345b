//! Work is handed out on one channel and results come in on another. A bounded channel keeps the producer from running
//! ahead; a channel closes by itself when nobody else holds it, so nobody counts and nobody says "done".

use lunatic::{Channel, Process};

const WORKERS: usize = 4;
const JOBS: u64 = 100;

fn main() {
    let jobs = Channel::new(8);
    let results = Channel::new(0);
    for _ in 0..WORKERS {
        Process::spawn((jobs.clone(), results.clone()), work).unwrap();
    }
    Process::spawn(jobs, produce).unwrap();

    let mut count = 0;
    let mut sum = 0;
    for square in &results {
        count += 1;
        sum += square;
    }
    println!("{count} results, their sum is {sum}");
}

fn produce(jobs: Channel<u64>) {
    for job in 1..=JOBS {
        jobs.send(job);
    }
    // All jobs are sent. A marker for each worker: the workers hold the channel too, so it closes only with the last.
    for _ in 0..WORKERS {
        jobs.send(0);
    }
}

fn work((jobs, results): (Channel<u64>, Channel<u64>)) {
    loop {
        match jobs.receive() {
            0 => return,
            job => results.send(job * job),
        }
    }
}
