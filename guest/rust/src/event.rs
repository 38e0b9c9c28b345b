//! All that can come into a mailbox: messages, and notices of others' ends.

use crate::abi::{self, Status};
use crate::codec;
use crate::error::Error;
use crate::exit::{read_notice, Notice};
use crate::mailbox::Mailbox;
use crate::process::Process;
use crate::time::milliseconds;
use serde::de::DeserializeOwned;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What [`Mailbox::next`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<M> {
    /// Somebody has sent this.
    Message(M),
    /// A [monitored](Process::monitor) process has ended.
    Ended(Notice),
    /// A [linked](Process::link) process has failed, and this one [survives](crate::survive_links) it.
    LinkFailed(Notice),
    /// Somebody [asks](Process::ask_to_end) this process to end, a supervisor for example: finish, and return.
    AskedToEnd(Process<()>),
}

impl<M: DeserializeOwned> Mailbox<M> {
    /// Takes the next message or notice; waits for one. For processes that monitor others or survive their links.
    ///
    /// ```no_run
    /// use lunatic::{Event, Mailbox};
    ///
    /// match Mailbox::<String>::own().next() {
    ///     Ok(Event::Message(line)) => println!("{line}"),
    ///     Ok(Event::Ended(notice)) => println!("{notice}"),
    ///     other => println!("{other:?}"),
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::Decode`] if a message is no `M`; it is gone then.
    #[track_caller]
    pub fn next(&self) -> Result<Event<M>, Error> {
        next_within(None)
    }

    /// The same; waits for at most `timeout`.
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Decode`].
    #[track_caller]
    pub fn next_timeout(&self, timeout: Duration) -> Result<Event<M>, Error> {
        next_within(Some(timeout))
    }
}

#[track_caller]
fn next_within<M: DeserializeOwned>(timeout: Option<Duration>) -> Result<Event<M>, Error> {
    codec::assert_idle();
    let mut limit = Limit::new(timeout.map_or(abi::FOREVER, milliseconds));
    loop {
        match abi::mailbox_receive(&[], limit.left()) {
            Status::TimedOut => return Err(Error::Timeout(timeout.unwrap_or_default())),
            Status::Done if is_left_over() => limit.begin(),
            Status::Done => return codec::decode().map(Event::Message),
            Status::Other(code @ (abi::LINK_DIED | abi::PROCESS_DIED)) => match read_notice() {
                Err(by) => return Ok(Event::AskedToEnd(by)),
                Ok(notice) if is_of_a_call(notice.tag) => limit.begin(),
                Ok(notice) if code == abi::LINK_DIED => return Ok(Event::LinkFailed(notice)),
                Ok(notice) => return Ok(Event::Ended(notice)),
            },
            Status::Closed => unreachable!("a mailbox does not close"),
            Status::Other(code) => return Err(Error::NotAMessage { code }),
        }
    }
}

/// The time that is left for a wait that may have to begin anew. Reads no clock before it must.
pub(crate) struct Limit {
    timeout_ms: u64,
    deadline: Option<Instant>,
}

impl Limit {
    pub(crate) fn new(timeout_ms: u64) -> Limit {
        Limit { timeout_ms, deadline: None }
    }

    pub(crate) fn left(&self) -> u64 {
        match self.deadline {
            None => self.timeout_ms,
            Some(deadline) => milliseconds(deadline.saturating_duration_since(Instant::now())),
        }
    }

    /// Something else has come: from now on the clock counts.
    pub(crate) fn begin(&mut self) {
        if self.deadline.is_none() && self.timeout_ms != abi::FOREVER {
            self.deadline = Instant::now().checked_add(Duration::from_millis(self.timeout_ms));
        }
    }
}

// ---- what calls leave behind ----

/// Tags of answers to calls, and of the monitors that watch over them.
const CALL_TAGS_BELOW: i64 = i64::MIN / 2;

thread_local! {
    static CALLS: Cell<i64> = const { Cell::new(0) };
    /// A call has given up: its answer may come yet.
    static GAVE_UP: Cell<bool> = const { Cell::new(false) };
    /// The tags of the last calls that have.
    static ABANDONED: RefCell<VecDeque<i64>> = const { RefCell::new(VecDeque::new()) };
}

/// So many late answers are looked for by a process that only calls and never receives. By feel.
const ABANDONED_MAX: usize = 64;

/// A tag for one call.
pub(crate) fn call_tag() -> i64 {
    let number = CALLS.get();
    CALLS.set(number + 1);
    i64::MIN + number
}

/// A call ends without its answer, which may come later and is to be passed over then.
pub(crate) fn give_call_up(tag: i64) {
    GAVE_UP.set(true);
    ABANDONED.with_borrow_mut(|tags| {
        if tags.len() == ABANDONED_MAX {
            tags.pop_front();
        }
        tags.push_back(tag);
    });
}

/// Takes answers of calls that have given up out of the mailbox, where a process that never receives would collect them.
pub(crate) fn drop_late_answers() {
    ABANDONED.with_borrow_mut(|tags| {
        while !tags.is_empty()
            && abi::mailbox_receive(tags.make_contiguous(), 0) != Status::TimedOut
        {
            let late = abi::message_tag();
            tags.retain(|&tag| tag != late);
            codec::discard();
        }
    });
}

fn is_of_a_call(tag: i64) -> bool {
    tag < CALL_TAGS_BELOW
}

/// The scratch message is the answer to a call that has given up.
pub(crate) fn is_left_over() -> bool {
    GAVE_UP.get() && is_of_a_call(abi::message_tag())
}

/// The scratch message, a notice, is about a call that is over.
pub(crate) fn is_left_over_notice() -> bool {
    is_of_a_call(abi::message_tag())
}
