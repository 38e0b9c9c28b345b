//! What processes may rely on in channels: order, bounds, closing, and that nobody waits for ever
//! in vain.

mod support;

use lunatic_scheduler::{
    End, Pid, Process,
    channel::{Channel, TryReceive, TrySend, Wait, Waiting, Wake},
};
use std::{
    cell::RefCell,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};
use support::*;

/// Receives as a host function would: poll, park, poll.
fn take(p: Process<Native>, channel: &Channel<u64>) -> Result<u64, TryReceive> {
    let mut waiting = Waiting::default();
    loop {
        let answer = p.on_worker(|w, _| match channel.try_receive(w) {
            Err(TryReceive::Empty) => {
                channel.receive_or_register(w, p.pid(), Wait::Forever, &mut waiting)
            }
            answer => answer,
        });
        match answer {
            Err(TryReceive::Empty) => p.park(),
            answer => return answer,
        }
    }
}

fn put(p: Process<Native>, channel: &Channel<u64>, message: u64) -> Result<(), TrySend<u64>> {
    let mut waiting = Waiting::default();
    let mut message = message;
    loop {
        match p.on_worker(|w, _| {
            channel.send_or_register(w, p.pid(), Wait::Forever, &mut waiting, message)
        }) {
            Err(TrySend::Full(back)) => message = back,
            answer => return answer,
        }
        p.park();
    }
}

fn leave(p: Process<Native>, channel: &Channel<u64>) {
    p.on_worker(|w, _| assert!(!channel.remove_holder(w), "nothing is left"));
}

fn many_to_many(capacity: usize) {
    const SENDERS: u64 = 4;
    const RECEIVERS: u64 = 3;
    const EACH: u64 = 5000;
    let runtime = runtime(2);
    let channel = Channel::new(capacity);
    let (sender, got) = mpsc::channel();
    let mut ends = Vec::new();
    for n in 0..SENDERS + RECEIVERS {
        let (channel, sender) = (channel.clone(), sender.clone());
        channel.add_holder();
        let body = move |p: Process<Native>| {
            if n < SENDERS {
                (0..EACH).for_each(|m| put(p, &channel, n * EACH + m).unwrap());
            } else {
                let mut last = [None; SENDERS as usize];
                while let Ok(m) = take(p, &channel) {
                    let from = &mut last[(m / EACH) as usize];
                    assert!(*from < Some(m), "in order for each sender");
                    *from = Some(m);
                    sender.send(m).unwrap();
                }
            }
            leave(p, &channel);
        };
        ends.push(spawn(runtime.handle(), body).1);
    }
    // The test itself held it; now only the processes do. The receivers end when nobody can send
    // any more.
    assert!(!channel.remove_holder(runtime.handle()));
    drop(sender);
    for end in ends {
        assert_eq!(end.recv().unwrap(), End::Returned);
    }
    let mut got: Vec<u64> = got.iter().collect();
    got.sort_unstable();
    assert!(got.into_iter().eq(0..SENDERS * EACH), "each message once");
    assert!(channel.is_closed());
}

#[test]
fn each_message_is_received_once_and_the_receivers_end_unbounded() {
    many_to_many(0);
}

#[test]
fn each_message_is_received_once_and_the_receivers_end_bounded() {
    many_to_many(1);
    many_to_many(16);
}

#[test]
fn a_bound_is_a_bound() {
    let runtime = runtime(1);
    let waker = runtime.handle();
    let channel = Channel::new(2);
    assert_eq!(channel.try_send(waker, 1), Ok(()));
    assert_eq!(channel.try_send(waker, 2), Ok(()));
    assert_eq!(channel.try_send(waker, 3), Err(TrySend::Full(3)));
    assert_eq!(channel.try_receive(waker), Ok(1));
    assert_eq!(channel.try_send(waker, 3), Ok(()));
    assert_eq!((channel.try_receive(waker), channel.try_receive(waker)), (Ok(2), Ok(3)));
    assert_eq!(channel.try_receive(waker), Err(TryReceive::Empty));
}

#[test]
fn the_last_holder_closes_and_is_told_what_is_left() {
    let runtime = runtime(1);
    let waker = runtime.handle();
    let channel = Channel::new(0);
    let witness = Arc::new(());
    channel.try_send(waker, witness.clone()).unwrap();
    channel.add_transit();
    assert!(!channel.remove_holder(waker), "it is on its way to somebody");
    assert!(!channel.is_closed());
    assert!(channel.remove_transit(waker), "nobody will receive what is left");
    assert!(channel.is_closed());
    assert_eq!(Arc::strong_count(&witness), 2);
    assert!(channel.try_receive(waker).is_ok());
    assert_eq!(Arc::strong_count(&witness), 1);
    assert!(matches!(channel.try_send(waker, witness), Err(TrySend::Closed(_))));
    assert_eq!(channel.try_receive(waker).unwrap_err(), TryReceive::Closed);
}

