//! Channels: many senders, many receivers, bounded or not; a lock only for those who wait.
//!
//! Parties: processes that send and receive, through calls on a worker's stack that never block;
//! whoever holds or forwards a channel.
//!
//! Fields: `queue` holds the messages and `len` the room taken (bounded channels only; taken before
//! the push and given back after the pop). `book`, under its lock, says who waits, how many
//! processes hold the channel and how many messages in transit carry it. `waiting_receivers` and
//! `waiting_senders` mirror the lengths of the book's lists, written under the lock, so that who
//! finds nobody waiting never takes it. `closed` only ever becomes true.
//!
//! Protocol of a receiver: `try_receive`; if empty, `receive_or_register`, which tries once more
//! and otherwise enters the book, in one step under the lock; if registered, park, and call
//! `receive_or_register` again whenever woken; whoever gives up, for whatever reason (a timeout,
//! its death), calls `unregister`. Senders likewise. So a process that stands in the book has taken
//! nothing since it entered, which is what makes the count of the blocked right (below).
//!
//! No message is stranded. A sender pushes, fence, looks whether a receiver waits; a receiver
//! enters the book, fence, looks whether the queue is empty: one of them sees the other. A sender
//! that sees a waiter takes it out of the book and wakes it; if that one no longer exists it takes
//! the next. A waiter that was taken out and does not come for the message calls `unregister`,
//! which wakes another while there are messages left. The same holds for room and senders.
//!
//! Nobody waits for ever in vain. Each *process* that has the channel counts once as holder, each
//! message in flight that carries it counts as transit. If the queue is empty, there is no transit,
//! and every holder stands in the book as a receiver that waits without a limit, nobody can ever
//! send: the channel closes, and all of them learn it. Likewise if it is full and all are senders.
//! It also closes when the last holder and transit are gone; whoever was the last is told whether
//! something is left in it, which may take long to drop. Transits in its own queue do not count for that:
//! who sends and receives such messages says so ([`Channel::add_inside`]), as a holder, which it is until it
//! has done so. (Channels in each other's queues are not found out.)
//!
//! Those who wait when it closes may be a million. Whoever closes it wakes some; the others stay in the
//! book, and each who learns that it is closed, or who was woken and gives up, wakes one more. So all
//! are woken if each does what the protocol of a receiver says, and nobody wakes many. Nobody enters
//! the book of a closed channel.
//!
//! A `Wait::Forever` must mean it: only the channel or death may end such a wait.

mod book;
mod queue;

use crate::{
    pid::Pid,
    sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Mutex, Ordering, fence},
};
use book::{Book, Side, Ticket};
use queue::Queue;

/// Those who are woken by whoever closes a channel. By feel: some microseconds.
pub(crate) const TOLD_IN_ONE_GO: usize = if cfg!(loom) { 1 } else { 256 };

/// Who can wake processes: a [`Worker`](crate::Worker) or a [`Handle`](crate::Handle).
pub trait Wake {
    /// Makes a process look around once more; whether there is such a process.
    fn wake(&self, pid: Pid) -> bool;
}

/// A channel; clones are the same one. Cloning counts nothing: see [`Channel::add_holder`].
pub struct Channel<M>(Arc<Inner<M>>);

impl<M> Clone for Channel<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<M> {
    queue: Queue<M>,
    /// Zero: unbounded.
    capacity: usize,
    /// Default ordering `AcqRel`: who takes the room given back comes after who gave it.
    len: AtomicUsize,
    /// Default ordering: `Release` under the lock, `Acquire` by readers: who sees it closed sees
    /// all that was sent before.
    closed: AtomicBool,
    /// Both: `Relaxed` under the lock; the fences order them against the queue.
    waiting_receivers: AtomicUsize,
    waiting_senders: AtomicUsize,
    book: Mutex<Book>,
    /// For the user: see [`Channel::add_bytes`] and [`Channel::mark`]. `Relaxed`.
    bytes: AtomicU64,
    marked: AtomicBool,
}

/// Why a message was not sent; it comes back.
#[derive(Debug, PartialEq, Eq)]
pub enum TrySend<M> {
    /// The channel holds as many as it may.
    Full(M),
    /// Nobody will ever receive.
    Closed(M),
}

