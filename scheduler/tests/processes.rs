//! What processes may rely on: every way to live and to end, mail, timers, migration, shutdown.
//! Counts events, waits for none by sleeping.

mod support;

use lunatic_scheduler::{Builder, End, Pid, SpawnError};
use std::{
    collections::HashSet,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    time::{Duration, Instant},
};
use support::*;

#[test]
fn every_way_to_end_is_reported_once() {
    let runtime = runtime(2);
    assert_eq!(run(&runtime, |_| {}), End::Returned);
    assert_eq!(run(&runtime, |p| p.exit()), End::Exited);
    assert_eq!(run(&runtime, |_| panic!("expected {}", 1)), End::Panicked("expected 1".into()));
    assert_eq!(
        run(&runtime, |p| p.on_worker(|_, _| panic!("there"))),
        End::Panicked("there".into())
    );
    let (pid, ends) = spawn(runtime.handle(), park_for_ever);
    assert!(runtime.handle().kill(pid));
    assert_eq!(ends.recv().unwrap(), End::Killed);
    let counters = runtime.handle().counters();
    assert_eq!(
        (counters.returned, counters.exited, counters.panicked, counters.killed),
        (1, 1, 2, 1)
    );
    assert_eq!(counters.spawned, 5);
}

#[test]
fn an_end_of_many_parts_lets_others_run_and_is_over_once() {
    for workers in [1, 2, 8] {
        let runtime = runtime(workers);
        let handle = runtime.handle();
        let (sender, ends) = mpsc::channel();
        let pids: Vec<Pid> = (0..100)
            .map(|_| {
                let sender = sender.clone();
                let on_end: OnEnd = Box::new(move |worker, pid, how| {
                    assert!(!worker.exists(pid) && !worker.watch(pid) && !worker.kill(pid));
                    sender.send(how).unwrap();
                });
                handle.spawn(0, None, native(park_for_ever, Some(on_end))).unwrap()
            })
            .collect();
        for &pid in &pids {
            assert!(handle.watch(pid) && handle.watch(pid));
            assert!(handle.kill(pid));
        }
        // Settled in a later part: that is what the harness says then.
        (0..100).for_each(|_| assert_eq!(ends.recv().unwrap(), End::Returned));
        assert!(pids.iter().all(|&pid| !handle.watch(pid)));
        assert_eq!(run(&runtime, |_| {}), End::Returned, "slots are used again");
        assert!(ends.try_recv().is_err());
    }
}

#[test]
fn a_kill_reaches_queued_running_and_idle_processes() {
    let runtime = runtime(1);
    let handle = runtime.handle();
    // Queued: the only worker is busy with the killer.
    let queued_ran = Arc::new(AtomicBool::new(false));
    let flag = queued_ran.clone();
    let (ends_sender, queued_ends) = mpsc::channel();
    let how = run(&runtime, move |p| {
        p.on_worker(|worker, _| {
            let on_end: OnEnd = Box::new(move |_, _, how| ends_sender.send(how).unwrap());
            let body = move |_| flag.store(true, SeqCst);
            let pid = worker.spawn(0, native(body, Some(on_end))).unwrap();
            assert!(worker.kill(pid));
            assert!(worker.exists(pid), "it is reaped when it is popped");
        });
    });
    assert_eq!(how, End::Returned);
    assert_eq!(queued_ends.recv().unwrap(), End::Killed);
    assert!(!queued_ran.load(SeqCst));
    // Running: it kills itself and goes on until its next scheduling point.
    let (after, seen) = mpsc::channel();
    let how = run(&runtime, move |p| {
        p.on_worker(|worker, _| assert!(worker.kill(p.pid())));
        after.send("went on").unwrap();
        p.yield_now();
        after.send("came back").unwrap();
    });
    assert_eq!((how, seen.recv().unwrap(), seen.try_recv().ok()), (End::Killed, "went on", None));
    // Idle: it has said so by being parked when its sibling runs.
    let (idle, ends) = spawn(handle, park_for_ever);
    assert_eq!(run(&runtime, move |p| p.on_worker(|w, _| assert!(w.kill(idle)))), End::Returned);
    assert_eq!(ends.recv().unwrap(), End::Killed);
    assert!(!handle.kill(idle));
}