#[test]
fn a_receive_that_nobody_can_satisfy_ends() {
    let runtime = runtime(2);
    for receivers in 1..4 {
        let channel = Channel::new(0);
        let ends: Vec<_> = (0..receivers)
            .map(|_| {
                let channel = channel.clone();
                channel.add_holder();
                spawn(runtime.handle(), move |p| {
                    assert_eq!(take(p, &channel), Err(TryReceive::Closed));
                })
                .1
            })
            .collect();
        assert!(!channel.remove_holder(runtime.handle()));
        for end in ends {
            assert_eq!(end.recv().unwrap(), End::Returned);
        }
    }
}

#[test]
fn a_send_that_nobody_can_receive_ends() {
    let runtime = runtime(1);
    let channel = Channel::new(1);
    let sole = channel.clone();
    let how = run(&runtime, move |p| {
        assert_eq!(put(p, &sole, 1), Ok(()));
        assert_eq!(put(p, &sole, 2), Err(TrySend::Closed(2)));
        assert_eq!(take(p, &sole), Ok(1));
        assert_eq!(take(p, &sole), Err(TryReceive::Closed));
    });
    assert_eq!(how, End::Returned);
}

#[test]
fn a_transit_reference_or_a_limited_wait_keeps_hope() {
    let runtime = runtime(1);
    let channel = Channel::new(0);
    channel.add_transit();
    let sole = channel.clone();
    let (pid, ends) = spawn(runtime.handle(), move |p| {
        assert_eq!(take(p, &sole), Ok(5));
        // Alone now, but a timer will end this wait: not closed, empty.
        let mut waiting = Waiting::default();
        let deadline = Instant::now() + Duration::from_millis(1);
        p.on_worker(|w, _| w.set_timer(deadline));
        while Instant::now() < deadline {
            let answer = p.on_worker(|w, _| {
                sole.receive_or_register(w, p.pid(), Wait::Limited, &mut waiting)
            });
            assert_eq!(answer, Err(TryReceive::Empty));
            p.park();
        }
        p.on_worker(|w, _| sole.unregister(w, &mut waiting));
        assert!(!sole.is_closed());
    });
    assert!(runtime.handle().exists(pid));
    channel.try_send(runtime.handle(), 5).unwrap();
    assert!(!channel.remove_transit(runtime.handle()));
    assert_eq!(ends.recv().unwrap(), End::Returned);
}

#[test]
fn a_chosen_waiter_that_does_not_come_passes_it_on() {
    let runtime = runtime(1);
    let handle = runtime.handle();
    let channel = Channel::new(0);
    let (parked, is_parked) = mpsc::channel();
    let mut waiters = Vec::new();
    for _ in 0..2 {
        channel.add_holder();
        let (channel, parked) = (channel.clone(), parked.clone());
        let (sender, ends) = mpsc::channel();
        let waiting = Arc::new(std::sync::Mutex::new(Waiting::default()));
        let (last_will, left) = (channel.clone(), waiting.clone());
        let on_end: OnEnd = Box::new(move |worker, _, how| {
            last_will.unregister(worker, &mut left.lock().unwrap());
            assert!(!last_will.remove_holder(worker));
            sender.send(how).unwrap();
        });
        let body = move |p: Process<Native>| {
            loop {
                let answer = p.on_worker(|w, _| {
                    let waiting = &mut *waiting.lock().unwrap();
                    channel.receive_or_register(w, p.pid(), Wait::Forever, waiting)
                });
                match answer {
                    Ok(m) => return assert_eq!(m, 9),
                    Err(TryReceive::Closed) => panic!("it was open"),
                    Err(TryReceive::Empty) => {
                        let _ = parked.send(());
                        p.park();
                    }
                }
            }
        };
        let pid = handle.spawn(0, None, native(body, Some(on_end))).unwrap();
        is_parked.recv().unwrap();
        waiters.push((pid, ends));
    }
    let (first, second) = (waiters[0].0, &waiters[1].1);
    // On the only worker: choose the first, and kill it before it can run.
    let sender = channel.clone();
    let how = run(&runtime, move |p| {
        p.on_worker(|w, _| {
            sender.try_send(w, 9).unwrap();
            assert!(w.kill(first));
        });
    });
    assert_eq!(how, End::Returned);
    assert_eq!(waiters[0].1.recv().unwrap(), End::Killed);
    assert_eq!(second.recv().unwrap(), End::Returned);
    assert!(!channel.remove_holder(handle));
}

