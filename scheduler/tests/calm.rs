//! A process that computes while nobody waits costs nobody else anything: the tick thread sleeps until
//! there is somebody to make room for. Alone in its file, so that there is one tick thread.
#![cfg(target_os = "linux")]

mod support;

use lunatic_scheduler::{Builder, End, Handle, Pid, Preemption, Process};
use std::{
    collections::BTreeSet,
    fs,
    sync::Mutex,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};
use support::*;

/// How often a worker was interrupted.
static INTERRUPTS: AtomicU64 = AtomicU64::new(0);
/// Which threads were.
static INTERRUPTED: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());
/// How many processes compute.
static COMPUTING: AtomicU32 = AtomicU32::new(0);
static OVER: AtomicBool = AtomicBool::new(false);
/// What one of those that compute shall do: the index of a deed, and 1.
static DEED: AtomicU32 = AtomicU32::new(0);
static PARKED: AtomicU64 = AtomicU64::new(0);

fn parked() -> Pid {
    Pid::from_u64(PARKED.load(SeqCst))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(1)
}

/// What a process that computes may do to make others ready.
const DEEDS: [fn(Process<Native>); 4] = [
    |p| assert!(p.on_worker(|w, _| w.spawn(0, native(|_| {}, None))).is_ok()),
    |p| p.on_worker(|w, _| w.send(parked(), 1)).expect("it lives"),
    |p| assert!(p.on_worker(|w, _| w.wake(parked()))),
    |p| assert!(p.on_worker(|w, _| w.send_at(soon(), parked(), 1.into())).is_ok()),
];

/// What others may do, to whom or to one that computes.
const OUTSIDE: [fn(&Handle<Native>, Pid); 6] = [
    |handle, _| drop(spawn(handle, |_| {})),
    |handle, _| handle.send(parked(), 1).expect("it lives"),
    |handle, _| assert!(handle.wake(parked())),
    |handle, _| _ = handle.set_timer_for(parked(), soon()),
    |handle, computing| assert!(handle.kill(computing)),
    |handle, _| handle.shutdown(),
];

/// Computes, does what it is told to, and makes way when anybody is interrupted.
fn compute(process: Process<Native>) {
    let mut seen = INTERRUPTS.load(SeqCst);
    COMPUTING.fetch_add(1, SeqCst);
    while !OVER.load(SeqCst) {
        match DEED.swap(0, SeqCst) {
            0 => std::hint::spin_loop(),
            deed => DEEDS[deed as usize - 1](process),
        }
        let interrupts = INTERRUPTS.load(SeqCst);
        if interrupts != seen {
            seen = interrupts;
            process.make_way();
        }
    }
}

/// How often the tick thread has been switched in, by the kernel's count; it may not have its name yet.
fn ticks() -> Option<u64> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten().map(|task| task.path());
    let is_tick = |task: &std::path::PathBuf| {
        fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "lunatic-tick")
    };
    let task = tasks.filter(is_tick).last()?;
    let text = fs::read_to_string(task.join("schedstat")).unwrap();
    Some(text.split_whitespace().nth(2).unwrap().parse().unwrap())
}

/// Whether the tick thread stays asleep for a stretch of time: many looks long, were it awake.
fn sleeps() -> bool {
    let before = ticks();
    thread::sleep(Duration::from_millis(100));
    before.is_some() && ticks() == before
}

/// Lets so many of the workers compute, waits until the tick thread sleeps, and then until `event` has
/// interrupted a worker.
fn interrupts_after(workers: u32, busy: u32, event: impl FnOnce(&Handle<Native>, Pid)) {
    OVER.store(false, SeqCst);
    COMPUTING.store(0, SeqCst);
    let interrupt = |thread| {
        INTERRUPTED.lock().unwrap().insert(thread);
        INTERRUPTS.fetch_add(1, SeqCst);
    };
    let preemption = Preemption { slice: Duration::from_millis(1), interrupt };
    let builder = Builder::new().workers(workers as usize).processes_max(1000);
    let runtime = start(&builder.preemption(preemption));
    let handle = runtime.handle();
    PARKED.store(spawn(handle, park_for_ever).0.as_u64(), SeqCst);
    let computing: Vec<_> = (0..busy).map(|_| spawn(handle, compute)).collect();
    while COMPUTING.load(SeqCst) < busy {
        thread::yield_now();
    }
    assert!((0..500).any(|_| sleeps()), "the tick thread gets up for nothing");
    let before = INTERRUPTS.load(SeqCst);
    event(handle, computing[0].0);
    while INTERRUPTS.load(SeqCst) == before {
        thread::yield_now();
    }
    // Workers, and no others: host code that blocks is left alone.
    for thread in std::mem::take(&mut *INTERRUPTED.lock().unwrap()) {
        let name = fs::read_to_string(format!("/proc/self/task/{thread}/comm"));
        let name = name.unwrap_or_else(|_| "lunatic-worker: has left".to_string());
        assert!(name.starts_with("lunatic-worker"), "{name:?} was interrupted");
    }
    OVER.store(true, SeqCst);
    let ends: Vec<End> = computing.iter().map(|(_, end)| end.recv().unwrap()).collect();
    assert!(ends.iter().all(|end| matches!(end, End::Returned | End::Killed | End::Shutdown)));
    runtime.shutdown_and_join();
}

#[test]
fn the_tick_thread_sleeps_among_those_that_compute_until_somebody_waits() {
    for (workers, busy) in [(1, 1), (2, 2), (2, 1)] {
        // What these make ready lies where a worker without work cannot take it.
        for deed in 1..=DEEDS.len() as u32 {
            interrupts_after(workers, busy, |_, _| DEED.store(deed, SeqCst));
        }
        // A worker without work takes what comes from outside.
        let kept = if busy == workers { OUTSIDE.len() } else { 2 };
        for deed in OUTSIDE.iter().rev().take(kept) {
            interrupts_after(workers, busy, deed);
        }
    }
}
