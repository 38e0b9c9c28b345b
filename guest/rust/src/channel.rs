//! Channels: many senders, many receivers, bounded or not.
//!
//! One `Channel` value is one handle of this process; the runtime counts the handles. A clone is another handle for the
//! same channel, and so is a channel that travelled inside a message. Dropping the value, or the death of its process,
//! gives the handle back.

use crate::abi::{self, Status};
use crate::codec::{self, Attachment};
use crate::error::Error;
use crate::time::milliseconds;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// A queue of `T` between processes.
///
/// Any number of processes may send and receive; each message reaches one receiver. Messages of one sender arrive in the
/// order they were sent. A process that must wait is suspended, and its worker thread runs others.
///
/// Each operation comes in four forms:
///
/// | form | when it must wait | on failure |
/// | --- | --- | --- |
/// | `send`, `receive` | waits | panics with the reason |
/// | `checked_send`, `checked_receive` | waits | [`Error`] |
/// | `send_timeout`, `receive_timeout` | waits for at most that long | [`Error::Timeout`] |
/// | `try_send`, `try_receive` | does not wait | [`Error::WouldWait`] |
///
/// A wait that nobody can ever end, because no other process holds the channel, fails with [`Error::Closed`] instead of
/// hanging.
///
/// A channel is a value like any other: it may be part of a message or of the context of [`Process::spawn`]. The
/// receiver gets a handle of its own, the sender keeps his. It cannot be serialised to anything but a message.
///
/// [`Process::spawn`]: crate::Process::spawn
///
/// ```no_run
/// use lunatic::{Channel, Process};
///
/// fn main() {
///     let vec: Vec<i32> = (0..1_000).collect();
///     let channel = Channel::new(0);
///     for i in 0..vec.len() {
///         Process::spawn((i, vec.clone(), channel.clone()), child).unwrap();
///     }
///     for _ in 0..vec.len() {
///         let (i, sum) = channel.receive();
///         println!("sum of the first {}: {sum}", i + 1);
///     }
/// }
///
/// fn child((i, vec, channel): (usize, Vec<i32>, Channel<(usize, i32)>)) {
///     let sum = vec[..=i].iter().sum();
///     channel.send((i, sum));
/// }
/// ```
pub struct Channel<T> {
    handle: u64,
    /// Sends and receives `T`, owns none.
    item: PhantomData<fn(T) -> T>,
}

impl<T> Channel<T> {
    /// Opens a channel. `bound` is the number of messages that may wait in it; when that many wait, senders wait too.
    /// 0 means no bound.
    ///
    /// ```no_run
    /// use lunatic::Channel;
    ///
    /// let unbounded: Channel<String> = Channel::new(0);
    /// let one_at_a_time: Channel<String> = Channel::new(1);
    /// ```
    pub fn new(bound: usize) -> Channel<T> {
        Channel::from_handle(abi::channel_open(bound as u64))
    }

    fn from_handle(handle: u64) -> Channel<T> {
        Channel { handle, item: PhantomData }
    }
}

impl<T: Serialize> Channel<T> {
    /// Sends `value`; waits while a bounded channel is full.
    ///
    /// ```no_run
    /// # let channel = lunatic::Channel::new(0);
    /// channel.send((7, "seven".to_string()));
    /// ```
    ///
    /// # Panics
    /// Where [`checked_send`](Channel::checked_send) gives an error.
    #[track_caller]
    pub fn send(&self, value: T) {
        if let Err(error) = self.checked_send(value) {
            panic!("sending on a channel: {error}");
        }
    }

    /// Sends `value`; waits while a bounded channel is full.
    ///
    /// ```no_run
    /// # let channel = lunatic::Channel::new(1);
    /// if let Err(error) = channel.checked_send(7) {
    ///     eprintln!("nobody wants it: {error}");
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`] if nobody can ever receive it, [`Error::MessageTooLarge`] and [`Error::Encode`].
    #[track_caller]
    pub fn checked_send(&self, value: T) -> Result<(), Error> {
        self.send_within(value, abi::FOREVER, unreachable_timeout)
    }

    /// Sends `value` if that needs no waiting.
    ///
    /// ```no_run
    /// # let channel = lunatic::Channel::new(1);
    /// if channel.try_send(7) == Err(lunatic::Error::WouldWait) {
    ///     println!("full, dropped");
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::WouldWait`] if the channel is full, and those of [`checked_send`](Channel::checked_send).
    #[track_caller]
    pub fn try_send(&self, value: T) -> Result<(), Error> {
        self.send_within(value, 0, || Error::WouldWait)
    }

    /// Sends `value`; waits for at most `timeout` while a bounded channel is full.
    ///
    /// ```no_run
    /// # let channel = lunatic::Channel::new(1);
    /// # use std::time::Duration;
    /// channel.send_timeout(7, Duration::from_secs(1)).expect("the receiver is alive");
    /// ```
    ///
    /// # Errors
    /// [`Error::Timeout`], and those of [`checked_send`](Channel::checked_send).
    #[track_caller]
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), Error> {
        self.send_within(value, milliseconds(timeout), || Error::Timeout(timeout))
    }

    #[track_caller]
    fn send_within(
        &self,
        value: T,
        timeout_ms: u64,
        timed_out: impl FnOnce() -> Error,
    ) -> Result<(), Error> {
        codec::encode(&value, 0)?;
        settle(abi::channel_send(self.handle, timeout_ms), timed_out).inspect_err(|_| {
            // The runtime has left the message where it was.
            codec::discard();
        })
    }
}

