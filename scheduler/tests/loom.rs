//! Loom models of the lock-free parts: state word, mailbox, channel, sleeping and waking, shutdown,
//! and what the tick thread relies on.
//!
//! The modules are the crate's own source files, included by path, so what is explored is what
//! ships; only `sync.rs` and `channel/queue.rs` differ under `--cfg loom`. Each model is named for
//! the behaviour at risk. Run: `RUSTFLAGS="--cfg loom" LOOM_MAX_PREEMPTIONS=2 cargo test --release
//! -p lunatic-scheduler --test loom`.
//!
//! With `--cfg real_threads` instead they run on threads of the system, over and over, with what ships in
//! place of the twins, for ThreadSanitizer: `cargo xtask sanitize`.
#![cfg(any(loom, real_threads))]
// Whole files, of which models use a part.
#![allow(dead_code, unreachable_pub, unused_imports, missing_docs)]

#[cfg(real_threads)]
#[path = "support/threads.rs"]
mod loom;

#[path = "../src/alarm.rs"]
mod alarm;
#[path = "../src/barrier.rs"]
mod barrier;
#[path = "../src/beat.rs"]
mod beat;
#[path = "../src/channel/mod.rs"]
mod channel;
#[path = "../src/closing.rs"]
mod closing;
#[path = "../src/mailbox.rs"]
mod mailbox;
#[path = "../src/park/mod.rs"]
mod park;
#[path = "../src/pid.rs"]
mod pid;
#[path = "../src/quota.rs"]
mod quota;
#[path = "../src/state.rs"]
mod state;
#[path = "../src/sync.rs"]
mod sync;

