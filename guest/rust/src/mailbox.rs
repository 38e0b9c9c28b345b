//! The mailbox: every process has one, anybody who knows the process may send to it, only the process receives.

use crate::abi::{self, Status};
use crate::codec;
use crate::error::Error;
use crate::event::{self, Limit};
use crate::process::Process;
use crate::time::milliseconds;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// Messages that carry a value of the user's.
pub(crate) const DATA_TAG: i64 = 0;

/// The message that carries a child's context: "lunatic" in ASCII, negated, out of the way of tags people choose.
pub(crate) const CONTEXT_TAG: i64 = -0x006c_756e_6174_6963;

/// This process's mailbox, for messages of type `M`.
///
/// A child started with [`Process::spawn_with_mailbox`] is given its own; any process, main included, gets it from
/// [`Mailbox::own`]. The four forms of receiving are those of [`Channel`](crate::Channel). Unlike a channel a mailbox
/// has no bound and does not close: a process that waits for a message nobody sends waits for ever.
///
/// ```no_run
/// use lunatic::{Mailbox, Process};
///
/// fn main() {
///     let mailbox: Mailbox<u32> = Mailbox::own();
///     Process::spawn((20, mailbox.process()), double).unwrap();
///     println!("{}", mailbox.receive());
/// }
///
/// fn double((number, reply): (u32, Process<u32>)) {
///     reply.send(2 * number);
/// }
/// ```
pub struct Mailbox<M> {
    message: PhantomData<fn() -> M>,
}

impl<M> Mailbox<M> {
    /// The mailbox of the calling process. Nothing but agreement makes senders send an `M`: what is no `M` is
    /// [`Error::Decode`].
    ///
    /// ```no_run
    /// let mailbox = lunatic::Mailbox::<String>::own();
    /// ```
    pub fn own() -> Mailbox<M> {
        Mailbox { message: PhantomData }
    }

    /// The calling process, as the address of this mailbox: give it to those who shall send here.
    ///
    /// ```no_run
    /// # let mailbox = lunatic::Mailbox::<String>::own();
    /// let address: lunatic::Process<String> = mailbox.process();
    /// ```
    pub fn process(&self) -> Process<M> {
        Process::current()
    }
}

impl<M: DeserializeOwned> Mailbox<M> {
    /// Takes the next message; waits for one.
    ///
    /// ```no_run
    /// let line = lunatic::Mailbox::<String>::own().receive();
    /// ```
    ///
    /// # Panics
    /// Where [`checked_receive`](Mailbox::checked_receive) gives an error.
    #[track_caller]
    pub fn receive(&self) -> M {
        self.checked_receive().unwrap_or_else(|error| panic!("receiving from the mailbox: {error}"))
    }

    /// Takes the next message; waits for one.
    ///
    /// ```no_run
    /// let line = lunatic::Mailbox::<String>::own().checked_receive().unwrap_or_default();
    /// ```
    ///
    /// # Errors
    /// [`Error::Decode`] if the message is no `M`; it is gone then.
    #[track_caller]
    pub fn checked_receive(&self) -> Result<M, Error> {
        receive_within(abi::FOREVER, || unreachable!("this wait has no limit"))
    }

    /// Takes the next message if one waits.
    ///
    /// ```no_run
    /// if let Ok(line) = lunatic::Mailbox::<String>::own().try_receive() {
    ///     println!("{line}");
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::WouldWait`] if none waits, [`Error::Decode`].
    #[track_caller]
    pub fn try_receive(&self) -> Result<M, Error> {
        receive_within(0, || Error::WouldWait)
    }

    /// Takes the next message; waits for at most `timeout`.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// let mailbox = lunatic::Mailbox::<String>::own();
    /// let line = mailbox.receive_timeout(Duration::from_secs(1)).unwrap_or_default();
    /// ```
    ///
    /// # Errors
    /// [`Error::Timeout`], [`Error::Decode`].
    #[track_caller]
    pub fn receive_timeout(&self, timeout: Duration) -> Result<M, Error> {
        receive_within(milliseconds(timeout), || Error::Timeout(timeout))
    }
}

impl<M> fmt::Debug for Mailbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox<{}>", std::any::type_name::<M>())
    }
}

#[track_caller]
fn receive_within<M: DeserializeOwned>(
    timeout_ms: u64,
    timed_out: impl FnOnce() -> Error,
) -> Result<M, Error> {
    codec::assert_idle();
    let mut limit = Limit::new(timeout_ms);
    loop {
        // No tags: whatever comes next. A strange tag is no reason to leave a message lying for ever.
        match abi::mailbox_receive(&[], limit.left()) {
            Status::Done if event::is_left_over() => {}
            Status::Done => return codec::decode(),
            Status::TimedOut => return Err(timed_out()),
            Status::Closed => unreachable!("a mailbox does not close"),
            Status::Other(abi::PROCESS_DIED) if event::is_left_over() => {}
            Status::Other(code) => return Err(Error::NotAMessage { code }),
        }
        if !limit.goes_on() {
            return Err(timed_out());
        }
    }
}

/// Takes the context a child was started with: the first message of its mailbox.
pub(crate) fn receive_context<C: DeserializeOwned>() -> C {
    let status = abi::mailbox_receive(&[CONTEXT_TAG], abi::FOREVER);
    assert_eq!(status, Status::Done, "receiving the context of a new process");
    codec::decode()
        .unwrap_or_else(|error| panic!("receiving the context of a new process: {error}"))
}