#[test]
fn forged_and_stale_pids_find_nobody() {
    let runtime = runtime(1);
    let handle = runtime.handle();
    let (old, ends) = spawn(handle, |_| {});
    ends.recv().unwrap();
    // The next one on the same worker gets the warm slot.
    let (sender, pids) = mpsc::channel();
    run(&runtime, move |p| {
        let child = p.on_worker(|w, _| w.spawn(0, native(park_for_ever, None)).unwrap());
        sender.send(child).unwrap();
    });
    let child = pids.recv().unwrap();
    assert_eq!(child.slot_index(), old.slot_index(), "slots are reused hot");
    assert_ne!(child, old);
    assert_eq!(handle.send(old, 1), Err(1.into()));
    assert!(!handle.wake(old) && !handle.kill(old) && !handle.exists(old));
    for raw in [0, 1 << 32, u64::MAX, u64::from(u32::MAX), child.as_u64() + (1 << 32), 9_999] {
        let pid = Pid::from_u64(raw);
        assert_eq!(handle.send(pid, 2), Err(2.into()), "{pid}");
        assert!(!handle.kill(pid) && !handle.wake(pid) && !handle.exists(pid), "{pid}");
    }
    assert!(handle.exists(child));
}

#[test]
fn mail_is_selective_and_in_order() {
    let runtime = runtime(2);
    let (sender, got) = mpsc::channel();
    let (pid, ends) = spawn(runtime.handle(), move |p| {
        sender.send(receive(p, |m| *m == 100)).unwrap();
        sender.send(receive(p, |m| m % 2 == 0)).unwrap();
        for _ in 0..99 {
            sender.send(receive(p, |_| true)).unwrap();
        }
    });
    for m in 1..=101 {
        runtime.handle().send(pid, m).unwrap();
    }
    assert_eq!(ends.recv().unwrap(), End::Returned);
    let got: Vec<u64> = got.iter().collect();
    let rest: Vec<u64> = (1..=101).filter(|m| ![100, 2].contains(m)).collect();
    assert_eq!(got[..2], [100, 2]);
    assert_eq!(got[2..], rest);
    assert_eq!(runtime.handle().counters().sent, 101);
}

#[test]
fn no_message_and_no_wake_is_lost_under_many_senders() {
    const SENDERS: u64 = 4;
    const EACH: u64 = 20_000;
    let runtime = runtime(2);
    let (pid, ends) = spawn(runtime.handle(), |p| {
        let mut next = [0; SENDERS as usize];
        for _ in 0..SENDERS * EACH {
            let m = receive(p, |_| true);
            let sender = (m / EACH) as usize;
            assert_eq!(m % EACH, next[sender], "each sender's messages come in order");
            next[sender] += 1;
        }
    });
    let outsider = runtime.handle().clone();
    let thread = std::thread::spawn(move || {
        (0..EACH).for_each(|m| outsider.send(pid, m).unwrap());
    });
    for sender in 1..SENDERS {
        spawn(runtime.handle(), move |p| {
            for m in 0..EACH {
                p.on_worker(|w, _| w.send(pid, sender * EACH + m)).unwrap();
                if m % 64 == 0 {
                    p.yield_now();
                }
            }
        });
    }
    assert_eq!(ends.recv().unwrap(), End::Returned);
    thread.join().unwrap();
}

/// It is led away: a companion keeps its worker busy until it has come back elsewhere.
#[test]
fn a_process_moves_between_threads_with_its_floating_point_and_vector_state() {
    let runtime = runtime(4);
    let how = run(&runtime, |p| {
        let (mut moves, mut seen) = (0, HashSet::new());
        let (mut sum, mut expected) = (1.0f64, 1.0f64);
        let mut lanes: [f32; 16] = std::array::from_fn(|n| n as f32);
        while moves < 50 || seen.len() < 2 {
            let here = p.on_worker(|w, _| w.id());
            seen.insert(here);
            let back = Arc::new(AtomicBool::new(false));
            let awaited = back.clone();
            let companion = move |_| {
                while !awaited.load(SeqCst) {
                    std::thread::yield_now();
                }
            };
            p.on_worker(|w, _| w.spawn(0, native(companion, None)).unwrap());
            let before = lanes.map(|lane| lane.mul_add(0.5, 3.0));
            sum = sum.mul_add(0.5, 1.0 / 3.0);
            p.yield_now();
            expected = expected.mul_add(0.5, 1.0 / 3.0);
            assert_eq!(sum.to_bits(), expected.to_bits());
            lanes = lanes.map(|lane| lane.mul_add(0.5, 3.0));
            assert_eq!(lanes, before);
            moves += usize::from(p.on_worker(|w, _| w.id()) != here);
            back.store(true, SeqCst);
        }
    });
    assert_eq!(how, End::Returned);
}

