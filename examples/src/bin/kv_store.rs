//! A key-value store whose workers crash all the time, under load, and that loses no write it has acknowledged.
//!
//! Each shard is two processes under a supervisor: a *keeper*, which holds the data and does as little as possible, and a
//! *worker*, which does all that can go wrong. A worker acknowledges a write when the keeper has it. Workers crash at
//! random in the middle of their work, and a driver kills them besides; the supervisor starts them again. Clients find a
//! shard by its name and ask again when the worker has ended under them.
//!
//! `lunatic kv_store.wasm [kills]`

use lunatic::{
    Channel, Child, Error, Event, ExitReason, Mailbox, Process, Reply, Restart, Strategy,
    Supervisor,
};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::time::Duration;

const SHARDS: u64 = 8;
const CLIENTS: u64 = 16;
/// One write in so many ends its worker, before or after the keeper has it.
const CRASH_EVERY: u64 = 50;

#[derive(Serialize, Deserialize)]
enum Request {
    Put(u64, u64, Reply<()>),
    Get(u64, Reply<Option<u64>>),
}

fn main() {
    let kills = std::env::args().nth(1).map_or(10_000, |text| text.parse().expect("a number"));
    let mut supervisor = Supervisor::new(Strategy::OneForOne).intensity(u32::MAX, Duration::ZERO);
    for shard in 0..SHARDS {
        supervisor = supervisor
            .child(Child::with_mailbox(keeper_of(shard), (), keeper).named(keeper_of(shard)))
            .child(
                Child::with_mailbox(worker_of(shard), shard, worker)
                    .restart(Restart::Permanent)
                    .named(worker_of(shard)),
            );
    }
    let supervisor = supervisor.start().unwrap();

    let stop: Channel<()> = Channel::new(0);
    let results = Channel::new(0);
    for client_number in 0..CLIENTS {
        Process::spawn((client_number, stop.clone(), results.clone()), client).unwrap();
    }
    let mut killed = 0;
    while killed < kills {
        killed += u64::from(kill_one(killed % SHARDS));
    }
    (0..CLIENTS).for_each(|_| stop.send(()));

    let (mut acknowledged, mut lost) = (0, 0);
    for (writes, missing) in (0..CLIENTS).map(|_| results.receive()) {
        acknowledged += writes;
        lost += missing;
    }
    let restarts: u64 = supervisor.children().unwrap().iter().map(|child| child.restarts).sum();
    supervisor.stop().unwrap();
    assert!(acknowledged > 0 && restarts >= kills);
    println!("{killed} workers killed, {lost} acknowledged writes lost");
    eprintln!("{acknowledged} writes acknowledged, {restarts} restarts");
}

fn keeper_of(shard: u64) -> String {
    format!("keeper {shard}")
}

fn worker_of(shard: u64) -> String {
    format!("worker {shard}")
}

/// Kills the present worker of a shard; whether that is what it died of, and not of a crash just before.
fn kill_one(shard: u64) -> bool {
    let worker = loop {
        match Process::<Request>::lookup(&worker_of(shard)) {
            Some(worker) => break worker,
            None => lunatic::yield_now(),
        }
    };
    worker.monitor();
    worker.kill();
    match Mailbox::<()>::own().next() {
        Ok(Event::Ended(notice)) => {
            notice.reason == ExitReason::Killed { by: Some(Process::current()) }
        }
        other => panic!("there is nothing else to wait for: {other:?}"),
    }
}

/// Holds the data of a shard.
fn keeper((): (), mailbox: Mailbox<Request>) {
    let mut data = HashMap::new();
    loop {
        match mailbox.receive() {
            Request::Put(key, value, reply) => {
                data.insert(key, value);
                reply.send(());
            }
            Request::Get(key, reply) => reply.send(data.get(&key).copied()),
        }
    }
}

/// Does what clients ask for, and crashes.
fn worker(shard: u64, mailbox: Mailbox<Request>) {
    let keeper = Process::<Request>::lookup(&keeper_of(shard)).expect("a keeper never ends");
    let mut random = Random::new(Process::<()>::current().id());
    loop {
        match mailbox.receive() {
            Request::Put(key, value, reply) => {
                let luck = random.below(CRASH_EVERY);
                if luck == 0 {
                    crash();
                }
                keeper.call(|kept| Request::Put(key, value, kept)).expect("the keeper answers");
                if luck == 1 {
                    crash();
                }
                reply.send(());
            }
            // The keeper answers for us.
            Request::Get(key, reply) => keeper.send(Request::Get(key, reply)),
        }
    }
}

fn crash() -> ! {
    std::process::abort()
}

/// Writes until it is told to stop, then reads all again: how many writes were acknowledged, how many of them are gone.
fn client((number, stop, results): (u64, Channel<()>, Channel<(u64, u64)>)) {
    let mut random = Random::new(number + 1);
    let mut written: HashMap<u64, u64> = HashMap::new();
    let mut acknowledged = 0;
    while stop.try_receive().is_err() {
        // Each client has keys of its own, so it knows what each must be.
        let key = random.below(1000) * CLIENTS + number;
        let value = random.next();
        ask(key, |reply| Request::Put(key, value, reply));
        written.insert(key, value);
        acknowledged += 1;
    }
    let kept =
        |(&key, &value): &(&u64, &u64)| ask(key, |reply| Request::Get(key, reply)) == Some(value);
    let missing = written.len() - written.iter().filter(kept).count();
    results.send((acknowledged, missing as u64));
}

/// Asks the shard of a key until there is an answer. Writing the same twice does no harm.
fn ask<R: serde::de::DeserializeOwned>(key: u64, make: impl Fn(Reply<R>) -> Request) -> R {
    loop {
        let Some(worker) = Process::<Request>::lookup(&worker_of(key / CLIENTS % SHARDS)) else {
            lunatic::yield_now();
            continue;
        };
        match worker.call(&make) {
            Ok(answer) => return answer,
            Err(Error::Ended { .. } | Error::Timeout(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// xorshift.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
