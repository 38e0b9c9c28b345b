//! Requests and replies. As Erlang's `gen_server:call`: the caller waits for the answer to this one request, for a limited
//! time, and learns at once if the server ends first.
//!
//! What Rust adds: each request says in its type what the answer is. A [`Reply`] is a part of the request message, made by
//! [`Process::call`]; the server answers when it likes, then or later, or hands the reply to another process that does.

use crate::abi::{self, Status};
use crate::codec;
use crate::error::Error;
use crate::event::{new_call, Limit};
use crate::exit::read_notice;
use crate::process::Process;
use crate::time::milliseconds;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// How long [`Process::call`] waits: as long as Erlang's.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the answer to one request goes. It may travel inside messages, so another process can answer.
///
/// ```no_run
/// use lunatic::{Process, Reply};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum Request {
///     Add(u64),
///     Total(Reply<u64>),
/// }
///
/// let server = Process::spawn_with_mailbox(0, |mut total, mailbox| loop {
///     match mailbox.receive() {
///         Request::Add(number) => total += number,
///         Request::Total(reply) => reply.send(total),
///     }
/// })
/// .unwrap();
/// server.send(Request::Add(7));
/// assert_eq!(server.call(Request::Total), Ok(7));
/// ```
pub struct Reply<R> {
    process: u64,
    tag: i64,
    /// Which call it is.
    number: u64,
    answer: PhantomData<fn(R)>,
}

impl<R: Serialize> Reply<R> {
    /// Answers. Never waits. If nobody waits any more, the answer is dropped.
    ///
    /// # Panics
    /// If the answer cannot be encoded, or is too large.
    #[track_caller]
    pub fn send(self, answer: R) {
        if let Err(error) = codec::encode_answer(&answer, self.tag, self.number) {
            panic!("answering process {}: {error}", self.process);
        }
        abi::message_send(self.process);
    }
}

impl<M: Serialize> Process<M> {
    /// Sends the request that `make` makes of a [`Reply`], and waits up to five seconds for the answer.
    ///
    /// # Errors
    /// [`Error::Ended`] if the process has ended or ends first, [`Error::Timeout`], and those of
    /// [`checked_send`](Process::checked_send). Whether the request was carried out is then unknown. An answer that comes
    /// after the time was over is dropped; it is never taken for that to another call. When the process ends, the call
    /// does, also if the process has handed its [`Reply`] on to another that could still answer.
    #[track_caller]
    pub fn call<R: DeserializeOwned>(&self, make: impl FnOnce(Reply<R>) -> M) -> Result<R, Error> {
        self.call_timeout(CALL_TIMEOUT, make)
    }

    /// The same; waits up to `timeout`.
    ///
    /// ```no_run
    /// # use lunatic::{Process, Reply};
    /// use std::time::Duration;
    ///
    /// # let server = Process::<Reply<u64>>::from_id(7);
    /// let answer = server.call_timeout(Duration::from_millis(20), |reply| reply);
    /// ```
    ///
    /// # Errors
    /// Those of [`call`](Process::call).
    #[track_caller]
    pub fn call_timeout<R: DeserializeOwned>(
        &self,
        timeout: Duration,
        make: impl FnOnce(Reply<R>) -> M,
    ) -> Result<R, Error> {
        codec::assert_idle();
        let (tag, number) = new_call();
        let reply = Reply { process: abi::process_id(), tag, number, answer: PhantomData };
        codec::encode(&make(reply), crate::mailbox::DATA_TAG)?;
        abi::monitor_with_tag(tag, self.id());
        abi::message_send(self.id());
        let answered = self.await_answer(timeout, tag, number);
        abi::stop_monitoring_with_tag(tag, self.id());
        answered.and_then(|()| codec::decode_answer())
    }

    /// Waits until the answer is the scratch message. What belongs to calls that are over goes.
    fn await_answer(&self, timeout: Duration, tag: i64, number: u64) -> Result<(), Error> {
        let mut limit = Limit::new(milliseconds(timeout));
        loop {
            match abi::mailbox_receive(&[tag], limit.left()) {
                Status::Done if codec::is_answer_to(number) => return Ok(()),
                Status::TimedOut => break,
                Status::Other(abi::PROCESS_DIED) => match read_notice() {
                    Ok(notice) if notice.process == self.untyped() => {
                        return Err(Error::Ended { notice: Box::new(notice) });
                    }
                    _ => {}
                },
                Status::Done | Status::Other(_) => {}
                Status::Closed => unreachable!("a mailbox does not close"),
            }
            codec::discard(); // it may hold channels
            if !limit.goes_on() {
                break;
            }
        }
        Err(Error::Timeout(timeout))
    }
}

// By hand, because a derive would ask the same of `R`, which is only a label.

impl<R> fmt::Debug for Reply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reply(to process {})", self.process)
    }
}

impl<R> Serialize for Reply<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.process, self.tag, self.number).serialize(serializer)
    }
}

impl<'de, R> Deserialize<'de> for Reply<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Reply<R>, D::Error> {
        let (process, tag, number) = Deserialize::deserialize(deserializer)?;
        Ok(Reply { process, tag, number, answer: PhantomData })
    }
}