/// Why nothing was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryReceive {
    /// Nothing is there now.
    Empty,
    /// Nothing is there and nothing will ever come.
    Closed,
}

/// How long a process is ready to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until the channel answers: the process counts as blocked on it.
    Forever,
    /// Something else may end the wait: a timer, another channel, a message.
    Limited,
}

/// A process's place in a channel's book. One for each wait; kept by the process, for `ended` too.
#[derive(Debug, Default)]
pub struct Waiting(Option<Ticket>);

impl<M> std::fmt::Debug for Channel<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Channel({})", self.id())
    }
}

/// Whom to wake once the lock is released.
enum Chosen {
    Nobody,
    One(Side),
    /// Some of those who wait: it is closed.
    Some,
}

impl<M> Channel<M> {
    /// A channel for `capacity` messages (0: any number), with one holder: the process that asked
    /// for it.
    pub fn new(capacity: usize) -> Self {
        Self(Arc::new(Inner {
            queue: Queue::new(),
            capacity,
            len: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            waiting_receivers: AtomicUsize::new(0),
            waiting_senders: AtomicUsize::new(0),
            book: Mutex::new(Book::with_one_holder()),
            bytes: AtomicU64::new(0),
            marked: AtomicBool::new(false),
        }))
    }

    /// Sends without waiting. For a process that does not stand in the book.
    pub fn try_send(&self, waker: &impl Wake, message: M) -> Result<(), TrySend<M>> {
        match self.0.push(message) {
            Ok(()) => self.0.wake_for(Side::Receivers, waker),
            Err(TrySend::Full(message)) => return Err(TrySend::Full(message)),
            Err(closed) => {
                self.0.tell(1, waker);
                return Err(closed);
            }
        }
        Ok(())
    }

    /// Receives without waiting. For a process that does not stand in the book.
    pub fn try_receive(&self, waker: &impl Wake) -> Result<M, TryReceive> {
        let result = self.0.pop();
        match result {
            Ok(_) => self.0.wake_for(Side::Senders, waker),
            Err(TryReceive::Empty) => {}
            Err(TryReceive::Closed) => self.0.tell(1, waker),
        }
        result
    }

    /// Sends, or enters the book: `Full` means park, and call again when woken.
    pub fn send_or_register(
        &self,
        waker: &impl Wake,
        pid: Pid,
        wait: Wait,
        waiting: &mut Waiting,
        message: M,
    ) -> Result<(), TrySend<M>> {
        let inner = &*self.0;
        let mut book = inner.book.lock();
        inner.withdraw(&mut book, waiting);
        let mut result = inner.push(message);
        let mut chosen = Chosen::Nobody;
        if let Err(TrySend::Full(message)) = result {
            waiting.0 = Some(inner.enter(&mut book, Side::Senders, pid, wait));
            // SeqCst fence: the book's entry before the look at the room; partner: the fence in
            // `wake_for`.
            fence(Ordering::SeqCst);
            result = inner.push(message);
            match result {
                Err(TrySend::Full(_)) => chosen = inner.settle(&book),
                _ => inner.withdraw(&mut book, waiting),
            }
        }
        drop(book);
        inner.wake(chosen, waker);
        if result.is_ok() {
            inner.wake_for(Side::Receivers, waker);
        }
        inner.pass_on(waker);
        result
    }

    /// Receives, or enters the book: `Empty` means park, and call again when woken.
    pub fn receive_or_register(
        &self,
        waker: &impl Wake,
        pid: Pid,
        wait: Wait,
        waiting: &mut Waiting,
    ) -> Result<M, TryReceive> {
        let inner = &*self.0;
        let mut book = inner.book.lock();
        inner.withdraw(&mut book, waiting);
        let mut result = inner.pop();
        let mut chosen = Chosen::Nobody;
        if matches!(result, Err(TryReceive::Empty)) {
            waiting.0 = Some(inner.enter(&mut book, Side::Receivers, pid, wait));
            // SeqCst fence: the book's entry before the look at the queue; partner: the fence in
            // `wake_for`.
            fence(Ordering::SeqCst);
            result = inner.pop();
            match result {
                Err(TryReceive::Empty) => chosen = inner.settle(&book),
                _ => inner.withdraw(&mut book, waiting),
            }
        }
        drop(book);
        inner.wake(chosen, waker);
        if result.is_ok() {
            inner.wake_for(Side::Senders, waker);
        }
        inner.pass_on(waker);
        result
    }