impl<T: DeserializeOwned> Channel<T> {
    /// Takes the next message; waits for one.
    ///
    /// ```no_run
    /// # let channel = lunatic::Channel::<(usize, i32)>::new(0);
    /// let (i, sum) = channel.receive();
    /// ```
    ///
    /// # Panics
    /// Where [`checked_receive`](Channel::checked_receive) gives an error.
    #[track_caller]
    pub fn receive(&self) -> T {
        self.checked_receive().unwrap_or_else(|error| panic!("receiving from a channel: {error}"))
    }

    /// Takes the next message; waits for one.
    ///
    /// ```no_run
    /// # let channel = lunatic::Channel::<u32>::new(0);
    /// match channel.checked_receive() {
    ///     Ok(value) => println!("{value}"),
    ///     Err(error) => println!("no more: {error}"),
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`] if the channel is empty and nobody can ever send, [`Error::Decode`].
    #[track_caller]
    pub fn checked_receive(&self) -> Result<T, Error> {
        self.receive_within(abi::FOREVER, unreachable_timeout)
    }

    /// Takes the next message if one waits.
    ///
    /// ```no_run
    /// # let channel = lunatic::Channel::<u32>::new(0);
    /// while let Ok(value) = channel.try_receive() {
    ///     println!("{value}");
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::WouldWait`] if none waits, and those of [`checked_receive`](Channel::checked_receive).
    #[track_caller]
    pub fn try_receive(&self) -> Result<T, Error> {
        self.receive_within(0, || Error::WouldWait)
    }

    /// Takes the next message; waits for at most `timeout`.
    ///
    /// ```no_run
    /// # let channel = lunatic::Channel::<u32>::new(0);
    /// # use std::time::Duration;
    /// let value = channel.receive_timeout(Duration::from_millis(100)).unwrap_or(0);
    /// ```
    ///
    /// # Errors
    /// [`Error::Timeout`], and those of [`checked_receive`](Channel::checked_receive).
    #[track_caller]
    pub fn receive_timeout(&self, timeout: Duration) -> Result<T, Error> {
        self.receive_within(milliseconds(timeout), || Error::Timeout(timeout))
    }

    /// Receives until the channel is closed, that is until all other processes that hold it have ended or dropped it and
    /// the last message is taken.
    ///
    /// ```no_run
    /// # let channel = lunatic::Channel::<u32>::new(0);
    /// let total: u32 = channel.iter().sum();
    /// ```
    ///
    /// # Panics
    /// The iterator panics at a message that is no `T`.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { channel: self }
    }

    #[track_caller]
    fn receive_within(
        &self,
        timeout_ms: u64,
        timed_out: impl FnOnce() -> Error,
    ) -> Result<T, Error> {
        codec::assert_idle();
        settle(abi::channel_receive(self.handle, timeout_ms), timed_out)?;
        codec::decode()
    }
}

fn settle(status: Status, timed_out: impl FnOnce() -> Error) -> Result<(), Error> {
    match status {
        Status::Done => Ok(()),
        Status::Closed => Err(Error::Closed),
        Status::TimedOut => Err(timed_out()),
        Status::Other(code) => Err(Error::NotAMessage { code }),
    }
}

fn unreachable_timeout() -> Error {
    unreachable!("the runtime ends a wait without a limit only by success or closing")
}

/// The messages of a channel until it is closed; made by [`Channel::iter`].
///
/// ```no_run
/// let channel: lunatic::Channel<u32> = lunatic::Channel::new(0);
/// for value in &channel {
///     println!("{value}");
/// }
/// ```
pub struct Iter<'a, T> {
    channel: &'a Channel<T>,
}

impl<T: DeserializeOwned> Iterator for Iter<'_, T> {
    type Item = T;

    #[track_caller]
    fn next(&mut self) -> Option<T> {
        match self.channel.checked_receive() {
            Ok(value) => Some(value),
            Err(Error::Closed) => None,
            Err(error) => panic!("receiving from a channel: {error}"),
        }
    }
}

impl<T> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Iter").field(self.channel).finish()
    }
}

impl<'a, T: DeserializeOwned> IntoIterator for &'a Channel<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> Clone for Channel<T> {
    fn clone(&self) -> Channel<T> {
        Channel::from_handle(abi::channel_clone(self.handle))
    }
}

impl<T> Drop for Channel<T> {
    fn drop(&mut self) {
        abi::channel_close(self.handle);
    }
}

impl<T> fmt::Debug for Channel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel({})", self.handle)
    }
}

/// Only into a lunatic message: it gets a reference of its own, and the number written is the place of that reference.
impl<T> Serialize for Channel<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let index = codec::attach(self.handle).ok_or_else(|| {
            serde::ser::Error::custom("a lunatic Channel can be serialised only into a message")
        })?;
        serializer.serialize_u64(index)
    }
}

impl<'de, T> Deserialize<'de> for Channel<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Channel<T>, D::Error> {
        let index = u64::deserialize(deserializer)?;
        codec::detach(Attachment::Channel, index, abi::message_take_channel)
            .map(Channel::from_handle)
    }
}
