//! Mailboxes with a limit: those who wait for room.

use crate::{
    loom::{sync::Arc, thread},
    mailbox::UNIT_BYTES,
    model,
    pid::Pid,
    quota::{MailboxLimit, Queue, Quota, Room},
    sync,
};

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
    for (messages, bytes) in [(1, None), (9, Some(3 * UNIT_BYTES as u64))] {
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