    /// Gives up a wait, also one that has already been answered: then the answer goes to another.
    /// Idempotent.
    pub fn unregister(&self, waker: &impl Wake, waiting: &mut Waiting) {
        let inner = &*self.0;
        let Some(side) = waiting.0.as_ref().map(Ticket::side) else { return };
        inner.withdraw(&mut inner.book.lock(), waiting);
        let more = match side {
            Side::Receivers => !inner.queue.is_empty(),
            Side::Senders => !inner.is_full(),
        };
        if more {
            inner.wake_for(side, waker);
        }
        inner.pass_on(waker);
    }

    /// One more process has the channel.
    pub fn add_holder(&self) {
        self.0.book.lock().holders += 1;
    }

    /// A process has it no longer. It must not stand in the book. Whether messages are left that
    /// nobody can receive: the caller takes them out, however many they are.
    #[must_use]
    pub fn remove_holder(&self, waker: &impl Wake) -> bool {
        self.change(waker, |book| &mut book.holders)
    }

    /// One more message in flight carries the channel.
    pub fn add_transit(&self) {
        self.0.book.lock().transit += 1;
    }

    /// Such a message was received (count the receiver as holder first) or dropped. Whether messages
    /// are left, as above.
    #[must_use]
    pub fn remove_transit(&self, waker: &impl Wake) -> bool {
        self.change(waker, |book| &mut book.transit)
    }

    /// So many transits of this channel are in a message that is about to be sent into it. For holders.
    pub fn add_inside(&self, transits: usize) {
        self.0.book.lock().inside += transits;
    }

    /// They are no longer in it, or the message was not sent. Before they are given up.
    pub fn remove_inside(&self, transits: usize) {
        self.0.book.lock().inside -= transits;
    }

    fn change(&self, waker: &impl Wake, count: impl FnOnce(&mut Book) -> &mut usize) -> bool {
        let inner = &*self.0;
        let mut book = inner.book.lock();
        let count = count(&mut book);
        *count = count.checked_sub(1).expect("a reference to a channel is given back once");
        let abandoned = book.is_out_of_reach() && !std::mem::replace(&mut book.abandoned, true);
        let chosen = inner.settle(&book);
        drop(book);
        inner.wake(chosen, waker);
        abandoned && !inner.queue.is_empty()
    }

    /// Closes it for good: nobody can send any more, and who waits learns it. For those who know
    /// better than the book who could still use it.
    pub fn close(&self, waker: &impl Wake) {
        let inner = &*self.0;
        let book = inner.book.lock();
        // Only written under this lock; `Release` as in `settle`.
        inner.closed.store(true, Ordering::Release);
        drop(book);
        inner.wake(Chosen::Some, waker);
    }

    /// Whether it is closed: what is still in it can be received, nothing can be sent.
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    /// Messages in it; approximate while others use it.
    pub fn len(&self) -> usize {
        self.0.queue.len()
    }

    /// Notes that the messages in it take so much more, before they are sent.
    pub fn add_bytes(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The same for less, after they were received.
    pub fn remove_bytes(&self, bytes: u64) {
        self.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// What the messages in it take, as far as it was noted.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Marks it, or takes the mark away; whether that is new.
    pub fn mark(&self, marked: bool) -> bool {
        self.0.marked.swap(marked, Ordering::Relaxed) != marked
    }

    /// Whether it holds no message at the moment.
    pub fn is_empty(&self) -> bool {
        self.0.queue.is_empty()
    }

    /// How many messages it may hold; 0: any number.
    pub fn capacity(&self) -> usize {
        self.0.capacity
    }

    /// A number that is the same for clones and different for other living channels.
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

impl<M> Inner<M> {
    fn push(&self, message: M) -> Result<(), TrySend<M>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(TrySend::Closed(message));
        }
        if self.capacity != 0 && !self.take_room() {
            return Err(TrySend::Full(message));
        }
        self.queue.push(message);
        Ok(())
    }

    fn take_room(&self) -> bool {
        self.len
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |len| {
                (len < self.capacity).then_some(len + 1)
            })
            .is_ok()
    }

