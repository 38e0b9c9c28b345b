//! The state word: parking, waking, killing, ending, and who watches.

use crate::{
    loom::{
        self,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::Relaxed},
        },
        thread,
    },
    model, running,
    state::{Rest, Signal, Start},
};

#[test]
fn state_a_wake_during_park_is_never_lost_and_queues_once() {
    model(|| {
        let state = Arc::new(running());
        let news = Arc::new(AtomicUsize::new(0));
        let queued = Arc::new(AtomicUsize::new(0));
        let wakers: Vec<_> = (0..2)
            .map(|_| {
                let (state, news, queued) = (state.clone(), news.clone(), queued.clone());
                thread::spawn(move || {
                    news.fetch_add(1, Relaxed);
                    if state.wake(0) == Signal::Enqueue {
                        queued.fetch_add(1, Relaxed);
                    }
                })
            })
            .collect();
        let mut in_queue = 0;
        if news.load(Relaxed) < 2 && state.park() == Rest::Enqueue {
            in_queue += 1;
        }
        wakers.into_iter().for_each(|w| w.join().unwrap());
        in_queue += queued.load(Relaxed);
        // Either it saw all the news before it parked, or it is queued exactly once and sees them
        // when it runs.
        assert!(in_queue <= 1);
        if in_queue == 1 {
            assert_eq!(state.start(), Start::Run);
        }
        assert_eq!(news.load(Relaxed), 2);
        assert_ne!(state.park(), Rest::Killed);
    });
}

#[test]
fn state_a_kill_against_park_and_wake_ends_it_exactly_once() {
    model(|| {
        let state = Arc::new(running());
        let other = state.clone();
        let killer = thread::spawn(move || other.kill(0) == Signal::Enqueue);
        let other = state.clone();
        let waker = thread::spawn(move || other.wake(0) == Signal::Enqueue);
        let rest = state.park();
        let queued = [rest == Rest::Enqueue, killer.join().unwrap(), waker.join().unwrap()];
        let queued = queued.into_iter().filter(|q| *q).count();
        if rest == Rest::Killed {
            assert_eq!(queued, 0);
        } else {
            assert_eq!(queued, 1);
            assert_eq!(state.start(), Start::Killed);
        }
        assert!(!state.finish());
        assert!(state.free());
        assert_eq!(state.kill(0), Signal::Gone);
    });
}

#[test]
fn state_a_late_waker_does_not_touch_the_next_tenant() {
    model(|| {
        let state = Arc::new(running());
        let other = state.clone();
        let late = thread::spawn(move || other.wake(0));
        assert!(!state.finish());
        assert!(state.free());
        state.publish(1, false);
        assert_eq!(state.start(), Start::Run);
        assert_ne!(late.join().unwrap(), Signal::Enqueue);
        assert_eq!(state.park(), Rest::Parked);
    });
}

/// What links and monitors rely on: an entry in a book under a lock, and the watch bit.
#[test]
fn state_a_watcher_is_told_by_the_end_or_finds_the_process_gone_never_both() {
    model(|| {
        let state = Arc::new(running());
        let book = Arc::new(loom::sync::Mutex::new(0));
        let watchers: Vec<_> = (0..2)
            .map(|_| {
                let (state, book) = (state.clone(), book.clone());
                thread::spawn(move || {
                    let mut entries = book.lock().unwrap();
                    let alive = state.watch(0);
                    *entries += usize::from(alive);
                    usize::from(!alive)
                })
            })
            .collect();
        let told = if state.finish() { std::mem::take(&mut *book.lock().unwrap()) } else { 0 };
        let late: usize = watchers.into_iter().map(|watcher| watcher.join().unwrap()).sum();
        assert_eq!(told + late, 2);
        assert_eq!(*book.lock().unwrap(), 0);
    });
}