#[test]
fn messages_of_its_own_that_carry_a_channel_do_not_keep_it() {
    let runtime = runtime(1);
    let waker = runtime.handle();
    let send_itself = |channel: &Channel<i32>| {
        channel.add_transit();
        channel.add_inside(1);
        channel.try_send(waker, 1).expect("there is room");
    };
    let alone = Channel::new(0);
    send_itself(&alone);
    send_itself(&alone);
    assert!(alone.remove_holder(waker), "nobody will receive what is left");
    assert!(alone.is_closed());
    for _ in 0..2 {
        assert!(alone.try_receive(waker).is_ok());
        assert!(!alone.remove_transit(waker), "it has been told");
    }
    // One that is on its way elsewhere keeps it.
    let travels = Channel::new(0);
    send_itself(&travels);
    travels.add_transit();
    assert!(!travels.remove_holder(waker));
    travels.add_holder();
    assert!(!travels.remove_transit(waker));
    assert_eq!(travels.try_receive(waker), Ok(1));
    travels.remove_inside(1);
    // The one that was received is outside now.
    assert!(!travels.remove_holder(waker));
    assert!(!travels.is_closed());
    assert!(!travels.remove_transit(waker), "nothing is left");
    assert!(travels.is_closed());
}

#[test]
fn a_waker_may_be_anything() {
    struct Nobody;
    impl Wake for Nobody {
        fn wake(&self, _: lunatic_scheduler::Pid) -> bool {
            false
        }
    }
    let channel = Channel::new(0);
    let mut waiting = Waiting::default();
    channel.add_transit();
    let pid = lunatic_scheduler::Pid::from_u64(1);
    let answer = channel.receive_or_register(&Nobody, pid, Wait::Forever, &mut waiting);
    assert_eq!(answer, Err(TryReceive::Empty));
    assert_eq!(channel.try_send(&Nobody, 1), Ok(()), "the chosen one is gone: nobody is woken");
    assert_eq!(channel.len(), 1);
    channel.unregister(&Nobody, &mut waiting);
    channel.unregister(&Nobody, &mut waiting);
    assert_eq!(channel.try_receive(&Nobody), Ok(1));
}

/// Notes whom it wakes.
#[derive(Default)]
struct Noting(RefCell<Vec<Pid>>);

impl Wake for Noting {
    fn wake(&self, pid: Pid) -> bool {
        self.0.borrow_mut().push(pid);
        true
    }
}

#[test]
fn who_closes_a_channel_wakes_some_and_each_of_those_one_more() {
    const WAITERS: u64 = 100_000;
    /// More than that in one go would be work that others have to wait for.
    const ONE_GO: usize = 1_000;
    let channel: Channel<u64> = Channel::new(1);
    let noting = Noting::default();
    assert_eq!(channel.try_send(&noting, 0), Ok(()));
    let enter = |n| {
        let mut waiting = Waiting::default();
        let pid = Pid::from_u64(n);
        let full = channel.send_or_register(&noting, pid, Wait::Limited, &mut waiting, n);
        assert_eq!(full, Err(TrySend::Full(n)));
        waiting
    };
    let mut waiting: Vec<Waiting> = (0..WAITERS).map(enter).collect();
    channel.close(&noting);
    let mut woken = 0;
    let in_one_go = noting.0.borrow().len();
    assert!((1..=ONE_GO).contains(&in_one_go), "{in_one_go}");
    while woken < noting.0.borrow().len() {
        let before = noting.0.borrow().len();
        let pid = noting.0.borrow()[woken];
        let waiting = &mut waiting[pid.as_u64() as usize];
        // Each third has had enough, or ends.
        if woken % 3 == 0 {
            channel.unregister(&noting, waiting);
        } else {
            let told = channel.send_or_register(&noting, pid, Wait::Limited, waiting, 7);
            assert_eq!(told, Err(TrySend::Closed(7)));
        }
        assert!(noting.0.borrow().len() - before <= 1, "each wakes one more");
        woken += 1;
    }
    let mut pids = noting.0.into_inner();
    pids.sort_unstable_by_key(|pid| pid.as_u64());
    pids.dedup();
    assert_eq!(pids.len() as u64, WAITERS, "all were woken");
}