    fn is_full(&self) -> bool {
        self.capacity != 0 && self.len.load(Ordering::Acquire) >= self.capacity
    }

    fn pop(&self) -> Result<M, TryReceive> {
        let message = match self.queue.pop() {
            Some(message) => message,
            None if self.closed.load(Ordering::Acquire) => {
                // Once more: what was sent before the closing is visible now.
                self.queue.pop().ok_or(TryReceive::Closed)?
            }
            None => return Err(TryReceive::Empty),
        };
        if self.capacity != 0 {
            self.len.fetch_sub(1, Ordering::AcqRel);
        }
        Ok(message)
    }

    fn enter(&self, book: &mut Book, side: Side, pid: Pid, wait: Wait) -> Ticket {
        let ticket = book.enter(side, pid, wait == Wait::Forever);
        self.mirror(book);
        ticket
    }

    fn withdraw(&self, book: &mut Book, waiting: &mut Waiting) {
        if let Some(ticket) = waiting.0.take() {
            book.withdraw(ticket);
            self.mirror(book);
        }
    }

    fn mirror(&self, book: &Book) {
        self.waiting_receivers.store(book.waiting(Side::Receivers), Ordering::Relaxed);
        self.waiting_senders.store(book.waiting(Side::Senders), Ordering::Relaxed);
    }

    /// Something has become available for a side: wakes one who waits there.
    fn wake_for(&self, side: Side, waker: &impl Wake) {
        let waiting = match side {
            Side::Receivers => &self.waiting_receivers,
            Side::Senders if self.capacity == 0 => return,
            Side::Senders => &self.waiting_senders,
        };
        // SeqCst fence: the push or pop before the look at the book; partners: the fences after
        // `enter`.
        fence(Ordering::SeqCst);
        if waiting.load(Ordering::Relaxed) > 0 {
            self.wake(Chosen::One(side), waker);
        }
    }

    #[cold]
    fn wake(&self, chosen: Chosen, waker: &impl Wake) {
        match chosen {
            Chosen::Nobody => {}
            Chosen::Some => self.tell(TOLD_IN_ONE_GO, waker),
            Chosen::One(side) => drop(self.wake_one(waker, |book| book.choose(side))),
        }
    }

    /// Takes one out of the book and wakes it; one that no longer exists is not counted. Whether there
    /// was one.
    fn wake_one(
        &self,
        waker: &impl Wake,
        mut choose: impl FnMut(&mut Book) -> Option<Pid>,
    ) -> bool {
        loop {
            let mut book = self.book.lock();
            let Some(pid) = choose(&mut book) else { return false };
            self.mirror(&book);
            drop(book);
            if waker.wake(pid) {
                return true;
            }
        }
    }

    /// Who was woken because it is closed, or could have been, sees to it that one more is.
    fn pass_on(&self, waker: &impl Wake) {
        if self.closed.load(Ordering::Acquire) {
            self.tell(1, waker);
        }
    }

    /// It is closed: wakes so many of those who wait.
    fn tell(&self, count: usize, waker: &impl Wake) {
        for _ in 0..count {
            // Relaxed: who has seen that it is closed, or has closed it, sees all who entered before, and
            // none enters after; so it is zero only if all were woken.
            let waiting = self.waiting_receivers.load(Ordering::Relaxed)
                + self.waiting_senders.load(Ordering::Relaxed);
            if waiting == 0 || !self.wake_one(waker, Book::choose_any) {
                return;
            }
        }
    }

    /// After any change of the book: closes the channel if nobody can ever use it, and says whom to
    /// tell.
    fn settle(&self, book: &Book) -> Chosen {
        let stuck = book.is_out_of_reach()
            || book.transit == 0
                && (book.all_blocked(Side::Receivers) && self.queue.is_empty()
                    || book.all_blocked(Side::Senders) && self.is_full());
        if !stuck || self.closed.load(Ordering::Relaxed) {
            return Chosen::Nobody; // Relaxed: only written under this lock
        }
        self.closed.store(true, Ordering::Release);
        Chosen::Some
    }
}
