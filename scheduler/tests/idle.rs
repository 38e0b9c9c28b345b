//! An idle runtime costs nothing: its workers stay asleep. Alone in its file, so that no other
//! test's threads are counted.

mod support;

use lunatic_scheduler::{Builder, End};
use std::{
    sync::Mutex,
    time::{Duration, Instant},
};
use support::*;

static WORKERS: Mutex<Vec<i32>> = Mutex::new(Vec::new());

fn note_worker() -> std::io::Result<()> {
    // SAFETY: no preconditions.
    WORKERS.lock().unwrap().push(unsafe { libc::gettid() });
    Ok(())
}

/// How often each worker has been switched in, by the kernel's count.
fn switched_in() -> Vec<u64> {
    let workers = WORKERS.lock().unwrap();
    let count = |tid: &i32| {
        let text = std::fs::read_to_string(format!("/proc/self/task/{tid}/schedstat")).unwrap();
        text.split_whitespace().nth(2).unwrap().parse().unwrap()
    };
    workers.iter().map(count).collect()
}

#[test]
fn an_idle_runtime_stays_asleep() {
    let idle = start(&Builder::new().workers(4).processes_max(1000).on_worker_start(note_worker));
    let parked: Vec<_> = (0..8).map(|_| spawn(idle.handle(), park_for_ever)).collect();
    let far = Instant::now() + Duration::from_secs(3600);
    idle.handle().set_timer_for(parked[0].0, far);
    let clock = runtime(1);
    // A stretch of time, counted in another runtime's timers.
    let stretch = || {
        let before = (idle.handle().counters(), switched_in());
        let how = run(&clock, |p| {
            for _ in 0..20 {
                let deadline = Instant::now() + Duration::from_millis(1);
                p.on_worker(|w, _| w.set_timer(deadline));
                while Instant::now() < deadline {
                    p.park();
                }
            }
        });
        assert_eq!(how, End::Returned);
        (idle.handle().counters(), switched_in()) == before
    };
    // It falls asleep at some time, and then stays so.
    while WORKERS.lock().unwrap().len() < 4 {
        std::thread::yield_now(); // not all threads have started
    }
    let settled = (0..500).any(|_| stretch());
    assert!(settled, "it never falls asleep");
    for _ in 0..5 {
        assert!(stretch(), "somebody got up for nothing");
    }
    assert!(idle.handle().counters().parks >= 4);
}