use alarm::Alarm;
use barrier::Barrier;
use beat::Beat;
use channel::{Channel, TryReceive, TrySend, Wait, Waiting, Wake};
use closing::Closing;
use loom::{
    cell::UnsafeCell,
    sync::{
        Arc,
        atomic::{
            AtomicU64, AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
    thread,
};
use mailbox::{Arrivals, Envelope, Inbox, post};
use park::{Idle, Woken};
use pid::Pid;
use quota::{MailboxLimit, Queue, Quota, Room};
use state::{Rest, Signal, Start, State};

/// How often a model runs on real threads. By feel: a minute for all of them.
#[cfg(real_threads)]
const REPETITIONS: u32 = 2_000;

#[cfg(real_threads)]
fn model(f: impl Fn() + Send + Sync + 'static) {
    (0..REPETITIONS).for_each(|_| f());
}

#[cfg(loom)]
fn model(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(2);
    builder.check(f);
}

fn running() -> State {
    let state = State::new();
    state.publish(0, false);
    assert_eq!(state.start(), Start::Run);
    state
}

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

/// A mailbox whose inbox loom watches: two owners at once would fail the model.
struct Mailbox {
    state: State,
    arrivals: Arrivals<u32>,
    inbox: UnsafeCell<Inbox<u32>>,
    /// The run queue: how often the process is in it.
    queued: AtomicUsize,
}

// SAFETY: that only owners touch the inbox is what the models find out.
unsafe impl Sync for Mailbox {}
// SAFETY: as above.
unsafe impl Send for Mailbox {}

impl Mailbox {
    fn of_a_running_process() -> Arc<Self> {
        let arrivals = Arrivals::new();
        arrivals.open(0);
        let inbox = UnsafeCell::new(Inbox::new());
        Arc::new(Self { state: running(), arrivals, inbox, queued: AtomicUsize::new(0) })
    }

    fn send(&self, message: u32) {
        let deliver = |envelope| {
            // SAFETY: the sender owns the process here; loom checks.
            self.inbox.with_mut(|inbox| unsafe {
                (*inbox).deliver(&self.arrivals, 0, envelope);
            });
        };
        if post(&self.state, &self.arrivals, 0, message.into(), deliver) == Ok(true) {
            self.queued.fetch_add(1, Release);
        }
    }

    fn receive(&self) -> Option<u32> {
        // SAFETY: the process runs here; loom checks.
        let received =
            self.inbox.with_mut(|inbox| unsafe { (*inbox).receive(&self.arrivals, 0, |_| true) });
        received.map(Envelope::into_inner)
    }

    /// Parks and comes back when somebody has queued it.
    fn park(&self) {
        match self.state.park() {
            Rest::Parked => {
                while self.queued.load(Acquire) == 0 {
                    thread::yield_now();
                }
                assert_eq!(self.queued.fetch_sub(1, AcqRel), 1, "queued once");
            }
            Rest::Enqueue => {}
            Rest::Killed => unreachable!("nobody kills"),
        }
        assert_eq!(self.state.start(), Start::Run);
    }
}

/// A process's receive loop over the real mailbox and state word, woken by pushes and by hand-overs.
#[test]
fn mailbox_every_message_arrives_in_order_and_wakes() {
    model(|| {
        let mailbox = Mailbox::of_a_running_process();
        let senders: Vec<_> = [vec![1, 2], vec![11]]
            .into_iter()
            .map(|messages| {
                let mailbox = mailbox.clone();
                thread::spawn(move || messages.into_iter().for_each(|m| mailbox.send(m)))
            })
            .collect();
        let mut got = Vec::new();
        while got.len() < 3 {
            match mailbox.receive() {
                Some(message) => got.push(message),
                None => mailbox.park(),
            }
        }
        senders.into_iter().for_each(|s| s.join().unwrap());
        assert_eq!(mailbox.queued.load(Relaxed), 0, "nobody queued it while it ran");
        let small: Vec<u32> = got.iter().copied().filter(|m| *m < 10).collect();
        assert_eq!((got.len(), small), (3, vec![1, 2]));
    });
}

/// The end of a process in two parts, while two senders push: what was accepted is dropped, each once.
#[test]
fn mailbox_what_is_dropped_in_parts_is_all_that_was_accepted() {
    model(|| {
        let arrivals = Arc::new(Arrivals::new());
        arrivals.open(0);
        let message = Arc::new(());
        let senders: Vec<_> = (0..2)
            .map(|_| {
                let (late, mine) = (arrivals.clone(), message.clone());
                thread::spawn(move || late.push(0, mine.into()).is_ok())
            })
            .collect();
        let mut inbox = Inbox::new();
        // Collects what is there, and leaves it.
        assert!(inbox.receive(&arrivals, 0, |_| false).is_none());
        inbox.close(&arrivals);
        let (first, more) = inbox.drop_some(1);
        assert!(first == 1 || !more);
        let (rest, more) = inbox.drop_some(u64::MAX);
        assert!(!more);
        let accepted = senders.into_iter().map(|sender| u64::from(sender.join().unwrap()));
        assert_eq!(accepted.sum::<u64>(), first + rest);
        assert_eq!(Arc::strong_count(&message), 1);
    });
}

/// A mailbox with a limit and its queue. In place of messages and wake-ups each party has a count that it
/// waits for: the receiver at 0, senders at their numbers.
struct Limited {
    quota: Quota,
    queue: Queue,
    counts: [(sync::Mutex<u32>, sync::Condvar); 3],
}

fn receiver() -> Pid {
    Pid::new(0, 1)
}

impl Limited {
    fn new(messages: u32, bytes: Option<u64>) -> Arc<Self> {
        let quota = Quota::new();
        quota.open(1, Some(MailboxLimit { messages, bytes, mark: 0 }));
        let counts = [0; 3].map(|_| (sync::Mutex::new(0), sync::Condvar::new()));
        Arc::new(Self { quota, queue: Queue::default(), counts })
    }

    fn add(&self, party: usize) {
        let (count, changed) = &self.counts[party];
        *count.lock() += 1;
        changed.notify_one();
    }

    fn take(&self, party: usize) {
        let (count, changed) = &self.counts[party];
        let mut count = count.lock();
        while *count == 0 {
            changed.wait(&mut count);
        }
        *count -= 1;
    }

    /// Takes room for a message, however long that takes, and posts it.
    fn send(&self, me: u32) {
        while self.quota.take(1, || 3) != Room::Taken {
            let room = self.queue.take_or_join(&self.quota, receiver(), Pid::new(me, 1), 3);
            if room == Room::Taken {
                break;
            }
            self.take(me as usize);
        }
        self.add(0);
    }

    fn receive(&self) {
        self.take(0);
        if self.quota.give(3)
            && let Some(next) = self.queue.next(&self.quota, receiver())
        {
            self.add(next.slot_index().expect("a sender") as usize);
        }
    }
}

/// Nobody sleeps beside a mailbox that has room again: a lost wake-up would be a sender that never ends.
#[test]
fn quota_whoever_waits_for_room_gets_it() {
    for (messages, bytes) in [(1, None), (9, Some(3 * mailbox::UNIT_BYTES as u64))] {
        model(move || {
            let limited = Limited::new(messages, bytes);
            let senders: Vec<_> = [1, 2]
                .map(|me| {
                    let limited = limited.clone();
                    thread::spawn(move || limited.send(me))
                })
                .into();
            limited.receive();
            limited.receive();
            senders.into_iter().for_each(|sender| sender.join().unwrap());
            assert_eq!(limited.quota.close(), None, "nobody queues any more");
        });
    }
}

#[test]
fn mailbox_a_late_sender_gets_its_message_back_or_it_is_dropped_at_the_end() {
    model(|| {
        let arrivals = Arc::new(Arrivals::new());
        arrivals.open(0);
        let message = Arc::new(());
        let (late, mine) = (arrivals.clone(), message.clone());
        let sender = thread::spawn(move || late.push(0, mine.into()).is_ok());
        let mut inbox = Inbox::new();
        inbox.close(&arrivals);
        let (dropped, _) = inbox.drop_some(u64::MAX);
        arrivals.open(1);
        let accepted = sender.join().unwrap();
        assert_eq!(u64::from(accepted), dropped);
        assert!(inbox.receive(&arrivals, 1, |_| true).is_none());
        assert_eq!(Arc::strong_count(&message), 1);
    });
}

/// Wakes by setting a process's notification; a process that parks waits for it with yields.
struct Bells(Vec<AtomicUsize>);

impl Wake for Bells {
    fn wake(&self, pid: Pid) -> bool {
        self.0[pid.as_u64() as usize].fetch_add(1, loom::sync::atomic::Ordering::AcqRel);
        true
    }
}

impl Bells {
    fn new() -> Arc<Self> {
        Arc::new(Self((0..3).map(|_| AtomicUsize::new(0)).collect()))
    }
    fn rings(&self, pid: Pid) -> usize {
        self.0[pid.as_u64() as usize].load(loom::sync::atomic::Ordering::Acquire)
    }
}

#[test]
fn channel_a_registered_receiver_is_woken_or_sees_the_message() {
    model(|| {
        let bells = Bells::new();
        let channel = Channel::new(0);
        channel.add_holder();
        let (other, their_bells) = (channel.clone(), bells.clone());
        let sender = thread::spawn(move || other.try_send(&*their_bells, 5).unwrap());
        let me = Pid::from_u64(0);
        let mut waiting = Waiting::default();
        let first = channel.receive_or_register(&*bells, me, Wait::Forever, &mut waiting);
        sender.join().unwrap();
        match first {
            Ok(5) => {}
            Err(TryReceive::Empty) => {
                assert_eq!(bells.rings(me), 1, "the sender saw the one who waits");
                let second = channel.receive_or_register(&*bells, me, Wait::Forever, &mut waiting);
                assert_eq!(second, Ok(5));
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn channel_a_waiting_sender_is_woken_or_sees_the_room() {
    model(|| {
        let bells = Bells::new();
        let channel = Channel::new(1);
        channel.add_holder();
        channel.try_send(&*bells, 1).unwrap();
        let (other, their_bells) = (channel.clone(), bells.clone());
        let receiver = thread::spawn(move || other.try_receive(&*their_bells).unwrap());
        let me = Pid::from_u64(0);
        let mut waiting = Waiting::default();
        let first = channel.send_or_register(&*bells, me, Wait::Forever, &mut waiting, 2);
        assert_eq!(receiver.join().unwrap(), 1);
        if first.is_err() {
            assert_eq!(first, Err(TrySend::Full(2)));
            assert_eq!(bells.rings(me), 1);
            let second = channel.send_or_register(&*bells, me, Wait::Forever, &mut waiting, 2);
            assert_eq!(second, Ok(()));
        }
        assert_eq!(channel.try_receive(&*bells), Ok(2));
    });
}

#[test]
fn channel_all_blocked_receivers_learn_that_it_is_closed() {
    model(|| {
        let bells = Bells::new();
        let channel: Channel<u32> = Channel::new(0);
        channel.add_holder();
        let wait = |channel: Channel<u32>, bells: Arc<Bells>, n: u64| {
            let me = Pid::from_u64(n);
            let mut waiting = Waiting::default();
            let answer = channel.receive_or_register(&*bells, me, Wait::Forever, &mut waiting);
            (answer, waiting)
        };
        let (other, their_bells) = (channel.clone(), bells.clone());
        let thread = thread::spawn(move || wait(other, their_bells, 1).0);
        let mine = wait(channel.clone(), bells.clone(), 0).0;
        let theirs = thread.join().unwrap();
        assert!(channel.is_closed());
        // Whoever came first was registered and then rung; the other one was told at once, or rung
        // as well.
        for (n, answer) in [(0, mine), (1, theirs)] {
            let told = answer == Err(TryReceive::Closed);
            assert!(told || bells.rings(Pid::from_u64(n)) >= 1);
        }
    });
}

/// Here whoever closes a channel wakes one of those who wait; the other depends on that one.
#[test]
fn channel_all_who_wait_when_it_closes_are_woken_one_by_the_other() {
    for gives_up in [false, true] {
        model(move || {
            let bells = Bells::new();
            let channel: Channel<u32> = Channel::new(0);
            channel.add_holder();
            let (mut a, mut b) = (Waiting::default(), Waiting::default());
            let (first, second) = (Pid::from_u64(0), Pid::from_u64(1));
            let limited = Wait::Limited;
            assert!(channel.receive_or_register(&*bells, first, limited, &mut a).is_err());
            assert!(channel.receive_or_register(&*bells, second, limited, &mut b).is_err());
            let (other, their_bells) = (channel.clone(), bells.clone());
            let closer = thread::spawn(move || other.close(&*their_bells));
            // Before it is woken, or after: it may have a timer.
            if gives_up {
                channel.unregister(&*bells, &mut a);
            } else {
                let again = channel.receive_or_register(&*bells, first, limited, &mut a);
                assert!(again.is_err());
            }
            closer.join().unwrap();
            if bells.rings(second) == 0 {
                // Then the first one has the ring that the second depends on.
                assert_eq!(bells.rings(first), 1);
                assert!(!gives_up, "who gives up passes it on");
                let told = channel.receive_or_register(&*bells, first, limited, &mut a);
                assert_eq!(told, Err(TryReceive::Closed));
            }
            assert_eq!(bells.rings(second), 1);
            let told = channel.receive_or_register(&*bells, second, limited, &mut b);
            assert_eq!(told, Err(TryReceive::Closed));
        });
    }
}

#[test]
fn channel_a_waiter_that_gives_up_passes_the_message_on() {
    model(|| {
        let bells = Bells::new();
        let channel = Channel::new(0);
        channel.add_transit();
        let (mut a, mut b) = (Waiting::default(), Waiting::default());
        let (first, second) = (Pid::from_u64(0), Pid::from_u64(1));
        let limited = Wait::Limited;
        assert!(channel.receive_or_register(&*bells, first, limited, &mut a).is_err());
        assert!(channel.receive_or_register(&*bells, second, limited, &mut b).is_err());
        let (other, their_bells) = (channel.clone(), bells.clone());
        let sender = thread::spawn(move || other.try_send(&*their_bells, 7).unwrap());
        channel.unregister(&*bells, &mut a);
        sender.join().unwrap();
        assert_eq!(bells.rings(second), 1, "whoever was chosen, the one who still waits is rung");
        assert_eq!(channel.receive_or_register(&*bells, second, limited, &mut b), Ok(7));
    });
}

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

/// The last time that is asked for: without a limit.
const NEVER: u64 = u64::MAX;

#[test]
fn alarm_news_wake_a_sleeper_that_means_to_sleep_longer() {
    model(|| {
        let alarm = Arc::new(Alarm::new());
        let earliest = Arc::new(AtomicU64::new(NEVER));
        let setters: Vec<_> = [7, 5]
            .map(|time| {
                let (alarm, earliest) = (alarm.clone(), earliest.clone());
                thread::spawn(move || {
                    earliest.fetch_min(time, Relaxed);
                    alarm.rouse_for(time);
                })
            })
            .into();
        // Until it knows of the earliest: a lost wake-up shows as a deadlock, as there is no limit.
        loop {
            let until = earliest.load(Relaxed);
            if until == 5 {
                break;
            }
            alarm.sleep(until, None, || earliest.load(Relaxed) >= until);
        }
        setters.into_iter().for_each(|setter| setter.join().unwrap());
    });
}

#[test]
fn alarm_each_request_is_followed_by_a_look_that_sees_what_it_is_about() {
    model(|| {
        let alarm = Arc::new(Alarm::new());
        let work = Arc::new(AtomicUsize::new(0));
        let askers: Vec<_> = (0..2)
            .map(|_| {
                let (alarm, work) = (alarm.clone(), work.clone());
                thread::spawn(move || {
                    work.fetch_add(1, Relaxed);
                    alarm.ask();
                })
            })
            .collect();
        let mut done = 0;
        while done < 2 {
            if alarm.take_request() {
                // It may not see all at once, but then somebody asks again.
                done += work.swap(0, Relaxed);
            }
            if done < 2 {
                alarm.sleep(NEVER, None, || !alarm.is_asked());
            }
        }
        askers.into_iter().for_each(|asker| asker.join().unwrap());
    });
}

#[test]
fn alarm_a_sound_sleeper_is_disturbed_by_news_that_have_no_fence() {
    model(|| {
        let alarm = Arc::new(Alarm::new());
        let news = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let bearers: Vec<_> = (0..2)
            .map(|id| {
                let (alarm, news) = (alarm.clone(), news.clone());
                thread::spawn(move || {
                    news[id].store(1, Relaxed);
                    alarm.stir();
                })
            })
            .collect();
        let barrier = Barrier::new().expect("loom has fences");
        let look = || news.iter().map(|news| news.load(Relaxed)).sum();
        // A lost disturbance shows as a deadlock.
        let mut seen: usize = look();
        while seen < 2 {
            alarm.sleep_soundly(NEVER, None, &barrier, || look() == seen);
            seen = look();
        }
        bearers.into_iter().for_each(|bearer| bearer.join().unwrap());
    });
}

#[test]
fn beat_a_long_turn_is_claimed_once_and_the_next_one_is_left_alone() {
    model(|| {
        let beat = Arc::new(Beat::new());
        let header = std::ptr::NonNull::<u64>::dangling().cast();
        beat.begin(header, true, false);
        let claimers: Vec<_> = (0..2)
            .map(|_| {
                let beat = beat.clone();
                thread::spawn(move || usize::from(beat.claim()))
            })
            .collect();
        beat.end();
        beat.begin(header, false, false);
        // Seen by who knows that the first turn is over.
        assert!(!beat.claim(), "the second turn is not long");
        let claims: usize = claimers.into_iter().map(|claimer| claimer.join().unwrap()).sum();
        assert!(claims <= 1, "{claims} claims of one turn");
    });
}

#[test]
fn beat_a_mark_that_comes_too_late_ends_no_later_turn() {
    model(|| {
        let beat = Arc::new(Beat::new());
        let header = std::ptr::NonNull::<u64>::dangling().cast();
        beat.begin(header, false, false);
        let ticks = beat.clone();
        let tick = thread::spawn(move || {
            let turn = ticks.turn();
            ticks.mark(turn);
        });
        beat.end();
        beat.begin(header, false, false);
        tick.join().unwrap();
        // If it saw the second turn its mark is right, and good for one claim.
        let claims = usize::from(beat.claim()) + usize::from(beat.claim());
        assert!(claims <= 1);
        beat.end();
        assert!(!beat.claim(), "nobody runs");
        beat.begin(header, false, false);
        assert!(!beat.claim(), "a mark of an earlier turn");
    });
}
