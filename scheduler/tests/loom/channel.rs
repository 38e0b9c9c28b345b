//! Channels: those who wait, and closing.

use crate::{
    channel::{Channel, TryReceive, TrySend, Wait, Waiting, Wake},
    loom::{
        self,
        sync::{Arc, atomic::AtomicUsize},
        thread,
    },
    model,
    pid::Pid,
};

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
