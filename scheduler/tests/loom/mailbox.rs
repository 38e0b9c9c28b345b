//! Mailboxes: arrivals, hand-overs, and what becomes of messages at the end.

use crate::{
    loom::{
        cell::UnsafeCell,
        sync::{
            Arc,
            atomic::{
                AtomicUsize,
                Ordering::{AcqRel, Acquire, Relaxed, Release},
            },
        },
        thread,
    },
    mailbox::{Arrivals, Envelope, Inbox, post},
    model, running,
    state::{Rest, Start, State},
};

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
