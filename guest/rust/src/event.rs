//! All that can come into a mailbox: messages, and notices of others' ends.

use crate::abi::{self, Status};
use crate::codec;
use crate::error::Error;
use crate::exit::{read_notice, Notice};
use crate::mailbox::Mailbox;
use crate::process::Process;
use crate::time::milliseconds;
use serde::de::DeserializeOwned;
use std::cell::RefCell;
use std::hash::{BuildHasher, RandomState};
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
            Status::Done if is_left_over() => {}
            Status::Done => return codec::decode().map(Event::Message),
            Status::Other(code @ (abi::LINK_DIED | abi::PROCESS_DIED)) => match read_notice() {
                Err(by) => return Ok(Event::AskedToEnd(by)),
                Ok(notice) if is_of_a_call(notice.tag) => {}
                Ok(notice) if code == abi::LINK_DIED => return Ok(Event::LinkFailed(notice)),
                Ok(notice) => return Ok(Event::Ended(notice)),
            },
            Status::Closed => unreachable!("a mailbox does not close"),
            Status::Other(code) => return Err(Error::NotAMessage { code }),
        }
        if !limit.goes_on() {
            return Err(Error::Timeout(timeout.unwrap_or_default()));
        }
    }
}

/// The time that is left for a wait that may have to begin anew. Reads no clock before it must.
pub(crate) struct Limit {
    timeout_ms: u64,
    deadline: Option<Instant>,
    /// What was passed over when the time was over.
    late: u32,
}

/// So much may wait in front of what is wanted when the time is over. By feel: more than waits in any mailbox that is read,
/// and yet an end for who is sent such things for ever, after some tenths of a second.
const LATE_MAX: u32 = 1 << 20;

impl Limit {
    pub(crate) fn new(timeout_ms: u64) -> Limit {
        Limit { timeout_ms, deadline: None, late: 0 }
    }

    pub(crate) fn left(&self) -> u64 {
        match self.deadline {
            None => self.timeout_ms,
            Some(deadline) => milliseconds(deadline.saturating_duration_since(Instant::now())),
        }
    }

    /// Something else has come and was passed over: from now on the clock counts. Whether to wait on.
    pub(crate) fn goes_on(&mut self) -> bool {
        if self.deadline.is_none() && self.timeout_ms != abi::FOREVER {
            self.deadline = Instant::now().checked_add(Duration::from_millis(self.timeout_ms));
        }
        if self.left() == 0 {
            self.late += 1;
        }
        self.late <= LATE_MAX
    }
}

// ---- calls, and what they leave behind ----

/// What tells the answers of this process's calls from all else. All of them have one tag, so that one that waits for its
/// answer takes those out of the mailbox that came too late for others; a number that begins the answer says to which call
/// it belongs. Both are secrets that only those know who have the `Reply`: nobody else can answer, nor can a server for another
/// that is called later.
struct Calls {
    secret: RandomState,
    made: u64,
    tag: i64,
}

thread_local! {
    static CALLS: RefCell<Option<Calls>> = const { RefCell::new(None) };
}

/// The tags of calls are below this one, out of the way of those that people choose.
const CALL_TAGS_BELOW: i64 = i64::MIN / 2;

/// A tag and a number for one call.
pub(crate) fn new_call() -> (i64, u64) {
    CALLS.with_borrow_mut(|calls| {
        let calls = calls.get_or_insert_with(|| {
            let secret = RandomState::new();
            let tag = i64::MIN + (secret.hash_one(0u64) >> 2) as i64;
            debug_assert!(tag < CALL_TAGS_BELOW);
            Calls { secret, made: 0, tag }
        });
        calls.made += 1;
        (calls.tag, calls.secret.hash_one(calls.made))
    })
}

/// A message or notice with this tag, outside of a call, is about one that is over.
fn is_of_a_call(tag: i64) -> bool {
    CALLS.with_borrow(|calls| calls.as_ref().is_some_and(|calls| calls.tag == tag))
}

/// The scratch message is the answer to a call that is over, or the notice that it waited for.
pub(crate) fn is_left_over() -> bool {
    is_of_a_call(abi::message_tag())
}