#[test]
fn two_that_wake_each_other_do_not_starve_a_third() {
    let runtime = runtime(1);
    let (rounds, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (ping_rounds, ping_stop) = (rounds.clone(), stop.clone());
    let (_, ends) = spawn(runtime.handle(), move |p| {
        let me = p.pid();
        let pong = p.on_worker(|w, _| {
            let body = move |q| {
                while receive(q, |_| true) == 1 {
                    q.on_worker(|w, _| w.send(me, 1)).unwrap();
                }
            };
            w.spawn(0, native(body, None)).unwrap()
        });
        while !ping_stop.load(SeqCst) {
            p.on_worker(|w, _| w.send(pong, 1)).unwrap();
            receive(p, |_| true);
            ping_rounds.fetch_add(1, SeqCst);
        }
        p.on_worker(|w, _| w.send(pong, 0)).unwrap();
    });
    let third = run(&runtime, move |p| {
        for _ in 0..100 {
            let before = rounds.load(SeqCst);
            p.yield_now();
            let passed = rounds.load(SeqCst) - before;
            assert!(passed <= 32, "waited for {passed} rounds of the two");
        }
        stop.store(true, SeqCst);
    });
    assert_eq!(third, End::Returned);
    assert_eq!(ends.recv().unwrap(), End::Returned);
}

#[test]
fn a_yielding_process_does_not_starve_the_injector() {
    let runtime = runtime(1);
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    let (_, ends) = spawn(runtime.handle(), move |p| {
        while !seen.load(SeqCst) {
            p.yield_now();
        }
    });
    assert_eq!(run(&runtime, move |_| stop.store(true, SeqCst)), End::Returned);
    assert_eq!(ends.recv().unwrap(), End::Returned);
}

#[test]
fn timers_wake_each_process_and_none_too_early() {
    let runtime = runtime(1);
    let ends: Vec<_> = [3u64, 1, 2]
        .map(|n| {
            spawn(runtime.handle(), move |p| {
                let deadline = Instant::now() + Duration::from_millis(2 * n);
                p.on_worker(|w, _| w.set_timer(deadline));
                p.park(); // nothing but the timer wakes it
                assert!(Instant::now() >= deadline);
            })
            .1
        })
        .into();
    for end in ends {
        assert_eq!(end.recv().unwrap(), End::Returned);
    }
    assert_eq!(runtime.handle().counters().timers_fired, 3);
}

#[test]
fn a_timer_fires_while_another_process_keeps_the_worker_busy() {
    let runtime = runtime(1);
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    let (_, busy) = spawn(runtime.handle(), move |p| {
        while !seen.load(SeqCst) {
            p.yield_now();
        }
    });
    let how = run(&runtime, move |p| {
        let deadline = Instant::now() + Duration::from_millis(2);
        p.on_worker(|w, _| w.set_timer(deadline));
        while Instant::now() < deadline {
            p.park();
        }
        stop.store(true, SeqCst);
    });
    assert_eq!((how, busy.recv().unwrap()), (End::Returned, End::Returned));
}

#[test]
fn a_timer_fires_while_its_worker_is_in_a_long_slice() {
    let runtime = runtime(2);
    let how = run(&runtime, |p| {
        for _ in 0..50 {
            let stop = Arc::new(AtomicBool::new(false));
            let seen = stop.clone();
            // Comes next on this worker, and stays until the timer has fired.
            let busy = move |_| {
                while !seen.load(SeqCst) {
                    std::thread::yield_now();
                }
            };
            let deadline = Instant::now() + Duration::from_micros(200);
            p.on_worker(|w, _| {
                w.spawn(0, native(busy, None)).unwrap();
                w.set_timer(deadline);
            });
            while Instant::now() < deadline {
                p.park();
            }
            stop.store(true, SeqCst);
        }
    });
    assert_eq!(how, End::Returned);
}

#[test]
fn a_timer_from_outside_reaches_a_sleeping_runtime_and_a_cancelled_one_does_not() {
    let runtime = runtime(2);
    let handle = runtime.handle();
    let (pid, ends) = spawn(handle, |p| p.park());
    let (other, _ends) = spawn(handle, park_for_ever);
    let id = handle.set_timer_for(other, Instant::now() + Duration::from_secs(3600));
    handle.set_timer_for(pid, Instant::now() + Duration::from_millis(3));
    assert_eq!(ends.recv().unwrap(), End::Returned);
    assert!(handle.cancel_timer(id));
    assert!(!handle.cancel_timer(id));
}

#[test]
fn blocking_jobs_wake_their_processes_and_may_panic() {
    let runtime = start(&Builder::new().workers(2).processes_max(1000).blocking_threads_max(4));
    let ends: Vec<_> = (0..32u64)
        .map(|n| {
            let body = move |p: lunatic_scheduler::Process<Native>| {
                p.on_worker(|w, _| {
                    let handle = w.handle().clone();
                    w.handle().spawn_blocking(Box::new(|| panic!("contained"))).unwrap();
                    let job = Box::new(move || handle.send(p.pid(), n).unwrap());
                    w.handle().spawn_blocking(job).unwrap();
                });
                assert_eq!(receive(p, |_| true), n);
            };
            spawn(runtime.handle(), body).1
        })
        .collect();
    for end in ends {
        assert_eq!(end.recv().unwrap(), End::Returned);
    }
    let handle = runtime.handle().clone();
    runtime.shutdown_and_join();
    assert!(handle.spawn_blocking(Box::new(|| {})).is_err());
}

#[test]
fn spawning_fails_at_the_limit_and_works_again_below_it() {
    let runtime = start(&Builder::new().workers(1).processes_max(100));
    let how = run(&runtime, |p| {
        p.on_worker(|w, _| {
            let children: Vec<Pid> =
                (0..99).map(|_| w.spawn(0, native(park_for_ever, None)).unwrap()).collect();
            let error = w.spawn(0, native(park_for_ever, None)).unwrap_err();
            assert!(matches!(error, SpawnError::TooManyProcesses { limit: 100 }), "{error}");
            assert!(error.to_string().contains("processes_max"));
            assert!(w.kill(children[0]));
        });
        p.yield_now();
        p.on_worker(|w, _| w.spawn(0, native(park_for_ever, None)).unwrap());
    });
    assert_eq!(how, End::Returned);
}

#[test]
fn a_slot_comes_back_when_init_panics() {
    let runtime = start(&Builder::new().workers(1).processes_max(1));
    for _ in 0..3 {
        let spawn = || runtime.handle().spawn(0, None, |_, _, _| panic!("no"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(spawn)).is_err());
    }
    assert_eq!(run(&runtime, |_| {}), End::Returned);
}

#[test]
fn extra_memory_is_aligned_writable_and_bounded() {
    let runtime = runtime(1);
    for extra in [0, 1, 372, 4096, lunatic_scheduler::MAX_EXTRA] {
        let (sender, ends) = mpsc::channel();
        let on_end: OnEnd = Box::new(move |_, _, how| sender.send(how).unwrap());
        let init = move |pid, process, place: std::ptr::NonNull<u8>| {
            assert!((place.as_ptr() as usize).is_multiple_of(16));
            // SAFETY: `extra` bytes there are ours.
            unsafe { place.as_ptr().write_bytes(0xAB, extra) };
            let address = place.as_ptr() as usize;
            let body = move |p: lunatic_scheduler::Process<Native>| {
                p.yield_now();
                let place = std::ptr::with_exposed_provenance::<u8>(address);
                // SAFETY: as above, for as long as the process lives.
                let bytes = unsafe { std::slice::from_raw_parts(place, extra) };
                assert!(bytes.iter().all(|b| *b == 0xAB));
            };
            place.as_ptr().expose_provenance();
            native(body, Some(on_end))(pid, process, place)
        };
        runtime.handle().spawn(extra, None, init).unwrap();
        assert_eq!(ends.recv().unwrap(), End::Returned);
    }
    let too_much = lunatic_scheduler::MAX_EXTRA + 1;
    let error = runtime.handle().spawn(too_much, None, native(|_| {}, None)).unwrap_err();
    assert!(matches!(error, SpawnError::ExtraTooLarge { .. }), "{error}");
}

#[test]
fn shutdown_ends_every_process_exactly_once_in_whatever_state() {
    for round in 0..20 {
        let runtime = runtime(1 + round % 3);
        let ended = Arc::new(AtomicUsize::new(0));
        let count = |ended: &Arc<AtomicUsize>| -> Option<OnEnd> {
            let ended = ended.clone();
            Some(Box::new(move |worker, _, _| {
                ended.fetch_add(1, SeqCst);
                // What an end may do at the worst moment.
                let _ = worker.spawn(0, native(|_| {}, None));
                worker.wake(Pid::from_u64(1));
                worker.handle().shutdown();
            }))
        };
        let handle = runtime.handle();
        for n in 0..300 {
            let on_end = count(&ended);
            let body = move |p: lunatic_scheduler::Process<Native>| match n % 3 {
                0 => park_for_ever(p),
                1 => loop {
                    p.yield_now();
                },
                _ => {
                    p.on_worker(|w, _| {
                        w.set_timer(Instant::now() + Duration::from_secs(3600));
                    });
                    receive(p, |m| *m == 7);
                }
            };
            let pid = handle.spawn(0, None, native(body, on_end)).unwrap();
            let _ = handle.send(pid, 5);
            // Its end has several parts, at the shutdown too.
            assert_eq!(n % 4 == 0, n % 4 == 0 && handle.watch(pid));
        }
        let late = handle.clone();
        runtime.shutdown_and_join();
        let counters = late.counters();
        assert_eq!(ended.load(SeqCst), 300);
        assert_eq!(counters.ended(), counters.spawned);
        assert_eq!(counters.shut_down, counters.spawned);
        assert_eq!(counters.dropped, counters.sent, "nobody asked for a 5");
        assert!(matches!(late.spawn(0, None, native(|_| {}, None)), Err(SpawnError::ShuttingDown)));
        assert!(late.is_shutting_down());
    }
}

#[test]
fn the_main_processs_end_shuts_down_from_within() {
    let runtime = runtime(2);
    let (_, child) = spawn(runtime.handle(), park_for_ever);
    let on_end: OnEnd = Box::new(|worker, _, _| worker.handle().shutdown());
    runtime.handle().spawn(0, None, native(|p| p.yield_now(), Some(on_end))).unwrap();
    runtime.join();
    assert_eq!(child.recv().unwrap(), End::Shutdown);
}

#[test]
fn workers_share_a_burst_of_work() {
    let runtime = runtime(2);
    // Two processes that can only end together need two workers at once.
    let barrier = Arc::new(Barrier::new(2));
    let how = run(&runtime, move |p| {
        let me = p.pid();
        for _ in 0..2 {
            let barrier = barrier.clone();
            let body = move |child: lunatic_scheduler::Process<Native>| {
                barrier.wait();
                child.on_worker(|w, _| w.send(me, 1)).unwrap();
            };
            p.on_worker(|w, _| w.spawn(0, native(body, None)).unwrap());
        }
        p.yield_now();
        for _ in 0..2 {
            receive(p, |_| true);
        }
    });
    assert_eq!(how, End::Returned);
}

#[test]
fn a_strayed_handle_panics_instead_of_corrupting() {
    let runtime = runtime(1);
    let (sender, handles) = mpsc::channel();
    let (_, _ends) = spawn(runtime.handle(), move |p| {
        sender.send(p).unwrap();
        park_for_ever(p);
    });
    let stray = handles.recv().unwrap();
    let outside = std::panic::AssertUnwindSafe(|| stray.park());
    assert!(std::panic::catch_unwind(outside).is_err());
    let how = run(&runtime, move |_| stray.yield_now());
    assert!(matches!(how, End::Panicked(_)), "{how:?}");
    let how = run(&runtime, move |p| {
        p.on_worker(|w, _| {
            w.receive(stray, |_| true);
        })
    });
    assert!(matches!(how, End::Panicked(_)), "{how:?}");
}

#[test]
fn the_current_fiber_is_known_on_its_own_stack_only() {
    use lunatic_scheduler::current_fiber;
    assert!(current_fiber().is_none());
    let runtime = runtime(1);
    let how = run(&runtime, |p| {
        let bounds = current_fiber().unwrap();
        let here = (&raw const bounds) as usize;
        assert!(bounds.stack_low < here && here < bounds.stack_high);
        assert_eq!(bounds.guard.end, bounds.stack_low);
        assert_eq!(bounds.program, p.program().cast());
        p.on_worker(|_, _| assert!(current_fiber().is_none()));
        assert!(current_fiber().is_some());
        p.yield_now();
        assert!(current_fiber().is_some());
    });
    assert_eq!(how, End::Returned);
}
