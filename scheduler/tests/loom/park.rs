//! Workers that fall asleep while there is work, and shutdown.

use crate::{
    closing::Closing,
    loom::{
        self,
        sync::{
            Arc,
            atomic::{
                AtomicUsize,
                Ordering::{Acquire, Relaxed, Release},
            },
        },
        thread,
    },
    model,
    park::{Idle, Woken},
};

/// A worker that finds nothing goes to sleep while work is pushed: it must get up (a lost wake-up
/// is a deadlock).
#[test]
fn park_work_pushed_while_falling_asleep_is_found() {
    model(|| {
        let idle = Arc::new(Idle::new(1));
        let queue = Arc::new(AtomicUsize::new(0));
        let (their_idle, their_queue) = (idle.clone(), queue.clone());
        let worker = thread::spawn(move || {
            let mut searching = their_idle.start_searching();
            loop {
                if searching && their_queue.load(Relaxed) > 0 {
                    their_idle.found();
                    return;
                }
                their_idle.announce(0, searching);
                if their_queue.load(Relaxed) == 0 {
                    their_idle.sleep(0, None);
                }
                searching = match their_idle.rise(0) {
                    Woken::Searching => true,
                    Woken::Plain => their_idle.start_searching(),
                };
            }
        });
        queue.store(1, Relaxed);
        idle.notify();
        worker.join().unwrap();
    });
}

#[test]
fn park_two_sleepers_and_two_pushes_leave_no_work_behind() {
    model(|| {
        let idle = Arc::new(Idle::new(2));
        let queue = Arc::new(AtomicUsize::new(0));
        let taken = Arc::new(AtomicUsize::new(0));
        let closing = Arc::new(Closing::new(2));
        let workers: Vec<_> = (0..2)
            .map(|id| {
                let (idle, queue) = (idle.clone(), queue.clone());
                let (taken, closing) = (taken.clone(), closing.clone());
                thread::spawn(move || {
                    loop {
                        let got =
                            queue.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)).is_ok();
                        if got && taken.fetch_add(1, Relaxed) == 0 && closing.request() {
                            idle.unpark_all();
                        }
                        if closing.requested() {
                            return closing.leave();
                        }
                        idle.announce(id, false);
                        if queue.load(Relaxed) == 0 && !closing.requested() {
                            idle.sleep(id, None);
                        }
                        if idle.rise(id) == Woken::Searching {
                            idle.found();
                        }
                    }
                })
            })
            .collect();
        queue.store(1, Relaxed);
        idle.notify();
        let last = workers.into_iter().map(|w| w.join().unwrap()).filter(|last| *last).count();
        assert_eq!(last, 1, "exactly one worker sweeps");
    });
}

#[test]
fn shutdown_reaches_a_sleeping_worker_and_is_requested_once() {
    model(|| {
        let idle = Arc::new(Idle::new(1));
        let closing = Arc::new(Closing::new(1));
        let (their_idle, their_closing) = (idle.clone(), closing.clone());
        let worker = thread::spawn(move || {
            while !their_closing.requested() {
                their_idle.announce(0, false);
                if !their_closing.requested() {
                    their_idle.sleep(0, None);
                }
                let _ = their_idle.rise(0);
            }
            assert!(their_closing.leave());
        });
        let (their_idle, their_closing) = (idle.clone(), closing.clone());
        let other = thread::spawn(move || {
            let first = their_closing.request();
            if first {
                their_idle.unpark_all();
            }
            first
        });
        let mine = closing.request();
        if mine {
            idle.unpark_all();
        }
        assert!(mine != other.join().unwrap(), "one of the two is the first");
        worker.join().unwrap();
    });
}

/// A bell that outlasts a race, as an `eventfd` does.
#[derive(Default)]
struct Bell(loom::sync::Mutex<bool>, loom::sync::Condvar);

impl Bell {
    fn ring(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_one();
    }

    fn wait(&self) {
        let mut rung = self.0.lock().unwrap();
        while !std::mem::take(&mut *rung) {
            rung = self.1.wait(rung).unwrap();
        }
    }
}

#[test]
fn park_one_who_sleeps_outside_is_rung_up() {
    model(|| {
        let bell = Arc::new(Bell::default());
        let rings = bell.clone();
        let idle = Arc::new(Idle::with_bell(1, move || rings.ring()));
        let work = Arc::new(AtomicUsize::new(0));
        let (others_idle, others_work) = (idle.clone(), work.clone());
        let pusher = thread::spawn(move || {
            others_work.store(1, Release);
            others_idle.notify();
        });
        // Until there is work: a lost ring shows as a deadlock.
        while work.load(Acquire) == 0 {
            idle.announce(0, false);
            if work.load(Acquire) == 0 {
                idle.sleep_outside(0, || bell.wait());
            }
            let _ = idle.rise(0);
        }
        pusher.join().unwrap();
    });
}
