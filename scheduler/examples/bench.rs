//! Nanoseconds for what processes do most: spawn and finish, ping-pong through mailboxes, yield; on
//! one worker and on two.
//!
//! Native bodies, so these are the scheduler's own floor: not the cost of a WebAssembly process,
//! and not for comparing machines. Each figure is the best of several rounds (the machine is
//! shared); the spread is printed beside it.

use lunatic_scheduler::{Builder, End, Pid, Process, Program, Runtime, Settled, Worker};
use std::{
    ptr::NonNull,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    time::{Duration, Instant},
};

struct Native {
    body: fn(Process<Native>, u64),
    argument: u64,
    done: Option<mpsc::Sender<()>>,
}

// SAFETY: the bodies below keep only numbers and pids across suspensions.
unsafe impl Program for Native {
    type Message = u64;
    fn run(process: Process<Self>) {
        let (body, argument) = process.on_worker(|_, native| (native.body, native.argument));
        body(process, argument);
    }
    fn ended(&mut self, _: &Worker<'_, Self>, how: End, _: bool) -> Settled {
        assert!(matches!(how, End::Returned | End::Shutdown), "{how:?}");
        if let Some(done) = self.done.take() {
            done.send(()).expect("the bench waits");
        }
        Settled::Done
    }
}

fn native(
    body: fn(Process<Native>, u64),
    argument: u64,
) -> impl FnOnce(Pid, Process<Native>, NonNull<u8>) -> Native {
    move |_, _, _| Native { body, argument, done: None }
}

fn nothing(_: Process<Native>, _: u64) {}

/// Spawns in batches and yields in between, so that the children run and slots are reused warm.
fn spawner(process: Process<Native>, count: u64) {
    for _ in 0..count / 64 {
        process.on_worker(|worker, _| {
            for _ in 0..64 {
                worker.spawn(0, native(nothing, 0)).expect("there are slots");
            }
        });
        process.yield_now();
    }
}

fn receive(process: Process<Native>) -> u64 {
    loop {
        if let Some(m) = process.on_worker(|worker, _| worker.receive(process, |_| true)) {
            return m.into_inner();
        }
        process.park();
    }
}

fn ponger(process: Process<Native>, _: u64) {
    loop {
        let from = receive(process);
        if from == 0 {
            return;
        }
        let me = process.pid().as_u64();
        process.on_worker(|worker, _| worker.send(Pid::from_u64(from), me)).expect("it waits");
    }
}

fn pinger(process: Process<Native>, rounds: u64) {
    let me = process.pid().as_u64();
    let peer = process.on_worker(|worker, _| worker.spawn(0, native(ponger, 0)).expect("a slot"));
    for _ in 0..rounds {
        process.on_worker(|worker, _| worker.send(peer, me)).expect("it waits");
        receive(process);
    }
    process.on_worker(|worker, _| worker.send(peer, 0)).expect("it waits");
}

fn yielder(process: Process<Native>, count: u64) {
    for _ in 0..count {
        process.yield_now();
    }
}

/// As `yielder`, by a thousand processes: every switch meets another stack.
fn crowd(process: Process<Native>, count: u64) {
    process.on_worker(|worker, _| {
        for _ in 0..1000 {
            worker.spawn(0, native(yielder, count / 1000)).expect("a slot");
        }
    });
    process.yield_now();
}

fn measure(name: &str, workers: usize, count: u64, body: fn(Process<Native>, u64)) {
    if std::env::args().nth(1).is_some_and(|wanted| !name.contains(&wanted)) {
        return;
    }
    let runtime =
        Runtime::<Native>::start(&Builder::new().workers(workers)).expect("the runtime starts");
    let mut nanos = Vec::new();
    for _ in 0..7 {
        let (done, finished) = mpsc::channel();
        let before = runtime.handle().counters();
        let start = Instant::now();
        runtime
            .handle()
            .spawn(0, None, move |_, _, _| Native { body, argument: count, done: Some(done) })
            .expect("a slot");
        finished.recv().expect("the process ends");
        // Children of the crowd may outlive it.
        while {
            let now = runtime.handle().counters();
            now.ended() != now.spawned
        } {
            std::thread::yield_now();
        }
        nanos.push(start.elapsed().as_nanos() as f64 / count as f64);
        let after = runtime.handle().counters();
        assert_eq!(after.ended() - before.ended(), after.spawned - before.spawned);
    }
    nanos.sort_by(f64::total_cmp);
    println!(
        "{name:<24} {workers} worker(s): {:7.1} ns  (worst of {}: {:.1})",
        nanos[0],
        nanos.len(),
        nanos[nanos.len() - 1]
    );
}

static STOP: AtomicBool = AtomicBool::new(false);
static LATENESS: Mutex<Vec<u64>> = Mutex::new(Vec::new());

fn busy(process: Process<Native>, _: u64) {
    while !STOP.load(Relaxed) {
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(300) {
            std::hint::spin_loop();
        }
        process.yield_now();
    }
}

fn sleeper(process: Process<Native>, count: u64) {
    for _ in 0..count {
        let deadline = Instant::now() + Duration::from_millis(1);
        process.on_worker(|worker, _| worker.set_timer(deadline));
        while Instant::now() < deadline {
            process.park();
        }
        let late = deadline.elapsed().as_nanos() as u64;
        process.on_worker(|_, _| LATENESS.lock().expect("nobody panics").push(late));
    }
    STOP.store(true, Relaxed);
}

/// How late a process's timer of 1 ms wakes it beside eight that yield every 0.3 ms.
fn lateness(workers: usize, count: u64) {
    if std::env::args().nth(1).is_some_and(|wanted| !"lateness".contains(&wanted)) {
        return;
    }
    STOP.store(false, Relaxed);
    let runtime =
        Runtime::<Native>::start(&Builder::new().workers(workers)).expect("the runtime starts");
    let (done, finished) = mpsc::channel();
    for _ in 0..8 {
        runtime.handle().spawn(0, None, native(busy, 0)).expect("a slot");
    }
    runtime
        .handle()
        .spawn(0, None, move |_, _, _| Native { body: sleeper, argument: count, done: Some(done) })
        .expect("a slot");
    finished.recv().expect("the process ends");
    let mut late = std::mem::take(&mut *LATENESS.lock().expect("nobody panics"));
    late.sort_unstable();
    let micros = |part: usize| late[late.len() * part / 100] as f64 / 1e3;
    println!(
        "timer lateness, busy     {workers} worker(s): p50 {:.0} us, p99 {:.0} us, worst {:.0} us",
        micros(50),
        micros(99),
        late[late.len() - 1] as f64 / 1e3
    );
}

fn main() {
    for workers in [1, 2] {
        measure("spawn + finish", workers, 1 << 20, spawner);
        measure("ping-pong round trip", workers, 1 << 20, pinger);
        measure("yield, alone", workers, 1 << 20, yielder);
        measure("yield, 1000 processes", workers, 1_000_000, crowd);
        lateness(workers, 2000);
    }
}
